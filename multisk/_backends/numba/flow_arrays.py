# ruff: noqa: ANN001, ANN202, PLR0913, PLR0917
"""The minimum-cost flow of `flow` on whole arrays, where numba is not installed.

The same search for the same optimum; arguments and answers are those of `flow.match_batch`. One
unit moves at a time, and a search visits one column a step.
"""

import math
from typing import Any

import numpy as np
import torch

STEP, ALL_PAIRS, SMOOTHING = 0.9, 256, 64  # as in `flow`
ROWS = 512  # looked at together


@np.errstate(invalid="ignore")
def match_batch(x, budgets, low, high, price, chosen, given, gaps, reached, priced):
    """Solve all problems; the first one that has no answer, or -1."""
    for p in range(x.shape[0]):
        if given[p] and not priced:
            continue
        problem = x[p], budgets[p], low[p], high[p]
        if not given[p]:
            price[p, high[p] == 0] = math.inf
            chosen[p], start = approach(*problem, price[p])
        flow = Flow(x[p], chosen[p], low[p], high[p])
        if not given[p] and not flow.settle(start, reached):
            return p
        if priced:
            price[p] = middle(flow)
            gaps[p] = shortfall(*problem, price[p], chosen[p])

    return -1


def approach(x, budgets, low, high, price):
    """Every row's best columns at prices where the loads nearly fit, and the prices."""
    kept, fewest = None, math.inf
    while True:
        chosen, last, out = best_columns(x, budgets, price)
        loads = chosen.sum(0)
        level, goal = aim(loads, low, high, price)
        excess = np.abs(loads - goal).sum()
        if excess >= fewest:
            assert kept is not None
            return kept
        kept, before, fewest = (chosen, price), fewest, excess
        if excess > 0.5 * before or excess <= loads.size // 4:
            return kept
        price = price.copy()
        for j in np.flatnonzero(loads != goal):
            back = price[j] > level if loads[j] < goal[j] else price[j] < level
            if back and not 0 < goal[j] <= x.shape[0]:
                price[j] = level
                continue
            # Eq. (40)
            pays = x[:, j] - np.where(chosen[:, j], out, last)
            new = price[j] + STEP * (between(pays, int(goal[j]), price[j]) - price[j])
            if back:
                new = max(new, level) if price[j] > level else min(new, level)
            price[j] = new


def best_columns(x, budgets, price) -> tuple[Any, Any, Any]:
    """Every row's `budgets` best columns; the values of its last one and of the first one left."""
    n, k = x.shape
    chosen = np.zeros((n, k), bool)
    last, out = np.full(n, math.inf), np.full(n, -math.inf)
    most = min(int(budgets.max(initial=0)) + 1, k)
    for start in range(0, n, 16384):
        part = slice(start, start + 16384)
        values, order = (
            found.numpy() for found in torch.from_numpy(x[part] - price).topk(most, -1)
        )
        wanted = budgets[part]
        np.put_along_axis(chosen[part], order, np.arange(most) < wanted[:, None], 1)
        lines = np.arange(values.shape[0])
        some, more = wanted > 0, wanted < most
        last[part][some] = values[lines[some], wanted[some] - 1]
        out[part][more] = values[lines[more], wanted[more]]

    return chosen, last, out


def between(pays, goal: int, otherwise: float) -> float:
    """A price that exactly `goal` rows would pay."""
    ends = np.clip([pays.size - goal - 1, pays.size - goal], 0, pays.size - 1)
    pair = np.partition(pays, ends)[ends]
    pair = pair[np.isfinite(pair)]
    return float(pair.mean()) if pair.size else otherwise


