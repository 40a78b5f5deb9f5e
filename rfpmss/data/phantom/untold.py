"""Findings of the second edition that one modality alone shows and no report mentions.

They are independent of each other and of all that a report states, so that only the images can tell
them: what a contrast with reports has no reason to keep. Each is drawn through a thick layer around
the tumour, because a small preset sees one slice; more often than in life, because few-label probes
need both kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from rfpmss.data.phantom.anatomy import AIR, GREY, HALF, WHITE, Head, Marks
from rfpmss.data.phantom.pose import Points
from rfpmss.data.phantom.slide import Deposit

SHARE = 0.4
"""Probability of each."""
LAYER = 18.0
"""Half the thickness of what is drawn, mm."""
APART = 1.2
"""Least angle between the tumour and what is drawn at the rim, seen from the middle, radians."""

Where = Bool[np.ndarray, "z y x"]


@dataclass(frozen=True, kw_only=True)
class Untold:
    """What of these a patient has."""

    infarct: bool
    """An old wedge-shaped defect of the cortex, dark on CT."""
    shunt: bool
    """A catheter from the skull to a ventricle, bright on CT."""
    microbleeds: bool
    """Scattered dots, dark on T2."""
    leukoaraiosis: bool
    """Patches beside the ventricles, bright on FLAIR."""
    hemosiderin: bool
    """Brown pigment in the slide."""
    lymphocytes: bool
    """Clusters of small dark nuclei in the slide."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Untold:
        """Each by itself."""
        return cls(**{field.name: bool(rng.random() < SHARE) for field in fields(cls)})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Untold:
        """The record of ``truth.json``.

        Raises:
            KeyError: if a finding is missing.
            TypeError: if one is not true or false.
        """
        found = {field.name: record[field.name] for field in fields(cls)}
        for name, value in found.items():
            if not isinstance(value, bool):
                raise TypeError(f"{name} must be true or false")

        return cls(**found)

    def as_dict(self) -> dict[str, bool]:
        """A record for JSON."""
        return asdict(self)

    def labels(self, shown: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        """As text, for the manifest: those that one of the modalities ``shown`` can tell."""
        return tuple(
            (name, "yes" if value else "no")
            for name, value in asdict(self).items()
            if SHOWN_BY[name] in shown
        )


SHOWN_BY = {
    **{"infarct": "ct", "shunt": "ct"},
    **{"microbleeds": "mri", "leukoaraiosis": "mri"},
    **{"hemosiderin": "pathology", "lymphocytes": "pathology"},
}
"""The modality that shows each."""


def in_ct(
    untold: Untold,
    head: Head,
    label: UInt8[np.ndarray, "z y x"],
    at: Points,
    rng: np.random.Generator,
) -> Marks:
    """What CT shows of them, in Hounsfield units."""
    z, y, x = _centred(head, at)
    places = _angle_of_tumour(head) + rng.uniform(APART, 2 * np.pi - APART, 2)
    layer = np.abs(z) < LAYER
    marks = []
    if untold.infarct:
        turn = np.angle(np.exp(1j * (np.arctan2(y, x) - places[0])))
        outside = _outwards(head, y, x) > 0.5
        wedge = layer & outside & (np.abs(turn) < 0.4) & _brain(label)
        marks.append((wedge, 12.0))

    if untold.shunt:
        along = x * np.cos(places[1]) + y * np.sin(places[1])
        beside = np.abs(y * np.cos(places[1]) - x * np.sin(places[1]))
        marks.append((layer & (along > 8.0) & (beside < 2.2) & (label != AIR), 220.0))

    return {"ct": marks}


def in_mri(
    untold: Untold,
    head: Head,
    label: UInt8[np.ndarray, "z y x"],
    at: Points,
    rng: np.random.Generator,
) -> Marks:
    """What single sequences show of them, in units of the brightest tissue."""
    z, y, x = _centred(head, at)
    layer = (np.abs(z) < LAYER) & _brain(label)
    marks: dict[str, list[tuple[Where, float]]] = {"t2": [], "flair": []}
    if untold.microbleeds:
        angle, out = rng.uniform(0, 2 * np.pi, 9), rng.uniform(0.35, 0.9, 9)
        dots = np.stack([out * head.axes[0] * np.cos(angle), out * head.axes[1] * np.sin(angle)], 1)
        marks["t2"].append((layer & _near(dots, 2.8, y, x), 0.05))

    if untold.leukoaraiosis:
        horns = np.array([(side * 0.24, end * 0.26) for side in (-1, 1) for end in (-1, 1)]) * HALF
        patches = np.concatenate([horns + rng.normal(0, 2.0, horns.shape), horns * 1.4])
        marks["flair"].append((layer & _near(patches, 5.5, y, x), 0.85))

    return marks


def in_slide(untold: Untold, rng: np.random.Generator) -> list[Deposit]:
    """What the slide shows of them."""
    both = {
        "hemosiderin": Deposit(colour=(0.62, 0.42, 0.12), dots=5, spread=9.0, radius=4.5, rng=rng),
        "lymphocytes": Deposit(
            colour=(0.20, 0.14, 0.38), dots=12, spread=11.0, radius=3.5, rng=rng
        ),
    }
    return [deposit for name, deposit in both.items() if getattr(untold, name)]


def _centred(head: Head, at: Points) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates whose middle is that of the head, and in z that of the tumour."""
    z, y, x = at
    return z - head.tumour[2], y - head.shift[1], x - head.shift[0]


def _angle_of_tumour(head: Head) -> float:
    return float(np.arctan2(head.tumour[1] - head.shift[1], head.tumour[0] - head.shift[0]))


def _outwards(head: Head, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """How far from the middle, in units of the brain's extent there, squared."""
    return (x / head.axes[0]) ** 2 + (y / head.axes[1]) ** 2


def _brain(label: UInt8[np.ndarray, "z y x"]) -> Where:
    """Brain that no tumour or oedema has."""
    return (label == GREY) | (label == WHITE)


def _near(places: np.ndarray, radius: float, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Whether a voxel is within ``radius`` of one of the places (x, y)."""
    found = np.zeros(np.broadcast_shapes(y.shape, x.shape), bool)
    for across, down in places:
        found |= (x - across) ** 2 + (y - down) ** 2 < radius**2
    return found
