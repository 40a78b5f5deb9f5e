"""Soft top-k: one row, k of its entries, with a derivative.

Shows that the relaxed indicator sums to k, becomes the hard one as eps falls, and has the
derivative that finite differences see.
"""

import torch

import multisk


def soft_topk(x: torch.Tensor, k: int, eps: float) -> torch.Tensor:
    """Entries in (0, 1) that sum to k; a column may be taken or not: capacity between 0 and 1."""
    free = torch.zeros_like(x), torch.ones_like(x)
    problem = multisk.MultiAssignment(k=k, eps=eps, damping=0.0, capacity=free)
    return multisk.solve(x[None], problem).raise_if_failed().plan[0]


def main() -> None:
    torch.manual_seed(5)
    x = torch.randn(30, dtype=torch.float64, requires_grad=True)
    k = 7
    hard = torch.zeros_like(x).index_fill(0, x.topk(k).indices, 1.0)
    for eps in (0.5, 0.1, 0.002):
        soft = soft_topk(x, k, eps)
        assert abs(float(soft.detach().sum()) - k) < 1e-5
        print(f"eps {eps}: farthest from the hard indicator {(soft - hard).abs().max():.4f}")
    assert (soft - hard).abs().max() < 0.01

    weight = torch.randn(30, dtype=torch.float64)
    (slope,) = torch.autograd.grad((soft_topk(x, k, 0.5) * weight).sum(), x)
    step = 1e-5
    for entry in (0, 11, 29):
        move = torch.zeros(30, dtype=torch.float64).index_fill(0, torch.tensor([entry]), step)
        with torch.no_grad():
            ends = [(soft_topk(x + s * move, k, 0.5) * weight).sum() for s in (1, -1)]
        assert abs(float(ends[0] - ends[1]) / (2 * step) - float(slope[entry])) < 1e-6
    assert abs(float(slope.sum())) < 1e-8  # shifting all scores changes nothing


if __name__ == "__main__":
    main()
