"""Raking a survey: make a table agree with known totals and change nothing else.

Shows that iterative proportional fitting is transport with scores log(table), that cells nobody can
be in stay empty, and that the table's odds ratios are kept.
"""

import torch

import multisk


def main() -> None:
    sample = torch.tensor(
        [[80.0, 45.0, 10.0], [60.0, 70.0, 30.0], [15.0, 40.0, 50.0], [2.0, 12.0, 0.0]],
        dtype=torch.float64,
    )  # age groups x education; the last cell is impossible
    ages = torch.tensor([3100.0, 4200.0, 2900.0, 600.0], dtype=torch.float64)
    education = torch.tensor([4300.0, 4100.0, 2400.0], dtype=torch.float64)
    possible = sample > 0
    scores = sample.masked_fill(~possible, 1.0).log()

    problem = multisk.Transport(eps=1.0, rows=ages, columns=education, mask=possible)
    raked = multisk.solve(scores, problem).raise_if_failed().plan
    assert (raked.sum(1) / ages - 1).abs().max() < 1e-6
    assert (raked.sum(0) / education - 1).abs().max() < 1e-6
    assert not bool(raked[~possible].any())

    table = sample.clone()
    for _ in range(500):  # the textbook loop
        table = table * (ages / table.sum(1))[:, None]
        table = table * (education / table.sum(0))
    assert (raked / table.where(possible, 1.0) - possible.double()).abs().max() < 1e-6

    odds = [t[0, 0] * t[1, 1] / (t[0, 1] * t[1, 0]) for t in (sample, raked)]
    assert abs(float(odds[0] / odds[1]) - 1) < 1e-9
    print(f"margins met; odds ratio {float(odds[1]):.3f}, as in the sample")


if __name__ == "__main__":
    main()
