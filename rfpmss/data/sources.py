"""The files of a source to volumes on one grid, with what had to be left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rfpmss.data import dicom
from rfpmss.data.errors import (
    DataError,
    GeometryError,
    IncompleteError,
    LocalizerError,
    ShortError,
    UnsupportedError,
    UnusedError,
)
from rfpmss.data.grid import onto, same_grid
from rfpmss.data.study import Source
from rfpmss.data.volume import MAX_BYTES, Volume, read_nifti

Gaps = Literal["refuse", "resample"]


@dataclass(frozen=True)
class Loaded:
    """The decoded channels of a view."""

    volumes: tuple[Volume, ...]
    """All on the grid of the first."""
    names: tuple[str, ...]
    """What each volume shows, ``""`` where it is not known."""
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
    if source.kind == "nifti":
        volumes, names = _nifti(source, gaps, limit), source.channels
        unused: tuple[tuple[Path, DataError], ...] = ()
    elif source.kind == "dicom":
        volumes, names, unused = _dicom(source, gaps, limit, fewest)
    else:
        raise UnsupportedError(f"a {source.kind} file is no volume")
    mask = read_nifti(source.mask, limit) if source.mask else None
    return Loaded(tuple(volumes), tuple(names) or ("",) * len(volumes), mask, unused)


def _nifti(source: Source, gaps: Gaps, limit: int) -> list[Volume]:
    volumes = [read_nifti(path, limit, source.volume) for path in source.paths]
    names = source.channels or ("image",) * len(volumes)
    for number, name in enumerate(names):
        if same_grid(volumes[0], volumes[number]):
            continue
        if gaps == "refuse":
            raise GeometryError(f"the sequence {name} lies on another grid than the first one")
        volumes[number] = onto(volumes[number], volumes[0])
    return volumes


def _dicom(
    source: Source, gaps: Gaps, limit: int, fewest: int
) -> tuple[list[Volume], tuple[str, ...], tuple[tuple[Path, DataError], ...]]:
    """One volume a series; a further series that cannot be laid upon the first is left out."""
    volumes: list[Volume] = []
    names: list[str] = []
    unused: list[tuple[Path, DataError]] = []
    failures: list[DataError] = []
    start = 0
    channels = source.channels or ("",)
    for count, name in zip(source.parts or (len(source.paths),), channels, strict=True):
        paths = source.paths[start : start + count]
        start += count
        try:
            volume, left = read_series(paths, gaps, limit, fewest)
            volumes.append(onto(volume, volumes[0]) if volumes else volume)
        except DataError as error:
            failures.append(error)
            unused += [(path, error) for path in paths]
            continue
        names.append(name)
        unused += left
    if not volumes:
        raise failures[0]
    return volumes, tuple(names), tuple(unused)


def read_series(
    paths: Sequence[Path], gaps: Gaps = "refuse", limit: int = MAX_BYTES, fewest: int = 1
) -> tuple[Volume, list[tuple[Path, DataError]]]:
    """The largest stack of a DICOM series, and the files that are not in it."""
    planes: list[dicom.Frame] = []
    owner: dict[int, Path] = {}
    left: list[tuple[Path, DataError]] = []
    for path in paths:
        try:
            mine = dicom.frames(dicom.read_file(path, limit), limit)
        except LocalizerError as error:
            left.append((path, error))
            continue
        planes += mine
        owner |= dict.fromkeys(map(id, mine), path)
    if not planes:
        raise IncompleteError("the series holds nothing but localizers")
    largest, *rest = dicom.stacks(planes)
    if len(largest) < fewest:
        raise ShortError(f"the largest stack of the series has {len(largest)} of {fewest} slices")
    volume = dicom.assemble(largest, gaps)
    taken = {owner[id(plane)] for plane in largest}
    error = UnusedError(f"the series holds {len(rest) + 1} stacks; the largest one is used")
    others = dict.fromkeys(owner[id(plane)] for part in rest for plane in part)
    return volume, [*left, *((path, error) for path in others if path not in taken)]
