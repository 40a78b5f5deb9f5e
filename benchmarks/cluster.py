"""Balanced k-means beside k-means-constrained: 20 data sets, equal sizes, equal first centres.

    OMP_NUM_THREADS=1 python -m benchmarks.cluster [set ...]
    OMP_NUM_THREADS=1 python -m benchmarks.cluster "132000 x 16, 25"    a large set, alone

Writes `benchmarks/results/cluster.csv`. `inertia` is the sum of squared distances to the means of
the clusters, worked out from the labels alone; `step_excess` how far the last assignment is above
the best one to the same centres; `cpu_s` the processor time of a fit on one thread.
k-means-constrained is no dependency (`pip install k-means-constrained`): where it is missing its
rows are left as they are. scikit-learn's k-means without bounds is there for scale.

The large sets (`LARGE`) are measured one at a time and by us alone, with the peak memory of the
process, its data among it.
"""

import importlib
import importlib.util
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import multisk
from benchmarks.common.table import upsert
from multisk.cluster import BalancedKMeans

FILE = Path(__file__).parent / "results" / "cluster.csv"
# Rows, features, clusters; the last is the large one.
SHAPES = (
    *((500, 2, 5), (500, 8, 10), (1000, 2, 7), (1000, 16, 10), (1000, 32, 25), (1500, 4, 12)),
    *((2000, 2, 20), (2000, 8, 8), (2000, 16, 20), (2000, 64, 10), (2500, 3, 30), (3000, 8, 6)),
    *((3000, 16, 16), (3000, 50, 12), (4000, 2, 10), (4000, 8, 20), (5000, 8, 10), (5000, 16, 25)),
    *((5001, 32, 8), (20000, 50, 20)),
)
CASES = {f"{n} x {d}, {k}": (n, d, k, seed) for seed, (n, d, k) in enumerate(SHAPES)}
LARGE: dict[str, tuple[tuple[int, int, int, int], dict[str, Any]]] = {
    "132000 x 16, 25": ((132_000, 16, 25, 20), {}),
    # A part of a fit: a few steps on batches, and no last exact assignment, whose tables would
    # take some 40 GB. Its sizes are not bounded therefore.
    "1000000 x 64, 1000": (
        (1_000_000, 64, 1000, 21),
        {"batch_size": 20_000, "max_iter": 3, "refine": False},
    ),
    # One exact assignment, from prices of zero, and the one to the centres it moves.
    "20000 x 64, 1000": ((20_000, 64, 1000, 21), {"max_iter": 1}),
}
PEER = "k-means-constrained"
Row = dict[str, Any]


