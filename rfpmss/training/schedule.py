"""Order, seeds and learning rate as pure functions of the step: no state that could be lost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

import numpy as np

from rfpmss.runs.folder import RunError

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
    def of(cls, config: TrainConfig, seed: int, studies: np.ndarray, ranks: int = 1) -> Schedule:
        """The schedule of a training split; each rank takes an equal share of a batch.

        Raises:
            RunError: if there is nothing to train on, or a batch cannot be shared out evenly.
        """
        if not len(studies):
            raise RunError("data must hold studies with split 'train', got none in the manifest")

        batch = min(config.batch, len(studies))
        if batch % ranks:
            raise RunError(
                f"a batch must be a multiple of the {ranks} ranks, got {batch} studies: set "
                f"--train.batch to at most {len(studies)} and such a multiple"
            )

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

    def share(self, step: int, rank: int, ranks: int) -> np.ndarray:
        """One rank's part of the studies of a step; in rank order they are the whole batch."""
        size = self.batch // ranks
        return self.chosen(step)[rank * size : (rank + 1) * size]

    def noise(self, step: int, rank: int = 0) -> int:
        """Seed of the step's own randomness (dropout) on a rank."""
        entropy = [self.seed, step, 1, rank]
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)

    def rate(self, step: int) -> float:
        """Learning rate of a step, as `train.schedule` says."""
        config = self.config
        if config.schedule == "exponential":
            # The paper's: 5e-5, times .9 after each epoch.
            return config.lr * config.decay ** self.epoch(step)
        if config.schedule == "onecycle":
            return config.lr * self._cycle(step)

        assert_never(config.schedule)

    def _cycle(self, step: int) -> float:
        """Share of the highest rate: warm-up, then a cosine (Loshchilov and Hutter 2017) to 1 %."""
        warm = max(1, int(self.steps * self.config.warmup))
        if step < warm:
            return (step + 1) / warm

        part = min(1.0, (step - warm) / max(1, self.steps - warm))
        return 0.01 + 0.99 * (1 + math.cos(math.pi * part)) / 2
