"""One draw a study: crop, rotation, flip and grey values; the flip is that of all views and text.

With ``DataConfig.draw`` of ``view`` each view is rotated and cropped by a draw of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Complex64, Float32, Float64, Int64, UInt8
from torch import Tensor

from rfpmss.config import VIEWS, DataConfig

GREY_RANGE = 4.0
"""What ``DataConfig.brightness`` is a share of: from -2 to 2 standard deviations."""
_DRAWS = 5 + 2 * len(VIEWS)
_OWN = 3 * len(VIEWS)
"""Further draws where each view has a rotation and a crop of its own."""
SEQUENCES = 64
"""Most sequences of boxes of a study, two more draws each."""

Scale = tuple[Float64[np.ndarray, " c"], Float64[np.ndarray, " c"]]
"""Gain and offset of each channel: value = gain * stored + offset."""


@dataclass(frozen=True)
class Draw:
    """What happens to each study of a batch."""

    flip: Bool[np.ndarray, " b"]
    """Mirror the images left to right and swap the words."""
    angle: Float64[np.ndarray, "b v"]
    """Rotation of each view, radians."""
    shift: Float64[np.ndarray, "b v 2"]
    """Place of each view's crop, x and y, -1 (first) to 1 (last)."""
    pick: Float64[np.ndarray, " b"]
    """Which of the stored images, 0 to 1."""
    brightness: Float64[np.ndarray, "b v"]
    """Added to each view, standard deviations."""
    contrast: Float64[np.ndarray, "b v"]
    """Factor on each view."""
    sequences: Float64[np.ndarray, "b n 2"]
    """Of boxes: whether each sequence is left out, and whether it keeps its name, 0 to 1."""

    def of(self, studies: list[int]) -> Draw:
        """The draws of some studies of the batch."""
        return Draw(**{name: value[studies] for name, value in vars(self).items()})


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
    further = 2 * SEQUENCES if config.depth else 0
    u = uniform(seed, epoch, index, _DRAWS + _OWN + further)
    views = len(VIEWS)
    if config.draw == "view":
        pose = u[:, _DRAWS : _DRAWS + _OWN].reshape(-1, views, 3)
    else:
        pose = np.repeat(u[:, None, 1:4], views, axis=1)

    return Draw(
        flip=u[:, 0] < config.flip,
        angle=np.radians(config.rotation) * (2 * pose[:, :, 0] - 1),
        shift=2 * pose[:, :, 1:] - 1,
        pick=u[:, 4],
        brightness=config.brightness * GREY_RANGE * (2 * u[:, 5 : 5 + views] - 1),
        contrast=1 + config.contrast * (2 * u[:, 5 + views : _DRAWS] - 1),
        sequences=u[:, _DRAWS + _OWN :].reshape(len(index), -1, 2),
    )


def apply(
    images: Float32[Tensor, "b s c h w"] | UInt8[Tensor, "b s c h w"],
    config: DataConfig,
    drawn: Draw,
    view: int,
    scale: Scale,
    into: Sequence[Float32[Tensor, "s c size size"]],
) -> None:
    """Resize, rotate, crop and flip in one sampling; grey values change while they are written.

    Study by study, so that all between the stored image and the result stays in the cache.

    Args:
        images: what is stored, one stack a study.
        config: sizes.
        drawn: one draw a study.
        view: position in VIEWS.
        scale: from stored numbers to values.
        into: where the results go, one a study.
    """
    b, s, c, h, w = images.shape
    size = config.size
    contrast, brightness = drawn.contrast[:, view, None], drawn.brightness[:, view, None]
    gains, offsets = (
        torch.from_numpy(value.astype(np.float32)).view(b, c, 1, 1)
        for value in (contrast * scale[0], contrast * scale[1] + brightness)
    )
    columns, rows = _axes(config, drawn, view)
    points = torch.empty(size, size, dtype=torch.complex64)
    grid = torch.view_as_real(points)[None]
    values = empty(1, s * c, h, w)
    for study in range(b):
        values.copy_(images[study].reshape(1, s * c, h, w))
        torch.add(rows[study, :, None], columns[study], out=points)
        sampled = F.grid_sample(
            _shrink(values, config.resize), grid, padding_mode="border", align_corners=False
        ).view(s, c, size, size)
        torch.addcmul(offsets[study], sampled, gains[study], out=into[study])


def _axes(
    config: DataConfig, drawn: Draw, view: int
) -> tuple[Complex64[Tensor, "b size"], Complex64[Tensor, "b size"]]:
    """Where the crop's columns and rows lie in the resized image, as x + iy from -1 to 1.

    Pixel (i, j) of the crop is at ``rows[i] + columns[j]``. The crop is taken from the rotated
    image; a flip turns the columns round, so that the flipped crop is the mirror image of the
    unflipped one to the last bit.
    """
    size, ratio = config.size, config.size / config.resize
    steps = (2 * np.arange(size) + 1 - size) / size  # exactly antisymmetric
    turn = np.exp(1j * drawn.angle[:, view])[:, None]
    mirror = np.where(drawn.flip, -1.0, 1.0)[:, None]
    x, y = (1 - ratio) * drawn.shift[:, view].T[:, :, None]
    columns = turn * (ratio * mirror * steps)
    rows = turn * (x + 1j * y + 1j * ratio * steps)

    return (
        torch.from_numpy(columns.astype(np.complex64)),
        torch.from_numpy(rows.astype(np.complex64)),
    )


def empty(*shape: int) -> Float32[Tensor, "*shape"]:
    """New memory; NumPy asks for huge pages, which large batches fill four times as fast."""
    return torch.from_numpy(np.empty(shape, np.float32))


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


def _shrink(images: Float32[Tensor, "b c h w"], side: int) -> Float32[Tensor, "b c u v"]:
    """Antialias first where one sampling step would skip pixels."""
    if images.shape[-1] <= 1.25 * side:
        return images
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)
