"""The fast path on the CPU: whole solves through compiled loops, where numba is installed.

It takes problems without masks and intervals whose exponents fit the number format, and keeps the
table exp(scale * scores) in the memory of the plan. What does not settle goes to the caller's own
passes, problem by problem; a system that is not covered at all gives None.
"""

import functools
import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multisk._solver.base import Raw
from multisk._status import Status
from multisk._system import System

WIDEST = {torch.float32: 60.0, torch.float64: 500.0}  # range of the exponents
CHUNK, CHUNKS = 256, 16  # rows at least, and how many parts at most
NEWTON_COLUMNS = 128  # above, a matrix product is faster than the loops
BATCH, BATCHED_CELLS = 64, 1 << 14  # more and smaller problems are better off side by side
SHARED_CELLS = 1 << 18  # a smaller problem is not worth a second thread


@functools.cache
def kernels() -> ModuleType | None:
    """The compiled loops, or None without numba."""
    if importlib.util.find_spec("numba") is None:
        return None
    from multisk import _cpu_kernels

    return _cpu_kernels


def takes(system: System) -> bool:
    """Whether the fast path covers the system."""
    x, margins = system.scores, system.margins
    plain = system.two_groups and margins.free is None and margins.upper is None
    if not plain or x.device.type != "cpu" or system.group is not None or x.numel() == 0:
        return False
    if system.spread is None or isinstance(system.eps, Tensor) or torch.compiler.is_compiling():
        return False
    if x.shape[0] > BATCH and x.shape[1] * x.shape[2] < BATCHED_CELLS:
        return False
    return kernels() is not None


Otherwise = Callable[[System, Tensor | None], Raw]


