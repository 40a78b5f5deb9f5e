"""Draw the figures of the documentation into docs/assets, from a seed or a committed table.

Usage: python tools/figures.py [NAME ...]      (without names: all)
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

import multisk
from multisk import moe, ssl
from multisk.cluster import BalancedKMeans

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "assets"
RESULTS = ROOT / "benchmarks" / "results"


def main() -> int:
    """Draw the figures that are named, or all."""
    names = sys.argv[1:] or list(FIGURES)
    if unknown := set(names) - FIGURES.keys():
        print(f"error: names must be among {', '.join(FIGURES)}, got {', '.join(unknown)}")
        return 2
    plt.rcParams |= {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
    for name in names:
        torch.manual_seed(0)
        figure = FIGURES[name]()
        path = OUT / f"{name}.png"
        # No version and no date inside: the same drawing is the same file.
        figure.savefig(path, dpi=120, bbox_inches="tight", metadata={"Software": None})
        plt.close(figure)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size >> 10} KB")
    return 0


def table(name: str) -> list[dict[str, str]]:
    """A table of benchmarks/results."""
    with (RESULTS / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def map_of_costs() -> Figure:
    """Milliseconds of the default over shapes, and its ratio to the best alternative; all forms."""
    rows = table("map")
    plain = [row for row in rows if row["form"] == "assignment"]
    others = [row for row in rows if row["form"] != "assignment"]
    by_case = [(f"{row['scores']}, eps {row['eps']}", row) for row in plain]
    by_form = [(row["form"], row) for row in others]
    best = "times the best alternative (1: the default is the fastest)"
    panels = [
        ("assignments by the default: milliseconds", by_case, "milliseconds"),
        (f"assignments: {best}", by_case, "ratio"),
        (f"other forms, eps 0.02, the worse of two kinds of scores: {best}", by_form, "ratio"),
    ]
    panels = [panel for panel in panels if panel[1]]
    heights = [len({line for line, _ in panel[1]}) for panel in panels]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(8, 0.3 * sum(heights) + 2.6),
        gridspec_kw={"height_ratios": heights},
        layout="constrained",
        squeeze=False,
    )
    for axis, (title, lines, what) in zip(axes[:, 0], panels, strict=True):
        shade(axis, title, lines, what)
    return figure


def shade(axis: plt.Axes, title: str, lines: list[tuple[str, dict[str, str]]], what: str) -> None:
    """A table of numbers over lines and shapes, coloured by their logarithms."""
    names = list(dict.fromkeys(name for name, _ in lines))
    shapes = sorted({(int(row["rows"]), int(row["columns"])) for _, row in lines})
    values = np.full((len(names), len(shapes)), np.nan)
    for name, row in lines:
        at = names.index(name), shapes.index((int(row["rows"]), int(row["columns"])))
        found = 1e3 * float(row["seconds"]) if what == "milliseconds" else float(row["ratio"])
        values[at] = np.fmax(values[at], found)
    logs = np.log10(values)
    colours = "Blues" if what == "milliseconds" else "Oranges"
    axis.imshow(logs, aspect="auto", cmap=colours, vmin=np.nanmin(logs), vmax=np.nanmax(logs) + 0.1)
    dark = logs > np.nanmean(logs) + np.nanstd(logs)
    for i, j in np.argwhere(np.isfinite(values)):
        colour = "white" if dark[i, j] else "black"
        text = f"{values[i, j]:.3g}"
        axis.text(j, i, text, ha="center", va="center", color=colour, size=7)
    axis.set_title(title, size=9)
    axis.set_yticks(range(len(names)), names, size=8)
    axis.set_xticks(range(len(shapes)), [f"{n} x {k}" for n, k in shapes], size=8)


def hard() -> Figure:
    """Seconds of exact assignments beside SciPy, POT and HiGHS."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for row in table("hard"):
        found[row["provider"]][named(row)] = float(row["cpu_ms"]) / 1000
    cases = list(dict.fromkeys(map(named, table("hard"))))
    figure, axis = plt.subplots(figsize=(8, 4.2))
    marks = dict(zip(found, "os^Dvx*P", strict=False))
    for provider, times in found.items():
        places = [cases.index(case) for case in times]
        axis.plot(list(times.values()), places, marks[provider], label=provider, alpha=0.8)
    axis.set_yticks(range(len(cases)), cases)
    axis.invert_yaxis()
    axis.set(xscale="log", xlabel="seconds of one core, all at the same optimum")
    axis.grid(axis="x", alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    return figure


def named(row: dict[str, str]) -> str:
    """Shape and columns a row of a case."""
    return f"{row['shape']}, k = {row['k']}"


def router() -> Figure:
    """The fullest expert of every batch while the router's logits drift."""
    tokens, experts, k, batches = 2048, 16, 2, 60
    plain, balanced = [], []
    layer = moe.BalancedRouter(experts, k).train()
    offset, drift = torch.randn(experts), 0.05 * torch.randn(experts)
    for batch in range(batches):
        logits = torch.randn(tokens, experts) + offset + batch * drift
        _, chosen, _ = layer(logits)
        loads = chosen.flatten().bincount(minlength=experts)
        balanced.append(float(moe.violation(loads)))
        layer.update()
        loads = logits.topk(k).indices.flatten().bincount(minlength=experts)
        plain.append(float(moe.violation(loads)))
    figure, axis = plt.subplots(figsize=(7, 3))
    axis.plot(plain, label=f"top-{k} of the logits", color="tab:orange")
    axis.plot(balanced, label="BalancedRouter", color="tab:blue")
    axis.set(yscale="log", xlabel="batch", ylabel="largest load over the mean, - 1")
    axis.legend(frameon=False)
    axis.grid(alpha=0.3)
    return figure


def cluster() -> Figure:
    """The same points in clusters of any size and of equal sizes."""
    draw = np.random.default_rng(0)
    centres = np.array([[0, 0], [5, 1], [2, 5]])
    points = np.concatenate(
        [draw.normal(c, 1, (n, 2)) for c, n in zip(centres, (320, 60, 40), strict=True)]
    )
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharex=True, sharey=True)
    options = {"n_clusters": 6, "random_state": 0}
    for axis, bound, title in ((axes[0], None, "any size"), (axes[1], "even", "equal sizes")):
        model = BalancedKMeans(**options, size_min=bound, size_max=bound).fit(points)
        axis.scatter(*points.T, c=model.labels_, cmap="tab10", vmax=9, s=8)
        axis.plot(*model.cluster_centers_.T, "kx", ms=7)
        axis.set_title(f"{title}: {', '.join(map(str, sorted(model.counts_)))}", size=9)
    return figure


