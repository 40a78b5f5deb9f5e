"""Two ranks at the same global batch do what one process does.

Run as a script, this file is one rank of such a job.
"""

import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from rfpmss.common.distributed import ALONE, PeerError, Peers, job, like, whole
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.training.bank import Bank
from rfpmss.training.muon import Muon, groups
from rfpmss.training.parallel import Spine, replicate, shard
from tests import warm
from tests.model.small import WORDS, random_batch, small_config

STEPS, GLOBAL = 4, 8
RECIPE = {"standardise": True, "study_words": True, "token_types": False}


def whole_batch(config, seed, dtype):
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


def train(  # noqa: PLR0913 (what runs may differ in)
    peers,
    dtype=torch.float64,
    rate=1e-3,
    way=None,
    accumulate=1,
    precision="float32",
    recipe=True,
    muon=False,
):
    """A few steps of training; losses, weights, running figures and the bank."""
    torch.manual_seed(0)
    config = small_config(**(RECIPE if recipe else {}))
    loss = config.loss.model_copy(update={"symmetric": True, "temperature": 0.5})
    settings = {"accumulate": accumulate, "precision": precision}
    settings = config.train.model_copy(update=settings)
    config = config.model_copy(update={"loss": loss, "train": settings})
    model = RFPMSS(config.model, config.data, WORDS).to(dtype)
    bank = Bank(11, config.model).to(dtype)
    net = spine = Spine(model, bank, config, peers)
    if way == "shard":
        shard(spine, model, peers)
        held = sum(p.to_local().numel() for p in model.parameters())
        assert held < 0.6 * sum(p.numel() for p in model.parameters())
        assert all(p.device_mesh.get_group() is peers.gradients for p in model.parameters())
    elif way == "replicate":
        net = replicate(spine, peers)
    optimiser = torch.optim.SGD(model.parameters(), lr=rate)
    history = []
    for seed in range(STEPS):
        total, losses = net(part(whole_batch(config, seed, dtype), peers))
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        history.append(peers.mean(torch.stack(list(vars(losses).values()))))
    if muon:
        move(model)
    weights = torch.cat([whole(p.detach()).flatten() for p in model.parameters()])
    running = dict(model.named_buffers()) if recipe else {}
    return {"losses": torch.stack(history), "weights": weights, **running, **bank.state_dict()}


def move(model):
    """A step of Muon along given gradients, of which each rank holds its part."""
    draw = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        gradient = torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)
        parameter.grad = like(gradient, parameter)
    Muon(list(groups(model, 1.0)), 1e-2, weight_decay=0.01).step()


def exchange(peers):
    """Gather and weigh rows: the gradient has to be that of the sum over ranks."""
    x = torch.arange(6, dtype=torch.float64).reshape(3, 2) + 10 * peers.rank
    x.requires_grad_()
    rows = peers.gather(x)
    cotangent = torch.arange(rows.numel(), dtype=torch.float64).reshape_as(rows) ** (peers.rank + 1)
    (rows * cotangent).sum().backward()
    flags = peers.gather(torch.tensor([True, peers.rank == 0]))

    def refuse():
        raise ValueError("no")

    expected = PeerError if peers.rank else ValueError
    try:
        peers.first(refuse)
    except expected as error:
        refused = str(error)
    return {
        "rows": rows.detach(),
        "gradient": x.grad,
        "flags": flags,
        "total": peers.total(torch.tensor([1.0, peers.rank])),
        "mean": peers.mean(torch.tensor([0.0, 2.0 * peers.rank])),
        "first": torch.tensor(peers.first(lambda: 7 + peers.rank)),
        "refused": torch.tensor("rank 0 stopped" in refused if peers.rank else refused == "no"),
    }


def ranks(tmp_path, name, size=2):
    """Run job ``name`` on ``size`` ranks and return what each found."""
    command = [sys.executable, __file__, name, str(tmp_path), str(size)]
    started = [warm.start([*command, str(r)]) for r in range(size)]
    assert [process.wait(timeout=600) for process in started] == [0] * size
    return [torch.load(tmp_path / f"{name}-{r}.pt", weights_only=True) for r in range(size)]


@pytest.mark.parametrize(
    ("way", "alike"), [("replicate", {"recipe": False}), ("shard", {"muon": True})]
)
def test_two_ranks_train_as_one_process_does(tmp_path, way, alike):
    found, alone = ranks(tmp_path, way), train(ALONE, **alike)
    assert (alone["losses"] > 0).all()
    for rank in found:
        for name, expected in alone.items():
            torch.testing.assert_close(rank[name], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("parts", "recipe"), [(2, True), (3, False), (8, True)])
def test_a_batch_cut_into_parts_trains_as_the_whole_batch_does(parts, recipe):
    cut, alone = train(ALONE, accumulate=parts, recipe=recipe), train(ALONE, recipe=recipe)
    for name, expected in alone.items():
        torch.testing.assert_close(cut[name], expected, rtol=1e-12, atol=1e-12)


def test_losses_of_two_ranks_are_those_of_one_process_in_single_precision(tmp_path):
    found, alone = ranks(tmp_path, "train32"), train(ALONE, torch.float32, 0.0)
    for rank in found:
        torch.testing.assert_close(rank["losses"], alone["losses"], rtol=1e-6, atol=1e-6)


def test_sharded_ranks_train_in_half_precision(tmp_path):
    found = ranks(tmp_path, "shard16")
    alone = train(ALONE, torch.float32, precision="bfloat16", recipe=False)
    exact = train(ALONE, torch.float32, recipe=False)
    for rank in found:
        assert rank["weights"].dtype == torch.float32
        torch.testing.assert_close(rank["losses"], alone["losses"], rtol=0.02, atol=0.02)
        assert not torch.equal(rank["losses"], exact["losses"])


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
        assert one["mean"].tolist() == [0.0, 1.0]
        assert one["first"] == 7
        assert one["refused"]


def test_a_process_on_its_own_sends_nothing():
    with job(timeout=1.0) as peers:
        assert peers == ALONE == Peers()
    x = torch.randn(3)
    assert ALONE.gather(x) is x
    assert ALONE.total(x) is x
    assert ALONE.first(lambda: 5) == 5
    assert (ALONE.size, ALONE.rank) == (1, 0)


def main(name, folder, size, rank):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=int(rank), world_size=int(size))
    jobs = {
        "replicate": partial(train, way="replicate", accumulate=2, recipe=False),
        "shard": partial(train, way="shard", accumulate=2, muon=True),
        "train32": partial(train, dtype=torch.float32, rate=0.0, way="replicate"),
        "shard16": partial(
            train, dtype=torch.float32, way="shard", precision="bfloat16", recipe=False
        ),
        "exchange": exchange,
    }
    found = jobs[name](Peers(dist.group.WORLD, dist.new_group()))
    torch.save(found, Path(folder) / f"{name}-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
