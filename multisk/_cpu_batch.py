"""Problems as arrays: their tables, factors and margins, and who works on which part."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multisk._solver.base import Raw
from multisk._status import Status
from multisk._system import System

WIDEST = {torch.float32: 60.0, torch.float64: 500.0}  # range of the exponents
CHUNK, CHUNKS = 256, 16  # rows at least, and how many parts at most
PIECE = 1 << 17  # cells that are exponentiated at once
SHARED_CELLS = 1 << 18  # a smaller problem is not worth a second thread

Otherwise = Callable[[System, Tensor | None], Raw]


def compiled(kernels: Any) -> bool:
    """Whether one call solves many problems."""
    return hasattr(kernels, "newton_batch")


class Batch:
    """All problems as arrays; potentials are kept as factors u and v, and b = log v."""

    def __init__(self, system: System, init: Tensor | None, kernels: Any) -> None:
        x, margins = system.scores, system.margins
        count, n, k = x.shape
        self.system, self.x, self.kernels = system, x, kernels
        self.plan = torch.empty_like(x, memory_format=torch.contiguous_format)
        self.table = self.plan.numpy()
        self.potential = x.new_empty((count, n))
        # Exponents reach half the range to both sides of the middle. A relaxed margin answers to
        # the potentials themselves, and leaves no shift free.
        low, high = ends_of(x)
        free_shift = system.relax == (None, None)
        self.center = ((low + high) / 2 if free_shift else 0 * low).astype(self.table.dtype)
        reach = high - low if free_shift else 2 * np.maximum(abs(low), abs(high))
        scales = (1.0,) if system.groups is None else system.groups.scales
        eps = float(system.eps)
        self.fits = reach * (max(abs(s) for s in scales) / eps) < WIDEST[x.dtype]
        self.scale = system.gap / eps
        self.yields = tuple(0.0 if rho is None else eps / rho for rho in system.relax)
        packed = np.ascontiguousarray
        self.rows, self.row_unit = packed(margins.rows.numpy()), packed(margins.row_unit.numpy())
        self.goal, self.unit = packed(margins.columns.numpy()), packed(margins.column_unit.numpy())
        self.cells = packed(margins.column_cells.numpy())
        self.b = np.zeros((count, k)) if init is None else init.double().numpy().copy()
        if init is not None and free_shift:
            self.b -= self.b.mean(1, keepdims=True)  # any shift is the same plan
        self.u, self.v = np.zeros((count, n)), np.ones((count, k), self.table.dtype)
        # Whole arrays have blocks of their own, and no threads to share chunks with.
        self.height = max(CHUNK, -(-n // CHUNKS)) if compiled(kernels) else n
        self.piece = self.height if compiled(kernels) else max(1, PIECE // k)
        self.chunks = -(-n // self.height)
        self.threads = torch.get_num_threads()
        # Each problem by all threads, or each thread with problems of its own.
        self.shared = compiled(kernels) and n * k >= SHARED_CELLS and self.threads > 1

    def run(
        self,
        whole: Callable[[int, int], np.ndarray],
        one_by_one: Callable[["Problem"], float],
    ) -> np.ndarray:
        """Steps of every problem, -1 where one failed: a compiled call, or problem by problem."""
        count = self.table.shape[0]
        if self.shared or not compiled(self.kernels):
            problems = (Problem(self, index) for index in range(count))
            with np.errstate(all="ignore"):  # what overflows is seen in the sums
                return np.array([one_by_one(p) if self.fits[p.index] else -1 for p in problems])
        threads = min(self.threads, count) if self.table.size >= SHARED_CELLS else 1
        if threads == 1:
            return whole(0, count)
        ends = [count * thread // threads for thread in range(threads + 1)]
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(whole, ends[:-1], ends[1:])))

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

    def exponentials(
        self, piece: tuple[int, int, int, int], scale: float, out: Tensor | None = None
    ) -> Tensor:
        """exp(scale * (x - center)) of a piece."""
        first, last, start, end = piece
        center = torch.from_numpy(self.center[first:last]).view(-1, 1, 1)
        shifted = torch.sub(self.x[first:last, start:end], center, out=out)
        return shifted.mul_(scale).exp_()

    def fill(self) -> None:
        """Write the table into the plan's memory."""
        for piece in self.pieces():
            first, last, start, end = piece
            self.exponentials(piece, self.scale, self.plan[first:last, start:end])

    def fill_and_sweep(self, low: float, top: np.ndarray, rest: np.ndarray) -> None:
        """Write the table, and do Alg. 1's first row line while a piece is at hand."""

        def work(piece: tuple[int, int, int, int]) -> None:
            first, last, start, end = piece
            self.exponentials(piece, self.scale, self.plan[first:last, start:end])
            small = self.exponentials(piece, low).numpy()
            ends = (*piece, self.height)
            with np.errstate(all="ignore"):
                self.kernels.first_batch(self.table, small, self.rows, self.u, top, rest, ends)

        if self.threads == 1 or self.table.size < SHARED_CELLS:
            for piece in self.pieces():
                work(piece)
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(work, self.pieces()))

    def finish(self, used: np.ndarray) -> np.ndarray:
        """Turn tables into plans and factors into potentials; the errors, infinite if unusable."""
        capped, middle = self.system.groups is not None, self.scale * self.center.astype(np.float64)
        factors = self.table, self.u, self.v, self.b, self.potential.numpy(), middle
        goals = self.rows, self.row_unit, self.goal, self.unit, self.yields
        found = self.run(
            lambda *ends: self.kernels.finish_batch(
                *factors, *goals, capped, (used, self.height, *ends)
            ),
            lambda one: one.close(middle[one.index], capped=capped),
        )
        return np.where(used < 0, np.inf, found)

    def gather(
        self,
        used: np.ndarray,
        init: Tensor | None,
        tolerance: float,
        missed: Status,
        otherwise: Otherwise,
    ) -> Raw:
        """One answer for all problems; `otherwise` solves those that failed."""
        found = self.finish(used)
        errors, steps = torch.from_numpy(found), torch.from_numpy(used)
        good = errors <= tolerance
        left = np.flatnonzero(~np.isfinite(found))
        if left.size == found.size:
            return otherwise(self.system, init)
        codes = np.array([missed.code, Status.CONVERGED.code], np.int8)[good.numpy().astype(int)]
        b, code = torch.from_numpy(self.b), torch.from_numpy(codes)
        raw = Raw(self.plan, self.potential, b, errors, steps, good, code)
        if left.size:
            index = torch.from_numpy(left)
            again = otherwise(self.system.take(index), None if init is None else init[index])
            for name in ("plan", "row_potential", "column_potential", "error", "steps"):
                getattr(raw, name)[index] = getattr(again, name)
            raw.converged[index], raw.code[index] = again.converged, again.code
        return raw


