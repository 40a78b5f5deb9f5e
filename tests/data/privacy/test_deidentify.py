"""The copy without identifiers keeps the Basic Profile, the pixels and the geometry."""

import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from rfpmss import prepare
from rfpmss.data.cohort.manifest import read
from rfpmss.data.errors import UnsupportedError
from rfpmss.data.privacy.confidentiality import ACTIONS
from rfpmss.data.privacy.deidentify import Options, clean_description, deidentify, new_uid
from rfpmss.data.readers.dicom import volumes as dicom
from tests.data.files import PYDICOM, brain, write_series

SALT = b"0123456789abcdef"
LETTERS = {
    "X": "X_TAGS", "Z": "Z_TAGS", "D": "D_TAGS", "U": "U_TAGS", "X/Z": "X_Z_TAGS",
    "X/D": "X_D_TAGS", "Z/D": "Z_D_TAGS", "X/Z/D": "X_Z_D_TAGS", "X/Z/U*": "X_Z_U_STAR_TAGS",
}  # fmt: skip
SECRET = {
    "DA": "20010203", "TM": "010203", "DT": "20010203010203", "AS": "031Y", "DS": "17", "IS": "17",
    "UI": "1.2.3.4.5", "FL": 1.5, "FD": 1.5, "US": 17, "SS": 17, "UL": 17, "SL": 17,
    "OB": b"secret", "OW": b"secret", "UN": b"secret", "CS": "SECRET", "PN": "Se^Cret",
}  # fmt: skip


def image() -> Dataset:
    return pydicom.dcmread(PYDICOM / "CT_small.dcm")


def test_the_table_of_actions_is_that_of_an_independent_transcription_of_the_standard() -> None:
    theirs = {
        (tag[0] << 16) + tag[1]: letters
        for letters, name in LETTERS.items()
        for tag in getattr(table, name)
        if len(tag) == 2
    }
    assert theirs == ACTIONS
    assert len(ACTIONS) == 652


def full() -> Dataset:
    """An image with every attribute of the table, on the first level and in a sequence."""
    data, item = image(), Dataset()
    for holder in (data, item):
        for tag in ACTIONS:
            if dictionary_has_tag(tag):
                vr = dictionary_VR(tag).split(" or ")[0]
                value = Sequence([Dataset()]) if vr == "SQ" else SECRET.get(vr, "secret")
                holder.add_new(tag, vr, value)
    data.SharedFunctionalGroupsSequence = Sequence([item])
    return data


def test_every_attribute_of_the_table_gets_its_action_at_every_depth() -> None:
    before, made = full(), deidentify(full(), SALT, "p-1")
    inside = made.SharedFunctionalGroupsSequence[0]
    done = 0
    ours = {"PatientName", "PatientID", "DeidentificationMethod"}
    for holder in (made, inside):
        for tag, action in ACTIONS.items():
            if tag not in before or before[tag].keyword in ours:
                continue
            done += 1
            if action == "X":
                assert tag not in holder, before[tag].keyword
            elif action in ("Z", "X/Z"):
                assert not holder[tag].value, before[tag].keyword
            elif action == "U":
                assert holder[tag].value not in ("", before[tag].value), before[tag].keyword
            else:
                assert holder[tag].value != before[tag].value or holder[tag].VR in ("SQ", "CS")
                assert "ecret" not in str(holder[tag].value)
    assert done > 1200
    text = made.to_json() if hasattr(made, "to_json") else str(made)
    for trace in ("20010203", "secret", "Se^Cret", "1.2.3.4.5"):
        assert trace not in text.replace("SECRET", ""), trace


