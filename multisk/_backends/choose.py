"""The rules by which it is decided who reads the scores: whoever has to know asks here.

| backend | what it is | where it can serve |
|---|---|---|
| triton | kernels | CUDA tensors (on the CPU under TRITON_INTERPRET=1), up to 4,096 columns |
| numba | compiled loops | CPU tensors of one process, no intervals, two channel groups |
| numpy | the same passes on whole arrays | as numba, no mask; where numba is missing or broken |
| torch | tiles of plain torch | everything |

numpy's passes stand beside the loops (`_backends/numba/arrays.py`), with one way in for both.
Kernels come first, then loops, then torch; where two could serve on the CPU, `Costs` decides.
"""

import contextlib
import functools
import importlib.util
import math
import os
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from types import ModuleType

import torch
from torch import Tensor

from multisk._backends.numba import available
from multisk._problem.margins import Even
from multisk._problem.problem import has_values, readable, wrapped
from multisk._problem.system import System
from multisk._warning import MultiskWarning

# Of the exponents in a table, which is taken around their middle: cells from exp(-30) to exp(30)
# leave their products with both factors room below float32's exp(88).
RANGE = {torch.float32: 60.0, torch.float64: 500.0}
BACKENDS = ("torch", "numpy", "numba", "triton")
WHOLE = ("Newton", "Sinkhorn", "Exact", "Blend")  # solvers whose run one operator can be
PROGRAM_COLUMNS = 4096  # that a kernel's program can hold
_FORCED: ContextVar[str | None] = ContextVar("multisk_backend", default=None)


class Costs:
    """Where the cheaper one of two changes: process time on one core of an AMD EPYC.

    Looked for with `python -m benchmarks.map` and benchmarks/paired; the map is in
    docs/multisk/solvers.md.
    """

    NARROW_COLUMNS = 128  # above, arrays' Newton passes are torch's, and assignments sweep first
    MANY, SMALL = 64, 1 << 14  # numpy or torch: more and smaller problems go side by side
    ARRAY_CELLS = 1 << 15  # numpy or torch: above, Newton's passes are faster in torch
    NEAR_COLUMNS = 32  # above, compiled Newton from a start applies its system before it forms it
    DENSE_COLUMNS = 768  # above this the K x K system of a Newton step is applied, never formed


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Within it every solve reads the scores by this backend, or is refused.

    Args:
        name: "torch", "numpy", "numba" or "triton"; see `Solution.backend` for what ran. It holds
            for this thread (and its asynchronous tasks), not inside `torch.compile`.

    Raises:
        ValueError: For another name; by `solve`, where that backend cannot serve what is asked.

    Example:
        >>> import multisk
        >>> with multisk.use_backend("torch"):
        ...     multisk.solve(torch.eye(2), multisk.MultiAssignment(k=1)).backend
        'torch'
    """
    if name not in BACKENDS:
        raise ValueError(f"name must be one of {', '.join(BACKENDS)}, got {name!r}")

    token = _FORCED.set(name)
    try:
        yield
    finally:
        _FORCED.reset(token)


def forced() -> str | None:
    """The backend that the user asked for."""
    return None if torch.compiler.is_compiling() else _FORCED.get()


def ran_on(system: System, special: str | None) -> str:
    """Who has read them: `special` where the solver knows better.

    Raises:
        ValueError: When the user asked for another backend.
    """
    wanted = forced()
    if special is not None and wanted is None:
        return special

    name = special or ("triton" if kernels_serve(system, traced=True) else "torch")
    if wanted is not None and name.partition(",")[0] != wanted:
        raise ValueError(
            f"use_backend must name a backend that serves this problem and solver on "
            f"{system.scores.device}, got {wanted!r} where {name!r} does; see multisk.use_backend"
        )

    return name


def kernels_run(x: Tensor) -> bool:
    """Whether operators on `x` run the Triton kernels."""
    if x.device.type == "meta" or wrapped(x):
        return False

    if not x.is_cuda:
        interpreted = os.environ.get("TRITON_INTERPRET") == "1"
        if not interpreted or x.device.type != "cpu":
            return False

    return forced() in {None, "triton"} and has_triton()


def kernels_normalize(x: Tensor, axis: int) -> bool:
    """Whether kernels scale this axis of a table: a row has to fit into one program."""
    return x.numel() > 0 and (axis != -1 or x.shape[-1] <= PROGRAM_COLUMNS) and kernels_run(x)


@functools.cache
def has_triton() -> bool:
    """Whether Triton is there, imports, and has `triton.knobs`, as it has from 3.4 on."""
    if importlib.util.find_spec("triton") is None:
        return False

    try:
        import triton.knobs  # noqa: F401
    except Exception as error:  # noqa: BLE001 - a package that is broken raises anything
        warnings.warn(
            f"Triton cannot be used ({type(error).__name__}: {error}); GPU tensors are solved by "
            "plain torch operations, which is slower. Install triton 3.4 or newer",
            MultiskWarning,
            stacklevel=2,
        )
        return False

    return True


def kernels_serve(system: System, *, traced: bool = False) -> bool:
    """Whether kernels carry this solve: the same on every rank, whatever rows it holds.

    A graph that is being `traced` holds operators in their place.
    """
    x = system.scores
    now = traced or not torch.compiler.is_compiling()
    fits = x.shape[2] <= PROGRAM_COLUMNS
    return now and fits and not system.bounded_rows and kernels_run(x)


def kernels_visit(system: System) -> bool:
    """Whether this rank has cells for the kernels to visit."""
    return system.scores.numel() > 0 and kernels_serve(system)


def one_operator(system: System) -> bool:
    """Whether one operator is the whole solve: one link, no intervals, one process.

    Then a graph that is being traced gets one node, whatever it is going to run on.
    """
    return one_derivative(system) and system.margins.upper is None


def hidden(system: System, solver: object) -> bool:
    """Whether one operator runs this solver as outside of any graph, which sees only its answer.

    That is so wherever values would have to be read, or stopping depends on them.
    """
    kind, steps = type(solver), getattr(solver, "steps", None)
    name, ours = kind.__name__, kind.__module__.startswith("multisk._solvers.")
    known = ours and name in WHOLE and not getattr(solver, "dense", False)
    if not known or system.ranks is not None or system.scores.numel() == 0:
        return False
    if not torch.compiler.is_compiling():
        return not has_values(system.scores)

    return not one_operator(system) if name == "Newton" else steps is None


def fits_program(x: Tensor) -> bool:
    """Whether a kernel's program can hold a line of one side; in this order a free N stays free."""
    return x.shape[2] <= PROGRAM_COLUMNS or x.shape[1] <= PROGRAM_COLUMNS


