# ruff: noqa: ANN001, ANN202, C901, PLR0913, PLR0915, PLR0917
"""The passes over one problem as compiled loops: one visit to a row, nothing written but sums.

Every cell is t = table_ij * u_i * v_j, the odds P / (1 - P) of an assignment or the plan of a
transport. Columns are summed in the table's precision over `BLOCK` rows and in float64 beyond,
chunk by chunk of `height` rows, so that a result never depends on how many threads share the
chunks first..last.

A forbidden cell is 0 in the table. `count` (n,) is then the number of free cells of every row, and
None where all are free: numba compiles the two cases apart.
"""

import contextlib
import functools
import inspect
import math
import os
import warnings
from typing import Any

import numpy as np
from numba import njit
from numba.core.compiler import Compiler

from multisk._warning import MultiskWarning

BLOCK = 64  # rows that are summed in the table's precision, before float64 takes over
# No flag that assumes finite values: an overflow has to be seen.
EXACT = {"reassoc", "contract", "nsz", "arcp"}


def jit(function: Any) -> Any:
    """Compile, once per machine; a run-time type checker's wrapper is taken off first.

    Where no folder can be written to, or what is in it cannot be read, once per process.
    """
    plain = inspect.unwrap(function)
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": EXACT}
    try:
        loop: Any = njit(cache=True, boundscheck=False, **options)(plain)
    except RuntimeError:  # numba found no place for a cache
        compiled_anew("written")
        return njit(boundscheck=False, **options)(plain)

    if hasattr(loop, "_cache"):
        loop._cache = Forgiving(loop._cache)

    return loop


def inlined(function: Any) -> Any:
    """Compile into its callers: for steps so short that handing over arrays would cost as much."""
    plain = inspect.unwrap(function)
    return njit(nogil=True, error_model="numpy", fastmath=EXACT, forceinline=True)(plain)


def apart(function: Any) -> Any:
    """`inlined`, for arrays that never overlap where one of them is written to.

    Where LLVM cannot know that, it asks at every call, which takes as long as 64 cells of a row do,
    and sums in another order where the addresses look as if they might.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": EXACT}
    return njit(forceinline=True, pipeline_class=Apart, **options)(inspect.unwrap(function))


class Apart(Compiler):
    """Numba's compiler, with its own mark for arguments that are apart, which `njit` lacks."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.state.flags.noalias = True


@functools.cache
def stamp_of(folder: str) -> tuple[tuple[str, int, int], ...]:
    """The modules in a folder: name, time of the last change and size, as numba has them of one."""
    files = [entry for entry in os.scandir(folder) if entry.name.endswith(".py")]
    return tuple(sorted((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in files))


class Forgiving:
    """Numba's cache of a function: a damaged file or a full disk costs time and no solve.

    What was compiled before serves as long as no module of this folder has changed: numba itself
    looks at the function's own file only, and would go on with what a changed function was when it
    was compiled into this one.
    """

    def __init__(self, cache: Any) -> None:
        self.cache = cache
        self.index = getattr(cache, "_cache_file", None)
        if self.index is not None:
            self.index._source_stamp = stamp_of(os.path.dirname(__file__))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cache, name)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled before; None where that cannot be read, which is then forgotten."""
        try:
            self._refuse_pipes()
            return self.cache.load_overload(sig, target_context)
        except Exception:  # a pickle that is cut or changed raises anything
            compiled_anew("read")
            with contextlib.suppress(Exception):
                self.cache.flush()
            return None

    def _refuse_pipes(self) -> None:
        """Of a named pipe in place of a file of the cache numba would read without end."""
        own = getattr(self.index, "_index_name", "")
        folder, base = self.cache.cache_path, own.rpartition(".")[0]
        for name in os.listdir(folder) if base and os.path.isdir(folder) else ():
            if name.startswith(f"{base}.") and not os.path.isfile(os.path.join(folder, name)):
                raise OSError(f"{name} is no regular file")

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled, where that can be done."""
        try:
            self.cache.save_overload(sig, data)
        except Exception:  # a full disk, a folder that has become read-only
            compiled_anew("written")


