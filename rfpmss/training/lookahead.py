"""Stochastic gradient descent whose weights step back to a slow copy, as REFERS was trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class Lookahead(torch.optim.SGD):
    """SGD with momentum; every ``every`` steps a slow copy moves part of the way, and is taken.

    Zhang, Lucas, Hinton and Ba 2019, "Lookahead optimizer: k steps forward, 1 step back".

    After steps ``every``, 2 ``every``, ...: slow += share (fast - slow); fast = slow. Both live in
    the optimiser's state, so that a checkpoint holds them.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        momentum: share of the last direction that is kept.
        weight_decay: added to the gradient, times the weight.
        every: steps between two steps of the slow copy.
        share: how far it goes.

    Example:
        >>> w = torch.nn.Parameter(torch.zeros(1))
        >>> optimiser = Lookahead([w], lr=1.0, momentum=0.0, every=2)
        >>> for _ in range(2):
        ...     w.grad = torch.ones(1)
        ...     optimiser.step()
        >>> w.item()
        -1.0
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        *,
        every: int = 5,
        share: float = 0.5,
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=weight_decay)
        self.every, self.share = every, share

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; ``closure`` as in every optimiser of torch."""
        moving = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        for p in moving:
            if "slow" not in self.state[p]:
                self.state[p] |= {"slow": p.detach().clone(), "since": 0}

        loss = super().step(closure)
        for p in moving:
            entry = self.state[p]
            entry["since"] += 1
            if entry["since"] == self.every:
                p.copy_(entry["slow"].lerp_(p, self.share))
                entry["since"] = 0

        return loss
