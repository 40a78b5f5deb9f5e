"""Whether the structure loss of a run learned anything: its end beside nothing and everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LAST = 16
"""Steps at the end of a run over which the loss is averaged; single batches differ by 1 %."""

NAMES = ("consistency", "consistency_trivial", "consistency_floor")
"""Of the loss and of its two bounds in ``metrics.jsonl``."""


@dataclass(frozen=True)
class Learned:
    """The structure loss at the end of a run.

    Example:
        >>> Learned(10.9, 11.0, 9.0).sentence
        'structure loss 10.9: 5 % of the way from 11 (nothing known of anybody) to 9 (all known)'
        >>> Learned(11.7, 11.0, 9.0).sentence.startswith("structure loss 11.7 is above 11, what")
        True
    """

    value: float
    trivial: float
    """What it is for who knows nothing of anybody."""
    floor: float
    """What it is for who knows every target."""

    @property
    def share(self) -> float:
        """Part of the way from ``trivial`` to ``floor``; negative above ``trivial``."""
        room = self.trivial - self.floor
        return (self.trivial - self.value) / room if room > 0 else 0.0

    @property
    def sentence(self) -> str:
        """What it means."""
        if self.value >= self.trivial:
            return (
                f"structure loss {self.value:.4g} is above {self.trivial:.4g}, what knowing "
                f"nothing of anybody gives: Eq. 5-6 taught nothing"
            )
        return (
            f"structure loss {self.value:.4g}: {100 * self.share:.0f} % of the way from "
            f"{self.trivial:.4g} (nothing known of anybody) to {self.floor:.4g} (all known)"
        )


def learned(metrics: Sequence[Mapping[str, Any]]) -> Learned | None:
    """The end of a run by its log; None where its last steps were logged without the bounds.

    Args:
        metrics: rows of ``metrics.jsonl`` in the order of the steps.
    """
    rows = list(metrics)[-LAST:]
    if not rows or any(name not in row for row in rows for name in NAMES):
        return None
    return Learned(*(float(np.mean([row[name] for row in rows])) for name in NAMES))
