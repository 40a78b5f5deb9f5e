"""A copy of DICOM data sets without identifiers: Basic Profile of DICOM PS3.15, Annex E."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from pydicom import DataElement, Dataset, Sequence
from pydicom.datadict import dictionary_has_tag
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from rfpmss.data.errors import UnsupportedError
from rfpmss.data.privacy.confidentiality import ACTIONS
from rfpmss.data.privacy.names import pattern
from rfpmss.data.readers.dicom.structured import DEPTH, names_of

STANDARD = "1.2.840.10008."
"""UIDs that begin so mean the same everywhere and stay."""
DUMMY = "REMOVED"
SHIFTED = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "AcquisitionDateTime")
"""Dates that the option of modified dates keeps, moved."""
DESCRIPTIONS = ("StudyDescription", "SeriesDescription", "ProtocolName", "ContrastBolusAgent")
"""Texts that the option of clean descriptors keeps, word by word."""
_SAFE = re.compile(
    r"t1\w{0,4}|t2\w{0,4}|flair|ax|axial|sag|sagittal|cor|coronal|tra|transversal|3d|2d|tse|fse|se"
    r"|\+c|gre|mprage|mpr|spgr|bravo|space|cube|vista|tirm|stir|dwi|adc|dti|swi|perf|dsc|dce|asl|tof|mra"
    r"|pre|post|gd|gad|gado|ce|contrast|km|brain|head|cranial|skull|neck|ct|mr|mri|with|without|c"
    r"|bone|soft|thin|routine|localizer|scout|fs|fatsat|tumor|tumour",
    re.IGNORECASE,
)
_NUMBERS = {"DS", "IS", "FL", "FD", "US", "SS", "UL", "SL", "SV", "UV"}
_TEXTS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UN", "UR", "UT"}
_DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000", "AS": "000Y"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is kept beyond the Basic Profile."""

    dates: Literal["remove", "shift"] = "remove"
    """``shift``: dates of study, series, acquisition and content move back by a number of days that
    only the salt and the patient give, so that distances in time stay."""
    descriptions: Literal["remove", "clean"] = "remove"
    """``clean``: descriptions keep their words that name a sequence, a plane or a body part."""


