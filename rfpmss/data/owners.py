"""Whose file is it? DICOM says so itself; for all others the folder or the name must tell."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from rfpmss.data.readers.sequences import describes

# Folders that say what is in them, or when, but not who.
_GENERIC = re.compile(
    r"(?:(?:ct|mri?|dcm|dicom|nifti|nii|anat|func|images?|imaging|series|stud(?:y|ies)|reports?"
    r"|texts?|txt|notes|path|pathology|histology|slides?|wsi|tiff?|png|jpe?g|t1(?:c|ce|gd|w|wce)?"
    r"|t2w?|flair|seg|masks?|labels?|data|files?|raw|he|h&e)[-_ ]?\d*[a-z]?"
    r"|(?:images|labels)t[rs]"
    r"|(?:visit|ses|session|tp|timepoint|baseline|follow-?up|pre|post|preop|postop)[-_ ]?\d*"
    r"|(?:19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d)",
    re.IGNORECASE,
)
_WORDS = re.compile(
    r"ct|mri?|t1(?:c|ce|gd|w|wce)?|t2w?|flair|segm?|segmentation|masks?|labels?|dseg|reports?"
    r"|text|slide|wsi|path(?:ology)?|histology|he|head|brain|parenchyma|hdbet|tumou?r|lesion|roi|gtv"
    r"|(?:tumou?r|lesion|brain|gtv)(?:seg|mask)|maske"
)


@dataclass(frozen=True)
class Item:
    """A file as far as ownership goes."""

    path: PurePosixPath
    """Relative to the source folder."""
    kind: str
    """``text``, or what image it is: only that kinds differ matters."""
    patient: str = ""
    """PatientID of a DICOM file."""
    study: str = ""
    """StudyInstanceUID of a DICOM file."""


def plain(path: PurePosixPath) -> str:
    """The file's name without its endings, in lower case."""
    name = path.name.lower()
    for ending in (".gz", ".nii", path.suffix.lower()):
        name = name.removesuffix(ending)
    return name


def key(path: PurePosixPath) -> str:
    """What is left of a name without the words that say what the file is.

    Example:
        >>> key(PurePosixPath("BraTS_00001_flair.nii.gz")), key(PurePosixPath("report.txt"))
        ('brats-00001', '')
    """
    name = plain(path)
    if name.startswith("sub-"):  # BIDS entities that say how, not who
        name = re.sub(r"_(?:run|acq|rec|ce|desc|label)-[^_]+", "", name)
    name = re.sub(r"(t1w?)[-_ ]?(?:pre|post)(?![a-z])", r"\1", name)
    tokens = [t for t in re.split(r"[^0-9a-z\u4e00-\u9fff]+", name) if t]
    if path.parent.name.startswith("images") and re.fullmatch(r"\d{4}", "".join(tokens[-1:])):
        del tokens[-1]  # nnU-Net: CASE_0000 is channel 0 of CASE
    return "-".join(t for t in tokens if not _WORDS.fullmatch(t) and not describes(t))


def home(path: PurePosixPath, level: int = 0) -> tuple[str, ...]:
    """The folders that can name a patient, without those that only say what or when.

    Args:
        path: of the file, relative to the source folder.
        level: 1 when patients are the folders directly in the source folder, 2 one level deeper,
            ...; 0: by names.

    Example:
        >>> home(PurePosixPath("site/P7/visit2/CT/1.dcm"))
        ('site', 'P7')
    """
    folders = path.parts[:-1]
    if level:
        return folders[:level]
    return tuple(part for part in folders if not _GENERIC.fullmatch(part))


def owners(items: Sequence[Item], level: int = 0) -> list[str | None]:
    """An identity for each file; None where a text belongs to nobody for certain.

    The rules, first match wins:

    1. DICOM: PatientID; without one the home folder, without one the study.
    2. A text named as the image or folder beside it goes with that.
    3. A file whose home folder holds DICOM of exactly one patient is that patient's.
    4. A file whose name without words like ``t1`` or ``report`` is a PatientID or a home folder.
    5. In a folder where at least two such names each stand for several kinds of files, the name is
       the patient; elsewhere the home folder is.
    """
    return _Owners(items, level).all()


class _Owners:
    def __init__(self, items: Sequence[Item], level: int) -> None:
        self.items = items
        self.homes = [home(item.path, level) for item in items]
        self.keys = [key(item.path) for item in items]
        self.result: list[str | None] = [None] * len(items)
        self.level = level
        self.near: dict[PurePosixPath, set[str]] = defaultdict(set)

    def all(self) -> list[str | None]:
        self._dicom()
        self.beneath: dict[tuple[str, ...], set[str]] = defaultdict(set)
        self.names: dict[str, set[str]] = defaultdict(set)
        for place, item in enumerate(self.items):
            owner = self.result[place]
            if owner is not None:
                for depth in range(1, len(self.homes[place]) + 1):
                    self.beneath[self.homes[place][:depth]].add(owner)
                self._learn(item.patient, owner)
                self._learn("-".join(self.homes[place][-1:]), owner)
        self.flat = self._flat()
        for wanted in (False, True):
            for place, item in enumerate(self.items):
                if self.result[place] is None and (item.kind == "text") is wanted:
                    self.result[place] = self._beside(place) if wanted else None
                    self.result[place] = self.result[place] or self._owner(place)
                    if not wanted and (owner := self.result[place]):
                        self._learn(self.keys[place], owner)
                        self._learn("-".join(self.homes[place][-1:]), owner)
        return self.result

    def _learn(self, name: str, owner: str) -> None:
        if name:
            self.names[key(PurePosixPath(name + "."))].add(owner)

    def _dicom(self) -> None:
        for place, item in enumerate(self.items):
            if item.patient:
                self.result[place] = f"id:{item.patient}"
            elif item.study:
                folder = "/".join(self.homes[place])
                self.result[place] = f"folder:{folder}" if folder else f"study:{item.study}"

    def _flat(self) -> set[tuple[str, ...]]:
        """Homes in which names, not the folder, tell patients apart."""
        kinds: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for item, folder, name in zip(self.items, self.homes, self.keys, strict=True):
            if name and not item.study:
                kinds[folder][name].add(item.kind)
        pairs = {f: sum(len(found) > 1 for found in by.values()) for f, by in kinds.items()}
        return {f for f, count in pairs.items() if count > 1 and not self.level} | {()}

    def _beside(self, place: int) -> str | None:
        """The owner of the image, or of the folder, that has the text's name."""
        if not self.near:
            for item, owner in zip(self.items, self.result, strict=True):
                if owner is not None and item.kind != "text":
                    self.near[item.path.parent / plain(item.path)].add(owner)
                    for folder in item.path.parents[:-1]:
                        self.near[folder.parent / folder.name.lower()].add(owner)
        mine = self.items[place].path
        found = self.near.get(mine.parent / plain(mine), set())
        return next(iter(found)) if len(found) == 1 else None

    def _owner(self, place: int) -> str | None:
        folder, name = self.homes[place], self.keys[place]
        is_text = self.items[place].kind == "text"
        inside = self.beneath.get(folder, set())
        if len(inside) == 1:
            return next(iter(inside))
        named = self.names.get(name, set()) if name else set()
        if len(named) == 1:
            return next(iter(named))
        if inside or folder in self.flat:
            if name:
                return f"name:{'/'.join((*folder, name))}"
            everyone = set(filter(None, self.result)) if not folder else set()
            only = everyone.pop() if len(everyone) == 1 else None
            return only if is_text or only else f"name:{'/'.join((*folder, '-'))}"
        return f"folder:{'/'.join(folder)}"
