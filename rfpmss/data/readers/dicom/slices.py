"""What the headers of single images say of their series: which images are one, and what it lacks.

Some programs give every slice a SeriesInstanceUID of its own (Canon; some anonymisers).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from rfpmss.data.errors import MOVE, STRAY, DataError, GeometryError, Notice, OwnerError
from rfpmss.data.readers.dicom.frame import Frame, Slice
from rfpmss.data.readers.dicom.stacks import KEYS
from rfpmss.data.readers.dicom.volumes import ROUNDING, TOLERANCE
from rfpmss.data.readers.file import File

FEWEST = 3
"""Two images are at equal distances whatever they are."""
_EACH_ITS_OWN = ("trigger time", "acquisition", "acquisition time")
"""Of `KEYS`, what may differ from slice to slice of one volume."""
_NAMES = ("SeriesNumber", "SeriesDescription")
_MORE = (
    *("ProtocolName", "Modality", "Rows", "Columns", "PixelSpacing", "RepetitionTime"),
    *("ScanningSequence", "SequenceVariant", "SequenceName"),
)


def slice_of(plane: Frame) -> Slice:
    """Read the header of an image."""
    try:
        number = _number(plane, "InstanceNumber")
        distance = abs(_number(plane, "SpacingBetweenSlices") or 0.0)
        return Slice(_traits(plane), number, distance, plane.thickness)
    except Exception:  # values that cannot be: then nothing says what the image belongs to
        return Slice(())


def _number(plane: Frame, name: str) -> float | None:
    value = plane.data.get(name)
    return None if value is None else float(value)


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
    stay as they are where a place repeats or distances are unequal. A study of one image alone
    says as little as its series, and so does then a frame of reference: all of them were replaced.

    Args:
        files: of a source, in any order.

    Returns:
        The files in the same order, and a notice for one file of each series that was made.
    """
    count = Counter(_series(file) for file in files if file.series)
    studies = Counter((file.patient, file.study) for file in files)
    frames = Counter((file.patient, file.frame) for file in files)
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for number, file in enumerate(files):
        if file.slice and file.slice.traits and file.spot and count[_series(file)] == 1:
            alone = studies[file.patient, file.study] == 1
            study = file.date if alone else file.study
            frame = "" if alone and frames[file.patient, file.frame] == 1 else file.frame
            alike = (file.view, file.sequence, file.patient, file.person, study, frame)
            groups[*alike, file.slice.traits, file.spot[:-1]].append(number)

    result = list(files)
    notices: list[tuple[Path, DataError]] = []
    for numbers in groups.values():
        if len(numbers) < FEWEST or step_of([files[n].spot[-1] for n in numbers]) is None:
            continue
        first = min(numbers, key=lambda n: files[n].series)
        for n in numbers:
            one = files[first]
            result[n] = replace(files[n], series=one.series, study=one.study, frame=one.frame)
        what = (
            f"{len(numbers)} images with a series identifier each are one series by their headers"
        )
        notices.append((files[first].path, Notice(f"{what}, and read as one")))

    return result, notices


FEW = 0.1
"""Share of a series in a folder that may carry another PatientID by mistake."""


def strays(files: Sequence[File]) -> tuple[list[File], list[tuple[File, DataError]]]:
    """Leave out single files whose PatientID is not that of their series in their folder.

    Two patients whose series share a number, as some anonymisers make them, have folders or
    halves of their own; one slice among many is a slip, and nobody knows whose it is.

    Args:
        files: of a source.

    Returns:
        The other files in the same order, and those left out with the reason.
    """
    series: dict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
    for file in files:
        if file.kind == "dicom" and file.series:
            series[file.relative.parent, file.study, file.series][file.patient] += 1

    kept, left = [], []
    for file in files:
        counts = series.get((file.relative.parent, file.study, file.series), Counter())
        most = max(counts.values(), default=0)
        if len(counts) > 1 and most > 3 and counts[file.patient] <= max(1, FEW * most):
            what = f"its PatientID is not that of the {most} other files of its series"
            left.append((file, OwnerError(what, STRAY)))
        else:
            kept.append(file)

    return kept, left


