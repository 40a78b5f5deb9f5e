"""Potentials as plain differentiable operations: Newton steps (33) that start at the solution.

A Newton step from a solution changes nothing but carries its derivative: as the steps square the
error of a small change of the input, one step is right to first order and two are right to third.
Being ordinary operations they go through every tracer and transform, at O(N K) memory a step.
Eq. (n) is that of docs/multisk/mathematics.md.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from multisk._problem.system import System, yielding
from multisk._semidual.row_interval import Loose, band_at

STEPS = 2
Pair = tuple[Tensor, Tensor]  # something for rows (b, n) and for columns (b, k)


@dataclass(frozen=True, eq=False)
class Solved:
    """A solution: potentials, and what their sums miss, none of which is differentiated."""

    a: Tensor
    b: Tensor
    miss: Pair | None = None


def log_link(system: System, t: Tensor) -> Tensor:
    """The logarithm of the plan at the exponents."""
    return t if system.groups is None else logsigmoid(t)


def exponents(system: System, solved: Solved) -> Tensor:
    """T = scale X + a_i + b_j in float64 with its derivative, -inf at forbidden pairs."""
    a, b, miss = solved.a.double(), solved.b.double(), solved.miss
    # Eq. (33). What the solution itself misses is no change: only its derivative counts.
    for _ in range(STEPS):
        t = raised(system, a, b)
        plan, slope = linked(system, t)
        goals, extra, held, loose = asked(system, a, b, plan)
        left = plan.sum(-1) - goals[0], plan.sum(-2) - goals[1]
        if miss is None:
            miss = left[0].detach(), left[1].detach()
        alpha, beta = respond(slope, (left[0] - miss[0], left[1] - miss[1]), extra, held, loose)
        a, b = a - alpha, b - beta

    return raised(system, a, b)


def missed(system: System, a: Tensor, b: Tensor) -> Pair:
    """What the row and column sums at the potentials miss, in float64."""
    a, b = a.double(), b.double()
    plan = log_link(system, raised(system, a, b)).exp()
    goals = asked(system, a, b, plan)[0]
    return plan.sum(-1) - goals[0], plan.sum(-2) - goals[1]


def raised(system: System, a: Tensor, b: Tensor) -> Tensor:
    """The exponents at given potentials."""
    scale = system.scale
    scale = scale.double() if isinstance(scale, Tensor) else scale
    t = system.scores.double() * scale + a[..., None] + b[..., None, :]
    free = system.margins.free

    return t if free is None else t.masked_fill(~free, -torch.inf)


def linked(system: System, t: Tensor) -> Pair:
    """The plan and its slope, which keeps its digits where an entry is almost 0 or 1."""
    if system.groups is None:
        plan = t.exp()
        return plan, plan

    plan = torch.sigmoid(t)
    return plan, plan * torch.sigmoid(-t)


def asked(
    system: System, a: Tensor, b: Tensor, plan: Tensor
) -> tuple[Pair, Pair, Tensor | None, Loose | None]:
    """What the sums shall be, how fast relaxed margins yield, and the lines that stand still."""
    margins = system.margins
    rows, columns = margins.rows.double(), margins.columns.double()
    extra_rows, extra_columns = torch.zeros_like(a), torch.zeros_like(b)
    if system.relax[0] is not None:
        # Eq. (23); its derivative joins the diagonal, Eq. (24).
        rows = rows * (-a * yielding(system, 0)).exp()
        extra_rows = rows * yielding(system, 0)

    if system.relax[1] is not None:
        columns = columns * (-b * yielding(system, 1)).exp()
        extra_columns = columns * yielding(system, 1)

    held = None
    if margins.upper is not None:
        # Eq. (18)
        columns = torch.where(b < 0, margins.upper.double(), columns)
        held = b == 0

    loose = None
    if margins.row_upper is not None:
        rows, loose = bounds_of(system, a, plan.sum(-1))

    return (rows, columns), (extra_rows, extra_columns), held, loose


def bounds_of(system: System, a: Tensor, sums: Tensor) -> tuple[Tensor, Loose]:
    """The bound that every row meets; loose rows share what the others leave of the mass."""
    margins = system.margins
    assert margins.row_upper is not None
    band = band_at(system, a.detach(), sums.detach())
    lower, upper = margins.rows.double(), margins.row_upper.double()
    rows = torch.where(a < band.level, upper, lower)
    if margins.mass is None:
        return torch.where(band.loose, sums.detach(), rows), Loose(band.loose, pooled=False)

    # Eq. (21): loose rows share what the others leave; `share` has its derivative and no value.
    taken = torch.where(band.loose, 0.0, rows).sum(-1, keepdim=True)
    share = (margins.mass - taken) / band.loose.sum(-1, keepdim=True).clamp_min(1)
    share = sums.detach() + share - share.detach()
    return torch.where(band.loose, share, rows), Loose(band.loose, pooled=True)


def respond(
    slope: Tensor, right: Pair, extra: Pair, held: Tensor | None, loose: Loose | None = None
) -> Pair:
    """Solve [diag(W 1 + extra) W; W^T diag(W^T 1 + extra)] [alpha; beta] = right, in float64.

    The longer side is eliminated. What is left is a weighted Laplacian, whose diagonal is summed
    from its other entries: nothing cancels, however small the slopes are.

    Args:
        slope: W (b, n, k).
        right: Right-hand sides (b, n), (b, k).
        extra: What is added to the diagonals; 0 where a margin is exact.
        held: (b, k), True for columns whose beta is 0.
        loose: Rows whose alpha is 0, or one for all of them, for which their equations are added.
    """
    w = slope.double()
    if loose is not None and loose.pooled:
        return pooled(w, right, extra, held, loose.rows)
    if loose is not None:
        return eliminated(w, right, extra, held, loose.rows)

    if held is None and not torch.compiler.is_compiling() and w.shape[-2] < w.shape[-1]:
        beta, alpha = eliminated(w.mT, (right[1], right[0]), (extra[1], extra[0]), None)
        return alpha, beta

    return eliminated(w, right, extra, held)


def pooled(w: Tensor, right: Pair, extra: Pair, held: Tensor | None, loose: Tensor) -> Pair:
    """`respond` with the loose rows added up to one more row."""

    def added(x: Tensor) -> Tensor:
        here = loose.view(*loose.shape, *[1] * (x.ndim - 2))
        one = torch.where(here, x, 0.0).sum(1, keepdim=True)
        return torch.cat([torch.where(here, 0.0, x), one], 1)

    sums = (added(right[0].double()), right[1]), (added(extra[0]), extra[1])
    alpha, beta = eliminated(added(w), *sums, held)
    return torch.where(loose, alpha[:, -1:], alpha[:, :-1]), beta


def eliminated(
    w: Tensor, right: Pair, extra: Pair, held: Tensor | None, loose: Tensor | None = None
) -> Pair:
    """`respond` with the rows eliminated, Eq. (12); `loose` ones do not answer."""
    tiny = torch.finfo(w.dtype).tiny
    sums = w.sum(-1)
    height = sums + extra[0]
    answers = height >= tiny  # below that the inverse leaves the range
    answers = answers if loose is None else answers & ~loose
    inverse = torch.where(answers, 1 / torch.where(answers, height, 1.0), 0.0)
    kept = torch.where(answers, extra[0] * inverse, 1.0)  # share that a row does not hand on

    still = w.sum(-2) + extra[1] < tiny
    still = still if held is None else still | held
    eye = torch.eye(w.shape[-1], dtype=w.dtype, device=w.device)
    coupling = ((w * inverse[..., None]).mT @ w) * (1 - eye)
    gone = still[..., None] | still[..., None, :]
    # The diagonal W^T 1 + extra - sum_i w_ij^2 / h_i, with w_ij / h_i = 1 - kept_i - the others'.
    own = coupling.sum(-1) + (w * kept[..., None]).sum(-2) + extra[1]
    own = torch.where(still | (own < tiny), 1.0, own)

    size = own.rsqrt()  # of the columns' units, in which the diagonal is 1
    off = torch.where(gone, 0.0, coupling) * size[..., None] * size[..., None, :]
    # Where all margins are exact only sums of potentials matter: the shift gets a pivot, Eq. (13).
    exact = ((extra[0] == 0).all(-1, keepdim=True) & (extra[1] == 0).all(-1, keepdim=True)).to(w)
    for fixed in (held, loose):
        exact = exact if fixed is None else exact * (~fixed.any(-1, keepdim=True)).to(w)

    shift = torch.where(still, 0.0, 1 / size)
    shift = exact * shift / shift.square().sum(-1, keepdim=True).clamp_min(tiny).sqrt()
    matrix = eye * (1 + 4 * torch.finfo(w.dtype).eps) - off
    matrix = matrix + shift[..., None] * shift[..., None, :]

    # Right-hand side, solution in the columns' units, and back to the rows.
    pull = right[1] - ((right[0] * inverse)[..., None] * w).sum(-2)
    pull = torch.where(still, 0.0, pull) * size
    beta = torch.linalg.solve(matrix, pull[..., None]).squeeze(-1) * size
    beta = torch.where(still, 0.0, beta)
    alpha = (right[0] - (w * beta[..., None, :]).sum(-1)) * inverse

    return alpha, beta
