"""Transports that Newton alone is lost in: block ascent on the dual between Newton's directions.

The dual sum_i F_r(a_i) + sum_j F_c(b_j) - sum_ij exp(T_ij) is concave. Maximising it over the rows
alone and over the columns alone are Sinkhorn's two steps, and neither ever goes down; a Newton
direction is taken only where the slope along it says that it went up. The columns' system is scaled
to a unit diagonal, so that a column with a millionth of the others' mass counts like any other.
Eq. (n) is that of docs/multisk/mathematics.md.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from multisk._backends.torch import passes
from multisk._backends.torch.tiles import cells, column_goal, tiles, violation
from multisk._problem.system import System, power, yielding
from multisk._semidual.schur import solve_iteratively
from multisk._semidual.semidual import Point

SWEEPS = 12  # between two Newton steps; a sweep is two products with the plan
FARTHEST = 200.0  # change of a potential before the plan is computed anew: exp stays in range
TRIALS = 6  # of ever shorter Newton steps
FINEST = 1e-12  # relative error that float64 reaches
FORMED_COLUMNS = 2048  # up to which the system is formed: cold ones hold up conjugate gradients
DAMPINGS = (1e-13, 1e-10, 1e-7, 1e-4, 1e-2, 1.0)  # relative to the scaled diagonal, 1
ROUGH = 1e-4  # a goal from which a system in float32 is good enough for the way there
SMALL = 1e-290  # sums below this are taken in the log domain
SMALLEST = 1e-10  # entries of the scaled plan, at most 1, below which they couple no columns
SPARSE = 0.02  # share of the other entries up to which a sparse product is the faster one


def covers(system: System) -> bool:
    """Whether this is a transport whose plan one process holds."""
    bounds = system.bounded_rows or system.margins.upper is not None
    return system.groups is None and system.ranks is None and not bounds


def ascend(system: System, b: Tensor, goal: float, most: int, *, polish: bool) -> tuple[Point, int]:
    """From `b` to the relative error `goal` in at most `most` passes; one problem in float64.

    A pass is a dozen sweeps and a Newton step. With `polish` one more follows the goal, which
    squares the error.
    """
    best = here = visit(system, b)
    used, last = 0, not polish
    while used < most:
        done = float(best.error) <= goal
        if done and (last or float(best.error) <= FINEST):
            break
        last = last or done
        used += 1

        swept = moved(system, here, sweeps(system, here))
        # Rows and columns in turn never go down; a Newton step is checked by its slope.
        best = better(best, swept)
        if float(best.error) <= (FINEST if polish else goal):
            break

        here = step(system, swept, rough=goal >= ROUGH)
        best = better(best, here)
        if float(here.error) > 4 * float(swept.error):
            here = swept  # the slope went up, the margins did not: sweeps are the safer way

    return best, used


def better(one: Point, two: Point) -> Point:
    """The point with the smaller error; a number beats none."""
    return two if float(two.error) < float(one.error) or not one.error.isfinite().all() else one


def visit(system: System, b: Tensor) -> Point:
    """Answer `b` by the rows' best potentials."""
    x, margins = system.scores, system.margins
    plan, a = torch.empty_like(x), torch.empty_like(margins.rows)
    for part in tiles(system):
        tile, free = cells(system, part)
        # Less the row's largest: sums of exponentials stay in range.
        y = passes.exponent(tile, system.scale, None, b, free)
        top = y.amax(-1)
        top = torch.where(top == -torch.inf, 0.0, top)
        y = y.sub_(top[..., None]).exp_()

        # Eq. (23): a = power (log r - log sum_j exp y_ij); the plan is the table times two factors.
        found = y.sum(-1)
        logs = torch.where(found > 0, top + found.log(), 0.0)
        a[:, part] = power(system, 0) * passes.log_ratio(margins.rows[:, part], logs)
        plan[:, part] = y.mul_((a[:, part] + top).exp()[..., None])

    return measured(system, plan, a, b)


