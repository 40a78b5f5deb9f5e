"""The host's side of every kernel here: tile shapes, precisions, how a launch is made."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from triton.runtime.driver import driver

ELEMENTS = 4096  # values of one tile: 32 a thread with four warps, which leaves room for sums
BLACKWELL = 100  # compute capability 10.0
PROGRAMS = 1024  # most partial sums of one column; more rows make a program walk further
WALKED = 2048  # the same where sums, potentials and a root live beside the tile
PARTIALS = 512  # partial sums of a column over all problems of a batch
SIZES = {
    *("batch", "blocks", "cells", "channels", "groups", "programs", "rows", "steps", "sweeps"),
    *("top", "values"),
}
STEPWISE = {"after", "column_potential", "row_potential", "sums"}  # a sweep's part of `Kept`
INTERPRETED = triton.knobs.runtime.interpret  # as `triton.jit` reads it when a kernel is defined


@dataclass(frozen=True, kw_only=True)
class Tile:
    """How an (N, K) matrix is cut: block shape, warps, programs, row blocks a program walks."""

    rows: int
    columns: int
    warps: int
    programs: int
    steps: int


@functools.lru_cache(maxsize=1024)
def tile_for(
    rows: int,
    columns: int,
    dtype: torch.dtype,
    *,
    elements: int = ELEMENTS,
    block_rows: int = 0,
    programs: int = PROGRAMS,
) -> Tile:
    """Cut by shape and precision alone, so that sums fall in the same order on every GPU.

    Args:
        rows: N, the rows of one matrix.
        columns: K; a tile holds whole rows.
        dtype: the dtype of the arithmetic; float64 takes half as many values a tile.
        elements: values of one tile.
        block_rows: rows of a tile (a power of two) instead of the choice from ``elements``.
        programs: most programs a matrix; the row blocks are shared out among them.
    """
    block_columns = padded(columns)
    if dtype == torch.float64:
        elements //= 2
    if columns % 16:  # rows start anywhere, so that every value needs an address of its own
        elements //= 2
    block = block_rows or min(max(1, elements // block_columns), padded(rows))
    blocks = cdiv(rows, block)
    steps = cdiv(blocks, programs)
    return Tile(
        rows=block,
        columns=block_columns,
        warps=4 if block * block_columns <= elements else 8,
        programs=cdiv(blocks, steps),
        steps=steps,
    )


def padded(count: int) -> int:
    """Rows or columns of a block that holds `count`: a power of two, as products want at least 16.

    Example: 16 for 5, 64 for 50.
    """
    return max(16, power_of_two(count))


def cdiv(count: int, size: int) -> int:
    """Blocks of `size` that cover `count`; `triton.cdiv` costs the host 5 us, this 0.1."""
    return -(-count // size)


def power_of_two(count: int) -> int:
    """The power of two at or above `count`.

    Example: 8 for 5, 64 for 64.
    """
    return 1 << (count - 1).bit_length()


def kernel(function: Callable[..., Any]) -> Any:
    """`triton.jit` for what is launched: whatever N and the batch are, it is compiled once.

    Triton compiles anew when a whole number becomes or ceases to be a multiple of 16, unless it is
    told not to look: at sizes, at the steps between problems or groups, which count rows, and at
    where one sweep's vectors begin among those of all.
    """
    names = set(inspect.signature(function).parameters)
    steps = {name for name in names if name.endswith(("_b", "_problem", "_group"))}
    return triton.jit(
        function,
        do_not_specialize=sorted(names & SIZES | steps),
        do_not_specialize_on_alignment=sorted(names & STEPWISE),
    )


def starts_wide(*tables: torch.Tensor) -> bool:
    """Whether rows and problems start at multiples of 16 values: true of K, whatever N is."""
    return not any(step % 16 for table in tables for step in table.stride()[:-1])


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
    """Run ``kernel[grid]`` on the device of its first argument, which is a tensor.

    Triton launches on the current device's stream, wherever the pointers lie.
    """
    with on_device(arguments[0].device):
        kernel[grid](*arguments, **options)


def on_device(device: torch.device) -> contextlib.AbstractContextManager:
    """Make a GPU the current one; there is nothing to choose from where it is alone."""
    if device.type == "cuda" and torch.cuda.device_count() > 1:
        return torch.cuda.device(device)
    return contextlib.nullcontext()


def working_dtype(x: torch.Tensor) -> torch.dtype:
    """Float64 for float64, float32 for everything else."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def spread(values: torch.Tensor, *shape: int) -> torch.Tensor:
    """A view of `values` in `shape`; what is the same everywhere has stride zero."""
    return values.expand(shape)


def view(x: torch.Tensor, *shape: int) -> tuple[Any, ...]:
    """`x` broadcast to `shape` and its strides, as a launch takes them."""
    x = x.expand(shape)
    return x, *x.stride()


def factors(scale: torch.Tensor, yields: torch.Tensor | None, batch: int) -> tuple[Any, ...]:
    """Scale and tau with their steps; with a cap there is no tau, and the scale stands in."""
    return *view(scale, batch), *view(scale if yields is None else yields, batch)


