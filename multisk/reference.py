"""The oracle of all tests: NumPy and SciPy in float64, word for word, without torch."""

from typing import Any

import numpy as np

Array = np.ndarray


def multi_sk(
    scores: Array,
    k: int,
    eps: float = 0.07,
    damping: float | Array = 0.25,
    steps: int = 20,
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

    Example:
        >>> multi_sk(np.zeros((4, 2)), k=1, steps=1)[0]
        array([0.5, 0.5])
    """
    return np.exp(multi_sk_channels(scores, k, eps, damping, steps, order))[:k].sum(0)


def multi_sk_channels(
    scores: Array, k: int, eps: float, damping: float | Array, steps: int, order: str
) -> Array:
    """The logarithm of the whole K x N x K table after `steps` sweeps; see `multi_sk`."""
    scores = np.asarray(scores, np.float64)
    rows, columns = scores.shape
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
    eps: float = 0.07,
    damping: float = 0.25,
    capacity: Any = None,
    mask: Array | None = None,
) -> Array:
    """The limit of the iteration: P = sigmoid((1 - damping) X / eps + a_i + b_j).

    The potentials minimise the smooth convex dual of dimension N + K, by SciPy's trust-region
    Newton with the exact dense Hessian; budgets strictly between 0 and the number of allowed cells.

    Returns:
        The plan (N, K) with row sums `k` and column sums `capacity` (default: even).

    Raises:
        RuntimeError: When the margins are missed by more than 1e-8.

    Example:
        >>> multi_assignment(np.zeros((4, 2)), k=1)[0]
        array([0.5, 0.5])
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    scores = np.asarray(scores, np.float64)
    rows, columns = scores.shape
    free = np.ones_like(scores, bool) if mask is None else np.asarray(mask)
    budget = np.broadcast_to(np.asarray(k, np.float64), (rows,))
    load = np.full(columns, budget.sum() / columns) if capacity is None else np.asarray(capacity)
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
        RuntimeError: When HiGHS finds no feasible assignment.

    Example:
        >>> b_matching(np.array([[1.0, 0.0], [0.9, 0.0]]), 1, np.array([1, 1]))
        array([[1., 0.],
               [0., 1.]])
    """
    from scipy.optimize import LinearConstraint, milp
    from scipy.sparse import eye, kron

    scores = np.asarray(scores, np.float64)
    rows, columns = scores.shape
    budget = np.broadcast_to(np.asarray(k, np.float64), (rows,))
    lower, upper = capacity if isinstance(capacity, tuple) else (capacity, capacity)
    top = np.ones(rows * columns) if mask is None else np.asarray(mask, np.float64).ravel()
    by_row = LinearConstraint(kron(eye(rows), np.ones((1, columns))))
    by_row.lb = by_row.ub = budget
    by_column = LinearConstraint(kron(np.ones((1, rows)), eye(columns)))
    by_column.lb, by_column.ub = np.asarray(lower, float), np.asarray(upper, float)
    found = milp(-scores.ravel(), constraints=[by_row, by_column], bounds=(0, top))
    if found.x is None:
        raise RuntimeError(f"no assignment meets the budgets: {found.message}")
    return np.round(found.x.reshape(rows, columns), 9) + 0.0


def transport(scores: Array, eps: float, rows: Any = None, columns: Any = None) -> Array:
    """Entropic transport exp(X / eps + a_i + b_j) with the given margins, by a SciPy root finder.

    Example:
        >>> transport(np.zeros((2, 2)), 1.0)
        array([[0.5, 0.5],
               [0.5, 0.5]])
    """
    from scipy.optimize import minimize

    scores = np.asarray(scores, np.float64)
    r = np.ones(scores.shape[0]) if rows is None else np.asarray(rows, np.float64)
    c = (
        np.full(scores.shape[1], r.sum() / scores.shape[1])
        if columns is None
        else np.asarray(columns)
    )
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
