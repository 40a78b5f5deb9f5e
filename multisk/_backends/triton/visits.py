"""One visit to the scores by the kernels, for solvers that the host steers and for spread rows.

Every function does for the rows of this rank what a loop over tiles does elsewhere; what columns
receive still has to be added up over ranks.
"""

from typing import Any

import torch
from torch import Tensor

from multisk._backends.base import Local
from multisk._backends.choose import forms_square
from multisk._backends.operators import per_problem, yields_of
from multisk._backends.triton import kernels
from multisk._problem.system import System


def place(system: System, a: Tensor, b: Tensor) -> Any:
    """The scores with potentials, as the kernels take them."""
    tau = yields_of(system)
    return kernels.wide.At(
        scores=system.scores,
        scale=per_problem(system, system.scale),
        row_potential=a.contiguous(),
        column_potential=b.contiguous(),
        free=system.margins.free,
        yields=None if tau is None else tau[:, 0],
    )


def newton(system: System, b: Tensor, a: Tensor | None) -> Local:
    """Rows solved for `b`, and the sums of the columns' system."""
    x, tau = system.scores, yields_of(system)
    guess = x.new_full(x.shape[:2], torch.nan) if a is None else a.to(x.dtype).clone()
    found = kernels.newton.newton_pass(
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
    """Eq. (12)'s W^T diag(1/h) W in float64: as the pass left it, in blocks, or empty (large K)."""
    if bend is None and not forms_square(system):
        return b.new_zeros((b.shape[0], 0, 0), dtype=torch.float64)

    if bend is None:
        bend = kernels.wide.couple_columns(place(system, a, b), height)

    return bend.double()


def couple(system: System, a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """Eq. (14)'s W^T diag(1/h) W x, without the K x K matrix."""
    at = place(system, a, b)
    return kernels.wide.apply_schur(at, x.to(system.scores.dtype).contiguous(), answer=True).to(x)


def plan(system: System, a: Tensor, b: Tensor, *, row_step: bool = False) -> Any:
    """The plan of given potentials and its sums, as a `multisk.kernels.plan.Table`."""
    margins = system.margins
    return kernels.plan.write_plan(
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
    return kernels.gradient.gather(place(system, a, b), grad)


def spread_back(
    system: System, a: Tensor, b: Tensor, grad: Tensor, tilt: Tensor, beta: Tensor
) -> tuple[Tensor, Tensor]:
    """Its second pass: (dL/dZ, alpha)."""
    return kernels.gradient.spread_back(place(system, a, b), grad, tilt, beta.contiguous())
