"""Small doubly stochastic matrices and their derivative in plain torch, all matrices side by side.

What is computed, and why it ends, stands in `multisk._backends.numba.birkhoff`; this replaces its
loops where numba is missing, and on devices.
"""

import math

import torch
from torch import Tensor

SPREAD = 40.0  # logits of a wider row are cooled down, by a factor of 4 a stage
SWEEPS = 3  # column steps before Newton's
ROUNDS, ROUNDS_A_STAGE = 60, 12  # at most
UNSEEN_STAGES = 4  # where the host may not look at the logits: rows up to 10,000 wide
LOOSE = 0.1  # error of a margin at which a warm stage is left
TINY = 1e-290  # coupling that is none
FAINT = 1e-13  # coupling below which two groups of columns do not answer each other's cotangents


def forward(
    x: Tensor, rows: Tensor, columns: Tensor, tolerance: float, *, look: bool
) -> tuple[Tensor, Tensor]:
    """Plans (t, n, m) in float64, and each one's largest relative column error (t,).

    Args:
        x: Logits (t, n, m).
        rows: Row sums (t or 1, n).
        columns: Column sums (t or 1, m).
        tolerance: Error at which a matrix is done.
        look: Whether the host may look at values: finished matrices then leave the batch.
    """
    count = x.shape[0]
    x = x.to(working_dtype(x))
    rows, columns = rows.to(x).expand(count, -1), columns.to(x).expand(count, -1)
    plan, errors = torch.empty_like(x), x.new_empty(count)
    index, stage, b = torch.arange(count, device=x.device), stages_of(x), torch.zeros_like(columns)
    stages = int(stage.max()) if look and count else UNSEEN_STAGES
    limit = ROUNDS + ROUNDS_A_STAGE * stages

    for turn in range(limit + 1):
        p = rows_answered(x * 0.25 ** stage[:, None, None], b, rows, columns)
        v = p.sum(-2)
        error = ((v - columns).abs() * inverse(columns)).amax(-1)
        done = ((stage == 0) & (error <= tolerance)) | error.isnan()
        if turn == limit:
            break
        if look and bool(done.any()):
            plan[index[done]], errors[index[done]] = p[done], error[done]
            x, rows, columns, index, stage, b, p, v, error, done = (
                part[~done] for part in (x, rows, columns, index, stage, b, p, v, error, done)
            )
            if not index.numel():
                break

        cool = (stage > 0) & (error <= LOOSE)
        if turn < SWEEPS:
            known = (v > 0) & (columns > 0)
            step = torch.where(known, columns / v, 1.0).log()
        else:
            step = newton_step(p, v, rows, columns, 0.25 * tolerance)

        b = torch.where(cool[:, None], 4 * b, torch.where(done[:, None], b, b + step))
        stage = stage - cool.to(stage)

    plan[index], errors[index] = p, error
    return plan, errors


def working_dtype(x: Tensor) -> torch.dtype:
    """float64, where the device has it."""
    return x.dtype if x.device.type == "mps" else torch.float64


def stages_of(x: Tensor) -> Tensor:
    """How often the logits are divided by 4 for the first stage, (t,)."""
    quarter = 0.25 * x
    widest = (quarter.amax(-1) - quarter.amin(-1)).amax(-1).nan_to_num(0.0, 0.0)
    return (widest / (0.25 * SPREAD)).clamp_min(1.0).log2().div(2.0).ceil()


def rows_answered(y: Tensor, b: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """exp(y + a_i + b_j) with exact rows; no cell without both masses."""
    t = (y + b[:, None]).masked_fill((columns <= 0)[:, None], -math.inf)
    e = (t - t.amax(-1, keepdim=True)).exp()
    return e * (rows / e.sum(-1))[..., None]


def inverse(x: Tensor) -> Tensor:
    """1 / x; 0 where x is not above 0."""
    return torch.where(x > TINY, 1 / x, 0.0)


def newton_step(p: Tensor, v: Tensor, rows: Tensor, columns: Tensor, quiet: float) -> Tensor:
    """A damped Newton step of the column potentials."""
    d = eliminate(couple(p, inverse(rows)), columns - v, 0.0, quiet)
    d = d - d.amin(-1, keepdim=True)
    # Eq. (41): log(1 + R) / R of the step, where R is its range.
    reach = d.amax(-1, keepdim=True).clamp_min(1.0)
    return d * torch.where(reach > 1, reach.log1p() / reach, 1.0)


def couple(p: Tensor, row_share: Tensor) -> Tensor:
    """Weights of the columns' Laplacian, Eq. (41), (t, m, m)."""
    return (p * row_share[..., None]).mT @ p


def eliminate(w: Tensor, g: Tensor, floor: float, quiet: float) -> Tensor:
    """Solve Eq. (41)'s S x = g with the weights `w`; only positive numbers are added.

    Column by column: what is taken out shares its weights among the others (Grassmann, Taksar and
    Heyman 1985).
    """
    m = g.shape[-1]
    asks, ahead, one = list(g.unbind(-1)), [], []
    for a in range(m):
        ahead.append(w[:, 0, 1:])
        total = ahead[a].sum(-1)
        weak = (total <= floor) | ((asks[a].abs() <= quiet) & (total <= asks[a].abs()))
        asks[a] = torch.where(weak, 0.0, asks[a])
        one.append(inverse(total))
        share = ahead[a] * one[a][:, None]
        for b in range(a + 1, m):
            asks[b] = asks[b] + share[:, b - a - 1] * asks[a]
        w = w[:, 1:, 1:] + share[:, :, None] * ahead[a][:, None]

    x = g[:, :0]
    for a in reversed(range(m)):
        found = (asks[a] + (ahead[a] * x).sum(-1)) * one[a]
        x = torch.cat([found[:, None], x], -1)

    return x


def backward(plan: Tensor, grad: Tensor, *, weigh: bool) -> Tensor:
    """P (G - alpha_i - beta_j), or without P unless `weigh`, in float64."""
    p = plan.to(working_dtype(plan))
    grad = grad.to(p)
    share = inverse(p.sum(-1))
    tilt = (p * grad).sum(-1) * share
    g = (p * (grad - tilt[..., None])).sum(-2)

    # Eq. (31) with the rows eliminated: tilt is their own answer, alpha what beta leaves of it.
    beta = eliminate(couple(p, share), g, FAINT, 0.0)
    alpha = tilt - (p * beta[:, None]).sum(-1) * share
    here = grad - alpha[..., None] - beta[:, None]

    return p * here if weigh else here
