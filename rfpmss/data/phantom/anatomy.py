"""A head with a glioma as a function of its own coordinates, and how MRI and CT see it.

Coordinates are millimetres, x to the patient's Left, y to Posterior, z to Superior (the
axes of DICOM). An axial array indexed [z, y, x] therefore shows the patient's right on the left
of the image, the radiological convention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int16, UInt8
from scipy.ndimage import uniform_filter

from rfpmss.data.phantom.latents import ENHANCEMENTS, Latents
from rfpmss.data.phantom.pose import FIELD, STRAIGHT, Points, Pose
from rfpmss.data.phantom.scanner import HOME, Scanner

HALF = FIELD / 2
"""Unit of the head's shape, mm."""

(AIR, SKULL, GREY, WHITE, CSF, EDEMA, TUMOUR, NECROSIS, ENHANCING, BLOOD, CALCIUM) = range(11)

# Lobe centres of the right side, in units of HALF (x, y) and mm (z).
CENTRES = {
    "frontal": (-0.30, -0.50, 5.0),
    "temporal": (-0.52, -0.02, -15.0),
    "parietal": (-0.34, 0.20, 20.0),
    "occipital": (-0.25, 0.60, 0.0),
}
OFF = {"frontal": 36.0, "temporal": -36.0, "parietal": 36.0, "occipital": -36.0}
"""Height of the mass, mm, where ``PhantomConfig.level`` is off."""
RIM = {"mild": 1.25, "moderate": 1.6, "marked": 2.0}
"""Outer radius of the oedema in units of the tumour's radius."""
PUSH = np.float32(0.45)
"""How far a tumour with mass effect displaces its surroundings, in units of its radius."""

#                        air  skull grey white  csf edema tumour necrosis enh blood calcium
MRI = {
    "t1": np.array([0.0, 0.70, 0.45, 0.65, 0.15, 0.42, 0.40, 0.20, 0.42, 0.50, 0.35], np.float32),
    "t1ce": np.array([0.0, 0.80, 0.45, 0.65, 0.15, 0.42, 0.42, 0.20, 1.0, 0.50, 0.35], np.float32),
    "t2": np.array([0.0, 0.30, 0.55, 0.40, 0.95, 0.85, 0.75, 0.95, 0.70, 0.60, 0.50], np.float32),
    "flair": np.array([0.0, 0.3, 0.50, 0.40, 0.12, 0.90, 0.80, 0.35, 0.75, 0.65, 0.5], np.float32),
}
UNITS = 125
"""Stored steps of an MRI intensity of one: a quarter of the noise's deviation each, no finer."""
CT = np.array([-1000, 900, 37, 30, 8, 22, 36, 14, 38, 66, 160], np.float32)
"""Hounsfield units."""
SEGMENTATION = np.array([0, 0, 0, 0, 0, 2, 1, 1, 4, 1, 1], np.uint8)
"""BraTS labels: 1 core without enhancement, 2 oedema, 4 enhancing."""


Marks = Mapping[str, Sequence[tuple[Bool[np.ndarray, "z y x"], float]]]
"""What a series shows besides the tissue, by its name: where, and how bright."""
NOTHING: Marks = {}


@dataclass(frozen=True)
class Head:
    """Nuisance of one patient: shape, place and irregularity. Fixed before any image is drawn."""

    axes: tuple[float, float, float]
    shift: tuple[float, float]
    tumour: tuple[float, float, float]
    lobes: tuple[float, ...]
    waves: Float32[np.ndarray, "w 4"]
    latents: Latents

    @classmethod
    def draw(cls, latents: Latents, rng: np.random.Generator, *, off: bool = False) -> Head:
        """A head for these findings; ``off``: the mass lies off the middle, as `OFF` says."""
        axes = (
            HALF * rng.uniform(0.74, 0.82),
            HALF * rng.uniform(0.88, 0.95),
            HALF * rng.uniform(0.76, 0.86),
        )
        shift = (HALF * rng.uniform(-0.04, 0.04), HALF * rng.uniform(-0.04, 0.04))
        x, y, z = CENTRES[latents.lobe]
        z = OFF[latents.lobe] if off else z
        x = x * axes[0] / 0.78 + rng.normal(0, 3.0)
        if latents.side == "left":
            x = -x

        tumour = (
            x + shift[0],
            y * axes[1] / 0.9 + rng.normal(0, 3.0) + shift[1],
            z + rng.normal(0, 3.0),
        )
        waves = np.concatenate(
            [rng.normal(0, 1, (12, 3)), rng.uniform(0, 2 * np.pi, (12, 1))], axis=1
        ).astype(np.float32)
        return cls(axes, shift, tumour, tuple(rng.uniform(0, 2 * np.pi, 3)), waves, latents)


