"""BraTS2021 and UPENN-GBM trees with the exact names, and odd ones."""

from __future__ import annotations

import csv
import gzip
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rfpmss.config import VIEWS, DataConfig, PhantomConfig
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.data.cohort.manifest import read as read_manifest
from rfpmss.data.errors import (
    BombError,
    DuplicateError,
    GeometryError,
    IncompleteError,
    PathError,
    TextError,
    UnreadableError,
    UnsupportedError,
    ValuesError,
)
from rfpmss.data.phantom import anatomy
from rfpmss.data.phantom.files import read_patient, write_patient
from rfpmss.data.phantom.latents import Latents, draw
from rfpmss.data.phantom.pose import HEIGHT
from rfpmss.data.readers.text.tables import read_table
from rfpmss.data.readers.volume import Volume, read_nifti
from rfpmss.data.sources import brats, upenn
from rfpmss.data.sources.cohorts import Public, prepare
from rfpmss.data.sources.derive import derive, findings
from rfpmss.data.sources.public import Listing, merge, read_crosswalk
from rfpmss.data.views import Choice, read_views
from tests.data.sources.trees import xlsx

MRI = VIEWS.index("mri")
UPENN_NAMES = {"t1": "T1", "t1ce": "T1GD", "t2": "T2", "flair": "FLAIR"}
ARCHIVE = "RSNA_ASNR_MICCAI_BraTS2021_TrainingData_16July2021"


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """Bytes of four sequences and a mask: 12 x 12 x 6 voxels with BraTS's affine."""
    rng = np.random.default_rng(0)
    affine = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
    files = {}
    for name in (*UPENN_NAMES, "seg"):
        array = rng.integers(1, 900, (12, 12, 6)).astype(np.int16)
        if name == "seg":
            array = np.zeros((12, 12, 6), np.uint8)
            array[3:7, 4:8, 2:4] = 4
        files[name] = gzip.compress(nib.Nifti1Image(array, affine).to_bytes(), 1, mtime=0)
    return files


