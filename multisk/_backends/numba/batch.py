"""Problems as arrays: their tables, factors and margins, and who works on which part."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multisk._backends.base import Raw
from multisk._backends.choose import RANGE
from multisk._backends.numba.available import compiled, name_of
from multisk._problem.margins import Even
from multisk._problem.status import Status
from multisk._problem.system import System

CHUNK, CHUNKS = 256, 16  # rows at least, and how many parts at most
PIECE = 1 << 17  # cells exponentiated at once: 1.06 ms at (5716, 64), chunk by chunk 1.26
CHEAP = (1.0, 2.0, 3.0)  # powers by products alone: a damping of 1/2, 1/3 and 1/4
# Fewer are not worth a second thread: with two, twenty sweeps took three times as long as with one
# at .4 M cells, as long at 2 M, and .6 to .9 of it at 4 M (benchmarks/paired/sweep.csv).
SHARED_CELLS = 1 << 22

Otherwise = Callable[[System, Tensor | None], Raw]


class Batch:
    """All problems as arrays; potentials are kept as factors u and v, and b = log v.

    A chunk has at least `least` rows.
    """

    def __init__(
        self, system: System, init: Tensor | None, kernels: Any, *, least: int = CHUNK
    ) -> None:
        x = system.scores
        count, n, k = x.shape
        self.system, self.x, self.kernels = system, x, kernels

        # The table exp(scale (x - center)) stands where the plan will.
        self.plan = torch.empty_like(x, memory_format=torch.contiguous_format)
        self.table = self.plan.numpy()
        kind = self.table.dtype
        self.potential = np.empty((count, n), kind)
        # Exponents reach half the range to both sides of the middle. A relaxed margin answers to
        # the potentials themselves, and leaves no shift free.
        free_shift = system.relax == (None, None)
        free = None if isinstance(system.budgets, Even) else system.budgets.free
        self.free = None if free is None else free.numpy()
        self.count = None if free is None else system.margins.row_cells.double().numpy()
        scales = (1.0,) if system.groups is None else system.groups.scales
        eps = float(system.eps)

        def fitted(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            center = (low + high) / 2 if free_shift else 0 * low
            reach = high - low if free_shift else 2 * np.maximum(abs(low), abs(high))
            return center.astype(kind), reach * (max(map(abs, scales)) / eps) < RANGE[x.dtype]

        self.center, self.fits = fitted(*ends_of(system))
        if free is not None and not self.fits.all():  # forbidden scores count as 0 so far
            self.center, self.fits = fitted(*free_ends(x, free))

        # u = exp(scale center + a): `middle` takes the center's part off again.
        self.scale = system.score_factor / eps
        self.middle = self.scale * self.center.astype(np.float64)
        self.yields = tuple([0.0 if rho is None else eps / float(rho) for rho in system.relax])
        self.rows, self.row_unit, self.goal, self.unit, self.cells = goals_of(system, kind)
        self.b = np.zeros((count, k)) if init is None else init.double().numpy().copy()

        if init is not None and free_shift:
            self.b -= self.b.mean(1, keepdims=True)  # any shift is the same plan

        self.u, self.v = np.zeros((count, n)), filled((count, k), 1.0, kind)
        # Whole arrays have blocks of their own, and no threads to share chunks with.
        loops = compiled(kernels)
        self.height = max(CHUNK, least, -(-n // CHUNKS)) if loops else n
        self.chunks = -(-n // self.height)
        self.threads = torch.get_num_threads()
        many = max(1, PIECE // (self.height * k)) if self.threads == 1 else 1  # chunks at once
        self.piece = self.height * many if loops else max(1, PIECE // k)
        # Each problem by all threads, or each thread with problems of its own.
        self.shared = loops and self.threads > 1 and n * k >= SHARED_CELLS

    @property
    def arrays(self) -> tuple[np.ndarray | None, ...]:
        """What a compiled call for whole problems takes first, and its `close` takes apart."""
        factors = self.table, self.u, self.v, self.b, self.potential, self.middle
        return (*factors, self.rows, self.row_unit, self.goal, self.unit, self.count)

    def run(
        self,
        whole: Callable[[Any, int, int], tuple[np.ndarray, np.ndarray]],
        one_by_one: Callable[["Problem"], int],
    ) -> None:
        """Set `steps` (-1 where one failed) and `errors` (infinite): by a compiled call, or singly.

        Tables become plans.
        """
        count = self.table.shape[0]
        if self.shared or not compiled(self.kernels):
            with np.errstate(all="ignore"):  # what overflows is seen in the sums
                found = [Problem(self, p).run(one_by_one) for p in range(count)]
            self.steps, self.errors = (np.array(part) for part in zip(*found, strict=True))
            return

        threads = min(self.threads, count) if self.table.size >= SHARED_CELLS else 1
        if threads == 1:
            self.steps, self.errors = whole(self.kernels, 0, count)
            return

        ends = [count * thread // threads for thread in range(threads + 1)]
        with ThreadPoolExecutor(threads) as pool:
            found = pool.map(partial(whole, self.kernels), ends[:-1], ends[1:])
            self.steps, self.errors = (np.concatenate(part) for part in zip(*found, strict=True))

    def pieces(self) -> Iterator[tuple[int, int, int, int]]:
        """Problems first..last, rows start..end: whole chunks of about `PIECE` cells or less."""
        count, n, k = self.table.shape
        if n * k > PIECE:
            for index in range(count):
                for start in range(0, n, self.piece):
                    yield index, index + 1, start, min(start + self.piece, n)
        else:
            many = PIECE // (n * k)
            for first in range(0, count, many):
                yield first, min(first + many, count), 0, n

    def shifted(self, piece: tuple[int, int, int, int]) -> Tensor:
        """Scores minus their middle, in the plan's memory."""
        first, last, _, _ = piece
        one = last - first == 1
        center = (
            self.center.item(first)
            if one
            else torch.from_numpy(self.center[first:last, None, None])
        )
        return torch.sub(self.part(self.x, piece), center, out=self.part(self.plan, piece))

    def part(self, x: Tensor, piece: tuple[int, int, int, int]) -> Tensor:
        """A piece of the scores or of the plan."""
        first, last, start, end = piece
        count, n, _ = self.table.shape
        return x if (last - first, end - start) == (count, n) else x[first:last, start:end]

    def fill(self) -> None:
        """Write the table exp(scale * (x - middle)) into the plan's memory."""
        for piece in self.pieces():
            self.forbid(self.shifted(piece).mul_(self.scale).exp_(), piece)

    def forbid(self, cells: Tensor, piece: tuple[int, int, int, int]) -> None:
        """Write 0 where no cell is free."""
        if self.free is not None:
            first, last, start, end = piece
            count, n, k = last - first, end - start, self.table.shape[2]
            self.kernels.forbid(
                cells.numpy().reshape(count, n, k), self.free[first:last, start:end]
            )

    def fill_and_sweep(self, low: float, top: np.ndarray, rest: np.ndarray) -> None:
        """Write the table, and do Alg. 1's first row line while a piece is at hand."""
        groups = self.system.groups
        scale = 0.0 if groups is None else groups.scales[-1]
        # exp((s_1 - s_2) x / eps) as a power of exp(s_2 x / eps): one exponential a cell in place
        # of two.
        power = next((power for power in CHEAP if self.system.score_factor == power * scale), None)

        def work(piece: tuple[int, int, int, int]) -> None:
            shifted = self.shifted(piece)
            small = (shifted * low).exp_()
            if power is not None:
                torch.pow(small, power, out=shifted)
            else:
                shifted.mul_(self.scale).exp_()

            for cells in (small, shifted):
                self.forbid(cells, piece)

            rows, ends = (self.rows, self.count), (*piece, self.height)
            self.kernels.first_batch(self.table, small.numpy(), *rows, self.u, top, rest, ends)

        if self.threads == 1 or self.table.size < SHARED_CELLS:
            for piece in self.pieces():
                work(piece)
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(work, self.pieces()))

    def gather(
        self,
        init: Tensor | None,
        tolerance: float,
        most: int | None,
        otherwise: Otherwise,
    ) -> Raw:
        """One answer for all problems; `otherwise` solves those that failed.

        `most` is the limit of the steps, None where exactly so many were asked for.
        """
        found = self.errors
        usable = np.isfinite(found)
        finite = bool(usable.all())
        if not (finite or usable.any()):
            return otherwise(self.system, init)

        good = found <= tolerance  # as `status.verdict` says it of tensors
        missed = Status.STEPS_DONE.code
        if most is not None:
            limit = self.steps >= most
            missed = np.where(limit, Status.MAX_STEPS.code, Status.STALLED.code)

        code = np.where(good, Status.CONVERGED.code, missed).astype(np.int8)
        a, b, errors, steps, good, code = map(
            torch.from_numpy, (self.potential, self.b, found, self.steps, good, code)
        )
        raw = Raw(self.plan, a, b, errors, steps, good, code, finite=finite)
        raw.backend = name_of(self.kernels)

        if not finite:
            left = np.flatnonzero(~usable)
            index = torch.from_numpy(left)
            again = otherwise(self.system.take(index), None if init is None else init[index])
            for name in ("plan", "row_potential", "column_potential", "error", "steps"):
                getattr(raw, name)[index] = getattr(again, name)
            raw.converged[index], raw.code[index] = again.converged, again.code
            other = again.backend or "torch"
            raw.backend += "" if other == raw.backend else f", then {other}"

        return raw


