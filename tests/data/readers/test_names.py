"""What a file or a series is called, and what it is taken for: F6, F7, F12 and F16."""

from __future__ import annotations

import csv
import re
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from pydicom import Dataset

from rfpmss.data.cohort.shards import _decoded
from rfpmss.data.errors import ValuesError
from rfpmss.data.identity.owners.assign import assign
from rfpmss.data.identity.owners.item import Item
from rfpmss.data.readers import masks
from rfpmss.data.readers.dicom.series import Nature, nature
from rfpmss.data.readers.sequences import describes, ideas_of, is_part, kind_of, sequence_of
from rfpmss.data.sources.hospital import scan
from tests.data.files import brain, write_nifti
from tests.data.identity.paths import scan as scan_paths

TABLE = Path(__file__).parents[2] / "tables" / "sequence_names.csv"


def table() -> list[dict[str, str]]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_description_of_the_table_means_what_it_says_there() -> None:
    rows = table()
    assert len(rows) >= 600
    wrong = {
        row["description"]: (row["sequence"], found)
        for row in rows
        if (found := sequence_of(row["description"])) != row["sequence"]
    }
    assert not wrong


def test_every_survey_of_the_table_is_a_localizer() -> None:
    surveys = [row["description"] for row in table() if row["note"].endswith("survey")]
    assert len(surveys) >= 20
    assert [text for text in surveys if kind_of(text) != "localizer"] == []


def test_case_and_separators_do_not_matter() -> None:
    for row in table():
        text = row["description"]
        camel = re.search("[a-z][A-Z]", text)  # there capitals part the words
        if text.isascii() and not camel and not set(text) & set("+*/()-."):
            for other in (text.upper(), text.lower(), text.replace("_", " ")):
                assert sequence_of(other) == row["sequence"], other


def test_every_description_of_a_part_of_the_body_is_known_as_one() -> None:
    """Parts of the head by the way they are examined, other parts of the body, and the head."""
    with TABLE.with_name("body_parts.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wrong = {}
    for row in rows:
        text = row["description"]
        apart = kind_of(text) == "elsewhere"
        found = "elsewhere" if apart else "part" if is_part(text) else "head"
        if found != row["where"]:
            wrong[text] = found
    assert not wrong


@pytest.mark.parametrize(
    ("text", "kind"),
    [("SAG T2 LSPINE", "elsewhere"), ("Survey", "localizer"), ("ep2d_diff_ADC", "adc"),
     ("Ax T2* GRE", "swi"), ("SWI", "swi"), ("TOF", "mra"), ("PD TSE", "pd"),
     ("ep2d_perf", "perfusion"), ("DWI", "dwi"), ("MRI brain", ""), ("head and neck", "")],
)  # fmt: skip
def test_what_is_none_of_the_four_has_a_kind_of_its_own(text: str, kind: str) -> None:
    assert kind_of(text) == kind


def test_words_that_name_people_are_not_words_that_describe() -> None:
    names = ("anna", "omar", "sina", "gabi", "mara", "t10", "p7", "001", "li", "sub", "nora")
    assert [name for name in names if describes(name)] == []
    words = ("t1n", "t1c", "t2f", "t2w", "T1GD", "gadolinium", "mprage", "swi", "adc", "T1wCE")
    assert [word for word in words if not describes(word)] == []


def header(description: str = "", modality: str = "MR", **fields: object) -> Dataset:
    data = Dataset()
    data.Modality, data.SeriesDescription = modality, description
    data.ImageType = ["ORIGINAL", "PRIMARY"]
    for name, value in fields.items():
        setattr(data, name, value)
    return data


SE = {"ScanningSequence": "SE"}
FLAIR = {"ScanningSequence": ["SE", "IR"], "EchoTime": 100, "InversionTime": 2500,
         "RepetitionTime": 9000}  # fmt: skip


@pytest.mark.parametrize(
    ("data", "sequence"),
    [
        # ImageType first: computed images are none of the four whatever their description says.
        (header("T2 FLAIR", ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]), ""),
        (header("AX T1", ImageType=["DERIVED", "SECONDARY", "PROJECTION IMAGE", "MIP"]), ""),
        (header("AX T1 POST", ImageType=["DERIVED", "SECONDARY", "SUBTRACTION"]), ""),
        (header("t2_tse", ImageType=["ORIGINAL", "PRIMARY", "P", "ND"]), ""),
        (header("t2_tse", ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]), ""),
        (header("t2_tse", ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]), "t2"),
        # Contrast: the agent where the text is silent; a denied agent wins over the word.
        (header("AX T1", ContrastBolusAgent="Gadovist"), "t1ce"),
        (header("AX T1", ContrastBolusAgent="NONE"), "t1"),
        (header("AX T1 POST", ContrastBolusAgent="no"), "t1"),
        (header("AX T1 PRE", ContrastBolusAgent="DOTAREM 15 ml"), "t1"),
        (header("AX T1", ContrastBolusVolume="7.5"), "t1ce"),
        (header("AX T1", ContrastBolusVolume="0"), "t1"),
        (header("AX T1 W/WO", ContrastBolusAgent="Gd"), "t1ce"),
        (header("AX T2", ContrastBolusAgent="Gd"), "t2"),
        # Timing settles what the words leave open, and what they get wrong.
        (header("Ax T2", **FLAIR), "flair"),
        (header("", **FLAIR), "flair"),
        (header("t2_tirm_cor", ScanningSequence=["SE", "IR"], EchoTime=60, InversionTime=160,
                RepetitionTime=5000), ""),  # a STIR
        (header("Ax FLAIR", ScanningSequence=["SE", "IR"], EchoTime=9, InversionTime=780,
                RepetitionTime=2200), "t1"),
        (header("MPRAGE", ScanningSequence=["GR", "IR"], EchoTime=3, InversionTime=900,
                RepetitionTime=1900), "t1"),
        (header("", ScanningSequence=["GR", "IR"], EchoTime=3, InversionTime=900,
                RepetitionTime=1900, ContrastBolusAgent="GD"), "t1ce"),
        (header("Ax T2", ScanningSequence="GR", EchoTime=20, RepetitionTime=600), ""),  # T2*
        (header("", **SE, EchoTime=95, RepetitionTime=4500), "t2"),
        (header("", **SE, EchoTime=12, RepetitionTime=500), "t1"),
        (header("", **SE, EchoTime=20, RepetitionTime=3000), ""),  # proton density
        (header("", ScanningSequence="EP", EchoTime=90, RepetitionTime=8000), ""),
        (header("Ax T1", **SE, EchoTime=100, RepetitionTime=5000), ""),  # they contradict
        (header("", AcquisitionContrast="FLUID_ATTENUATED"), "flair"),
        (header(""), ""),
        # GE's protocol names the examination: it never adds contrast to a T1.
        (header("Ax T1", ProtocolName="BRAIN W CONTRAST"), "t1"),
        (header("4", ProtocolName="t2_tse_tra"), "t2"),
        # Another part of the body, by the header or the words; the head wins where both stand.
        (header("SAG T2", BodyPartExamined="LSPINE"), ""),
        (header("SAG T2 LSPINE"), ""),
        (header("SAG T2", StudyDescription="MRI LUMBAR SPINE"), ""),
        (header("SAG T2", StudyDescription="MRI BRAIN AND C-SPINE"), "t2"),
        (header("SAG T2 brain", BodyPartExamined="CSPINE"), "t2"),
    ],
)  # fmt: skip
def test_headers_decide_before_words(data: Dataset, sequence: str) -> None:
    assert nature(data).sequence == sequence


