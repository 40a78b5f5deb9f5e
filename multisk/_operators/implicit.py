"""The whole implicit derivative of a plan as one operator."""

import torch
from torch import Tensor
from torch.library import custom_op

from multisk._backends.choose import kernels_run
from multisk._backends.torch import passes
from multisk._backends.triton import kernels
from multisk._operators.asked import Asked, being_captured
from multisk._solution.implicit import Implicit, Side, tiled_plan

Cotangents = tuple[Tensor, Tensor, Tensor]
ROUNDS = 400  # of conjugate gradients at most
ROUNDS_A_LOOK = 8  # launched between two looks at them, where the host may look; most need 2 to 4


@custom_op("multisk::plan_gradient", mutates_args=())
def plan_gradient(
    scores: Tensor,
    scale: Tensor,
    a: Tensor,
    b: Tensor,
    grad: Tensor,
    free: Tensor | None,
    yields: Tensor | None,
    held: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cotangents of Z = scale X, of row and of column budgets, at a solution: Eq. (31).

    Args:
        scores: (B, N, K).
        scale: (B,).
        a: Row potentials (B, N).
        b: Column potentials (B, K).
        grad: Cotangent of the plan, (B, N, K).
        free: (B, N, K), False where a cell takes no part.
        yields: None for cells capped at 1; (B, 2) for exp: eps / strength of rows and columns.
        held: (B, K), True for columns whose potential does not answer.
    """
    asked = Asked(scores, scale, [], free, yields)
    run = in_kernels if kernels_run(scores) else in_torch
    return run(asked, (a, b), grad, held)


@plan_gradient.register_fake
def _(
    scores: Tensor,
    scale: Tensor,
    a: Tensor,
    b: Tensor,
    grad: Tensor,
    free: Tensor | None,
    yields: Tensor | None,
    held: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    z = scores.new_empty(scores.shape)
    return z, scores.new_empty(scores.shape[:2]), b.new_empty(b.shape)


def in_kernels(
    asked: Asked, potentials: tuple[Tensor, Tensor], grad: Tensor, held: Tensor | None
) -> Cotangents:
    """Two passes and the columns' system; where that takes many rounds, the host looks at them."""
    a, b = potentials
    # First visit: h, w and the rows' part of Eq. (31), whose columns' system is solved next.
    at = asked.at(a, b)
    found = kernels.gradient.gather(at, grad)
    give = None if asked.yields is None else asked.yields[:, 1]
    still, gauge = found.weight <= 0, torch.ones_like(asked.scale)
    # A column held inside its interval fixes the gauge of Eq. (13); an empty one does not.
    if held is not None:
        gauge = gauge * ~(held & ~still).any(1)
        still = still | held

    if asked.yields is not None:
        gauge = gauge * (asked.yields.sum(1) == 0)

    columns = (found, at, give, still, gauge)
    captured, rounds = being_captured(asked.scores), 0
    beta = kernels.gradient.answer(*columns, rounds=ROUNDS if captured else ROUNDS_A_LOOK)
    while isinstance(beta, kernels.wide.Solving) and not captured and rounds < ROUNDS:
        if bool(beta.done.all()):
            break
        rounds += ROUNDS_A_LOOK
        beta = kernels.gradient.answer(*columns, rounds=ROUNDS_A_LOOK, resume=beta)

    beta = beta.x if isinstance(beta, kernels.wide.Solving) else beta

    # Second visit: alpha, and W (G - alpha_i - beta_j).
    z, alpha = kernels.gradient.spread_back(at, grad, found.tilt, beta)
    return z, alpha, beta.to(b.dtype).clone()


def in_torch(
    asked: Asked, potentials: tuple[Tensor, Tensor], grad: Tensor, held: Tensor | None
) -> Cotangents:
    """The operator's meaning: the implicit function theorem, tile by tile."""
    a, b = potentials
    t = passes.exponent(asked.scores, asked.factor, a, b, asked.free)
    plan = torch.sigmoid(t) if asked.yields is None else t.exp()
    margins = [plan.sum(-1), torch.ones_like(a), plan.sum(-2), torch.ones_like(b)]
    tau = (0.0, 0.0) if asked.yields is None else asked.yields.to(a).view(-1, 2, 1, 1).unbind(1)
    sides = (Side(tau[0], None), Side(tau[1], held))
    what = Implicit(a, b, sides, asked.system(margins), plan)
    z, alpha, beta = tiled_plan(what, plan, grad)

    return z, alpha, beta.to(b.dtype)