class Flow:
    """A plan that is optimal for its loads, and what one more exchange between columns costs.

    `lines[u]` holds, for a column that some row has, the least loss of score when a row gives it
    up for w, and that row.
    """

    def __init__(self, x, chosen, low, high) -> None:
        self.x, self.chosen, self.low, self.high = x, chosen, low, high
        self.loads = chosen.sum(0)
        self.lines: dict[int, tuple[Any, Any]] = {}
        for u in np.flatnonzero(self.loads):
            self.scan(int(u))

    def scan(self, u: int) -> None:
        """Look for the cheapest row of u for every column."""
        k = self.x.shape[1]
        cost, row = np.full(k, math.inf), np.full(k, -1)
        rows = np.flatnonzero(self.chosen[:, u])
        for start in range(0, rows.size, ROWS):
            part = rows[start : start + ROWS]
            loss = self.x[part, u][:, None] - np.where(self.chosen[part], -math.inf, self.x[part])
            best = loss.argmin(0)
            value = loss[best, np.arange(k)]
            better = value < cost
            cost[better], row[better] = value[better], part[best[better]]

        self.lines[u] = cost, row

    def scan_pair(self, u: int, w: int) -> None:
        """Look for the cheapest row of u that would take w."""
        cost, row = self.lines[u]
        rows = np.flatnonzero(self.chosen[:, u] & ~self.chosen[:, w])
        loss = self.x[rows, u] - self.x[rows, w]
        best = int(loss.argmin()) if rows.size else -1
        cost[w], row[w] = (loss[best], rows[best]) if rows.size else (math.inf, -1)

    def exchange(self, u: int, w: int) -> None:
        """Let the cheapest row give up u for w, and bring the lines up to date."""
        i = int(self.lines[u][1][w])
        self.chosen[i, u], self.chosen[i, w] = False, True
        if self.chosen[:, u].any():
            if (self.lines[u][1] == i).any():
                self.scan(u)
        else:
            del self.lines[u]

        for v in map(int, np.flatnonzero(self.chosen[i])):
            if v == w:
                continue
            cost, row = self.lines[v]
            if row[w] == i:
                self.scan_pair(v, w)
            loss = self.x[i, v] - self.x[i, u]
            if loss < cost[u]:
                cost[u], row[u] = loss, i

        if w not in self.lines:
            self.scan(w)
            return

        cost, row = self.lines[w]
        loss = self.x[i, w] - np.where(self.chosen[i], -math.inf, self.x[i])
        better = loss < cost
        cost[better], row[better] = loss[better], i

    def settle(self, price, reached) -> bool:
        """Move units until every load is within its bounds; whether that was possible."""
        k = self.loads.size
        level, goal = aim(self.loads, self.low, self.high, price)
        price, excess = np.append(price, level), np.append(self.loads - goal, 0)
        while (excess < 0).any():
            end, distance, parent, done = self.search(price, excess, goal)
            if end < 0:
                reached[:] = done
                return False
            # Distances become prices, so that costs (39) stay non-negative.
            price += np.maximum(distance[end] - distance, 0.0)
            at = end
            while parent[at] >= 0:  # from the far end: a row that serves two links has both columns
                u = int(parent[at])
                if at == k:
                    goal[u] += 1
                elif u == k:
                    goal[at] -= 1
                else:
                    self.exchange(u, at)

                at = u

            excess[at] -= 1
            excess[end] += 1

        self.loads = goal
        return True

    def search(self, price, excess, goal) -> tuple[int, Any, Any, Any]:
        """Dijkstra from all columns with too much to the nearest with too little."""
        k = goal.size
        distance = np.where(excess > 0, 0.0, math.inf)
        parent, done = np.full(k + 1, -1), np.zeros(k + 1, bool)
        none = np.full(k, math.inf)
        while True:
            at = int(np.where(done, math.inf, distance).argmin())
            if done[at] or math.isinf(distance[at]):
                return -1, distance, parent, done
            done[at] = True
            if excess[at] < 0:
                return at, distance, parent, done
            if at == k:
                step = np.append(np.where(goal > self.low, 0.0, math.inf), math.inf)
            else:
                keep = 0.0 if goal[at] < self.high[at] else math.inf
                step = np.append(self.lines[at][0] if at in self.lines else none, keep)

            # Eq. (39)
            reach = distance[at] + np.maximum(step + price - price[at], 0.0)
            better = (reach < distance) & ~done
            distance[better], parent[better] = reach[better], at


