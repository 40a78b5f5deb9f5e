"""Zero temperature: the exact assignment, the prices that decide it, and their certificate.

Eq. (37), (38) of docs/multisk/mathematics.md.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from multisk._backends.numba.matching import Matching, match
from multisk._problem.problem import MultiAssignment
from multisk._problem.system import System, check_scores, prepare

NO_EXPONENTS = 1e300  # a temperature at which no score is too large to be divided by it


class NoAssignment(ValueError):
    """Budgets, capacities and mask that no assignment meets."""


@dataclass(frozen=True, eq=False, repr=False)
class Hard:
    """The exact assignment of `hard`, with prices p that prove it.

    Attributes:
        plan: (*batch, N, K) boolean, exactly `k` columns in every row.
        loads: (*batch, K) int64, rows of every column.
        prices: (*batch, K) float64 in the units of the scores: what a column costs. Every row's
            columns are those of its `k` largest `scores - prices`. A column at its lower load
            costs at most 0, one at its upper load at least 0, one between them 0; where all loads
            are exact only differences matter, and the mean is 0. Detached.
        value: (*batch,) float64, the sum of the chosen scores; its derivative is the plan.
        gap: (*batch,) float64, the dual objective `sum_i (k largest x_i - p) + sum_j p_j bound_j`
            minus `value`: no assignment is better than this one by more. 0 up to rounding.
        scores: (*batch, N, K) as they were given.
    """

    plan: Bool[Tensor, "*batch n k"]
    loads: Int[Tensor, "*batch k"]
    prices: Float[Tensor, "*batch k"]
    value: Float[Tensor, "*batch"]
    gap: Float[Tensor, "*batch"]
    scores: Float[Tensor, "*batch n k"]

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.plan.shape))
        gap = f"{float(self.gap.max()):.1e}" if self.gap.numel() else "none"
        return f"Hard(plan {shape} on {self.plan.device}, gap {gap})"

    @property
    def indices(self) -> Int[Tensor, "*batch n m"]:
        """(*batch, N, k) int64, every row's columns, the largest `scores - prices` first.

        Raises:
            ValueError: When the rows have different budgets (use `plan`).
        """
        counts = self.plan.sum(-1)
        k = int(counts.max()) if counts.numel() else 0
        if bool((counts != k).any()):
            raise ValueError("k must be the same for every row here, got budgets that differ")

        worth = self.scores.detach().double() - self.prices[..., None, :]
        return worth.masked_fill(~self.plan, -torch.inf).topk(k, -1).indices


def hard(
    scores: Shaped[Tensor, "..."], problem: MultiAssignment, *, prices: Tensor | None = None
) -> Hard:
    """Assign rows to columns at zero temperature: exact counts, the largest sum of scores.

    A minimum-cost flow over the columns: every row takes its best columns under prices, and what
    does not fit is moved along cheapest chains of exchanges. `k` = 1 with loads of at most 1 is a
    linear assignment and goes to SciPy where that is installed. The answer is optimal up to
    rounding in float64, whatever the prices to start from; good ones save most of the work. Ties
    are broken in a way that is the same in every run and otherwise unspecified.

    Runs on the CPU, compiled where numba is installed (and not within `use_backend("numpy")`);
    scores elsewhere are copied there and back.
    Memory: N K scores and min(K, N k) K exchanges in float64, for one problem at a time.

    Args:
        scores: (*batch, N, K), higher is better; any floating dtype of at least 16 bits.
        problem: `k`, `capacity` or `capacity_factor` and `mask` say what is asked, `eps` and
            `damping` are not read. A fractional load may be met by its floor or its ceiling, an
            interval where whole numbers allow it.
        prices: (K,) or (*batch, K) to start from, such as those of a similar problem.

    Returns:
        A `Hard`.

    Raises:
        ValueError: For input that has no answer, also where budgets, capacity and mask leave no
            assignment; names the argument, rule and value.

    Source:
        Ahuja, Magnanti & Orlin, Network Flows, 1993, section 9.7 (successive shortest paths with
        potentials); Jonker & Volgenant, Computing 38, 1987 (linear assignment).

    Example:
        >>> import torch, multisk
        >>> found = multisk.hard(torch.tensor([[3.0, 1.0], [2.0, 1.0]]), multisk.MultiAssignment(1))
        >>> found
        Hard(plan 2 x 2 on cpu, gap 0.0e+00)
        >>> found.indices.flatten(), found.prices, float(found.value)
        (tensor([0, 1]), tensor([ 0.7500, -0.7500], dtype=torch.float64), 4.0)
    """
    if not isinstance(problem, MultiAssignment):
        raise ValueError(f"problem must be a MultiAssignment, got {type(problem).__name__}")

    check_scores(scores)
    system = whole_system(copied(scores), on_cpu(problem))
    return matched(scores, system, starting_prices(prices, system))


def on_cpu(problem: MultiAssignment) -> MultiAssignment:
    """The problem without temperature, where its values can be read."""
    values = {field.name: copied(getattr(problem, field.name)) for field in fields(problem)}
    values |= {"eps": NO_EXPONENTS, "damping": 0.0}
    return MultiAssignment(**values)


def copied(value: Any) -> Any:
    """A tensor on the CPU, also in a pair; anything else as it is."""
    if isinstance(value, tuple | list):
        return type(value)(map(copied, value))
    return value.detach().cpu() if isinstance(value, Tensor) else value


def whole_system(scores: Any, problem: MultiAssignment) -> System:
    """The checked problem; even shares that a mask forbids may still do in whole numbers.

    A share of 1.5 does not fit a column with one allowed row; 1 does, with 2 elsewhere.
    """
    try:
        return prepare(scores, problem)
    except ValueError:
        even = problem.capacity is None and problem.capacity_factor in {None, 1}
        if problem.mask is None or not even or isinstance(problem.k, tuple | list):
            raise
        bounds = even_bounds(scores, problem)
        try:
            return prepare(scores, replace(problem, capacity=bounds, capacity_factor=None))
        except (ValueError, RuntimeError):
            pass
        raise


def even_bounds(scores: Tensor, problem: MultiAssignment) -> tuple[Tensor, Tensor]:
    """Floor and ceiling (*batch, K) of even shares among the columns that any row may take."""
    assert problem.mask is not None
    live = problem.mask.broadcast_to(scores.shape).any(-2)
    budgets = torch.as_tensor(problem.k, dtype=torch.float64).broadcast_to(scores.shape[:-1])
    share = live * budgets.sum(-1, keepdim=True) / live.sum(-1, keepdim=True).clamp_min(1)

    return share.floor(), share.ceil()


def starting_prices(prices: Any, system: System) -> Any:
    """Prices (b, k) to start from; what is not a number is 0."""
    b, _, k = system.scores.shape
    if prices is None:
        return np.zeros((b, k))

    if not isinstance(prices, Tensor) or not prices.is_floating_point():
        kind = prices.dtype if isinstance(prices, Tensor) else type(prices).__name__
        raise ValueError(f"prices must be a floating-point tensor, got {kind}")

    shape = (*system.batch, k)
    try:
        value = prices.detach().double().cpu().broadcast_to(shape).reshape(b, k)
    except RuntimeError:
        raise ValueError(f"prices must fit the shape {shape}, got {tuple(prices.shape)}") from None

    return torch.nan_to_num(value, 0.0, 0.0, 0.0).numpy()


def matched(scores: Tensor, system: System, prices: Any) -> Hard:
    """The answer to a checked system from prices (b, k).

    Raises:
        ValueError: For fractional row budgets.
        NoAssignment: When no assignment meets the budgets, capacities and mask.
    """
    found = matching(system, prices, priced=True)
    batch, device = system.batch, scores.device
    plan = torch.from_numpy(found.plan).view(scores.shape).to(device)
    return Hard(
        plan=plan,
        loads=plan.sum(-2),
        prices=torch.from_numpy(found.prices).view(*batch, scores.shape[-1]).to(device),
        value=torch.where(plan, scores, 0.0).sum((-2, -1), dtype=torch.float64),
        gap=torch.from_numpy(found.gaps).view(batch).to(device),
        scores=scores,
    )


def matching(system: System, prices: Any, *, priced: bool) -> Matching:
    """Plans, and prices where they are wanted; see `matched` for what it raises."""
    budgets, low, high, allowed = whole_margins(system)
    x = system.scores.double().cpu()
    if allowed is not None:
        x = x.masked_fill(~allowed, -torch.inf)
        check_rows(allowed.numpy(), budgets, high)

    if x.numel():  # what a row has on top of all its columns would only cost digits
        x = x - x.amax(-1, keepdim=True).clamp_min(torch.finfo(x.dtype).min)

    found = match(x.numpy(), budgets, low, high, prices, priced=priced)
    if found.failed >= 0:
        one = found.failed
        where = "" if x.shape[0] == 1 else f" (problem {one})"
        cells = x[one].numpy() > -np.inf
        raise NoAssignment(
            impossible(cells, budgets[one], low[one], high[one], found.reached) + where
        )

    return found


def whole_margins(system: System) -> tuple[Any, Any, Any, Tensor | None]:
    """Whole row budgets (b, n), bounds of the loads (b, k), and the mask (b, n, k).

    Raises:
        ValueError: For fractional row budgets, and intervals of them.
    """
    margins = system.margins
    if system.bounded_rows:
        raise ValueError("k must be exact for a hard assignment, got an interval (use Exact)")

    rows, lower = margins.rows.double(), margins.columns
    top = lower if margins.upper is None else margins.upper
    if margins.ones is not None:  # settled cells count like all others here
        taken = margins.ones.sum(-2)
        rows, lower, top = rows + margins.ones.sum(-1), lower + taken, top + taken

    rows, lower, top = (part.detach().cpu().numpy() for part in (rows, lower, top))
    budgets = np.rint(rows).astype(np.int64)
    off = np.abs(rows - budgets) > 1e-4
    if off.any():
        raise ValueError(
            "k must be whole numbers for a hard assignment, "
            f"got a fractional row budget, {float(rows[off][0]):g}"
        )

    slack = 1e-6 * np.maximum(1.0, np.abs(top))
    low, high = np.floor(lower + slack), np.ceil(top - slack)
    if margins.upper is not None:  # inside the interval where whole numbers allow it
        least, most = np.ceil(lower - slack), np.floor(top + slack)
        total = budgets.sum(-1)
        fits = (least <= most).all(-1) & (least.sum(-1) <= total) & (total <= most.sum(-1))
        low, high = (
            np.where(fits[:, None], inner, outer) for inner, outer in ((least, low), (most, high))
        )
        # A column with fewer allowed rows than its bound never meets it, and needs no price.
        high = np.where(top >= column_cells(system), system.scores.shape[1] + 1, high)

    mask = None if margins.mask is None else margins.mask.cpu()
    return budgets, low.astype(np.int64), high.astype(np.int64), mask


def column_cells(system: System) -> Any:
    """Allowed rows (b, k) of every column."""
    mask = system.margins.mask
    return system.scores.shape[1] if mask is None else mask.sum(-2).cpu().numpy()


def check_rows(allowed: Any, budgets: Any, high: Any) -> None:
    """Every row has to find its columns among those that may take any row."""
    cells = (allowed & (high > 0)[:, None, :]).sum(-1)
    short = np.argwhere(cells < budgets)
    if short.size:
        p, row = short[0]
        raise NoAssignment(
            f"k must not exceed the {cells[p, row]} allowed columns of a row that have capacity, "
            f"got {budgets[p, row]} in row {row}"
        )


def impossible(allowed: Any, budgets: Any, low: Any, high: Any, reached: Any) -> str:
    """Why there is no assignment: the columns that a unit too many reaches break Hall's rule."""
    inside = reached[:-1]
    if reached[-1]:
        most = np.minimum(budgets, (allowed & ~inside).sum(1)).sum()
        return (
            "capacity must not ask for more than rows and mask can give, got lower loads of "
            f"{low[~inside].sum()} for {named(~inside)} that {most} rows can take"
        )

    least = np.maximum(budgets - (allowed & ~inside).sum(1), 0).sum()
    return (
        "capacity must leave room for what rows and mask force, got upper loads of "
        f"{high[inside].sum()} for {named(inside)} where {least} are forced"
    )


def named(columns: Any) -> str:
    """A few columns by their numbers."""
    found = np.flatnonzero(columns)
    few = ", ".join(map(str, found[:8]))
    return f"columns [{few}{', ...' if found.size > 8 else ''}]"
