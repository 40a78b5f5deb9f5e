"""A study as boxes: every sequence resampled once into one box about the head, slice upon slice."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32

from rfpmss.config import VIEWS
from rfpmss.data.errors import describe
from rfpmss.data.readers.assembly import Left, Loaded, load
from rfpmss.data.readers.box import Head, box_at, head_of, into, require_inside
from rfpmss.data.readers.sequences import named
from rfpmss.data.readers.volume import Volume
from rfpmss.data.study import Box, Source, Study
from rfpmss.data.views import Choice, Views, brain, encode, in_skull, mask_of, read_views, windows

APART = 30.0
"""Millimetres between the middles of two heads that cannot be one in the same place."""

MRI = VIEWS.index("mri")


def apart(study: Study) -> Study:
    """The study with each MRI sequence as a series of its own, the best first.

    Example:
        >>> from pathlib import Path
        >>> both = Source(kind="nifti", paths=(Path("a"), Path("b")), channels=("t1", "t2"))
        >>> found = apart(Study(study_id="s", patient_id="p", views=(None, both, None)))
        >>> found.views[1].channels, [source.channels for _, source in found.others]
        (('t1',), [('t2',)])
    """
    heads = [study.views[MRI], *(source for view, source in study.others if view == "mri")]
    first, *rest = [part for source in heads if source for part in _parts(source)] or [None]
    views = tuple(first if view == "mri" else s for view, s in zip(VIEWS, study.views, strict=True))
    others = tuple(entry for entry in study.others if entry[0] != "mri")

    return replace(study, views=views, others=(*others, *(("mri", part) for part in rest if part)))


def _parts(source: Source) -> list[Source]:
    """A source for each of its sequences."""
    if len(source.channels) < 2:
        return [replace(source, channels=source.channels or (named(source.shows),))]

    counts = source.parts or (1,) * len(source.channels)
    ends = np.cumsum(counts)
    words = re.split(r"[ +]", source.series)
    return [
        replace(
            source,
            channels=(name,),
            paths=source.paths[end - count : end],
            frames=source.frames[end - count : end],
            parts=(),
            series=" ".join(w for w in words if w == name or w not in source.channels),
        )
        for name, count, end in zip(source.channels, counts, ends.tolist(), strict=True)
    ]


def readers(sources: Mapping[str, Source], choice: Choice) -> dict[str, Callable[[], Views]]:
    """What reads each series of a study that is `apart`; each may raise what is wrong with it.

    Args:
        sources: by name, as `rfpmss.data.cohort.shards.series` gives them.
        choice: with ``depth`` and ``spacing``.
    """
    stack = _Stack({name: s for name, s in sources.items() if name.startswith("mri")}, choice)
    return {name: _reader(name, source, stack) for name, source in sources.items()}


def _reader(name: str, source: Source, stack: _Stack) -> Callable[[], Views]:
    view = name.partition(".")[0]
    if view == "mri":
        return lambda: stack.read(name)
    if view == "ct":
        return lambda: _read_ct(source, stack.choice)
    return lambda: read_views(view, source, stack.choice)


def _read_ct(source: Source, choice: Choice) -> Views:
    left: Left = []
    loaded = _load(source, choice, left)
    first = loaded.volumes[0]
    hounsfield = first.array.astype(np.float32, copy=False)
    head = head_of(first, in_skull(hounsfield))
    box = _box(head, choice)
    require_inside(head, box)

    return _views(windows(hounsfield), loaded, source, box, left)


@dataclass
class _Stack:
    """The MRI of one study: decoded when the first is asked for, since one box is for all."""

    sources: dict[str, Source]
    choice: Choice
    found: dict[str, _Sequence | Exception] | None = None

    def read(self, name: str) -> Views:
        """One sequence in the box of the study, or in one of its own.

        Raises:
            DataError: of the class that tells what is wrong with the files.
        """
        if self.found is None:
            self.found = {each: _sequence(s, self.choice) for each, s in self.sources.items()}
            _share_frames([s for s in self.found.values() if isinstance(s, _Sequence)])

        found = self.found.pop(name)  # read once: its voxels go
        if isinstance(found, Exception):
            raise found

        box = _box(found.frame, self.choice)
        require_inside(found.head, box)
        source, loaded = self.sources[name], found.loaded
        made = _views([found.values], loaded, source, box, found.left)

        return replace(made, channels=source.channels, sequence=source.channels[0])


@dataclass
class _Sequence:
    """A decoded MRI sequence."""

    loaded: Loaded
    values: Float32[np.ndarray, "z y x"]
    """Standard deviations."""
    head: Head
    frame: Head
    """The head whose middle is that of the box."""
    of: str
    """Frame of reference by the headers."""
    left: Left


def _sequence(source: Source, choice: Choice) -> _Sequence | Exception:
    left: Left = []
    try:
        loaded = _load(source, choice, left)
        head = head_of(loaded.volumes[0])
        values = brain(loaded.volumes[0].array)
    except Exception as error:  # one series costs itself alone, whatever is wrong with it
        return error

    return _Sequence(loaded, values, head, head, source.frame, left)


def _share_frames(found: list[_Sequence]) -> None:
    """One box for each frame of reference, about the head of the series with most slices there.

    Files that do not name their frame are of the same one where their heads lie in one place.
    """
    rest = sorted(found, key=lambda one: -len(one.values))
    while rest:
        first = rest[0]
        mine = [one for one in rest if one is first or _same_place(one, first)]
        for one in mine:
            one.frame = first.head
        rest = [one for one in rest if not any(one is other for other in mine)]


def _same_place(one: _Sequence, other: _Sequence) -> bool:
    if one.of and other.of:
        return one.of == other.of
    return float(np.linalg.norm(one.head.centre - other.head.centre)) <= APART


def _load(source: Source, choice: Choice, left: Left) -> Loaded:
    loaded = load(source, choice.gaps, choice.limit, choice.fewest)
    left += loaded.unused
    return loaded


def _box(head: Head, choice: Choice) -> Volume:
    return box_at(head.centre, (choice.depth, choice.size, choice.size), choice.spacing)


def _views(
    channels: list[Float32[np.ndarray, "z y x"]],
    loaded: Loaded,
    source: Source,
    box: Volume,
    left: Left,
) -> Views:
    """The slices of a box from below, each with the box of the finding in it."""
    first = loaded.volumes[0]
    images = np.stack([encode(into(replace(first, array=c), box)) for c in channels], axis=1)
    mask = mask_of(loaded, source, left)
    boxes: tuple[Box | None, ...] = (None,) * len(images)
    if mask is not None:
        inside = into(replace(mask, array=(mask.array > 0).astype(np.float32)), box) > 0.5
        boxes = tuple(map(_around, inside))

    depth = len(images)
    middle = (depth - 1) / 2
    return Views(
        images,
        boxes,
        unused=tuple((path, describe(error)) for path, error in left),
        spacing=first.spacing,
        grid=first.array.shape[::-1],
        channels=source.channels,
        heights=tuple(float((k - middle) * box.spacing[2]) for k in range(depth)),
        voxel=box.spacing,
        best=depth // 2,
    )


def _around(inside: Bool[np.ndarray, "y x"]) -> Box | None:
    """x0, y0, x1, y1 of what is marked in a slice, as fractions of its sides."""
    if not inside.any():
        return None
    y, x = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    h, w = inside.shape
    return float(x[0] / w), float(y[0] / h), float((x[-1] + 1) / w), float((y[-1] + 1) / h)