@functools.cache
def compiled_anew(what: str) -> None:
    """Say once what keeps compiled loops from being used again."""
    warnings.warn(
        f"numba's cache of multisk's compiled loops cannot be {what}, so that they are compiled "
        "in this process, which takes seconds; set NUMBA_CACHE_DIR to a folder that can be "
        "written to",
        MultiskWarning,
        stacklevel=2,
    )


@jit
def part_of(count, i):
    """The counts of problem `i`, or the count of row `i`; None where every cell is free."""
    if count is None:
        return None
    return count[i]


@jit
def free_cells(count, k):
    """How many of a row's `k` cells may hold something."""
    if count is None:
        return k
    return count


@jit
def first_sweep(table, low, rows, count, lo, hi, u, top, rest):
    """Eq. (7), (8) on the raw kernels, before any depth line: table * low, and low.

    `low` holds the rows lo..hi only; `top` and `rest` (k,) receive the column sums.
    """
    k = table.shape[1]
    one = table.dtype.type(1)
    part_top, part_rest = np.zeros(k, table.dtype), np.zeros(k, table.dtype)
    for i in range(lo, hi):
        e, small = table[i], low[i - lo]
        # Eq. (7): exp(s_1 x / eps) is table * low, exp(s_2 x / eps) is low.
        sum_top, sum_rest = one * 0, one * 0
        for j in range(k):
            sum_top += e[j] * small[j]
            sum_rest += small[j]
        grow, shrink = rows[i] / sum_top, (free_cells(part_of(count, i), k) - rows[i]) / sum_rest
        if count is not None and count[i] == 0:
            grow, shrink = 1.0, 1.0
        u[i] = grow / shrink
        grow, shrink = table.dtype.type(grow), table.dtype.type(shrink)
        for j in range(k):
            # A_j and B_j of Eq. (8).
            part_top[j] += e[j] * small[j] * grow
            part_rest[j] += small[j] * shrink
        if (i - lo) % BLOCK == BLOCK - 1 or i == hi - 1:
            flush(part_top, top)
            flush(part_rest, rest)


@jit
def flush(part, sums):
    """Move a block's sums to the float64 ones."""
    for j in range(part.shape[0]):
        sums[j] += part[j]
        part[j] = 0


@jit
def column_step(top, rest, goal, count, b, v):
    """Both groups' column steps (8) as one change of b; `top`, `rest` (chunks, k) are used up.

    `count` (k,) holds the columns' free cells; a column without any stands still.
    """
    for j in range(goal.shape[0]):
        if count[j] == 0:
            continue
        above, below = 0.0, 0.0
        for chunk in range(top.shape[0]):
            above += top[chunk, j]
            below += rest[chunk, j]
            top[chunk, j] = 0.0
            rest[chunk, j] = 0.0

        b[j] += math.log(goal[j] / above) - math.log((count[j] - goal[j]) / below)
        v[j] = math.exp(b[j])


@jit
def column_error(plain, goal, unit):
    """The worst relative violation (42) of the columns; `plain` (chunks, k) is used up."""
    worst = 0.0
    for j in range(goal.shape[0]):
        found = 0.0
        for chunk in range(plain.shape[0]):
            found += plain[chunk, j]
            plain[chunk, j] = 0.0
        worst = max(worst, abs(found - goal[j]) / unit[j])
        if not math.isfinite(found):
            worst = math.inf

    return worst


@jit
def transport_chunk(table, u, v, rows, count, power, lo, hi, sums):
    """Row step (23), u = (rows / table v)^power, and column sums u table after it, in one read."""
    k = table.shape[1]
    part = np.zeros(k, table.dtype)
    for i in range(lo, hi):
        e = table[i]
        found = table.dtype.type(0)
        for j in range(k):
            found += e[j] * v[j]
        ratio = rows[i] / found
        if count is not None and count[i] == 0:
            ratio = 1.0
        u[i] = ratio if power == 1.0 else ratio**power
        scale = table.dtype.type(u[i])
        for j in range(k):
            part[j] += e[j] * scale
        if (i - lo) % BLOCK == BLOCK - 1 or i == hi - 1:
            flush(part, sums)


