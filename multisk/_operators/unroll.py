"""The operator that differentiates a fixed number of sweeps: kernels on CUDA, torch elsewhere."""

import torch
from torch import Tensor
from torch.library import custom_op
from torch.nn.functional import logsigmoid

from multisk._backends.choose import kernels_run
from multisk._backends.torch import passes
from multisk._backends.triton import kernels
from multisk._operators.asked import Asked
from multisk._operators.sweep import in_kernels

Pair = tuple[Tensor, Tensor]
Three = tuple[Tensor, Tensor, Tensor]
Four = tuple[Tensor, Tensor, Tensor, Tensor]


@custom_op("multisk::sweeps_kept", mutates_args=())
def sweeps_kept(
    scores: Tensor,
    scales: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    steps: int,
    rows_first: bool,  # noqa: FBT001
) -> Three:
    """The sweeps of `multisk::sweeps` from the scores, with what their derivative needs of each.

    Gives the row potentials (S, B, N) and column potentials (S, B, K) after every sweep, and both
    groups' log column sums (S, 2, B, K) before every column step.

    Args:
        scores: (B, N, K).
        scales: (B, 2): scale over temperature of the plan's group and of the other.
        margins: rows (B, N), row_cells (B, N), columns (B, K), column_cells (B, K).
        free: (B, N, K), False where a cell takes no part.
        steps: How many sweeps, at least 1.
        rows_first: Whether a sweep is row, column, depth; else column, depth, row.
    """
    asked = Asked(scores, scales, margins, free)
    if kernels_run(scores):
        kept = kernels.sweep.room_for(scores, asked.budgets, steps)
        in_kernels(asked, [], steps, rows_first=rows_first, kept=kept)
        return kept.rows, kept.columns, kept.sums

    visits = visits_in_torch(asked, steps, rows_first=rows_first)
    rows, columns = [visit[3] for visit in visits], [visit[4] for visit in visits]
    sums = [torch.stack(visit[2]) for visit in visits]
    return torch.stack(rows), torch.stack(columns).to(margins[2]), torch.stack(sums)


@sweeps_kept.register_fake
def _(
    scores: Tensor,
    scales: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    steps: int,
    rows_first: bool,  # noqa: FBT001
) -> Three:
    rows, columns = margins[0], margins[2]
    return (
        rows.new_empty((steps, *rows.shape)),
        columns.new_empty((steps, *columns.shape)),
        scores.new_empty((steps, 2, *columns.shape)),
    )


@custom_op("multisk::sweeps_gradient", mutates_args=())
def sweeps_gradient(
    scores: Tensor,
    scales: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    steps: int,
    rows_first: bool,  # noqa: FBT001
    grad: Tensor,
    kept: list[Tensor],
) -> Four:
    """Cotangents of scores, scales, rows and columns of the plan after `steps` sweeps.

    The sweeps are those of `multisk::sweeps` from the scores; with columns first the plan is read
    after one more row step.

    Args:
        scores: (B, N, K).
        scales: (B, 2): scale over temperature of the plan's group and of the other.
        margins: rows (B, N), row_cells (B, N), columns (B, K), column_cells (B, K).
        free: (B, N, K), False where a cell takes no part.
        steps: How many sweeps, at least 1.
        rows_first: Whether a sweep is row, column, depth; else column, depth, row.
        grad: Cotangent of the plan, (B, N, K).
        kept: What `sweeps_kept` gave; where it is empty the sweeps are made once more.
    """
    asked = Asked(scores, scales, margins, free)
    if kernels_run(scores):
        found = kernels.unroll.sweeps_backward(
            scores,
            scales,
            asked.budgets,
            None,
            steps,
            grad,
            rows_first=rows_first,
            kept=kernels.sweep.Kept(*kept) if kept else None,
        )
        x, s, rows, columns = found
        return x, s.to(scales), rows.to(margins[0]), columns.to(margins[2])

    return in_torch(asked, steps, grad, rows_first=rows_first)


@sweeps_gradient.register_fake
def _(
    scores: Tensor,
    scales: Tensor,
    margins: list[Tensor],
    free: Tensor | None,
    steps: int,
    rows_first: bool,  # noqa: FBT001
    grad: Tensor,
    kept: list[Tensor],
) -> Four:
    parts = (scores, scales, margins[0], margins[2])
    x, s, rows, columns = (part.new_empty(part.shape) for part in parts)
    return x, s, rows, columns