def moved(system: System, point: Point, b: Tensor) -> Point:
    """`visit` not far from `point`: the plan there times two factors, no exponential a cell."""
    change = b - point.b
    if not float(change.abs().max()) <= FARTHEST:
        return visit(system, b)

    plan = point.plan * change.exp()[:, None]
    found = plan.sum(-1)
    if not bool(((found > SMALL) | (system.margins.rows <= 0)).all()):
        return visit(system, b)

    logs = torch.where(found > 0, found.log() - point.a, 0.0)
    a = power(system, 0) * passes.log_ratio(system.margins.rows, logs)
    return measured(system, plan.mul_((a - point.a).exp()[..., None]), a, b)


def measured(system: System, plan: Tensor, a: Tensor, b: Tensor) -> Point:
    """The point of a plan: its sums, its error (42) and the gradient (11) of the dual."""
    row_sums, sums = plan.sum(-1), plan.sum(-2)
    error = violation(system, row_sums, sums, a, b)
    error = torch.where(sums.isfinite().all(-1), error, torch.inf)
    pull = sums - column_goal(system, b)
    none = sums.new_zeros((sums.shape[0], 0, 0))

    return Point(plan, b, a, row_sums, sums, pull, sums, none, None, error)


def sweeps(system: System, point: Point) -> Tensor:
    """`SWEEPS` times columns and rows in turn from `point`; the columns' potentials.

    The plan is the table: exp(T) at other potentials is its product with two factors.
    """
    margins = system.margins
    b, a = point.b, point.a
    live = margins.columns > 0
    for _ in range(SWEEPS):
        factor = (a - point.a).exp()[:, None]
        sums = torch.matmul(factor, point.plan)[:, 0]
        if bool((live & (sums < SMALL)).any()):  # below the format: once in the log domain
            new = columns_in_logs(system, a)
        else:
            # Eq. (23) by factors: the sums at `a` are those of the plan, weighted.
            new = power(system, 1) * passes.log_ratio(margins.columns, sums.log() - point.b)
        new, _ = shifted(system, new, a)
        if float((new - point.b).abs().max()) > FARTHEST:
            return new

        # And the rows' step, from the new columns.
        found = torch.matmul(point.plan, (new - point.b).exp()[..., None])[..., 0]
        if not bool(((found > SMALL) | (margins.rows <= 0)).all()):
            return new

        a = power(system, 0) * passes.log_ratio(margins.rows, found.log() - point.a)
        b, a = shifted(system, new, a)

    return b


def columns_in_logs(system: System, a: Tensor) -> Tensor:
    """The columns' step where plain sums leave the number format."""
    parts = []
    for part in tiles(system):
        tile, free = cells(system, part)
        parts.append(passes.exponent(tile, system.scale, a[:, part], None, free).logsumexp(-2))

    logs = torch.stack(parts).logsumexp(0)
    logs = torch.where(logs == -torch.inf, 0.0, logs)
    return power(system, 1) * passes.log_ratio(system.margins.columns, logs)


