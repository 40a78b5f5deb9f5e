"""FlashSinkhorn (`pip install flash-sinkhorn`): public Triton kernels for transport between points.

It takes points and half their squared distances as costs, and never forms the table: for unit
vectors that cost is 1 - X, the same problem as scores X. The plan is written from its potentials
in plain torch, one more visit, because the others give a plan too.
"""

import importlib
from collections.abc import Callable

from torch import Tensor


def flash(rows: Tensor, columns: Tensor, eps: float) -> Callable[[int], Tensor]:
    """`run(iterations) -> plan` with rows summing to 1 and columns to N / K, in float32."""
    loss = importlib.import_module("flash_sinkhorn").SamplesLoss  # no dependency, seldom there

    def run(iterations: int) -> Tensor:
        solve = loss(
            backend="alternating",
            use_epsilon_scaling=False,
            eps=eps,
            n_iters=iterations,
            half_cost=True,
            potentials=True,
            allow_tf32=False,
        )
        f, g = solve(rows, columns)
        cost = 1 - rows @ columns.mT
        shares = ((f[..., :, None] + g[..., None, :] - cost) / eps).exp()
        return shares / columns.shape[-2]  # its masses 1 / N and 1 / K, N times

    return run
