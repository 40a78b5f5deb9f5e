"""Matching with a dustbin: keypoints of two images, some without a partner, as in SuperGlue.

Shows transport with unequal margins, recovery of planted matches, and that the dustbin's score is
learned through the implicit derivative of the plan.
"""

import torch

import multisk


def with_dustbin(scores: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """One more row and column of score `alpha`."""
    m, n = scores.shape
    table = torch.cat([scores, alpha.expand(m, 1)], 1)
    return torch.cat([table, alpha.expand(1, n + 1)], 0)


def main() -> None:
    torch.manual_seed(4)
    m, n, matched, width = 40, 36, 25, 32
    first = torch.nn.functional.normalize(torch.randn(m, width), dim=1)
    second = torch.nn.functional.normalize(torch.randn(n, width), dim=1)
    rows, columns = torch.randperm(m)[:matched], torch.randperm(n)[:matched]
    second[columns] = torch.nn.functional.normalize(
        first[rows] + 0.08 * torch.randn(matched, width), dim=1
    )
    scores = first @ second.T

    problem = multisk.Transport(
        eps=0.1,
        rows=torch.cat([torch.ones(m), torch.tensor([float(n)])]),
        columns=torch.cat([torch.ones(n), torch.tensor([float(m)])]),
    )
    alone_rows = torch.ones(m, dtype=torch.bool)
    alone_columns = torch.ones(n, dtype=torch.bool)
    alone_rows[rows], alone_columns[columns] = False, False

    alpha = torch.tensor(-1.0, requires_grad=True)  # a dustbin that nobody wants, to begin with
    optimizer = torch.optim.Adam([alpha], lr=0.15)
    losses = []
    for _ in range(25):
        plan = multisk.solve(with_dustbin(scores, alpha), problem).plan
        log = plan.clamp_min(1e-12).log()
        loss = -(
            log[rows, columns].sum()
            + log[:m, n][alone_rows].sum()
            + log[m, :n][alone_columns].sum()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]

    plan = multisk.solve(with_dustbin(scores, alpha.detach()), problem).raise_if_failed().plan
    best = plan[:m].argmax(1)
    assert bool((best[rows] == columns).all())
    assert bool((best[alone_rows] == n).all())
    print(f"dustbin score {alpha.item():.2f}; loss {losses[0]:.1f} -> {losses[-1]:.1f}")
    print(f"{matched} matches found, {int(alone_rows.sum())} keypoints left alone, no mistake")


if __name__ == "__main__":
    main()
