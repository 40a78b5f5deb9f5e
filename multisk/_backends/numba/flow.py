# ruff: noqa: ANN001, ANN202, C901, PLR0912, PLR0913, PLR0915, PLR0917
"""Zero temperature (37) as compiled loops: a minimum-cost flow over the columns, with their prices.

Every row takes its best columns at some prices, which is optimal for the loads that it gives. What
does not fit is moved unit by unit along cheapest chains of exchanges: successive shortest paths
with potentials (Ahuja, Magnanti & Orlin, Network Flows, 1993, section 9.7) on one node a column
and one for the slack of bounds, where an arc (u, w) is the cheapest row that has u, lacks w, and
would change. The rows never appear as nodes, so that a search does not grow with their number.

Prices are subtracted from scores: a row prefers u to w where x[u] - p[u] > x[w] - p[w], and the
reduced cost (39) of an arc, x[u] - x[w] - p[u] + p[w], is never negative. Eq. (n) is that of
docs/multisk/mathematics.md. Forbidden cells hold -inf, and
columns without room have an infinite price while the flow runs.
"""

import math

import numpy as np

from multisk._backends.numba.loops import jit

STEP = 0.9  # of the way to the price (40) at which a column fits while all others stay
GROUP = 8  # neighbouring columns looked at together
# Nanoseconds of a turn of all prices a cell, and of a unit of the flow a pair of columns and a row
# of a column.
PER_CELL, PER_PAIR, PER_MEMBER = 20.0, 0.5, 150.0
FIRM = 1e-12  # of the scores' range: a reduced cost below is 0
ALL_PAIRS = 256  # columns up to which all shortest chains are looked for
SMOOTHING = 64  # steps that move prices to the middle of their room


@jit
def match_batch(x, budgets, low, high, price, chosen, given, gaps, reached, priced):
    """Solve all problems; the first one that has no answer, or -1.

    `x` (b, n, k), `budgets` (b, n), `low` and `high` (b, k) and the prices to start from (b, k) are
    those of the problems; `chosen` (b, n, k) is an optimal plan where `given` (b,) says so. Plans
    and, where they are to be `priced`, prices and duality gaps are written in place; `reached`
    (k + 1,) gets the columns, and the slack, from which a unit too many could not get away.
    """
    n, k = x.shape[1:]
    for p in range(x.shape[0]):
        if given[p] and not priced:
            continue
        loads = np.zeros(k, np.int64)
        if given[p]:
            for i in range(n):
                for j in range(k):
                    loads[j] += chosen[p, i, j]
        else:
            for j in range(k):
                if high[p, j] == 0:
                    price[p, j] = math.inf
            approach(x[p], budgets[p], low[p], high[p], price[p], chosen[p], loads)

        cells = tables(x[p], budgets[p], chosen[p])
        if not given[p]:
            sides = low[p], high[p], price[p]
            if not settle(x[p], chosen[p], loads, *sides, *cells, reached):
                return p
        if priced:
            middle(loads, low[p], high[p], price[p], cells[1])
            gaps[p] = shortfall(x[p], budgets[p], chosen[p], loads, low[p], high[p], price[p])

    return -1


@jit
def approach(x, budgets, low, high, price, chosen, loads):
    """Prices at which the rows' best columns nearly fit; `price`, `chosen`, `loads` are written.

    A column that does not fit looks up the price (40) at which it would, all others staying as they
    are: an order statistic of what the rows would pay. All such columns go most of their way at
    once, until the units that a turn saves are cheaper to move one by one.
    """
    n, k = x.shape
    last, out, goal = np.empty(n), np.full(n, -math.inf), np.empty(k, np.int64)
    kept, fewest, rise = price.copy(), -1, 0.0
    unit = PER_PAIR * k * k + PER_MEMBER * budgets.sum() / k
    while True:
        best_columns(x, budgets, price, chosen, loads, last, out, rise)
        level, excess = aim(loads, low, high, price, goal), 0
        for j in range(k):
            excess += max(loads[j] - goal[j], 0)
        # No better than before: back to the best prices, and on to the flow.
        if fewest >= 0 and excess >= fewest:
            price[:], out[:] = kept, -math.inf
            best_columns(x, budgets, price, chosen, loads, last, out, 0.0)
            return
        # The next turn is expected to save as large a part; worth it while moving these one by one
        # is dearer.
        saved = excess if fewest < 0 else excess * (1.0 - excess / fewest)
        if saved * unit <= PER_CELL * n * k:
            return

        kept[:], fewest = price, excess
        move_prices(x, goal, level, price, chosen, loads, last, out)
        rise = max(0.0, largest(price - kept))