def one_derivative(system: System) -> bool:
    """Whether one operator is the whole implicit derivative: also of intervals."""
    x = system.scores
    if not (system.two_groups and system.ranks is None and x.numel() > 0):
        return False
    if system.bounded_rows:
        return False
    return fits_program(x) and (kernels_run(x) or torch.compiler.is_compiling())


def operator_unrolls(system: System, steps: int | None, start: Tensor | None) -> bool:
    """Whether an operator differentiates these sweeps: two groups, from the scores, on kernels."""
    if steps is None or steps < 1 or start is not None or system.groups is None:
        return False

    plain = system.two_groups and system.ranks is None and system.levels is None
    x = system.scores
    return plain and x.shape[-1] <= PROGRAM_COLUMNS and x.numel() > 0 and kernels_run(x)


def loops_unroll(system: System) -> ModuleType | None:
    """The compiled derivative of sweeps from the scores, where it covers the system.

    It does for exact margins of a dense problem whose exponents fit its table.
    """
    x, margins = system.scores, system.margins
    plain = system.two_groups and system.ranks is None and system.relax == (None, None)
    plain = plain and margins.free is None and margins.upper is None and x.numel() > 0
    if not plain or forced() not in {None, "numba"} or not readable(x) or kernels_run(x):
        return None

    spread = x.flatten(1).amax(1) - x.flatten(1).amin(1)
    eps = system.eps.flatten() if isinstance(system.eps, Tensor) else system.eps
    reach = spread * (largest_scale(system) / eps)
    return available.unrolling() if bool((reach < RANGE[x.dtype]).all()) else None


def forms_square(system: System) -> bool:
    """Whether the K x K part of a Newton step is formed."""
    return system.scores.shape[2] <= Costs.DENSE_COLUMNS


