"""What ``rfpmss check`` does."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from rfpmss.data.cohort.manifest import (
    accept,
    check_images,
    check_together,
    manifest_of,
    parse,
    sum_of,
)
from rfpmss.data.cohort.manifest import read as rows_of
from rfpmss.data.cohort.verify import compare, pixel_digests
from rfpmss.options.check import Arguments
from rfpmss.runs.folder import ArgumentError

if TYPE_CHECKING:
    from rfpmss.data.cohort.manifest import Row


def check(arguments: Arguments) -> int:
    """Check a cohort; return 0 if it is as it was written."""
    manifest = manifest_of(arguments.cohort)
    if not manifest.is_file():
        raise ArgumentError(
            f"COHORT must be the folder of a prepared cohort, or its manifest, got "
            f"{arguments.cohort}"
        )

    if arguments.accept:
        rows = parse(manifest)
        check_together(rows)
    else:
        rows = rows_of(manifest)

    known = "" if sum_of(manifest).is_file() else "; it has no sum, so missing rows cannot be seen"
    print(f"manifest: {len(rows)} rows, {len({row.study_id for row in rows})} studies{known}")
    images = [row for row in rows if row.path]
    found = pixel_digests(images, manifest.parent, {})
    damaged = compare(images, found)
    print(f"images: {len(images) - len(damaged)} of {len(images)} as they were prepared")

    if bare := sum(not row.digest for row in images):
        print(f"note: {bare} images have no digest; that they can be read is all that is known")

    for item in damaged:
        print(f"damaged: study {item.study}, {item.path}: {item.reason}", file=sys.stderr)

    if damaged:
        return _refuse(rows, {item.study for item in damaged})

    made = zip(images, map(str, found), strict=True)
    check_images([replace(row, digest=content) for row, content in made])
    if arguments.accept:  # last: what is refused changes nothing
        accept(manifest, rows)

    return 0


def _refuse(rows: list[Row], studies: set[str]) -> int:
    whole = len({row.study_id for row in rows})
    print(
        f"error: {len(studies)} of {whole} studies are damaged; copy the shards again from where "
        f"they came from, or prepare the cohort again",
        file=sys.stderr,
    )
    return 1