def walk(
    kernel: Any,
    tile: Tile,
    scores: torch.Tensor,
    free: torch.Tensor | None,
    *given: Any,
    more: tuple[torch.Tensor, ...] = (),
    warps: int = 0,
    blocks: tuple[int, ...] = (),
    **flags: Any,
) -> None:
    """Launch a walk over the rows of (B, N, K) scores, `tile.programs` programs a problem.

    The kernel takes scores and free cells with their strides (without a mask the scores stand in
    for it), what is given, and N, programs and steps.

    Args:
        kernel: what is launched.
        tile: how the scores are cut.
        scores: X, (B, N, K), any strides.
        free: (B, N, K), nonzero where a cell takes part.
        *given: the arguments between the tables and the sizes.
        more: tables among the given that are walked over too.
        warps: other than the tile's.
        blocks: further axes of the grid.
        **flags: the kernel's own constants.
    """
    held = scores if free is None else free
    batch, count, width = scores.shape
    tables = (scores, *scores.stride(), held, *held.stride())
    flags |= {
        "K": width,
        "WIDE": starts_wide(scores, held, *more),
        "MASKED": free is not None,
        "ACC": triton_dtype(scores),
        "BLOCK_N": tile.rows,
        "BLOCK_K": tile.columns,
    }
    flags |= launch_options(warps or tile.warps)
    grid = (batch * tile.programs, *blocks)
    launch(kernel, grid, *tables, *given, count, tile.programs, tile.steps, **flags)


def walk_tile(scores: torch.Tensor, *, sharing: int = 0, block_rows: int = 0) -> Tile:
    """The cut for a walk; so many problems are `sharing` out the programs (0: each has its own)."""
    _, count, width = scores.shape
    programs = max(1, PARTIALS // sharing) if sharing else PROGRAMS
    return tile_for(
        count,
        width,
        working_dtype(scores),
        elements=WALKED,
        block_rows=block_rows,
        programs=programs,
    )


def partials(scores: torch.Tensor, tile: Tile, *lines: int) -> torch.Tensor:
    """Room for what programs leave: (B, P, lines, K) in the working dtype."""
    shape = (scores.shape[0], tile.programs, *lines, scores.shape[2])
    return torch.empty(shape, dtype=working_dtype(scores), device=scores.device)


def launch_each(kernel: Any, like: torch.Tensor, *given: Any, warps: int = 0, **flags: Any) -> None:
    """Launch one program a problem, which holds all the columns of vectors like (B, K)."""
    batch, width = like.shape
    block = padded(width)
    launch(
        kernel,
        (batch,),
        *given,
        K=width,
        ACC=triton_dtype(like),
        BLOCK_K=block,
        **flags,
        **launch_options(warps or (4 if block <= 1024 else 8)),
    )


def triton_dtype(x: torch.Tensor) -> tl.dtype:
    """The working dtype, as a kernel names it."""
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def square_in_program(columns: int, dtype: torch.dtype) -> bool:
    """Whether the K x K part of a Newton step is formed; in float64 registers are too few."""
    return columns <= 128 and dtype != torch.float64


def square_rows(columns: int) -> int:
    """Rows of a tile whose K x K part is formed.

    A product takes at least 16 rows; narrow matrices take more, so that every thread of four warps
    has eight values next to each other to load.
    """
    return max(16, 1024 // padded(columns))


def square_warps(columns: int) -> int:
    """Warps that solve a K x K system in registers.

    Rows that start anywhere want an address a value: fewer values a thread then.
    """
    return 4 if columns <= 64 and columns % 16 == 0 else 8


def dot_precision(x: torch.Tensor) -> str:
    """How matrix products of non-negative numbers are taken.

    Three TF32 products stand for one of float32 on NVIDIA: a = a1 + a2 to 2^-21 of a (a1 rounded,
    a2 cut by the tensor core), and a2 b2 is dropped, at most 2^-22 of a b. With nothing negative
    nothing cancels, so each sum is within 1.25 x 2^-20 of its value, before the rounding of the
    accumulator (`tests/kernels/test_products.py`). float64, AMD and the interpreter
    multiply plainly, and so does Blackwell until somebody has seen it right there: products that
    are chained in one accumulator come out wrong in silence (triton#10821).
    """
    if x.dtype == torch.float64 or not on_nvidia():
        return "ieee"
    return "tf32x3" if _architecture(driver.active, x.device) < BLACKWELL else "ieee"


def launch_options(warps: int) -> dict[str, int | bool]:
    """Warps of a program, fused multiply-add said aloud, and on NVIDIA every register there is.

    Unasked, ptxas spills a value or two to fit one more program on a multiprocessor.
    """
    options: dict[str, int | bool] = {"num_warps": warps, "enable_fp_fusion": True}
    return options | {"maxnreg": 255} if on_nvidia() else options


def wavefronts(warps: int) -> int:
    """As many lanes on AMD, whose wavefronts have 64: narrow rows then still fill a wide load."""
    return warps if on_nvidia() else max(1, warps // 2)


def is_aligned(x: torch.Tensor) -> bool:
    """Whether every row starts at a multiple of 16 bytes and has its values side by side."""
    starts = (x.data_ptr(), *(stride * x.element_size() for stride in x.stride()[:-1]))
    return x.stride(-1) == 1 and not any(start % 16 for start in starts)


def on_nvidia() -> bool:
    """Whether kernels are compiled for an NVIDIA GPU."""
    return not INTERPRETED and _backend(driver.active) == "cuda"


@functools.cache
def _architecture(active: Any, device: torch.device) -> int:
    """The compute capability of a GPU, 90 for 9.0."""
    with on_device(device):
        return active.get_current_target().arch


@functools.cache
def _backend(active: Any) -> str:
    """The maker's part of Triton; a driver knows one, and asks torch for it every time."""
    return active.get_current_target().backend