class Problem:
    """One problem of a batch, its rows shared by threads."""

    def __init__(self, batch: Batch, index: int) -> None:
        self.index, self.kernels, self.yields = index, batch.kernels, batch.yields
        self.table, self.u, self.v, self.b = (
            part[index] for part in (batch.table, batch.u, batch.v, batch.b)
        )
        self.rows, self.row_unit = batch.rows[index], batch.row_unit[index]
        self.goal, self.unit, self.cells = batch.goal[index], batch.unit[index], batch.cells[index]
        self.potential = batch.potential[index].numpy()
        self.height, self.chunks = batch.height, batch.chunks
        self.threads = min(batch.threads, batch.chunks) if batch.shared else 1

    def each(self, work: Callable[[int, int], Any]) -> list[Any]:
        """Run `work(first, last)` for all chunks of rows; threads share the chunks."""
        if self.threads == 1:
            return [work(0, self.chunks)]
        ends = [self.chunks * thread // self.threads for thread in range(self.threads + 1)]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(work, ends[:-1], ends[1:]))

    def zeros(self, *shape: int) -> np.ndarray:
        """Sums of every chunk."""
        return np.zeros((self.chunks, *(shape or (self.v.shape[0],))))

    def close(self, middle: float, *, capped: bool) -> float:
        """Turn the table into the plan; its error."""
        row_sums, sums = np.empty_like(self.u), self.zeros()

        def work(first: int, last: int) -> None:
            ends = self.height, first, last
            self.kernels.finish(self.table, self.u, self.v, capped, *ends, row_sums, sums)

        self.each(work)
        if not self.kernels.potentials(self.u, middle, self.potential):
            return np.inf
        goals = self.rows, self.row_unit, self.goal, self.unit, self.yields
        return float(self.kernels.verdict(row_sums, sums, self.u, self.b, *goals))


def ends_of(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest score of every problem, in float64."""
    if x.shape[0] == 1:
        low, high = torch.aminmax(x)
        return np.array([float(low)]), np.array([float(high)])
    flat = x.flatten(1)
    return flat.amin(1).double().numpy(), flat.amax(1).double().numpy()
