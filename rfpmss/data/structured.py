"""DICOM structured reports (SR) to plain text, and who DICOM headers name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rfpmss.data.errors import TextError, UnreadableError

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
        text = "\n".join(_lines(data.get("ContentSequence") or (), 0))
    except TextError:
        raise
    except Exception:
        raise UnreadableError("the content of the structured report is damaged") from None
    if len(text) > LARGEST:
        raise TextError("the text is longer than a report can be")
    if not any(letter.isalpha() for letter in text):
        raise TextError("the report is empty")
    return text


def _lines(items: Iterable[Dataset], depth: int) -> Iterator[str]:
    if depth > DEPTH:
        raise TextError("the structured report is nested too deeply")
    for item in items:
        if item.get("RelationshipType") == "HAS OBS CONTEXT":
            continue
        inside = list(_lines(item.get("ContentSequence") or (), depth + 1))
        if line := _line(item, has_content=bool(inside)):
            yield line
        yield from inside


def _line(item: Dataset, *, has_content: bool) -> str:
    kind, about = item.get("ValueType"), _meaning(item.get("ConceptNameCodeSequence"))
    if kind == "TEXT":
        return str(item.get("TextValue", "") or "").strip()
    if kind == "CODE":
        return f"{about}: {_meaning(item.get('ConceptCodeSequence'))}."
    if kind == "NUM" and (values := item.get("MeasuredValueSequence")):
        number = values[0].get("NumericValue", "")
        unit = values[0].get("MeasurementUnitsCodeSequence")
        return f"{about}: {number} {unit[0].get('CodeValue', '') if unit else ''}".strip() + "."
    return f"{about}:" if kind == "CONTAINER" and has_content and about else ""


def _meaning(codes: Any) -> str:
    return str(codes[0].get("CodeMeaning", "") or "").strip() if codes else ""


def names_of(data: Dataset, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Every value of a header that names the patient, staff, the institution or an order.

    Args:
        data: a data set; sequences are searched as well.
        wanted: only the values of these keywords.
    """
    found: dict[str, None] = {}
    for element in _elements(data, 0):
        keyword = element.keyword
        if keyword in wanted if wanted else element.VR == "PN" or keyword in IDENTIFIERS:
            values = element.value if isinstance(element.value, (list, tuple)) else None
            values = list(element.value) if element.VM > 1 and values is None else values
            for value in values if values is not None else [element.value]:
                if text := str(value or "").strip():
                    found[text] = None
    return tuple(found)


def _elements(data: Dataset, depth: int) -> Iterator[Any]:
    for tag in data.keys():  # noqa: SIM118 - iterating a data set decodes the pixels' element
        # Beyond come curves, the groups of single frames, overlays and pixels.
        if tag.is_private or (tag >> 16) > 0x5000 or depth > DEPTH:
            continue
        element = data[tag]
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _elements(item, depth + 1)
        else:
            yield element
