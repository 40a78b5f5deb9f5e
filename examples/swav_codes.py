"""SwAV codes: balanced soft cluster targets that cannot collapse onto a few prototypes.

Shows that the codes of a batch load every prototype alike where the nearest prototype would not,
that three sweeps of the usual loop are not yet there, and that a warm start makes the exact codes
cheap from one batch to the next.
"""

import torch
from torch.nn.functional import cross_entropy, normalize

import multisk


def loop(scores: torch.Tensor, eps: float, sweeps: int) -> torch.Tensor:
    """The usual loop: a fixed number of alternations, rows last."""
    q = torch.exp((scores - scores.max()) / eps)
    for _ in range(sweeps):
        q = q / q.sum(0) * (len(q) / q.shape[1])
        q = q / q.sum(1, keepdim=True)
    return q


def main() -> None:
    torch.manual_seed(0)
    rows, prototypes, eps = 512, 32, 0.05
    direction = normalize(torch.randn(64), dim=0)
    features = normalize(torch.randn(rows, 64) + 6 * direction, dim=1)  # nearly collapsed
    centres = normalize(torch.randn(prototypes, 64) + 2 * direction, dim=1)
    scores = features @ centres.T

    assigner = multisk.BalancedAssigner(prototypes, multisk.Transport(eps=eps))
    cold = assigner(scores).raise_if_failed()
    codes = cold.plan
    share = rows / prototypes
    nearest = scores.argmax(1).bincount(minlength=prototypes)
    assert (codes.sum(0) / share - 1).abs().max() < 1e-5
    assert nearest.max() > 4 * share
    unfinished = (loop(scores, eps, 3).sum(0) / share - 1).abs().max()
    assert unfinished > 1e-3
    assert (loop(scores, eps, 500) - codes).abs().max() < 1e-4

    view = normalize(features + 0.005 * torch.randn_like(features), dim=1) @ centres.T
    loss = cross_entropy(view / 0.1, codes)  # predict the codes of one view from the other
    again = assigner(view)
    assert int(again.raise_if_failed().steps) < int(cold.steps)
    print(f"largest load: nearest {int(nearest.max())}, codes {codes.sum(0).max():.3f} of {share}")
    print(f"Newton steps: {int(cold.steps)} cold, {int(again.steps)} after a small change")
    print(f"three sweeps miss a load by {unfinished:.1%}; swapped loss {loss:.3f}")


if __name__ == "__main__":
    main()
