"""The benchmark of balanced k-means: its measures against plain definitions, and its rows."""

import csv
import importlib.util

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from benchmarks import cluster
from multisk.cluster import BalancedKMeans


def test_inertia_and_excess_follow_their_definitions():
    x, first = cluster.draw(40, 2, 4, seed=3)
    fitted = BalancedKMeans(4, init=first, max_iter=1).fit(x)
    means = np.stack([x[fitted.labels_ == j].mean(0) for j in range(4)])
    plain = sum(((row - means[j]) ** 2).sum() for row, j in zip(x, fitted.labels_, strict=True))
    assert np.isclose(cluster.inertia(x, fitted.labels_), plain)

    fitted.labels_ = np.roll(fitted.labels_, 7)  # even, and poor
    far = ((x[:, None] - fitted.cluster_centers_) ** 2).sum(-1)
    rows, places = linear_sum_assignment(np.repeat(far, 10, axis=1))
    best, mine = far[rows, places // 10].sum(), far[np.arange(40), fitted.labels_].sum()
    assert np.isclose(cluster.excess(x, fitted), mine / best - 1)
    assert cluster.excess(x, fitted) > 0.1


def test_a_missing_peer_is_skipped_by_name(monkeypatch, tmp_path, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: find(name) if name == "multisk" else None
    )
    monkeypatch.setattr(cluster, "FILE", tmp_path / "cluster.csv")
    monkeypatch.setattr(cluster, "CASES", {"tiny": (30, 2, 4, 0)})
    cluster.main([])
    said = capsys.readouterr().out
    assert "method=k-means-constrained skipped: not installed" in said
    assert "sizes kept on 1 of 1 sets" in said
    with cluster.FILE.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["smallest"], row["largest"], row["even"]) == ("7", "8", "yes")


def test_a_large_set_says_what_part_of_a_fit_ran_and_its_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "FILE", tmp_path / "cluster.csv")
    part = {"batch_size": 10, "max_iter": 2, "refine": False}
    tiny = {"whole": ((30, 2, 4, 0), {}), "part": ((30, 2, 4, 0), part)}
    monkeypatch.setattr(cluster, "LARGE", tiny)
    cluster.main(["whole", "part"])
    with cluster.FILE.open(newline="") as file:
        rows = {row["set"]: row for row in csv.DictReader(file)}
    assert (rows["whole"]["method"], rows["whole"]["even"]) == ("multisk", "yes")
    assert rows["part"]["method"] == "multisk(batch_size=10, max_iter=2, refine=False)"
    assert rows["part"]["steps"] == "2"
    assert float(rows["part"]["memory_gib"]) > 0


def test_the_peer_keeps_the_sizes_too():
    pytest.importorskip("k_means_constrained")
    x, first = cluster.draw(30, 2, 4, 0)
    counts = np.bincount(cluster.constrained(x, first).labels_, minlength=4)
    assert (counts.min(), counts.max()) == (7, 8)


def test_the_summary_counts_ties_as_met():
    rows = [
        {"set": name, "method": method, "inertia": value, "even": "yes", "cpu_s": seconds}
        for name, mine, peer in (("500 x 2, 5", "10", "10"), ("500 x 8, 10", "11", "10"))
        for method, value, seconds in (("multisk", mine, "1"), (cluster.PEER, peer, "3"))
    ]
    kept, objective, spent = cluster.summary(rows)
    assert kept == "sizes kept on 2 of 2 sets"
    assert "on 1 of 2; difference +0.00 % to +10.00 %" in objective
    assert spent.endswith("3.0 to 3.0, median 3.0")


def test_the_rows_that_are_kept_keep_the_sizes():
    with cluster.FILE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    mine = [row for row in rows if row["method"] == "multisk"]
    assert {row["set"] for row in mine} - set(cluster.LARGE) == set(cluster.CASES)
    assert all(row["even"] == "yes" and float(row["step_excess"] or 0) <= 1e-9 for row in mine)