def shifted(system: System, b: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """The best (a + t, b - t) where a margin yields, Eq. (25): the plan stays, t has a closed form.

    With strengths far above the temperature sweeps alone would take strength / eps steps for it
    (Sejourne, Vialard and Peyre 2022, arXiv:2201.00730).
    """
    if system.relax == (None, None):
        return b, a

    yields = [yielding(system, side) for side in (0, 1)]
    margins = system.margins
    logs = []
    for mass, potential, give in ((margins.rows, a, yields[0]), (margins.columns, b, yields[1])):
        t = mass.double().log() - potential * give
        logs.append(t.logsumexp(-1, keepdim=True))

    t = (logs[0] - logs[1]) / (yields[0] + yields[1])
    t = torch.where(t.isfinite(), t, 0.0)
    return b - t, a + t


def step(system: System, point: Point, *, rough: bool) -> Point:
    """A Newton step, cut until the slope along it has not turned."""
    move = direction(system, point, rough=rough)
    ahead = float((point.pull * move).sum())
    return along(
        point,
        move,
        ahead,
        visit=lambda b: visit(system, b),
        slope=lambda new: float((new.pull * move).sum()),
    )


def along(
    point: Point,
    move: Tensor,
    ahead: float,
    *,
    visit: Callable[[Tensor], Point],
    slope: Callable[[Point], float],
) -> Point:
    """From `point` along `move`, ever shorter until the slope there has not turned: Eq. (15).

    Args:
        point: where it begins.
        move: of the columns' potentials, (b, k).
        ahead: the slope at `point`.
        visit: the point at potentials of the columns.
        slope: along `move`, at such a point.
    """
    length, best = 1.0, point
    for _ in range(TRIALS):
        new = visit(point.b + length * move)
        behind = slope(new)
        if bool(new.error.isfinite().all()):
            if behind <= 0.5 * abs(ahead):
                return new
            best = better(best, new)
        part = abs(ahead) / (abs(ahead) + behind) if behind < float("inf") else 0.1
        length *= min(max(part, 0.05), 0.5)

    return best


def direction(system: System, point: Point, *, rough: bool) -> Tensor:
    """Newton's direction (13) for the columns, from the system with a unit diagonal.

    A `rough` one has the system from a product in float32.
    """
    yields = power(system, 0)
    weight = point.sums
    if system.relax[1] is not None:
        weight = weight + column_goal(system, point.b) * yielding(system, 1)

    # Eq. (24): diagonals of margins that yield.
    h = point.row_sums / yields
    inverse = torch.where(h > 0, 1 / h.masked_fill(h <= 0, 1.0), 0.0)
    unit = torch.where(weight > 0, weight.clamp_min(1e-300).rsqrt(), 0.0)

    if weight.shape[-1] > FORMED_COLUMNS:

        def apply(x: Tensor) -> Tensor:  # Eq. (14)
            answer = torch.matmul(point.plan, x[..., None])[..., 0] * inverse
            return weight * x - torch.matmul(answer[:, None], point.plan)[:, 0]

        gauge = torch.full_like(weight[:, :1], float(system.relax == (None, None)))
        loose = min(1e-2, 0.1 * float(point.error))
        return -solve_iteratively(
            apply, weight, point.pull, weight <= 0, gauge=gauge, tolerance=max(loose, 1e-12)
        )

    # Eq. (12) in units in which w is 1: 1 - B^T B with B = h^-1/2 W w^-1/2.
    scaled = (point.plan * inverse.sqrt()[..., None]).mul_(unit[:, None])
    s = torch.diag_embed(torch.ones_like(weight)) - squared(scaled, rough=rough)
    right = -point.pull * unit
    eye = torch.eye(weight.shape[-1], dtype=s.dtype, device=s.device)
    for damping in DAMPINGS:
        factor, info = torch.linalg.cholesky_ex(s + damping * eye)
        if not bool(info.any()):
            break

    move = torch.cholesky_solve(right[..., None], factor)[..., 0] * unit
    if system.relax == (None, None):  # only sums of a and b matter
        move = move - move.mean(-1, keepdim=True)

    return torch.where(move.isfinite() & (weight > 0), move, 0.0)


def squared(scaled: Tensor, *, rough: bool) -> Tensor:
    """scaled^T scaled; cold plans have few entries in a row that count.

    At (2048, 1024), spread 4, eps .04 a sparse product takes .05 s where a dense one takes .15.
    """
    here = scaled[0] > SMALLEST
    if float(here.sum()) > SPARSE * here.numel():
        kind = torch.float32 if rough else scaled.dtype
        scaled = scaled.to(kind)
        return torch.matmul(scaled.mT, scaled).double()

    rows, columns = here.nonzero(as_tuple=True)
    entries = torch.stack([columns, rows]), scaled[0, rows, columns]
    sparse = torch.sparse_coo_tensor(*entries, scaled[0].T.shape, check_invariants=False)
    return torch.sparse.mm(sparse, scaled[0])[None]