def backend_of_matrices(x: Tensor) -> str:
    """Who balances many small matrices (multisk.birkhoff): kernels, compiled loops, or torch.

    Raises:
        ValueError: When the user asked for another backend.
    """
    wanted = forced()
    loops = x.device.type == "cpu" and wanted != "torch" and available.matrices() is not None
    name = "numba" if loops else "torch"
    name = "triton" if kernels_run(x) else name
    if wanted not in {None, name}:
        raise ValueError(
            f"use_backend must name a backend that serves small matrices on {x.device}, got "
            f"{wanted!r} where {name!r} does; see multisk.use_backend"
        )

    return name


def loops_for(system: System) -> ModuleType | None:
    """The compiled loops, or the same passes on arrays, where they cover the system."""
    x, wanted = system.scores, forced()
    if wanted in {"torch", "triton"} or x.device.type != "cpu" or system.ranks is not None:
        return None
    differ = any(isinstance(value, Tensor) for value in (system.eps, *system.relax))
    if x.numel() == 0 or system.ends is None or differ:
        return None

    given = None if isinstance(system.budgets, Even) else system.budgets
    exact = given is None or (given.upper is None and given.row_upper is None)
    if not (exact and system.two_groups) or torch.compiler.is_compiling() or kernels_run(x):
        return None

    found = available.arrays() if wanted == "numpy" else available.kernels()
    if given is not None and given.free is not None and not available.compiled(found):
        return None

    many = x.shape[0] > Costs.MANY and x.shape[1] * x.shape[2] < Costs.SMALL
    if found is None or available.compiled(found):
        return found

    return None if wanted == "numba" or (many and wanted is None) else found


def doubles(system: System) -> bool:
    """Whether a float32 system is solved in float64 from the start, by the host alone.

    Its table would leave float32's range and not float64's, where the loops are 20 to 100 times
    faster than torch; or margins yield, whose sweeps stop at float32's rounding, just above 1e-6.
    """
    if system.scores.dtype != torch.float32 or loops_for(system) is None:
        return False
    if system.relax != (None, None):
        return True

    return RANGE[torch.float32] <= span(system) < RANGE[torch.float64]


def retriable(system: System) -> bool:
    """Whether the host may solve again in float64 what float32 left, and sees what that is."""
    x = system.scores
    host = x.device.type == "cpu" and not torch.compiler.is_compiling() and not kernels_run(x)
    return host and x.dtype == torch.float32 and system.ranks is None and x.numel() > 0


def span(system: System) -> float:
    """Range of the exponents of the widest problem; a relaxed margin counts them from 0."""
    if system.ends is None or isinstance(system.eps, Tensor):
        return math.inf

    low, high = system.ends
    exact = system.relax == (None, None)
    reach = high - low if exact else 2 * max(abs(low), abs(high))
    return reach * (largest_scale(system) / system.eps)


def largest_scale(system: System) -> float:
    """The largest factor of the scores in an exponent, but for 1 / eps."""
    return 1.0 if system.groups is None else max(map(abs, system.groups.scales))


def sweeps_come_first(system: System) -> bool:
    """Whether compiled sweeps are tried before an assignment's Newton passes.

    With many columns a pass costs about 60 of them, and from b = 0 it takes 6 to 40 where columns
    are uneven; with fewer rows than columns torch makes the passes, whose calls cost more yet.
    """
    if system.groups is None or loops_for(system) is None:
        return False

    _, n, k = system.scores.shape
    turned = n < k and available.compiled(loops_for(system))
    return k >= Costs.NARROW_COLUMNS or turned


def loops_for_newton(system: System) -> ModuleType | None:
    """Those of `loops_for` that are cheaper than Newton's passes in torch."""
    if system.groups is None:
        return None

    n, k = system.scores.shape[1:]
    found = loops_for(system)
    if found is None or forced() is not None:
        return found
    if available.compiled(found):
        return found if k <= min(n, Costs.DENSE_COLUMNS) else None

    narrow = k <= min(n, Costs.NARROW_COLUMNS)
    return found if narrow and n * k <= Costs.ARRAY_CELLS else None


def loops_from_start(system: System) -> ModuleType | None:
    """Those of `loops_for` that go on from a start: of any number of columns where compiled."""
    found = loops_for_newton(system)
    if found is not None or system.groups is None:
        return found

    found = loops_for(system)
    return found if available.compiled(found) else None


def flow_compiles() -> bool:
    """Whether `multisk.hard` runs compiled: elsewhere than on the CPU it cannot run at all."""
    return forced() != "numpy" and available.compiled(available.kernels())
