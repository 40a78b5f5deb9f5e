"""A file as far as ownership goes, and what is left of its name without words for what it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from rfpmss.data.identity.names.parse import parse, parse_id
from rfpmss.data.identity.names.person import ID, rank
from rfpmss.data.identity.names.plain import plain as plain_of
from rfpmss.data.identity.names.times import Time
from rfpmss.data.identity.names.what import REPORT, REPORT_CJK
from rfpmss.data.privacy.vocabulary import ALSO_NAMES, ordinary
from rfpmss.data.readers.sequences import describes, spelled_out, without_prefix

_WORDS = re.compile(
    r"ct|mri?|t1(?:c|ce|gd|w|wce)?|t2w?|flair|segm?|segmentation|masks?|labels?|dseg|reports?"
    r"|text|slide|wsi|path(?:ology)?|histology|he|head|brain|parenchyma|hdbet|tumou?r|lesion|roi|gtv"
    r"|(?:tumou?r|lesion|brain|gtv)(?:seg|mask)|maske|ax(?:ial)?|sag(?:ittal)?|cor(?:onal)?|tra"
)

DOCUMENT = re.compile(
    rf"{REPORT}|{REPORT_CJK}|texts?|txt|documents?|dokumente?|summary|ct|cta|mri?|mrt|irm|rmn?|pet"
    r"|discharge|entlass(?:ungs)?brief"
    r"|arzt|brief|md|cr|radiolog(?:y|ie|isch|ical)|patholog(?:y|ie)|histolog(?:y|ie)"
    r"|(?:影像|病理|检查|诊断|磁共振|核磁|头颅|mri?|ct)*报告"
)
"""Words for what a file is; none of them is a name, as ``Kopf`` may be."""

FOLDER = "folder "
"""Begins the label of a visit that a folder's own name tells."""


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
    person: tuple[str, str, str] = ("", "", "")
    """Date of birth, sex and name by the header."""
    called: tuple[str, ...] = ()
    """The person's names by the header, in every reading."""
    accession: str = ""
    """AccessionNumber of a DICOM file."""
    given: str = ""
    """The name by which the mapping file says who it is."""


def plain(path: PurePosixPath) -> str:
    """The file's name without its endings, in lower case."""
    name = path.name.lower()
    for ending in (".gz", ".nii", ".hdr", ".mgh", path.suffix.lower()):
        name = name.removesuffix(ending)
    return name


def key(path: PurePosixPath) -> str:
    """What is left of a name without the words that say what the file is.

    Example:
        >>> key(PurePosixPath("BraTS_00001_flair.nii.gz")), key(PurePosixPath("report.txt"))
        ('brats-00001', '')
    """
    name = spelled_out(plain(path.with_name(without_prefix(path.name))))
    if name.startswith("sub-"):  # BIDS entities that say how, not who
        name = re.sub(r"_(?:run|acq|rec|ce|desc|label)-[^_]+", "", name)

    name = re.sub(r"(t1w?)[-_ ]?(?:pre|post)(?![a-z])", r"\1", name)
    tokens = [t for t in re.split(r"[\W_]+", name) if t]
    if path.parent.name.startswith("images") and re.fullmatch(r"\d{4}", "".join(tokens[-1:])):
        del tokens[-1]  # nnU-Net: CASE_0000 is channel 0 of CASE

    return "-".join(t for t in tokens if not _WORDS.fullmatch(t) and not describes(t))


def naming(name: str) -> str:
    """A name of a file or folder without the words for what it is, which name nobody.

    Nothing is left where every word is one that reports are made of.

    Example:
        >>> naming("befund"), naming("Notes Huber, Anna"), naming("Huber, Anna")
        ('', 'Huber Anna', 'Huber, Anna')
        >>> naming("T1 sans injection"), naming("tumor_links_roi"), naming("Huber nativ")
        ('', '', 'Huber')
    """
    tokens = [token for token in re.split(r"[\s^,=_/\\.\-;·、，]+", name) if token]
    kept = [t for t in tokens if not (DOCUMENT.fullmatch(plain_of(t.lower())) or describes(t))]
    names = (t for t in map(str.lower, kept) if not (ordinary(t) or _WORDS.fullmatch(t)))
    if not any(names) and not ALSO_NAMES & set(map(str.lower, kept)):
        return ""

    return name if len(kept) == len(tokens) else " ".join(kept)


def plain_name(name: str) -> str:
    """A patient's name as files, folders and tables spell it, to be compared.

    Example:
        >>> plain_name("Mueller_Hans") == plain_name("mueller hans")
        True
    """
    return parse(name).who or plain_of(name)


def undated(patient: str) -> str:
    """A PatientID without the visit that some write into it: ``P1_visit2``, ``GBM01-T0``."""
    name = parse_id(patient)
    return name.who if visit_of(patient) else patient


def visit_of(patient: str) -> tuple[Time, ...]:
    """The time points that a PatientID tells beside who it is.

    Example:
        >>> [time.label for time in visit_of("P1_visit2") + visit_of("GBM01-T0")]
        ['visit 2', 'timepoint 0']
    """
    name = parse_id(patient)
    return tuple(t for t in name.times if not t.weak) if rank(name.who) >= ID else ()
