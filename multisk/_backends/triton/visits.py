"""One visit to the scores by the kernels, for solvers that the host steers and for spread rows.

Every function does for the rows of this rank what a loop over tiles does elsewhere; what columns
receive still has to be added up over ranks. The kernels are imported by the first call.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from multisk._backends.triton import operators as _ops
from multisk._problem.system import System
from multisk._semidual.schur import DENSE_COLUMNS


class Local(NamedTuple):
    """What a Newton pass finds on this rank; `coupling` is empty where it is not formed."""

    a: Tensor  # (b, n)
    row_sums: Tensor  # (b, n)
    sums: Tensor  # (b, k) float64
    weight: Tensor  # (b, k) float64
    coupling: Tensor  # (b, k, k) or (b, 0, 0) float64


def runs(system: System) -> bool:
    """Whether kernels carry this solve: the same on every rank, whatever rows it holds."""
    x = system.scores
    return not torch.compiler.is_compiling() and x.shape[2] <= _ops.WIDEST and _ops.kernels_run(x)


def takes(system: System) -> bool:
    """Whether this rank has cells for the kernels to visit."""
    return system.scores.numel() > 0 and runs(system)


def square(system: System) -> bool:
    """Whether the K x K part of a Newton step is formed."""
    return system.scores.shape[2] <= DENSE_COLUMNS


def per_problem(system: System, value: float | Tensor) -> Tensor:
    """A number, or one a problem, as a tensor (b,)."""
    x = system.scores
    if isinstance(value, Tensor):
        return value.detach().reshape(-1).to(x.dtype).expand(x.shape[0]).contiguous()
    return x.new_full((x.shape[0],), value)


def yields_of(system: System) -> Tensor | None:
    """How fast the margins yield, eps / strength, as (b, 2); None for an assignment."""
    if system.groups is not None:
        return None
    sides = [0.0 if rho is None else system.eps / rho for rho in system.relax]
    return torch.stack([per_problem(system, side) for side in sides], -1)


def place(system: System, a: Tensor, b: Tensor) -> Any:
    """The scores with potentials, as the kernels take them."""
    from multisk.kernels.wide import At

    tau = yields_of(system)
    return At(
        scores=system.scores,
        scale=per_problem(system, system.scale),
        row_potential=a.contiguous(),
        column_potential=b.contiguous(),
        free=system.margins.free,
        yields=None if tau is None else tau[:, 0],
    )


def newton(system: System, b: Tensor, a: Tensor | None) -> Local:
    """Rows solved for `b`, and the sums of the columns' system."""
    from multisk.kernels.newton import newton_pass

    x, tau = system.scores, yields_of(system)
    guess = x.new_full(x.shape[:2], torch.nan) if a is None else a.to(x.dtype).clone()
    found = newton_pass(
        x,
        per_problem(system, system.scale),
        b.contiguous(),
        guess.contiguous(),
        system.margins.rows,
        mask=system.margins.free,
        yields=None if tau is None else tau[:, 0],
        row_sums=True,
    )
    assert found.row_sums is not None
    assert found.height is not None
    bend = square_part(system, found.row_potential, b, found.bend, found.height)
    sums, weight = found.load.to(b), found.weight.to(b)
    return Local(found.row_potential, found.row_sums, sums, weight, bend)


def square_part(
    system: System, a: Tensor, b: Tensor, bend: Tensor | None, height: Tensor
) -> Tensor:
    """W^T diag(1/h) W in float64: as the pass left it, or in blocks; empty for large K."""
    if bend is None and not square(system):
        return b.new_zeros((b.shape[0], 0, 0), dtype=torch.float64)
    if bend is None:
        from multisk.kernels.bend import couple_columns

        bend = couple_columns(place(system, a, b), height)
    return bend.double()


def couple(system: System, a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """W^T diag(1/h) W x without the K x K matrix."""
    from multisk.kernels.wide import apply_schur

    at = place(system, a, b)
    return apply_schur(at, x.to(system.scores.dtype).contiguous(), answer=True).to(x)


def plan(system: System, a: Tensor, b: Tensor, *, row_step: bool = False) -> Any:
    """The plan of given potentials and its sums, as a `multisk.kernels.plan.Table`."""
    from multisk.kernels.plan import write_plan

    margins = system.margins
    return write_plan(
        system.scores,
        per_problem(system, system.scale),
        a.contiguous(),
        b.contiguous(),
        margins.rows,
        row_cells=margins.row_cells if row_step else None,
        free=margins.free,
        capped=system.groups is not None,
    )


def gather(system: System, a: Tensor, b: Tensor, grad: Tensor) -> Any:
    """First pass of the implicit derivative, as a `multisk.kernels.gradient.Gathered`."""
    from multisk.kernels import gradient

    return gradient.gather(place(system, a, b), grad)


def spread_back(
    system: System, a: Tensor, b: Tensor, grad: Tensor, tilt: Tensor, beta: Tensor
) -> tuple[Tensor, Tensor]:
    """Its second pass: (dL/dZ, alpha)."""
    from multisk.kernels import gradient

    return gradient.spread_back(place(system, a, b), grad, tilt, beta.contiguous())
