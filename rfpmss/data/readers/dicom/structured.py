"""DICOM structured reports (SR) to plain text, and who DICOM headers name."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR, tag_for_keyword

from rfpmss.data.errors import TextError, UnreadableError
from rfpmss.data.privacy.names import readings
from rfpmss.data.readers.text.encoding import decode_text, plausible

if TYPE_CHECKING:
    from pydicom import Dataset

DEPTH = 32
"""Items nested deeper are no report that a person wrote."""
LARGEST = 1 << 20
"""Letters of a report."""
IDENTIFIERS = (
    *("PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "PatientBirthName"),
    *("PatientMotherBirthName", "PatientBirthDate", "PatientAddress", "PatientTelephoneNumbers"),
    *("MedicalRecordLocator", "AccessionNumber", "StudyID", "AdmissionID", "IssuerOfPatientID"),
    *("InstitutionName", "InstitutionAddress", "StationName", "DeviceSerialNumber"),
    *("PerformedProcedureStepID", "RequestedProcedureID", "PlacerOrderNumberImagingServiceRequest"),
    *("FillerOrderNumberImagingServiceRequest", "MilitaryRank", "RegionOfResidence"),
)
"""Fields whose values are blanked in the patient's reports, besides every name of a person."""


def report_text(data: Dataset) -> str:
    """The sentences, codes and measurements of an SR document, a line each, in reading order.

    Who observed, when, and references to images are left out.

    Raises:
        TextError: if it says nothing.
        UnreadableError: if its content is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            known = _letters(data)
            text = "\n".join(_lines(data.get("ContentSequence") or (), known, 0))
    except TextError:
        raise
    except Exception:
        raise UnreadableError("the content of the structured report is damaged") from None

    if len(text) > LARGEST:
        raise TextError("the text is longer than a report can be")
    if not any(letter.isalpha() for letter in text):
        raise TextError("the report is empty")

    return text


Letters = Mapping[bytes, str]
"""What the bytes of a document mean, where its character set is missing or wrong."""


def _letters(data: Dataset) -> Letters:
    """The letters of a document that does not say, or not truly, how it is encoded."""
    found = dict.fromkeys(_texts(data.get("ContentSequence") or (), 0))
    values = [value for value in found if not value.isascii() and MARK not in value]
    if not values:
        return {}

    whole = MARK.join(values)
    declared = convert_encodings(data.get("SpecificCharacterSet") or "ISO_IR 6")
    if data.get("SpecificCharacterSet") and plausible(whole, declared):
        return {}

    return dict(zip(values, decode_text(whole).split(MARK.decode()), strict=True))


MARK = b"\x1e"
"""Stands between the texts of a document while their encoding is looked for."""


def _texts(items: Iterable[Dataset], depth: int) -> Iterator[bytes]:
    """The bytes of all texts of a document."""
    for item in items if depth <= DEPTH else ():
        for tag in item.keys():  # noqa: SIM118 - iterating a data set decodes its elements
            raw = item.get_item(tag)
            if _vr(raw) == "SQ":
                yield from _texts(item[tag].value or (), depth + 1)
            else:
                yield _bytes(raw)


def _lines(items: Iterable[Dataset], known: Letters, depth: int) -> Iterator[str]:
    if depth > DEPTH:
        raise TextError("the structured report is nested too deeply")

    for item in items:
        if item.get("RelationshipType") == "HAS OBS CONTEXT":
            continue
        inside = list(_lines(item.get("ContentSequence") or (), known, depth + 1))
        if line := _line(item, known, has_content=bool(inside)):
            yield line
        yield from inside


def _line(item: Dataset, known: Letters, *, has_content: bool) -> str:
    kind, about = item.get("ValueType"), _meaning(item.get("ConceptNameCodeSequence"), known)
    if kind == "TEXT":
        return _text(item, "TextValue", known)
    if kind == "CODE":
        return f"{about}: {_meaning(item.get('ConceptCodeSequence'), known)}."

    if kind == "NUM" and (values := item.get("MeasuredValueSequence")):
        number = values[0].get("NumericValue", "")
        unit = values[0].get("MeasurementUnitsCodeSequence")
        return f"{about}: {number} {unit[0].get('CodeValue', '') if unit else ''}".strip() + "."

    return f"{about}:" if kind == "CONTAINER" and has_content and about else ""


def _meaning(codes: Any, known: Letters) -> str:
    return _text(codes[0], "CodeMeaning", known) if codes else ""


def _text(item: Dataset, keyword: str, known: Letters) -> str:
    raw = _bytes(item.get_item(keyword)) if keyword in item else b""
    return known.get(raw, str(item.get(keyword, "") or "")).strip(" \0\n")


def names_of(data: Dataset) -> tuple[str, ...]:
    """Every value of a header that names the patient, staff, the institution or an order."""
    found = (value for values in names_by_keyword(data).values() for value in values)
    return tuple(dict.fromkeys(found))


def names_by_keyword(data: Dataset) -> dict[str, tuple[str, ...]]:
    """The values of `names_of` by the keyword of their element, in one pass over the header.

    Args:
        data: a data set; sequences are searched as well.
    """
    found: dict[str, dict[str, None]] = defaultdict(dict)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom shows the values that it warns of
        for element, raw in _named(data, 0):
            values = element.value if element.VM > 1 else [element.value or ""]
            decoded = "\\".join(str(value or "") for value in values)
            for reading in readings(raw, decoded):
                said = filter(None, map(str.strip, reading.split("\\")))
                found[element.keyword] |= dict.fromkeys(said)

    return {keyword: tuple(values) for keyword, values in found.items()}


def _named(data: Dataset, depth: int) -> Iterator[tuple[Any, bytes]]:
    """Elements that name somebody, each with its bytes; all others stay undecoded."""
    if depth > DEPTH:
        return

    tags = _tags()
    for tag, raw in list(data.items()):
        group = tag >> 16
        # Odd groups are private; beyond come curves, the groups of frames, overlays and pixels.
        if group > 0x5000 or group % 2:
            continue
        vr = _vr(raw)
        if vr == "SQ":
            for item in data[tag].value or ():
                yield from _named(item, depth + 1)
        elif vr == "PN" or int(tag) in tags:
            yield data[tag], _bytes(raw)


@cache
def _tags() -> frozenset[int]:
    """Of `IDENTIFIERS`."""
    return frozenset(tag for name in IDENTIFIERS if (tag := tag_for_keyword(name)) is not None)


def _vr(element: Any) -> str:
    """Of an element that may not be decoded yet; implicit ones do not say it."""
    if element.VR:
        return element.VR

    try:
        return dictionary_VR(element.tag)
    except KeyError:
        return "UN"


def _bytes(element: Any) -> bytes:
    """The bytes of an element that is not decoded yet, else none."""
    value = getattr(element, "value", b"")
    return value if isinstance(value, bytes) else b""
