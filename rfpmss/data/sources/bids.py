"""BIDS: ``sub-*/[ses-*/]anat/*_{T1w,T2w,FLAIR}.nii.gz`` with participants.tsv.

``derivatives/``, ``sourcedata/`` and ``code/`` are left out, except masks that the user names.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rfpmss.common.files import opened_text
from rfpmss.config import VIEWS
from rfpmss.data.errors import DataError, IncompleteError, TextError, UnusedError
from rfpmss.data.readers import masks
from rfpmss.data.readers.masks import BRAIN
from rfpmss.data.readers.sequences import sequence_of
from rfpmss.data.readers.text.tables import missing
from rfpmss.data.sources.public import Listing, expected, mri_source, walk
from rfpmss.data.study import Study

_NAME = re.compile(r"sub-(?P<sub>[0-9A-Za-z]+)(?:_ses-(?P<ses>[0-9A-Za-z]+))?_(?P<rest>.+)")
_AWAY = {"derivatives", "sourcedata", "code", "stimuli"}
# Columns of participants.tsv that become labels; any other may say who someone is.
_COLUMNS = re.compile(
    r"age\w*|sex|gender|handedness|group|diagnosis|histology|tumou?r_?type|(?:who_?)?grade|idh\w*"
    r"|mgmt\w*|1p_?19q\w*|survival\w*|os|os_\w+|kps|molecular_\w+",
    re.IGNORECASE,
)
EXPECTED = "sub-01/anat/sub-01_T1w.nii.gz or sub-01/ses-1/anat/sub-01_ses-1_ce-gd_T1w.nii.gz"
"""Names of files, for the sentence that says that there are none."""


Refused = dict[Path, DataError]


@dataclass(frozen=True)
class _Visit:
    subject: str
    session: str

    @property
    def name(self) -> str:
        return f"sub-{self.subject}" + (f"_ses-{self.session}" if self.session else "")


def find(root: Path, wanted: Sequence[str] = ()) -> Listing:
    """All sessions of all subjects; a session is a study, a subject a patient.

    Of several files of one sequence the one with the fewest entities and the lowest run is taken.

    Args:
        root: the data set.
        wanted: patterns of masks relative to ``root``, such as ``derivatives/**/*_dseg.nii.gz``;
            a mask belongs to the subject and session of its name.

    Raises:
        IncompleteError: if there is no anatomical image, or a pattern finds nothing.
    """
    refused: Refused = {}
    seen = list(walk(root))
    images, drawn = _sorted(seen, root, refused)
    if not images:
        raise expected([path for path, _ in seen], root, EXPECTED)

    for visit, paths in _named_masks(root, wanted).items():
        drawn[visit] = paths + drawn.get(visit, [])

    labels = _participants(root, refused)
    studies = []
    for visit, sequences in sorted(images.items(), key=lambda item: item[0].name):
        files = {}
        for sequence, paths in sequences.items():
            files[sequence], *others = sorted(paths, key=_plainness)
            error = UnusedError(f"another file of the session is its {sequence}")
            refused |= dict.fromkeys(others, error)
        mine = sorted(drawn.pop(visit, []), key=lambda path: masks.rank(path.name))
        refused |= dict.fromkeys(mine[1:], UnusedError("another mask of the session is used"))
        source = mri_source(files, mine[0] if mine else None)
        studies.append(
            Study(
                study_id=visit.name,
                patient_id=f"sub-{visit.subject}",
                views=tuple(source if view == "mri" else None for view in VIEWS),
                labels=labels.get(visit.subject, ()),
            )
        )

    for paths in drawn.values():
        error = IncompleteError("the session has no image that the mask could belong to")
        refused |= dict.fromkeys(paths, error)

    told = tuple((str(path.relative_to(root)), error) for path, error in refused.items())
    return Listing(tuple(studies), told)


def _sorted(
    seen: Sequence[tuple[Path, DataError | None]], root: Path, refused: Refused
) -> tuple[dict[_Visit, dict[str, list[Path]]], dict[_Visit, list[Path]]]:
    """The anatomical images and the masks of each session."""
    images: dict[_Visit, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    drawn: dict[_Visit, list[Path]] = defaultdict(list)
    for path, problem in seen:
        away = _AWAY & set(path.relative_to(root).parts)
        if away or not path.name.lower().endswith((".nii", ".nii.gz")):
            continue
        visit, rest = _visit(path)
        kind = masks.kind_of(rest)
        if problem:
            refused[path] = problem
        elif kind == BRAIN:
            refused[path] = UnusedError("a mask of the brain says nothing of a tumour")
        elif visit and kind:
            drawn[visit].append(path)
        elif visit and path.parent.name == "anat" and (sequence := sequence_of(rest)):
            images[visit][sequence].append(path)

    return images, dict(drawn)


def _visit(path: Path) -> tuple[_Visit | None, str]:
    """Whose file it is, and what else its name says."""
    stem = re.sub(r"\.nii(?:\.gz)?$", "", path.name)
    found = _NAME.fullmatch(stem)
    if not found:
        return None, stem

    return _Visit(found["sub"], found["ses"] or ""), found["rest"]


def _plainness(path: Path) -> tuple[int, int, str]:
    """Fewest entities first, then the lowest run."""
    run = re.search(r"_run-(\d+)", path.name)
    entities = set(re.findall(r"_([a-z]+)-", path.name)) - {"ses", "run", "ce"}
    return len(entities), int(run[1]) if run else 0, path.name


def _named_masks(root: Path, wanted: Sequence[str]) -> Mapping[_Visit, list[Path]]:
    found: dict[_Visit, list[Path]] = defaultdict(list)
    for pattern in wanted:
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise IncompleteError("a pattern of masks must lie inside the data set")
        paths = [path for path in sorted(root.glob(pattern)) if path.is_file()]
        usable = [(visit, path) for path in paths if (visit := _visit(path)[0])]
        if not usable:
            raise IncompleteError(
                f"the pattern {pattern} finds no mask named sub-*; correct --bids-masks"
            )
        for visit, path in usable:
            if masks.kind_of(path.name) != BRAIN:
                found[visit].append(path)

    return found


def _participants(root: Path, refused: Refused) -> dict[str, tuple[tuple[str, str], ...]]:
    """Labels of participants.tsv by subject; ``n/a`` gives none."""
    path = root / "participants.tsv"
    if not path.is_file():
        return {}

    try:
        with opened_text(path, "utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", strict=True))
    except (UnicodeDecodeError, csv.Error):
        refused[path] = TextError("participants.tsv is no table in UTF-8")
        return {}

    result = {}
    for row in rows:
        subject = (row.get("participant_id") or "").strip().removeprefix("sub-")
        kept = {c: (v or "").strip() for c, v in row.items() if c and _COLUMNS.fullmatch(c)}
        result[subject] = tuple((c.lower(), v) for c, v in kept.items() if not missing(v))

    return result
