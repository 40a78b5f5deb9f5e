"""Muon: a matrix moves along its gradient's orthogonal factor; everything else by AdamW."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rfpmss.common.distributed import like, whole

STEPS = 5
"""Newton-Schulz steps, and their coefficients: Jordan et al. 2024, as in `torch.optim.Muon`."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
MOMENTUM = 0.95
"""Share of the last direction that is kept; with Nesterov's look ahead."""
TINY = 1e-7
"""Least norm that a direction is divided by."""
IN_CACHE = 1 << 16
"""Entries of matrices that are iterated together: a quarter of a megabyte."""

NOT_HIDDEN = (
    *("embedding", "words", "positions", "heights", "anchors", "stems", "pooler", "score"),
)
"""Words in the names of parameters that look like matrices and are tables of vectors, or the first
or last map of the network; AdamW moves them, as Muon's authors advise."""


class Muon(torch.optim.AdamW):
    """AdamW whose groups with ``matrices`` true take steps of equal size in all directions.

    `torch.optim.Muon` takes matrices only, rounds its iteration to bfloat16, and takes the stacked
    query, key and value of attention for one matrix. Here the three are orthogonalised apart, in
    the precision of the parameters, so that results do not depend on the number of ranks; sharded
    matrices are gathered for it.

    Args:
        groups: of parameters, each with ``matrices`` and, for `rfpmss.train`, ``rate``.
        lr: learning rate; a matrix of r rows and c columns takes sqrt(max(1, r / c)) of it.
        weight_decay: decoupled, per step.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, weight_decay: float) -> None:
        super().__init__(groups, lr=lr, weight_decay=weight_decay, fused=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Of AdamW every state must have a step, when loaded: those of matrices have none.
        torch.optim.Optimizer.__setstate__(self, state)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; ``closure`` as in every optimiser of torch."""
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group["matrices"]]
            loss = super().step(closure)
        finally:
            self.param_groups = groups

        for group in groups:
            if group["matrices"]:
                moving = [matrix for matrix in group["params"] if matrix.grad is not None]
                steps = directions([self._look_ahead(matrix) for matrix in moving])
                for matrix, step in zip(moving, steps, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(like(step, matrix), alpha=-group["lr"])

        return loss

    def _look_ahead(self, matrix: Tensor) -> Tensor:
        """The gradient with Nesterov's momentum."""
        state, gradient = self.state[matrix], cast("Tensor", matrix.grad)
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(matrix)

        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        return whole(torch.lerp(gradient, momentum, MOMENTUM))


def directions(matrices: list[Tensor]) -> list[Tensor]:
    """Steps of a length of about 1 in every direction; matrices of a shape are done together.

    A hundred small matrices one by one cost four times as much: the time goes to calls.
    """
    parts = [(at, part) for at, matrix in enumerate(matrices) for part in _maps(matrix)]
    alike: dict[torch.Size, list[int]] = {}
    for place, (_, part) in enumerate(parts):
        alike.setdefault(part.shape, []).append(place)

    found = [part for _, part in parts]
    for shape, places in alike.items():
        scale = max(1.0, shape[0] / shape[1]) ** 0.5
        stacked = orthogonal(torch.stack([found[place] for place in places])) * scale
        for place, done in zip(places, stacked, strict=True):
            found[place] = done

    joined: list[list[Tensor]] = [[] for _ in matrices]
    for (at, _), part in zip(parts, found, strict=True):
        joined[at].append(part)

    return [part[0] if len(part) == 1 else torch.cat(part) for part in joined]


def orthogonal(matrices: Float[Tensor, "n r c"]) -> Float[Tensor, "n r c"]:
    """About U V^T of the singular value decomposition U S V^T, singular values of 0.7 to 1.2.

    Five steps of Newton-Schulz (Jordan et al. 2024): products only, no decomposition.
    """
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = matrices if wide else matrices.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=TINY)
    a, b, c = COEFFICIENTS
    found = []
    for part in x.split(max(1, IN_CACHE // x[0].numel())):
        for _ in range(STEPS):
            gram = part @ part.mT
            some = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            part = torch.baddbmm(part, some, part, beta=a)
        found.append(part)

    x = torch.cat(found)
    return x if wide else x.mT


def groups(model: nn.Module, rate: float) -> Iterator[dict[str, Any]]:
    """The parameters that learn: hidden matrices, whose rate is ``rate`` times lr, and the rest."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        hidden = parameter.ndim == 2 and not any(word in name for word in NOT_HIDDEN)
        (matrices if hidden else others).append(parameter)

    yield {"params": others, "matrices": False, "rate": 1.0}
    yield {"params": matrices, "matrices": True, "rate": rate}


def _maps(matrix: Tensor) -> tuple[Tensor, ...]:
    """Query, key and value of `rfpmss.model.block.Attention` apart; other matrices whole."""
    rows, columns = matrix.shape
    return matrix.chunk(3) if rows == 3 * columns else (matrix,)