def tissue(
    head: Head, shape: tuple[int, int, int], *, pushed: bool = False, pose: Pose = STRAIGHT
) -> UInt8[np.ndarray, "z y x"]:
    """Which tissue fills each voxel; ``pushed``: the brain gives way to the tumour."""
    at = z, y, x = pose.grid(shape)
    a, b, c = head.axes
    x0, y0 = head.shift
    # |p / axes|^2: below 1 is brain, up to 1.3 is skull, which does not give way.
    radius = ((x - x0) / a) ** 2 + ((y - y0) / b) ** 2 + (z / c) ** 2

    if pushed:
        z, y, x = _pulled_back(head, at)

    folds = _waves(head.waves[:4], 0.07, z, y, x)
    inner = ((x - x0) / (0.72 * a)) ** 2 + ((y - y0) / (0.75 * b)) ** 2 + (z / (0.8 * c)) ** 2
    label = np.zeros(radius.shape, np.uint8)
    label[radius < 1.3] = SKULL
    brain = radius < 1
    label[brain] = GREY
    label[brain & (inner + 0.08 * folds < 1)] = WHITE

    for middle in (-0.1, 0.1):
        u, v = (x - x0 - HALF * middle) / 8.5, (y - y0 + 4.0) / 13.0
        label[brain & (u**2 + v**2 + ((z - 2) / 22.0) ** 2 < 1)] = CSF

    _grow(label, brain, head, at)
    return label


def _pulled_back(head: Head, at: Points) -> list[Float32[np.ndarray, "z y x"]]:
    """Where what is now at ``at`` was before the tumour pushed it away, most at its rim."""
    steps = [
        p - np.float32(t) for p, t in zip(at, (head.tumour[i] for i in (2, 1, 0)), strict=True)
    ]
    radius = np.float32(head.latents.size / 2)
    distance = np.sqrt(sum(step**2 for step in steps)) + np.float32(1e-3)
    near = np.minimum(distance / radius, 1)
    push = PUSH * radius * near * np.exp(-np.maximum(distance - radius, 0) / (1.5 * radius))

    return [p - push * step / distance for p, step in zip(at, steps, strict=True)]


def _grow(label: UInt8[np.ndarray, "z y x"], brain: np.ndarray, head: Head, at: Points) -> None:
    """Put the tumour and its oedema into ``label``."""
    latents = head.latents
    near, (dz, dy, dx) = _around(at, head.tumour, 0.75 * latents.size * RIM[latents.edema])
    angle = np.arctan2(dy, dx)
    ripple = 1 + sum(
        0.15 / k * np.cos(k * angle + phase) for k, phase in zip((2, 3, 4), head.lobes, strict=True)
    )
    distance = np.sqrt(dx**2 + dy**2 + dz**2) / (latents.size / 2 * ripple)
    part, inside = label[near], brain[near]  # a view: what is put there is in the label
    core = (distance < 1) & inside
    part[(distance < RIM[latents.edema]) & inside & ~core] = EDEMA
    part[core] = TUMOUR
    grain = _waves(head.waves[4:], 0.42, dz, dy, dx)
    if latents.enhancement == ENHANCEMENTS[2]:
        part[core & (distance > 0.7)] = ENHANCING
    elif latents.enhancement == ENHANCEMENTS[1]:
        part[core & (grain > 0.1)] = ENHANCING

    if latents.necrosis:
        part[(distance < 0.55) & inside] = NECROSIS


def _around(
    at: Points, centre: tuple[float, float, float], reach: float
) -> tuple[tuple[slice, ...], Points]:
    """The smallest box of voxels that holds all within ``reach`` of the centre along each axis.

    Returns:
        The box, and the places of its voxels seen from the centre (x, y, z), as z, y, x.
    """
    steps = [p - c for p, c in zip(at, centre[::-1], strict=True)]
    inside = np.abs(steps[0]) < reach
    for step in steps[1:]:
        inside = inside & (np.abs(step) < reach)

    box = tuple(
        slice(found[0], found[-1] + 1) if len(found) else slice(0)
        for axis in range(3)
        for found in [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))]
    )
    z, y, x = (
        step[tuple(s if n > 1 else slice(None) for s, n in zip(box, step.shape, strict=True))]
        for step in steps
    )
    return box, (z, y, x)


def _waves(waves: np.ndarray, frequency: float, *at: np.ndarray) -> Float32[np.ndarray, "z y x"]:
    """A smooth random field of about unit variance, the same on every grid (radians per mm)."""
    total: np.ndarray = np.zeros((1, 1, 1), np.float32)
    for *k, phase in waves:
        total = total + np.cos(
            sum(np.float32(frequency * k[i]) * at[i] for i in range(3)) + np.float32(phase)
        )
    return np.asarray(total * np.float32(np.sqrt(2 / len(waves))), np.float32)


