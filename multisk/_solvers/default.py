"""Sweeps while they are the cheaper way, Newton from there on."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from multisk._backends.base import Raw
from multisk._backends.choose import (
    Costs,
    doubles,
    loops_for,
    loops_for_newton,
    loops_from_start,
    sweeps_come_first,
)
from multisk._backends.numba import solve as cpu
from multisk._backends.numba.available import compiled
from multisk._backends.numba.batch import Otherwise
from multisk._backends.torch.sweeps import coldest
from multisk._problem.status import inner
from multisk._problem.system import System
from multisk._semidual import ascent
from multisk._semidual.anneal import WARM
from multisk._solvers.centred import Centred, centred
from multisk._solvers.newton import Newton, cools
from multisk._solvers.precise import Run, precisely, put, with_verdict
from multisk._solvers.sinkhorn import Sinkhorn

FINEST = 1e-12  # float64 solves end there, as Newton's do
PASSES = 5  # Newton passes that a solve usually takes
CALLS = 1 << 22  # cells that are swept in the time that the calls of one pass in torch take
LOG = 64  # cells that take as long as a column's potential in a transport's sweep, some 26 ns
MOST_CALLS = 1000  # sweeps in that time at most, however small the table
TRIAL = 12  # sweeps whose errors before and after tell the rate
EARLY = 32  # part of many sweeps before which a rate tells little
PATIENT = 2  # of them in sweeps before an assignment's Newton, which converges fast from there
NEAR = 60  # sweeps in the time of a pass from a start that forms no system
WIDE_PATIENT = 4  # where a pass is compiled: as many as Newton takes after the sweeps

# Newton passes that the default makes at most. Of 48 cold transports with masses over two or four
# decades 50 leave 14 open, and 200 leave 5.
LIMIT = 200


@dataclass(frozen=True, kw_only=True)
class Blend:
    """Sweep until the time of a Newton solve is spent, then let Newton finish.

    Whatever the problem, this takes at most about twice the time of the better of the two. A
    sweep costs two reads of the table; a Newton pass exponentiates it and couples all columns.
    Where relaxed margins make sweeps contract fast, sweeps do it all: they do so at any
    temperature, and Newton does not.

    Args:
        tolerance: Largest relative violation of a row or column sum that counts as converged.
        max_steps: Limit of the Newton passes.
        gradient: "implicit" differentiates the limit, "none" detaches.
        finest: Error that float64 sweeps go on to.
    """

    tolerance: float | int = 1e-6
    max_steps: int = LIMIT
    gradient: str | None = "implicit"
    finest: float = FINEST

    def run(self, system: System, init: Tensor | None) -> Raw:
        """Solve every problem of the batch; `Raw.solver` says what did."""
        plain = centred(system)
        if plain is not None:
            return self.without_offsets(plain, system, init)

        newton = Newton(tolerance=self.tolerance, max_steps=self.max_steps)
        if system.groups is not None and init is not None:  # Newton takes two or three from there
            raw = newton.run(system, init)
            return replace(raw, solver=raw.solver or "Newton")
        if system.groups is not None and not sweeps_come_first(system):
            return self.newton_first(system, newton)
        if doubles(system):
            return with_verdict(precisely(system, init, self.once), self.tolerance, self.max_steps)

        return self.sweeps_first(system, init, newton)

    def without_offsets(self, plain: Centred, system: System, init: Tensor | None) -> Raw:
        """The answer by way of the same problem without offsets of rows and columns."""
        fine = self
        if system.scores.dtype == torch.float32:
            fine = replace(self, finest=inner(float(self.tolerance)))

        def solved(wide: System, start: Tensor | None) -> Raw:
            del wide
            return plain.back(fine.run(plain.system, plain.start(start)))

        if system.scores.dtype == torch.float32:
            raw = precisely(system, init, solved)
        else:
            raw = solved(system, init)
        return with_verdict(raw, self.tolerance, self.max_steps)

    def once(self, system: System, init: Tensor | None) -> Raw:
        """In float64 for a float32 plan, which shows no more."""
        newton = Newton(tolerance=self.tolerance, max_steps=self.max_steps)
        return replace(self, finest=inner(float(self.tolerance))).sweeps_first(system, init, newton)

    def newton_first(self, system: System, newton: Newton) -> Raw:
        """Few columns: Newton alone, unless its first pass shows that sweeps had better begin."""
        single = system.scores.dtype == torch.float32

        def swept(part: System, start: Tensor | None) -> Raw:
            wide = single and part.scores.dtype == torch.float64
            return self.once(part, start) if wide else self.sweeps_first(part, start, newton)

        rest = Rest("Newton", system, swept)
        raw = newton.follow(system, None, polish=True, instead=rest)
        raw.solver = rest.solvers()
        return raw

    def sweeps_first(self, system: System, init: Tensor | None, newton: Newton) -> Raw:
        """Sweeps while they are worth it, and Newton for what they leave."""
        goal = float(self.tolerance)
        if system.scores.dtype == torch.float64:
            goal = min(self.finest, goal)

        # For what `loops_for` does not cover, and for what is too cold for a table of exponentials.
        slow = slow_solver(system, goal, newton)
        rest = Rest("Sinkhorn", system, slow.run, type(slow).__name__)
        raw = sweep(system, init, rest, goal)
        raw = rest(system, init) if raw is None else raw

        left = (raw.error > goal).nonzero().squeeze(-1)
        if left.numel() and rest.names != ["Newton"]:
            self.finish(raw, left, newton, system)
            raw.finite = False
            raw.solver = rest.solvers("Newton")
        else:
            raw.solver = rest.solvers()

        return with_verdict(raw, self.tolerance, self.max_steps)

    def finish(self, raw: Raw, left: Tensor, newton: Newton, system: System) -> None:
        """Let Newton continue the problems at `left` from their potentials; keep the better."""
        n, k = system.scores.shape[1:]
        part = system.take(left)
        follows = n >= k or (system.groups is not None and loops_from_start(system) is not None)
        start = raw.column_potential[left] if follows else None  # Newton turns the problem
        put(raw, left, newton.run(part, start))


class Rest:
    """Solves what `first` leaves of the whole by another solver, and knows who had a part."""

    def __init__(self, first: str, whole: System, run: Run, name: str = "") -> None:
        self.first, self.whole, self.run, self.name = first, whole, run, name
        self.names: list[str] = []

    def __call__(self, part: System, start: Tensor | None) -> Raw:
        """The solution of `part`."""
        if part.scores.shape[0] < self.whole.scores.shape[0]:
            self.names.append(self.first)  # it solved the others

        raw = self.run(part, start)
        self.names.append(raw.solver or self.name)
        return raw

    def solvers(self, *last: str) -> str:
        """Who had a part, in the order of their turns: ``Newton, then Sinkhorn``."""
        names = ", then ".join([*(self.names or [self.first]), *last]).split(", then ")
        return ", then ".join(dict.fromkeys(names))


def slow_solver(system: System, goal: float, newton: Newton) -> Newton | Sinkhorn:
    """Who solves what compiled sweeps do not cover: sweeps are slow there with exact margins."""
    widest = coldest(system)
    easy = widest is not None and widest <= WARM
    limit = sweeps_a_solve(system) if easy else PASSES * ascent.SWEEPS  # a pass begins with as many
    return Sinkhorn(tolerance=goal) if sweeps_needed(system, goal) <= limit else newton


def sweep(system: System, init: Tensor | None, otherwise: Otherwise, goal: float) -> Raw | None:
    """Compiled sweeps for at most the time of a Newton solve.

    Those of an assignment and of relaxed margins stop as soon as their rate says that Newton will
    be there first.
    """
    most, trial = sweeps_a_solve(system), 0
    if system.groups is not None:
        most = (WIDE_PATIENT if wide(system) else PATIENT) * worth(system)
        trial = max(TRIAL, most // EARLY)
    elif init is not None:  # an answer that is near takes Newton a pass or two
        most, trial = PATIENT * worth(system), TRIAL
    elif system.relax != (None, None):
        trial = TRIAL

    limits: dict[str, Any] = {"steps": None, "tolerance": goal, "most": most, "trial": trial}
    return cpu.sweep(system, init, otherwise, **limits)


def sweeps_a_solve(system: System) -> int:
    """Sweeps that take about the time of a Newton solve."""
    return PASSES * worth(system)


def worth(system: System) -> int:
    """Sweeps that take the time of a Newton pass (measured on one core)."""
    count, n, columns = system.scores.shape
    if wide(system):  # in float64 17 at 160 columns, 68 at 768; its sweeps are the dearer ones
        sweeps = 4 + columns // 12
        return sweeps if system.scores.dtype == torch.float64 else 3 * sweeps // 2

    formed = loops_for_newton(system) is not None
    if not formed and cools(system):  # from the sweeps on no system is formed
        return NEAR

    logs = 0
    if system.groups is None:  # Newton searches the smaller side; sweeps take a log of each column
        columns, logs = min(n, columns), LOG * count * columns

    sweeps = 20 + columns // 4
    if formed or not compiled(loops_for(system)):
        return sweeps
    cells = max(1, system.scores.numel())
    return min(MOST_CALLS, CALLS // (cells + logs)) + sweeps * cells // (cells + logs)


def wide(system: System) -> bool:
    """Whether this is an assignment of many columns whose Newton passes are compiled."""
    many = system.scores.shape[2] > Costs.NARROW_COLUMNS
    return many and compiled(loops_for_newton(system))


def sweeps_needed(system: System, tolerance: float) -> float:
    """Sweeps that relaxed margins are sure to need; infinite where a bound depends on the scores.

    In Hilbert's metric a relaxed side shrinks what is left of an error by strength / (strength +
    eps), an exact side not at all: Eq. (26) (Sejourne et al. 2019, arXiv:1910.12958).

    Example: strengths of ten temperatures on both sides want 73 sweeps to 1e-6.
    """
    if isinstance(system.eps, Tensor) or any(isinstance(x, Tensor) for x in system.relax):
        return math.inf

    strengths = [float(strength) for strength in system.relax if strength is not None]
    # Eq. (26)
    rate = math.prod(strength / (strength + system.eps) for strength in strengths)
    return math.log(tolerance) / math.log(rate) if 0 < rate < 1 else math.inf