def test_no_header_value_makes_the_search_for_the_sequence_fail() -> None:
    for value in ("", "abc", "1e999", ["1", "2"], "-5", " 90 "):
        data = header("Ax T2")
        data.add_new("EchoTime", "LO", value)
        data.add_new("InversionTime", "LO", value)
        assert isinstance(nature(data), Nature)


def order(*series: Dataset) -> list[str]:
    """Descriptions in the order of their demerits."""
    return [str(s.SeriesDescription) for s in sorted(series, key=lambda s: nature(s).demerits)]


def test_named_stand_before_unnamed_original_before_derived_and_soft_before_bone() -> None:
    mr = [
        header("ep2d_perf"),
        header(""),
        header("T1 reformat", ImageType=["DERIVED", "SECONDARY"]),
        header("T1 orbits"),
        header("T1 tra", MRAcquisitionType="2D"),
        header("T1 iso", MRAcquisitionType="3D"),
    ]
    assert order(*mr) == ["T1 iso", "T1 tra", "T1 reformat", "T1 orbits", "", "ep2d_perf"]
    ct = [
        header("CT perfusion", "CT"),
        header("MPR cor", "CT", ImageType=["DERIVED", "SECONDARY", "MPR"]),
        header("head H60", "CT", ConvolutionKernel="H60s"),
        header("Knochen", "CT", ConvolutionKernel="x"),
        header("head", "CT", ConvolutionKernel="H31s"),
    ]
    assert order(*ct) == ["head", "head H60", "Knochen", "MPR cor", "CT perfusion"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("P1_seg", "mask"), ("P1_brain_mask", "brain mask"), ("P1_bet_mask", "brain mask"),
     ("sub-01_desc-brain_mask", "brain mask"), ("sub-01_label-lesion_mask", "mask"),
     ("UCSF-PDGM-0004_tumor_segmentation", "mask"), ("P1_hd-bet_mask", "brain mask"),
     ("UCSF-PDGM-0004_brain_segmentation", "brain mask"), ("P1_skull_mask", "brain mask"),
     ("UCSF-PDGM-0004_brain_parenchyma_segmentation", "brain mask"), ("GTV_mask", "mask"),
     ("GTV", "mask"), ("P1_brain_tumor_mask", "mask"), ("BrainTumour_label", "mask"),
     ("UPENN-GBM-00001_11_segm", "mask"), ("UPENN-GBM-00001_11_automated_approx_segm", "mask"),
     ("BraTS-GLI-00001-000-seg", "mask"), ("tumorMask", "mask"), ("P1_Maske", "mask"),
     ("P1_Tumor_Maske", "mask"), ("P1_Gehirn_Maske", "brain mask"), ("P1_肿瘤分割", "mask"),
     ("P1_脑掩膜", "brain mask"), ("lesionMask", "mask"), ("P1_brainmask", "brain mask"),
     ("P1_t1", ""), ("P1_t1_bet", ""), ("P1_brain", ""), ("P1_tumor", ""),
     ("22B7_t1w-raw-axi_defacing-mask", "brain mask"), ("22B7_vista-seg", "brain mask"),
     ("P1_csf_seg", "brain mask"), ("PatientID_0003_Timepoint_1_tumorMask", "mask")],
)  # fmt: skip
def test_masks_of_the_tumour_are_told_from_masks_of_the_brain(name: str, kind: str) -> None:
    assert masks.kind_of(name) == kind


