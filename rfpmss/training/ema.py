"""Weights averaged over the steps, evaluated beside the last ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of ``model`` whose weights follow it; call ``update_parameters(model)`` each step.

    Polyak and Juditsky 1992, with the warm-up of TensorFlow's `ExponentialMovingAverage`:
    after n updates the average keeps min(decay, (1 + n) / (10 + n)) of itself, so that the first
    steps are soon forgotten. The copy is ``.module``; it is saved like any module.

    Raises:
        ValueError: when ``decay`` does not lie in [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay must lie in [0, 1), got {decay}")

    @torch.no_grad()
    def follow(average: Sequence[Tensor], new: Sequence[Tensor], updates: Tensor | int) -> None:
        keep = min(decay, (1 + float(updates)) / (10 + float(updates)))
        for old, tensor in zip(average, new, strict=True):
            if old.is_floating_point():
                old.lerp_(tensor, 1 - keep)
            else:
                old.copy_(tensor)

    return AveragedModel(model, multi_avg_fn=follow, use_buffers=True)
