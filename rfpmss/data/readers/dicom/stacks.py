"""The images of one DICOM series to stacks: parallel, and no place twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from rfpmss.data.errors import ChoiceError

if TYPE_CHECKING:
    from pydicom import Dataset

    from rfpmss.data.readers.dicom.frame import Frame

ALIKE = 0.01
"""Largest difference of components of parallel unit vectors."""
SAME = 0.01
"""Millimetres; two images closer along the normal lie at one place."""
EXTRAS = 0.1
"""Share of the places that may have been imaged once more without anything that says why."""
HALF = 0.5
"""Least share of the places that the largest stack must fill for a key to explain repeats."""


@dataclass(frozen=True)
class Stack:
    """Parallel images of one series, none at the place of another."""

    planes: list[Frame]
    by: str = ""
    """What told it from the others at the same places, in words."""
    number: int = 0
    """Its place among those, from 0."""
    copies: tuple[Frame, ...] = ()
    """Images that equal one of the stack's at the same place, or cannot be read."""
    extras: tuple[Frame, ...] = ()
    """Other images at a place of the stack, taken later."""

    def __len__(self) -> int:
        return len(self.planes)


def stacks(planes: Iterable[Frame]) -> list[Stack]:
    """Split one series into stacks, the one with most images first.

    By size, spacing and orientation; then, but only where two images lie at one place, by what
    tells them apart, so that a gap is never explained away: echo, time, b-value, kernel, kind.
    Stacks of equally many images keep the order of that (first echo, first time point).
    """
    groups: list[list[Frame]] = []
    for plane in planes:
        for group in groups:
            if _parallel(plane, group[0]):
                group.append(plane)
                break
        else:
            groups.append([plane])

    found = [stack for group in groups for stack in _untangle(group)]
    return sorted(found, key=len, reverse=True)


def choose(found: Sequence[Stack], volume: int | None = None) -> Stack:
    """The largest stack, or the named one of those at the same places.

    Args:
        found: of `stacks`.
        volume: which of the echoes, time points, ...; None: the first. It means nothing where
            only one image lies at each place.

    Raises:
        ChoiceError: if there are fewer.
    """
    first = found[0]
    same = [
        s for s in found if s.by and s.by == first.by and _parallel(s.planes[0], first.planes[0])
    ]
    same.sort(key=lambda stack: stack.number)
    if volume is None or not same:
        return first
    if not 0 <= volume < len(same):
        raise ChoiceError(f"the series holds {len(same)} volumes, not volume {volume}")

    return same[volume]


def _parallel(a: Frame, b: Frame) -> bool:
    if _size(a) != _size(b) or np.abs(np.subtract(a.spacing, b.spacing)).max() > 1e-3:
        return False
    if a.orientation is None or b.orientation is None:
        return a.orientation is None and b.orientation is None
    return bool(np.abs(a.orientation - b.orientation).max() < ALIKE)


def _size(plane: Frame) -> tuple[int, int]:
    return int(plane.data.Rows), int(plane.data.Columns)


def _untangle(group: list[Frame]) -> list[Stack]:
    """One stack without repeated places, or the fewest that a key gives."""
    places = _places(group)
    if len(set(places)) == len(group):
        return [Stack(group)]
    if (single := _without_copies(group, places)) is not None:
        return [single]

    best: list[Stack] = []
    for by, part in _keyed(group):
        if best and len(part) >= len(best):
            continue
        made = [_without_copies(planes, _places(planes)) for planes in part]
        whole = [stack for stack in made if stack is not None]
        if len(whole) < len(made) or max(map(len, whole)) < HALF * len(set(places)):
            continue
        best = [Stack(s.planes, by, n, s.copies) for n, s in enumerate(whole)]

    if len(best) != 2 and (stack := _first_of_each(group, places)) is not None:
        return [stack]

    return best or _by_number(group, places) or [Stack(group)]


def _places(group: Sequence[Frame]) -> list[int]:
    """The place of each image along the normal, counted from the lowest; equal where they meet."""
    first = group[0]
    if first.orientation is None or any(plane.position is None for plane in group):
        return list(range(len(group)))

    normal = np.cross(first.orientation[:3], first.orientation[3:])
    along = np.array([plane.position @ normal for plane in group])  # type: ignore[operator]
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order], prepend=along[order[0]]) > SAME
    result = np.empty(len(group), int)
    result[order] = np.cumsum(steps)

    return result.tolist()


