"""Files that are no patient's: viewing programs on hospital discs, derivatives of BIDS."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from rfpmss.data.errors import DataError, UnsupportedError, UnusedError
from rfpmss.data.identity.numbered import stem

_PROGRAM = {
    *(".exe", ".dll", ".jar", ".inf", ".msi", ".bat", ".cmd", ".ocx", ".chm", ".ico", ".class"),
    *(".so", ".dylib", ".lnk", ".vbs", ".jnlp", ".plist", ".icns"),
}
_BESIDE = {
    *(".txt", ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".csv", ".tsv", ".xml", ".html", ".htm"),
    *(".pdf", ".rtf", ".ini", ".cfg", ".css", ".js", ".properties", ".json", ".docx", ".svg"),
}
"""Files of a program that could be taken for reports, tables or slides."""
_FOLDER = re.compile(
    r"(?:.*viewer.*|weasis.*|radiant.*|ihe[-_ ]?pdi|jre.*|java|autorun|bin|plugins?|help"
    r"|licen[sc]es?"
    r"|program(?:s| ?files)?|css|js|icons?|skins?|locale|lang(?:uages?)?|inviewer)",
    re.IGNORECASE,
)
_FILE = re.compile(
    r"(?:read[-_ ]?me.*|licen[sc]e.*|help.*|logo.*|autorun.*|index|splash.*|background.*|about.*"
    r"|copyright.*|version.*|install.*|manual.*|eula.*|notice.*)",
    re.IGNORECASE,
)
_SUBJECT = re.compile(r"sub-[0-9A-Za-z]+")


_SYSTEM = re.compile(
    r"\._.*|\.ds_store|\.apdisk|\.localized|icon\r|thumbs(?:_\d+)?\.db|ehthumbs\w*\.db|desktop\.ini"
    r"|\.directory|\.nfs[0-9a-f]{8,}|~\$.*|\.~lock\..*#",
    re.IGNORECASE,
)
_SYSTEM_FOLDER = re.compile(
    r"__macosx|@eadir|@__thumb|@recycle|#recycle|#snapshot|\.appledouble|\.spotlight-v100|\.trashes"
    r"|\.fseventsd|\.temporaryitems|\.documentrevisions-v100|\$recycle\.bin"
    r"|system volume information|lost\+found|\.trash(?:-\d+)?|\.snapshots?",
    re.IGNORECASE,
)


def of_system(name: str, *, folder: bool = False) -> bool:
    """Whether macOS, Windows, a file server or an office program keeps a file for itself.

    Args:
        name: of a file or a folder, without its path.
        folder: it is one.

    Example:
        >>> [of_system(name) for name in ("._t1.nii.gz", "Thumbs.db", "t1.nii.gz")]
        [True, True, False]
        >>> of_system("__MACOSX", folder=True)
        True
    """
    return (_SYSTEM_FOLDER if folder else _SYSTEM).fullmatch(name) is not None


def left_out(paths: Sequence[PurePosixPath]) -> dict[PurePosixPath, DataError]:
    """The files of a source that belong to no patient, each with the reason.

    Args:
        paths: all files, relative to the source folder.
    """
    return {**_programs(paths), **_derivatives(paths), **_sidecars(paths)}


def _sidecars(paths: Sequence[PurePosixPath]) -> dict[PurePosixPath, DataError]:
    """What dcm2niix writes beside an image of the same name, and BIDS about the data set."""
    images = {path.with_name(stem(path)) for path in paths if _VOLUME.search(path.name)}
    error = UnusedError("the description of an image or of the data set, no report")
    endings = (".json", ".bval", ".bvec")
    return {
        path: error
        for path in paths
        if _ABOUT.fullmatch(path.name)
        or (path.suffix.lower() in endings and path.with_suffix("") in images)
    }


def about_people(name: str) -> bool:
    """Whether a table is one that BIDS defines, about the participants or their scans."""
    return _OF_BIDS.fullmatch(name) is not None


_OF_BIDS = re.compile(
    r"(?:participants|samples|sessions|.*_(?:scans|sessions))\.tsv", re.IGNORECASE
)
_VOLUME = re.compile(r"\.(?:nii|hdr|img|mg[hz]|nrrd|nhdr|mh[ad]|mnc)(?:\.gz)?$", re.IGNORECASE)
_ABOUT = re.compile(
    r"(?:readme|changes|changelog|licen[sc]e|citation|copying|authors|contributors|acknowledge?ments?"
    r"|(?:md5|sha1|sha256)(?:sums?)?|checksums?)(?:\.(?:md|rst|txt|cff|bib))?"
    r"|(?:dataset_description|participants|samples|sessions|phenotype|.*_(?:scans|sessions))\.json"
    r"|\.bidsignore|\.bids-validator.*|\.gitattributes|\.gitignore|\.zenodo\.json",
    re.IGNORECASE,
)
"""Companions of data sets, as BIDS has them, and of repositories."""


def _programs(paths: Sequence[PurePosixPath]) -> dict[PurePosixPath, DataError]:
    """Texts and pictures of viewers, and those beside their start files."""
    images: set[PurePosixPath] = set()
    roots: set[PurePosixPath] = set()
    for path in paths:
        ending = path.suffix.lower()
        if ending in _PROGRAM:
            roots.add(path.parent)
        elif ending not in _BESIDE:
            images.update(path.parents)

    named = {f for path in paths for f in path.parents[:-1] if _FOLDER.fullmatch(f.name)}
    whole = {folder for folder in roots | named if folder not in images and folder.parts}
    error = UnsupportedError("a file of a viewing program, neither image nor report")
    return {
        path: error
        for path in paths
        if path.suffix.lower() in _BESIDE
        and (
            any(folder in whole for folder in path.parents)
            or (path.parent in roots and _FILE.fullmatch(path.stem))
        )
    }


def _derivatives(paths: Sequence[PurePosixPath]) -> dict[PurePosixPath, DataError]:
    """What pipelines made of the subjects of a BIDS data set, and what those were made of."""
    subjects: dict[PurePosixPath, bool] = defaultdict(bool)
    beneath: dict[PurePosixPath, PurePosixPath] = {}
    for path in paths:
        parts = [part.lower() for part in path.parts[:-1]]
        found = next((n for n, part in enumerate(parts) if part in _OTHER_FORMS), None)
        if found is not None:
            beneath[path] = PurePosixPath(*path.parts[:found])
        elif any(_SUBJECT.fullmatch(part) for part in path.parts[:-1]):
            for folder in path.parents:
                subjects[folder] = True

    error = UnusedError(
        "derivatives and sourcedata of a BIDS data set are other forms of its images, which are "
        "used themselves"
    )
    return {path: error for path, root in beneath.items() if subjects[root]}


_OTHER_FORMS = ("derivatives", "derivative", "sourcedata")
