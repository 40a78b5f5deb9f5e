"""The oracle of all tests: NumPy and SciPy in float64, word for word, without torch."""

import numbers
from typing import Any

import numpy as np

Array = np.ndarray
ORDERS = ("row-column-depth", "column-depth-row")


def multi_sk(
    scores: Array,
    k: Any,
    eps: Any = 0.07,
    damping: Any = 0.25,
    steps: Any = 20,
    order: str = "row-column-depth",
) -> Array:
    """Run the published iteration on the dense K x N x K table and sum its first `k` channels.

    Channel c starts as exp(s_c X / eps), with s_c = 1 for the first `k` channels and `damping` for
    the others. `steps` sweeps make rows sum to 1, columns to N/K and depths to 1, in the order
    given; log domain, float64.

    Args:
        scores: (N, K), higher is better.
        k: Columns per row.
        eps: Temperature.
        damping: Scale of the channels after the first `k`, or the K scales.
        steps: Number of sweeps.
        order: "row-column-depth" or "column-depth-row".

    Returns:
        The plan (N, K).

    Raises:
        ValueError: When an argument breaks its rule; names the argument, the rule and the value.

    Example:
        >>> multi_sk(np.zeros((4, 2)), k=1, steps=1)[0]
        array([0.5, 0.5])
    """
    return np.exp(multi_sk_channels(scores, k, eps, damping, steps, order))[:k].sum(0)


def multi_sk_channels(
    scores: Array, k: Any, eps: Any, damping: Any, steps: Any, order: str
) -> Array:
    """The logarithm of the whole K x N x K table after `steps` sweeps; see `multi_sk`."""
    scores = _table(scores)
    rows, columns = scores.shape
    k = _whole("k", k, 0, columns)
    steps = _whole("steps", steps, 1)
    _above_zero("eps", eps)
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")

    if np.ndim(damping) and np.shape(damping) != (columns,):
        shape = np.shape(damping)
        raise ValueError(f"damping must be a number or have the shape ({columns},), got {shape}")

    if np.ndim(damping) == 0:
        scales = np.where(np.arange(columns) < k, 1.0, damping)
    else:
        scales = np.asarray(damping, np.float64)

    table = scales[:, None, None] * scores / eps
    axis = {"row": 2, "column": 1, "depth": 0}
    target = {"row": 1.0, "column": rows / columns, "depth": 1.0}
    for _ in range(steps):
        for name in order.split("-"):
            total = _logsumexp(table, axis[name])
            table = table - total + np.log(target[name])

    return table


