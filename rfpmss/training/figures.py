"""The figures of a step: the same on all ranks, and refused where one is not finite."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from rfpmss.common.distributed import Peers, whole
from rfpmss.common.errors import RfpmssError
from rfpmss.loss.total import Losses

Row = dict[str, int | float]
"""One line of the log."""


class NotFiniteError(RfpmssError, RuntimeError):
    """A loss or gradient was infinite or not a number."""


def figures(
    step: int,
    total: Float[Tensor, ""],
    losses: Losses,
    norm: Float[Tensor, ""],
    stop: int,
    peers: Peers,
) -> tuple[Row, bool]:
    """One row for the log, and whether any rank was asked to stop; one message, one wait.

    Args:
        step: counts from 1.
        total: this rank's share of the weighted sum of the losses.
        losses: this rank's shares.
        norm: of the gradient.
        stop: the signal that this rank received, 0 for none.
        peers: the ranks.
    """
    values = {"loss": total.detach(), "gradient": whole(norm), **losses.shown()}
    asked = torch.tensor(float(stop), device=total.device)
    sent = torch.stack([value.double() for value in (*values.values(), asked)])
    *shared, asked_any = peers.mean(sent).tolist()
    row = dict(zip(values, shared, strict=True))

    return {"step": step, **row}, asked_any > 0


def refuse_not_finite(row: Row, studies: Iterable[str]) -> None:
    """Stop before the optimiser uses what is not finite.

    Raises:
        NotFiniteError: names the figures, and the studies of the batch as the cohort calls them.
    """
    bad = {name: value for name, value in row.items() if not math.isfinite(value)}
    if bad:
        raise NotFiniteError(
            f"step {row['step']} must have finite losses and gradients, got {bad}; the parameters "
            f"were not touched; studies of the batch: {', '.join(studies)}"
        )


def refuse_score(step: int, score: float | None) -> None:
    """Stop before a checkpoint is ranked by a score that is none.

    Raises:
        NotFiniteError: names the step and the score.
    """
    if score is not None and not math.isfinite(score):
        raise NotFiniteError(
            f"the loss on the split val after step {step} must be finite, got {score}; nothing was "
            f"saved for this step: go on from the one before with a lower train.lr"
        )
