"""The comparison's own parts: the search for a peer's iterations, certificates, and its rows."""

import pytest
import torch

import multisk
from benchmarks.common import record
from benchmarks.common.cases import CASES, Case, cosines
from benchmarks.common.certificate import bound, judge
from benchmarks.common.iterations import MOST, needed
from benchmarks.common.measure import Session, missing
from benchmarks.common.providers import Provider, by, providers_of
from benchmarks.common.record import FIELDS, timed
from benchmarks.peers import dense, eager, transport


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 0.97])
def test_the_search_finds_the_fewest_iterations_to_a_twentieth_in_few_runs(rate):
    runs = []

    def error_after(count):
        runs.append(count)
        return 0.3 * rate**count + 1e-9

    found = needed(error_after, 1e-5)
    assert len(runs) <= 16
    fewest = next(count for count in range(1, MOST) if error_after(count) <= 1e-5)
    assert fewest <= found <= fewest + max(1, found // 20)

    runs.clear()
    hinted = needed(error_after, 1e-5, hint=found)
    assert fewest <= hinted <= fewest + max(1, hinted // 20)
    assert len(runs) <= 6


def test_the_search_gives_up_on_what_does_not_arrive():
    assert 64 <= needed(lambda count: 0.5 + 1 / count, 1e-5) <= MOST // 2
    assert needed(lambda count: 0.5 * 0.992**count, 1e-5) == MOST
    assert needed(lambda count: float("nan"), 1e-5) == MOST


def test_every_transport_meets_every_peer():
    for case in ("transport", "square transport", "transports"):
        names = {one.name for one in providers_of(case, CASES[case])}
        assert {"POT sinkhorn", "GeomLoss", "OTT-JAX log", "OTT-JAX kernel", "SwAV loop"} <= names


def test_the_loops_that_are_timed_are_the_published_sweeps():
    x = cosines(60, 8).double()

    def far(found, order):
        want = multisk.reference.multi_sk(x.numpy(), 3, 0.07, 0.25, 20, order)
        return float((found - torch.from_numpy(want)).abs().max())

    assert far(eager.sweeps(x, 3, 0.07, 0.25, 20), "row-column-depth") <= 1e-12
    for iterate in (dense.as_published, dense.in_place):  # they add 1e-5 to denominators
        assert far(iterate(x, 3, 0.07, 0.25, 20), "column-depth-row") <= 1e-3


@pytest.mark.parametrize("name", ["swav", "pot", "pot_batch"])
def test_peers_answer_the_question_that_multisk_is_asked(name):
    if name != "swav" and missing(Provider("POT", by(None), "POT")):
        pytest.skip("POT is not installed")
    x = cosines(40, 10)
    plan = multisk.solve(x.double(), multisk.Transport(eps=0.1)).plan
    assert (getattr(transport, name)(x, 0.1)(200) - plan).abs().max() <= 1e-5


@pytest.mark.parametrize("budget", [0, 3])
def test_the_certificate_is_tight_at_the_optimum_and_honest_elsewhere(budget):
    case, x = Case((50, 8), budget, 0.1), cosines(50, 8)
    best = bound(x, case)
    error, gap = judge(multisk.solve(x.double(), case.problem).plan, best)
    assert error <= 1e-6
    assert gap <= 1e-9
    even = torch.full_like(x, (budget or 1) / 8)  # feasible, and not optimal
    error, gap = judge(even, best)
    assert error <= 1e-6
    assert gap >= 1e-3
    assert judge(even * 1.01, best)[0] == pytest.approx(0.01, rel=1e-4)


def test_the_table_is_kept_in_one_format(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "FILE", tmp_path / "cpu.csv")
    record.FILE.write_text("case,provider,machine\nsmall,somebody,old\n")
    assert record.read() == []
    for time in ("1.0", "2.0"):
        record.keep({"case": "small", "provider": "multisk Newton", "min_ms": time})
    record.keep({"case": "small", "provider": "SwAV loop", "min_ms": "3.0"})
    rows = record.read()
    assert [list(row) for row in rows] == [FIELDS] * 2
    assert [row["min_ms"] for row in record.newest(rows)] == ["2.0", "3.0"]


def test_a_row_has_its_error_its_certificate_and_its_memory_apart():
    session = Session(lambda work: timed(work, seconds=0.0))
    row, _ = session.row("small", Provider("multisk Newton", by(multisk.Newton())))
    assert set(row) <= set(FIELDS)
    assert float(row["gap"]) <= 1e-6
    assert float(row["marginal_error"]) <= 1e-6
    assert row["input_mb"] == row["plan_mb"] == "0.0"
    assert float(row["extra_mb"]) < 5.0
