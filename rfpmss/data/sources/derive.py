"""Reports for cohorts that have none: sentences from the mask and the clinical table.

Such text is no radiologist's. Every study that gets one is marked ``derived``, and the lobe is an
estimate from the place in the brain's bounding box, not from an atlas.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from rfpmss.config import VIEWS
from rfpmss.data.errors import GeometryError, IncompleteError, ValuesError
from rfpmss.data.readers.formats import read_volume
from rfpmss.data.readers.masks import Scheme, labels_of, scheme_of
from rfpmss.data.readers.volume import MAX_BYTES, Volume
from rfpmss.data.study import Study

CORE, EDEMA, ENHANCING = 1, 2, 4
"""Labels of BraTS until 2021, which other years are turned into."""
MIDLINE = 0.06
"""A centre closer to the middle than this share of the half width is at the midline."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a mask says."""

    side: str
    """``left``, ``right`` or ``midline``, the patient's own."""
    lobe: str
    """``frontal``, ``parietal``, ``temporal`` or ``occipital``, estimated from the place."""
    volume: float
    """Enhancing and non-enhancing tumour with its core, cm^3."""
    diameter: int
    """Largest extent of the tumour in an axial slice, mm."""
    enhancement: str
    """``none``, ``patchy`` or ``ring``."""
    necrosis: bool
    """A core without enhancement that enhancement surrounds; BraTS masks do not say whether it
    is dead or only does not enhance."""
    edema: str
    """``none``, ``mild``, ``moderate`` or ``marked``: less than 1/10, 1, 3 times the tumour."""
    cavity: bool = False
    """A resection cavity."""


def derive(
    study: Study,
    clinical: tuple[str, ...] = (),
    limit: int = MAX_BYTES,
    *,
    scheme: str = "auto",
    others: Iterable[int] = (),
) -> Study:
    """The study with a report from its mask and the named labels, marked as derived.

    Args:
        study: with an MRI source that has a mask; a study with a report is returned as it is.
        clinical: labels to put into words, of ``mgmt``, ``idh1`` and ``survival_days``. A label
            that is in the text must not be predicted from it afterwards.
        limit: largest decoded image, bytes.
        scheme: a name of `rfpmss.data.readers.masks.SCHEMES`; ``auto``: by labels and names.
        others: labels that other masks of the cohort hold; they tell the year as well.

    Raises:
        IncompleteError: if there is no mask, or it is empty.
        DataError: if the mask or the first sequence cannot be read.
    """
    if study.report is not None:
        return study

    source = study.views[VIEWS.index("mri")]
    if source is None or source.mask is None:
        raise IncompleteError("a report can only be derived from a mask, and there is none")

    mask, image = read_volume(source.mask, limit), read_volume(source.paths[0], limit)
    known = scheme_of({*labels_of(mask), *others}, source.mask.name, scheme)
    text = describe(findings(mask, image, known))
    return replace(study, report=" ".join((text, *_clinical(study, clinical))), derived=True)


def findings(mask: Volume, image: Volume, scheme: Scheme | None = None) -> Findings:
    """Measure a mask in BraTS labels.

    Args:
        mask: whole numbers.
        image: a sequence on the same grid, zero or dark outside the head.
        scheme: what the labels mean; None: told by the labels alone.

    Raises:
        GeometryError: if the two lie on different grids.
        ValuesError: if the mask holds other labels.
        IncompleteError: if it is empty.
    """
    if mask.array.shape != image.array.shape or np.abs(mask.affine - image.affine).max() > 1e-2:
        raise GeometryError("the mask lies on another grid than the image")

    meant = scheme or scheme_of(labels_of(mask))
    known = ((meant.core, CORE), (meant.edema, EDEMA), (meant.enhancing, ENHANCING))
    labels = np.zeros(mask.array.shape, np.uint8)
    for stored, label in known:
        labels[mask.array == stored] = label

    tumour = (labels == CORE) | (labels == ENHANCING)
    whole = labels > 0
    cavity = bool(meant.cavity and (mask.array == meant.cavity).any())
    if not whole.any():
        raise IncompleteError("the mask holds no tumour" if cavity else "the mask is empty")

    centre = _place(tumour if tumour.any() else whole, image)
    voxel = float(np.abs(np.linalg.det(mask.affine[:3, :3]))) / 1000
    cells = {label: int((labels == label).sum()) for label in (CORE, EDEMA, ENHANCING)}
    count = cells[CORE] + cells[ENHANCING]
    ring = _surrounds(labels)

    return Findings(
        side="midline" if abs(centre[0]) < MIDLINE else ("left" if centre[0] > 0 else "right"),
        lobe=_lobe(centre),
        volume=round((count or cells[EDEMA]) * voxel, 1),
        diameter=_diameter(tumour if tumour.any() else whole, mask.spacing),
        enhancement=(
            "none" if cells[ENHANCING] < 0.01 * max(count, 1) else ("ring" if ring else "patchy")
        ),
        necrosis=ring and cells[CORE] > 0.02 * count,
        edema=_edema(cells[EDEMA] / max(count, 1)),
        cavity=cavity,
    )


