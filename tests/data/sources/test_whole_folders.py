"""Small folders as they come, through the whole of `prepare`: what one fault costs, and no more."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from rfpmss.data.cohort.manifest import Row
from tests.data.files import brain, write_nifti, write_series
from tests.data.prepared import prepared, refused

SHAPE = (20, 20, 8)
RAW_DATA = "1.2.840.10008.5.1.4.1.1.66"


def cohort(src: Path, *options: str) -> tuple[list[Row], dict[str, str]]:
    """The rows of the manifest, and the reason of every file that is not in the cohort."""
    rows = prepared(src, src.parent / "cohort", *options)
    reasons = refused(src.parent / "cohort")
    return rows, {Path(path).name: reason for path, reason in reasons.items()}


def bundle(folder: Path) -> None:
    for number, name in enumerate(("t1", "t1ce", "t2", "flair")):
        write_nifti(folder / f"{name}.nii.gz", brain(SHAPE, number))


def test_the_manifest_does_not_name_a_sequence_that_was_refused(tmp_path: Path) -> None:
    src = tmp_path / "src"
    bundle(src / "P1")
    flair = src / "P1" / "flair.nii.gz"
    flair.write_bytes(flair.read_bytes()[:-200])

    (row,), reasons = cohort(src)
    assert "flair" not in row.series
    assert "t1ce" in row.series
    assert set(reasons) == {"flair.nii.gz"}


def test_raw_data_in_a_series_costs_itself_alone(tmp_path: Path) -> None:
    src = tmp_path / "src"
    folder = write_series(src / "P1" / "ct", 1000 + np.moveaxis(brain(SHAPE), 2, 0).astype(int))
    raw = pydicom.dcmread(folder / "000")
    raw.SOPClassUID = raw.file_meta.MediaStorageSOPClassUID = RAW_DATA
    raw.SOPInstanceUID = raw.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    del raw.PixelData
    raw.save_as(folder / "raw", enforce_file_format=True)

    (row,), reasons = cohort(src)
    assert row.modality == "ct"
    assert set(reasons) == {"raw"}


def test_a_series_that_does_not_say_how_large_its_pixels_are_is_left_out(tmp_path: Path) -> None:
    src = tmp_path / "src"
    bundle(src / "P1")
    folder = write_series(
        src / "P1" / "mr",
        1000 + np.moveaxis(brain(SHAPE), 2, 0).astype(int),
        changes={"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"},
    )
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        del data.PixelSpacing
        data.save_as(file, enforce_file_format=True)

    rows, reasons = cohort(src, "--patient-level", "1")
    assert len(rows) == 1
    assert {"how large its pixels are" in reason for reason in reasons.values()} == {True}


def test_reports_beside_raw_data_and_derivatives_reach_the_raw_patients(tmp_path: Path) -> None:
    src = tmp_path / "src"
    for who in ("sub-01", "sub-02"):
        write_nifti(src / who / "anat" / f"{who}_T1w.nii.gz", brain(SHAPE))
        write_nifti(src / "derivatives" / "hdbet" / who / "t1.nii.gz", brain(SHAPE))
        (src / "reports").mkdir(exist_ok=True)
        (src / "reports" / f"{who}.txt").write_text(f"Mass in the left lobe, case {who[-1]}.")

    rows, _ = cohort(src)
    assert [row.modality for row in rows].count("mri") == 2
    told = {row.report for row in rows if row.modality == "report"}
    assert told == {f"Mass in the left lobe, case {number}." for number in (1, 2)}
    assert len({row.study_id for row in rows}) == 2


def test_pictures_of_a_viewer_are_no_slides_whatever_their_scale(tmp_path: Path) -> None:
    src = tmp_path / "src"
    bundle(src / "P1")
    (src / "VIEWER").mkdir()
    (src / "VIEWER" / "help.txt").write_text("Press F1 to open the help of this viewer.")
    Image.new("RGB", (600, 600), "navy").save(src / "VIEWER" / "logo.png")

    rows, _ = cohort(src, "--mpp", "0.5")
    assert len(rows) == 1
    assert not rows[0].report


@pytest.mark.parametrize(
    "head",
    ["MRI 1 date,MRI 1 report,MRI 2 date,MRI 2 report", "Date (1),Report (1),Date #2,Report #2"],
)
def test_two_examinations_in_one_row_are_never_joined(tmp_path: Path, head: str) -> None:
    src = tmp_path / "src"
    for who in (1, 2, 3):
        for day in ("2020-01-08", "2020-06-11"):
            write_nifti(src / f"NRO-{who:03d}" / day / "t1.nii.gz", brain(SHAPE, who))
    rows = [
        f"NRO-{who:03d},2020-01-08,Enhancing mass in lobe {who} with oedema.,"
        f"2020-06-11,Resection cavity {who} without residual enhancement."
        for who in (1, 2, 3)
    ]
    (src / "registry.csv").write_text("\n".join([f"Study ID,{head}", *rows]) + "\n")

    found, reasons = cohort(src)
    assert {row.modality for row in found} == {"mri"}
    assert "several reports" in reasons["registry.csv"]
