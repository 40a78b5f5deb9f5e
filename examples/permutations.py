"""Sinkhorn permutations: learn a hidden reordering by descending through a doubly stochastic plan.

Shows a square transport as a relaxed permutation, its derivative in use, and `round` turning the
answer into a true permutation.
"""

import torch

import multisk


def main() -> None:
    torch.manual_seed(6)
    size, width = 20, 8
    items = torch.randn(size, width)
    hidden = torch.randperm(size)
    seen = items[hidden] + 0.05 * torch.randn(size, width)

    scores = torch.zeros(size, size, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.2)
    first = last = torch.tensor(0.0)
    for step in range(50):
        plan = multisk.solve(scores, multisk.Transport(eps=0.5)).plan
        last = (plan @ items - seen).square().mean()
        optimizer.zero_grad()
        last.backward()
        optimizer.step()
        first = last.detach() if step == 0 else first
    last = last.detach()
    assert float(last) < 0.1 * float(first)

    hard = multisk.solve(scores.detach(), multisk.MultiAssignment(k=1, eps=0.1)).round()
    assert bool((hard.sum(0) == 1).all())
    assert bool((hard.sum(1) == 1).all())
    assert torch.equal(hard.int().argmax(1), hidden)
    print(f"squared error {float(first):.3f} -> {float(last):.4f}; all {size} places recovered")


if __name__ == "__main__":
    main()
