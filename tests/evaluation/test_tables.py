"""Files hold what the contract says and nothing a spreadsheet or LaTeX would run."""

import csv
import json

import numpy as np
import pytest
from scipy import stats

from rfpmss.evaluation.page import charts
from rfpmss.evaluation.page.tables import (
    TableError,
    print_table,
    read_rows,
    write_csv,
    write_latex,
    write_retrieval,
)
from rfpmss.evaluation.retrieval.zeroshot import CONTRACT, Row
from rfpmss.evaluation.statistics import interval


def row(query="study", gallery="report", **changes):
    numbers = {
        name: 0.5
        for name, kind in Row.__annotations__.items()
        if "float" in str(kind) and name not in ("query", "gallery")
    }
    return Row(**{**numbers, "query": query, "gallery": gallery, "n": 4, "items": 4, **changes})


def test_the_retrieval_file_has_exactly_the_fields_of_the_contract(tmp_path):
    write_retrieval([row(ceiling_r5=None)], tmp_path)
    (entry,) = json.loads((tmp_path / "retrieval.json").read_text())
    assert tuple(entry) == CONTRACT
    assert entry["ceiling_r5"] is None
    (full,) = json.loads((tmp_path / "retrieval_full.json").read_text())
    with (tmp_path / "retrieval.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert line.keys() == full.keys()
    assert float(line["r10"]) == full["r10"]


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity"])
def test_a_number_that_is_not_finite_is_of_a_damaged_file(number, tmp_path):
    (tmp_path / "rows.json").write_text(f'[{{"seconds": {number}}}]')
    with pytest.raises(TableError, match=r"rows\.json, which is damaged"):
        read_rows(tmp_path / "rows.json")


def test_a_number_that_is_none_is_refused_instead_of_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_retrieval([row(r5=float("nan"))], tmp_path)
    assert not (tmp_path / "retrieval.json").exists()


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2", "@SUM(A1)", " =A1", "\t=A1"])
def test_no_cell_starts_a_formula(tmp_path, text):
    write_csv(tmp_path / "t.csv", [{"a": text, "b": -2.0}])
    with (tmp_path / "t.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert line == {"a": "'" + text, "b": "-2.0"}


def test_latex_cells_are_escaped(tmp_path):
    write_latex(tmp_path / "t.tex", [{"a_b": r"50 % & \input{x}"}])
    text = (tmp_path / "t.tex").read_text()
    assert r"a\_b" in text
    assert r"50 \% \& \textbackslash{}input\{x\}" in text


def test_the_printed_table_shows_chance_score_and_ceiling(capsys):
    shown = row(r5=0.75, chance_r5=0.05, ceiling_r5=None, outline_r5=None)
    print_table([shown, row("ct", "pathology")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].split() == [
        "study",
        "->",
        "report",
        "4",
        "5.0",
        "75.0",
        "(50.0-50.0)",
        "-",
        "50.0",
        "0.5",
    ]


def test_the_interval_is_scipys_when_every_patient_has_one_value():
    values = (np.random.default_rng(0).random(60) < 0.4).astype(float)
    low, high = interval(values, np.arange(60), draws=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1 / 60 + 1e-9)


def test_copies_of_a_patient_do_not_narrow_the_interval():
    values = (np.random.default_rng(0).random(40) < 0.4).astype(float)
    once = interval(values, np.arange(40))
    tenfold = interval(np.repeat(values, 10), np.repeat(np.arange(40), 10))
    assert tenfold == pytest.approx(once, abs=1e-12)
    assert np.diff(interval(np.repeat(values, 10), np.arange(400)))[0] < np.diff(once)[0] / 2


@pytest.mark.parametrize(
    ("low", "high"), [(0.3, 3.8), (2.4842, 2.485), (5.0, 5.0), (-3.0, 120.0), (0.0, 0.0)]
)
def test_ticks_are_round_and_span_the_data(low, high):
    ticks = charts.nice(low, high)
    assert ticks[0] <= low <= high <= ticks[-1]
    assert 2 <= len(ticks) <= 7
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_a_curve_stays_inside_its_picture_and_ends_at_its_last_step():
    values = np.random.default_rng(0).normal(size=1000).cumsum()
    drawn = charts.curve("loss", range(1, 1001), values.tolist())
    points = np.array([p.split(",") for p in drawn.raw[1:].split("L")], float)
    assert points[:, 0].min() >= charts.LEFT
    assert points[-1, 0] == charts.WIDTH - charts.RIGHT
    assert points[:, 1].min() >= charts.TOP
    assert points[:, 1].max() <= charts.HEIGHT - charts.BOTTOM
    assert drawn.x[-1].label == "1,000"


def test_the_running_mean_is_a_plain_loop():
    values = np.random.default_rng(1).normal(size=30)
    expected = [values[max(0, i - 6) : i + 1].mean() for i in range(30)]
    assert charts.running_mean(values, 7) == pytest.approx(expected, abs=1e-12)
