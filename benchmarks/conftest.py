"""Measure what the tests call, keep the rows, and compare them with the last saved run."""

import time
from typing import Any

import pytest
import torch

from benchmarks.common.measure import Session
from benchmarks.common.record import keep, machine, newest, read
from benchmarks.compare import speedups

SECONDS, ROUNDS = 0.5, 200  # of measuring, per row
BEFORE = pytest.StashKey[dict[tuple[str, str], dict[str, str]]]()
ROWS = pytest.StashKey[list[dict[str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Remember what was saved before."""
    torch.set_num_threads(1)
    old = newest(read(), machine())
    config.stash[BEFORE] = {(row["case"], row["provider"]): row for row in old}
    config.stash[ROWS] = []


@pytest.fixture(scope="session")
def session() -> Session:
    """Scores and bounds of the case at hand, shared by all its providers."""
    return Session(lambda work: {})


@pytest.fixture
def measure(session: Session, benchmark: Any, request: pytest.FixtureRequest) -> Any:
    """Measure a provider on a case by pytest-benchmark, and keep the row."""

    def timer(work: Any) -> dict[str, Any]:
        began, processor = time.perf_counter(), time.process_time()
        work()
        wall = time.perf_counter() - began
        rounds = int(min(ROUNDS, max(1.0, SECONDS / max(wall, 1e-6))))
        benchmark.pedantic(work, rounds=rounds)
        processor = (time.process_time() - processor) / (rounds + 1)
        stats = benchmark.stats.stats
        return {
            "min_ms": f"{1e3 * stats.min:.4g}",
            "median_ms": f"{1e3 * stats.median:.4g}",
            "cpu_ms": f"{1e3 * processor:.4g}",
            "runs": rounds,
        }

    def run(name: str, provider: Any) -> dict[str, Any]:
        session.timer = timer
        row, work = session.row(name, provider)
        full = keep(row, provider.package)
        request.config.stash[ROWS].append(full)
        if work is None:
            pytest.skip(row["note"])
        return row

    return run


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Beside the last saved run."""
    if not config.stash[ROWS]:
        return
    speedups()
    line = "{:19}{:45}{:>11}{:>11}{:>8}{:>10}"
    titles = ("case", "provider", "min ms", "before", "ratio", "error")
    terminalreporter.write_line("\n" + line.format(*titles))
    for row in config.stash[ROWS]:
        old = config.stash[BEFORE].get((row["case"], row["provider"]), {})
        before, now = old.get("min_ms", ""), row["min_ms"]
        ratio = f"{float(now) / float(before):.2f}" if before and now else ""
        now = now or row["note"]
        terminalreporter.write_line(
            line.format(row["case"], row["provider"], now, before, ratio, row["marginal_error"])
        )
