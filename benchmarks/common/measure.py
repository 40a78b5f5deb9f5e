"""One row of the table: a provider on a case, with time, error, certificate and memory."""

import importlib.metadata
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import multisk
from benchmarks.common.cases import CASES, REACHED, Case
from benchmarks.common.certificate import Bound, bound, judge
from benchmarks.common.iterations import needed
from benchmarks.common.providers import Provider
from benchmarks.common.record import extra_memory

PATIENCE = 30.0  # seconds that one call may take (a case is left out when it would take more)
SLOW = 3.0  # seconds of a call that is not repeated: time and memory come from one run
MEMORY = 2.5e9  # bytes of a table that is worth having

Row = dict[str, Any]


class Session:
    """Scores and bound of the case at hand, and what slow providers took on smaller ones."""

    def __init__(self, timer: Callable[[Callable[[], Any]], Row]) -> None:
        self.timer = timer
        self.name, self.scores, self.best = "", torch.empty(0), None
        self.took: dict[str, tuple[str, float]] = {}
        self.hints: dict[str, int] = {}  # iterations that the first peer of a case needed

    def at(self, name: str) -> tuple[Tensor, Bound]:
        """Scores and bound; kept until another case is asked for."""
        if self.name != name or self.best is None:
            scores = CASES[name].scores()
            self.name, self.scores, self.best = name, scores, bound(scores, CASES[name])
        return self.scores, self.best

    def row(self, name: str, provider: Provider) -> tuple[Row, Callable[[], Any] | None]:
        """The row, and the call behind it; None where nothing was run."""
        case = CASES[name]
        row: Row = {"case": name, "shape": shape_of(case), "provider": provider.name}
        why = missing(provider) or self.too_much(name, case, provider)
        if why:
            return {**row, "note": why}, None
        scores, best = self.at(name)
        if "warm" in provider.name:
            scores = scores.clone()
        work, count = provider.prepare(scores, case), None
        if "warm" in provider.name:
            best = bound(scores, case)
        if provider.counted:
            run = work
            error_after = lambda many: judge(as_tensor(run(many)), best)[0]  # noqa: E731
            count = needed(error_after, REACHED, self.hints.get(name, 0))
            work = lambda: run(count)  # noqa: E731
        found, measured = self.measured(work, once=count is not None)
        row |= measured
        solved = isinstance(found, multisk.Solution)
        error, gap = judge(found.plan if solved else as_tensor(found), best)
        if solved:
            row["steps"] = int(found.steps.max())
            row["note"] = found.solver if provider.name == "multisk" else ""
        elif count:
            row["steps"] = count
            row["note"] = "" if error <= 1.01 * REACHED else "did not reach the common error"
            if not row["note"]:
                self.hints.setdefault(name, count)
        row |= {"marginal_error": f"{error:.2e}", "gap": f"{gap:.1e}"}
        size = 4 * case.cells / 2**20  # of the scores, and of the plan
        row |= {"input_mb": f"{size:.1f}", "plan_mb": f"{size:.1f}"}
        row["extra_mb"] = f"{max(0.0, row['extra_mb'] - size):.1f}"
        self.took[provider.name] = name, float(row["cpu_ms"]) / 1e3
        return row, work

    def measured(self, work: Callable[[], Any], *, once: bool) -> tuple[Any, Row]:
        """The first answer, and times and peak memory; of one run where a slow one is `once`."""
        held: list[Any] = []
        wall, processor = time.perf_counter(), time.process_time()
        more = extra_memory(lambda: held.append(work()))
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        row: Row = {"first_ms": f"{1e3 * wall:.4g}"}
        if once and wall > SLOW:  # the search has warmed it up
            row |= dict.fromkeys(("min_ms", "median_ms"), row["first_ms"])
            row |= {"cpu_ms": f"{1e3 * processor:.4g}", "runs": 1}
        elif wall > SLOW:
            more = extra_memory(lambda: row.update(self.timer(work)))
        else:
            row |= self.timer(work)
            more = extra_memory(work)
        return held.pop(), row | {"extra_mb": more}

    def too_much(self, name: str, case: Case, provider: Provider) -> str:
        """Why the provider is spared the case: memory, or time worked out from a smaller one."""
        width = case.shape[-1] if provider.dense else 1
        if provider.dense and len(case.shape) > 2:
            return "skipped: solves one problem at a time"
        if 4.0 * case.cells * width > MEMORY:
            return f"skipped: would need {4e-9 * case.cells * width:.0f} GB a table"
        before = self.took.get(provider.name)
        if before is None:
            return ""
        smaller = CASES[before[0]]
        wide = smaller.shape[-1] if provider.dense else 1
        seconds = before[1] * case.cells * width / (smaller.cells * wide)
        if provider.counted or seconds <= PATIENCE:
            return ""
        return f"skipped: would take {seconds:.0f} s (scaled by cells from '{before[0]}')"


def missing(provider: Provider) -> str:
    """A note when the provider's package is not installed."""
    try:
        importlib.metadata.version(provider.package)
    except importlib.metadata.PackageNotFoundError:
        return f"not installed: {provider.package}"
    return ""


def shape_of(case: Case) -> str:
    """The shape as text."""
    return " x ".join(str(size) for size in case.shape)


def as_tensor(plan: Any) -> Tensor:
    """Any library's plan as a tensor."""
    import numpy as np

    return plan if isinstance(plan, Tensor) else torch.from_numpy(np.array(plan))