def _without_copies(group: Sequence[Frame], places: Sequence[int]) -> Stack | None:
    """The stack when all that repeat a place equal the one there or cannot be read; else None."""
    kept: dict[int, Frame] = {}
    copies = []
    for plane, place in zip(group, places, strict=True):
        other = kept.setdefault(place, plane)
        if other is plane:
            continue
        if plane.error is not None:
            copies.append(plane)
        elif other.error is not None:
            kept[place] = plane
            copies.append(other)
        elif _equal(plane, other):
            copies.append(plane)
        else:
            return None

    return Stack(list(kept.values()), copies=tuple(copies))


def _equal(a: Frame, b: Frame) -> bool:
    """Whether two images at one place hold the same values, by their stored bytes."""
    if a.position is None or b.position is None or np.abs(a.position - b.position).max() > SAME:
        return False
    if any(int(plane.data.get("NumberOfFrames", 1) or 1) != 1 for plane in (a, b)):
        return False

    one, two = a.data.get("PixelData"), b.data.get("PixelData")
    return bool(one and one == two and (a.slope, a.intercept) == (b.slope, b.intercept))


def _first_of_each(group: Sequence[Frame], places: Sequence[int]) -> Stack | None:
    """The first image of each place, where few places were imaged once more."""
    order = sorted(range(len(group)), key=lambda n: (_taken(group[n]), places[n]))
    kept: dict[int, Frame] = {}
    extras = []
    for n in order:
        if places[n] in kept:
            extras.append(group[n])
        else:
            kept[places[n]] = group[n]

    if len(extras) > max(EXTRAS * len(kept), 1) or len(kept) < 3:
        return None

    return Stack(list(kept.values()), extras=tuple(extras))


def _taken(plane: Frame) -> tuple[float, float]:
    return _number(plane.data.get("AcquisitionNumber")), _number(plane.data.get("InstanceNumber"))


def _by_number(group: Sequence[Frame], places: Sequence[int]) -> list[Stack]:
    """Volumes by the instance numbers, where these run through all of them without exception."""
    count = len(set(places))
    volumes = len(group) // count
    numbers = [_number(plane.data.get("InstanceNumber")) for plane in group]
    if set(Counter(places).values()) != {volumes} or len(set(numbers)) < len(group):
        return []

    order = sorted(range(len(group)), key=lambda n: numbers[n])
    along = [places[n] for n in order]
    one_after_another = [order[k * count : (k + 1) * count] for k in range(volumes)]
    place_by_place = [order[k::volumes] for k in range(volumes)]
    for parts in (one_after_another, place_by_place):
        whole = all(len({places[n] for n in part}) == count for part in parts)
        runs = parts is one_after_another or all(
            len(set(along[k : k + volumes])) == 1 for k in range(0, len(along), volumes)
        )
        if whole and runs:
            return [
                Stack([group[n] for n in part], "order of the instance numbers", k)
                for k, part in enumerate(parts)
            ]

    return []


def _keyed(group: Sequence[Frame]) -> Iterable[tuple[str, list[list[Frame]]]]:
    """The group split by each key, then by each pair of keys, in the order of their values."""
    values: dict[str, list[Any]] = {}
    for label, read in KEYS.items():
        found = [read(plane) for plane in group]
        if len(set(found)) > 1:
            values[label] = found

    for names in (*((name,) for name in values), *combinations(values, 2)):
        parts: dict[tuple, list[Frame]] = defaultdict(list)
        for n, plane in enumerate(group):
            parts[tuple(values[name][n] for name in names)].append(plane)
        yield " and the ".join(names), [parts[value] for value in sorted(parts)]


def _number(value: Any) -> float:
    """A number to sort by; missing values come first."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("-inf")


def _item(plane: Frame, group: str, name: str) -> Any:
    for holder in plane.groups:
        items = holder.get(group) if holder is not None else None
        if items and items[0].get(name) is not None:
            return items[0].get(name)
    return None


def _numeric(*names: str, groups: Sequence[tuple[str, str]] = ()) -> Callable[[Frame], float]:
    """A reader of the first of these attributes that the image has, as a number."""

    def read(plane: Frame) -> float:
        values = (*(_item(plane, *group) for group in groups), *map(plane.data.get, names))
        return next((number for v in values if (number := _number(v)) > float("-inf")), -1.0)

    return read


def _words(*names: str, groups: Sequence[tuple[str, str]] = ()) -> Callable[[Frame], str]:
    """The same as text."""

    def read(plane: Frame) -> str:
        values = (*(_item(plane, *group) for group in groups), *map(plane.data.get, names))
        return next((str(value) for value in values if value), "")

    return read


def _b_value(plane: Frame) -> float:
    """Diffusion weighting, s/mm2: the standard's attribute, or that of Siemens, GE or Philips."""
    value = _item(plane, "MRDiffusionSequence", "DiffusionBValue")
    if value is None:
        value = plane.data.get("DiffusionBValue")
    return _number(value) if value is not None else _private_b_value(plane.data)