def in_torch(asked: Asked, steps: int, grad: Tensor, *, rows_first: bool) -> Four:
    """The operator's meaning, sweep by sweep."""
    scores, scales, margins, free = asked.scores, asked.scale, asked.margins, asked.free
    high, low = (scales[:, end, None, None].to(scores) for end in (0, 1))
    rows, columns = margins[0], margins[2].to(scores)
    targets = targets_of(scores, margins)
    visits = visits_in_torch(asked, steps, rows_first=rows_first)

    def logs(a: Tensor | None, b: Tensor | None) -> Pair:
        return log_pair(scores, (high, low), a, b, free)

    top, rest = logs(*visits[-1][3:])
    p, q = top.exp(), rest.exp()
    pulled = torch.zeros_like(rows)
    e = grad.to(scores) * p
    if not rows_first:
        moved = after_rows((top, rest), targets[0], row_step=True)[0]
        e = grad.to(scores) * moved.exp()
        e, pulled = through_rows(e, moved, e.sum(-1), rows, row_step=True)

    # The plan's cotangent through P = sigmoid(T): W = P (1 - P).
    bent = q * e
    x_bar, u, v = (high - low) * bent, bent.sum(-1), bent.sum(-2)
    dots = [(scores * bent).sum((-2, -1)), -(scores * bent).sum((-2, -1))]
    column_bar = torch.zeros_like(columns)
    for step, (a, b, sums, *_) in reversed(list(enumerate(visits))):
        row_step = rows_first or step > 0
        pair = logs(a, b)
        top, rest, _, _ = after_rows(pair, targets[0], row_step=row_step)
        # Eq. (34), here by masses: e and f are cotangents of log P and log (1 - P) in this sweep.
        e = -torch.where(targets[1][0] > 0, v, 0.0)[:, None] * (top - sums[0][:, None]).exp()
        f = torch.where(targets[1][1] > 0, v, 0.0)[:, None] * (rest - sums[1][:, None]).exp()
        column_bar += per_mass(v, targets[1][0]) + per_mass(v, targets[1][1])
        e, first = through_rows(e, top, u + e.sum(-1), targets[0][0], row_step=row_step)
        f, second = through_rows(f, rest, f.sum(-1) - u, targets[0][1], row_step=row_step)
        pulled += first - second
        # Through the depth line; before the first one there is none.
        if a is not None:
            e = pair[1].exp() * e - pair[0].exp() * f
            u, v, f = u + e.sum(-1), v + e.sum(-2), -e

        x_bar += high * e + low * f
        dots = [dot + (scores * x).sum((-2, -1)) for dot, x in zip(dots, (e, f), strict=True)]

    return x_bar, torch.stack(dots, -1).to(scales), pulled, column_bar.to(margins[2])


def targets_of(scores: Tensor, margins: list[Tensor]) -> tuple[Pair, Pair]:
    """What rows and columns of both groups have to sum to."""
    rows, columns = margins[0], margins[2].to(scores)
    return (rows, margins[1] - rows), (columns, margins[3].to(scores) - columns)


def visits_in_torch(
    asked: Asked, steps: int, *, rows_first: bool
) -> list[tuple[Tensor | None, Tensor | None, list[Tensor], Tensor, Tensor]]:
    """Of every sweep: potentials before it, both log column sums, potentials after it."""
    scores, scales, free = asked.scores, asked.scale, asked.free
    ends = scales[:, 0, None, None].to(scores), scales[:, 1, None, None].to(scores)
    targets = targets_of(scores, asked.margins)
    a, b, visits = None, None, []
    for step in range(steps):
        pair = log_pair(scores, ends, a, b, free)
        top, rest, grow, shrink = after_rows(pair, targets[0], row_step=rows_first or step > 0)
        sums = [passes.safe_logsumexp(x, -2) for x in (top, rest)]
        moves = [passes.log_ratio(goal, x) for goal, x in zip(targets[1], sums, strict=True)]
        new_a = grow - shrink if a is None else a + grow - shrink
        new_b = moves[0] - moves[1] if b is None else b + moves[0] - moves[1]
        visits.append((a, b, sums, new_a, new_b))
        a, b = new_a, new_b

    return visits


def log_pair(
    x: Tensor, scales: Pair, a: Tensor | None, b: Tensor | None, free: Tensor | None
) -> Pair:
    """Both groups' logarithms: raw before the first sweep, sharing the cells after it."""
    high, low = scales
    top, rest = x * high, x * low
    if a is not None and b is not None:
        t = passes.exponent(x, high - low, a, b, None)
        top, rest = logsigmoid(t), logsigmoid(-t)

    if free is None:
        return top, rest

    return top.masked_fill(~free, -torch.inf), rest.masked_fill(~free, -torch.inf)


def after_rows(pair: Pair, targets: Pair, *, row_step: bool) -> list[Tensor]:
    """Both groups' logarithms after the row step, and its two changes."""
    sums = [
        passes.safe_logsumexp(x, -1) if row_step else 0.0 * goal
        for x, goal in zip(pair, targets, strict=True)
    ]
    changes = [passes.log_ratio(goal, x) for goal, x in zip(targets, sums, strict=True)]
    return [*(x + change[..., None] for x, change in zip(pair, changes, strict=True)), *changes]


def per_mass(x: Tensor, mass: Tensor) -> Tensor:
    """The quotient x / mass; 0 where there is no mass to scale."""
    return torch.where(mass > 0, x / mass.masked_fill(mass <= 0, 1.0), 0.0)


def through_rows(
    cotangent: Tensor, x: Tensor, change: Tensor, mass: Tensor, *, row_step: bool
) -> tuple[Tensor, Tensor]:
    """Back through x + (log mass - log sum exp x): cotangents of the old x and of the mass."""
    pulled = per_mass(change, mass)
    return (cotangent - x.exp() * pulled[..., None] if row_step else cotangent), pulled
