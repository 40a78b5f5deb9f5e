"""Classical entropic transport by other libraries, all from the same scores to the same masses.

Every function returns a callable `run(iterations) -> plan` with rows summing to 1 and columns to
N / K, prepared so that only the solve is timed. Imports happen inside: a missing library leaves
its rows out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

Run = Callable[[int], Any]


def swav(scores: Tensor, eps: float) -> Run:
    """The loop of clustering by swapped predictions: exponentiate, columns, rows, three times."""

    def run(iterations: int) -> Tensor:
        n, k = scores.shape[-2:]
        q = torch.exp((scores - scores.max()) / eps)
        for _ in range(iterations):
            q /= q.sum(-2, keepdim=True)
            q *= n / k
            q /= q.sum(-1, keepdim=True)
        return q

    return run


def pot(scores: Tensor, eps: float) -> Run:
    """POT's `ot.sinkhorn` on NumPy arrays; a loop over a batch."""
    import ot

    batch = scores.reshape(-1, *scores.shape[-2:])
    costs = [-x.numpy() for x in batch]
    n, k = scores.shape[-2:]
    kind = costs[0].dtype
    a, b = np.full(n, 1 / n, kind), np.full(k, 1 / k, kind)

    def run(iterations: int) -> Tensor:
        plans = [
            ot.sinkhorn(a, b, cost, eps, numItermax=iterations, stopThr=0.0, warn=False)
            for cost in costs
        ]
        return torch.from_numpy(np.stack(plans)).reshape(scores.shape) * n

    return run


def pot_batch(scores: Tensor, eps: float) -> Run:
    """POT's batched solver on torch tensors."""
    from ot.batch import solve_batch

    batch = -scores.reshape(-1, *scores.shape[-2:])
    n = scores.shape[-2]

    def run(iterations: int) -> Tensor:
        found = solve_batch(batch, eps, max_iter=iterations, tol=0.0, grad="detach")
        return found.plan.reshape(scores.shape) * n

    return run


def geomloss(scores: Tensor, eps: float) -> Run:
    """GeomLoss with its fixed annealing."""
    from geomloss import ot

    cost = -scores
    solve = ot.solve if scores.ndim == 2 else ot.solve_batch
    n = scores.shape[-2]

    def run(iterations: int) -> Tensor:
        return solve(cost, reg=eps, max_iter=iterations).plan * n

    return run


def ott(scores: Tensor, eps: float, *, log_domain: bool) -> Run:
    """OTT-JAX, compiled; the compilation is not timed."""
    import jax
    import jax.numpy as jnp
    from ott.geometry import geometry
    from ott.solvers import linear

    cost = jnp.asarray(-scores.numpy())
    n = scores.shape[-2]
    compiled: dict[int, Any] = {}

    def one(cost: Any, iterations: int) -> Any:
        found = linear.solve(
            geometry.Geometry(cost_matrix=cost, epsilon=eps),
            lse_mode=log_domain,
            threshold=0.0,
            min_iterations=iterations,
            max_iterations=iterations,
            inner_iterations=iterations,
        )
        return found.matrix

    def run(iterations: int) -> Any:
        if iterations not in compiled:
            work = lambda cost: one(cost, iterations)  # noqa: E731
            compiled[iterations] = jax.jit(work if scores.ndim == 2 else jax.vmap(work))
            compiled[iterations](cost).block_until_ready()
        return compiled[iterations](cost).block_until_ready() * n

    return run


def ott_log(scores: Tensor, eps: float) -> Run:
    """OTT-JAX in the log domain, its default."""
    return ott(scores, eps, log_domain=True)


def ott_kernel(scores: Tensor, eps: float) -> Run:
    """OTT-JAX in the linear domain."""
    return ott(scores, eps, log_domain=False)
