"""The pathology slide of a generated patient: nuclei, necrosis, vessels, blank glass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from rfpmss.data.phantom.latents import Latents
from rfpmss.data.phantom.scanner import HOME, Scanner, stained

EXTENT = 1024.0
"""Side of the scanned area, microns."""
NUCLEI = {"low": 600.0, "moderate": 1350.0, "high": 2700.0}
"""Nuclei per square millimetre."""
FOCUS = 150.0
"""Spacing of necrotic foci and vessels, microns: every tile of that size shows one."""
GLASS = np.array([0.955, 0.95, 0.955], np.float32)
STROMA = np.array([0.92, 0.74, 0.85], np.float32)
DEAD = np.array([0.95, 0.84, 0.87], np.float32)
NUCLEUS = np.array([0.38, 0.25, 0.60], np.float32)
WALL = np.array([0.55, 0.22, 0.50], np.float32)
LUMEN = np.array([0.90, 0.35, 0.40], np.float32)


@dataclass(frozen=True, kw_only=True)
class Deposit:
    """Clusters of dots, one near each lattice point."""

    colour: tuple[float, float, float]
    dots: int
    """Of each cluster."""
    spread: float
    """Deviation of the dots from the middle of their cluster, microns."""
    radius: float
    """Of a dot, microns."""
    rng: np.random.Generator


def paint(
    latents: Latents,
    size: int,
    rng: np.random.Generator,
    scanner: Scanner = HOME,
    also: Sequence[Deposit] = (),
) -> UInt8[np.ndarray, "size size 3"]:
    """The slide at full resolution, ``size`` pixels for `EXTENT` microns.

    Args:
        latents: findings.
        size: pixels of a side.
        rng: of the patient.
        scanner: of the hospital.
        also: what else is seen everywhere in the tissue.
    """
    micron = size / EXTENT
    tissue = _outline(size, rng)
    tint = rng.normal(0, 0.015, 3).astype(np.float32)
    image = np.empty((size, size, 3), np.float32)
    image[:] = GLASS
    image[tissue] = STROMA + tint
    dead = np.zeros((size, size), bool)
    palisade = np.empty((0, 2))
    if latents.necrosis:
        centres = _foci(size, micron, rng)
        radius = 19.0 * micron
        for centre in centres:
            _disc(dead, centre, radius * rng.uniform(0.85, 1.2))
        dead &= tissue
        image[dead] = DEAD + tint
        angles = rng.uniform(0, 2 * np.pi, (len(centres), 22, 1))
        ring = np.concatenate([np.sin(angles), np.cos(angles)], axis=2) * radius * 1.3
        palisade = (centres[:, None] + ring).reshape(-1, 2)

    count = int(NUCLEI[latents.density] * rng.uniform(0.87, 1.13) * (EXTENT / 1000) ** 2)
    points = np.vstack([rng.uniform(0, size, (count, 2)), palisade])
    _stamp(image, points, tissue & ~dead, 4.0 * micron * (1.2 if latents.grade > 2 else 1.0), rng)

    if latents.proliferation:
        _vessels(image, tissue, micron, rng)

    for deposit in also:
        _scatter(image, tissue, micron, deposit)

    if scanner.stain is not None:
        image = stained(image, scanner.stain)

    image += (rng.standard_normal((size, size, 1), np.float32)) * np.float32(0.012)
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _outline(size: int, rng: np.random.Generator) -> Bool[np.ndarray, "size size"]:
    """One piece of tissue that leaves the rim of the glass blank."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / (size - 1) * 2 - 1
    angle = np.arctan2(y, x)
    edge = 0.82 + sum(
        np.float32(0.12 / k) * np.cos(k * angle + np.float32(rng.uniform(0, 6.28)))
        for k in (1, 2, 3)
    )
    return np.hypot(x, y) < edge


def _foci(size: int, micron: float, rng: np.random.Generator) -> np.ndarray:
    """Jittered lattice points, rows of (y, x) in pixels."""
    step = FOCUS * micron * 0.7
    axis = np.arange(step / 2, size, step)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return points + rng.uniform(-0.2, 0.2, points.shape) * step


def _disc(mask: Bool[np.ndarray, "size size"], centre: np.ndarray, radius: float) -> None:
    low = np.maximum(np.floor(centre - radius).astype(int), 0)
    high = np.ceil(centre + radius).astype(int) + 1
    part = mask[low[0] : high[0], low[1] : high[1]]
    y, x = np.ogrid[: part.shape[0], : part.shape[1]]
    part |= (y + low[0] - centre[0]) ** 2 + (x + low[1] - centre[1]) ** 2 < radius**2


def _stamp(
    image: Float32[np.ndarray, "size size 3"],
    points: np.ndarray,
    allowed: Bool[np.ndarray, "size size"],
    radius: float,
    rng: np.random.Generator,
) -> None:
    """Draw all nuclei at once as small ellipses."""
    reach = max(int(np.ceil(radius * 1.3)), 1)
    steps = np.arange(-reach, reach + 1)
    size = image.shape[0]
    spread = radius * rng.uniform(0.75, 1.25, (len(points), 2))
    corner = np.floor(points).astype(int)
    y = corner[:, 0, None] + steps
    x = corner[:, 1, None] + steps
    inside = ((y - points[:, :1]) / spread[:, :1])[:, :, None] ** 2 + (
        (x - points[:, 1:]) / spread[:, 1:]
    )[:, None, :] ** 2 < 1
    inside &= ((y >= 0) & (y < size))[:, :, None] & ((x >= 0) & (x < size))[:, None, :]
    which, row, column = np.nonzero(inside)
    ys, xs = y[which, row], x[which, column]
    keep = allowed[ys, xs]
    shade = rng.normal(0, 0.04, (len(points), 3)).astype(np.float32)
    image[ys[keep], xs[keep]] = NUCLEUS + shade[which[keep]]


def _vessels(
    image: Float32[np.ndarray, "size size 3"],
    tissue: Bool[np.ndarray, "size size"],
    micron: float,
    rng: np.random.Generator,
) -> None:
    """Glomeruloid vessels: a dark wall around a red lumen."""
    wall, lumen = np.zeros_like(tissue), np.zeros_like(tissue)
    for centre in _foci(tissue.shape[0], micron, rng) + FOCUS * micron * 0.3:
        if (centre < tissue.shape[0]).all():
            _disc(wall, centre, 13.0 * micron)
            _disc(lumen, centre, 6.5 * micron)

    image[wall & tissue] = WALL
    image[lumen & tissue] = LUMEN


def _scatter(
    image: Float32[np.ndarray, "size size 3"],
    tissue: Bool[np.ndarray, "size size"],
    micron: float,
    deposit: Deposit,
) -> None:
    size, mask = image.shape[0], np.zeros_like(tissue)
    for centre in _foci(size, micron, deposit.rng):
        for place in centre + deposit.rng.normal(0, deposit.spread * micron, (deposit.dots, 2)):
            if (place >= 0).all() and (place < size).all():
                _disc(mask, place, deposit.radius * micron)

    image[mask & tissue] = deposit.colour