def mri(
    label: UInt8[np.ndarray, "z y x"],
    rng: np.random.Generator,
    scanner: Scanner = HOME,
    faint: Head | None = None,
    *,
    pose: Pose = STRAIGHT,
    marks: Marks = NOTHING,
) -> dict[str, Int16[np.ndarray, "z y x"]]:
    """The four sequences with bias field, gain and noise.

    Args:
        label: of `tissue`.
        rng: of the patient.
        scanner: of the hospital.
        faint: the head, if its tumour is to be no brighter than the brain.
        pose: of the label.
        marks: what else a sequence shows, in units of its brightest tissue.
    """
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in label.shape)
    volumes = {}
    for gamma, (name, bright) in zip(scanner.gamma, MRI.items(), strict=True):
        table = bright if gamma == 1 else bright ** np.float32(gamma)
        k = rng.normal(0, scanner.bias, 3).astype(np.float32)
        bias = np.exp(k[0] * z[:, None, None] + k[1] * y[:, None] + k[2] * x) * np.float32(
            rng.uniform(0.9, 1.1)
        )
        if faint is None:
            image = table[label]
        else:
            image = _faint(table, label, faint, pose.grid(_shape(label)), name == "t1ce")
        for where, value in marks.get(name, ()):
            image[where] = value**gamma
        for _ in range(scanner.passes):
            image = _soften(image)
        image = image * bias
        noise = rng.standard_normal(label.shape, np.float32)
        image += noise * np.where(label > AIR, np.float32(scanner.noise), np.float32(0.008))
        volumes[name] = np.clip(np.round(image * UNITS), 0, 4 * UNITS).astype(np.int16)

    return volumes


def ct(
    label: UInt8[np.ndarray, "z y x"],
    head: Head,
    rng: np.random.Generator,
    scanner: Scanner = HOME,
    *,
    faint: bool = False,
    pose: Pose = STRAIGHT,
    marks: Marks = NOTHING,
) -> Int16[np.ndarray, "z y x"]:
    """Hounsfield units, with blood and calcium where the findings have them; `mri` for the rest."""
    label = label.copy()
    at = z, y, x = pose.grid(_shape(label))
    tx, ty, tz = head.tumour
    core = (label == TUMOUR) | (label == NECROSIS) | (label == ENHANCING)
    distance = np.sqrt((x - tx) ** 2 + (y - ty) ** 2 + (z - tz) ** 2) / (head.latents.size / 2)
    if head.latents.hemorrhage:
        label[core & (distance < 0.5)] = BLOOD

    if head.latents.calcification:
        grain = _waves(head.waves[4:], 0.55, z - tz, y - ty, x - tx)
        label[core & (distance > 0.35) & (grain > 0.6)] = CALCIUM

    noise = rng.standard_normal(label.shape, np.float32) * np.float32(scanner.grain)
    image = _faint(CT, label, head, at, enhanced=False) if faint else CT[label]
    for where, value in marks.get("ct", ()):
        image[where] = value

    for _ in range(scanner.passes):
        image = _soften(image)

    return np.round(image + np.float32(scanner.offset) + noise).astype(np.int16)


def _faint(
    table: Float32[np.ndarray, " tissues"],
    label: UInt8[np.ndarray, "z y x"],
    head: Head,
    at: Points,
    enhanced: bool,  # noqa: FBT001 - a property of the sequence, not a switch
) -> Float32[np.ndarray, "z y x"]:
    """The tumour in the mean brightness of the brain: a grain marks it, its absence necrosis.

    The grain of the tumour is fine, that of the oedema coarse and weak; enhancing parts have a
    stronger one after contrast.
    """
    z, y, x = at
    tx, ty, tz = head.tumour
    at = (z - np.float32(tz), y - np.float32(ty), x - np.float32(tx))
    image = table[label]
    brain = (table[GREY] + table[WHITE]) / 2
    unit = np.float32(0.25) * max(brain, table[GREY] - table[WHITE])
    fine = np.sign(_waves(head.waves[4:], 0.6, *at))
    coarse = _waves(head.waves[:4], 0.3, *at)
    for tissue_of, grain, strength in (
        (EDEMA, coarse, 0.5),
        (TUMOUR, fine, 1.0),
        (ENHANCING, fine, 1.6 if enhanced else 1.0),
        (NECROSIS, fine, 0.0),
    ):
        here = label == tissue_of
        image[here] = brain + np.float32(strength) * unit * grain[here]

    return image


def _shape(label: UInt8[np.ndarray, "z y x"]) -> tuple[int, int, int]:
    """Voxels along x, y, z."""
    return label.shape[2], label.shape[1], label.shape[0]


def _soften(image: Float32[np.ndarray, "z y x"]) -> Float32[np.ndarray, "z y x"]:
    """In-plane partial volume: half the voxel, half the mean of its nine neighbours."""
    return 0.5 * image + 0.5 * uniform_filter(image, (1, 3, 3), mode="nearest")  # pyright: ignore[reportArgumentType]


def segmentation(label: UInt8[np.ndarray, "z y x"]) -> UInt8[np.ndarray, "z y x"]:
    """The mask in BraTS labels 0/1/2/4."""
    return SEGMENTATION[label]
