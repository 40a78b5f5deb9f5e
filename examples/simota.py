"""Label assignment in detection: each object takes its own number of cells, a cell one object.

Shows dynamic budgets (a tensor `k`), an upper bound on the columns (an interval `capacity`), a
mask of allowed pairs, and that the answer is worth at least as much as resolving conflicts
greedily.
"""

import torch

import multisk


def greedy(scores: torch.Tensor, budgets: torch.Tensor) -> torch.Tensor:
    """Top-k cells of every object; a contested cell goes to the object that likes it best."""
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    for row, budget in enumerate(budgets.tolist()):
        chosen[row, scores[row].topk(int(budget)).indices] = True
    contested = chosen.sum(0) > 1
    best = scores.masked_fill(~chosen, -torch.inf).argmax(0)
    chosen[:, contested] = False
    chosen[best[contested], contested.nonzero().squeeze(1)] = True
    return chosen


def main() -> None:
    torch.manual_seed(3)
    objects, cells = 8, 120
    place = torch.rand(cells)
    centre = torch.rand(objects)
    distance = (centre[:, None] - place).abs()
    allowed = distance < 0.35
    scores = torch.exp(-20 * distance) + 0.05 * torch.rand(objects, cells)
    budgets = scores.topk(10, 1).values.sum(1).round().clamp(1, 10)  # dynamic k from quality

    problem = multisk.MultiAssignment(
        k=budgets, eps=0.1, capacity=(torch.zeros(cells), torch.ones(cells)), mask=allowed
    )
    hard = multisk.solve(scores, problem).raise_if_failed().round()
    assert torch.equal(hard.sum(1), budgets.long())
    assert bool((hard.sum(0) <= 1).all())
    assert not bool(hard[~allowed].any())

    usual = greedy(scores.masked_fill(~allowed, -1.0), budgets)
    short = int((budgets - usual.sum(1)).clamp_min(0).sum())
    assert short > 0  # greedy leaves objects without some of their cells
    assert float(scores[hard].sum()) >= float(scores[usual].sum())
    print(f"budgets {budgets.int().tolist()} all met; greedy falls short by {short} cells")


if __name__ == "__main__":
    main()
