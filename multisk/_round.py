"""Soft plan to hard assignment: best columns by price, then shortest paths until loads fit.

With column prices every row takes its best columns on its own. That is optimal for the loads it
produces; moving one row from a full column to an open one, along the cheapest chain of exchanges,
keeps it optimal. Chains live on K nodes, so the work per unit moved does not grow with N * K.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from multisk._exchange import Exchange
from multisk._solver.search import Search
from multisk._system import System

if TYPE_CHECKING:
    from multisk._solution import Solution


def round_solution(solution: "Solution") -> Tensor:
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
    prices, chosen = prices_of(system, b, budgets, low, high, allowed)
    exchange = Exchange(scores, chosen, allowed, low, high)
    exchange.balance()
    exchange.improve()
    del prices
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


def prices_of(
    system: System, b: Tensor, budgets: Any, low: Any, high: Any, allowed: Any
) -> tuple[Tensor, Any]:
    """Column prices under which the rows' own choices nearly fit, by cooling the solution."""
    k = system.scores.shape[2]
    best, fewest = None, math.inf
    prices = b / _flat(system.scale)
    half_a_row = 0.5 / max(1.0, float(high.max(initial=1)))
    for _ in range(12):
        chosen = best_columns(system.scores[0], prices[0], budgets, allowed)
        loads = chosen.sum(0)
        excess = np.maximum(loads - high, 0).sum() + np.maximum(low - loads, 0).sum()
        enough = excess > 0.75 * fewest or excess <= 2 * k + 32
        if excess < fewest:
            best, fewest = (prices, chosen), excess
        if enough:
            break
        system = replace(system, eps=system.eps / 4)
        search = Search(system, half_a_row)
        point, _ = search.run(prices * _flat(system.scale), None, 6)
        prices = point.b / _flat(system.scale)
        if not bool(prices.isfinite().all()):
            break
    assert best is not None
    return best


def _flat(scale: Any) -> Any:
    return scale.view(-1, 1) if isinstance(scale, Tensor) else scale


def best_columns(scores: Tensor, prices: Tensor, budgets: Any, allowed: Any) -> Any:
    """Every row's `budgets` best allowed columns by score plus price, as a boolean array."""
    chosen = np.zeros(allowed.shape, bool)
    most = int(budgets.max()) if budgets.size else 0
    if most == 0:
        return chosen
    for start in range(0, scores.shape[0], 65536):
        part = slice(start, start + 65536)
        y = (scores[part] + prices.to(scores)).cpu()
        y = y.masked_fill(~torch.from_numpy(allowed[part]), -torch.inf)
        order = y.topk(most, -1).indices
        keep = torch.arange(most) < torch.from_numpy(budgets[part])[:, None]
        hit = torch.zeros(y.shape, dtype=torch.bool).scatter_(1, order, keep)
        chosen[part] = hit.numpy()
    return chosen