def targets() -> Figure:
    """What each prototype carries: nearest prototype, three sweeps, the targets."""
    rows, prototypes, temperature = 512, 64, 0.05
    direction = torch.nn.functional.normalize(torch.randn(64), dim=0)
    unit = torch.nn.functional.normalize
    features = unit(torch.randn(rows, 64) + 6 * direction, dim=1)
    scores = features @ unit(torch.randn(prototypes, 64) + 2 * direction, dim=1).T
    loads = {
        "nearest prototype": scores.argmax(1).bincount(minlength=prototypes).float(),
        "three sweeps": ssl.targets(scores, temperature, sweeps=3).sum(0),
        "targets()": ssl.targets(scores, temperature).sum(0),
    }
    figure, axis = plt.subplots(figsize=(7, 3))
    for name, load in loads.items():
        off = (load * prototypes / rows - 1).abs().sort(descending=True).values
        axis.plot(off, label=name)
    axis.set(xlabel="prototypes, the worst first", ylabel="relative error of the load")
    axis.set(yscale="log", ylim=(1e-6, 30))
    axis.legend(frameon=False)
    axis.grid(alpha=0.3)
    return figure


def soft_topk() -> Figure:
    """Soft top-7 of 30 numbers at three temperatures."""
    x = torch.randn(30, dtype=torch.float64).sort(descending=True).values
    figure, axis = plt.subplots(figsize=(7, 3))
    for eps in (0.5, 0.1, 0.02):
        problem = multisk.MultiAssignment(k=7, eps=eps, damping=0, capacity=(0, 1))
        plan = multisk.solve(x[None], problem).plan[0]
        axis.plot(range(1, 31), plan, "o-", ms=3, label=f"eps {eps}")
    axis.axvline(7.5, color="grey", lw=0.8)
    axis.set(xlabel="entries, the largest first", ylabel="how far it is taken")
    axis.legend(frameon=False)
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "map": map_of_costs,
    "hard": hard,
    "router": router,
    "cluster": cluster,
    "targets": targets,
    "example-soft_topk": soft_topk,
}

if __name__ == "__main__":
    sys.exit(main())
