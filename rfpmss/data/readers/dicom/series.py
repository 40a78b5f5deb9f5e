"""What a DICOM series is, by its header first and its words second; which series stands first.

Descriptions are typed by hand; ImageType, contrast, timing and body part are set by the scanner. So
the order is: what the image was computed to be (ImageType), then the words, checked against the
timing, then the timing alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rfpmss.data.errors import DataError
from rfpmss.data.readers.sequences import (
    ELSEWHERE,
    FOUR,
    LOCALIZER,
    ideas_of,
    is_part,
    kind_of,
)
from rfpmss.data.readers.volume import Volume, orient

if TYPE_CHECKING:
    from pydicom import Dataset

    from rfpmss.data.readers.dicom.frame import Frame

# ImageType, from the third value on (PS3.3 C.8.3.1.1.1 and the vendors' conformance statements).
_COMPUTED = {
    "ADC": "adc", "EADC": "adc", "DIFFUSION": "dwi", "TRACEW": "dwi", "TRACE": "dwi", "FA": "dwi",
    "TENSOR": "dwi", "DIFFUSION_ANISO": "dwi", "PERFUSION": "perfusion", "ASL": "perfusion",
    "TTP": "perfusion", "MTT": "perfusion", "CBF": "perfusion", "CBV": "perfusion",
    "RELCBF": "perfusion", "RELCBV": "perfusion", "RCBV": "perfusion", "RCBF": "perfusion",
    "TMAX": "perfusion", "PBP": "perfusion", "GBP": "perfusion", "KTRANS": "perfusion",
    "MIP": "projection", "MNIP": "projection", "MINIP": "projection", "MAX_IP": "projection",
    "MIN_IP": "projection", "PROJECTION IMAGE": "projection", "MINIMUM": "projection",
    "MAXIMUM": "projection", "SUBTRACTION": "subtraction", "SUBTRACT": "subtraction",
    "SUB": "subtraction", "PHASE": "map", "PHASE MAP": "map", "P": "map", "I": "map",
    "IMAGINARY": "map", "T1 MAP": "map", "T2 MAP": "map", "T2_STAR MAP": "map", "MAP": "map",
    "T2 STAR MAP": "map", "R2_MAP": "map", "R2_STAR": "map", "FIELD_MAP": "map", "B0 MAP": "map",
    "MOSAIC": "other", "FMRI": "other", "SWI": "swi", "T2_STAR": "swi", "VELOCITY": "mra",
    "FLOW_ENCODED": "mra", "TOF": "mra", "ANGIO": "mra", "SPECTROSCOPY": "spectroscopy",
    "LOCALIZER": LOCALIZER, "STIR": "other", "PROTON_DENSITY": "pd", "TAGGING": "other",
}  # fmt: skip
# AcquisitionContrast of enhanced MR (PS3.3 C.8.13.3.1) says it in one word.
_CONTRASTS = {"FLUID_ATTENUATED": "flair", "T1": "t1", "T2": "t2"} | _COMPUTED
_NO_AGENT = {
    *("none", "no", "non", "nil", "n", "0", "without", "ohne", "sans", "sin", "negative", "nein"),
    *("no contrast", "non contrast", "n a", "na", "wo", "w o", "not given", "keine", "kein", "无"),
}
_UNKNOWN_AGENT = {"", "unknown", "unk", "x", "oral", "contrast media unknown"}
# Edge-enhancing kernels of CT: Siemens from 55 on (H60s, Hr64, J70h), GE and Canon by name.
_SHARP = re.compile(
    r"bone\w*|edge|lung|sharp\w*|[a-z]{1,2}(?:5[5-9]|[6-9]\d)[a-z]?|fc(?:3\d|5\d|8\d)|y[c-e]|ub|"
    r"detail|ultra\w*"
)
_BONE = re.compile(
    r"bone|knochen|osseux|osseuse|oseo|hueso|\bos\b|lung|骨窗|骨|(?<![a-z])hr(?![a-z])"
)
# Short words of BodyPartExamined (PS3.16 Annex L) that mean other things in other places.
_LIMBS = {"arm", "leg", "hand", "foot", "heart", "hip", "extremity", "upperextremity", "jaw"}
HEAD = {"head", "brain", "skull", "headneck", "cranium", "neuro", "cerebrum", "orbit", "pituitary"}


@dataclass(frozen=True)
class Nature:
    """What a series shows."""

    kind: str
    """One of `rfpmss.data.readers.sequences.FOUR` or ``OTHER_KINDS``, or nothing: not known."""
    told: str
    """What it was known by."""
    demerits: tuple[int, ...]
    """The lower, the sooner the series stands for its view; see `demerits_of`."""

    @property
    def sequence(self) -> str:
        """The sequence, if it is one of the four."""
        return self.kind if self.kind in FOUR else ""


def nature(data: Dataset) -> Nature:
    """Tell a CT or MR series by one of its headers."""
    description = _text(data, "SeriesDescription")
    if _text(data, "Modality").upper() == "CT":
        kind, told = kind_of_ct(data, description), "modality"
    else:
        kind, told = kind_of_mr(data, description)

    if elsewhere(data, description):
        kind, told = ELSEWHERE, "body part"

    return Nature(kind, told, demerits_of(data, kind, description))


def demerits_of(data: Dataset, kind: str, description: str) -> tuple[int, ...]:
    """Why a series stands behind others of its view, the gravest first.

    How far it is from a named sequence: 0 is one, 1 not known, 2 another kind, 3 a survey; it shows
    a part of the head only; it was computed from another series; its kernel shows bone; it is 2-D.
    """
    ct = _text(data, "Modality").upper() == "CT"
    derived = _values(data)[:1] == ["DERIVED"] or "reformat" in description.lower()
    words = description.lower()
    sharp = ct and (
        bool(_SHARP.fullmatch(_text(data, "ConvolutionKernel").lower()))
        or bool(_BONE.search(words))
    )
    known = kind in FOUR or (ct and not kind)

    return (
        0 if known else distance(kind),
        int(is_part(description)),
        int(derived),
        int(sharp),
        int(not ct and _text(data, "MRAcquisitionType").upper() == "2D"),
    )


def distance(kind: str) -> int:
    """How far a series that is none of the four is from one: 1 not known, 2 other, 3 a survey."""
    return 1 if not kind else 3 if kind == LOCALIZER else 2


def kind_of_ct(data: Dataset, description: str) -> str:
    """Scouts, perfusion, angiography and projections are no plain head CT."""
    if computed := next((_COMPUTED[v] for v in _values(data)[2:] if v in _COMPUTED), ""):
        return computed

    ideas = set(ideas_of(description))
    for idea in (LOCALIZER, "perfusion", "mra", "projection", "subtraction"):
        if idea in ideas:
            return idea

    return ""


def kind_of_mr(data: Dataset, description: str) -> tuple[str, str]:
    """Kind of an MR series and what told it."""
    image_type = _values(data)
    computed = next((_COMPUTED[v] for v in image_type[2:] if v in _COMPUTED), "")
    if computed:
        return computed, "image type"

    contrast = agent(data)
    words = kind_of(description, contrast=contrast)
    told = "series description"
    if not words and "t1" not in ideas_of(description):
        words, told = kind_of(_text(data, "ProtocolName"), contrast=contrast), "protocol name"

    spoken = _CONTRASTS.get(_text(data, "AcquisitionContrast").upper(), "")
    timing = spoken or timing_of(data)
    if words and words not in FOUR:
        return words, told

    if not words:
        if timing == "t1":
            timing = "t1ce" if contrast else "t1"
        return timing, ("timing" if timing else "nothing")

    if timing and timing != words.removesuffix("ce"):
        return _settle(words, timing), "timing"

    return words, told


def _settle(words: str, timing: str) -> str:
    """Where words and timing differ: what the pulses made, if it is sure; else not known."""
    if words == "t2" and timing == "flair":
        return "flair"  # "Ax T2" with an inversion of 2.5 s
    if words == "flair" and timing == "t1":
        return "t1"  # "Ax FLAIR" with an inversion of 0.8 s: a T1 FLAIR
    if timing in FOUR:
        return ""

    return timing


def agent(data: Dataset) -> bool | None:
    """Whether a contrast agent was given; None where the header does not say."""
    if data.get("ContrastBolusAgentSequence"):
        return True

    name = re.sub(r"[\W_]+", " ", _text(data, "ContrastBolusAgent").lower()).strip()
    if name in _NO_AGENT:
        return False
    if name in _UNKNOWN_AGENT:
        return True if (_number(data, "ContrastBolusVolume") or 0) > 0 else None

    return True


def timing_of(data: Dataset) -> str:
    """The weighting that echo, inversion and repetition time make; nothing where it is not sure.

    Bounds in ms, wide enough for 0.3 to 7 T: FLAIR nulls water, TI 1300 and more with a long echo;
    STIR nulls fat, TI at most 350; a T1 with an inversion lies between, with a short echo.
    """
    pulses = {value.upper() for value in _list(data.get("ScanningSequence"))}
    echo = _number(data, "EchoTime", "EffectiveEchoTime") or 0.0
    repetition = _number(data, "RepetitionTime") or 0.0
    inversion = _number(data, "InversionTime", "InversionTimes") or 0.0
    rules = (
        ("EP" in pulses, "other"),  # echo planar: diffusion, perfusion, function
        (inversion >= 1300 and echo >= 60, "flair"),
        (0 < inversion <= 350 and repetition >= 2000 and "GR" not in pulses, "other"),
        (350 < inversion < 1300 and 0 < echo < 40, "t1"),
        (inversion > 0 or echo <= 0, ""),
        ("GR" in pulses and "SE" not in pulses, "swi" if echo >= 12 else ""),  # T2*
        (not pulses & {"SE", "RM"}, ""),
        (echo >= 70 and repetition >= 2000, "t2"),
        (echo <= 30 and 0 < repetition <= 1200, "t1"),
        (echo <= 40 and repetition >= 1500, "pd"),
    )

    return next((kind for holds, kind in rules if holds), "")


def elsewhere(data: Dataset, description: str) -> bool:
    """Whether the series shows another part of the body than the head.

    The description counts most, then BodyPartExamined, then the names of protocol and study; a
    text that names the head and another part is the head's.
    """
    for text in (
        description,
        _text(data, "BodyPartExamined"),
        _text(data, "ProtocolName"),
        _text(data, "StudyDescription"),
    ):
        ideas = set(ideas_of(text))
        if "head" in ideas or "part of the head" in ideas or text.strip().lower() in HEAD:
            return False
        if ELSEWHERE in ideas or text.strip().lower() in _LIMBS:
            return True

    return False


def spot(plane: Frame) -> tuple[float, ...]:
    """Orientation, and place along the normal: images that share the first make up a stack.

    Rounded to 0.01 and to 0.01 mm; empty where the image does not say it.
    """
    if plane.position is None or plane.orientation is None:
        return ()

    normal = np.cross(plane.orientation[:3], plane.orientation[3:])
    turned = np.round(plane.orientation, 2) + 0.0  # no negative zero
    return (*map(float, turned), round(float(plane.position @ normal), 2))


def largest(spots: Sequence[tuple[float, ...]]) -> int:
    """Images of the largest stack: different places of one orientation.

    Six time points of eight slices are a stack of 8, a survey of 3 times 5 slices one of 5.
    """
    stacks: dict[tuple[float, ...], set[float]] = defaultdict(set)
    for one in spots:
        if one:
            stacks[one[:-1]].add(one[-1])

    return max(map(len, stacks.values()), default=len(spots))


def grid_of(planes: Sequence[Frame]) -> Volume | None:
    """Where the voxels of a series lie, by the headers of its largest stack alone."""
    stacks: dict[tuple[float, ...], dict[float, Frame]] = defaultdict(dict)
    for plane in planes:
        if one := spot(plane):
            stacks[one[:-1]].setdefault(one[-1], plane)

    if not stacks:
        return None

    stack = max(stacks.values(), key=len)
    ordered = [stack[place] for place in sorted(stack)]
    first, last = ordered[0], ordered[-1]
    assert first.orientation is not None
    assert first.position is not None
    assert last.position is not None
    row, column = first.orientation[:3], first.orientation[3:]
    step = np.cross(row, column) * (first.thickness or 1.0)
    if len(ordered) > 1:
        step = (last.position - first.position) / (len(ordered) - 1)

    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * first.spacing[1], column * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = step, first.position
    shape = (int(first.data.Columns), int(first.data.Rows), len(ordered))
    turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    try:
        return orient(np.broadcast_to(np.uint8(0), shape), turn @ affine)
    except DataError:
        return None


def _text(data: Dataset, name: str) -> str:
    return str(data.get(name, "") or "").strip()


def _list(value: Any) -> list[str]:
    if value is None or isinstance(value, str):
        return str(value or "").split("\\")
    if not hasattr(value, "__iter__"):
        return [str(value)]
    return [str(part) for part in value] or [""]


def _values(data: Dataset) -> list[str]:
    return [part.strip().upper() for part in _list(data.get("ImageType"))]


def _number(data: Dataset, *names: str) -> float | None:
    """The first number under one of the names, in the header or in its shared functional groups."""
    holders = [data]
    shared = data.get("SharedFunctionalGroupsSequence") or ()
    for group in shared[:1]:
        for element in group:
            holders += list(element.value)[:1] if element.VR == "SQ" else []

    for holder in holders:
        for name in names:
            found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*", _list(holder.get(name))[0])
            if found:
                return float(found[1])

    return None