_PRIVATE_B = {
    (0x0019, "SIEMENS MR HEADER"): 0x0C,
    (0x0043, "GEMS_PARM_01"): 0x39,
    (0x2001, "Philips Imaging DD 001"): 0x03,
}
"""Group and creator of the vendors' blocks, and where in them the diffusion weighting stands."""
_PRIVATE_GROUPS = frozenset(group for group, _ in _PRIVATE_B)


def _private_blocks(data: Dataset) -> dict[tuple[int, str], int]:
    """The first block of each creator in these groups (PS3.5, 7.8.1), in one pass over the tags.

    The search of pydicom sorts all elements of the header for each group.
    """
    found: dict[tuple[int, str], int] = {}
    for tag in data.keys():  # noqa: SIM118 - iterating a data set decodes its elements
        if tag >> 16 in _PRIVATE_GROUPS and 0x10 <= tag & 0xFFFF <= 0xFF:
            found.setdefault((tag >> 16, str(data[tag].value).strip()), tag & 0xFFFF)

    return found


def _private_b_value(data: Dataset) -> float:
    blocks = _private_blocks(data)
    for (group, creator), place in _PRIVATE_B.items():
        try:
            value = data[group, blocks[group, creator] << 8 | place].value
        except (KeyError, TypeError, ValueError):
            continue
        if isinstance(value, bytes):
            value = value.decode("ascii", "ignore").strip("\0 ")
        first = value if isinstance(value, int | float | str) else next(iter(value), None)
        return _number(first) % 1e9  # GE adds 1e9 to it

    return -1.0


def _direction(plane: Frame) -> str:
    own = _item(plane, "MRDiffusionSequence", "DiffusionGradientDirectionSequence")
    value = own[0].get("DiffusionGradientOrientation") if own else None
    return str(value if value is not None else plane.data.get("DiffusionGradientOrientation", ""))


KEYS: dict[str, Callable[[Frame], Any]] = {
    "echo time": _numeric("EchoTime", groups=[("MREchoSequence", "EffectiveEchoTime")]),
    "echo number": _numeric("EchoNumbers"),
    "b-value": _b_value,
    "gradient direction": _direction,
    "time point": _numeric(
        *("TemporalPositionIdentifier", "TemporalPositionIndex"),
        groups=[("FrameContentSequence", "TemporalPositionIndex")],
    ),
    "trigger time": _numeric(
        "TriggerTime",
        groups=[("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime")],
    ),
    "inversion time": _numeric("InversionTime"),
    "flip angle": _numeric(
        "FlipAngle", groups=[("MRTimingAndRelatedParametersSequence", "FlipAngle")]
    ),
    "reconstruction kernel": _words(
        "ConvolutionKernel", groups=[("CTReconstructionSequence", "ConvolutionKernel")]
    ),
    "tube voltage": _numeric("KVP"),
    "image type": _words(
        "ImageType",
        groups=[
            ("MRImageFrameTypeSequence", "FrameType"),
            ("CTImageFrameTypeSequence", "FrameType"),
        ],
    ),
    "kind of value": _words(
        "ComplexImageComponent", groups=[("MRImageFrameTypeSequence", "ComplexImageComponent")]
    ),
    "stack": _words("StackID", groups=[("FrameContentSequence", "StackID")]),
    "slice thickness": _numeric(
        "SliceThickness", groups=[("PixelMeasuresSequence", "SliceThickness")]
    ),
    "contrast agent": _words("ContrastBolusAgent"),
    "acquisition": _numeric(
        "AcquisitionNumber", groups=[("FrameContentSequence", "FrameAcquisitionNumber")]
    ),
    "acquisition time": _numeric("AcquisitionTime"),
    "series number": _numeric("SeriesNumber"),
}
"""What may tell images at one place apart, the most telling first, each as sortable values."""
