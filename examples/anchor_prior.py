"""A learned anchor prior: how much each anchor is used is itself a parameter.

Even loads are wrong where the groups in the data are not of one size. Shows that the derivative of
the optimal value in the capacities is the anchors' price, and that following it (with a mild pull
to evenness) finds the true group sizes and a better assignment than even loads.
"""

import torch
from torch.nn.functional import normalize

import multisk


def main() -> None:
    torch.manual_seed(7)
    anchors, width, eps = 6, 32, 0.05
    sizes = torch.tensor([300, 200, 120, 80, 60, 40])
    centres = normalize(torch.randn(anchors, width), dim=1)
    truth = torch.repeat_interleave(torch.arange(anchors), sizes)
    samples = normalize(centres[truth] + 0.15 * torch.randn(len(truth), width), dim=1)
    scores = samples @ centres.T
    total = len(truth)

    def solve(prior: torch.Tensor) -> multisk.Solution:
        problem = multisk.MultiAssignment(k=1, eps=eps, damping=0.0, capacity=prior * total)
        return multisk.solve(scores, problem).raise_if_failed()

    even = torch.full((anchors,), 1 / anchors)
    logits = torch.zeros(anchors, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    values = []
    for _ in range(40):
        prior = logits.softmax(0)
        evenness = -(prior * prior.log()).sum()
        objective = solve(prior).value / total + 0.01 * evenness
        optimizer.zero_grad()
        (-objective).backward()
        optimizer.step()
        values.append(float(objective.detach()))
    learned = logits.detach().softmax(0)
    want = sizes / sizes.sum()
    assert values[-1] > values[0]
    assert (learned - want).abs().max() < 0.3 * (even - want).abs().max()

    right = [float((solve(p).plan.argmax(1) == truth).float().mean()) for p in (even, learned)]
    assert right[1] > right[0]
    assert right[1] > 0.95
    print("learned prior", [round(float(p), 3) for p in learned])
    print(f"assigned to their own group: even {right[0]:.1%}, learned {right[1]:.1%}")


if __name__ == "__main__":
    main()