@jit
def transport_sweep(table, u, v, rows, count, power, height, first, last, sums):
    """`transport_chunk` for the chunks first..last."""
    for chunk in range(first, last):
        lo = chunk * height
        hi = min(lo + height, table.shape[0])
        transport_chunk(table, u, v, rows, count, power, lo, hi, sums[chunk])


@jit
def transport_columns(sums, goal, power, yields, b, v):
    """Column step (23), and the worst violation (42) before it. `sums` (chunks, k) is used up."""
    worst = 0.0
    for j in range(goal.shape[0]):
        found = 0.0
        for chunk in range(sums.shape[0]):
            found += sums[chunk, j]
            sums[chunk, j] = 0.0
        if not goal[j] > 0.0:  # every cell of the column is forbidden
            continue
        # Eq. (23): at once what the column shall carry, and what a violation is measured by.
        want = goal[j] * math.exp(-b[j] * yields)
        worst = max(worst, abs(found * math.exp(b[j]) - want) / want)
        if not math.isfinite(found):
            worst = math.inf
        b[j] = power * math.log(goal[j] / found)
        v[j] = math.exp(b[j])

    return worst


@jit
def finish_chunk(table, u, v, capped, lo, hi, row_sums, column_sums):
    """Turn the table into the plan, in place, and sum it."""
    k = table.shape[1]
    one = table.dtype.type(1)
    part = np.zeros(k, table.dtype)
    for i in range(lo, hi):
        e, scale = table[i], table.dtype.type(u[i])
        found = one * 0
        for j in range(k):
            # Eq. (5) by factors: t = exp(T).
            t = e[j] * v[j] * scale
            p = t / (one + t) if capped else t
            e[j] = p
            part[j] += p
            found += p

        row_sums[i] = found
        if (i - lo) % BLOCK == BLOCK - 1 or i == hi - 1:
            flush(part, column_sums)


@jit
def finish(table, u, v, capped, height, first, last, row_sums, column_sums):
    """`finish_chunk` for the chunks first..last."""
    for chunk in range(first, last):
        lo = chunk * height
        hi = min(lo + height, table.shape[0])
        finish_chunk(table, u, v, capped, lo, hi, row_sums, column_sums[chunk])


@jit
def shift(b, length, move, v):
    """Move b by length * move, and set v = exp(b); out of range shows up in the sums."""
    for j in range(b.shape[0]):
        b[j] += length * move[j]
        v[j] = math.exp(b[j])


@jit
def potentials(u, middle, a):
    """Write log u - middle into `a`; whether all of them are finite."""
    good = True
    for i in range(u.shape[0]):
        found = math.log(u[i]) - middle
        good = good and math.isfinite(found)
        a[i] = found

    return good


@jit
def error_of(row_sums, sums, u, b, rows, unit, goal, column_unit, yields):
    """Eq. (42): the worst relative violation of any margin; one that yields moves, Eq. (23)."""
    worst = 0.0
    for i in range(rows.shape[0]):
        want, scale = rows[i] + 0.0, unit[i] + 0.0
        if yields[0] > 0.0:
            want = rows[i] * u[i] ** -yields[0]
            scale = max(want, 1e-30)

        miss = abs(row_sums[i] - want) / scale
        worst = max(worst, miss if math.isfinite(miss) else math.inf)

    for j in range(goal.shape[0]):
        found = 0.0
        for chunk in range(sums.shape[0]):
            found += sums[chunk, j]
        want, scale = goal[j], column_unit[j]
        if yields[1] > 0.0:
            want = goal[j] * math.exp(-b[j] * yields[1])
            scale = max(want, 1e-30)
        miss = abs(found - want) / scale
        worst = max(worst, miss if math.isfinite(miss) else math.inf)

    return worst
