"""Small trees of real files: which file is the mask, which series stands first, what is told."""

from __future__ import annotations

import csv
import json
from pathlib import Path, PurePosixPath

import numpy as np
import pydicom
import pytest

from rfpmss.config import VIEWS
from rfpmss.data.errors import GeometryError
from rfpmss.data.identity.mapping import Words
from rfpmss.data.readers.assembly import read_series
from rfpmss.data.readers.nifti import view_of
from rfpmss.data.sources.hospital import Found, scan
from rfpmss.data.study import Source, Study
from rfpmss.data.views import Choice, read_views
from tests.data.files import brain, write_nifti, write_series
from tests.data.identity.paths import TABLES

MRI, CT = VIEWS.index("mri"), VIEWS.index("ct")
SHAPE = (20, 20, 8)


def look(root: Path, **options: object) -> Found:
    return scan(root, b"salt", **options)  # type: ignore[arg-type]


def mri(root: Path) -> Source:
    """The MRI of the only study."""
    (study,) = look(root).studies
    source = study.views[MRI]
    assert source is not None
    return source


def refusals(root: Path) -> dict[str, str]:
    return {path.name: reason for path, reason in look(root).rejections}


def sequences(folder: Path, *names: str, case: str = "P1") -> None:
    for number, name in enumerate(names):
        write_nifti(folder / f"{case}{name}.nii.gz", brain(SHAPE, number))


