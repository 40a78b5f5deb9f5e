"""Prepared studies as plain NumPy arrays, of which any part is read by its place.

One ``shards/<view>-<number>.npy`` per view and per `SIZE` studies, 8 bits per value, axes
[study, image, channel, row, column]. Plain .npy because any program reads it, each image lies in
one piece (`Shard` reads it by `os.pread`), it streams front to back, its bytes depend on the
content alone, and it can never hold code.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import weakref
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from jaxtyping import UInt8
from numpy.lib import format as npy
from numpy.lib.npyio import NpzFile

from rfpmss.common.files import (
    PRIVATE,
    appended,
    clear_dead,
    descriptor,
    opened,
    regular,
    remove,
    sync,
)
from rfpmss.config import VIEWS
from rfpmss.data.cohort.manifest import Row, pack_labels, reference
from rfpmss.data.errors import (
    DataError,
    PieceError,
    UnreadableError,
)
from rfpmss.data.study import Source, Study

SIZE = 1024
"""Most studies in one shard."""
LARGEST = 1 << 30
"""Most bytes in one shard."""

SIDES = (1 << 24, 1 << 16, 1 << 10, 1 << 16, 1 << 16)
"""Most studies, images, channels, rows and columns that the header of a shard may claim."""

_PARSER = threading.Lock()
"""Held while NumPy parses a header: Python 3.11 counts the depth of all threads' parses together,
and when a collection of garbage lets one in between another's it ends in a SystemError."""

Rejection = tuple[Path, str]
"""A file that is in no view, and why."""


def piece_path(folder: Path, study_id: str) -> Path:
    """Where one prepared study waits for its shard."""
    return folder / f"{study_id}.npz"


def series(study: Study) -> dict[str, Source]:
    """All series of a study: ``ct``, ``mri``, ... the best of each view; ``mri.1``, ... the others.

    Example:
        >>> mri = Source(kind="nifti", paths=(Path("t1.nii"),))
        >>> list(series(Study(study_id="a", patient_id="a", views=(None, mri, None),
        ...                   others=(("mri", mri),))))
        ['mri', 'mri.1']
    """
    result = {
        view: source for view, source in zip(VIEWS, study.views, strict=True) if source is not None
    }
    for number, (view, source) in enumerate(study.others, start=1):
        result[f"{view}.{number}"] = source
    return result


def files_of(source: Source) -> list[Path]:
    """Of a series, the mask after the images; pieces count them."""
    return [*source.paths, *filter(None, (source.mask,))]


def read_notes(path: Path) -> dict[str, dict]:
    """What a piece says of each series: ``shape`` and ``boxes``, or the ``reason`` of its lack.

    Raises:
        PieceError: if it is damaged.
    """
    with _open_piece(path) as piece:
        return json.loads(piece["notes"].tobytes().decode())


@contextmanager
def _open_piece(path: Path) -> Iterator[NpzFile]:
    """A piece; whatever is wrong with it is one error."""
    try:
        with opened(path) as file, np.load(file, allow_pickle=False) as piece:
            yield piece
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise PieceError(f"the prepared study {path.stem} is damaged") from None


_DAMAGED = (
    *(BadZipFile, EOFError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError),
    zlib.error,
)
"""What a file that is cut or changed raises when it is read as arrays."""


def clear(folder: Path) -> None:
    """Remove what killed processes and bad disks left: half-written and damaged pieces."""
    for path in folder.iterdir():
        if path.suffix == ".npz" and not path.name.startswith("."):
            if not _whole(path):
                remove(path)
        else:
            clear_dead(path)


def _whole(path: Path) -> bool:
    """Whether each byte of a piece is as it was written, by the checksums of its parts."""
    try:
        with opened(path) as file, ZipFile(file) as archive:
            return archive.testzip() is None
    except (*_DAMAGED, OSError):
        return False


