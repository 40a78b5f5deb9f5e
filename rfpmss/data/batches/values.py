"""What the stored 8 bits of a view mean: values about zero mean and unit variance."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from rfpmss.config import VIEWS
from rfpmss.data.batches.augment import Scale
from rfpmss.data.study import CODE_STEP, CODE_ZERO

STAIN_MEAN = (0.88, 0.76, 0.85)
STAIN_DEVIATION = (0.15, 0.20, 0.13)
"""Typical haematoxylin and eosin, red-green-blue of 0 to 1."""


def scale(view: int, channels: int) -> Scale:
    """What turns the stored codes of each channel of a view into values."""
    if VIEWS[view] != "pathology":
        return np.full(channels, 1 / CODE_STEP), np.full(channels, -CODE_ZERO / CODE_STEP)

    mean, deviation = np.array(STAIN_MEAN), np.array(STAIN_DEVIATION)
    return 1 / (255 * deviation), -mean / deviation


def decode(codes: UInt8[Tensor, "b s c h w"], view: int) -> Float32[Tensor, "b s c h w"]:
    """The values of stored images."""
    values = (torch.from_numpy(v.astype(np.float32)) for v in scale(view, codes.shape[2]))
    gain, offset = (value.view(-1, 1, 1) for value in values)
    return codes.to(torch.float32).mul_(gain).add_(offset)
