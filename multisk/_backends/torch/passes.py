"""The formulas of one visit to a tile of rows: tensors in, tensors out, no loop over tiles.

Shapes: x (b, n, k) scores of the tile; a (b, n) and b (b, k) potentials; T = scale * x + a_i + b_j.
Eq. (n) is that of docs/multisk/mathematics.md.
The drivers in `_solvers` call these for every tile and add up what the columns get; a fused
operator may take the place of any of them.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.nn.functional import logsigmoid

Cells = Float[Tensor, "b n k"]
Rows = Float[Tensor, "b n"]
Columns = Float[Tensor, "b k"]
Free = Bool[Tensor, "b n k"] | None
Scale = float | Float[Tensor, "#b 1 1"]


def exponent(x: Cells, scale: Scale, a: Rows | None, b: Columns | None, free: Free) -> Cells:
    """T = scale * x + a_i + b_j, Eq. (5), -inf at forbidden cells; always a new tensor."""
    t = x * scale
    if watched(t):
        t = t if b is None else t + b.to(t.dtype)[..., None, :]
        t = t if a is None else t + a.to(t.dtype)[..., None]
        return t if free is None else t.masked_fill(~free, -torch.inf)

    if b is not None:
        t.add_(b.to(t)[..., None, :])

    if a is not None:
        t.add_(a.to(t)[..., None])

    return t if free is None else t.masked_fill_(~free, -torch.inf)


def watched(t: Tensor) -> bool:
    """Whether autograd or a transform follows, so that nothing may be written in place."""
    return torch.compiler.is_compiling() or t.requires_grad or peek_interpreter_stack() is not None


def log_ratio(target: Tensor, log_sum: Tensor) -> Tensor:
    """The potential's change log(target) - log_sum; 0 where there is nothing to scale."""
    change = target.clamp_min(torch.finfo(target.dtype).tiny).log() - log_sum
    return torch.where(target > 0, change, torch.zeros_like(change))


def safe_logsumexp(t: Tensor, dim: int) -> Tensor:
    """Logsumexp with slices of only minus infinity giving 0 instead of poisoned gradients."""
    if not watched(t):
        found = t.logsumexp(dim)
        return found.masked_fill_(found == -torch.inf, 0.0)

    empty = (t == -torch.inf).all(dim, keepdim=True)
    return t.masked_fill(empty, 0.0).logsumexp(dim).masked_fill(empty.squeeze(dim), 0.0)


