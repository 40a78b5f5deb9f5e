"""Which words say what an image shows: those of its file, or else those of the nearest folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from rfpmss.data.identity.owners.item import plain
from rfpmss.data.readers import masks
from rfpmss.data.readers.sequences import describes, ideas_of, kind_of

_WRAPPERS = {
    *("nifti", "nii", "niftis", "dicom", "dcm", "image", "images", "img", "imgs", "volume"),
    *("volumes", "data", "mr", "mri", "ct", "scan", "scans", "series", "sequence", "sequences"),
    *("modality", "modalities", "anat", "output"),
}
"""Names of folders that only hold what is in them."""


def stem_of(path: PurePosixPath) -> str:
    """The name without its endings, capitals kept: they part words such as ``tumorMask``."""
    return path.name[: len(plain(path))]


def kind_told(path: PurePosixPath) -> str:
    """As `sequences.kind_of`, of the words that name a file."""
    return kind_of(words_of(path, stem_of(path))[0])


def words_of(path: PurePosixPath, stem: str) -> tuple[str, str]:
    """The words that say which sequence or other kind of image a file is, and what told them.

    The file's own words count first, then those of the nearest folder that says so; what a name
    further inside says of contrast counts beside them.

    Args:
        path: relative to the source.
        stem: the file's name without ending and without what is known to tell the time.

    Example:
        >>> names = ("P1/T1/flair.nii", "P1/2_T2/NIFTI/scan.nii", "P1/T1/gad.nii", "P1/scan.nii")
        >>> [words_of(path, stem_of(path)) for path in map(PurePosixPath, names)]
        [('flair', 'file name'), ('2_T2', 'folder name'), ('T1 gad', 'folder name'), ('', '')]
    """
    if kind_of(stem):
        return stem, "file name"

    inside = [stem] if _describing(stem) or _AGENT.fullmatch(stem) else []
    for folder in folders_of(path):
        words = " ".join((folder, *inside))
        if kind_of(words):
            return words, "folder name"
        if _describing(folder):
            inside.insert(0, folder)

    return "", ""


_AGENT = re.compile(r"(?i)(?:pre|post)")
"""In a folder of T1 images: before and after the contrast agent."""


def folders_of(path: PurePosixPath) -> Iterator[str]:
    """The folders that may say what is in a file, from the nearest.

    Every word of those further out must do so: ``Glioma_T1_study`` names no sequence.
    """
    wrapped = True
    for folder in path.parents[:-1]:
        if wrapped or says_what(folder.name):
            yield folder.name
        wrapped = wrapped and _tokens(folder.name) <= _WRAPPERS


def home_of(path: PurePosixPath) -> str:
    """Where a file lies but for the folders that say what is in it, and but for such words.

    Example:
        >>> names = ("P1/1_T1/NIFTI/a.nii", "P1/4_FLAIR/NIFTI/b.nii", "P1_T2/c.nii", "P2/d.nii")
        >>> [home_of(PurePosixPath(name)) for name in names]
        ['p1', 'p1', 'p1', 'p2']
    """
    return "/".join(filter(None, (_without_kind(part) for part in path.parent.parts)))


def _without_kind(folder: str) -> str:
    tokens = [token for token in re.split(r"[\W_]+", folder.lower()) if token]
    if set(tokens) <= _WRAPPERS:
        return ""
    if not (kind_of(folder) and _describing(folder)):
        return folder.lower()

    return "-".join(token for token in tokens if not _is_content(token))


def says_what(folder: str) -> bool:
    """Whether every word of a folder's name says what is in it, and one names it."""
    tokens = _tokens(folder)
    named = any(map(describes, tokens)) or masks.certain(folder)
    return named and all(map(_is_content, tokens))


def _is_content(token: str) -> bool:
    if token in _WRAPPERS or describes(token) or masks.certain(token):
        return True
    return re.fullmatch(r"\d{1,4}", token) is not None or bool(ideas_of(token))


def _describing(name: str) -> bool:
    return any(map(describes, _tokens(name)))


def _tokens(name: str) -> set[str]:
    return {token for token in re.split(r"[\W_]+", name.lower()) if token}
