"""Two ranks at the same global batch do what one process does.

Run as a script, this file is one rank of such a job.
"""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from rfpmss.bank import Bank
from rfpmss.distributed import ALONE, Peers, average_gradients, world
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.step import step
from tests.model_tools import WORDS, random_batch, small_config

ROOT = Path(__file__).parents[1]
STEPS, GLOBAL = 4, 8


def whole(config, seed, dtype):
    """A global batch in which some studies lack a view, some their report."""
    batch = random_batch(config, size=GLOBAL, seed=seed, dtype=dtype)
    draw = torch.Generator().manual_seed(seed)
    batch.present = torch.rand(GLOBAL, 4, generator=draw) > 0.25
    return batch


def part(batch, peers):
    size = GLOBAL // peers.size
    rows = slice(peers.rank * size, (peers.rank + 1) * size)
    batch.images = tuple(view[rows] for view in batch.images)
    batch.present, batch.tokens = batch.present[rows], batch.tokens[rows]
    return batch


def train(peers, dtype=torch.float64, rate=1e-3):
    """A few steps of training; losses, weights and the bank."""
    torch.manual_seed(0)
    config = small_config()
    loss = config.loss.model_copy(update={"symmetric": True, "temperature": 0.5})
    config = config.model_copy(update={"loss": loss})
    model = RFPMSS(config.model, config.data, WORDS).to(dtype)
    bank = Bank(11, config.model).to(dtype)
    optimiser = torch.optim.SGD(model.parameters(), lr=rate)
    history = []
    for seed in range(STEPS):
        losses = step(model, bank, part(whole(config, seed, dtype), peers), config, peers)
        optimiser.zero_grad()
        losses.total(config.loss).backward()
        average_gradients(model, peers)
        optimiser.step()
        row = torch.stack([term.detach() for term in vars(losses).values()])
        peers.average([row])
        history.append(row)
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    return {"losses": torch.stack(history), "weights": weights, **bank.state_dict()}


def exchange(peers):
    """Gather and weigh rows: the gradient has to be that of the sum over ranks."""
    x = torch.arange(6, dtype=torch.float64).reshape(3, 2) + 10 * peers.rank
    x.requires_grad_()
    rows = peers.gather(x)
    cotangent = torch.arange(rows.numel(), dtype=torch.float64).reshape_as(rows) ** (peers.rank + 1)
    (rows * cotangent).sum().backward()
    flags = peers.gather(torch.tensor([True, peers.rank == 0]))
    mean = [torch.full((2,), float(peers.rank)), torch.full((3,), 2.0 * peers.rank).double()]
    peers.average(mean)
    return {
        "rows": rows.detach(),
        "gradient": x.grad,
        "flags": flags,
        "total": peers.total(torch.tensor([1.0, peers.rank])),
        "mean": torch.cat([m.double() for m in mean]),
    }


def ranks(tmp_path, job, size=2):
    """Run ``job`` on ``size`` ranks and return what each found."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, job, str(tmp_path), str(size)]
    started = [subprocess.Popen([*command, str(r)], env=environment) for r in range(size)]
    assert [process.wait(timeout=120) for process in started] == [0] * size
    return [torch.load(tmp_path / f"{job}-{r}.pt", weights_only=True) for r in range(size)]


def test_two_ranks_train_as_one_process_does(tmp_path):
    found, alone = ranks(tmp_path, "train"), train(ALONE)
    assert (alone["losses"] > 0).all()
    for rank in found:
        for name, expected in alone.items():
            torch.testing.assert_close(rank[name], expected, rtol=1e-12, atol=1e-12)


def test_losses_of_two_ranks_are_those_of_one_process_in_single_precision(tmp_path):
    found, alone = ranks(tmp_path, "train32"), train(ALONE, torch.float32, 0.0)
    for rank in found:
        torch.testing.assert_close(rank["losses"], alone["losses"], rtol=1e-6, atol=1e-6)


def test_rows_of_all_ranks_come_together_and_their_gradients_add_up(tmp_path):
    found = ranks(tmp_path, "exchange")
    grid = torch.arange(12, dtype=torch.float64).reshape(6, 2)
    x = grid[:3]
    for rank, one in enumerate(found):
        assert torch.equal(one["rows"], torch.cat([x, x + 10]))
        expected = grid + grid**2
        assert torch.equal(one["gradient"], expected[3 * rank : 3 * rank + 3])
        assert one["flags"].tolist() == [True, True, True, False]
        assert one["total"].tolist() == [2.0, 1.0]
        assert one["mean"].tolist() == [0.5, 0.5, 1.0, 1.0, 1.0]


def test_a_process_on_its_own_sends_nothing():
    assert world() == ALONE == Peers()
    x = torch.randn(3)
    assert ALONE.gather(x) is x
    assert ALONE.total(x) is x
    assert (ALONE.size, ALONE.rank) == (1, 0)


@pytest.mark.parametrize("bucket", [1, 3, 10**6])
def test_averages_do_not_depend_on_the_size_of_messages(bucket, monkeypatch, tmp_path):
    monkeypatch.setattr("rfpmss.distributed.BUCKET", bucket)
    dist.init_process_group("gloo", f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        tensors = [torch.randn(2, 3), torch.randn(4).double(), torch.randn(5), torch.randn(1)]
        before = [t.clone() for t in tensors]
        world().average(tensors)
        assert all(map(torch.equal, tensors, before))
    finally:
        dist.destroy_process_group()


def main(job, folder, size, rank):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=int(rank), world_size=int(size))
    jobs = {
        "train": train,
        "train32": partial(train, dtype=torch.float32, rate=0.0),
        "exchange": exchange,
    }
    found = jobs[job](world())
    torch.save(found, Path(folder) / f"{job}-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