class Problem:
    """One problem of a batch, its rows shared by threads."""

    def __init__(self, batch: Batch, index: int) -> None:
        self.index, self.kernels, self.yields = index, batch.kernels, batch.yields
        self.table, self.u, self.v, self.b = (
            part[index] for part in (batch.table, batch.u, batch.v, batch.b)
        )
        self.rows, self.row_unit = batch.rows[index], batch.row_unit[index]
        self.count = None if batch.count is None else batch.count[index]
        self.goal, self.unit, self.cells = batch.goal[index], batch.unit[index], batch.cells[index]
        self.potential, self.middle = batch.potential[index], batch.middle[index]
        self.fits, self.capped = bool(batch.fits[index]), batch.system.groups is not None
        self.height, self.chunks = batch.height, batch.chunks
        self.threads = min(batch.threads, batch.chunks) if batch.shared else 1

    def each(self, work: Callable[[int, int], Any]) -> list[Any]:
        """Run `work(first, last)` for all chunks of rows; threads share the chunks."""
        if self.threads == 1:
            return [work(0, self.chunks)]

        ends = [self.chunks * thread // self.threads for thread in range(self.threads + 1)]
        return list(self.pool.map(work, ends[:-1], ends[1:]))

    def zeros(self, *shape: int) -> np.ndarray:
        """Sums of every chunk."""
        return np.zeros((self.chunks, *(shape or (self.v.shape[0],))))

    def run(self, solve: Callable[["Problem"], int]) -> tuple[int, float]:
        """Steps and error; -1 and infinity where it failed."""
        with ThreadPoolExecutor(self.threads) as self.pool:  # which starts threads when used
            steps = solve(self) if self.fits else -1
            return steps, self.close() if steps >= 0 else math.inf

    def close(self) -> float:
        """Turn the table into the plan; its error."""
        row_sums, sums = np.empty_like(self.u), self.zeros()

        def work(first: int, last: int) -> None:
            ends = self.height, first, last
            self.kernels.finish(self.table, self.u, self.v, self.capped, *ends, row_sums, sums)

        self.each(work)
        if not self.kernels.potentials(self.u, self.middle, self.potential):
            return math.inf

        goals = self.rows, self.row_unit, self.goal, self.unit, self.yields
        return float(self.kernels.error_of(row_sums, sums, self.u, self.b, *goals))


def ends_of(system: System) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest score of every problem, in float64."""
    if system.ends is not None and math.prod(system.batch) == 1:  # not a part of a batch
        return np.array(system.ends[:1]), np.array(system.ends[1:])
    flat = system.scores.flatten(1)
    return flat.amin(1).double().numpy(), flat.amax(1).double().numpy()


def free_ends(x: Tensor, free: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The same of the free cells alone, 0 where there are none."""
    x, free = x.flatten(1), free.flatten(1)
    low = x.masked_fill(~free, math.inf).amin(1).double()
    high = x.masked_fill(~free, -math.inf).amax(1).double()
    empty = low > high

    return low.masked_fill(empty, 0.0).numpy(), high.masked_fill(empty, 0.0).numpy()


def goals_of(system: System, kind: np.dtype) -> tuple[np.ndarray, ...]:
    """Rows and columns with the units of their violation, and the columns' cells."""
    count, n, k = system.scores.shape
    even = system.budgets
    if isinstance(even, Even):
        rows, goal = filled((count, n), even.budget, kind), filled((count, k), even.load(n, k))
        return rows, rows, goal, goal, filled((count, k), float(n))

    parts = even.rows, even.row_unit, even.columns, even.column_unit, even.column_cells
    return tuple([np.ascontiguousarray(part.numpy()) for part in parts])


def filled(shape: tuple[int, ...], value: float, kind: Any = np.float64) -> np.ndarray:
    """`np.full` by calls that cost less."""
    found = np.empty(shape, kind)
    found.fill(value)
    return found
