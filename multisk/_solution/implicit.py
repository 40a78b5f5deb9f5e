"""The implicit function theorem on a plan, Eq. (31): one system in the columns, O(NK) memory.

Eq. (n) is that of docs/multisk/mathematics.md.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multisk._backends import operators
from multisk._backends.choose import forms_square, kernels_visit, one_derivative
from multisk._backends.torch.passes import schur_part
from multisk._backends.torch.subnormal import flushed
from multisk._backends.torch.tiles import tiles
from multisk._backends.triton import visits
from multisk._problem.problem import wrapped
from multisk._problem.sharding import total
from multisk._problem.system import System
from multisk._semidual.row_interval import Loose
from multisk._semidual.schur import solve_dense, solve_iteratively
from multisk._semidual.semidual import gauge_of
from multisk._solution.composed import respond


@dataclass(eq=False)
class Side:
    """One side's margins: how fast they yield, and the lines whose potentials do not answer."""

    tau: float | Tensor  # eps / strength of a relaxed side, Eq. (23); 0 of an exact one
    held: Tensor | None
    loose: Loose | None = None  # of rows, where they are intervals


@dataclass(eq=False)
class Implicit:
    """What the backward pass needs besides its tensors."""

    a: Tensor
    b: Tensor
    sides: tuple[Side, Side]
    system: System  # for its link, tiles and ranks; its tensors are not differentiated
    plan: Tensor
    level: float | Tensor = 0.0  # (b, 1) where bounds of rows begin to be felt


class ImplicitPlan(torch.autograd.Function):
    r"""P = link(scale X + a + b) as a function of scores, scale, margins and relaxation.

    Eq. (31): for the cotangent G, dL/dZ = W * (G - alpha_i - beta_j), W = link', (alpha, beta) from
    [diag(h) W; W^T diag(w)] [alpha; beta] = [rows of W * G; columns of W * G]; alpha and beta are
    the cotangents of the row and column sums.
    """

    @staticmethod
    def forward(ctx: Any, what: Implicit, *inputs: Tensor | None) -> Tensor:
        """Hand out the plan that the solver found."""
        plan = what.plan.detach()
        ctx.what = what
        what.plan = plan.new_empty(0)  # the saved output is the only reference
        ctx.save_for_backward(plan, *inputs)

        return plan

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Cotangents of every input; differentiable once more for exact margins."""
        what: Implicit = ctx.what
        plan, x, scale, rows, columns, upper, row_upper, mass, *taus = ctx.saved_tensors
        again = torch.is_grad_enabled() and grad.requires_grad | plan.requires_grad
        if again and (any(t is not None for t in taus) or what.system.relax != (None, None)):
            raise NotImplementedError("a relaxed transport cannot be differentiated twice")

        if again or wrapped(grad) or row_upper is not None:
            z, alpha, beta = whole_plan(what, plan, grad)
        elif one_derivative(what.system):
            held = what.sides[1].held
            z, alpha, beta = operators.gradient(what.system, what.a, what.b, grad, held)
        elif kernels_visit(what.system):
            z, alpha, beta = visited_plan(what, grad)
        else:
            with flushed():
                z, alpha, beta = tiled_plan(what, plan, grad)

        factor = scale
        if factor is None:
            own = what.system.scale
            factor = own.detach() if isinstance(own, Tensor) else own

        grad_scale = None if scale is None else (z * x).sum((-2, -1), keepdim=True)
        margins = margin_cotangents(what, alpha, beta, rows, columns, upper, (row_upper, mass))

        return None, z * factor, grad_scale, *margins


def margin_cotangents(
    what: Implicit,
    alpha: Tensor,
    beta: Tensor,
    rows: Tensor,
    columns: Tensor,
    upper: Any,
    bounds: tuple[Tensor | None, Tensor | None],
) -> tuple[Tensor | None, ...]:
    """Cotangents of rows, columns (lower ones), upper columns and rows, mass, the two yields."""
    row_tau, column_tau = (side.tau for side in what.sides)
    row_yield = yielding(row_tau, what.a)
    column_yield = yielding(column_tau, what.b)
    grad_rows = (alpha * row_yield).to(rows.dtype)
    grad_columns = (beta * column_yield).to(columns.dtype)
    grad_upper = None
    if upper is not None:  # Eq. (18): the potential's sign says which bound is felt
        grad_upper = torch.where(what.b < 0, grad_columns, 0.0)
        grad_columns = torch.where(what.b > 0, grad_columns, 0.0)

    grad_top, grad_mass = None, None
    if bounds[0] is not None:
        grad_rows, grad_top, grad_mass = row_bounds(what, grad_rows, bounds[1])

    taus = (
        yield_cotangent(row_tau, alpha, rows, what.a),
        yield_cotangent(column_tau, beta, columns, what.b),
    )
    return grad_rows, grad_columns, grad_upper, grad_top, grad_mass, *taus


def row_bounds(
    what: Implicit, alpha: Tensor, mass: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cotangents of lower bounds, upper bounds and mass: loose rows take what others leave."""
    side = what.sides[0]
    assert side.loose is not None
    loose, grad_mass = side.loose.rows, None
    if mass is not None:
        # Eq. (21): loose rows have one multiplier, and what others take is missing from all of
        # them.
        shared = alpha.masked_fill(~loose, 0.0).sum(-1, keepdim=True)
        shared = shared / loose.sum(-1, keepdim=True).clamp_min(1)
        alpha, grad_mass = alpha - shared, shared.to(mass)

    above = what.level < what.a
    low = torch.where(loose | ~above, 0.0, alpha)
    return low, torch.where(loose | above, 0.0, alpha), grad_mass


