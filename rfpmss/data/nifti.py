"""What NIfTI files and series show, by their names: views, sequences, masks, bundles."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rfpmss.data.errors import DataError
from rfpmss.data.owners import key, plain
from rfpmss.data.views import SEQUENCES
from rfpmss.data.volume import MAX_BYTES, read_nifti

AIR = -900.0
"""Hounsfield units: only CT has values below."""
_T1 = r"(?:ax|sag|cor|tra)?t1(?!rho)\w*"
_CONTRAST = {"gd", "ce", "gad", "gado", "post", "contrast", "postcontrast", "km", "+c", "c+"}
# Maps, diffusion, vessels and scouts: MRI, but none of the four sequences.
_OTHERS = {
    *("dwi", "adc", "dti", "perf", "perfusion", "dsc", "dce", "asl", "cbv", "cbf", "bold", "fmri"),
    *("swi", "swan", "mra", "tof", "angio", "mip", "localizer", "scout", "survey", "map", "t1map"),
    *("t2map", "subtraction", "spectroscopy"),
}


@dataclass(frozen=True)
class Bundle:
    """NIfTI files that are channels of one image."""

    members: tuple[int, ...]
    channels: tuple[str, ...]
    mask: int | None


def sequence_of(text: str, *, contrast: bool = False) -> str:
    """The MRI sequence that a name or description tells of, or nothing.

    Args:
        text: file name or series description.
        contrast: an agent was given.

    Example:
        >>> [sequence_of(t) for t in ("P1_T1GD", "ax t2 flair", "T2w", "sag MPRAGE +C", "dwi")]
        ['t1ce', 'flair', 't2', 't1ce', '']
        >>> [sequence_of(t) for t in ("AX T1 FLAIR", "T1W_TSE", "T1增强", "T2*", "T2_FLAIR_tra")]
        ['t1', 't1', 't1ce', '', 'flair']
    """
    low = text.lower().replace("+c", " +c ").replace("t1+", "t1 +c ")
    words = set(re.split(r"[^0-9a-z+]+", low))
    if words & _OTHERS or any(word.startswith("t2*") or word == "t2star" for word in low.split()):
        return ""
    after = contrast or bool(words & _CONTRAST) or "增强" in text
    t1 = any(re.fullmatch(_T1, word) for word in words)
    t2 = any(re.fullmatch(r"(?:ax|sag|cor|tra)?t2(?!star)\w*", word) for word in words)
    inverted = any("flair" in word for word in words) or bool(words & {"tirm", "darkfluid"})
    if inverted and (t2 or not t1):  # "T1 FLAIR" is a T1 with an inversion pulse
        return "flair"
    if words & {"t1ce", "t1c", "t1gd", "t1wce", "t1post"}:
        return "t1ce"
    if t1 and t2:
        return ""
    if t1 or words & {"mprage", "spgr", "bravo", "mpr"}:
        return "t1ce" if after else "t1"
    return "t2" if t2 else ""


def view_of(path: Path, relative: PurePosixPath, limit: int = MAX_BYTES) -> tuple[str, str, str]:
    """View (``ct``, ``mri`` or ``mask``) and MRI sequence of a NIfTI file, and what told them.

    The name decides, then the folder, then the values: only CT goes below `AIR`.
    """
    name = set(re.split(r"[^0-9a-z]+", plain(relative)))
    if name & {"seg", "segm", "mask", "label", "labels", "segmentation"}:
        return "mask", "", "file name"
    if sequence := sequence_of(plain(relative)):
        return "mri", sequence, "file name"
    folder = set(re.split(r"[^0-9a-z]+", relative.parent.name.lower()))
    for words, told in ((name, "file name"), (folder, "folder name")):
        if words & {"ct", "mr", "mri"}:
            return ("ct" if "ct" in words else "mri"), "", told
    try:
        lowest = read_nifti(path, limit, 0).array.min()
    except DataError:
        return "mri", "", "nothing"  # the reader says later what is wrong
    return ("ct" if lowest < AIR else "mri"), "", "voxel values"


def bundles(files: Sequence[tuple[PurePosixPath, str, str]]) -> list[Bundle]:
    """Put named MRI sequences of one folder and one name together, with their mask.

    Args:
        files: path, view and sequence of each NIfTI file of one patient.

    Example:
        >>> names = ("p/p_t1.nii", "p/p_flair.nii", "p/p_seg.nii", "p/p_ct.nii")
        >>> views = (("mri", "t1"), ("mri", "flair"), ("mask", ""), ("ct", ""))
        >>> [b.channels for b in bundles([(PurePosixPath(n), *v) for n, v in zip(names, views)])]
        [('t1', 'flair'), ()]
    """
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    masks: dict[tuple[PurePosixPath, str], int] = {}
    for number, (path, view, sequence) in enumerate(files):
        place = (path.parent, key(path))
        if view == "mask":
            masks.setdefault(place, number)
        elif sequence:
            groups["sequences", str(place[0]), place[1]].append(number)
        else:
            groups["single", str(path)].append(number)
    result = []
    for name, members in groups.items():
        mask = masks.get((files[members[0]][0].parent, key(files[members[0]][0])))
        if name[0] == "single":
            result.append(Bundle(tuple(members), (), mask))
            continue
        for part in _distinct(members, files):
            part.sort(key=lambda number: SEQUENCES.index(files[number][2]))
            result.append(Bundle(tuple(part), tuple(files[n][2] for n in part), mask))
    return result


def _distinct(
    members: Sequence[int], files: Sequence[tuple[PurePosixPath, str, str]]
) -> list[list[int]]:
    """Split so that no part has a sequence twice."""
    parts: list[list[int]] = []
    for number in members:
        for part in parts:
            if all(files[other][2] != files[number][2] for other in part):
                part.append(number)
                break
        else:
            parts.append([number])
    return parts