def multi_assignment(
    scores: Array,
    k: Any,
    eps: Any = 0.07,
    damping: Any = 0.25,
    capacity: Any = None,
    mask: Array | None = None,
) -> Array:
    """The limit of the iteration: P = sigmoid((1 - damping) X / eps + a_i + b_j).

    The potentials minimise the smooth convex dual of dimension N + K, by SciPy's trust-region
    Newton with the exact dense Hessian; budgets strictly between 0 and the number of allowed cells.

    Returns:
        The plan (N, K) with row sums `k` and column sums `capacity` (default: even).

    Raises:
        ValueError: When an argument breaks its rule; names the argument, the rule and the value.
        RuntimeError: When the margins are missed by more than 1e-8.

    Example:
        >>> multi_assignment(np.zeros((4, 2)), k=1)[0]
        array([0.5, 0.5])
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    scores = _table(scores, mask)
    rows, columns = scores.shape
    _above_zero("eps", eps)
    free = np.ones_like(scores, bool) if mask is None else np.asarray(mask)
    budget = _margin("k", k, rows)
    even = np.full(columns, budget.sum() / columns)
    load = even if capacity is None else _margin("capacity", capacity, columns)
    _check_budgets(budget, load, free)
    logits = (1 - damping) / eps * np.where(free, scores, 0.0)

    def plan(x: Array) -> Array:
        return np.where(free, expit(logits + x[:rows, None] + x[rows:]), 0.0)

    def value(x: Array) -> float:
        t = np.where(free, logits + x[:rows, None] + x[rows:], -np.inf)
        return float(np.logaddexp(0.0, t).sum() - budget @ x[:rows] - load @ x[rows:])

    def gradient(x: Array) -> Array:
        p = plan(x)
        return np.concatenate([p.sum(1) - budget, p.sum(0) - load])

    def hessian(x: Array) -> Array:
        p = plan(x)
        w = p * (1 - p)
        full = np.block([[np.diag(w.sum(1)), w], [w.T, np.diag(w.sum(0))]])
        gauge = np.concatenate([np.ones(rows), -np.ones(columns)])
        return full + np.outer(gauge, gauge) * w.mean()

    x = np.zeros(rows + columns)
    options = {"gtol": 1e-11, "maxiter": 2000}
    x = minimize(value, x, jac=gradient, hess=hessian, method="trust-exact", options=options).x
    for _ in range(5):  # polish below what the value's rounding lets the trust region see
        x = x - np.linalg.lstsq(hessian(x), gradient(x), rcond=None)[0]

    error = np.abs(gradient(x)).max()
    if not error <= 1e-8:
        raise RuntimeError(f"the reference missed the margins by {error:.2e}")

    return plan(x)


def b_matching(scores: Array, k: Any, capacity: Any, mask: Array | None = None) -> Array:
    """The zero-temperature optimum: exactly `k` columns a row, loads `capacity`, by HiGHS.

    Args:
        scores: (N, K).
        k: Columns per row, an int or (N,).
        capacity: Integer loads (K,), or a pair (lower, upper) of them.
        mask: Boolean (N, K), False forbids the pair.

    Returns:
        A 0/1 plan (N, K): a vertex, because the constraint matrix is totally unimodular.

    Raises:
        ValueError: When an argument breaks its rule; names the argument, the rule and the value.
        RuntimeError: When HiGHS finds no feasible assignment.

    Example:
        >>> b_matching(np.array([[1.0, 0.0], [0.9, 0.0]]), 1, np.array([1, 1]))
        array([[1., 0.],
               [0., 1.]])
    """
    from scipy.optimize import LinearConstraint, milp
    from scipy.sparse import eye, kron

    scores = _table(scores, mask)
    rows, columns = scores.shape
    budget = _margin("k", k, rows)
    lower, upper = (
        _margin("capacity", part, columns)
        for part in (capacity if isinstance(capacity, tuple) else (capacity, capacity))
    )
    free = np.ones_like(scores, bool) if mask is None else np.asarray(mask)
    _check_rows(budget, free)
    top = np.ones(rows * columns) if mask is None else np.asarray(mask, np.float64).ravel()
    by_row = LinearConstraint(kron(eye(rows), np.ones((1, columns))))
    by_row.lb = by_row.ub = budget
    by_column = LinearConstraint(kron(np.ones((1, rows)), eye(columns)))
    by_column.lb, by_column.ub = lower, upper
    found = milp(-scores.ravel(), constraints=[by_row, by_column], bounds=(0, top))
    if found.x is None:
        raise RuntimeError(f"no assignment meets the budgets: {found.message}")

    return np.round(found.x.reshape(rows, columns), 9) + 0.0


def transport(scores: Array, eps: Any, rows: Any = None, columns: Any = None) -> Array:
    """Entropic transport exp(X / eps + a_i + b_j) with the given margins, by a SciPy root finder.

    Raises:
        ValueError: When an argument breaks its rule; names the argument, the rule and the value.

    Example:
        >>> transport(np.zeros((2, 2)), 1.0)
        array([[0.5, 0.5],
               [0.5, 0.5]])
    """
    from scipy.optimize import minimize

    scores = _table(scores)
    _above_zero("eps", eps)
    n, k = scores.shape
    r = np.ones(n) if rows is None else _margin("rows", rows, n)
    c = np.full(k, r.sum() / k) if columns is None else _margin("columns", columns, k)
    _check_totals("rows", r, "columns", c)
    logits = scores / eps

    def plan(b: Array) -> Array:
        t = logits + b
        return r[:, None] * np.exp(t - _logsumexp(t, 1))

    def dual(b: Array) -> tuple[float, Array]:
        value = (r * _logsumexp(logits + b, 1)[:, 0]).sum() - (c * b).sum()
        return float(value), plan(b).sum(0) - c

    def hessian(b: Array) -> Array:
        p = plan(b)
        return np.diag(p.sum(0)) - p.T @ (p / r[:, None]) + np.full((c.size, c.size), p.mean())

    b = minimize(dual, np.zeros(c.size), jac=True, hess=hessian, method="trust-exact").x
    for _ in range(5):
        b = b - np.linalg.lstsq(hessian(b), dual(b)[1], rcond=None)[0]

    return plan(b)


def _logsumexp(x: Array, axis: int) -> Array:
    top = x.max(axis, keepdims=True)
    return top + np.log(np.exp(x - top).sum(axis, keepdims=True))


def _table(scores: Any, mask: Any = None) -> Array:
    """The scores (N, K) in float64, finite wherever they are read."""
    found = np.asarray(scores, np.float64)
    if found.ndim != 2 or not found.size:
        raise ValueError(f"scores must have the shape (N, K), got {found.shape}")
    if mask is not None and np.shape(mask) != found.shape:
        raise ValueError(f"mask must have the shape {found.shape}, got {np.shape(mask)}")

    read = found if mask is None else found[np.asarray(mask, bool)]
    if not np.isfinite(read).all():
        raise ValueError(f"scores must be finite, got {read[~np.isfinite(read)][0]}")

    return found if mask is None else np.where(np.asarray(mask, bool), found, 0.0)


def _whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    found = int(value) if whole else least - 1
    if found < least or (most is not None and found > most):
        upper = "" if most is None else f" and at most {most}"
        raise ValueError(f"{name} must be an int of at least {least}{upper}, got {value!r}")

    return found


def _above_zero(name: str, value: Any) -> None:
    found = float(value) if isinstance(value, numbers.Real) else np.nan
    if not (np.isfinite(found) and found > 0):
        raise ValueError(f"{name} must be finite and above 0, got {value!r}")


def _margin(name: str, value: Any, size: int) -> Array:
    """A number, or one a line, as (size,)."""
    found = np.asarray(value, np.float64)
    if found.shape not in {(), (size,)}:
        raise ValueError(f"{name} must be a number or have the shape ({size},), got {found.shape}")
    if not (np.isfinite(found) & (found >= 0)).all():
        raise ValueError(f"{name} must be finite and at least 0, got {value!r}")

    return np.broadcast_to(found, (size,))


def _check_rows(budget: Array, free: Array) -> None:
    most = free.sum(1)
    if (budget > most).any():
        row = int((budget > most).argmax())
        raise ValueError(
            f"k must not exceed the row's {most[row]} allowed columns, got {budget[row]:g} "
            f"in row {row}"
        )


def _check_budgets(budget: Array, load: Array, free: Array) -> None:
    _check_rows(budget, free)
    if (load > free.sum(0)).any():
        column = int((load > free.sum(0)).argmax())
        raise ValueError(
            f"capacity must not exceed the column's {free.sum(0)[column]} allowed rows, "
            f"got {load[column]:g} in column {column}"
        )
    _check_totals("k", budget, "capacity", load)


def _check_totals(rows: str, mass: Array, columns: str, load: Array) -> None:
    if not abs(mass.sum() - load.sum()) <= 1e-6 * abs(mass.sum()):
        raise ValueError(
            f"{columns} must sum to the total of {rows} {mass.sum():g}, got {load.sum():g}"
        )