def lesion(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[4:8, 10:14, 3:5] = 1
    return mask


def whole(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[2:18, 2:18] = 1
    return mask


def test_files_of_operating_systems_are_counted_and_not_read(tmp_path: Path) -> None:
    sequences(tmp_path / "P1", "_t1", "_t1ce", "_t2", "_flair")
    for name in (
        "._P1_t1.nii.gz",
        "Thumbs.db",
        ".DS_Store",
        "@eaDir/P1_t1.nii.gz/x",
        "__MACOSX/._a",
    ):
        (tmp_path / "P1" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "P1" / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(100))
    found = look(tmp_path)
    source = mri(tmp_path)
    assert source.channels == ("t1", "t1ce", "t2", "flair")
    assert not found.rejections
    assert any(note.startswith("5 files of operating systems") for note in found.reading.sentences)


@pytest.mark.parametrize("kind", ["nifti", "dicom"])
def test_a_part_of_the_head_is_no_channel_of_the_brain(kind: str, tmp_path: Path) -> None:
    """Neither where the brain has no such sequence, nor by more sequences of the part."""
    described = {"flair": "t2 flair tra", "t1": "T1 axial orbita", "t2": "T2 orbita cor"}
    for number, name in enumerate(described.values()):
        if kind == "nifti":
            write_nifti(tmp_path / "P1" / f"{name}.nii.gz", brain(SHAPE, number))
            continue
        changes = {"Modality": "MR", "SeriesDescription": name, "FrameOfReferenceUID": "1.2.3"}
        changes |= {"PatientID": "P1", "StudyInstanceUID": "1.2.4"}
        values = brain(SHAPE, number).T[: 8 if number == 0 else 10]
        folder = tmp_path / "P1" / ("tra", "orbit", "cor")[number]
        write_series(folder, values, intercept=0.0, changes=changes)
    (study,) = look(tmp_path).studies
    source = study.views[MRI]
    assert source is not None
    assert source.channels == ("flair",)
    assert [other.channels for _, other in study.others] == [("t1", "t2")]


def test_brats_2023_is_one_bundle_of_four(tmp_path: Path) -> None:
    case = "BraTS-GLI-00001-000"
    sequences(tmp_path / case, "-t1n", "-t1c", "-t2w", "-t2f", case=case)
    write_nifti(tmp_path / case / f"{case}-seg.nii.gz", lesion())
    source = mri(tmp_path)
    assert source.channels == ("t1", "t1ce", "t2", "flair")
    assert [path.name[20:23] for path in source.paths] == ["t1n", "t1c", "t2w", "t2f"]
    assert source.mask is not None


@pytest.mark.parametrize(
    ("tumour", "others"),
    [
        ("_seg", ["_brain_mask"]),
        ("_tumor_segmentation", ["_brain_segmentation", "_brain_parenchyma_segmentation"]),
        ("_GTV_mask", ["_bet_mask", "_skull_mask"]),
        ("_Tumormaske", ["_Gehirnmaske"]),
        ("_tumor", ["_hd-bet_mask"]),
        ("_lesion", ["_desc-brain_mask"]),
        ("_roi", []),
        ("_肿瘤", ["_脑掩膜"]),
    ],
)
def test_the_box_is_that_of_the_tumour_whatever_the_masks_are_called(
    tumour: str, others: list[str], tmp_path: Path
) -> None:
    sequences(tmp_path / "P1", "_t1", "_t1ce", "_t2", "_flair")
    write_nifti(tmp_path / "P1" / f"P1{tumour}.nii.gz", lesion())
    for other in others:
        write_nifti(tmp_path / "P1" / f"P1{other}.nii.gz", whole())
    source = mri(tmp_path)
    assert len(source.channels) == 4
    assert source.mask is not None
    assert source.mask.name == f"P1{tumour}.nii.gz"
    views = read_views("mri", source, Choice(size=20))
    # x 4..7 of 20 in Right-Anterior-Superior files whose first axis runs to the left already
    assert views.boxes == ((0.2, 0.5, 0.4, 0.7),)
    told = refusals(tmp_path)
    assert set(told) == {f"P1{other}.nii.gz" for other in others}
    assert all("brain" in reason for reason in told.values())


def test_sequences_on_one_grid_are_one_image_whatever_number_their_name_begins_with(
    tmp_path: Path,
) -> None:
    for number, name in enumerate(("3 AX T1 POST", "4 AX T2", "5 AX FLAIR")):
        write_nifti(tmp_path / "P1" / f"{name}.nii.gz", brain(SHAPE, number))
    write_nifti(tmp_path / "P1" / "6 SAG T1.nii.gz", brain((20, 20, 9), 7))
    (study,) = look(tmp_path).studies
    source = study.views[MRI]
    assert source is not None
    assert source.channels == ("t1ce", "t2", "flair")
    assert [other.channels for _, other in study.others] == [("t1",)]


def test_a_study_of_mr_rate_is_one_patient_with_brain_masks_left_out(tmp_path: Path) -> None:
    uid = "22B7CXEZ6T"
    folder = tmp_path / "batch00" / uid
    names = ("t1w-raw-axi", "t1w-raw-axi-2", "flair-raw-sag", "swi-raw-axi", "t2w-raw-axi")
    sequences(folder / "img", *(f"_{name}" for name in names), case=uid)
    for name in ("t1w-raw-axi_brain-mask", "t1w-raw-axi_defacing-mask", "flair-raw-sag_brain-mask"):
        write_nifti(folder / "seg" / f"{uid}_{name}.nii.gz", whole())
    (study,) = look(tmp_path).studies
    source = study.views[MRI]
    assert source is not None
    assert (source.channels, source.mask) == (("t1", "t2", "flair"), None)
    assert [other.channels for _, other in study.others] == [("t1",), ()]
    assert len(refusals(tmp_path)) == 3


def test_probabilities_are_neither_a_mask_nor_an_image(tmp_path: Path) -> None:
    sequences(tmp_path / "P1", "_t1")
    shares = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    write_nifti(tmp_path / "P1" / "P1_tumor_seg.nii.gz", shares)
    assert mri(tmp_path).mask is None
    assert "probabilities" in refusals(tmp_path)["P1_tumor_seg.nii.gz"]


with (TABLES / "masks.csv").open(encoding="utf-8") as _table:
    MASKS = [(row["name"], row["kind"]) for row in csv.DictReader(_table)]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each name of the table is taken for when two values are in the file."""
    found = {}
    for number, (name, _) in enumerate(MASKS):
        home = tmp_path_factory.mktemp("masks") / str(number)
        write_nifti(home / f"{name}.nii.gz", lesion())
        path = PurePosixPath("home", f"{name}.nii.gz")
        found[name] = view_of(home / path.name, path)[0]
    return found


@pytest.mark.parametrize(("name", "kind"), MASKS)
def test_a_mask_is_of_what_its_name_says(name: str, kind: str, kinds: dict[str, str]) -> None:
    assert kinds[name] == kind


@pytest.mark.parametrize(
    ("name", "word"), [("ventricles_seg", "none of the tumour"), ("xyz", "its name does not say")]
)
def test_a_mask_of_anything_else_is_no_box_and_is_said_so(
    name: str, word: str, tmp_path: Path
) -> None:
    sequences(tmp_path / "GBM-011", "_t1", "_t2", case="GBM-011")
    write_nifti(tmp_path / "GBM-011" / f"GBM-011_{name}.nii.gz", lesion())
    assert mri(tmp_path).mask is None
    assert word in refusals(tmp_path)[f"GBM-011_{name}.nii.gz"]


def test_a_mask_of_most_of_the_head_stands_behind_one_of_a_part(tmp_path: Path) -> None:
    sequences(tmp_path / "P1", "_t1", "_t2")
    write_nifti(tmp_path / "P1" / "P1_a_seg.nii.gz", whole())
    write_nifti(tmp_path / "P1" / "P1_b_seg.nii.gz", lesion())
    source = mri(tmp_path)
    assert source.mask == tmp_path / "P1" / "P1_b_seg.nii.gz"
    assert list(refusals(tmp_path)) == ["P1_a_seg.nii.gz"]
    assert "most of the head" in refusals(tmp_path)["P1_a_seg.nii.gz"]


def test_a_brain_mask_alone_makes_no_box(tmp_path: Path) -> None:
    sequences(tmp_path / "P1", "_t1", "_t2")
    write_nifti(tmp_path / "P1" / "P1_brain_mask.nii.gz", whole())
    assert mri(tmp_path).mask is None
    assert read_views("mri", mri(tmp_path), Choice(size=20)).boxes == (None,)


@pytest.mark.parametrize(
    ("name", "array", "box"), [("_t1_mask", whole(), 0), ("_seg", lesion(), 1)]
)
def test_a_mask_of_most_of_the_head_makes_no_box(
    name: str, array: np.ndarray, box: int, tmp_path: Path
) -> None:
    """``t1_mask`` and ``t1_seg`` are what FSL calls the masks of the brain and its tissues."""
    sequences(tmp_path / "P1", "_t1")
    write_nifti(tmp_path / "P1" / f"P1{name}.nii.gz", array)
    views = read_views("mri", mri(tmp_path), Choice())
    assert [bool(b) for b in views.boxes] == [bool(box)]
    assert any("most of the head" in reason for _, reason in views.unused) != bool(box)


def test_values_tell_a_mask_from_an_image_that_is_named_like_one(tmp_path: Path) -> None:
    sequences(tmp_path / "tumor_007", "_t1", "_t2", case="tumor_007")
    write_nifti(tmp_path / "tumor_007" / "mask_of_007.nii.gz", brain(SHAPE, 3).astype(np.float32))
    study = look(tmp_path).studies[0]
    first = study.views[MRI]
    assert first is not None
    assert (first.channels, first.mask) == (("t1", "t2"), None)
    assert [source.paths[0].name for _, source in study.others] == ["mask_of_007.nii.gz"]


def test_a_lone_mask_belongs_to_the_images_on_its_grid_and_to_no_other(tmp_path: Path) -> None:
    sequences(tmp_path / "P1", "_t1")
    write_nifti(tmp_path / "P1" / "tumor_mask.nii.gz", lesion())
    assert mri(tmp_path).mask == tmp_path / "P1" / "tumor_mask.nii.gz"
    write_nifti(tmp_path / "P1" / "tumor_mask.nii.gz", lesion((20, 20, 9)))
    assert mri(tmp_path).mask is None
    assert "no image of the patient lies on the grid" in refusals(tmp_path)["tumor_mask.nii.gz"]


def test_of_two_masks_the_other_is_said_to_be_another(tmp_path: Path) -> None:
    sequences(tmp_path / "P1", "_t1")
    for name in ("_segm", "_automated_approx_segm"):
        write_nifti(tmp_path / "P1" / f"P1{name}.nii.gz", lesion())
    source = mri(tmp_path)
    assert source.mask is not None
    assert source.mask.name == "P1_segm.nii.gz"
    assert list(refusals(tmp_path)) == ["P1_automated_approx_segm.nii.gz"]
    assert "another mask" in refusals(tmp_path)["P1_automated_approx_segm.nii.gz"]


def test_a_mask_beside_dicom_belongs_to_the_series_whose_voxels_it_has(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 500, (8, 20, 20))
    changes = {"Modality": "MR", "SeriesDescription": "AX T1 POST"}
    folder = write_series(tmp_path / "P1" / "dicom", values, changes=changes, spacing=(1.0, 1.0))
    affine = np.array([[-1.0, 0, 0, 10], [0, -1, 0, 20], [0, 0, 2.5, 30], [0, 0, 0, 1]])
    mask = tmp_path / "P1" / "lesion_mask.nii.gz"
    save(mask, lesion(), affine)
    source = mri(tmp_path)
    assert (source.kind, source.channels, source.mask) == ("dicom", ("t1ce",), mask)
    assert len(source.paths) == len(list(folder.iterdir()))
    views = read_views("mri", source, Choice(size=20))
    assert views.boxes == ((0.2, 0.5, 0.4, 0.7),)
    save(mask, lesion(), affine + np.diag([0, 0, 0.5, 0]))
    assert mri(tmp_path).mask is None


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    import nibabel as nib

    nib.save(nib.Nifti1Image(array, affine), path)


def test_nnunet_and_the_decathlon_name_their_channels_in_dataset_json(tmp_path: Path) -> None:
    for root in (tmp_path / "nnunet", tmp_path / "msd"):
        for case in ("BRATS_001", "BRATS_002"):
            write_nifti(root / "labelsTr" / f"{case}.nii.gz", lesion())
    names = ["FLAIR", "T1w", "t1gd", "T2w"]
    for case, seed in (("BRATS_001", 0), ("BRATS_002", 9)):
        for k in range(4):
            path = tmp_path / "nnunet" / "imagesTr" / f"{case}_{k:04d}.nii.gz"
            write_nifti(path, brain(SHAPE, seed + k))
        four = np.stack([brain(SHAPE, seed + k) for k in range(4)], -1)
        write_nifti(tmp_path / "msd" / "imagesTr" / f"{case}.nii.gz", four)
    said = {str(k): name for k, name in enumerate(names)}
    (tmp_path / "nnunet" / "dataset.json").write_text(json.dumps({"channel_names": said}))
    (tmp_path / "msd" / "dataset.json").write_text(json.dumps({"modality": said}))
    views = []
    for root in (tmp_path / "nnunet", tmp_path / "msd"):
        found = look(root)
        assert len({study.patient_id for study in found.studies}) == 2
        for study in found.studies:
            source = study.views[MRI]
            assert source is not None
            assert source.channels == ("t1", "t1ce", "t2", "flair")
            assert source.mask is not None
            assert source.mask.parent.name == "labelsTr"
            assert source.mask.name[:9] == source.paths[0].name[:9]
            views.append((source.mask.name, read_views("mri", source, Choice(size=20))))
    one, other = (dict(views[k : k + 2]) for k in (0, 2))
    for name, made in one.items():
        np.testing.assert_array_equal(made.images, other[name].images)
        assert made.boxes == other[name].boxes


def test_without_a_description_channels_of_nnunet_are_one_patient_each_case(tmp_path: Path) -> None:
    for case in ("BRATS_001", "BRATS_002"):
        for k in range(2):
            write_nifti(tmp_path / "imagesTr" / f"{case}_{k:04d}.nii.gz", brain(SHAPE, k))
        write_nifti(tmp_path / "labelsTr" / f"{case}.nii.gz", lesion())
    studies = look(tmp_path).studies
    assert len({study.patient_id for study in studies}) == 2
    assert all(len(study.others) == 1 for study in studies)


def series(folder: Path, slices: int, name: str, modality: str = "MR", **changes: object) -> Path:
    changes = {"Modality": modality, "SeriesDescription": name, **changes}
    values = np.random.default_rng(slices).integers(0, 500, (slices, 12, 12))
    for key in ("step", "row", "column", "places"):
        changes.pop(key, None)
    return write_series(folder, values, changes=changes)


def first(study: Study, view: int) -> str:
    source = study.views[view]
    assert source is not None
    return source.paths[0].parent.name


def test_a_named_sequence_stands_before_perfusion_surveys_and_spines(tmp_path: Path) -> None:
    series(tmp_path / "P1" / "t1ce", 6, "AX T1 POST")
    series(tmp_path / "P1" / "perf", 12, "ep2d_perf", places=None, FrameOfReferenceUID="1.2.3")
    series(tmp_path / "P1" / "survey", 4, "Survey")
    series(tmp_path / "P1" / "spine", 9, "SAG T2 LSPINE")
    series(tmp_path / "P1" / "lumbar", 8, "SAG T2", BodyPartExamined="LSPINE")
    (study,) = look(tmp_path).studies
    source = study.views[MRI]
    assert source is not None
    assert (first(study, MRI), source.channels) == ("t1ce", ("t1ce",))
    assert [s.paths[0].parent.name for _, s in study.others] == ["perf"]
    kinds = {path.parent.name: reason for path, reason in look(tmp_path).rejections}
    assert kinds["spine"].startswith("BodyPartError")
    assert kinds["lumbar"].startswith("BodyPartError")
    assert kinds["survey"].startswith("LocalizerError")


def test_the_mapping_file_takes_what_would_be_left_out(tmp_path: Path) -> None:
    from rfpmss.data.identity.mapping import Words

    series(tmp_path / "P1" / "spine", 5, "SAG T2 LSPINE")
    assert not look(tmp_path).studies
    (study,) = look(tmp_path, words=Words(files={"*/spine/*": "mri"})).studies
    assert first(study, MRI) == "spine"


def test_a_head_ct_stands_before_a_chest_and_soft_tissue_before_bone(tmp_path: Path) -> None:
    series(tmp_path / "P1" / "chest", 12, "Thorax", "CT", BodyPartExamined="CHEST")
    series(tmp_path / "P1" / "bone", 8, "Head", "CT", ConvolutionKernel="H70h")
    series(tmp_path / "P1" / "soft", 4, "Head", "CT", ConvolutionKernel="H31s")
    kind = ["DERIVED", "SECONDARY", "AXIAL", "MPR"]
    series(tmp_path / "P1" / "mpr", 9, "Head cor", "CT", ImageType=kind)
    (study,) = look(tmp_path).studies
    assert first(study, CT) == "soft"
    assert [s.paths[0].parent.name for _, s in study.others] == ["bone", "mpr"]


def test_of_two_series_of_a_sequence_the_finer_original_of_the_head_is_the_channel(
    tmp_path: Path,
) -> None:
    derived = ["DERIVED", "SECONDARY", "MPR"]
    series(tmp_path / "P1" / "mpr", 9, "T1 MPRAGE", ImageType=derived)
    series(tmp_path / "P1" / "iso", 6, "T1 MPRAGE", MRAcquisitionType="3D")
    series(tmp_path / "P1" / "thick", 3, "AX T1", MRAcquisitionType="2D")
    series(tmp_path / "P1" / "orbit", 8, "T1 orbits")
    series(tmp_path / "P1" / "t2", 7, "AX T2")
    (study,) = look(tmp_path).studies
    source = study.views[MRI]
    assert source is not None
    assert source.channels == ("t2", "t1")  # the grid is that of most slices
    assert {path.parent.name for path in source.paths} == {"iso", "t2"}


def test_the_largest_stack_counts_and_not_all_images(tmp_path: Path) -> None:
    """Three time points of four slices, unnamed, beside six slices, unnamed."""
    series(tmp_path / "P1" / "ten", 6, "x")
    spots = {"ImagePositionPatient": lambda k: ["0", "0", f"{2.5 * (k % 4):.1f}"]}
    series(tmp_path / "P1" / "dynamic", 12, "y", AcquisitionNumber=lambda k: k // 4, **spots)
    (study,) = look(tmp_path).studies
    assert first(study, MRI) == "ten"


def test_phase_images_of_a_series_are_not_laid_into_its_channel(tmp_path: Path) -> None:
    kinds = {"ImageType": lambda k: ["ORIGINAL", "PRIMARY", "MP"[k % 2], "ND"]}
    spots = {"ImagePositionPatient": lambda k: ["0", "0", f"{2.5 * (k // 2):.1f}"]}
    series(tmp_path / "P1" / "both", 6, "t1_se", **kinds, **spots)
    source = mri(tmp_path)
    assert (source.channels, len(source.paths)) == (("t1",), 3)


@pytest.mark.parametrize(
    ("first", "second"),
    [("pre_", "post_"), ("pre_01_", "post_02_"), ("t1_d106_", "t2_d300_"), ("t0_", "t1_")],
)
def test_a_time_in_a_files_name_is_no_sequence(first: str, second: str, tmp_path: Path) -> None:
    for number, time in enumerate((first, second)):
        for name in ("T1", "T1c", "T2", "FLAIR"):
            array = brain((8, 8, 4 + number), number)
            write_nifti(tmp_path / "GBM001" / f"GBM001_{time}{name}.nii.gz", array)
    studies = look(tmp_path).studies
    sources = [study.views[MRI] for study in studies]
    assert [source.channels for source in sources if source] == [("t1", "t1ce", "t2", "flair")] * 2
    for source in sources:
        assert source is not None
        assert len({path.name.split("_")[1] for path in source.paths}) == 1


def test_pre_and_post_of_a_t1_alone_are_about_contrast(tmp_path: Path) -> None:
    sequences(tmp_path / "Sub_001", "_T1_pre", "_T1_post", "_T2", "_FLAIR", case="Sub_001")
    assert mri(tmp_path).channels == ("t1", "t1ce", "t2", "flair")


@pytest.mark.parametrize(
    ("names", "said"),
    [("a_{} b_{}", True), ("a_{}", False), ("a_{} a_{}_bias", False), ("{} {}_reg_n4", False)],
)
def test_two_sets_of_sequences_that_no_name_parts_are_told(
    names: str, said: bool, tmp_path: Path
) -> None:
    for number, name in enumerate(names.split()):
        for sequence in ("t1", "t2", "flair"):
            write_nifti(tmp_path / "P1" / f"{name.format(sequence)}.nii.gz", brain(SHAPE, number))
    found = look(tmp_path)
    told = [text for text in found.reading.sentences if "several sequences twice" in text]
    assert len(found.studies) == 1
    assert told == ([told[0]] if said else [])
    assert not said or told[0].startswith("1 visit has")


@pytest.mark.parametrize("alone", [False, True], ids=["in its series", "with a series of its own"])
def test_one_slice_of_another_patient_costs_itself_and_merges_nobody(
    alone: bool, tmp_path: Path
) -> None:
    for number, person in enumerate(("E007", "E008", "E009")):
        about = {
            "PatientID": person,
            "PatientName": f"N{number}",
            "StudyInstanceUID": f"1.2.{number}",
        }
        values = np.random.default_rng(number).integers(0, 99, (12, 8, 8 + number))
        stray = number == 0
        about["PatientID"] = lambda k, p=person, s=stray: "E008" if s and k == 11 else p
        if stray and alone:
            about["SeriesInstanceUID"] = lambda k: "1.5.2" if k == 11 else "1.5.1"
        write_series(tmp_path / f"patient {number + 1}", values, changes=about)
    found = look(tmp_path)
    assert not found.doubt
    sources = [study.views[CT] for study in found.studies]
    assert len({study.patient_id for study in found.studies}) == 3
    shapes = sorted({path.parent.name for path in s.paths} for s in sources if s)
    assert sorted(map(len, (s.paths for s in sources if s))) == [11, 12, 12]
    assert all(len(names) == 1 for names in shapes)
    if not alone:
        ((_, reason),) = found.rejections
        assert "PatientID is not that of the 11 other files" in reason


def test_a_slice_of_another_size_is_not_told_of_the_gap_that_it_leaves(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 99, (7, 8, 8))
    folder = write_series(tmp_path / "s", values)
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        if abs(float(data.ImagePositionPatient[2]) - 37.5) < 1e-3:
            data.Columns, data.PixelData = 4, data.PixelData[: 8 * 4 * 2]
            data.save_as(path)
            odd = path
    paths = sorted(folder.iterdir())
    with pytest.raises(GeometryError, match="one gap") as caught:
        read_series(paths)
    told = dict(caught.value.each(paths))
    assert "its size" in told[odd].reason
    assert all("one gap" in error.reason for path, error in told.items() if path != odd)


with (TABLES / "folder_names.csv").open(encoding="utf-8") as _table:
    FOLDERS = list(csv.DictReader(_table))
MASKS_OF = ("seg", "mask", "tumor", "brain/")


@pytest.mark.parametrize("row", FOLDERS, ids=lambda row: row["files"][:50])
def test_folders_name_what_their_files_do_not(row: dict[str, str], tmp_path: Path) -> None:
    """The file's name, then the nearest folder's; sequences on one grid are one image."""
    for number, file in enumerate(row["files"].split(";")):
        if any(word in file.lower() for word in MASKS_OF):
            write_nifti(tmp_path / file, whole() if "brainmask" in file else lesion())
        else:
            write_nifti(tmp_path / file, brain(SHAPE, number))
    studies = look(tmp_path).studies
    sources = [study.views[MRI] for study in studies]
    assert {" ".join(source.channels) for source in sources if source} == {row["channels"]}
    others = {" ".join(source.channels) or "-" for study in studies for _, source in study.others}
    assert others == set(filter(None, row["others"].split(";")))
    masks = {source.mask.relative_to(tmp_path).as_posix() for source in sources if source.mask}
    assert masks == set(filter(None, [row["mask"]]))


def test_sequences_on_other_grids_are_images_of_their_own(tmp_path: Path) -> None:
    write_nifti(tmp_path / "P1" / "T1" / "scan.nii.gz", brain(SHAPE, 0))
    write_nifti(tmp_path / "P1" / "FLAIR" / "scan.nii.gz", brain((20, 20, 9), 1))
    (study,) = look(tmp_path).studies
    assert [source.channels for _, source in study.others] == [("t1",)]


def test_words_of_the_mapping_file_name_folders(tmp_path: Path) -> None:
    words = Words(sequences={"SA": "t1", "SB": "flair"})
    for number, name in enumerate(("SA/scan", "SB/scan")):
        write_nifti(tmp_path / "P1" / f"{name}.nii.gz", brain(SHAPE, number))
    write_nifti(tmp_path / "P1" / "SA" / "seg.nii.gz", lesion())
    (study,) = look(tmp_path, words=words).studies
    source = study.views[MRI]
    assert source is not None
    assert source.channels == ("t1", "flair")
    assert source.mask == tmp_path / "P1" / "SA" / "seg.nii.gz"


def test_the_only_tumour_mask_of_a_visit_is_that_of_every_image_on_its_grid(tmp_path: Path) -> None:
    for number, name in enumerate(("T1", "FLAIR", "DTI_eddy_FA", "DTI_eddy_L1")):
        write_nifti(tmp_path / "P1" / f"P1_{name}.nii.gz", brain(SHAPE, number))
    write_nifti(tmp_path / "P1" / "P1_other.nii.gz", brain((16, 16, 5), 9))
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:5, 2:5, 2] = 1
    write_nifti(tmp_path / "P1" / "P1_tumor_segmentation.nii.gz", mask)
    (study,) = look(tmp_path).studies
    found = [*filter(None, study.views), *(source for _, source in study.others)]
    masked = {source.paths[0].name: source.mask is not None for source in found}
    assert masked.pop("P1_other.nii.gz") is False
    assert len(masked) == 3
    assert all(masked.values())