@jit
def largest(values):
    """The largest value that is a number: an infinite price stays what it is."""
    found = -math.inf
    for j in range(values.shape[0]):
        if values[j] > found:
            found = values[j]

    return found


@jit
def best_columns(x, budgets, price, chosen, loads, last, out, rise):
    """Every row's `budgets` best columns; the values of its last one and of the first one left.

    No price is more than `rise` above those of the last call, so that what was far below `out`
    need not be sorted.
    """
    n, k = x.shape
    y, order, turn = np.empty(k), np.empty(k), 0
    loads[:] = 0

    for i in range(n):
        most, floor, count = budgets[i], out[i] - rise, 0
        for j in range(k):
            y[j] = x[i, j] - price[j]
            order[count] = y[j]
            count += y[j] >= floor
        least, after = math.inf, -math.inf
        # The value of the row's last column; equal ones are dealt out below.
        if most > 0:
            select(order[:count], most)
            least = order[most - 1]
        for j in range(most, count):
            after = max(after, order[j])

        last[i], out[i] = least, after
        equal = most
        for j in range(count):
            equal -= order[j] > least
        for j in range(k):
            chosen[i, j] = y[j] > least
            loads[j] += y[j] > least
        j = turn % k
        while equal > 0:  # equal columns are dealt out in turn
            if y[j] == least:
                chosen[i, j] = True
                loads[j] += 1
                equal -= 1
            j = j + 1 if j + 1 < k else 0

        turn += most


@jit
def move_prices(x, goal, level, price, chosen, loads, last, out):
    """Move the price of every column that does not fit towards the one at which it would.

    One that would be better off with a load between its bounds stops at the slack's price.
    """
    n, k = x.shape
    pays = np.empty((GROUP, n))
    for start in range(0, k, GROUP):  # neighbours share the cells' way from the memory
        end = min(start + GROUP, k)
        wrong = 0
        for j in range(start, end):
            wrong += loads[j] != goal[j]
        if wrong == 0:
            continue
        # Eq. (40): the price up to which each row would have the column.
        for i in range(n):
            for j in range(start, end):
                pays[j - start, i] = x[i, j] - (out[i] if chosen[i, j] else last[i])
        for j in range(start, end):
            if loads[j] == goal[j]:
                continue
            back = price[j] > level if loads[j] < goal[j] else price[j] < level
            if back and not 0 < goal[j] <= n:
                price[j] = level
                continue
            # `goal` rows shall have it: between what their last one and the next one would pay.
            line = pays[j - start]
            select(line, goal[j])
            new = price[j] + STEP * (between(line, goal[j], price[j]) - price[j])
            if back:
                new = max(new, level) if price[j] > level else min(new, level)
            price[j] = new