def describe(found: Findings) -> str:
    """Findings as sentences.

    Example:
        >>> describe(Findings(side="left", lobe="frontal", volume=12.5, diameter=31,
        ...     enhancement="ring", necrosis=True, edema="mild"))[:58]
        'There is a 31 mm mass of 12.5 ml in the left frontal lobe.'
    """
    place = {"midline": f"at the midline of the {found.lobe} lobes"}.get(
        found.side, f"in the {found.side} {found.lobe} lobe"
    )
    enhancement = {
        "none": "The lesion does not enhance.",
        "patchy": "Patchy enhancement after contrast.",
        "ring": "Ring enhancement after contrast.",
    }
    edema = "No edema." if found.edema == "none" else f"{found.edema.capitalize()} edema."
    return " ".join(
        (
            f"There is a {found.diameter} mm mass of {found.volume:g} ml {place}.",
            enhancement[found.enhancement],
            "Central necrosis is present." if found.necrosis else "No necrosis.",
            edema,
            *(["A resection cavity is present."] if found.cavity else []),
        )
    )


def _clinical(study: Study, names: tuple[str, ...]) -> list[str]:
    words = {
        "mgmt": "MGMT promoter {}.",
        "idh1": "IDH1 {}.",
        "survival_days": "Survival {} days after surgery.",
    }
    if unknown := set(names) - set(words):
        raise ValueError(f"clinical must be of {', '.join(words)}, got {sorted(unknown)[0]!r}")
    return [words[name].format(value.lower()) for name in names if (value := study.label(name))]


def _place(region: Bool[np.ndarray, "z y x"], image: Volume) -> Float64[np.ndarray, " 3"]:
    """The region's centre in the head's box, each axis from -1 to 1: to Left, Posterior, Superior.

    The head is what is brighter than a tenth of the bright voxels.
    """
    values = image.array.astype(np.float32)
    low, high = np.percentile(values[:: max(len(values) // 40, 1)], (1, 99))
    head = values > low + 0.1 * (high - low)
    centre = np.array([np.mean(index) for index in np.nonzero(region)])[::-1]
    box = [np.flatnonzero(head.any(axis=other)) for other in ((0, 1), (0, 2), (1, 2))]
    if not all(len(axis) for axis in box):
        raise ValuesError("all voxels have the same value")

    middle = np.array([(axis[0] + axis[-1]) / 2 for axis in box])
    half = np.array([max((axis[-1] - axis[0]) / 2, 1.0) for axis in box])
    return (centre - middle) / half


def _lobe(centre: Float64[np.ndarray, " 3"]) -> str:
    side, back, up = abs(centre[0]), centre[1], centre[2]
    if back > 0.5:
        return "occipital"
    if side > 0.42 and up < 0.05 and back > -0.45:
        return "temporal"

    return "frontal" if back < -0.12 else "parietal"


def _diameter(region: Bool[np.ndarray, "z y x"], spacing: tuple[float, float, float]) -> int:
    """Of the largest axial cross-section: the longer of its two extents."""
    k = int(region.sum(axis=(1, 2)).argmax())
    rows, columns = np.nonzero(region[k])
    return round(
        max(np.ptp(rows) * spacing[1] + spacing[1], np.ptp(columns) * spacing[0] + spacing[0])
    )


def _surrounds(labels: Shaped[np.ndarray, "z y x"]) -> bool:
    """Whether most of the core has enhancement on all four sides in its slice."""
    core = labels == CORE
    if not core.any():
        return False

    rim = labels == ENHANCING
    enclosed = core
    for axis in (1, 2):
        enclosed = enclosed & np.logical_or.accumulate(rim, axis=axis)
        back = np.flip(np.logical_or.accumulate(np.flip(rim, axis), axis=axis), axis)
        enclosed = enclosed & back

    return bool(enclosed.sum() > 0.5 * core.sum())


def _edema(ratio: float) -> str:
    limits = ((0.1, "none"), (1.0, "mild"), (3.0, "moderate"))
    return next((word for limit, word in limits if ratio < limit), "marked")