def test_what_was_done_is_recorded_in_codes() -> None:
    made = deidentify(image(), SALT, "p-1", Options(dates="shift", descriptions="clean"))
    codes = [item.CodeValue for item in made.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113105", "113107"]
    assert made.PatientIdentityRemoved == "YES"
    assert made.LongitudinalTemporalInformationModified == "MODIFIED"
    plain = deidentify(image(), SALT, "p-1")
    assert [i.CodeValue for i in plain.DeidentificationMethodCodeSequence] == ["113100"]
    assert (plain.PatientID, plain.PatientName) == ("p-1", "p-1")


def test_private_attributes_curves_overlays_and_unknown_ones_go() -> None:
    data = image()
    data.private_block(0x0099, "SOMEONE", create=True).add_new(1, "LO", "Quimby")
    data.add_new(0x60000010, "US", 8)
    data.add_new(0x60003000, "OW", b"overlay ")
    data.add_new(0x50003000, "OW", b"curve   ")
    data.add_new(0x00090001, "LO", "odd")
    data.Manufacturer = f"built for {str(data.PatientName).split('^')[0]}"
    made = deidentify(data, SALT, "p-1")
    assert not any(tag.group % 2 for tag in made.keys())  # noqa: SIM118
    assert not any(tag.group in (0x6000, 0x5000) for tag in made.keys())  # noqa: SIM118
    assert "Manufacturer" not in made


def test_uids_are_replaced_alike_in_every_file_and_only_with_the_same_salt() -> None:
    one, two = deidentify(image(), SALT, "p-1"), deidentify(image(), SALT, "p-1")
    other = deidentify(image(), SALT[::-1], "p-1")
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert one[name].value == two[name].value != other[name].value
        assert one[name].value.startswith("2.25.")
        assert pydicom.uid.UID(one[name].value).is_valid
    assert one.SOPClassUID == image().SOPClassUID
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
    assert len({new_uid(SALT, f"1.2.{n}") for n in range(1000)}) == 1000


def test_moved_dates_keep_their_distances_and_differ_between_patients() -> None:
    def moved(patient: str, day: str) -> str:
        data = image()
        data.StudyDate = day
        return deidentify(data, SALT, patient, Options(dates="shift")).StudyDate

    days = [np.datetime64(f"{d[:4]}-{d[4:6]}-{d[6:]}") for d in (
        moved("p-1", "20200228"), moved("p-1", "20200301"), moved("p-2", "20200228"))]  # fmt: skip
    assert days[1] - days[0] == np.timedelta64(2, "D")
    assert days[0] != days[2]
    assert days[0] < np.datetime64("2020-02-28")
    assert moved("p-1", "") == ""


def test_descriptions_keep_only_words_of_sequences_and_planes() -> None:
    assert clean_description("T2 FLAIR tra Mueller 1961 +C") == "T2 FLAIR tra +C"
    data = image()
    data.SeriesDescription, data.ContrastBolusAgent = "AX T1 Hr. Mueller", "Gadovist 4711"
    kept = deidentify(data, SALT, "p-1", Options(descriptions="clean"))
    assert (kept.SeriesDescription, kept.ContrastBolusAgent) == ("AX T1", "CONTRAST")
    assert "SeriesDescription" not in deidentify(data, SALT, "p-1")


def test_an_image_with_burned_in_names_is_refused() -> None:
    data = image()
    data.BurnedInAnnotation = "YES"
    with pytest.raises(UnsupportedError, match="burned"):
        deidentify(data, SALT, "p-1")


SHIPPED = (
    *("CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm"),
    *("MR_small_bigendian.dcm", "MR_small_expb.dcm", "JPEG2000.dcm", "MR_small_implicit.dcm"),
    *("image_dfl.dcm", "MR_small_jpeg_ls_lossless.dcm", "JPGExtended.dcm", "liver_1frame.dcm"),
)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.filterwarnings("ignore")
def test_pixels_and_geometry_are_those_of_the_original_in_every_syntax(
    name: str, tmp_path: Path
) -> None:
    before = dicom.read_file(PYDICOM / name)
    before.PixelSpacing = before.get("PixelSpacing", ["0.5", "0.75"])
    file = io.BytesIO()
    deidentify(before, SALT, "p-1").save_as(file, enforce_file_format=True)
    (tmp_path / "x").write_bytes(file.getvalue())
    after = dicom.read_file(tmp_path / "x")
    assert after.file_meta.TransferSyntaxUID == before.file_meta.get(
        "TransferSyntaxUID", after.file_meta.TransferSyntaxUID
    )
    assert after.PixelData == before.PixelData
    a, b = dicom.frames(before), dicom.frames(after)
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        assert np.array_equal(one.position, other.position)  # type: ignore[arg-type]
        assert np.array_equal(one.orientation, other.orientation)  # type: ignore[arg-type]
        assert (one.spacing, one.slope, one.intercept) == (
            *(other.spacing, other.slope, other.intercept),
        )


def test_a_copy_is_prepared_into_the_same_images_as_its_source(tmp_path: Path) -> None:
    folder = tmp_path / "src" / "Quimby"
    values = np.random.default_rng(0).integers(900, 1100, (4, 32, 32))
    write_series(folder / "one", values, changes={"StudyDate": "20200101"})
    write_series(folder / "two", values[:, ::-1], changes={"StudyDate": "20210101"})
    nifti = nib.Nifti1Image(brain((16, 16, 6)), np.diag([-1.0, -1.0, 1.0, 1.0]))
    (folder / "2020-01-02").mkdir()
    nib.save(nifti, folder / "2020-01-02" / "t1.nii")
    (folder / "one" / "report.txt").write_text("A mass on the left.")
    command = ["hospital", "--workers", "1", "--out"]
    extra = ["--deidentify", str(tmp_path / "copy")]
    assert prepare.main([*command, str(tmp_path / "a"), str(tmp_path / "src"), *extra]) == 0
    assert prepare.main([*command, str(tmp_path / "b"), str(tmp_path / "copy")]) == 0
    first, second = (read(tmp_path / name / "manifest.csv") for name in "ab")

    def shown(rows: list) -> list[tuple]:
        return sorted((r.modality, r.report, r.digest, r.spacing, r.grid) for r in rows)

    assert shown(first) == shown(second)
    for rows in (first, second):
        assert len({row.patient_id for row in rows}) == 1
        assert len({row.study_id for row in rows}) == 2
