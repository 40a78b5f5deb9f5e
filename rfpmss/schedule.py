"""Order, seeds and learning rate as pure functions of the step: no state that could be lost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rfpmss.config import TrainConfig


@dataclass(frozen=True)
class Schedule:
    """The plan of a run over ``studies``.

    Example:
        >>> from rfpmss.config import smoke
        >>> Schedule.of(smoke().train, seed=0, studies=np.arange(48)).steps
        20
    """

    config: TrainConfig
    seed: int
    studies: np.ndarray
    """Indices of the training studies."""
    batch: int
    """Studies in a batch; all of them where there are fewer than asked for."""
    epoch_steps: int
    """Steps of an epoch; the last, incomplete batch is left out."""

    @classmethod
    def of(cls, config: TrainConfig, seed: int, studies: np.ndarray) -> Schedule:
        """The schedule of a training split."""
        batch = min(config.batch, len(studies))
        return cls(config, seed, studies, batch, len(studies) // batch)

    @property
    def steps(self) -> int:
        """Steps of all epochs."""
        return self.config.epochs * self.epoch_steps

    def epoch(self, step: int) -> int:
        """The epoch of a step; both count from 0."""
        return step // self.epoch_steps

    def chosen(self, step: int) -> np.ndarray:
        """Indices of the studies of a step: a permutation per (seed, epoch), cut into batches."""
        order = np.random.default_rng([self.seed, self.epoch(step)]).permutation(self.studies)
        start = step % self.epoch_steps * self.batch
        return order[start : start + self.batch]

    def noise(self, step: int) -> int:
        """Seed of the step's own randomness (dropout)."""
        return int(
            np.random.SeedSequence([self.seed, step, 1]).generate_state(1, np.uint64)[0] >> 1
        )

    def rate(self, step: int) -> float:
        """Learning rate of a step: x decay per epoch, or warm-up and cosine to 1 %."""
        config = self.config
        if config.schedule == "exponential":
            return config.lr * config.decay ** self.epoch(step)
        warm = max(1, self.steps // 10)
        if step < warm:
            return config.lr * (step + 1) / warm
        part = min(1.0, (step - warm) / max(1, self.steps - warm))
        return config.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * part)) / 2)
