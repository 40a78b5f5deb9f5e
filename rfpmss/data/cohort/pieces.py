"""One prepared study on its way into a shard: decoded here, read and put together in `shards`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from rfpmss.common.files import whole
from rfpmss.data.boxes import readers
from rfpmss.data.cohort.duplicates import coarse, digest
from rfpmss.data.cohort.shards import Rejection, files_of, piece_path, series
from rfpmss.data.errors import BombError, DataError, UnforeseenError, UnreadableError, describe
from rfpmss.data.study import Source, Study
from rfpmss.data.views import Choice, Views, read_views


def write_piece(folder: Path, study: Study, choice: Choice) -> None:
    """Decode one study once; the piece appears only when complete.

    A view that cannot be read is left out and its reason is stored beside the others.
    """
    arrays: dict[str, np.ndarray] = {}
    notes: dict[str, object] = {}
    found = series(study)
    reading = _readers(found, choice)
    for name, source in found.items():
        try:
            made = reading[name]()
        except DataError as error:
            own = [(path, describe(reason)) for path, reason in error.files]
            notes[name] = {"reason": describe(error), "unused": _numbered(source, own)}
            continue
        except MemoryError:
            notes[name] = {"reason": describe(BombError("the memory does not suffice"))}
            continue
        except OSError:
            notes[name] = {"reason": describe(UnreadableError("a file cannot be opened"))}
            continue
        except Exception:
            notes[name] = {"reason": describe(UnforeseenError("a reader failed"))}
            continue

        arrays[name] = made.images
        notes[name] = {
            "shape": made.images.shape,
            "boxes": [list(box) if box else None for box in made.boxes],
            "heights": made.heights,
            "spacing": made.spacing,
            "grid": made.grid,
            "voxel": made.voxel,
            "sequence": made.sequence,
            "absent": sorted(set(source.channels) - set(made.channels)),
            "digest": digest(made.images),
            "coarse": coarse(made.images[made.best]),
            "unused": _numbered(source, made.unused),
        }

    text = np.frombuffer(json.dumps(notes).encode(), np.uint8)
    # A look for what dead writers left, once a study, would list all pieces each time.
    with whole(piece_path(folder, study.study_id), private=True, swept=False) as file:
        np.savez(file, notes=text, **arrays)  # type: ignore[arg-type]


def _readers(found: dict[str, Source], choice: Choice) -> dict[str, Callable[[], Views]]:
    """What reads each series."""
    if choice.depth:
        return readers(found, choice)
    return {
        name: partial(read_views, name.partition(".")[0], source, choice)
        for name, source in found.items()
    }


def _numbered(source: Source, reasons: Iterable[Rejection]) -> list[tuple[int, str]]:
    """Files by their number in the source, the mask after the images."""
    files = files_of(source)
    return [(files.index(path), reason) for path, reason in reasons]