def test_a_mask_drawn_by_hand_stands_before_an_automatic_one() -> None:
    names = ["x_automated_approx_segm", "x_segm", "x_tumor_segm"]
    assert sorted(names, key=masks.rank) == ["x_tumor_segm", "x_segm", "x_automated_approx_segm"]


@pytest.mark.parametrize(
    ("whole", "part"),
    [
        ("肿瘤ROI", "水肿区"),
        ("肿瘤", "坏死"),
        ("z_tumor_seg", "edema_seg"),
        ("Tumormaske", "Ödem_Maske"),
        ("lesion_mask", "enhancing_lesion_mask"),
        ("tumour_seg", "necrotic_core_seg"),
        ("tumeur_masque", "oedeme_masque"),
    ],
)
def test_the_whole_tumour_stands_before_a_part_of_it(whole: str, part: str) -> None:
    assert sorted([part, whole], key=masks.rank) == [whole, part]


@pytest.mark.parametrize(
    "name", ["CTA Hals/Kopf 0.75 B20f", "CTA HEAD NECK 0.6", "头颈CTA", "Angioscanner", "AngioTAC"]
)
def test_angiography_of_ct_is_no_plain_head(name: str) -> None:
    assert "mra" in ideas_of(name)


@pytest.mark.parametrize(
    ("labels", "name", "enhancing", "cavity"),
    [({0, 1, 2, 4}, "", 4, 0), ({0, 1, 2, 3}, "", 3, 4), ({0, 1, 2}, "", 4, 0),
     ({0, 1, 2, 3, 4}, "BraTS-GLI-02405-100-seg.nii.gz", 3, 4),
     ({0, 2, 4}, "BraTS-GLI-02405-100-seg.nii.gz", 3, 4),
     ({0, 4}, "BraTS2021_00001_seg.nii.gz", 4, 0),
     ({0, 1, 2, 4}, "UCSF-PDGM-0004_tumor_segmentation.nii.gz", 4, 0)],
)  # fmt: skip
def test_labels_are_those_of_the_year(
    labels: set[int], name: str, enhancing: int, cavity: int
) -> None:
    scheme = masks.scheme_of(labels, name)
    assert (scheme.enhancing, scheme.cavity) == (enhancing, cavity)


def test_labels_that_two_years_explain_are_refused_until_the_user_says_which() -> None:
    with pytest.raises(ValuesError, match="--mask-labels"):
        masks.scheme_of({1, 2, 3, 4}, "P1_seg.nii.gz")
    assert masks.scheme_of({1, 2, 3, 4}, "P1_seg.nii.gz", "brats2023").cavity == 4
    with pytest.raises(ValuesError, match="paediatric"):
        masks.scheme_of({1, 2, 3}, "BraTS-PED-00003-000-seg.nii.gz")
    with pytest.raises(ValuesError, match="label 3"):
        masks.scheme_of({1, 3}, "BraTS2021_00001_seg.nii.gz")
    with pytest.raises(ValuesError, match="label 7"):
        masks.scheme_of({1, 2, 7})