@jit
def select(values, most):
    """Move the `most` largest values to the front, the least of them to the end of these."""
    lo, hi, at = 0, values.shape[0] - 1, most - 1
    while lo < hi:
        # Hoare's quickselect (1961).
        pivot = values[(lo + hi) // 2]
        i, j = lo, hi
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1

        if at <= j:
            hi = j
        elif at >= i:
            lo = i
        else:
            return


@jit
def between(pays, goal, otherwise):
    """A price that exactly `goal` of the selected rows would pay."""
    above, below = pays[goal - 1], -math.inf
    for i in range(goal, pays.shape[0]):
        below = max(below, pays[i])

    if math.isinf(above):
        return otherwise if math.isinf(below) else below

    return above if math.isinf(below) else 0.5 * (above + below)


@jit
def tables(x, budgets, chosen):
    """The chosen cells, linked by column, and the cheapest exchange from each column to each other.

    A cell is a place of a row's budget. Columns that no row has need no exchanges: `slot` says
    which line of the table belongs to a column, -1 for none.
    """
    n, k = x.shape
    first = np.zeros(n + 1, np.int64)
    for i in range(n):
        first[i + 1] = first[i] + budgets[i]

    count = first[n]
    row, column = np.empty(count, np.int32), np.empty(count, np.int32)
    after, before = np.empty(count, np.int32), np.empty(count, np.int32)
    head, slot = np.full(k, -1, np.int32), np.full(k, -1, np.int32)
    lines = int(min(k, count))
    spare = np.arange(lines + 1, dtype=np.int32)  # a stack of unused lines, its size at the end
    cost, arc = np.full((lines, k), math.inf), np.full((lines, k), -1, np.int32)
    members = first, row, column, after, before, head
    table = slot, spare, cost, arc
    y = np.empty(k)
    for i in range(n):
        at = first[i]
        for j in range(k):
            y[j] = x[i, j]
            if chosen[i, j]:
                row[at], column[at] = i, j
                link(members, table, at, j)
                y[j] = -math.inf
                at += 1

        for cell in range(first[i], at):
            offer(x, y, members, table, cell)

    return members, table


@jit
def link(members, table, cell, u):
    """Put a cell into the list of column u."""
    _, _, column, after, before, head = members
    slot, spare, _, _ = table
    if slot[u] < 0:
        size = spare.shape[0] - 1
        spare[size] -= 1
        slot[u] = spare[spare[size]]

    column[cell] = u
    after[cell], before[cell] = head[u], -1
    if head[u] >= 0:
        before[head[u]] = cell

    head[u] = cell


@jit
def unlink(members, table, cell):
    """Take a cell out of its column's list; an empty column gives its line back."""
    _, _, column, after, before, head = members
    slot, spare, cost, arc = table
    u = column[cell]
    if before[cell] >= 0:
        after[before[cell]] = after[cell]
    else:
        head[u] = after[cell]

    if after[cell] >= 0:
        before[after[cell]] = before[cell]

    if head[u] < 0:
        size = spare.shape[0] - 1
        cost[slot[u], :], arc[slot[u], :] = math.inf, -1
        spare[spare[size]] = slot[u]
        spare[size] += 1
        slot[u] = -1


@jit
def offer(x, y, members, table, cell):
    """Let a cell's row offer its exchanges; `y` are its scores, -inf where it can take nothing."""
    _, row, column, _, _, _ = members
    slot, _, cost, arc = table
    u = column[cell]
    value = x[row[cell], u]
    line, who = cost[slot[u]], arc[slot[u]]
    for w in range(y.shape[0]):
        # What the row loses in Eq. (39), without prices: these are added in `search`.
        loss = value - y[w]
        if loss < line[w]:
            line[w] = loss
            who[w] = cell


@jit
def rescan(x, chosen, members, table, u, w):
    """Look for the cheapest row of u that would take w."""
    _, row, _, after, _, head = members
    slot, _, cost, arc = table
    best, who, cell = math.inf, -1, head[u]
    while cell >= 0:
        i = row[cell]
        if not chosen[i, w]:
            loss = x[i, u] - x[i, w]
            if loss < best:
                best, who = loss, cell
        cell = after[cell]

    cost[slot[u], w], arc[slot[u], w] = best, who


@jit
def rescan_all(x, chosen, members, table, u):
    """Look for the cheapest row of u for every column."""
    _, row, _, after, _, head = members
    slot, _, cost, arc = table
    cost[slot[u], :], arc[slot[u], :] = math.inf, -1
    y, cell = np.empty(x.shape[1]), head[u]
    while cell >= 0:
        i = row[cell]
        for j in range(y.shape[0]):
            y[j] = -math.inf if chosen[i, j] else x[i, j]
        offer(x, y, members, table, cell)
        cell = after[cell]


@jit
def exchange(x, chosen, members, table, u, w):
    """Let the cheapest row give up u for w, and bring the table up to date."""
    k = x.shape[1]
    first, row, column, _, _, head = members
    slot, _, cost, arc = table
    moved = arc[slot[u], w]
    i = row[moved]
    unlink(members, table, moved)
    chosen[i, u], chosen[i, w] = False, True
    link(members, table, moved, w)

    # What the row offered for u is gone.
    if head[u] >= 0:
        stale = 0
        for x_ in range(k):
            stale += arc[slot[u], x_] == moved
        if 8 * stale > k:
            rescan_all(x, chosen, members, table, u)
        elif stale:
            for v in range(k):
                if arc[slot[u], v] == moved:
                    rescan(x, chosen, members, table, u, v)

    # Its other columns can no longer take w, and may take u.
    back = x[i, u]
    for cell in range(first[i], first[i + 1]):
        if cell == moved:
            continue
        v = column[cell]
        if arc[slot[v], w] == cell:
            rescan(x, chosen, members, table, v, w)
        loss = x[i, v] - back
        if loss < cost[slot[v], u]:
            cost[slot[v], u], arc[slot[v], u] = loss, cell

    y = np.empty(k)
    for j in range(k):
        y[j] = -math.inf if chosen[i, j] else x[i, j]

    offer(x, y, members, table, moved)


@jit
def settle(x, chosen, loads, low, high, price, members, table, reached):
    """Move units until every load is within its bounds; whether that was possible."""
    k = x.shape[1]
    goal, prices = np.empty(k, np.int64), np.empty(k + 1)
    prices[:k] = price
    prices[k] = aim(loads, low, high, price, goal)
    excess = np.zeros(k + 1, np.int64)
    excess[:k] = loads - goal
    widest = 0.0
    for u in range(k):
        widest = max(widest, -math.inf if math.isinf(price[u]) else abs(price[u]))

    firm = FIRM * max(spread(x), widest)
    distance, parent = np.empty(k + 1), np.empty(k + 1, np.int64)
    ends = np.empty(k + 1, np.int64)
    while True:
        open_ends = 0
        for v in range(k + 1):
            open_ends += excess[v] < 0
        if open_ends == 0:
            break

        want = max(1, open_ends // 4)
        found = search(
            table, goal, low, high, prices, excess, want, reached, distance, parent, ends
        )
        if found == 0:
            return False

        # Distances become prices (section 9.7): costs (39) stay positive, those of the paths are 0.
        far = distance[ends[found - 1]]
        for v in range(k + 1):
            if distance[v] < far:
                prices[v] += far - distance[v]

        # A unit along each path that an earlier one has not broken; the first is always whole.
        for turn in range(found):
            end = ends[turn]
            start = whole(table, goal, low, high, prices, excess, parent, end, firm, turn == 0)
            if start < 0:
                continue

            # From the far end: a row that serves two links has its columns at both.
            at = end
            while parent[at] >= 0:
                u = parent[at]
                if at == k:
                    goal[u] += 1
                elif u == k:
                    goal[at] -= 1
                else:
                    exchange(x, chosen, members, table, u, at)

                at = u

            excess[start] -= 1
            excess[end] += 1

    loads[:] = goal
    return True


@jit
def spread(x):
    """Range of the finite scores."""
    least, most = math.inf, -math.inf
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            if x[i, j] > -math.inf:
                least, most = min(least, x[i, j]), max(most, x[i, j])

    return max(most - least, 0.0)


@jit
def aim(loads, low, high, price, goal):
    """Loads to reach, dear columns full and cheap ones not; the slack's price, between them.

    Columns at that price may carry any load within their bounds, at best the one they have.
    """
    k = loads.shape[0]
    need, level, above = 0, 0.0, math.inf
    for j in range(k):
        goal[j] = low[j]
        need += loads[j] - low[j]

    while True:
        below = -math.inf
        for j in range(k):
            if high[j] > low[j] and price[j] < above:
                below = max(below, price[j])
        if below == -math.inf:
            return level
        level = above = below
        room = 0
        for j in range(k):
            if price[j] == level:
                room += high[j] - low[j]
        if need <= room:
            break
        need -= room
        for j in range(k):
            if price[j] == level:
                goal[j] = high[j]

    for j in range(k):
        if price[j] == level:
            goal[j] = min(max(loads[j], low[j]), high[j])
            need -= goal[j] - low[j]

    for j in range(k):
        if price[j] == level:
            more = min(max(need, low[j] - goal[j]), high[j] - goal[j])
            goal[j] += more
            need -= more

    return level


@jit
def search(table, goal, low, high, price, excess, want, done, distance, parent, ends):
    """Dijkstra from all columns with too much to the `want` nearest with too little; how many."""
    slot, _, cost, _ = table
    k = goal.shape[0]
    found = 0

    for v in range(k + 1):
        done[v], parent[v] = False, -1
        distance[v] = 0.0 if excess[v] > 0 else math.inf

    while True:
        near, at = math.inf, -1
        for v in range(k + 1):
            if not done[v] and distance[v] < near:
                near, at = distance[v], v
        if at < 0:
            return found
        done[at] = True
        if excess[at] < 0:
            ends[found] = at
            found += 1
            if found == want:
                return found

        # The slack's arcs cost nothing themselves: a load within its bounds may grow or shrink.
        here = price[at]
        if at == k:
            for v in range(k):
                if not done[v] and goal[v] > low[v]:
                    reach = near + max(price[v] - here, 0.0)
                    if reach < distance[v]:
                        distance[v], parent[v] = reach, k

            continue

        if not done[k] and goal[at] < high[at]:
            reach = near + max(price[k] - here, 0.0)
            if reach < distance[k]:
                distance[k], parent[k] = reach, at
        if slot[at] < 0:
            continue
        line = cost[slot[at]]
        for v in range(k):
            reach = near + max(line[v] + price[v] - here, 0.0)
            if reach < distance[v] and not done[v]:
                distance[v], parent[v] = reach, at


@jit
def whole(table, goal, low, high, price, excess, parent, end, firm, first):
    """Where a path found before begins, if it can still be gone; -1 otherwise."""
    slot, _, cost, _ = table
    k = goal.shape[0]
    at = end
    while parent[at] >= 0:
        u = parent[at]
        if not first:
            if at == k:
                good = goal[u] < high[u] and abs(price[k] - price[u]) <= firm
            elif u == k:
                good = goal[at] > low[at] and abs(price[at] - price[k]) <= firm
            else:
                good = slot[u] >= 0 and cost[slot[u], at] + price[at] - price[u] <= firm

            if not good:
                return -1

        at = u

    return at if excess[at] > 0 and excess[end] < 0 else -1


@jit
def middle(loads, low, high, price, table):
    """Write prices in the middle of the room that an optimal plan leaves them.

    They depend on the plan alone. Up to `ALL_PAIRS` columns they are the mean of the lowest and
    the highest prices that shortest chains from and to every column allow, and above the mean of
    those from and to the nearest, moved until every column could rise about as far as it could
    fall. Bounds hold prices to 0, and a column that nobody has is free; without bounds their mean
    is 0.
    """
    slot, _, _, _ = table
    k = loads.shape[0]
    nodes = np.flatnonzero(slot >= 0)
    free = False
    for j in range(k):
        free |= high[j] > low[j]

    cost = between_nodes(nodes, free, loads, low, high, table)
    # Prices are potentials: any that keep all costs (39) non-negative prove the plan.
    reach = widest(cost)
    if cost.shape[0] <= ALL_PAIRS:
        found = between_ends(cost)
    else:
        back = cost.T.copy()
        found = 0.5 * (nearest(back) - nearest(cost))
        for _ in range(SMOOTHING):
            centre(cost, back, found, reach)

    level = found[nodes.shape[0]] if free else 0.0
    price[:] = 0.0
    for a in range(nodes.shape[0]):
        price[nodes[a]] = found[a] - level

    for w in range(k):
        if high[w] == 0:
            price[w] = beyond(nodes, price, w, table) + reach

    if not free:
        price -= price.mean()


@jit
def between_nodes(nodes, free, loads, low, high, table):
    """Exchange costs among the columns in use, and the slack as the last node."""
    slot, _, cost, _ = table
    m = nodes.shape[0]
    found = np.full((m + free, m + free), math.inf)
    for a in range(m):
        u = nodes[a]
        line = cost[slot[u]]
        for b in range(m):
            if a != b:
                found[a, b] = line[nodes[b]]
        if not free:
            continue
        if loads[u] > low[u]:
            found[m, a] = 0.0
        out = 0.0 if loads[u] < high[u] else math.inf
        for w in range(loads.shape[0]):  # through a column that nobody has, which may stay so
            if slot[w] < 0 and high[w] > 0:
                out = min(out, line[w])
        found[a, m] = out

    return found


@jit
def between_ends(cost):
    """Half the mean distance to all nodes less that from all (Floyd & Warshall).

    Every node as a root gives prices that keep all arcs, and leave room at those on no cheapest
    chain from it: the mean leaves room at all. What no chain connects is put far away.
    """
    m = cost.shape[0]
    d = cost.copy()
    for v in range(m):
        d[v, v] = 0.0

    through = np.empty(m)  # a copy: the loop below has to know that it changes nothing here
    for v in range(m):
        through[:] = d[v]
        for u in range(m):
            here = d[u, v]
            if here < math.inf:
                line = d[u]
                for w in range(m):
                    reach = here + through[w]
                    line[w] = reach if reach < line[w] else line[w]

    far = 4.0 * widest(d)
    there, back = np.zeros(m), np.zeros(m)  # the cheapest chains out of a node, and into it
    for u in range(m):
        for w in range(m):
            there[u], back[w] = min(there[u], d[u, w]), min(back[w], d[u, w])

    # Half the mean over roots of (distance from u - distance to u).
    found = np.zeros(m)
    for u in range(m):
        for w in range(m):
            distance = d[u, w] if d[u, w] < math.inf else far + there[u] + back[w]
            found[u] += 0.5 * distance / m
            found[w] -= 0.5 * distance / m

    return found


@jit
def nearest(cost):
    """The shortest distance to every node from whichever it is nearest to (Bellman & Ford)."""
    m = cost.shape[0]
    distance, fresh = np.zeros(m), np.ones(m, np.bool_)
    for _ in range(m):
        settled = True
        for u in range(m):
            if not fresh[u]:
                continue
            fresh[u] = False
            here, line = distance[u], cost[u]
            for w in range(m):
                if here + line[w] < distance[w]:
                    distance[w] = here + line[w]
                    fresh[w] = True
                    settled = False

        if settled:
            break

    return distance


@jit
def widest(cost):
    """The largest finite cost, at least something."""
    found = 0.0
    for u in range(cost.shape[0]):
        for w in range(cost.shape[1]):
            if cost[u, w] < math.inf:
                found = max(found, abs(cost[u, w]))

    return found if found > 0.0 else 1.0


@jit
def centre(cost, back, price, reach):
    """Move every price towards the middle of its room, all at once and never out of it."""
    m = price.shape[0]
    move = np.empty(m)
    for u in range(m):
        rise, fall = math.inf, math.inf
        for w in range(m):
            rise = min(rise, cost[u, w] + price[w])
            fall = min(fall, back[u, w] - price[w])
        # Half of the way to the middle: two neighbours that move at once keep their order.
        move[u] = 0.25 * (min(rise - price[u], reach) - min(fall + price[u], reach))

    price += move


@jit
def beyond(nodes, price, w, table):
    """The least price at which nobody wants column w."""
    slot, _, cost, _ = table
    found = 0.0
    for a in range(nodes.shape[0]):
        u = nodes[a]
        found = max(found, price[u] - cost[slot[u], w])

    return found


@jit
def shortfall(x, budgets, chosen, loads, low, high, price):
    """The two sides of Eq. (38), term by term: rows that prefer others, bounds not reached."""
    n, k = x.shape
    y, gap = np.empty(k), 0.0
    for i in range(n):
        least, most, own = math.inf, -math.inf, 0.0
        for j in range(k):
            y[j] = x[i, j] - price[j]
            if chosen[i, j]:
                least = min(least, y[j])
                own += y[j]
            else:
                most = max(most, y[j])

        # Its k best against its own; of most rows these are the same.
        if least < most:
            select(y, budgets[i])
            gap += y[: budgets[i]].sum() - own

    for j in range(k):
        gap += price[j] * ((high[j] if price[j] > 0 else low[j]) - loads[j])

    return gap
