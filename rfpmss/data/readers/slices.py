"""What the headers of single images say of their series: which images are one, and what it lacks.

Some programs give every slice a SeriesInstanceUID of its own (Canon; some anonymisers).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rfpmss.data.dicom import ROUNDING, TOLERANCE
from rfpmss.data.errors import DataError, Notice
from rfpmss.data.readers.stacks import KEYS

if TYPE_CHECKING:
    from rfpmss.data.dicom import Frame
    from rfpmss.data.look import File

FEWEST = 3
"""Two images are at equal distances whatever they are."""
_EACH_ITS_OWN = ("trigger time", "acquisition", "acquisition time")
"""Of `KEYS`, what may differ from slice to slice of one volume."""
_NAMES = ("SeriesNumber", "SeriesDescription")
_MORE = (
    *("ProtocolName", "Modality", "Rows", "Columns", "PixelSpacing", "RepetitionTime"),
    *("ScanningSequence", "SequenceVariant", "SequenceName"),
)


@dataclass(frozen=True)
class Slice:
    """The only image of a file, as its header describes it."""

    traits: tuple[str, ...]
    """What all slices of a volume share; empty if neither number nor description name a series."""


def slice_of(plane: Frame) -> Slice:
    """Read the header of an image."""
    try:
        return Slice(_traits(plane))
    except Exception:  # values that cannot be: then nothing says what the image belongs to
        return Slice(())


def _traits(plane: Frame) -> tuple[str, ...]:
    names = [str(plane.data.get(name, "") or "").strip() for name in _NAMES]
    if not any(names):
        return ()
    more = [str(plane.data.get(name, "") or "") for name in _MORE]
    keys = [str(read(plane)) for name, read in KEYS.items() if name not in _EACH_ITS_OWN]
    return (*names, *more, *keys)


def regroup(files: Sequence[File]) -> tuple[list[File], list[tuple[Path, DataError]]]:
    """Give images that are alone in their series, and together one regular stack, one series.

    Alike are images of one patient, study and frame of reference whose headers agree in number and
    description of the series, size, spacing, orientation, and all that tells volumes apart. They
    stay as they are where a place repeats or distances are unequal.

    Args:
        files: of a source, in any order.

    Returns:
        The files in the same order, and a notice for one file of each series that was made.
    """
    count = Counter(_series(file) for file in files if file.series)
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for number, file in enumerate(files):
        if file.slice and file.slice.traits and file.spot and count[_series(file)] == 1:
            alike = (file.view, file.sequence, file.patient, file.person, file.study, file.frame)
            groups[*alike, file.slice.traits, file.spot[:-1]].append(number)

    result = list(files)
    notices: list[tuple[Path, DataError]] = []
    for numbers in groups.values():
        if len(numbers) < FEWEST or step_of([files[n].spot[-1] for n in numbers]) is None:
            continue
        first = min(numbers, key=lambda n: files[n].series)
        for n in numbers:
            result[n] = replace(files[n], series=files[first].series)
        what = (
            f"{len(numbers)} images with a series identifier each are one series by their headers"
        )
        notices.append((files[first].path, Notice(f"{what}, and read as one")))
    return result, notices


def _series(file: File) -> tuple[str, str, str]:
    return file.patient, file.study, file.series


def step_of(places: Sequence[float]) -> float | None:
    """The distance of a regular stack by the places along its normal, else None."""
    steps = np.diff(np.sort(places))
    usual = float(np.median(steps))
    # Places are rounded to 0.01 mm, which comes on top of what `assemble` allows.
    allowed = max(TOLERANCE * usual, ROUNDING) + 0.01
    even = usual > 2 * ROUNDING and np.abs(steps - usual).max() <= allowed
    return float(steps.mean()) if even else None
