"""The map of costs: every form runs, a case has one line, a run goes on where it was cut off."""

import csv

import pytest

from benchmarks import map as costs


def test_every_case_has_a_key_of_its_own():
    for quick in (True, False):
        keys = [tuple(map(str, case)) for case in costs.cases(quick=quick)]
        assert len(keys) == len(set(keys))
    assert {case.form for case in costs.cases(quick=False)} == set(costs.FORMS)


@pytest.mark.parametrize(
    "form", ["mask", "interval", "k a row", "warm, 2 % drift", "gradient, transport", "round"]
)
def test_a_form_is_measured_beside_its_alternatives(form):
    row = costs.measure(costs.Case(24, 8, 2, 0.2, "sigmoid", form))
    assert set(row) == set(costs.FIELDS[costs.KEY :])
    assert row["status"] == "CONVERGED"
    assert float(row["ratio"]) >= 1


def test_a_run_takes_up_where_it_was_cut_off(tmp_path, monkeypatch, capsys):
    path, few = tmp_path / "map.csv", list(costs.cases(quick=True))[:3]
    calls = []
    monkeypatch.setattr(costs, "cases", lambda *, quick: few)
    monkeypatch.setattr(costs, "measure", lambda case: calls.append(case) or answer(len(calls)))
    monkeypatch.setattr("sys.argv", ["map", "--quick", "--out", str(path)])
    costs.main()
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:3]) + "\n")  # cut off after two of three
    before = len(calls)
    costs.main()
    assert [case for case in calls[before:] if case in few] == few[2:]
    with path.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3
    assert "3 cases, median ratio 3.0," in capsys.readouterr().out


def answer(number):
    """A line whose default is slower than the law allows."""
    names = costs.FIELDS[costs.KEY :]
    numbers = {"seconds": "0.03", "best_seconds": "0.01", "ratio": "3.00"}
    return dict.fromkeys(names, str(number)) | numbers
