"""DICOM without a PatientID beside DICOM with one: the same patient, another, or a refusal."""

from pathlib import PurePosixPath

import pytest

from rfpmss.data.identity.owners.assign import Owned, assign
from rfpmss.data.identity.owners.item import Item

NOBODY = ("", "", "")
WOMAN, MAN = ("19510312", "F", "Quimby^Ada"), ("19600701", "M", "Zebulon^Karl")


def assigned(*files: tuple[str, str, str, tuple[str, str, str]], level: int = 0) -> Owned:
    """Two slices of each series: folder, PatientID, study, and what the header says of who."""
    return assign(
        [
            Item(
                path=PurePosixPath(folder, f"IM{n}.dcm"),
                kind="mri",
                patient=patient,
                study=study,
                person=person,
            )
            for folder, patient, study, person in files
            for n in (1, 2)
        ],
        level,
    )


@pytest.mark.parametrize("folders", [("DICOM/S1", "DICOM/S2"), ("A1/T1", "A1/T2"), ("x", "y")])
@pytest.mark.parametrize("empty", ["", "ANONYMOUS"])
def test_series_of_one_study_are_of_one_patient(folders: tuple[str, str], empty: str) -> None:
    first, second = folders
    owned = assigned((first, "P774", "1.2.3", WOMAN), (second, empty, "1.2.3", NOBODY))
    assert (owned.doubt, len(set(owned.owners))) == ("", 1)
    assert any("series without a PatientID" in note for note in owned.notes)


def test_a_study_of_two_patients_adopts_nobody() -> None:
    """An anonymiser gave all one StudyInstanceUID."""
    owned = assigned(
        ("A/GBM-017", "P1", "1.2.3", WOMAN),
        ("A/GBM-018", "P2", "1.2.3", MAN),
        ("A/GBM-019", "", "1.2.3", NOBODY),
    )
    assert len(set(owned.owners)) == 3


@pytest.mark.parametrize("name", ["王建国", "Ваня Ким"])
def test_a_name_in_another_script_contradicts_nothing(name: str) -> None:
    romanised = ("", "", "Wang^Jianguo")
    owned = assigned(("D/S1", "P1", "1.2.3", romanised), ("D/S2", "", "1.2.3", ("", "", name)))
    assert (owned.doubt, len(set(owned.owners))) == ("", 1)


def test_a_header_of_another_person_is_not_adopted() -> None:
    owned = assigned(("D/GBM-01", "P1", "1.2.3", WOMAN), ("D/GBM-02", "", "1.2.3", MAN))
    assert owned.doubt or len(set(owned.owners)) == 2


def test_numbered_folders_with_and_without_a_patient_id_are_refused_with_two_ways_out() -> None:
    files = (("DICOM/S1", "P774", "1.2.3", NOBODY), ("DICOM/S2", "", "1.2.4", NOBODY))
    doubt = assigned(*files).doubt
    assert "--patient-level 2" in doubt
    assert "--patient-level 1" in doubt
    assert len(set(assigned(*files, level=2).owners)) == 2
    assert len(set(assigned(*files, level=1).owners)) == 1


def test_named_folders_without_a_patient_id_stay_patients() -> None:
    owned = assigned(
        ("DICOM/GBM-017", "P1", "1.2.3", WOMAN),
        ("DICOM/GBM-018", "", "1.2.4", NOBODY),
        ("DICOM/GBM-019", "", "1.2.5", NOBODY),
    )
    assert (owned.doubt, len(set(owned.owners))) == ("", 3)
