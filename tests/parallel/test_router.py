"""Routers whose tokens are spread over two ranks have the prices of one process.

Run as a script, this file is one rank of such a job.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from multisk import moe
from tests import warm

E, K, STEPS = 4, 2, 3
TEMPERATURES = (None, 0.2)  # by the deviation of all ranks' scores, and given
PARTS = (slice(0, 90), slice(90, 150))  # uneven, and none of the second rank's in the last step


def learn(part, group):
    """Two layers, the prices after each of some steps."""
    options = {"group": group, "score": "none"}
    layers = nn.ModuleList(
        [moe.BalancedRouter(E, K, temperature=t, **options) for t in TEMPERATURES]
    )
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    moe.attach(optimizer, layers)
    found = []
    for step in range(STEPS):
        draw = torch.Generator().manual_seed(step)
        for layer in layers:
            x = torch.randn(150, E, generator=draw) + torch.linspace(0, 1, E)
            mine = x[part] if step < STEPS - 1 or part != PARTS[1] else x[:0]
            mine = x[:90] if step == STEPS - 1 and part == slice(None) else mine
            layer(mine.clone().requires_grad_())
        optimizer.step()
        found += [layer.prices.clone() for layer in layers]
    return torch.stack(found)


def rank_main(folder, rank, ranks):
    """One rank."""
    store = f"file://{folder}/store{ranks}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=ranks)
    part = PARTS[rank] if ranks > 1 else slice(None)
    torch.save(learn(part, dist.group.WORLD), Path(folder) / f"{rank} of {ranks}.pt")
    dist.destroy_process_group()


def test_two_ranks_have_the_prices_of_one(tmp_path):
    words = [sys.executable, __file__, str(tmp_path)]
    jobs = [
        warm.start([*words, str(rank), str(ranks)], stderr=warm.PIPE)
        for rank, ranks in ((0, 2), (1, 2), (0, 1))
    ]
    for job in jobs:
        _, complaint = job.communicate(timeout=300)
        assert job.returncode == 0, complaint
    one, *both = [
        torch.load(tmp_path / name, weights_only=True)
        for name in ("0 of 1.pt", "0 of 2.pt", "1 of 2.pt")
    ]
    for found in both:
        torch.testing.assert_close(found, one, rtol=0, atol=1e-6)
    # Without a group other passes do the sweeps, which end where the soft loads are even to 1e-3.
    torch.testing.assert_close(learn(slice(None), None), one, rtol=0, atol=1e-3)


if __name__ == "__main__":
    rank_main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
