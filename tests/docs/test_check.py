"""The inner loop runs what lies nearest to a change, as far as its time goes."""

from tools import check, seconds


def test_what_the_time_does_not_suffice_for_is_left_out_and_named(monkeypatch):
    cost = seconds.read()
    dear, cheap = max(cost, key=cost.__getitem__), min(cost, key=cost.__getitem__)
    monkeypatch.setattr(check, "BUDGET", cost[dear] - 0.1)
    assert check.affordable([dear, cheap, "tests/new.py"]) == ([cheap, "tests/new.py"], [dear])
    monkeypatch.setattr(check, "BUDGET", cost[dear] + check.UNKNOWN)
    assert check.affordable([dear, "tests/new.py", dear]) == ([dear, "tests/new.py"], [dear])


def test_the_test_of_a_module_is_found_by_its_imports():
    found = check.tests_of(["kernels/sinkhorn/row.py", "tests/docs/test_check.py"])
    assert found[0] == "tests/docs/test_check.py"
    assert "tests/kernels/launches/test_compile.py" in found
