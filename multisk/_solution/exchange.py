"""Cheapest exchanges between columns: successive shortest paths on K nodes."""

from typing import Any

import numpy as np


class Exchange:
    """A hard assignment that is optimal for its loads, and the cost of moving one unit of load.

    `cost[u, w]` is the least loss of score when some row that has column u takes w instead, and
    `row[u, w]` is that row. Every row keeps its number of columns throughout.
    """

    def __init__(self, scores: Any, chosen: Any, allowed: Any, low: Any, high: Any) -> None:
        self.scores, self.chosen, self.allowed = scores, chosen, allowed
        self.low, self.high = low, high
        self.loads = chosen.sum(0)
        k = scores.shape[1]
        # Exchanges look at one column after the other.
        self.values, self.held = np.ascontiguousarray(scores.T), np.ascontiguousarray(chosen.T)
        self.cost = np.full((k, k), np.inf)
        self.row = np.full((k, k), -1, np.int64)
        self.slack = 1e-9 * max(1.0, float(np.abs(scores).max(initial=0.0)))
        for column in range(k):
            self.scan(column)

    def scan(self, column: int) -> None:
        """Recompute the exchanges out of one column."""
        rows = np.flatnonzero(self.held[column])
        self.cost[column], self.row[column] = np.inf, -1
        for start in range(0, rows.size, 512):
            part = rows[start : start + 512]
            loss = self.values[column, part][:, None].astype(np.float64) - self.scores[part]
            loss[self.chosen[part] | ~self.allowed[part]] = np.inf
            best = loss.argmin(0)
            value = loss[best, np.arange(loss.shape[1])]
            better = value < self.cost[column]
            self.cost[column, better] = value[better]
            self.row[column, better] = part[best[better]]

    def scan_pair(self, u: int, w: int) -> None:
        """Recompute one exchange."""
        rows = np.flatnonzero(self.held[u] & ~self.held[w])
        rows = rows[self.allowed[rows, w]]
        self.cost[u, w], self.row[u, w] = np.inf, -1
        if rows.size:
            loss = self.values[u, rows].astype(np.float64) - self.values[w, rows]
            best = int(loss.argmin())
            self.cost[u, w], self.row[u, w] = loss[best], rows[best]

    def swap(self, u: int, w: int) -> None:
        """Let the cheapest row give up u for w, and bring the table up to date."""
        row = int(self.row[u, w])
        self.chosen[row, u], self.chosen[row, w] = False, True
        self.held[u, row], self.held[w, row] = False, True
        values = self.scores[row].astype(np.float64)
        free = self.allowed[row] & ~self.chosen[row]
        for x in np.flatnonzero(self.chosen[row]):
            if x != w and self.row[x, w] == row:
                self.scan_pair(int(x), w)
        stale = np.flatnonzero(self.row[u] == row)
        if stale.size * 8 > self.loads.size:
            self.scan(u)
        else:
            for x in stale:
                self.scan_pair(u, int(x))
        loss = np.where(free, values[w] - values, np.inf)
        better = loss < self.cost[w]
        self.cost[w, better], self.row[w, better] = loss[better], row
        for x in np.flatnonzero(self.chosen[row]):
            if self.allowed[row, u] and values[x] - values[u] < self.cost[x, u]:
                self.cost[x, u], self.row[x, u] = values[x] - values[u], row

    def balance(self) -> None:
        """Move units from columns above their bound, then into columns below theirs.

        Raises:
            RuntimeError: When no chain of exchanges reaches a column with room.
        """
        while (self.loads > self.high).any() or (self.loads < self.low).any():
            over, under = self.loads > self.high, self.loads < self.low
            sources = over if over.any() else self.loads > self.low
            targets = under if under.any() else self.loads < self.high
            path = self.cheapest(sources, targets)
            if path is None and over.any() and under.any():
                path = self.cheapest(over, self.loads < self.high)
            if path is None:
                raise RuntimeError("no hard assignment meets the budgets, capacities and mask")
            self.follow(path[1])

    def improve(self) -> None:
        """Use what freedom the bounds leave, as long as a chain of exchanges gains score."""
        for _ in range(4 * self.loads.size + 100):
            path = self.cheapest(self.loads > self.low, self.loads < self.high)
            if path is None or path[0] >= -self.slack:
                return
            self.follow(path[1])

    def follow(self, path: list[int]) -> None:
        """Carry one unit along the columns of `path`."""
        # From the far end: a row that serves two links still has its own columns at each.
        for u, w in reversed(list(zip(path[:-1], path[1:], strict=True))):
            self.swap(u, w)
        self.loads[path[0]] -= 1
        self.loads[path[-1]] += 1

    def cheapest(self, sources: Any, targets: Any) -> tuple[float, list[int]] | None:
        """Shortest path over columns from any source to any target (Bellman-Ford)."""
        k = self.loads.size
        distance = np.where(sources, 0.0, np.inf)
        parent = np.full(k, -1)
        for _ in range(k):
            through = distance[:, None] + self.cost
            best = through.argmin(0)
            value = through[best, np.arange(k)]
            better = value < distance - self.slack
            if not better.any():
                break
            distance[better], parent[better] = value[better], best[better]
        reach = np.where(targets & (parent >= 0), distance, np.inf)
        end = int(reach.argmin())
        if not np.isfinite(reach[end]):
            return None
        path = [end]
        while parent[path[-1]] >= 0 and len(path) <= k:
            path.append(int(parent[path[-1]]))
        return float(reach[end]), path[::-1]