def deidentify(data: Dataset, salt: bytes, patient: str, options: Options | None = None) -> Dataset:
    """A new data set after the Basic Profile; ``data`` is left as it is and pixels stay encoded.

    Attributes of the profile's table are removed, emptied, replaced by a dummy, or, for UIDs, by
    ``2.25.`` and a number that the salt and the UID give: the same in every file. Beyond the table
    go: private attributes, curves, overlays, attributes that the dictionary does not know, every
    name of a person, and any text that holds a value the header names the patient by.

    Args:
        data: an image.
        salt: secret of the replacements.
        patient: new PatientID and PatientName, such as a salted id.
        options: what to keep; all that is kept is written into DeidentificationMethodCodeSequence.

    Raises:
        UnsupportedError: if the image says that identifiers are burned into its pixels.
    """
    options = options or Options()
    if str(data.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        raise UnsupportedError("identifiers are burned into the pixels, which are not cleaned")

    work = _Work(salt, patient, options, pattern(names_of(data)))
    made = work.clean(data, 0)
    made.PatientName, made.PatientID = patient, patient
    made.PatientIdentityRemoved = "YES"
    made.LongitudinalTemporalInformationModified = (
        "MODIFIED" if options.dates == "shift" else "REMOVED"
    )
    _declare(made, options)

    return _with_meta(made, data, work)


def new_uid(salt: bytes, uid: str) -> str:
    """The UID that stands for ``uid``; UIDs of the standard stand for themselves.

    Example:
        >>> new_uid(b"0123456789abcdef", "1.2.3") == new_uid(b"0123456789abcdef", "1.2.3")
        True
        >>> new_uid(b"0123456789abcdef", "1.2.840.10008.1.2")
        '1.2.840.10008.1.2'
    """
    if uid.startswith(STANDARD) or not uid:
        return uid
    digest = hmac.new(salt, f"uid\0{uid}".encode(), hashlib.sha256).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def clean_description(text: str) -> str:
    """The words of a description that name sequences, planes and body parts.

    Example:
        >>> clean_description("AX T1 +C Dr. Meyer 2021")
        'AX T1 +C'
    """
    return " ".join(word for word in re.findall(r"\+?[0-9A-Za-z]+", text) if _SAFE.fullmatch(word))


class _Work:
    """One patient's data sets on their way through the profile."""

    def __init__(
        self, salt: bytes, patient: str, options: Options, named: re.Pattern[str] | None
    ) -> None:
        self.salt, self.options = salt, options
        digest = hmac.new(salt, f"days\0{patient}".encode(), hashlib.sha256).digest()
        self.days = 1 + int.from_bytes(digest[:4], "big") % 3650
        self.named = named

    def clean(self, data: Dataset, depth: int) -> Dataset:
        made = Dataset()
        for tag in data.keys():  # noqa: SIM118 - iterating a data set decodes the pixels' element
            if _unknown(tag) or depth > DEPTH:
                continue
            element = self.element(data[tag], depth)
            if element is not None:
                made.add(element)

        return made

    def element(self, element: DataElement, depth: int) -> DataElement | None:
        """The element as the profile wants it, or None where it goes."""
        if (kept := self.optional(element)) is not None:
            return kept

        action = ACTIONS.get(int(element.tag), "")
        told = not action and (element.VR in ("PN", "UN", "DA", "DT") or self.tells(element))
        if action == "X" or told:
            return None

        uid = element.VR == "UI" and action not in ("Z", "X/Z")
        if uid or action == "X/Z/U*" or (not action and element.VR == "SQ"):
            return self.inside(element, depth)
        if action in ("Z", "X/Z"):
            return _with(element, [] if element.VR == "SQ" else "")

        # D, X/D, Z/D, X/Z/D: a dummy satisfies them all.
        return _with(element, _dummy(element)) if action else element

    def optional(self, element: DataElement) -> DataElement | None:
        """What an option keeps of the element; None where no option speaks of it."""
        if element.keyword in SHIFTED and self.options.dates == "shift":
            return _with(element, self.moved(str(element.value or "")))

        if element.keyword in DESCRIPTIONS and self.options.descriptions == "clean":
            said = str(element.value or "")
            agent = element.keyword == "ContrastBolusAgent" and said.strip()
            return _with(element, "CONTRAST" if agent else clean_description(said))

        return None

    def inside(self, element: DataElement, depth: int) -> DataElement:
        if element.VR == "SQ":
            return _with(element, [self.clean(item, depth + 1) for item in element.value or ()])
        values = element.value if element.VM > 1 else [element.value or ""]
        uids = [new_uid(self.salt, str(uid)) for uid in values]
        return _with(element, uids if element.VM > 1 else uids[0])

    def moved(self, text: str) -> str:
        """A date or date and time, earlier by the patient's days; empty where it is none."""
        found = re.match(r"(\d{4})(\d\d)(\d\d)", text)
        try:
            day = date(*map(int, found.groups())) if found else None
        except ValueError:
            day = None

        return (day - timedelta(self.days)).strftime("%Y%m%d") if day else ""

    def tells(self, element: DataElement) -> bool:
        """Whether a text that the profile does not list holds what the patient is known by."""
        if element.VR not in _TEXTS or self.named is None or element.VR == "CS":
            return False
        values: Iterable[Any] = element.value if element.VM > 1 else [element.value]
        return any(self.named.search(str(value)) for value in values)


def _unknown(tag: Any) -> bool:
    """Private, curve, overlay, group length, or not in the dictionary."""
    group = tag >> 16
    return bool(
        group % 2
        or 0x5000 <= group <= 0x50FF
        or 0x6000 <= group <= 0x60FF
        or not dictionary_has_tag(tag)
    )


def _with(element: DataElement, value: Any) -> DataElement:
    value = Sequence(value) if element.VR == "SQ" else value
    return DataElement(element.tag, element.VR, value)


def _dummy(element: DataElement) -> Any:
    if element.VR == "SQ":
        return [Dataset()]
    if element.VR in _DUMMIES:
        return _DUMMIES[element.VR]
    if element.VR in _NUMBERS:
        return "0" if element.VR in ("DS", "IS") else 0

    return DUMMY if element.VR in _TEXTS - {"UN"} else b"\0\0"


def _declare(made: Dataset, options: Options) -> None:
    codes = [("113100", "Basic Application Confidentiality Profile")]
    if options.descriptions == "clean":
        codes.append(("113105", "Clean Descriptors Option"))

    if options.dates == "shift":
        code = "Retain Longitudinal Temporal Information Modified Dates Option"
        codes.append(("113107", code))

    made.DeidentificationMethod = [meaning[:64] for _, meaning in codes]
    items = []
    for value, meaning in codes:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)

    made.DeidentificationMethodCodeSequence = items


def _with_meta(made: Dataset, data: Dataset, work: _Work) -> Dataset:
    """File meta information that names neither the sender nor the program."""
    meta, old = FileMetaDataset(), getattr(data, "file_meta", None) or {}
    plain = ImplicitVRLittleEndian if data.original_encoding[0] else ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = made.get("SOPClassUID", "")
    meta.MediaStorageSOPInstanceUID = made.get("SOPInstanceUID", "")
    meta.TransferSyntaxUID = old.get("TransferSyntaxUID", plain)
    meta.ImplementationClassUID = UID(new_uid(work.salt, "implementation"))
    made.file_meta = meta
    made.preamble = b"\0" * 128

    return made
