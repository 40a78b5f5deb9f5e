"""What is true of a generated patient, and what each modality shows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

SIDES = ("left", "right")
LOBES = ("frontal", "parietal", "temporal", "occipital")
ENHANCEMENTS = ("none", "patchy", "ring")
EDEMAS = ("mild", "moderate", "marked")
DENSITIES = ("low", "moderate", "high")
GRADES = (2, 3, 4)
SMALLEST, LARGEST = 14.0, 44.0
LARGEST_OFF = 26.0
"""Of masses off the middle, so that none reaches it."""

# Conditional tables given the grade: a plausible, noisy glioma.
GRADE = (0.3, 0.25, 0.45)
ENHANCEMENT = {2: (0.8, 0.2, 0.0), 3: (0.3, 0.6, 0.1), 4: (0.03, 0.22, 0.75)}
NECROSIS = {2: 0.02, 3: 0.1, 4: 0.85}
EDEMA = {2: (0.7, 0.25, 0.05), 3: (0.3, 0.5, 0.2), 4: (0.1, 0.4, 0.5)}
CALCIFICATION = {2: 0.35, 3: 0.15, 4: 0.05}
DENSITY = {2: (0.75, 0.22, 0.03), 3: (0.15, 0.65, 0.2), 4: (0.02, 0.28, 0.7)}
PROLIFERATION = {2: 0.01, 3: 0.05, 4: 0.8}
HEMORRHAGE = 0.2


@dataclass(frozen=True, kw_only=True)
class Latents:
    """The findings of one generated patient."""

    grade: int
    """WHO grade: 2, 3 or 4."""
    side: str
    """One of SIDES, the patient's own."""
    lobe: str
    """One of LOBES."""
    size: float
    """Largest diameter of the mass, mm."""
    enhancement: str
    """One of ENHANCEMENTS."""
    necrosis: bool
    """A necrotic core."""
    edema: str
    """One of EDEMAS."""
    hemorrhage: bool
    """Blood in the mass, seen on CT."""
    calcification: bool
    """Calcium in the mass, seen on CT."""
    density: str
    """Cell density in the slide, one of DENSITIES."""
    proliferation: bool
    """Microvascular proliferation in the slide."""

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Latents:
        """The record of ``truth.json``.

        Raises:
            KeyError: if a finding is missing.
            TypeError: if one is not of its kind.
        """
        kinds = {"int": int, "float": (int, float), "str": str, "bool": bool}
        found = {field.name: record[field.name] for field in fields(cls)}
        for field in fields(cls):
            if not isinstance(found[field.name], kinds[str(field.type)]):
                raise TypeError(f"{field.name} must be of the type {field.type}")

        return cls(**found)

    def as_dict(self) -> dict[str, Any]:
        """A record for JSON."""
        return asdict(self)

    def labels(self) -> tuple[tuple[str, str], ...]:
        """Every finding as text, for the manifest."""
        return tuple((name, _text(value)) for name, value in asdict(self).items())


def draw(rng: np.random.Generator) -> Latents:
    """A patient from the conditional tables above."""
    grade = int(rng.choice(GRADES, p=GRADE))
    enhancement = ENHANCEMENTS[rng.choice(3, p=ENHANCEMENT[grade])]
    necrosis = bool(rng.random() < NECROSIS[grade])
    if necrosis and enhancement == "none":
        enhancement = "patchy"

    return Latents(
        grade=grade,
        side=SIDES[rng.integers(2)],
        lobe=LOBES[rng.integers(4)],
        size=float(np.round(rng.uniform(SMALLEST, LARGEST), 3)),
        enhancement=enhancement,
        necrosis=necrosis,
        edema=EDEMAS[rng.choice(3, p=EDEMA[grade])],
        hemorrhage=bool(rng.random() < HEMORRHAGE),
        calcification=bool(rng.random() < CALCIFICATION[grade]),
        density=DENSITIES[rng.choice(3, p=DENSITY[grade])],
        proliferation=bool(rng.random() < PROLIFERATION[grade]),
    )


def smaller(latents: Latents) -> Latents:
    """The same findings of a mass of 14 to 26 mm, larger masses staying the larger ones."""
    share = (latents.size - SMALLEST) / (LARGEST - SMALLEST)
    size = SMALLEST + share * (LARGEST_OFF - SMALLEST)
    return replace(latents, size=float(np.round(size, 3)))


VISIBLE: dict[str, tuple[str, ...]] = {
    "mri": ("side", "lobe", "size2", "size4", "enhancement", "necrosis", "edema"),
    "ct": ("side", "lobe", "size4", "necrosis", "edema", "hemorrhage", "calcification"),
    "pathology": ("density", "proliferation", "necrosis"),
    "report": (
        "side",
        "lobe",
        "size2",
        "size4",
        "enhancement",
        "necrosis",
        "edema",
        "hemorrhage",
        "calcification",
        "density",
        "proliferation",
        "grade",
    ),
}
"""Findings that a perfect reader takes from each modality; ``study`` is the union of the views.

``size2`` is the diameter in bins of 2 mm (as the report states it), ``size4`` in bins of 4 mm
(as far as the coarser CT allows); each ``size4`` bin is two ``size2`` bins.
"""


def visible(latents: Latents, modality: str) -> tuple[tuple[str, str], ...]:
    """The findings that ``modality`` shows, as pairs of name and value.

    Args:
        latents: the truth of one patient.
        modality: ``ct``, ``mri``, ``pathology``, ``report`` or ``study``.

    Two modalities can agree on the names that both tuples hold; an oracle that ranks by them is
    the ceiling of retrieval between the two.

    Example:
        >>> z = draw(np.random.default_rng(0))
        >>> [name for name, _ in visible(z, "pathology")]
        ['density', 'proliferation', 'necrosis']
    """
    if modality == "study":
        names = tuple(dict.fromkeys(VISIBLE["mri"] + VISIBLE["ct"] + VISIBLE["pathology"]))
    elif modality in VISIBLE:
        names = VISIBLE[modality]
    else:
        raise ValueError(f"modality must be one of {', '.join(VISIBLE)}, study, got {modality!r}")

    return tuple((name, _text(_value(latents, name))) for name in names)


def _value(latents: Latents, name: str) -> Any:
    if name == "size2":
        return millimetres(latents.size)
    if name == "size4":
        return millimetres(latents.size) // 4 * 4
    return getattr(latents, name)


def millimetres(size: float) -> int:
    """The diameter as a report states it: to the nearest 2 mm."""
    return int(round(size / 2) * 2)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