def aim(loads, low, high, price) -> tuple[float, Any]:
    """The slack's price, and loads to reach, see `flow.aim`."""
    goal, need, level = low.copy(), int((loads - low).sum()), 0.0
    for level in np.unique(price[high > low])[::-1]:
        same = price == level
        room = int((high - low)[same].sum())
        if need <= room:
            goal[same] = np.clip(loads, low, high)[same]
            need -= int((goal - low)[same].sum())
            for j in np.flatnonzero(same):
                more = min(max(need, low[j] - goal[j]), high[j] - goal[j])
                goal[j] += more
                need -= more
            break

        need -= room
        goal[same] = high[same]

    return float(level), goal


def middle(flow: Flow) -> Any:
    """Prices in the middle of the room that the plan leaves them, see `flow.middle`."""
    high, low, loads = flow.high, flow.low, flow.loads
    nodes, free = np.array(sorted(flow.lines), np.int64), bool((high > low).any())
    k, m = loads.size, nodes.size
    lines = np.array([flow.lines[u][0] for u in map(int, nodes)]).reshape(m, k)
    cost = np.full((m + free, m + free), math.inf)
    cost[:m, :m] = lines[:, nodes]

    if free:
        idle = (loads == 0) & (high > 0)
        stays = np.where(loads[nodes] < high[nodes], 0.0, math.inf)
        cost[:m, m] = np.minimum(stays, lines[:, idle].min(1, initial=math.inf))
        cost[m, :m] = np.where(loads[nodes] > low[nodes], 0.0, math.inf)

    np.fill_diagonal(cost, math.inf)
    reach = widest(cost)
    if cost.shape[0] <= ALL_PAIRS:
        found = between_ends(cost)
    else:
        found = 0.5 * (nearest(cost.T) - nearest(cost))
        for _ in range(SMOOTHING):
            room = cost - found[:, None] + found
            rise, fall = room.min(1), room.min(0)
            found = found + 0.25 * (np.minimum(rise, reach) - np.minimum(fall, reach))

    price = np.zeros(k)
    price[nodes] = found[:m] - (found[m] if free else 0.0)
    beyond = (price[nodes][:, None] - lines).max(0, initial=0.0) + reach
    price = np.where(high == 0, beyond, price)

    return price if free else price - price.mean()


def widest(cost) -> float:
    """The largest finite cost, at least something."""
    return float(np.abs(cost[np.isfinite(cost)]).max(initial=0.0)) or 1.0


def between_ends(cost) -> Any:
    """Half the mean distance to all nodes less that from all, see `flow.between_ends`."""
    d = cost.copy()
    np.fill_diagonal(d, 0.0)
    for v in range(d.shape[0]):
        np.minimum(d, d[:, v : v + 1] + d[v], out=d)

    there, back = d.min(1, initial=0.0), d.min(0, initial=0.0)
    d = np.where(np.isinf(d), 4.0 * widest(d) + there[:, None] + back, d)
    return 0.5 * (d.sum(1) - d.sum(0)) / max(1, d.shape[0])


def nearest(cost) -> Any:
    """The shortest distance to every node from whichever it is nearest to (Bellman & Ford)."""
    distance = np.zeros(cost.shape[0])
    for _ in range(cost.shape[0]):
        reach = np.minimum(distance, (distance[:, None] + cost).min(0))
        if not (reach < distance).any():
            break
        distance = reach

    return distance


def shortfall(x, budgets, low, high, price, chosen) -> float:
    """The two sides of Eq. (38), term by term: rows that prefer others, bounds not reached."""
    y = x - price
    least = np.where(chosen, y, math.inf).min(1, initial=math.inf)
    most = np.where(chosen, -math.inf, y).max(1, initial=-math.inf)
    gap = 0.0
    for i in np.flatnonzero(least < most):
        gap += np.sort(y[i])[::-1][: budgets[i]].sum() - y[i][chosen[i]].sum()

    return gap + float((price * (np.where(price > 0, high, low) - chosen.sum(0))).sum())
