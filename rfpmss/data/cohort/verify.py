"""Whether the images of a cohort are as they were prepared: each against its digest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from rfpmss.data.cohort.duplicates import digest
from rfpmss.data.cohort.fingerprint import NAMED, Fingerprint
from rfpmss.data.cohort.manifest import Row, check_images, jail, read, reference, truth_of
from rfpmss.data.cohort.places import entry
from rfpmss.data.cohort.shards import Shard
from rfpmss.data.errors import DataError, PathError, UnreadableError

THREADS = min(4, os.cpu_count() or 1)
"""hashlib lets others run while it works."""

_KNOWN: dict[tuple, str] = {}
"""Digests by file, size, time and row: an image is looked at once in a process."""


COPIES = "put the shards themselves into the folder of the manifest"


@dataclass(frozen=True)
class Damage:
    """An image that is not as it was prepared."""

    study: str
    """Identifier of its study."""
    path: str
    """As the manifest names it."""
    reason: str


def digested(
    rows: Sequence[Row], root: Path, shards: dict[str, Shard], *, every: bool
) -> list[Row]:
    """The rows, each image with its digest.

    Args:
        rows: of the manifest.
        root: its folder.
        shards: those already open; gets the others.
        every: compare all images with their digests; otherwise only absent ones are made.

    Raises:
        UnreadableError: if images are damaged; names the studies.
        LeakageError: if one image stands in two splits.
    """
    chosen = [row for row in rows if row.path and (every or not row.digest)]
    found = pixel_digests(chosen, root, shards)
    damaged = compare(chosen, found)
    if damaged:
        names = list(dict.fromkeys(item.study for item in damaged))
        files = sorted({reference(item.path)[0] for item in damaged})
        more = ", ..." if len(names) > NAMED else ""
        raise UnreadableError(
            f"{len(names)} studies have images that are not as they were prepared, in "
            f"{', '.join(files[:NAMED])}: {', '.join(names[:NAMED])}{more}"
        )

    made = {row.path: content for row, content in zip(chosen, found, strict=True)}
    whole = [replace(row, digest=row.digest or str(made.get(row.path, ""))) for row in rows]
    check_images(whole)  # now by the digests that the manifest left out, too
    return whole


def compare(rows: Sequence[Row], found: Sequence[str | DataError]) -> list[Damage]:
    """The images whose content is not that of their digest, or cannot be read.

    Args:
        rows: with images.
        found: of `pixel_digests`.
    """
    damaged = []
    for row, content in zip(rows, found, strict=True):
        if isinstance(content, DataError):
            damaged.append(Damage(row.study_id, row.path, content.reason))
        elif row.digest and row.digest != content:
            damaged.append(Damage(row.study_id, row.path, "the pixels are not those of the digest"))

    return damaged


def pixel_digests(
    rows: Sequence[Row], root: Path, shards: dict[str, Shard]
) -> list[str | DataError]:
    """The digest of each row's image, or why it cannot be read.

    Raises:
        PathError: if a path leads out of the folder.
    """
    marks: dict[str, tuple] = {}

    def one(row: Row) -> str | DataError:
        try:
            shard, number = entry(row, root, shards)
            name = reference(row.path)[0]
            if name not in marks:
                path = jail(root, name)
                about = path.stat()
                marks[name] = (str(path), about.st_ino, about.st_size, about.st_mtime_ns)
            key = (*marks[name], number)
            if key not in _KNOWN:
                _KNOWN[key] = digest(shard[number])
            return _KNOWN[key]
        except PathError as error:
            where = f"path {row.path[:200]!r} of the manifest"
            raise PathError(f"{error.reason} ({where})", COPIES) from None
        except DataError as error:
            return error
        except OSError:
            return UnreadableError("a shard cannot be read")

    if len(rows) < 2:
        return [one(row) for row in rows]

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, rows))


def fingerprint_of(manifest: Path) -> Fingerprint:
    """What a cohort is known by, its images taken at the word of the manifest where it has one.

    Raises:
        DataError: if the manifest is damaged.
        OSError: if it cannot be read.
    """
    rows = digested(read(manifest), manifest.parent, {}, every=False)
    return Fingerprint.of(rows, truth_of(manifest))