def assemble(root: Path, pieces: Sequence[Path], studies: Sequence[Study]) -> list[Row]:
    """Put the pieces of all studies into shards under ``root``; give the manifest's rows.

    Args:
        root: folder of the manifest; gets ``shards/``.
        pieces: of `rfpmss.data.cohort.pieces.write_piece`, one a study.
        studies: in the order of the manifest.
    """
    shards = root / "shards"
    shutil.rmtree(shards, ignore_errors=True)
    shards.mkdir()
    rows: list[Row] = []
    for start in range(0, len(studies), SIZE):
        block, paths = studies[start : start + SIZE], pieces[start : start + SIZE]
        notes = [read_notes(path) for path in paths]
        places = _write_shards(shards, paths, notes, f"{start // SIZE:05d}")
        for study, said, place in zip(block, notes, places, strict=True):
            rows += _rows(study, said, place)

    return rows


def _write_shards(
    shards: Path, paths: Sequence[Path], notes: Sequence[dict[str, dict]], name: str
) -> list[dict[str, str]]:
    """One file per view and image size; the place of every study's views."""
    places: list[dict[str, str]] = [{} for _ in notes]
    stacks: dict[str, np.memmap] = {}
    for view in VIEWS:
        by_shape: dict[tuple[int, ...], list[tuple[int, str]]] = {}
        for number, said in enumerate(notes):
            for key, note in said.items():
                if key.partition(".")[0] == view and "shape" in note:
                    by_shape.setdefault(tuple(note["shape"]), []).append((number, key))
        for kind, (shape, numbers) in enumerate(_files(by_shape)):
            file = f"{view}-{name}{f'-{kind}' if kind else ''}.npy"
            stacks[f"shards/{file}"] = _new(shards / file, (len(numbers), *shape))
            for row, (number, key) in enumerate(numbers):
                places[number][key] = f"shards/{file}#{row}"

    for path, place in zip(paths, places, strict=True):
        with _open_piece(path) as piece:
            for key, where in place.items():
                file, row = reference(where)
                stacks[file][row] = piece[key]

    for file, stack in stacks.items():
        stack.flush()
        sync(shards.parent / file)

    return places