def yielding(tau: float | Tensor, potential: Tensor) -> float | Tensor:
    """D goal / d margin of a relaxed side, Eq. (32): exp(-tau * potential)."""
    if isinstance(tau, float) and tau == 0.0:
        return 1.0
    return (-potential * detached(tau)).exp()


def yield_cotangent(
    tau: float | Tensor, cotangent: Tensor, margin: Tensor, potential: Tensor
) -> Tensor | None:
    """Cotangent of tau, Eq. (32): the goal is margin * exp(-tau * potential)."""
    if not isinstance(tau, Tensor):
        return None

    goal = margin * yielding(tau, potential)
    full = -(cotangent * goal * potential).sum(-1)
    return full.view(-1, 1, 1).to(tau.dtype)


def weights(what: Implicit, plan: Tensor) -> Tensor:
    """W, the link's slope in every cell: P(1 - P), or P without a cap."""
    return plan if what.system.groups is None else plan - plan * plan


def diagonals(what: Implicit, h: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column diagonals; a relaxed margin adds its own yielding, Eq. (24)."""
    row_tau, column_tau = (detached(side.tau) for side in what.sides)
    return h * (1 + row_tau), w * (1 + column_tau)


def fixed_columns(what: Implicit, w: Tensor) -> Tensor:
    """Columns whose potential does not answer: nothing to move, or inside their interval."""
    held = what.sides[1].held
    return w <= 0 if held is None else (w <= 0) | held


def visited_plan(what: Implicit, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(dL/dZ, alpha, beta) in two visits of the kernels, with the columns' sums of all ranks."""
    system, a, b = what.system, what.a, what.b
    # Rows eliminated, as in `tiled_plan`.
    found = visits.gather(system, a, b, grad)
    right = total(found.right.double(), system.ranks)
    w = total(found.weight.double(), system.ranks)
    still = fixed_columns(what, w)
    _, weight = diagonals(what, w, w)
    gauge = gauge_of(system, what.sides[1].held, w)
    if forms_square(system):
        part = visits.square_part(system, a, b, found.bend, found.height)
        coupling = total(part, system.ranks)
        beta = solve_dense(weight, coupling, right, still, gauge=gauge)
    else:

        def apply(x: Tensor) -> Tensor:
            return weight * x - total(visits.couple(system, a, b, x), system.ranks)

        beta = solve_iteratively(apply, weight, right, still, gauge=gauge, tolerance=1e-10)

    z, alpha = visits.spread_back(system, a, b, grad, found.tilt, beta)
    return z, alpha, beta


def tiled_plan(what: Implicit, plan: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(dL/dZ, alpha, beta) in two passes over the plan, tile by tile."""
    system = what.system
    k = plan.shape[2]
    dense = forms_square(system)
    h, row_pull = torch.empty_like(plan[..., 0]), torch.empty_like(plan[..., 0])
    w = torch.zeros_like(what.b, dtype=torch.float64)
    column_pull = torch.zeros_like(w)
    coupling = w.new_zeros((w.shape[0], k, k) if dense else (w.shape[0], 0, 0))
    inverse = torch.empty_like(h)

    # Eq. (12): (diag(w) - W^T diag(1/h) W) beta = c - W^T diag(1/h) r, where r and c are
    # the row and column sums of W * G.
    for part in tiles(system):
        tile = weights(what, plan[:, part])
        pulled = tile * grad[:, part]
        sums = tile.sum(-1)
        full, _ = diagonals(what, sums, w)
        answers = full >= torch.finfo(full.dtype).tiny  # below that the inverse leaves the range
        upside = torch.where(answers, 1 / full.masked_fill(~answers, 1.0), 0.0)
        h[:, part], row_pull[:, part], inverse[:, part] = full, pulled.sum(-1), upside

        # The right-hand side, and the diagonal w, of this tile's rows.
        eliminated = pulled.sum(-1) * upside
        column_pull += pulled.sum(-2) - torch.matmul(eliminated[:, None], tile).squeeze(1)
        w += tile.sum(-2)
        if dense:
            coupling += schur_part(tile, full)

    column_pull, w = total(column_pull, system.ranks), total(w, system.ranks)
    still = fixed_columns(what, w)
    _, weight = diagonals(what, h, w)
    gauge = gauge_of(system, what.sides[1].held, w)
    if dense:
        coupling = total(coupling, system.ranks)
        beta = solve_dense(weight, coupling, column_pull, still, gauge=gauge)
    else:

        def apply(x: Tensor) -> Tensor:  # Eq. (14), with the diagonals of Eq. (24)
            out = torch.zeros_like(x)
            for part in tiles(system):
                tile = weights(what, plan[:, part])
                answer = torch.matmul(tile, x.to(tile)[..., None]).squeeze(-1) * inverse[:, part]
                out += torch.matmul(answer[:, None], tile).squeeze(1)

            return weight * x - total(out, system.ranks)

        beta = solve_iteratively(apply, weight, column_pull, still, gauge=gauge, tolerance=1e-10)

    # Back to Eq. (31): alpha = (rows of W * G - W beta) / h, dL/dZ = W * (G - alpha_i - beta_j).
    z, alpha = torch.empty_like(plan), torch.empty_like(h)
    for part in tiles(system):
        tile = weights(what, plan[:, part])
        answer = torch.matmul(tile, beta.to(tile)[..., None]).squeeze(-1)
        alpha[:, part] = (row_pull[:, part] - answer) * inverse[:, part]
        bent = grad[:, part] - alpha[:, part, None] - beta.to(tile)[:, None]
        z[:, part] = tile * bent

    return z, alpha, beta


def whole_plan(what: Implicit, plan: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(dL/dZ, alpha, beta) in plain operations: for a second derivative, for many cotangents."""
    if what.system.ranks is not None:
        raise NotImplementedError(
            "a sharded plan cannot be differentiated twice, nor for a batch of cotangents"
        )

    tile = weights(what, plan)
    pulled = tile * grad
    sums = tile.sum(-1), tile.sum(-2)
    extra = [x * detached(side.tau) for x, side in zip(sums, what.sides, strict=True)]

    right = pulled.sum(-1), pulled.sum(-2)
    held, loose = what.sides[1].held, what.sides[0].loose
    alpha, beta = respond(tile, right, (extra[0], extra[1]), held, loose)
    alpha, beta = alpha.to(plan.dtype), beta.to(plan.dtype)

    return tile * (grad - alpha[..., None] - beta[..., None, :]), alpha, beta


def detached(tau: float | Tensor) -> float | Tensor:
    """How fast a side yields, (b, 1) where it is a tensor, without its gradient."""
    return tau.detach().squeeze(-1) if isinstance(tau, Tensor) else tau
