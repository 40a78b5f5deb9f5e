"""The paper's two stages: train the backbone first, then projections and anchors on top of it."""

from __future__ import annotations

from typing import Literal

from rfpmss.config import LossConfig
from rfpmss.config.sections import TERMS
from rfpmss.model.rfpmss import RFPMSS

Stage = Literal["joint", "backbone", "heads"]

PARTS = {
    "joint": ("image", "fuse", "report", "decoder", "project", "anchors"),
    "backbone": ("image", "fuse", "report", "decoder"),
    "heads": ("project", "anchors"),
}
"""Parts of the model that learn in a stage; the others are frozen."""

LOSSES = {
    "joint": TERMS,
    "backbone": ("language", "contrast"),
    "heads": ("nce", "consistency"),
}
"""Losses that count in a stage."""


def train_only(model: RFPMSS, stage: Stage) -> None:
    """Let the parts of a stage learn and freeze the others; layers frozen for good stay frozen."""
    for name, part in model.named_children():
        part.requires_grad_(name in PARTS[stage])
    model.report.freeze()


def weights_of(stage: Stage, config: LossConfig) -> LossConfig:
    """Loss weights of a stage: those of the other stage's losses are zero.

    Example:
        >>> weights_of("heads", LossConfig()).language
        0.0
    """
    off = {name: 0.0 for name in LOSSES["joint"] if name not in LOSSES[stage]}
    return config.model_copy(update=off)


def train_mode(model: RFPMSS) -> None:
    """Training mode for the parts that learn; frozen ones stay as they are evaluated."""
    model.train()
    for part in model.children():
        # Fusion may have no parameters: it goes with the encoders.
        parameters = list(part.parameters()) or list(model.image.parameters())
        if not any(parameter.requires_grad for parameter in parameters):
            part.eval()