def one_day(files: Sequence[File]) -> list[File]:
    """The files with the first day of their series: some anonymisers shift each file's dates."""
    days: dict[tuple[str, str], int] = {}
    for file in files:
        if file.series and file.date is not None:
            key = file.patient, file.series
            days[key] = min(file.date, days.get(key, file.date))

    return [
        replace(file, date=days.get((file.patient, file.series), file.date))
        if file.series
        else file
        for file in files
    ]


def sparse(
    files: Sequence[File], unread: Sequence[PurePosixPath]
) -> tuple[list[File], list[tuple[File, DataError]]]:
    """Tell of series that may lack slices at equal distances, which leave a regular stack.

    Of n slices left, n - 1 lie between them at least. Where so many files beside them have no
    readable header, the series is refused unless its own headers say that nothing is missing.
    Where nothing lies beside them and the headers speak of slices in between, that is noted.

    Args:
        files: of a source.
        unread: files that may be images and whose headers cannot be read, as `File.relative`.

    Returns:
        The files without those of refused series, and what is to be said of files.
    """
    beside = Counter((path.parent, _ending(path)) for path in unread)
    groups: dict[tuple[str, str, str], list[File]] = defaultdict(list)
    for file in files:
        if file.slice and file.spot:
            groups[_series(file)].append(file)

    said: list[tuple[File, DataError]] = []
    refused: set[int] = set()
    for group in groups.values():
        step, count = _step(group)
        if step is None:
            continue
        hint, whole = _hint(group, step), _whole(group, step)
        places = {(file.relative.parent, _ending(file.relative)) for file in group}
        lost = max(beside[place] for place in places)
        if lost >= count - 1 and (hint or not whole):
            what = f"{lost} files beside the series cannot be read and may be slices of it"
            error = GeometryError(f"{what} between those that lie {step:.2f} mm apart", MOVE)
            said += [(file, error) for file in group]
            refused |= {id(file) for file in group}
        elif hint:
            said.append((group[0], Notice(f"{hint}: some may be missing in between")))

    return [file for file in files if id(file) not in refused], said


def _ending(path: PurePosixPath) -> str:
    """What files of one export share at the end of their names; numbers are no ending."""
    return path.suffix.lower() if re.fullmatch(r"\.[A-Za-z]\w{0,4}", path.suffix) else ""


def _step(group: Sequence[File]) -> tuple[float | None, int]:
    """Distance and number of the slices of the largest stack; no distance if it is uneven."""
    stacks: dict[tuple[float, ...], set[float]] = defaultdict(set)
    for file in group:
        stacks[file.spot[:-1]].add(file.spot[-1])

    places = max(stacks.values(), key=len)
    return (step_of([*places]) if len(places) > 1 else None), len(places)


def _numbers(group: Sequence[File]) -> list[float]:
    """Instance numbers in order; nothing where one is missing or stands twice."""
    numbers = {file.slice.number for file in group if file.slice}
    known = sorted(number for number in numbers if number is not None)
    return known if len(known) == len(group) else []


def _hint(group: Sequence[File], step: float) -> str:
    """What in the headers speaks of slices between those that are there."""
    first = group[0].slice
    assert first is not None
    times = step / first.distance if first.distance else 1.0
    # Some programs write the gap between two slices for the distance of their middles.
    both = first.distance + first.thickness
    thinner = first.distance < 0.9 * first.thickness
    gap = thinner and abs(both - step) <= TOLERANCE * step + ROUNDING
    if times > 1.5 and abs(times - round(times)) <= 0.02 * times and not gap:
        return (
            f"slices lie {step:.2f} mm apart and SpacingBetweenSlices says {first.distance:.2f} mm"
        )

    steps = np.unique(np.diff(_numbers(group)))
    if len(group) >= FEWEST and len(steps) == 1 and steps[0] >= 2:
        return f"the instance numbers of the images go up by {steps[0]:.0f}"

    return ""


def _whole(group: Sequence[File], step: float) -> bool:
    """Whether the headers say that no slice is missing."""
    first = group[0].slice
    assert first is not None
    if first.distance and abs(first.distance - step) <= max(TOLERANCE * step, ROUNDING):
        return True

    numbers = _numbers(group)
    return bool(numbers) and numbers[-1] - numbers[0] == len(group) - 1


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