def draw(rows: int, features: int, clusters: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian mixture of uneven parts, and first centres."""
    random = np.random.default_rng(seed)
    parts = random.dirichlet(np.full(clusters, 2.0))
    centres = 2.0 * random.normal(size=(clusters, features))
    x = centres[random.choice(clusters, rows, p=parts)] + random.normal(size=(rows, features))
    return x, x[random.choice(rows, clusters, replace=False)].copy()


def ours(x: np.ndarray, first: np.ndarray) -> Any:
    return BalancedKMeans(len(first), init=first).fit(x)


def constrained(x: np.ndarray, first: np.ndarray) -> Any:
    low, high = len(x) // len(first), -(-len(x) // len(first))
    options = {"size_min": low, "size_max": high, "init": first, "n_init": 1, "n_jobs": 1}
    peer = importlib.import_module("k_means_constrained")
    return peer.KMeansConstrained(len(first), **options).fit(x)


def free(x: np.ndarray, first: np.ndarray) -> Any:
    from sklearn.cluster import KMeans

    options: Any = {"init": first, "n_init": 1}
    return KMeans(len(first), **options).fit(x)


METHODS: dict[str, tuple[Callable[[np.ndarray, np.ndarray], Any], str]] = {
    "multisk": (ours, "multisk"),
    PEER: (constrained, "k_means_constrained"),
    "KMeans, no bounds": (free, "sklearn"),
}


def inertia(x: np.ndarray, labels: np.ndarray) -> float:
    """Sum of squared distances to the means of the clusters."""
    parts = (x[labels == label] for label in np.unique(labels))
    return float(sum(((part - part.mean(0)) ** 2).sum() for part in parts))


def excess(x: np.ndarray, fitted: Any) -> float:
    """How far the labels are above the best assignment to the method's own last centres."""
    far = ((x**2).sum(1)[:, None] - 2 * x @ fitted.cluster_centers_.T) + (
        fitted.cluster_centers_**2
    ).sum(1)
    best = multisk.hard(torch.from_numpy(-far), multisk.MultiAssignment(1))
    mine = float(far[np.arange(len(x)), fitted.labels_].sum())
    return mine / -float(best.value) - 1


def row_of(name: str, method: str) -> Row:
    """One set by one method."""
    n, _, k, _ = CASES[name]
    x, first = draw(*CASES[name])
    began = time.process_time()
    fitted = METHODS[method][0](x, first)
    spent = time.process_time() - began
    counts = np.bincount(fitted.labels_, minlength=k)
    even = counts.min() == n // k and counts.max() == -(-n // k)
    return {
        "set": name,
        "method": method,
        "inertia": f"{inertia(x, fitted.labels_):.10g}",
        "smallest": int(counts.min()),
        "largest": int(counts.max()),
        "even": "yes" if even else "no",
        "step_excess": f"{max(0.0, excess(x, fitted)):.1e}" if even else "",
        "steps": int(fitted.n_iter_),
        "cpu_s": f"{spent:.3f}",
        "memory_gib": "",
    }


def large_row(name: str) -> Row:
    """One large set by `BalancedKMeans`."""
    shape, options = LARGE[name]
    x, first = draw(*shape)
    n, _, k, _ = shape
    began = time.process_time()
    fitted = BalancedKMeans(k, init=first, **options).fit(x)
    spent = time.process_time() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    counts = fitted.counts_
    even = counts.min() == n // k and counts.max() == -(-n // k)
    told = ", ".join(f"{key}={value}" for key, value in options.items())
    return {
        "set": name,
        "method": f"multisk({told})" if told else "multisk",
        "inertia": f"{inertia(x, fitted.labels_):.10g}",
        "smallest": int(counts.min()),
        "largest": int(counts.max()),
        "even": "yes" if even else "no",
        "step_excess": "",
        "steps": int(fitted.n_iter_),
        "cpu_s": f"{spent:.3f}",
        "memory_gib": f"{memory:.2f}",
    }


def summary(rows: list[Row]) -> list[str]:
    """Objective and time against the peer, over the sets that both did."""
    by = {(row["set"], row["method"]): row for row in rows}
    both = [(by[name, "multisk"], by[name, PEER]) for name in CASES if (name, PEER) in by]
    kept = sum(row["even"] == "yes" for row in rows if row["method"] == "multisk")
    lines = [f"sizes kept on {kept} of {sum(row['method'] == 'multisk' for row in rows)} sets"]
    if both:
        worse = [float(mine["inertia"]) / float(peer["inertia"]) - 1 for mine, peer in both]
        ratio = [float(peer["cpu_s"]) / float(mine["cpu_s"]) for mine, peer in both]
        fine = sum(part <= 1e-12 for part in worse)
        lines += [
            f"inertia <= {PEER} on {fine} of {len(both)}; difference {100 * min(worse):+.2f} % to "
            f"{100 * max(worse):+.2f} %, mean {100 * np.mean(worse):+.2f} %",
            f"processor time of {PEER} over ours: {min(ratio):.1f} to {max(ratio):.1f}, "
            f"median {np.median(ratio):.1f}",
        ]
    return lines


def main(names: list[str]) -> None:
    """Measure the named sets, or all but the large ones."""
    torch.set_num_threads(1)
    ours(*draw(40, 2, 3, 0))  # loads, or compiles, the loops
    rows = []
    for name in names or CASES:
        if name in LARGE:
            rows.append(large_row(name))
            print(" ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
            continue
        for method, (_, package) in METHODS.items():
            if importlib.util.find_spec(package) is None:
                print(f"set={name} method={method} skipped: not installed")
                continue
            rows.append(row_of(name, method))
            print(" ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    upsert(FILE, rows, ("set", "method"))
    print(*summary(rows), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
