"""Soft plan to hard assignment: best columns by price, then shortest paths until loads fit.

With column prices every row takes its best columns on its own. That is optimal for the loads it
produces; moving one row from a full column to an open one, along the cheapest chain of exchanges,
keeps it optimal. Chains live on K nodes, so the work per unit moved does not grow with N * K.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multisk._problem.system import System
from multisk._solution.answer import Answer
from multisk._solution.exchange import Exchange


def round_solution(solution: Answer) -> Tensor:
    """Boolean plan (*batch, N, K); see `Solution.round`.

    Raises:
        ValueError: For fractional row budgets, a transport, or rows spread over ranks.
        RuntimeError: When no hard assignment fits, or the solution holds no usable potentials.
    """
    system = solution.system.detach()
    if system.groups is None or system.group is not None or not system.two_groups:
        raise ValueError("round must follow a MultiAssignment with two levels on one process")
    out = torch.zeros_like(solution.plan, dtype=torch.bool).view(system.scores.shape)
    for problem in range(out.shape[0]):
        if out[problem].numel():
            index = torch.tensor([problem], device=out.device)
            out[problem] = round_one(system.take(index), solution.raw.column_potential[index])
    return out.view(solution.plan.shape)


def round_one(system: System, b: Tensor) -> Tensor:
    """Round one problem (a batch of one)."""
    budgets, low, high, allowed = whole_margins(system)
    scores = system.scores[0].cpu().numpy()
    scale = system.scale
    start = b[0] / (scale.view(-1) if isinstance(scale, Tensor) else scale)
    prices = np.nan_to_num(start.double().cpu().numpy(), posinf=0.0, neginf=0.0)
    chosen = prices_of(scores, prices, budgets, low, high, allowed)
    exchange = Exchange(scores, chosen, allowed, low, high)
    exchange.balance()
    exchange.improve()
    return torch.from_numpy(exchange.chosen).to(system.scores.device)


def whole_margins(system: System) -> tuple[Any, Any, Any, Any]:
    """Integer row budgets, load bounds, and the allowed cells, as arrays."""
    margins = system.margins
    n, k = system.scores.shape[1:]
    ones = margins.ones
    taken_row = 0.0 if ones is None else ones[0].sum(-1).double().cpu().numpy()
    taken_column = 0.0 if ones is None else ones[0].sum(0).double().cpu().numpy()
    rows = margins.rows[0].double().cpu().numpy() + taken_row
    budgets = np.rint(rows).astype(np.int64)
    if np.abs(rows - budgets).max() > 1e-4:
        raise ValueError("k must be whole numbers to round a plan, got a fractional row budget")
    lower = margins.columns[0].cpu().numpy() + taken_column
    top = lower if margins.upper is None else margins.upper[0].cpu().numpy() + taken_column
    slack = 1e-6 * np.maximum(1.0, np.abs(top))
    low, high = np.floor(lower + slack), np.ceil(top - slack)
    if margins.upper is not None:  # stay inside the interval where whole numbers allow it
        inner = np.ceil(lower - slack), np.floor(top + slack)
        total = budgets.sum()
        if (inner[0] <= inner[1]).all() and inner[0].sum() <= total <= inner[1].sum():
            low, high = inner
    allowed = np.ones((n, k), bool)
    if margins.free is not None:
        allowed = margins.free[0].cpu().numpy()
        if ones is not None:
            allowed = allowed | ones[0].cpu().numpy()
    return budgets, low.astype(np.int64), high.astype(np.int64), allowed


def prices_of(scores: Any, prices: Any, budgets: Any, low: Any, high: Any, allowed: Any) -> Any:
    """Every row's best columns under prices at which the loads nearly fit.

    A column that does not fit looks up the price at which it would, all others staying as they
    are: an order statistic of the rows' margins. All such columns go half of their way at once,
    which about halves the excess.
    """
    best, fewest = None, math.inf
    across = np.ascontiguousarray(scores.T)
    for _ in range(12):
        chosen, last, first_out = best_columns(scores, prices, budgets, allowed)
        loads = chosen.sum(0)
        excess = np.maximum(loads - high, 0).sum() + np.maximum(low - loads, 0).sum()
        enough = excess > 0.75 * fewest or excess <= 2 * loads.size + 32
        if excess < fewest:
            best, fewest = chosen, excess
        if enough:
            break
        prices = prices.copy()
        held = np.ascontiguousarray(chosen.T)
        for column in np.flatnonzero((loads > high) | (loads < low)):
            # The row has the column once the price has risen by more than its margin.
            margin = np.where(held[column], first_out, last) - (across[column] + prices[column])
            margin[~allowed[:, column]] = np.inf
            goal = high[column] if loads[column] > high[column] else low[column]
            prices[column] += 0.5 * between(margin, int(goal))
    assert best is not None
    return best


def between(margin: Any, goal: int) -> float:
    """A number that exactly `goal` of the margins lie below, where there is one."""
    ends = np.clip([goal - 1, goal], 0, margin.size - 1)
    pair = np.partition(margin, ends)[ends]
    pair = pair[np.isfinite(pair)]
    return float(pair.mean()) if pair.size else 0.0


def best_columns(scores: Any, prices: Any, budgets: Any, allowed: Any) -> tuple[Any, Any, Any]:
    """Every row's `budgets` best allowed columns by score plus price, as a boolean array.

    Also the value of the last column chosen and of the first one that was not, infinite where
    there is none.
    """
    n, k = allowed.shape
    chosen = np.zeros((n, k), bool)
    last, first_out = np.full(n, np.inf, scores.dtype), np.full(n, -np.inf, scores.dtype)
    most = min(int(budgets.max(initial=0)) + 1, k)
    for start in range(0, n, 16384):
        part = slice(start, min(start + 16384, n))
        y = scores[part] + prices.astype(scores.dtype)
        y[~allowed[part]] = -np.inf
        values, order = (found.numpy() for found in torch.from_numpy(y).topk(most, -1))
        wanted = budgets[part, None]
        np.put_along_axis(chosen[part], order, np.arange(most) < wanted, 1)
        some, more = budgets[part] > 0, budgets[part] < most
        lines = np.arange(y.shape[0])
        last[part][some] = values[lines[some], budgets[part][some] - 1]
        first_out[part][more] = values[lines[more], budgets[part][more]]
    return chosen, last, first_out
