"""The files of a source to volumes on one grid, with what had to be left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rfpmss.data.errors import (
    CORRECT,
    LAY,
    NOTHING,
    VOLUME,
    BombError,
    DataError,
    GeometryError,
    IncompleteError,
    LocalizerError,
    Notice,
    ShortError,
    UnreadableError,
    UnsupportedError,
    UnusedError,
)
from rfpmss.data.readers.dicom import volumes as dicom
from rfpmss.data.readers.dicom.segments import read_segments
from rfpmss.data.readers.dicom.stacks import Stack, choose, stacks
from rfpmss.data.readers.formats import read_volume
from rfpmss.data.readers.grid import onto, same_grid
from rfpmss.data.readers.sniff import kind_of
from rfpmss.data.readers.volume import MAX_BYTES, Volume
from rfpmss.data.study import Source

Gaps = Literal["refuse", "resample"]
Left = list[tuple[Path, DataError]]
"""Files that are in no volume, or not all of them, each with the reason."""


@dataclass(frozen=True)
class Loaded:
    """The decoded channels of a view."""

    volumes: tuple[Volume, ...]
    """All on the grid of the first."""
    names: tuple[str, ...]
    """What each volume shows, ``""`` where it is not known."""
    paths: tuple[tuple[Path, ...], ...]
    """The files of each volume."""
    mask: Volume | None = None
    """Segmentation, on a grid of its own."""
    unused: tuple[tuple[Path, DataError], ...] = ()
    """Files of the source that are in no volume, each with the reason."""


def load(source: Source, gaps: Gaps = "refuse", limit: int = MAX_BYTES, fewest: int = 1) -> Loaded:
    """Decode a NIfTI or DICOM source.

    Args:
        source: of kind ``nifti`` or ``dicom``.
        gaps: ``resample`` also lays NIfTI sequences of different grids upon the first; DICOM
            series of one study never share a grid and are always laid upon the first.
        limit: largest decoded image, bytes.
        fewest: slices that a DICOM series must have.

    Raises:
        DataError: of the class that tells what is wrong with the files.
    """
    left: Left = []
    if source.kind == "nifti":
        volumes = _files(source, gaps, limit, left)
    elif source.kind == "dicom":
        volumes = _dicom(source, gaps, limit, fewest, left)
    else:
        raise UnsupportedError(f"a {source.kind} file is no volume")

    mask = _mask(source, limit, left)
    arrays, names, paths = zip(*volumes, strict=True)
    return Loaded(arrays, names, paths, mask, tuple(left))


_Named = tuple[Volume, str, tuple[Path, ...]]
"""A volume, what it shows, and its files."""


def _files(source: Source, gaps: Gaps, limit: int, left: Left) -> list[_Named]:
    """One volume a file; those that cannot be read or lie on another grid are left out."""
    read: dict[int, Volume] = {}
    frames = source.frames or (source.volume,) * len(source.paths)
    for number, (path, frame) in enumerate(zip(source.paths, frames, strict=True)):
        try:
            read[number] = _file(path, limit, frame, left)
        except DataError as error:
            left.append((path, error))

    if not read:
        error = left[0][1]
        error.files = tuple(left)
        raise error

    first = _commonest(list(read.values()))
    names = source.channels or ("",) * len(source.paths)
    for number, volume in list(read.items()):
        if same_grid(first, volume):
            continue
        if gaps == "resample":
            read[number] = onto(volume, first)
            continue
        what = f"the sequence {names[number]}" if names[number] else "the image"
        error = GeometryError(f"{what} lies on another grid than the others", LAY)
        left.append((source.paths[number], error))
        del read[number]

    return [(volume, names[n], (source.paths[n],)) for n, volume in read.items()]


def _file(path: Path, limit: int, frame: int | None, left: Left) -> Volume:
    volume = read_volume(path, limit, frame)
    if volume.notes:
        left.append((path, Notice("; ".join(volume.notes))))
    return volume


def _commonest(volumes: Sequence[Volume]) -> Volume:
    """The first volume of the grid that most of them have."""
    return max(volumes, key=lambda volume: sum(same_grid(volume, other) for other in volumes))


def _mask(source: Source, limit: int, left: Left) -> Volume | None:
    if source.mask is None:
        return None

    try:
        if kind_of(source.mask) == "dicom":
            return read_segments(source.mask, limit)
        return _file(source.mask, limit, None, left)
    except DataError as error:
        left.append((source.mask, error))
        return None


def _dicom(source: Source, gaps: Gaps, limit: int, fewest: int, left: Left) -> list[_Named]:
    """One volume a series; a further series that cannot be laid upon the first is left out."""
    volumes: list[_Named] = []
    failures: list[DataError] = []
    start = 0
    channels = source.channels or ("",)
    for count, name in zip(source.parts or (len(source.paths),), channels, strict=True):
        paths = source.paths[start : start + count]
        start += count
        try:
            volume, mine = read_series(paths, gaps, limit, fewest, source.volume)
            volume = onto(volume, volumes[0][0]) if volumes else volume
        except DataError as error:
            failures.append(error)
            left += error.each(paths)
            continue

        volumes.append((volume, name, paths))
        left += mine

    if not volumes:
        error = failures[0]
        error.files = tuple(left)
        raise error

    return volumes


def read_series(
    paths: Sequence[Path],
    gaps: Gaps = "refuse",
    limit: int = MAX_BYTES,
    fewest: int = 1,
    volume: int | None = None,
) -> tuple[Volume, Left]:
    """The largest stack of a DICOM series, and the files that are not in it, or not all.

    A file that cannot be read costs itself alone where the others are a regular stack without it.

    Args:
        paths: the files of one series.
        gaps: as `load` has it.
        limit: largest decoded file, bytes.
        fewest: slices that the stack must have.
        volume: which of several echoes, time points, ... at the same places; None: the first.

    Raises:
        DataError: why there is no volume; its ``files`` have reasons of their own.
    """
    left: Left = []
    try:
        return _read_series(paths, gaps, limit, fewest, volume, left), left
    except DataError as error:
        error.files = tuple(left)
        raise


def _read_series(
    paths: Sequence[Path], gaps: Gaps, limit: int, fewest: int, volume: int | None, left: Left
) -> Volume:
    planes: list[dicom.Frame] = []
    owner: dict[int, Path] = {}
    unknown = 0
    for path in paths:
        try:
            mine = _planes(path, limit)
        except DataError as error:
            left.append((path, error))
            unknown += not isinstance(error, LocalizerError | UnsupportedError)
            continue

        planes += mine
        owner |= dict.fromkeys(map(id, mine), path)

    if not planes:
        if all(isinstance(error, LocalizerError) for _, error in left):
            raise IncompleteError("the series holds nothing but localizers", NOTHING)
        raise left[0][1]

    named = len(left)
    planes = _placed(planes, owner, left)
    unknown += len(left) - named

    found = stacks(planes)
    chosen = choose(found, volume)
    if len(chosen) < fewest:
        raise ShortError(f"the largest stack of the series has {len(chosen)} of {fewest} slices")

    lost: list[tuple[dicom.Frame, DataError]] = []
    try:
        made = dicom.assemble(chosen.planes, gaps, lost)
    except DataError:
        left += _unlike(found, chosen, owner)
        raise
    finally:
        left += {owner[id(plane)]: error for plane, error in lost}.items()

    kept = len(chosen) - len(lost)
    if kept < fewest:
        raise ShortError(f"only {kept} slices of the series can be read, {fewest} are wanted")
    if unknown and unknown >= kept - 1:
        raise GeometryError("too few slices can be read to tell whether any are missing between")

    _leave(found, chosen, owner, left)
    return made


def _planes(path: Path, limit: int) -> list[dicom.Frame]:
    """The images of a file; where only the pixels are bad, their places with the reason."""
    try:
        return dicom.frames(dicom.read_file(path, limit), limit)
    except (UnreadableError, BombError) as error:
        try:
            header = dicom.frames(dicom.read_file(path, limit, pixels=False), limit, pixels=False)
        except DataError:
            raise error from None
        if any(plane.position is None or plane.orientation is None for plane in header):
            raise
        return [replace(plane, error=error) for plane in header]


def _placed(planes: list[dicom.Frame], owner: dict[int, Path], left: Left) -> list[dicom.Frame]:
    """The images that say where they lie; all of them where none does."""
    placed = [p for p in planes if p.position is not None and p.orientation is not None]
    if not placed:
        return planes

    error = GeometryError("the image does not say where it lies", CORRECT)
    lost = {owner[id(plane)] for plane in planes} - {owner[id(plane)] for plane in placed}
    left += [(path, error) for path in sorted(lost)]
    return placed


def _unlike(found: Sequence[Stack], chosen: Stack, owner: dict[int, Path]) -> Left:
    """Files of other sizes, spacings or directions than those of a stack that has a fault."""
    taken = {owner[id(plane)] for plane in chosen.planes}
    error = GeometryError(
        f"its size, spacing or direction is not that of the {len(chosen)} others of its series",
        CORRECT,
    )
    others = {owner[id(p)] for s in found if not s.by or s.by != chosen.by for p in s.planes}
    return [(path, error) for path in sorted(others - taken)]


def _leave(found: Sequence[Stack], chosen: Stack, owner: dict[int, Path], left: Left) -> None:
    """Say of every other image why it is not used, once a file."""
    copy = UnusedError("the same image stands in another file of the series")
    later = UnusedError(
        "another image at the same place was taken first and nothing tells the two apart"
    )
    reasons: dict[Path, DataError] = {}
    for stack in found:
        reasons |= {owner[id(plane)]: plane.error or copy for plane in stack.copies}
        reasons |= {owner[id(plane)]: later for plane in stack.extras}
        if stack is not chosen:
            error = _other(stack, chosen, len(found))
            reasons |= {owner[id(plane)]: error for plane in stack.planes}

    taken = {owner[id(plane)] for plane in chosen.planes}
    named = {path for path, _ in left}
    for path, error in reasons.items():
        if path in taken:
            error = Notice(f"in part: {error.reason}", error.cure)
        if path not in named:
            left.append((path, error))


def _other(stack: Stack, chosen: Stack, count: int) -> DataError:
    if stack.by and stack.by == chosen.by:
        return UnusedError(
            f"the series holds volumes that differ in {stack.by}; number {chosen.number} is used",
            VOLUME,
        )
    return UnusedError(f"the series holds {count} stacks; the largest one is used")