@pytest.mark.parametrize(
    ("name", "labels", "shown"),
    [("BraTS-GLI-02405-100-seg.nii.gz", [1, 4, 3], [1, 3]), ("P1_seg.nii.gz", [1, 2, 4], [1, 2, 4]),
     ("BraTS-GLI-02405-100-seg.nii.gz", [4], []),
     ("BraTS2021_00001_seg.nii.gz", [1, 4, 3], [1, 4, 3]),
     ("P1_seg.nii.gz", [1, 2, 3, 4], [1, 2, 3]), ("Case001_seg.nii.gz", [3, 4], [3]),
     ("PatientID_0003_Timepoint_1_tumorMask.nii.gz", [1, 4], [1]),
     ("UCSD-PTGBM-0002_01_BraTS_tumor_seg.nii.gz", [2, 4], [2]),
     ("MU-Glioma-Post/P1/seg.nii", [1, 4], [1]),
     ("BraTS-PED-00003-000-seg.nii.gz", [1, 2, 3, 4], [1, 2, 3, 4]),
     ("BraTS2015/VSD.Brain_3more.XX.O.OT.54193.nii", [1, 2, 3, 4], [1, 2, 3, 4]),
     ("metastases_seg.nii.gz", [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]), ("P1_seg.nii.gz", [255], [255])],
)  # fmt: skip
def test_a_resection_cavity_is_no_finding(name: str, labels: list[int], shown: list[int]) -> None:
    array = np.array([[[0, *labels]]])
    assert array[masks.tumour(array, name)].tolist() == shown
    assumed = name == "P1_seg.nii.gz" and 4 in labels or name.startswith("Case")
    assert bool(masks.doubt_of(array, name)) == assumed


@pytest.mark.parametrize(
    ("series", "absent", "shown"),
    [("DICOM t2 t1 x12", ["t2"], "DICOM t1 x12"), ("t1+t1ce+t2+flair", ["t1"], "t1ce+t2+flair"),
     ("t1+t1ce+t2+flair", ["flair"], "t1+t1ce+t2"), ("NIfTI t1 x1", [], "NIfTI t1 x1")],
)  # fmt: skip
def test_the_manifest_names_only_sequences_that_were_decoded(
    series: str, absent: list[str], shown: str
) -> None:
    assert _decoded(series, absent) == shown


def test_letters_of_spm_name_neither_a_patient_nor_a_visit() -> None:
    names = ("rT1", "mT2", "wFLAIR", "fla")
    files = [PurePosixPath(f"{who}_{name}.nii") for who in ("P1", "P2", "WT1") for name in names]
    owned = assign([Item(path, "mri") for path in files])
    assert owned.owners == [f"name:{who}" for who in ("p1", "p2", "wt1") for _ in names]
    assert not any(place.times for place in owned.places)


@pytest.mark.parametrize("text", ["AX T1 +/- C", "T1 ± Gd", "T1 C-/C+", "T1 +/-"])
def test_the_header_says_whether_contrast_was_given(text: str) -> None:
    assert [sequence_of(text, contrast=given) for given in (True, False, None)] == [
        "t1ce",
        "t1",
        "",
    ]


@pytest.mark.parametrize(
    ("names", "channels"),
    [("PRE POST FLAIR T2", {"t1", "t1ce", "t2", "flair"}), ("post flair", {"t1ce", "flair"}),
     ("PRE POST", set()), ("PRE T1 FLAIR", {"t1", "flair"})],
)  # fmt: skip
def test_pre_and_post_are_t1_beside_flair_or_t2_of_one_name(
    names: str, channels: set[str], tmp_path: Path
) -> None:
    for who in ("YG_1", "YG_2"):
        for number, name in enumerate(names.split()):
            path = tmp_path / who / f"{who}_{name}.nii.gz"
            write_nifti(path, brain((8, 8, 4), number + 10 * int(who[-1])))
    studies = scan(tmp_path, b"0123456789abcdef").studies
    assert len({study.patient_id for study in studies}) == 2
    assert len(studies) == (2 if channels else 4)  # alone they may be visits around an operation
    found = [source for study in studies for source in filter(None, study.views)]
    assert {name for source in found for name in source.channels} == channels


def test_flair_shortened_is_a_channel_beside_the_others() -> None:
    """CaPTk and FeTS write FL_to_SRI.nii.gz."""
    names = ("FL_to_SRI_brain", "T1_to_SRI_brain", "T1CE_to_SRI_brain", "T2_to_SRI_brain")
    paths = {
        f"P00{n}/{name}.nii.gz": {"sequence": sequence_of(name)} for n in (1, 2) for name in names
    }
    studies = scan_paths(list(paths), 0, paths).studies
    assert [study.views[1].channels for study in studies if study.views[1]] == [
        ("t1", "t1ce", "t2", "flair")
    ] * 2