def _files(
    by_shape: dict[tuple[int, ...], list[tuple[int, str]]],
) -> Iterator[tuple[tuple[int, ...], list[tuple[int, str]]]]:
    """What goes into each file: series of one size, at most `LARGEST` bytes of them."""
    for shape, numbers in sorted(by_shape.items()):
        rows = max(1, LARGEST // prod(shape))
        for start in range(0, len(numbers), rows):
            yield shape, numbers[start : start + rows]


def _new(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A new shard of its full size: a disk that is full says so now, not by a signal later."""
    path.touch(mode=PRIVATE)
    stack = npy.open_memmap(regular(path), mode="w+", dtype=np.uint8, shape=shape)
    with appended(path) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None

    return stack


def _rows(study: Study, notes: dict[str, dict], places: dict[str, str]) -> Iterable[Row]:
    common = {
        "patient_id": study.patient_id,
        "study_id": study.study_id,
        "split": study.split,
        "labels": pack_labels(study.labels),
    }
    found = series(study)
    # The best series of a view first, whatever the order of the shards that they went into.
    made = [name for name in found if name in places]
    for name in sorted(made, key=lambda name: VIEWS.index(name.partition(".")[0])):
        boxes = "|".join(_box_text(box) for box in notes[name]["boxes"])
        yield Row(
            **common,
            modality=name.partition(".")[0],
            path=places[name],
            series=_decoded(found[name].series, notes[name].get("absent", ())),
            boxes=boxes if boxes.strip("|") else "",
            spacing=" ".join(f"{value:.4g}" for value in notes[name]["spacing"]),
            grid=" ".join(map(str, notes[name]["grid"])),
            digest=notes[name]["digest"],
            heights=" ".join(f"{mm:.4g}" for mm in notes[name].get("heights", ())),
            voxel=" ".join(f"{mm:.4g}" for mm in notes[name].get("voxel", ())),
            sequence=notes[name].get("sequence", ""),
        )

    if study.report is not None:
        yield Row(
            **common,
            modality="report",
            report=study.report,
            derived="yes" if study.derived else "",
            origin=study.origin,
        )


def _decoded(series: str, absent: Sequence[str]) -> str:
    """The name of a series without the sequences that could not be decoded."""
    for name in absent:
        series = re.sub(rf"(?<![^ +]){re.escape(name)}(?![^ +])[ +]?", "", series)
    return series.strip(" +")


def unused(study: Study, notes: dict[str, dict]) -> Iterable[Rejection]:
    """The files of a study that are in none of its views."""
    told: dict[Rejection, None] = {}
    masks: set[Path] = set()
    for name, source in series(study).items():
        note, files = notes[name], files_of(source)
        own = {files[number]: str(reason) for number, reason in note.get("unused", ())}
        if "reason" in note:
            own = dict.fromkeys(files, str(note["reason"])) | own
        elif source.mask not in own:
            masks.update(filter(None, (source.mask,)))
        told |= dict.fromkeys(own.items())

    yield from (entry for entry in told if entry[0] not in masks)  # one mask may serve several


def _box_text(box: Sequence[float] | None) -> str:
    return " ".join(f"{value:.5f}" for value in box) if box else ""


class Shard:
    """A shard on disk, read a study at a time: what is cut off under a reader is an error.

    A memory map of a file that becomes shorter ends the process without a word (SIGBUS).

    Raises:
        UnreadableError: if the file is no array of the right kind.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self._number = descriptor(path)
        except OSError:
            raise UnreadableError(f"the shard {self.name} is missing or damaged") from None

        weakref.finalize(self, os.close, self._number)
        self.shape, self._offset = self._header()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | slice | tuple) -> np.ndarray:
        """As of an array: a study, some studies, or a part of them.

        Raises:
            UnreadableError: if the file ends before it.
        """
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, slice):
            chosen = [self._study(row) for row in range(*first.indices(len(self)))]
            return np.stack(chosen)[(slice(None), *rest)]

        row = range(len(self))[first]
        if rest and isinstance(rest[0], int | np.integer):
            return self._read(row, range(self.shape[1])[rest[0]])[tuple(rest[1:])]

        return self._study(row)[tuple(rest)]

    def _study(self, row: int) -> UInt8[np.ndarray, "s c h w"]:
        return self._bytes(row * prod(self.shape[1:]), self.shape[1:])

    def _read(self, row: int, image: int) -> UInt8[np.ndarray, "c h w"]:
        number = row * self.shape[1] + image
        return self._bytes(number * prod(self.shape[2:]), self.shape[2:])

    def _bytes(self, start: int, shape: tuple[int, ...]) -> np.ndarray:
        size, found = prod(shape), bytearray()
        try:
            while len(found) < size:
                part = os.pread(self._number, size - len(found), self._offset + start + len(found))
                if not part:
                    raise UnreadableError(f"the shard {self.name} ends too early")
                found += part
        except OSError:
            raise UnreadableError(f"the shard {self.name} cannot be read") from None

        return np.frombuffer(found, np.uint8).reshape(shape)

    def _header(self) -> tuple[tuple[int, ...], int]:
        with os.fdopen(self._number, "rb", closefd=False) as file:
            try:
                version = npy.read_magic(file)
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                with _PARSER:
                    shape, fortran, kind = read(file)
            except (OSError, ValueError, TypeError, OverflowError, SyntaxError, RecursionError):
                raise UnreadableError(f"the shard {self.name} is missing or damaged") from None

            fits = len(shape) == len(SIDES) and all(
                isinstance(side, int) and 0 < side <= most
                for side, most in zip(shape, SIDES, strict=True)
            )
            if fortran or kind != np.uint8 or not fits:
                raise UnreadableError(
                    f"the shard {self.name} must be a stack of 8-bit images, "
                    f"got {kind.str} of shape {shape}"
                )

            return shape, file.tell()


def open_shard(path: Path) -> Shard:
    """Open a shard, read-only.

    Raises:
        UnreadableError: if it is no array of the right kind.
    """
    return Shard(path)