def put(folder: Path, name: str, data: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def brats_case(root: Path, case: str, scan: dict[str, bytes], parts=None) -> Path:
    for part in parts or scan:
        put(root / case, f"{case}_{part}.nii.gz", scan[part])
    return root / case


def upenn_scan(root: Path, scan_id: str, scan: dict[str, bytes]) -> None:
    base = root / "NIfTI-files"
    for part, name in UPENN_NAMES.items():
        folder = base / "images_structural" / scan_id
        put(folder, f"{scan_id}_{name}.nii.gz", scan[part])
        folder = base / "images_structural_unstripped" / scan_id
        put(folder, f"{scan_id}_{name}_unstripped.nii.gz", scan[part])
    put(base / "automated_segm", f"{scan_id}_automated_approx_segm.nii.gz", scan["seg"])


def mapping(path: Path) -> Path:
    header = ["Data Collection (as on TCIA+additional)", "Local ID", "BraTS2021 ID", "MGMT Value"]
    rows = [
        header,
        ["UPENN-GBM", "UPENN-GBM-00002", "BraTS2021_00001", "1"],
        ["UPENN-GBM", "UPENN-GBM-00007", "BraTS2021_00003", ""],
        ["UCSF-PDGM", "", "00169", "0"],
    ]
    xlsx(path, rows)
    return path


def test_brats_cases_are_found_in_any_nesting_with_masks_and_mgmt(tmp_path, scan):
    brats_case(tmp_path / ARCHIVE, "BraTS2021_00000", scan)
    brats_case(
        tmp_path / "TCIA" / "BraTS2021_ValidationSet" / "x", "BraTS2021_00005", scan, UPENN_NAMES
    )
    put(tmp_path, "train_labels.csv", b"BraTS21ID,MGMT_value\n00000,1\n00005,0\n")
    found = brats.find(tmp_path)
    assert [s.study_id for s in found.studies] == ["BraTS2021_00000", "BraTS2021_00005"]
    first, second = found.studies
    assert first.views[MRI].channels == ("t1", "t1ce", "t2", "flair")
    assert first.views[MRI].mask.name == "BraTS2021_00000_seg.nii.gz"
    assert second.views[MRI].mask is None
    assert (first.label("mgmt"), second.label("mgmt")) == ("methylated", "unmethylated")
    assert not found.rejections


def test_odd_brats_folders_are_used_or_refused_with_the_reason(tmp_path, scan):
    brats_case(tmp_path, "00169", scan)
    brats_case(tmp_path, "BraTS2021_00002", scan, ("t1", "flair", "seg"))
    brats_case(tmp_path / "old", "BraTS2021_00002", scan, ("t2",))
    put(tmp_path / "BraTS2021_00004" / "old", "BraTS2021_00004_t1.nii.gz", scan["t1"])
    brats_case(tmp_path, "BraTS2021_00006", scan, ("seg",))
    put(tmp_path / "00123" / "T1wCE", "Image-1.dcm", b"x")
    (tmp_path / "BraTS2021_00008_t1.nii.gz").symlink_to(tmp_path / "secret")
    found = brats.find(tmp_path)
    assert [s.study_id for s in found.studies] == ["BraTS2021_00002", "BraTS2021_00169"]
    assert found.studies[0].views[MRI].channels == ("t1", "flair")
    kinds = {path: type(error) for path, error in found.rejections}
    assert kinds == {
        "old/BraTS2021_00002/BraTS2021_00002_t2.nii.gz": DuplicateError,
        "BraTS2021_00004/old/BraTS2021_00004_t1.nii.gz": UnsupportedError,
        "BraTS2021_00006": IncompleteError,
        "00123/T1wCE": UnsupportedError,
        "BraTS2021_00008_t1.nii.gz": PathError,
    }


def test_absent_sequences_are_zero_in_their_own_channels(tmp_path, scan):
    brats_case(tmp_path, "BraTS2021_00002", scan, ("t1", "flair", "seg"))
    source = brats.find(tmp_path).studies[0].views[MRI]
    image = read_views("mri", source, Choice(size=12)).images[0]
    empty = (image == 128).all(axis=(1, 2))
    assert empty.tolist() == [False, True, True, False]


def test_upenn_follow_ups_are_further_studies_of_one_patient(tmp_path, scan):
    for scan_id in ("UPENN-GBM-00001_11", "UPENN-GBM-00001_21", "UPENN-GBM-00002_11"):
        upenn_scan(tmp_path, scan_id, scan)
    base = tmp_path / "NIfTI-files"
    put(base / "images_segm", "UPENN-GBM-00002_11_segm.nii.gz", scan["seg"])
    old = base / "images_structural" / "UPENN-GBM-00002_11" / "old"
    put(old, "UPENN-GBM-00002_11_T1.nii.gz", scan["t1"])
    found = upenn.find(tmp_path)
    assert [s.patient_id for s in found.studies] == ["UPENN-GBM-00001"] * 2 + ["UPENN-GBM-00002"]
    assert [s.label("visit") for s in found.studies] == ["baseline", "follow-up", "baseline"]
    assert [s.label("mask") for s in found.studies] == ["automatic", "automatic", "manual"]
    assert found.studies[2].views[MRI].mask.name == "UPENN-GBM-00002_11_segm.nii.gz"
    assert [type(error) for _, error in found.rejections] == [UnsupportedError]
    skull = upenn.find(tmp_path, images="unstripped").studies[0].views[MRI].paths
    assert [p.name.endswith("_unstripped.nii.gz") for p in skull] == [True] * 4


@pytest.mark.parametrize(
    ("version", "column"),
    [("1.0", "Survival_from_surgery_days"), ("2.1", "Survival_from_surgery_days_UPDATED")],
)
def test_clinical_tables_of_both_versions_leave_unknown_values_out(tmp_path, scan, version, column):
    upenn_scan(tmp_path, "UPENN-GBM-00001_11", scan)
    upenn_scan(tmp_path, "UPENN-GBM-00002_11", scan)
    (tmp_path / f"UPENN-GBM_clinical_info_v{version}.csv").write_text(
        f"ID,Gender,Age_at_scan_years,{column},IDH1,MGMT,KPS\n"
        "UPENN-GBM-00001_11,F,61.5,430,NOS/NEC,Methylated,Not Available\n"
        "UPENN-GBM-00002_11,M,50,Not Applicable,Wildtype,Indeterminate,90\n"
    )
    first, second = upenn.find(tmp_path).studies
    assert dict(first.labels) == {
        "visit": "baseline",
        "gender": "F",
        "age": "61.5",
        "survival_days": "430",
        "mgmt": "methylated",
        "mask": "automatic",
    }
    assert second.label("idh1") == "Wildtype"
    assert second.label("mgmt") is None
    assert second.label("survival_days") is None


def test_slides_join_the_baseline_of_the_patient_that_the_mapping_names(tmp_path, scan):
    upenn_scan(tmp_path, "UPENN-GBM-00001_11", scan)
    upenn_scan(tmp_path, "UPENN-GBM-00001_21", scan)
    put(tmp_path / "NDPI_images", "7316UP-109.ndpi", b"x")
    put(tmp_path / "NDPI_images", "7316UP-110.ndpi", b"x")
    (tmp_path / "radiology_mapping.csv").write_text(
        "radiology,histology\nUPENN-GBM-00001,7316UP-109\n"
    )
    found = upenn.find(tmp_path)
    slides = [study.views[VIEWS.index("pathology")] for study in found.studies]
    assert slides[0].paths[0].name == "7316UP-109.ndpi"
    assert slides[1] is None
    assert [path for path, _ in found.rejections] == ["NDPI_images/7316UP-110.ndpi"]


def test_one_patient_of_both_cohorts_is_merged_by_the_mapping_file(tmp_path, scan):
    for number in (1, 3, 9):
        brats_case(tmp_path / "b", f"BraTS2021_{number:05d}", scan)
    upenn_scan(tmp_path / "u", "UPENN-GBM-00002_11", scan)
    upenn_scan(tmp_path / "u", "UPENN-GBM-00002_21", scan)
    crosswalk = read_crosswalk(mapping(tmp_path / "BraTS2021_MappingToTCIA.xlsx"))
    assert crosswalk.mgmt == {
        "BraTS2021_00001": "methylated",
        "BraTS2021_00169": "unmethylated",
    }
    cases = brats.find(tmp_path / "b", crosswalk)
    both = merge(cases, upenn.find(tmp_path / "u"), crosswalk, unmapped=False)
    assert {s.study_id: s.patient_id for s in both.studies} == {
        "BraTS2021_00003": "UPENN-GBM-00007",
        "BraTS2021_00009": "BraTS2021_00009",
        "UPENN-GBM-00002_11": "UPENN-GBM-00002",
        "UPENN-GBM-00002_21": "UPENN-GBM-00002",
    }
    merged = next(s for s in both.studies if s.study_id == "UPENN-GBM-00002_11")
    assert merged.label("mgmt") == "methylated"
    assert [(path, type(error)) for path, error in both.rejections] == [
        ("BraTS2021_00001", DuplicateError)
    ]


def test_both_cohorts_without_a_mapping_are_refused_unless_told_otherwise(tmp_path, scan):
    brats_case(tmp_path / "b", "BraTS2021_00001", scan)
    upenn_scan(tmp_path / "u", "UPENN-GBM-00002_11", scan)
    one, other = brats.find(tmp_path / "b"), upenn.find(tmp_path / "u")
    with pytest.raises(IncompleteError, match="447 cases"):
        merge(one, other, None, unmapped=False)
    assert len(merge(one, other, None, unmapped=True).studies) == 2
    assert merge(one, Listing((), ()), None, unmapped=False).studies == one.studies


def test_tables_are_the_same_read_as_csv_and_as_xlsx(tmp_path):
    rows = [["a", "b", "c"], ["1", "", "x & y"], ["", "2", "é"]]
    escaped = [[cell.replace("&", "&amp;") for cell in row] for row in rows]
    xlsx(tmp_path / "t.xlsx", escaped)
    (tmp_path / "t.csv").write_text("\n".join(",".join(row) for row in rows), "utf-8-sig")
    table = read_table(tmp_path / "t.csv")
    assert table == [{"a": "1", "b": "", "c": "x & y"}, {"a": "", "b": "2", "c": "é"}]
    assert read_table(tmp_path / "t.xlsx") == table


def test_hostile_tables_end_in_a_named_error(tmp_path):
    def workbook(name, sheet, strings=None):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            if sheet is not None:
                archive.writestr("xl/worksheets/sheet1.xml", sheet)
            if strings:
                archive.writestr("xl/sharedStrings.xml", strings)
        return tmp_path / name

    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    dangling = f'<worksheet {space}><row><c t="s"><v>7</v></c></row></worksheet>'
    laughs = '<!DOCTYPE x [<!ENTITY a "aa">]><worksheet/>'
    cases = [
        (workbook("bomb.xlsx", b" " * (65 << 20)), BombError),
        (workbook("laughs.xlsx", laughs), UnreadableError),
        (workbook("dangling.xlsx", dangling), UnreadableError),
        (workbook("none.xlsx", None), UnreadableError),
        (workbook("torn.xlsx", "<worksheet>"), UnreadableError),
        (workbook("empty.xlsx", "<worksheet/>"), TextError),
    ]
    for name, data in (
        ("junk.xlsx", b"PK\3\4junk"),
        ("latin.csv", "Größe\n1\n".encode("latin-1")),
        ("twice.csv", b"ID,ID\n1,2\n"),
        ("blank.csv", b"\n\n"),
    ):
        put(tmp_path, name, data)
        cases.append((tmp_path / name, UnreadableError if name == "junk.xlsx" else TextError))
    for path, kind in cases:
        with pytest.raises(kind):
            read_table(path)


def phantom_mask(seed: int) -> tuple[Latents, Volume, Volume]:
    rng = np.random.default_rng(seed)
    latents = draw(rng)
    label = anatomy.tissue(anatomy.Head.draw(latents, rng), (80, 80, 40))
    affine = np.diag([2.0, 2.0, HEIGHT / 40, 1.0])
    image = Volume((label > 0).astype(np.float32) * 100, affine)
    return latents, Volume(anatomy.segmentation(label), affine), image


def test_derived_findings_agree_with_the_truth_of_generated_patients():
    lobes = 0
    for seed in range(16):
        latents, mask, image = phantom_mask(seed)
        found = findings(mask, image)
        assert found.side == latents.side
        assert abs(found.diameter - latents.size) <= 0.18 * latents.size + 2
        assert found.enhancement == latents.enhancement
        # Label 1 is all that is no enhancement: a mask shows a core, not why it does not enhance.
        assert found.necrosis == (latents.enhancement == "ring")
        lobes += found.lobe == latents.lobe
    assert lobes >= 15


def test_derived_reports_are_marked_and_a_written_report_is_kept(tmp_path):
    config = PhantomConfig(mri_shape=(32, 32, 12), ct_shape=(16, 16, 4), slide_size=256)
    write_patient(tmp_path / "Phantom_00003", 3, config)
    study = read_patient(tmp_path / "Phantom_00003", "train")
    assert derive(study) is study
    silent = type(study)(
        study_id="a", patient_id="a", views=study.views, labels=(("mgmt", "methylated"),)
    )
    made = derive(silent, clinical=("mgmt", "idh1"))
    assert made.derived
    assert made.report.startswith("There is a ")
    assert made.report.endswith("MGMT promoter methylated.")
    with pytest.raises(ValueError, match="clinical must be of"):
        derive(silent, clinical=("grade",))
    with pytest.raises(IncompleteError, match="mask"):
        derive(type(study)(study_id="a", patient_id="a"))


def test_masks_that_cannot_be_described_are_refused(scan, tmp_path):
    put(tmp_path, "seg.nii.gz", scan["seg"])
    mask = read_nifti(tmp_path / "seg.nii.gz")
    image = Volume(
        np.arange(mask.array.size, dtype=np.float32).reshape(mask.array.shape), mask.affine
    )
    with pytest.raises(GeometryError):
        findings(mask, Volume(image.array, image.affine + 1))
    with pytest.raises(ValuesError):
        findings(Volume(mask.array + 2, mask.affine), image)
    with pytest.raises(IncompleteError):
        findings(Volume(mask.array * 0, mask.affine), image)
    with pytest.raises(ValuesError):
        findings(mask, Volume(image.array * 0, image.affine))


def test_both_trees_are_prepared_merged_and_split_into_a_cohort(tmp_path, scan):
    for number in range(1, 7):
        brats_case(tmp_path / "b" / ARCHIVE, f"BraTS2021_{number:05d}", scan)
    for scan_id in ("UPENN-GBM-00002_11", "UPENN-GBM-00002_21", "UPENN-GBM-00004_11"):
        upenn_scan(tmp_path / "u", scan_id, scan)
    broken = tmp_path / "b" / ARCHIVE / "BraTS2021_00005" / "BraTS2021_00005_t2.nii.gz"
    broken.write_bytes(broken.read_bytes()[:200])
    wanted = Public(
        out=tmp_path / "out",
        brats2021=tmp_path / "b",
        upenn_gbm=tmp_path / "u",
        mapping=mapping(tmp_path / "map.xlsx"),
        derive_reports=True,
        clinical=("mgmt",),
        size=16,
        splits=(0.5, 0.0, 0.5),
        workers=1,
    )
    made = prepare(wanted)
    assert made.studies == made.reports == 8
    rows = read_manifest(tmp_path / "out" / "manifest.csv")
    assert {row.derived for row in rows if row.modality == "report"} == {"yes"}
    assert "BraTS2021_00001" not in {row.study_id for row in rows}
    assert "BraTS2021_00005" in {row.study_id for row in rows}  # without its t2
    visits = {row.split for row in rows if row.patient_id == "UPENN-GBM-00002"}
    assert len(visits) == 1
    with (tmp_path / "out" / "rejections.csv").open() as file:
        reasons = {row["path"]: row["reason"].partition(":")[0] for row in csv.DictReader(file)}
    assert reasons["BraTS2021_00001"] == "DuplicateError"
    inside = broken.relative_to(tmp_path).as_posix()
    assert reasons[inside] == "UnreadableError"
    tiny = DataConfig(resize=12, size=8, tokens=48, vocabulary=200)
    cohort = Cohort.open(tmp_path / "out" / "manifest.csv", tiny)
    tokenizer = train_tokenizer(cohort.reports("train"), 200)
    batch = cohort.batch(cohort.indices("train"), tokenizer, (0, 0))
    assert batch.present.tolist() == [[False, True, False, True]] * len(cohort.indices("train"))


def test_a_public_cohort_must_be_named():
    with pytest.raises(ValueError, match="--brats2021"):
        Public(out=Path("x"))
