"""The benchmark of exact assignments: every provider reaches the bound on every kind of case."""

from benchmarks import hard

SMALL = {
    "even": hard.Case((24, 8), 3),
    "square": hard.Case((2, 9, 9), 1),
    "few rows": hard.Case((2, 4, 12), 1, most=1),
    "clusters": hard.Case((24, 6), 1),
    "masked": hard.Case((40, 8), 2, masked=0.2),
}


def test_every_provider_reaches_the_dual_bound(monkeypatch, tmp_path):
    monkeypatch.setattr(hard, "CASES", SMALL)
    monkeypatch.setattr(hard, "FILE", tmp_path / "hard.csv")
    monkeypatch.setattr(hard, "timed", lambda work, seconds: {"cpu_ms": "1", "min_ms": "1"})
    hard.main([])
    hard.main(["even"])  # rows are replaced
    rows = hard.read()
    ran = {case: {row["provider"] for row in rows if row["case"] == case} for case in SMALL}
    assert len(rows) == sum(map(len, ran.values()))
    assert all(abs(float(row["below_bound"])) <= 1e-9 for row in rows)
    assert all({"multisk", "multisk, warm", "multisk, no numba"} <= found for found in ran.values())
    assert "HiGHS" in ran["even"]
    assert "SciPy" in ran["square"]
    assert "SciPy" in ran["few rows"]


def test_a_bound_is_one_for_any_prices(monkeypatch):
    """Weak duality: prices that are wrong prove less, never something false."""
    case = SMALL["masked"]
    right = hard.dual_bound(case.scores(), case)
    found = hard.multisk.hard

    def wrong(x, problem):
        answer = found(x, problem)
        answer.prices[3] += 0.5
        return answer

    monkeypatch.setattr(hard.multisk, "hard", wrong)
    assert hard.dual_bound(case.scores(), case) > right + 1e-6


def test_the_rows_that_are_kept_are_optimal():
    rows = hard.read()
    assert {row["case"] for row in rows} == set(hard.CASES)
    assert all(abs(float(row["below_bound"])) <= 1e-9 for row in rows)