class Problem:
    """One problem of the batch as arrays; potentials are kept as factors u and v."""

    def __init__(self, system: System, index: int, plan: Tensor, b: Tensor | None) -> None:
        margins = system.margins
        self.x = system.scores[index]
        low, high = (float(end) for end in torch.aminmax(self.x))
        scales = (1.0,) if system.groups is None else system.groups.scales
        # Exponents reach half the range to both sides of the middle. A relaxed margin answers to
        # the potentials themselves, and leaves no shift free.
        free_shift = system.relax == (None, None)
        self.center = (low + high) / 2 if free_shift else 0.0
        reach = high - low if free_shift else 2 * max(abs(low), abs(high))
        widest = reach * max(abs(s) for s in scales) / float(system.eps)
        self.fits = widest < WIDEST[self.x.dtype]
        n, k = self.x.shape
        self.kernels: Any = kernels()
        self.plan, self.table = plan, plan.numpy()
        self.rows, self.row_unit = margins.rows[index].numpy(), margins.row_unit[index].numpy()
        self.goal, self.unit = margins.columns[index].numpy(), margins.column_unit[index].numpy()
        self.cells = margins.column_cells[index].numpy()
        self.b = np.zeros(k) if b is None else b.numpy().copy()
        if free_shift:
            self.b -= self.b.mean()  # any shift is the same plan
        self.u, self.v = np.ones(n), np.ones(k, self.table.dtype)
        self.move_columns(0.0)
        self.height = max(CHUNK, -(-n // CHUNKS))
        self.chunks = -(-n // self.height)
        threads = torch.get_num_threads() if n * k >= SHARED_CELLS else 1
        self.threads = min(threads, self.chunks)
        self.scale = float(system.gap / system.eps)

    def each(self, work: Callable[[int, int], Any]) -> list[Any]:
        """Run `work(first, last)` for all chunks of rows; threads share the chunks."""
        if self.threads == 1:
            return [work(0, self.chunks)]
        ends = [self.chunks * thread // self.threads for thread in range(self.threads + 1)]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(work, ends[:-1], ends[1:]))

    def part(self, chunk: int) -> tuple[int, int]:
        """The rows of a chunk."""
        return chunk * self.height, min((chunk + 1) * self.height, self.table.shape[0])

    def exponentials(self, scale: float, lo: int, hi: int, out: Tensor | None = None) -> Tensor:
        """exp(scale * (x - center)) of some rows."""
        shifted = torch.sub(self.x[lo:hi], self.center, out=out)
        return shifted.mul_(scale).exp_()

    def move_columns(self, move: np.ndarray | float) -> None:
        """Shift the columns' potentials; a factor out of range shows up in the sums."""
        self.b += move
        with np.errstate(over="ignore"):
            self.v[:] = np.exp(self.b)

    def fill(self) -> None:
        """Write the table into the plan's memory."""
        for chunk in range(self.chunks):
            lo, hi = self.part(chunk)
            self.exponentials(self.scale, lo, hi, self.plan[lo:hi])

    def zeros(self, *shape: int) -> np.ndarray:
        """Sums of every chunk."""
        return np.zeros((self.chunks, *(shape or (self.v.shape[0],))))

    def close(self, *, capped: bool) -> tuple[float, bool]:
        """Turn the table into the plan; its error, and whether everything stayed finite."""
        row_sums, sums = np.empty_like(self.u), self.zeros()

        def work(first: int, last: int) -> None:
            ends = self.height, first, last
            self.kernels.finish(self.table, self.u, self.v, capped, *ends, row_sums, sums)

        self.each(work)
        self.row_sums, self.sums = row_sums, sums.sum(0)
        by_row = np.max(np.abs(row_sums - self.rows) / self.row_unit)
        by_column = np.max(np.abs(self.sums - self.goal) / self.unit)
        error = float(max(by_row, by_column))
        return error, bool(np.isfinite(error) and np.isfinite(self.u).all())

    def row_potential(self) -> np.ndarray:
        """Log u, relative to the scores themselves."""
        return np.log(self.u) - self.scale * self.center


def sweep(
    system: System,
    init: Tensor | None,
    otherwise: Otherwise,
    *,
    steps: int | None,
    tolerance: float,
    most: int,
) -> Raw | None:
    """`Sinkhorn.run` in the order row, column, depth; exactly `steps` sweeps, or to `tolerance`."""
    if not takes(system):
        return None
    run = sweep_transport if system.groups is None else sweep_assignment
    if system.groups is not None and init is not None:
        return None
    missed = Status.MAX_STEPS if steps is None else Status.STEPS_DONE
    solve_one = functools.partial(run, system, steps=steps, tolerance=tolerance, most=most)
    return gather(system, init, tolerance, missed, solve_one, otherwise)


def sweep_assignment(
    system: System, one: Problem, *, steps: int | None, tolerance: float, most: int
) -> int:
    """Algorithm 1 from its first line."""
    assert system.groups is not None
    top, rest, plain = one.zeros(), one.zeros(), one.zeros()
    low = system.groups.scales[-1] / float(system.eps)

    def first_of_all(first: int, last: int) -> None:
        for chunk in range(first, last):
            lo, hi = one.part(chunk)
            one.exponentials(one.scale, lo, hi, one.plan[lo:hi])
            small = one.exponentials(low, lo, hi).numpy()
            sums = top[chunk], rest[chunk]
            one.kernels.first_sweep(one.table, small, one.rows, lo, hi, one.u, *sums)

    def again(first: int, last: int) -> float:
        rows, ends = (one.rows, one.row_unit), (one.height, first, last)
        return one.kernels.sweep(one.table, one.u, one.v, *rows, *ends, top, rest, plain)

    one.each(first_of_all)
    one.kernels.column_step(top, rest, one.goal, one.cells, one.b, one.v)
    for done in range(1, most if steps is None else steps):
        before = one.u.copy() if steps is None else one.u
        by_row = max(one.each(again))
        if steps is None:
            error = max(by_row, one.kernels.column_error(plain, one.goal, one.unit))
            if not error > tolerance:
                one.u = before
                return done
            if not np.isfinite(error):
                return done
        one.kernels.column_step(top, rest, one.goal, one.cells, one.b, one.v)
    return most if steps is None else steps


def sweep_transport(
    system: System, one: Problem, *, steps: int | None, tolerance: float, most: int
) -> int:
    """Plain row and column scaling; a relaxed margin damps its own side."""
    yields = [0.0 if rho is None else system.eps / rho for rho in system.relax]
    powers = [1.0 / (1.0 + one_yield) for one_yield in yields]
    sums = one.zeros()
    one.fill()

    def work(first: int, last: int) -> None:
        ends = one.height, first, last
        one.kernels.transport_sweep(one.table, one.u, one.v, one.rows, powers[0], *ends, sums)

    for done in range(most if steps is None else steps):
        one.each(work)
        kept = one.b.copy() if steps is None else one.b
        error = one.kernels.transport_columns(sums, one.goal, powers[1], yields[1], one.b, one.v)
        if steps is None and not error > tolerance:
            one.b = kept
            one.move_columns(0.0)
            return done
        if not np.isfinite(error):
            return done
    return most if steps is None else steps


def newton(
    system: System, init: Tensor | None, otherwise: Otherwise, *, tolerance: float, most: int
) -> Raw | None:
    """`Newton.run` for capped problems with few columns."""
    n, k = system.scores.shape[1:]
    if system.groups is None or k > NEWTON_COLUMNS or n < k or not takes(system):
        return None
    solve_one = functools.partial(newton_one, tolerance=tolerance, most=most)
    return gather(system, init, tolerance, Status.MAX_STEPS, solve_one, otherwise)


def newton_one(one: Problem, *, tolerance: float, most: int) -> int:
    """Count full Newton steps; -1 as soon as the dual's slope says that one went too far."""
    k = one.v.shape[0]
    double = one.table.dtype == np.float64
    fine = 1e-13 if double else max(0.1 * tolerance, 4 * float(np.finfo(np.float32).eps))
    one.fill()
    share = np.log(one.rows) - np.log(k - one.rows)
    one.u = np.exp(share - one.scale * (one.x.mean(-1).numpy() - one.center) - one.b.mean())
    move, polish = np.zeros(k), double
    last = np.inf
    for done in range(most + 1):
        sums, weight, coupling = one.zeros(), one.zeros(), one.zeros(k, k)

        parts = sums, weight, coupling

        def work(first: int, last: int, parts: tuple[np.ndarray, ...] = parts) -> float:
            rows, ends = (one.rows, one.row_unit), (one.height, first, last)
            return one.kernels.newton_pass(one.table, one.u, one.v, *rows, fine, *ends, *parts)

        by_row = max(one.each(work))
        ahead = (sums.sum(0) - one.goal) @ move
        if not ahead <= 0.5 * last:
            return -1
        by_column, slope = one.kernels.newton_step(sums, weight, coupling, one.goal, one.unit, move)
        error = max(by_row, by_column)
        if error <= tolerance and (not polish or error <= 1e-12):
            return done
        polish = polish and error > tolerance
        if done == most:
            return done
        last = abs(slope)
        one.move_columns(move)
    return most


def gather(
    system: System,
    init: Tensor | None,
    tolerance: float,
    missed: Status,
    run: Callable[[Problem], int],
    otherwise: Otherwise,
) -> Raw:
    """Solve problem after problem into one answer; `otherwise` solves those that failed."""
    x = system.scores
    count, n, k = x.shape
    plan = torch.empty_like(x, memory_format=torch.contiguous_format)
    a, b = x.new_empty((count, n)), x.new_empty((count, k), dtype=torch.float64)
    errors, steps = b.new_empty(count), torch.empty(count, dtype=torch.int64)
    left = []
    for index in range(count):
        one = Problem(system, index, plan[index], None if init is None else init[index].double())
        used = run(one) if one.fits else -1
        error, finite = one.close(capped=system.groups is not None) if used >= 0 else (0.0, False)
        if not finite:
            left.append(index)
            continue
        a[index], b[index] = torch.from_numpy(one.row_potential()), torch.from_numpy(one.b)
        errors[index], steps[index] = error_of(system, one, error), used
    if len(left) == count:
        return otherwise(system, init)
    good = errors <= tolerance
    code = torch.where(good, Status.CONVERGED.code, missed.code).to(torch.int8)
    raw = Raw(plan, a, b, errors, steps, good, code)
    if left:
        index = torch.tensor(left)
        again = otherwise(system.take(index), None if init is None else init[index])
        for name in ("plan", "row_potential", "column_potential", "error", "steps", "converged"):
            getattr(raw, name)[index] = getattr(again, name)
        raw.code[index] = again.code
    return raw


def error_of(system: System, one: Problem, error: float) -> float:
    """With relaxed margins the goals move with the potentials."""
    if system.relax == (None, None):
        return error
    worst = 0.0
    sides = (
        (one.row_sums, one.rows, one.row_unit, np.log(one.u)),
        (one.sums, one.goal, one.unit, one.b),
    )
    for rho, (sums, goal, unit, potential) in zip(system.relax, sides, strict=True):
        want = goal if rho is None else goal * np.exp(-potential * (system.eps / rho))
        worst = max(worst, float(np.max(np.abs(sums - want) / (unit if rho is None else want))))
    return worst
