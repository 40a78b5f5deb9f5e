"""Plots made from the committed CSV alone: `python -m benchmarks.plot`."""

from pathlib import Path

import matplotlib

from benchmarks.common.cases import CASES
from benchmarks.common.record import newest, read

matplotlib.use("Agg")
import matplotlib.pyplot as plt

FOLDER = Path(__file__).parent / "results"
TALL = ("rows 2^12", "rows 2^14", "rows 2^16", "rows 2^18", "tall")


def main() -> None:
    """Time against rows, and time against reached error for every transport."""
    table = [row for row in newest(read()) if row["min_ms"]]
    figure, axes = plt.subplots(2, 2, figsize=(11, 8))
    panels = iter(axes.flat)
    by_rows(next(panels), [row for row in table if row["case"] in TALL])
    cases = [name for name, case in CASES.items() if not case.budget]
    for case, axis in zip(cases, panels, strict=False):
        rows = [row for row in table if row["case"] == case]
        axis.set_visible(bool(rows))
        if rows:
            by_error(axis, f"{case}, {rows[0]['shape']}, eps {CASES[case].eps}", rows)
    figure.suptitle("One thread, minimum of repeats; machine, versions and load stand in cpu.csv")
    figure.tight_layout()
    figure.savefig(FOLDER / "cpu.png", dpi=110)


def by_rows(axis: plt.Axes, rows: list[dict[str, str]]) -> None:
    for provider in ("multisk Newton", "multisk Sinkhorn(steps=20)"):
        points = sorted(
            (CASES[row["case"]].shape[0], float(row["min_ms"]))
            for row in rows
            if row["provider"] == provider
        )
        if points:
            axis.loglog(*zip(*points, strict=True), marker="o", label=provider)
    axis.set(xlabel="rows N (K = 64)", ylabel="ms", title="Time against rows")
    axis.legend()


def by_error(axis: plt.Axes, case: str, rows: list[dict[str, str]]) -> None:
    for row in rows:
        ours = row["provider"].startswith("multisk")
        axis.loglog(
            float(row["min_ms"]),
            max(float(row["marginal_error"]), 1e-9),
            marker="o" if ours else "x",
            color="tab:blue" if ours else "tab:red",
        )
        axis.annotate(
            row["provider"],
            (float(row["min_ms"]), max(float(row["marginal_error"]), 1e-9)),
            fontsize=7,
            rotation=20,
        )
    axis.set(xlabel="ms", ylabel="marginal error reached", title=case)


if __name__ == "__main__":
    main()
