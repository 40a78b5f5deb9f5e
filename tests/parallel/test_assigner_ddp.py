"""An assigner inside a model trained by DistributedDataParallel learns what one process learns.

Run as a script, this file is one rank of such a job.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from multisk import BalancedAssigner, MultiAssignment
from tests import warm

N, WIDTH, K, RANKS, STEPS = 48, 6, 5, 2, 3


class Model(nn.Module):
    """Encoder, anchors, and an assignment that the loss looks through."""

    def __init__(self, group):
        super().__init__()
        torch.manual_seed(3)
        self.encoder = nn.Linear(WIDTH, 4).double()
        self.anchors = nn.Parameter(torch.randn(K, 4, dtype=torch.float64))
        self.assigner = BalancedAssigner(K, MultiAssignment(k=2), momentum=0.5, group=group)

    def forward(self, inputs, weights):
        features = nn.functional.normalize(self.encoder(inputs), dim=-1)
        scores = features @ nn.functional.normalize(self.anchors, dim=-1).T
        plan = self.assigner(scores).raise_if_failed().plan
        return (weights * plan).sum() + (plan.detach() * scores).sum()


def batches():
    generator = torch.Generator().manual_seed(4)
    for _ in range(STEPS):
        inputs = torch.randn(N, WIDTH, generator=generator, dtype=torch.float64)
        yield inputs, torch.randn(N, K, generator=generator, dtype=torch.float64)


def learn(model, part, share, core):
    """Train on the rows `part`; the gradients of the last step come along."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for inputs, weights in batches():
        optimiser.zero_grad()
        (share * model(inputs[part], weights[part])).backward()
        optimiser.step()
    grads = {f"grad {name}": p.grad for name, p in core.named_parameters()}
    return {**core.state_dict(), **grads}


def rank_main(folder, rank):
    """One rank: uneven halves of every batch."""
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=RANKS)
    core = Model(dist.group.WORLD)
    part = slice(0, 30) if rank == 0 else slice(30, N)
    # DDP averages the ranks' gradients; the loss is a sum over all rows.
    found = learn(DistributedDataParallel(core), part, RANKS, core)
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_learn_and_remember_what_one_process_does(tmp_path):
    words = [sys.executable, __file__, str(tmp_path)]
    ranks = [warm.start([*words, str(rank)], stderr=warm.PIPE) for rank in range(RANKS)]
    outputs = [process.communicate(timeout=120)[1] for process in ranks]
    assert not any(process.returncode for process in ranks), outputs
    core = Model(None)
    want = learn(core, slice(None), 1, core)
    assert int(want["assigner.updates"]) == STEPS
    assert want["assigner.column_potential"].abs().max() > 0.1
    assert want["grad anchors"].abs().max() > 0.1
    for rank in range(RANKS):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found.keys() == want.keys()
        for name, value in want.items():
            assert (found[name] - value).abs().max() <= 1e-10, (rank, name)
    # What a rank saved continues in a single process as if it had been there all along.
    later = Model(None)
    later.load_state_dict({k: v for k, v in found.items() if not k.startswith("grad")})
    scores = torch.randn(N, K, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    assert (later.assigner.assign(scores) - core.assigner.assign(scores)).abs().max() <= 1e-10


if __name__ == "__main__":
    rank_main(sys.argv[1], int(sys.argv[2]))
