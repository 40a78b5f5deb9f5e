"""What NIfTI files show, by their names first and their values second: views, masks, bundles."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from rfpmss.common.files import read_text
from rfpmss.data.errors import DataError, UnsupportedError
from rfpmss.data.identity.owners.item import key
from rfpmss.data.identity.words.marks import time_words, without_time
from rfpmss.data.readers import masks
from rfpmss.data.readers.formats import head_of, read_volume
from rfpmss.data.readers.grid import same_grid
from rfpmss.data.readers.masks import BRAIN, TUMOUR, UNNAMED
from rfpmss.data.readers.naming import folders_of, stem_of, words_of
from rfpmss.data.readers.sequences import FOUR, PIPELINE, ideas_of, is_part, sequence_of
from rfpmss.data.readers.volume import MAX_BYTES, Volume, orient

__all__ = ["Bundle", "bundles", "channels_of", "grid_of", "sequence_of", "view_of"]

AIR = -900.0
"""Hounsfield units: only CT has values below."""
DESCRIPTION = "dataset.json"
"""Names the channels of nnU-Net and of the Medical Segmentation Decathlon."""
_CHANNEL = re.compile(r"(.+)_(\d{4})")


@dataclass(frozen=True)
class Bundle:
    """NIfTI files that are channels of one image."""

    members: tuple[int, ...]
    channels: tuple[str, ...]
    mask: int | None


def view_of(path: Path, relative: PurePosixPath, limit: int = MAX_BYTES) -> tuple[str, str, str]:
    """View and MRI sequence of a NIfTI file, and what told them.

    The name decides, then the folder, then the values: only CT goes below `AIR`, and only a mask
    holds few whole numbers. A name that says mask is believed unless the values contradict it.

    Returns:
        ``ct``, ``mri``, `TUMOUR`, `BRAIN` or `UNNAMED`; the sequence or nothing; the reason.
    """
    stem = re.sub(r"(?i)^sub[-_ ]?(?=\d\d)", "", stem_of(relative))  # a subject, no subtraction
    stem = without_time(stem, _time_words(path.parent, path.parent.stat().st_mtime_ns))
    sequence = sequence_of(stem) or _beside(path, stem)
    if mask := _mask(path, stem, relative, named=bool(sequence), limit=limit):
        return mask[0], "", mask[1]

    words, told = (stem, "file name") if sequence else words_of(relative, stem)
    if told == "file name" or (told and not _two_valued(path, limit)):
        return "mri", sequence or sequence_of(words), told

    return _by_modality(path, stem, relative.parent.name, limit)


def _by_modality(path: Path, stem: str, folder: str, limit: int) -> tuple[str, str, str]:
    """`view_of` where no words name a sequence or a mask."""
    for words, told in ((stem, "file name"), (folder, "folder name")):
        named = set(re.split(r"[^0-9a-z]+", words.lower()))
        if named & {"ct", "mr", "mri"}:
            return ("ct" if "ct" in named else "mri"), "", told

    try:
        array = read_volume(path, limit, 0).array
    except DataError:
        return "mri", "", "nothing"  # the reader says later what is wrong

    if masks.two_valued(array):
        return UNNAMED, "", "voxel values"

    return ("ct" if array.min() < AIR else "mri"), "", "voxel values"


def _two_valued(path: Path, limit: int) -> bool:
    """Whether a file that only its folder names holds a mask; False where it cannot be read."""
    try:
        return masks.two_valued(read_volume(path, limit, 0).array)
    except DataError:
        return False  # the reader says later what is wrong


@lru_cache(maxsize=64)
def _time_words(folder: Path, _changed: int) -> frozenset[str]:
    """Of the names in a folder, see `time_words`."""
    paths = (PurePosixPath(name) for name in os.listdir(folder) if not name.startswith("._"))
    return time_words(stem_of(path) for path in paths)


def _beside(path: Path, stem: str) -> str:
    """``t1`` or ``t1ce`` of ``X_PRE`` and ``X_POST`` beside ``X_FLAIR`` or ``X_T2``.

    So the four files of Yale-Brain-Mets-Longitudinal are called. A folder that names a T1 as well
    means something else by them.
    """
    found = re.fullmatch(r"(.*[_-]|)(PRE|POST)", stem, re.IGNORECASE)
    if not found:
        return ""

    def there(names: str) -> bool:
        words = names.split() if found[2].isupper() else names.lower().split()
        return any(path.with_name(found[1] + w + path.name[len(stem) :]).exists() for w in words)

    if not there("FLAIR T2") or there("T1 T1W T1C T1CE T1GD"):
        return ""

    return "t1" if found[2].lower() == "pre" else "t1ce"


def _mask(
    path: Path, stem: str, relative: PurePosixPath, *, named: bool, limit: int
) -> tuple[str, str] | None:
    """Of what the file is a mask, and what told it; None: of nothing.

    A folder further out than the file's own is believed only where the values are a mask's.
    """
    near = relative.parent.name
    for folder in dict.fromkeys((near, *folders_of(relative))):
        if kind := masks.kind_of(stem, folder):
            whole = np.issubdtype(_header(path)[1], np.integer) and not named and folder == near
            if whole or masks.holds_labels(path, limit):
                return kind, "file name" if masks.certain(stem) else "folder name"
            if not named and masks.holds_shares(read_volume(path, limit, 0).array):
                raise UnsupportedError("a map of probabilities, not of labels")
            return None

        if kind := masks.may_be(stem, folder):
            believed = not (kind == BRAIN and named) and masks.holds_labels(path, limit)
            return (kind, "voxel values") if believed else None

    return None


def channels_of(path: Path) -> tuple[str, ...] | str | None:
    """Sequences by a `DESCRIPTION` beside the folder ``imagesTr``.

    nnU-Net has a file a channel, ``CASE_0000.nii.gz``; the Decathlon has one 4-D file a case. The
    description names the channels (``channel_names``, formerly ``modality``).

    Returns:
        The sequence of the file, or of each of its volumes in order; None where no description
        says it.
    """
    if not re.match(r"images(?:T[rs]|V)", path.parent.name):
        return None

    names = _described(path.parent.parent / DESCRIPTION)
    if not names:
        return None
    if found := _CHANNEL.fullmatch(stem_of(PurePosixPath(path.name))):
        return names.get(int(found[2]))

    shape, _, _ = _header(path)
    if len(shape) == 4 and shape[3] == len(names) and set(names) == set(range(len(names))):
        return tuple(names[number] for number in range(len(names)))

    return None


@lru_cache(maxsize=64)
def _described(path: Path) -> dict[int, str]:
    try:
        said = json.loads(read_text(path, "utf-8-sig"))
        names = said.get("channel_names") or said.get("modality") or {}
        return {int(number): sequence_of(str(name)) for number, name in names.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype, np.ndarray]:
    """Shape, type of voxels and affine (to Right, Anterior, Superior) by the header alone."""
    head = head_of(path)
    if head is None:
        return (), np.dtype(np.float32), np.full((4, 4), np.nan)
    return head.shape, head.dtype, head.affine


def grid_of(path: Path) -> Volume | None:
    """Where the voxels of a NIfTI file lie, without reading them; None where it does not say."""
    shape, _, affine = _header(path)
    if len(shape) < 3:
        return None

    try:
        return orient(np.broadcast_to(np.uint8(0), shape[:3]), affine)
    except DataError:
        return None


def bundles(files: Sequence[tuple[PurePosixPath, str, str]]) -> list[Bundle]:
    """Put named MRI sequences of one folder and one name together, with their tumour mask.

    Args:
        files: path, view and sequence of each NIfTI file of one patient.

    Example:
        >>> names = ("p/p_t1.nii", "p/p_flair.nii", "p/p_seg.nii", "p/p_ct.nii")
        >>> views = (("mri", "t1"), ("mri", "flair"), ("mask", ""), ("ct", ""))
        >>> [b.channels for b in bundles([(PurePosixPath(n), *v) for n, v in zip(names, views)])]
        [('t1', 'flair'), ()]
    """
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, (path, view, sequence) in enumerate(files):
        place = _place(path)
        if view == TUMOUR:
            found[place].append(number)
        elif sequence:
            groups["sequences", *place, str(shows_part(path))].append(number)
        elif view not in (BRAIN, UNNAMED):
            groups["single", str(path)].append(number)

    result = []
    for name, members in groups.items():
        mine = found.get(_place(files[members[0]][0]), [])
        best = min(mine, key=lambda number: masks.rank(stem_of(files[number][0])), default=None)
        if name[0] == "single":
            result.append(Bundle(tuple(members), (), best))
            continue
        for part in _distinct(members, files):
            part.sort(key=lambda number: FOUR.index(files[number][2]))
            result.append(Bundle(tuple(part), tuple(files[n][2] for n in part), best))

    return result


def merged(found: Sequence[Bundle], paths: Sequence[Path], homes: Sequence[str]) -> list[Bundle]:
    """Put bundles of one folder together that lie on one grid and share no sequence.

    ``3 AX T1 POST.nii`` and ``5 AX FLAIR.nii`` of a patient have no name in common, yet voxel by
    voxel they show the same place. Folders that name a sequence, ``T1`` and ``FLAIR``, are one.

    Args:
        found: of `bundles`, all of one visit of one patient.
        paths: of the members, by their numbers.
        homes: where the members lie, see `rfpmss.data.readers.naming.home_of`.
    """
    result: list[Bundle] = []
    grids: dict[int, Volume | None] = {}
    for bundle in sorted(found, key=lambda bundle: -len(bundle.channels)):
        grids[id(bundle)] = grid_of(paths[bundle.members[0]]) if bundle.channels else None
        for place, other in enumerate(result):
            if _joins(bundle, other, paths, homes, grids):
                result[place] = _union(other, bundle)
                grids[id(result[place])] = grids[id(other)]
                break
        else:
            result.append(bundle)

    return result


def _joins(
    one: Bundle,
    other: Bundle,
    paths: Sequence[Path],
    homes: Sequence[str],
    grids: Mapping[int, Volume | None],
) -> bool:
    mine, theirs = grids[id(one)], grids[id(other)]
    if mine is None or theirs is None or set(one.channels) & set(other.channels):
        return False

    both = [PurePosixPath(paths[bundle.members[0]]) for bundle in (one, other)]
    near = homes[one.members[0]] == homes[other.members[0]]
    alike = near and shows_part(both[0]) == shows_part(both[1])
    return alike and same_grid(mine, theirs)


def shows_part(path: PurePosixPath) -> bool:
    """Whether the name of a file or of its folder is that of a part of the head, as of orbits."""
    return is_part(stem_of(path)) or is_part(path.parent.name)


def _union(one: Bundle, other: Bundle) -> Bundle:
    pairs = [*zip(one.channels, one.members, strict=True)]
    pairs += zip(other.channels, other.members, strict=True)
    pairs.sort(key=lambda pair: FOUR.index(pair[0]))
    mask = one.mask if one.mask is not None else other.mask
    return Bundle(tuple(m for _, m in pairs), tuple(c for c, _ in pairs), mask)


def _place(path: PurePosixPath) -> tuple[str, str]:
    """Folder and name that images and masks of one patient share.

    ``imagesTr`` and ``labelsTr`` are one folder; so are a folder and its ``masks``.
    """
    folder = path.parent
    name = re.sub(r"^(?:images|labels)(?=T[rs]|V)", "", folder.name)
    if name.lower() in ("mask", "masks", "seg", "segs", "segmentation", "segmentations", "labels"):
        return str(folder.parent), key(path)
    if name.lower() in ("img", "images"):
        return str(folder.parent), key(path)

    return str(folder.with_name(name)) if name and folder.name else str(folder), key(path)


def same_place(mask: Path, images: Sequence[Volume]) -> bool:
    """Whether a mask lies voxel by voxel on one of the images' grids."""
    grid = grid_of(mask)
    return grid is not None and any(same_grid(grid, image, 0.05) for image in images)


