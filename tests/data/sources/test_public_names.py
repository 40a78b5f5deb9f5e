"""Public cohorts by the names of every year, BIDS, and reports that are published apart."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from rfpmss import prepare
from rfpmss.config import VIEWS
from rfpmss.data.cohort.manifest import COLUMNS, read
from rfpmss.data.errors import DataError, IncompleteError, ValuesError
from rfpmss.data.sources import bids, brats, mrrate, upenn
from rfpmss.data.sources.cohorts import Public, find
from rfpmss.data.sources.derive import derive
from rfpmss.data.sources.published import Refused, join, read_published
from rfpmss.data.study import Source, Study
from tests.data.files import brain, write_nifti

MRI = VIEWS.index("mri")
OLD = ("flair", "t1", "t1ce", "t2", "seg")
NEW = ("t2f", "t1n", "t1c", "t2w", "seg")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def case(folder: Path, name: str, parts: tuple[str, ...] = OLD, gap: str = "_") -> None:
    touch(*(folder / name / f"{name}{gap}{part}.nii.gz" for part in parts))


def mri(study: Study) -> Source:
    source = study.views[MRI]
    assert source is not None
    return source


@pytest.mark.parametrize(
    ("name", "parts", "gap", "patient"),
    [
        ("Brats17_TCIA_105_1", OLD, "_", "Brats17_TCIA_105_1"),
        ("Brats18_CBICA_AAB_1", OLD, "_", "Brats18_CBICA_AAB_1"),
        ("BraTS19_2013_10_1", OLD, "_", "BraTS19_2013_10_1"),
        ("BraTS20_Training_001", OLD, "_", "BraTS20_Training_001"),
        ("BraTS2021_00001", OLD, "_", "BraTS2021_00001"),
        ("BraTS-GLI-00001-000", NEW, "-", "BraTS-GLI-00001"),
        ("BraTS-MEN-00004-000", NEW, "-", "BraTS-MEN-00004"),
        ("BraTS-MET-00002-000", NEW, "-", "BraTS-MET-00002"),
        ("BraTS-SSA-00003-000", NEW, "-", "BraTS-SSA-00003"),
        ("BraTS-PED-00005-000", NEW, "-", "BraTS-PED-00005"),
        ("BraTS-GLI-02405-100", NEW, "-", "BraTS-GLI-02405"),
        ("BraTS-MEN-RT-0001-1", ("t1c", "gtv"), "_", "BraTS-MEN-RT-0001"),
    ],
)
def test_cases_of_every_year_are_read_by_their_names(
    name: str, parts: tuple[str, ...], gap: str, patient: str, tmp_path: Path
) -> None:
    case(tmp_path / "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData", name, parts, gap)
    (study,) = brats.find(tmp_path).studies
    assert (study.study_id, study.patient_id) == (name, patient)
    whole = ("t1", "t1ce", "t2", "flair") if len(parts) == 5 else ("t1ce",)
    assert mri(study).channels == whole
    told = {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f"} if parts != OLD else {}
    ends = [path.name[len(name) + 1 :].partition(".")[0] for path in mri(study).paths]
    assert ends == [told.get(channel, channel) for channel in whole]
    mask = mri(study).mask
    assert mask is not None
    assert mask.name.endswith(("seg.nii.gz", "gtv.nii.gz"))


def test_time_points_are_studies_of_one_patient_and_masks_are_optional(tmp_path: Path) -> None:
    for point in ("000", "001"):
        case(tmp_path, f"BraTS-GLI-00001-{point}", NEW[:4], "-")
    studies = brats.find(tmp_path).studies
    assert [study.study_id[-3:] for study in studies] == ["000", "001"]
    assert {study.patient_id for study in studies} == {"BraTS-GLI-00001"}
    assert {mri(study).mask for study in studies} == {None}


def test_grades_by_folder_and_the_stray_mask_of_2020(tmp_path: Path) -> None:
    case(tmp_path / "HGG", "Brats18_2013_2_1")
    case(tmp_path / "LGG", "Brats18_2013_3_1")
    assert [s.labels for s in brats.find(tmp_path).studies] == [
        (("grade", "HGG"),),
        (("grade", "LGG"),),
    ]
    case(tmp_path / "x", "BraTS20_Training_355", OLD[:4])
    touch(tmp_path / "x" / "BraTS20_Training_355" / "W39_1998.09.19_Segm.nii")
    mask = mri(brats.find(tmp_path / "x").studies[0]).mask
    assert mask is not None
    assert mask.name == "W39_1998.09.19_Segm.nii"


def test_a_nifti_with_another_name_is_told(tmp_path: Path) -> None:
    case(tmp_path, "BraTS-GLI-00001-000", NEW, "-")
    touch(tmp_path / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-t1n-voided.nii.gz")
    ((path, error),) = brats.find(tmp_path).rejections
    assert path.endswith("voided.nii.gz")
    assert "no sequence" in str(error)


@pytest.mark.parametrize("option", ["--brats", "--brats2021", "--upenn-gbm", "--bids", "--mr-rate"])
def test_an_unknown_layout_says_what_was_found_and_what_was_expected(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path / "src" / "Quimby" / "scan_a.nii.gz", tmp_path / "src" / "Quimby" / "b.nii.gz")
    assert (
        prepare.main(["public", option, str(tmp_path / "src"), "--out", str(tmp_path / "o")]) == 1
    )
    said = capsys.readouterr().err.splitlines()[-1]
    assert "found 2 .nii.gz; expected " in said
    assert "Quimby" not in said
    assert not (tmp_path / "o" / "rejections.csv").exists()


def test_releases_that_share_patients_are_not_mixed_unnoticed(tmp_path: Path) -> None:
    case(tmp_path / "a", "BraTS2021_00001")
    case(tmp_path / "b", "BraTS-GLI-00001-000", NEW, "-")
    case(tmp_path / "c", "BraTS-MEN-00001-000", NEW, "-")
    touch(tmp_path / "u" / "UPENN-GBM-00001_11" / "UPENN-GBM-00001_11_T1.nii.gz")
    out = tmp_path / "o"
    both = Public(out=out, brats2021=tmp_path / "a", brats=tmp_path / "b")
    with pytest.raises(IncompleteError, match="BraTS-GLI and BraTS2021 share patients"):
        find(both)
    with pytest.raises(IncompleteError, match="BraTS-GLI and UPENN-GBM share patients"):
        find(Public(out=out, brats=tmp_path / "b", upenn_gbm=tmp_path / "u"))
    other = Public(out=out, brats2021=tmp_path / "a", brats=tmp_path / "c")
    assert len(find(other).studies) == 2
    anyway = Public(out=out, brats2021=tmp_path / "a", brats=tmp_path / "b", unmapped=True)
    assert len(find(anyway).studies) == 2


def test_upenn_of_two_visits_is_one_patient(tmp_path: Path) -> None:
    for scan in ("UPENN-GBM-00001_11", "UPENN-GBM-00001_21"):
        folder = tmp_path / "NIfTI-files" / "images_structural" / scan
        touch(*(folder / f"{scan}_{part}.nii.gz" for part in ("T1", "T1GD", "T2", "FLAIR")))
    studies = upenn.find(tmp_path).studies
    assert [dict(study.labels)["visit"] for study in studies] == ["baseline", "follow-up"]
    assert {study.patient_id for study in studies} == {"UPENN-GBM-00001"}


def test_bids_by_subject_and_session_without_derivatives(tmp_path: Path) -> None:
    for session in ("1", "2"):
        base = f"sub-01_ses-{session}"
        anat = tmp_path / "sub-01" / f"ses-{session}" / "anat"
        names = ("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR", "T2starw", "desc-brain_mask")
        touch(*(anat / f"{base}_{name}.nii.gz" for name in names))
    touch(anat / "sub-01_ses-2_run-2_T2w.nii.gz", anat / "sub-01_ses-2_acq-hr_T2w.nii.gz")
    touch(tmp_path / "sub-02" / "anat" / "sub-02_T1w.nii")
    touch(tmp_path / "sub-02" / "anat" / "sub-02_label-lesion_mask.nii.gz")
    touch(tmp_path / "sub-02" / "dwi" / "sub-02_dwi.nii.gz")
    touch(tmp_path / "derivatives" / "hdbet" / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    drawn = tmp_path / "derivatives" / "seg" / "sub-01" / "sub-01_ses-1_label-tumor_dseg.nii.gz"
    touch(drawn)
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tsex\tname\tgrade\nsub-01\t61\tF\tZebulon Quimby\tn/a\n"
    )
    found = bids.find(tmp_path)
    assert [(s.study_id, s.patient_id) for s in found.studies] == [
        ("sub-01_ses-1", "sub-01"),
        ("sub-01_ses-2", "sub-01"),
        ("sub-02", "sub-02"),
    ]
    first, second, third = found.studies
    assert mri(first).channels == ("t1", "t1ce", "t2", "flair")
    assert mri(second).paths[2].name == "sub-01_ses-2_T2w.nii.gz"
    assert first.labels == (("age", "61"), ("sex", "F"))
    assert mri(first).mask is None
    mask = mri(third).mask
    assert mask is not None
    assert mask.name == "sub-02_label-lesion_mask.nii.gz"
    refused = {Path(path).name: str(error) for path, error in found.rejections}
    assert "another file" in refused["sub-01_ses-2_run-2_T2w.nii.gz"]
    assert "another file" in refused["sub-01_ses-2_acq-hr_T2w.nii.gz"]
    assert "brain" in refused["sub-01_ses-1_desc-brain_mask.nii.gz"]

    named = bids.find(tmp_path, ["derivatives/**/*_dseg.nii.gz"])
    assert mri(named.studies[0]).mask == drawn
    with pytest.raises(IncompleteError, match="--bids-masks"):
        bids.find(tmp_path, ["derivatives/**/*_nothing.nii.gz"])


def test_mr_rate_by_study_with_its_patients_from_a_table(tmp_path: Path) -> None:
    for study in ("A1", "A2", "B1"):
        names = ("t1w-raw-sag", "t1w-raw-axi-2", "t1w-raw-axi", "flair-raw-sag", "swi-raw-axi")
        touch(*(tmp_path / "mri" / study / "img" / f"{study}_{name}.nii.gz" for name in names))
        touch(tmp_path / "mri" / study / "seg" / f"{study}_t1w-raw-axi_brain-mask.nii.gz")
    with pytest.raises(IncompleteError, match=r"splits\.csv"):
        mrrate.find(tmp_path)
    lines = ["batch_id,patient_uid,study_uid,split", "b,7,A1,train", "b,7,A2,train", "b,8,B1,val"]
    (tmp_path / "splits.csv").write_text("\n".join(lines) + "\n")
    found = mrrate.find(tmp_path)
    assert [(s.study_id, s.patient_id) for s in found.studies] == [
        ("A1", "7"),
        ("A2", "7"),
        ("B1", "8"),
    ]
    source = mri(found.studies[0])
    assert source.channels == ("t1", "flair")
    assert (source.paths[0].name, source.mask) == ("A1_t1w-raw-axi.nii.gz", None)
    assert len(found.rejections) == 6


def studies(*cases: str) -> list[Study]:
    return [Study(study_id=name, patient_id=brats.patient_of(name)) for name in cases]


def reports(path: Path, *cases: str) -> tuple[dict[str, tuple[str | None, str, bool]], Refused]:
    refused: Refused = []
    made = join(studies(*cases), read_published(path, refused), refused)
    return {s.study_id: (s.report, s.origin, s.derived) for s in made}, refused


def test_textbrats_joins_by_the_folder_of_the_case(tmp_path: Path) -> None:
    for number in ("101", "102"):
        folder = tmp_path / f"BraTS20_Training_{number}"
        touch(folder / f"BraTS20_Training_{number}_flair_text.npy")
        text = f"The lesion {number} lies in the left lobe."
        (folder / f"BraTS20_Training_{number}_flair_text.txt").write_text(text)
    found, refused = reports(tmp_path, "BraTS20_Training_101", "BraTS20_Training_103")
    assert found == {
        "BraTS20_Training_101": ("The lesion 101 lies in the left lobe.", "TextBraTS", False),
        "BraTS20_Training_103": (None, "", False),
    }
    assert [str(error) for _, error in refused] == [
        "1 report belongs to no study of the cohort; add the missing part or leave the study out"
    ]


def test_radgenome_joins_findings_and_impression(tmp_path: Path) -> None:
    folder = tmp_path / "BraTS_MEN"
    folder.mkdir()
    key = "BraTS-MEN-00001"
    (folder / "global_finding.json").write_text(json.dumps({key: "A mass at the convexity."}))
    (folder / "impression.json").write_text(json.dumps({key: "Probably a meningioma."}))
    modal = {f"{key}-000-t2f": "Bright.", f"{key}-000-t1c": "It enhances a lot."}
    (folder / "modal_wise_finding.json").write_text(json.dumps(modal))
    found, refused = reports(tmp_path, "BraTS-MEN-00001-000")
    text = "A mass at the convexity. Probably a meningioma."
    assert found == {"BraTS-MEN-00001-000": (text, "RadGenome-Brain MRI", False)}
    assert not refused
    # Two time points: which of them is meant is not said.
    found, refused = reports(tmp_path, "BraTS-MEN-00001-000", "BraTS-MEN-00001-001")
    assert {report for report, _, _ in found.values()} == {None}
    assert len(refused) == 1


def test_btreport_is_marked_as_derived_with_its_model(tmp_path: Path) -> None:
    key = "BraTS-GLI-01665-000"
    said = {key: {"Tumor Location": "temporal", "Predicted Report (llama3:70b)": "A 4 cm mass."}}
    (tmp_path / "btreport_brats23.json").write_text(json.dumps(said))
    found, _ = reports(tmp_path / "btreport_brats23.json", key)
    assert found == {key: ("A 4 cm mass.", "BTReport llama3:70b", True)}


def test_mr_rate_joins_by_study_from_its_table_and_its_lines(tmp_path: Path) -> None:
    with (tmp_path / "batch00_reports.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["study_uid", "report", "findings", "impression"])
        table.writerow(["22B7CXEZ6T", "No mass, no bleeding.", "", ""])
    found, _ = reports(tmp_path, "22B7CXEZ6T")
    assert found == {"22B7CXEZ6T": ("No mass, no bleeding.", "MR-RATE", False)}
    (tmp_path / "batch00_reports.csv").unlink()
    lines = [
        {"volume_name": "A1", "extracted_sentences": ["One.", "Two."], "valid_json": True},
        {"volume_name": "A2", "extracted_sentences": ["Bad."], "valid_json": False},
    ]
    (tmp_path / "findings.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found, _ = reports(tmp_path, "A1", "A2")
    assert found == {"A1": ("One. Two.", "MR-RATE", False), "A2": (None, "", False)}


def test_two_publishers_of_one_case_are_not_mixed_and_junk_is_told(tmp_path: Path) -> None:
    key = "BraTS20_Training_001"
    (tmp_path / "a.json").write_text(json.dumps({key: "A mass of 3 cm."}))
    (tmp_path / f"{key}_flair_text.txt").write_text("Another text.")
    (tmp_path / "broken.json").write_text("{")
    found, refused = reports(tmp_path, key)
    assert found[key][0] in ("A mass of 3 cm.", "Another text.")
    kinds = sorted(type(error).__name__ for _, error in refused)
    assert kinds == ["DuplicateError", "TextError"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(IncompleteError, match="known layout"):
        read_published(empty, [])


def test_a_report_of_a_publisher_reaches_the_manifest_with_its_origin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src = tmp_path / "src"
    for number, name in enumerate(("BraTS-GLI-00001-000", "BraTS-GLI-00001-001")):
        for k, part in enumerate(NEW[:4]):
            path = src / name / f"{name}-{part}.nii.gz"
            write_nifti(path, brain((12, 12, 4), 10 * number + k))
        mask = np.zeros((12, 12, 4), np.uint8)
        mask[3:6, 3:6, 1:3] = 3
        write_nifti(src / name / f"{name}-seg.nii.gz", mask)
    said = {"BraTS-GLI-00001-000": {"Predicted Report (llama3:70b)": "A 4 cm mass."}}
    (tmp_path / "bt.json").write_text(json.dumps(said))
    given = ["public", "--brats", str(src), "--reports", str(tmp_path / "bt.json")]
    given += ["--derive-reports", "--out", str(tmp_path / "out"), "--workers", "1"]
    assert prepare.main(given) == 0
    said = capsys.readouterr().out
    assert "reports: 2 (1 of BTReport llama3:70b, 2 derived from masks or tables)" in said
    rows = read(tmp_path / "out" / "manifest.csv")
    assert {row.patient_id for row in rows} == {"BraTS-GLI-00001"}
    assert len({row.split for row in rows}) == 1
    texts = {row.study_id[-3:]: row for row in rows if row.modality == "report"}
    assert (texts["000"].origin, texts["000"].derived) == ("BTReport llama3:70b", "yes")
    assert (texts["001"].origin, texts["001"].derived) == ("", "yes")
    assert "enhancement" in texts["001"].report
    assert {row.series for row in rows if row.modality == "mri"} == {"t1+t1ce+t2+flair"}


def test_a_manifest_of_before_has_no_origins_and_no_heights_and_loads(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    columns = [name for name in COLUMNS if name not in ("origin", "heights", "voxel", "sequence")]
    path.write_text(",".join(columns) + "\np,s,report,,,A mass.,train,,yes,,,,\n")
    (row,) = read(path)
    assert (row.report, row.derived, row.origin, row.heights) == ("A mass.", "yes", "", "")


def masked(folder: Path, name: str, labels: list[int]) -> Study:
    image, mask = np.zeros((20, 20, 6), np.int16), np.zeros((20, 20, 6), np.uint8)
    image[2:18, 2:18] = 100
    image[4, 4] = 300
    for k, label in enumerate(labels):
        mask[4 + 3 * k : 7 + 3 * k, 5:12, 1:5] = label
    paths = [write_nifti(folder / f"{name}_t1.nii.gz", image)]
    source = Source(
        kind="nifti",
        paths=tuple(paths),
        channels=("t1",),
        mask=write_nifti(folder / f"{name}_seg.nii.gz", mask),
    )
    return Study(
        study_id=name, patient_id=name, views=tuple(source if v == "mri" else None for v in VIEWS)
    )


def test_a_derived_report_speaks_of_enhancement_by_the_year_of_the_labels(tmp_path: Path) -> None:
    def text(name: str, labels: list[int], **options: object) -> str:
        report = derive(masked(tmp_path, name, labels), **options).report  # type: ignore[arg-type]
        assert report is not None
        return report

    old, new = text("BraTS2021_00001", [1, 2, 4]), text("BraTS-GLI-00001-000", [1, 2, 3])
    assert old == new
    assert "Patchy enhancement" in old
    cavity = text("BraTS-GLI-02405-100", [1, 2, 4])
    assert "does not enhance" in cavity
    assert "A resection cavity is present." in cavity
    with pytest.raises(ValuesError, match="--mask-labels"):
        text("P1", [1, 3, 4])
    with pytest.raises(ValuesError, match="--mask-labels"):  # another mask of the cohort tells
        text("P1", [1, 2, 4], others={3})
    assert "cavity" in text("P1", [1, 3, 4], scheme="brats2023")
    with pytest.raises(DataError, match="no tumour"):
        text("BraTS-GLI-02405-101", [4])
