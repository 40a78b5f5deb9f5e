"""One draw a study: crop, rotation, flip and grey values, the same for all its views and text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from rfpmss.config import VIEWS, DataConfig

GREY_RANGE = 4.0
"""What ``DataConfig.brightness`` is a share of: from -2 to 2 standard deviations."""
_DRAWS = 5 + 2 * len(VIEWS)


@dataclass(frozen=True)
class Draw:
    """What happens to each study of a batch."""

    flip: Bool[np.ndarray, " b"]
    """Mirror the images left to right and swap the words."""
    angle: Float64[np.ndarray, " b"]
    """Rotation, radians."""
    shift: Float64[np.ndarray, "b 2"]
    """Place of the crop, x and y, -1 (first) to 1 (last)."""
    pick: Float64[np.ndarray, " b"]
    """Which of the stored images, 0 to 1."""
    brightness: Float64[np.ndarray, "b v"]
    """Added to each view, standard deviations."""
    contrast: Float64[np.ndarray, "b v"]
    """Factor on each view."""


def uniform(
    seed: int, epoch: int, index: Int64[np.ndarray, " b"], draws: int
) -> Float64[np.ndarray, "b draws"]:
    """Random numbers in [0, 1) as a pure function of their coordinates (splitmix64).

    The draw of a study does not depend on its batch, on the order or on earlier draws.
    """
    with np.errstate(over="ignore"):
        state = np.full(index.shape, np.uint64(seed % 2**64))
        for part in (np.uint64(epoch % 2**64), index.astype(np.uint64)):
            state = _mix(state + np.uint64(0x9E3779B97F4A7C15)) ^ part
        counter = np.arange(1, draws + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        bits = _mix(_mix(state)[:, None] + counter)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def draw(config: DataConfig, seed: int, epoch: int, index: Int64[np.ndarray, " b"]) -> Draw:
    """The draw of each study in one epoch."""
    u = uniform(seed, epoch, index, _DRAWS)
    views = len(VIEWS)
    return Draw(
        flip=u[:, 0] < config.flip,
        angle=np.radians(config.rotation) * (2 * u[:, 1] - 1),
        shift=2 * u[:, 2:4] - 1,
        pick=u[:, 4],
        brightness=config.brightness * GREY_RANGE * (2 * u[:, 5 : 5 + views] - 1),
        contrast=1 + config.contrast * (2 * u[:, 5 + views :] - 1),
    )


def apply(
    images: Float32[Tensor, "b s c h w"], config: DataConfig, drawn: Draw, view: int
) -> Float32[Tensor, "b s c size size"]:
    """Resize, rotate, crop and flip in one sampling, then change the grey values."""
    b, s, c, _, _ = images.shape
    images = _shrink(images, config.resize)
    shape = [b, 1, config.size, config.size]
    grid = F.affine_grid(_affine(config, drawn), shape, align_corners=False)
    flat = images.reshape(b, s * c, *images.shape[-2:])
    flat = F.grid_sample(flat, grid, padding_mode="border", align_corners=False)
    result = flat.reshape(b, s, c, config.size, config.size)
    factor = torch.from_numpy(drawn.contrast[:, view].astype(np.float32))
    offset = torch.from_numpy(drawn.brightness[:, view].astype(np.float32))
    return result.mul_(factor.view(-1, 1, 1, 1, 1)).add_(offset.view(-1, 1, 1, 1, 1))


def _affine(config: DataConfig, drawn: Draw) -> Float32[Tensor, "b 2 3"]:
    """From the crop's coordinates to the resized image's, both from -1 to 1.

    The crop is taken from the rotated image; a flip mirrors the result, so that the flipped crop
    is exactly the mirror image of the unflipped one.
    """
    ratio = config.size / config.resize
    cosine, sine = np.cos(drawn.angle), np.sin(drawn.angle)
    mirror = np.where(drawn.flip, -1.0, 1.0)
    x, y = (1 - ratio) * drawn.shift.T
    rows = [
        [cosine * ratio * mirror, -sine * ratio, cosine * x - sine * y],
        [sine * ratio * mirror, cosine * ratio, sine * x + cosine * y],
    ]
    return torch.from_numpy(np.array(rows).transpose(2, 0, 1).astype(np.float32))


def centre(
    images: Float32[Tensor, "b s c h w"], config: DataConfig
) -> Float32[Tensor, "b s c u v"]:
    """The middle of the resized images, without any draw."""
    b, s, c, _, _ = images.shape
    side = config.resize
    if images.shape[-1] != side:
        flat = images.reshape(b * s, c, *images.shape[-2:])
        flat = F.interpolate(
            flat, (side, side), mode="bilinear", antialias=True, align_corners=False
        )
        images = flat.reshape(b, s, c, side, side)
    low = (side - config.size) // 2
    return images[..., low : low + config.size, low : low + config.size].contiguous()


def _shrink(images: Float32[Tensor, "b s c h w"], side: int) -> Float32[Tensor, "b s c u v"]:
    """Antialias first where one sampling step would skip pixels."""
    if images.shape[-1] <= 1.25 * side:
        return images
    b, s, c, h, w = images.shape
    flat = F.interpolate(
        images.reshape(b * s, c, h, w),
        (side, side),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    return flat.reshape(b, s, c, side, side)