def _distinct(
    members: Sequence[int], files: Sequence[tuple[PurePosixPath, str, str]]
) -> list[list[int]]:
    """Split so that no part has a sequence twice, and none mixes raw and processed images.

    ``T1.nii`` and ``FLAIR.nii`` beside ``T1_bias.nii`` and ``FLAIR_bias.nii`` are two parts.
    """
    if len({files[number][2] for number in members}) == len(members):
        return [list(members)]

    variants: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number in members:
        variants[variant(stem_of(files[number][0]))].append(number)

    parts = [
        mine
        for mine in variants.values()
        if len(mine) > 1 and len({files[number][2] for number in mine}) == len(mine)
    ]
    taken = {number for part in parts for number in part}
    for number in members:
        if number in taken:
            continue
        for part in parts:
            if not taken & set(part) and all(files[n][2] != files[number][2] for n in part):
                part.append(number)
                break
        else:
            parts.append([number])

    return parts


def variant(name: str) -> tuple[str, ...]:
    """The words of a file's name but for those that name its sequence.

    Example:
        >>> variant("UCSF_T1c_bias"), variant("UCSF_FLAIR_bias"), variant("UCSF_T2")
        (('ucsf', 'bias'), ('ucsf', 'bias'), ('ucsf',))
    """
    words = re.findall(r"[^\W_]+", name.lower())
    return tuple(word for word in words if not _SEQUENCE & set(ideas_of(word)))


def processed(words: Collection[str]) -> bool:
    """Whether words by which two names differ say what was done to an image: ``bias``."""
    return bool(words) and all(re.fullmatch(PIPELINE, word) for word in words)


_SEQUENCE = frozenset(
    ("t1", "t2", "flair", "contrast", "native", "both", "t1 by technique", "t2 by technique")
    + ("t1 or reformat", "post", "pre", "without", "dark", "fluid", "spc")
)
"""Ideas of `rfpmss.data.readers.sequences` that name one of the four sequences."""