def log_row_scale(t: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Row step in the log domain: the potential's change, and the column sums after it.

    `t` (..., n, k) is log mass, `target` (..., n). Returns (change, log column sums (..., k)).
    """
    # Eq. (3)'s row line: Q r_i / sum_j Q is a change of the row's potential.
    change = log_ratio(target, safe_logsumexp(t, -1))
    return change, (t + change[..., None]).logsumexp(-2)


def first_linear(x: Cells, scale: Scale, center: Tensor, target: Rows) -> tuple[Rows, Columns]:
    """Row step on the raw kernel exp(scale * x), and the column sums after it, for small ranges.

    Returns:
        The potential's change and the column sums themselves, not their logarithms.
    """
    # The first lines of Eq. (3). The center keeps the exponents small; `shift` takes it back.
    kernel = ((x - center) * scale).exp()
    weight = target / kernel.sum(-1)
    shift = (center * scale).reshape(-1, 1) if isinstance(scale, Tensor) else center * scale
    return weight.log() - shift, torch.matmul(weight[..., None, :], kernel).squeeze(-2)


def sweep_linear(
    x: Cells, scale: Scale, a: Rows, b: Columns, rows: Rows, cells: Rows, free: Free
) -> tuple[Rows, Columns, Columns, Columns, Rows]:
    """One row step and the column sums after it for two groups, P = sigmoid(T) and 1 - P.

    Alg. 1's row and column lines; the depth line is the sigmoid. Safe while the range of T stays
    within the exponent range of the dtype.

    Returns:
        The new a; the column sums of the first and of the other group after the row step; those
        of P before it; the row sums of P before it.
    """
    p = torch.sigmoid(exponent(x, scale, a, b, free))
    first = p.sum(-1)
    q = 1 - p if free is None else (1 - p).masked_fill(~free, 0.0)
    other = q.sum(-1)

    # Eq. (7): g_i = r_i / sum_j P_ij and s_i = (n_i - r_i) / sum_j (1 - P_ij).
    live = (first > 0) & (other > 0)
    grow = torch.where(live, rows / first, 0.0)
    shrink = torch.where(live, (cells - rows) / other, 0.0)

    # Eq. (8): A_j and, for the error, the sums before the step, by one product; then B_j.
    weights = torch.stack([grow, torch.ones_like(grow)], -2)
    top, plain = torch.matmul(weights, p).unbind(-2)
    rest = torch.matmul(shrink[..., None, :], q).squeeze(-2)

    # Eq. (7): the depth line sees only the ratio of the two factors, which moves a.
    change = torch.where(live, grow / shrink.masked_fill(~live, 1.0), 1.0).log()
    return a + change, top, rest, plain, first


def sweep_log(
    x: Cells, scale: Scale, a: Rows, b: Columns, rows: Rows, cells: Rows, free: Free
) -> tuple[Rows, Columns, Columns, Columns, Rows]:
    """`sweep_linear` for any range of T: log domain, and the column sums come as logarithms."""
    t = exponent(x, scale, a, b, None)
    # log P and log (1 - P), exact where either underflows.
    top, rest = logsigmoid(t), logsigmoid(-t)
    if free is not None:
        top, rest = top.masked_fill(~free, -torch.inf), rest.masked_fill(~free, -torch.inf)

    # Eq. (7), (8) in logarithms.
    grow, top_sum = log_row_scale(top, rows)
    shrink, rest_sum = log_row_scale(rest, cells - rows)
    p = top.exp()
    return a + grow - shrink, top_sum, rest_sum, p.sum(-2), p.sum(-1)


def sweep_groups(
    x: Cells, scales: list[Scale], u: Tensor, v: Tensor, rows: Tensor, free: Free
) -> tuple[Tensor, Tensor]:
    """`sweep_log` for any number of groups: u, rows (b, c, n), v (b, c, k).

    Returns:
        The new u, and the log column sums (b, c, k) after the row step.
    """
    # Eq. (4), then the row line of Eq. (3) in every group.
    change, columns = log_row_scale(log_shares(x, scales, u, v, free), rows)
    return u + change, columns


def log_shares(x: Cells, scales: list[Scale], u: Tensor, v: Tensor, free: Free) -> Tensor:
    """The log of the groups' masses after a depth step: log softmax over groups, (b, c, n, k)."""
    # Eq. (4): the depth line, as a softmax of the groups.
    t = torch.stack([x * scale for scale in scales], 1) + u[..., None] + v[..., None, :].to(u)
    shares = t.log_softmax(1)
    return shares if free is None else shares.masked_fill(~free[:, None], -torch.inf)


def row_answer(
    y: Cells,
    rows: Rows,
    count: Rows,
    *,
    strength: float | Tensor | None = None,
    tolerance: float = 1e-7,
    guess: Rows | None = None,
    plain: bool = False,
) -> Rows:
    """The rows' potentials a for given column potentials, the one place that finds them.

    With a cap, the root of Eq. (16), sum_j sigmoid(y_ij + a_i) = r_i; without one, Eq. (9), (23):
    a_i = strength (log r_i - log sum_j exp y_ij).

    Args:
        y: scale X + b_j, minus infinity at forbidden cells.
        rows: budgets r.
        count: free cells of the rows.
        strength: None where cells are capped at 1; else the exponent of the rows' update, 1 for an
            exact margin.
        tolerance: relative violation of a row that is settled.
        guess: first guesses of the roots; None makes them from the rows' means.
        plain: whether no cell is forbidden and every budget is inside its bounds.
    """
    if strength is not None:
        return exp_rows(y, rows, strength)
    guess = first_rows(y, rows, count, plain=plain) if guess is None else guess
    return sigmoid_rows(y, rows, count, guess, tolerance)


def row_plan(y: Cells, a: Rows, *, capped: bool) -> Cells:
    """The plan of row potentials a: sigmoid(y_ij + a_i), or exp of it without a cap."""
    return torch.sigmoid(y + a[..., None]) if capped else (y + a[..., None]).exp()


def first_rows(y: Tensor, rows: Tensor, count: Tensor, *, plain: bool = False) -> Tensor:
    """A first guess of the rows' potentials: exact when the row's scores are all equal."""
    if plain:  # nothing is forbidden, and every budget is inside its bounds
        return torch.logit(rows / count) - y.mean(-1)

    # Between the ends of Eq. (16)'s bracket: the mean in the place of the largest and the least.
    live = (rows > 0) & (rows < count)
    share = torch.logit(torch.where(live, rows / count.clamp_min(1.0), 0.5))
    mean = y.masked_fill(y == -torch.inf, 0.0).sum(-1) / count.clamp_min(1.0)
    return torch.where(live, share - mean, 0.0)


def sigmoid_rows(y: Cells, rows: Rows, cells: Rows, a: Rows, tolerance: float) -> Rows:
    """Solve Eq. (16) for every row: Newton, bracketed where it fails.

    `y` holds minus infinity at forbidden cells, `cells` counts the others, `a` is a first guess.
    Rows with nothing to decide (budget 0 or no cell) keep a = 0.
    """
    k = y.shape[-1]
    flat, target = y.reshape(-1, k), rows.reshape(-1)
    guess, count = a.to(y.dtype).reshape(-1), cells.reshape(-1)
    goal = max(tolerance, 4 * torch.finfo(y.dtype).eps)

    for _ in range(3):  # what has not settled by then is bracketed
        guess, miss = newton_step(flat, target, guess)
        if not bool((miss > goal * target).any()):
            return guess.view_as(rows)

    left = (miss > goal * target).nonzero().squeeze(-1)
    guess[left] = bracketed_rows(flat[left], target[left], count[left], guess[left], goal)
    return guess.view_as(rows)


def attached_root(y: Cells, rows: Rows, a: Rows) -> Rows:
    """The root `a` of `sigmoid_rows` with its derivative; rows without an answer have none."""
    p = torch.sigmoid(y + a[..., None])
    # A Newton step of the root that is 0 and carries its derivative, as Eq. (33) does for all
    # potentials.
    slope = (p - p * p).sum(-1).detach()
    live = slope >= torch.finfo(slope.dtype).tiny
    miss = (p.sum(-1) - rows) / torch.where(live, slope, 1.0)

    return a - torch.where(live, miss - miss.detach(), 0.0)


def newton_step(y: Tensor, target: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """One undamped Newton step of every row, and the violation before it."""
    p = torch.sigmoid(y + a[:, None])
    f = p.sum(-1) - target
    slope = (p - p * p).sum(-1)
    step = f / slope.clamp_min(1e-30)
    miss = f.abs()

    # |f''| <= f': after a small step the violation is at most its product with the step. One that
    # the step provably removes is as good as removed.
    return a - step.clamp(-8.0, 8.0), torch.where(step.abs() < 1e-4, miss * step.abs(), miss)


def bracketed_rows(y: Tensor, target: Tensor, count: Tensor, a: Tensor, goal: float) -> Tensor:
    """Newton inside a shrinking bracket, for the rows on which plain Newton did not settle."""
    live = (target > 0) & (target < count)
    # Eq. (16): were all scores like the largest, a would be `low`; like the least, `high`.
    share = torch.logit(torch.where(live, target / count.clamp_min(1.0), 0.5))
    low = share - y.amax(-1)
    high = share - y.masked_fill(y == -torch.inf, torch.inf).amin(-1)
    low, high = torch.where(live, low, 0.0), torch.where(live, high, 0.0)
    a = torch.minimum(torch.maximum(a, low), high)
    tiny = 2 * torch.finfo(y.dtype).eps
    for _ in range(200):
        p = torch.sigmoid(y + a[:, None])
        f = p.sum(-1) - target
        low, high = torch.where(f <= 0, a, low), torch.where(f >= 0, a, high)
        done = (f.abs() <= goal * target) | (high - low <= tiny * a.abs()) | ~live
        if bool(done.all()):
            break

        # Newton where it stays inside, half of the bracket where it does not.
        step = f / (p - p * p).sum(-1)
        inside = ((a - step) > low) & ((a - step) < high)
        a = torch.where(done, a, torch.where(inside, a - step, (low + high) / 2))

    return torch.where(live, a, 0.0)


def exp_rows(y: Cells, rows: Rows, strength: float | Tensor) -> Rows:
    """Row potential of transport given the columns': strength * (log rows - logsumexp)."""
    # Eq. (9); Eq. (23) with strength = 1 / (1 + tau).
    return strength * log_ratio(rows, safe_logsumexp(y, -1))


def schur_part(w: Cells, h: Rows) -> Float[Tensor, "b k k"]:
    """W^T diag(1/h) W of Eq. (12), the coupling of the columns through the rows of this tile."""
    inverse = torch.where(h > 0, 1 / h.clamp_min(torch.finfo(h.dtype).tiny), torch.zeros_like(h))
    return torch.matmul((w * inverse[..., None]).transpose(-1, -2), w)
