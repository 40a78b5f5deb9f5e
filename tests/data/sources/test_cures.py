"""Every option that a sentence about data advises is tried, and helps."""

from __future__ import annotations

import ast
import builtins
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from rfpmss import prepare
from rfpmss.data.cohort.manifest import read
from rfpmss.data.errors import CodecError, DataError, UnsupportedError, ValuesError
from rfpmss.data.identity.mapping import Words
from rfpmss.data.readers.formats import read_volume
from rfpmss.data.readers.masks import scheme_of
from rfpmss.data.readers.text.documents import read_document
from tests.data.files import brain, write_nifti, write_series
from tests.data.identity.paths import scan

ROOT = Path(__file__).parents[3]


def advice() -> Iterator[tuple[str, str]]:
    """Options and installations that strings of rfpmss.data name, each with the string.

    Docstrings advise nothing, nor does a ValueError: it speaks of an option that was typed.
    """
    for path in sorted((ROOT / "rfpmss" / "data").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        skip: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr):
                skip.add(id(node.value))
            called = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
            if called == "ValueError":
                skip |= {id(part) for part in ast.walk(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = re.findall(
                    r"(?<![\w-])--[a-z][a-z0-9-]+(?:\.[a-z_]+)?\b(?!:)|pip install", node.value
                )
                if id(node) not in skip and found and node.value.strip() != found[0]:
                    yield from ((option, node.value) for option in found)


# With real files, by the command itself.


def gap(src: Path) -> None:
    write_series(src / "P1", brain((5, 8, 8)), places=[0.0, 2, 4, 8, 10])


def grids(src: Path) -> None:
    for name, shape in (("t1", (8, 8, 4)), ("flair", (8, 8, 4)), ("t2", (8, 8, 5))):
        write_nifti(src / "P1" / f"P1_{name}.nii", brain(shape))


def echoes(src: Path) -> None:
    for echo in (0, 1):
        changes = {"SeriesInstanceUID": "1.2.3", "TriggerTime": str(echo)}
        made = write_series(src / str(echo), brain((4, 8, 8), echo) + 900, changes=changes)
        (src / "P1").mkdir(exist_ok=True)
        for path in made.iterdir():
            path.rename(src / "P1" / f"{echo}{path.name}")
        made.rmdir()


def volumes(src: Path) -> None:
    write_nifti(src / "P1" / "t1.nii", np.stack([brain((8, 8, 4), n) for n in (0, 1)], axis=-1))


def large(src: Path) -> None:
    write_nifti(src / "P1" / "t1.nii", brain((256, 256, 9)))


def single(src: Path) -> None:
    write_series(src / "P1", brain((1, 8, 8)) + 1000)


def picture(src: Path) -> None:
    src.mkdir()
    colours = np.random.default_rng(0).integers(60, 200, (96, 96, 3)).astype(np.uint8)
    colours[..., 1] //= 2
    Image.fromarray(colours).save(src / "P1.png")


def nobody(src: Path) -> None:
    for name in ("P1", "P2"):
        write_nifti(src / "a" / name / "t1.nii", brain((8, 8, 4), int(name[1])))
    (src / "a" / "letter.txt").write_text("A mass on the left.")


def columns(src: Path) -> None:
    write_nifti(src / "P1" / "t1.nii", brain((8, 8, 4)))
    (src / "table.csv").write_text("who,what\nP1,A mass on the left.\n")


def strangers(src: Path) -> None:
    write_series(src / "P1", brain((4, 8, 8)), changes={"PatientID": "774411"})
    (src / "t.csv").write_text("PatientID,Report\nP9,A mass on the left.\n")


def late(src: Path) -> None:
    write_series(src / "P1", brain((4, 8, 8)), changes={"StudyDate": "20200101"})
    (src / "t.csv").write_text("PatientID,Date,Report\nMRN-774411,2010-01-01,A mass.\n")


def visits(src: Path) -> None:
    for number in (1, 2):
        write_nifti(src / "P1" / f"visit{number}" / "t1.nii", brain((8, 8, 4), number))
    (src / "P1.txt").write_text("A mass on the left.")


def twice(src: Path) -> None:
    for number in (1, 2):
        changes = {"PatientID": "XYZ", "StudyInstanceUID": f"1.{number}"}
        write_series(src / f"P{number}", brain((4, 8, 8), number) + 900, changes=changes)


@dataclass(frozen=True)
class Real:
    """A source, what is said of it, and the options that this advises."""

    words: str
    make: Callable[[Path], None]
    cure: tuple[str, ...]
    base: tuple[str, ...] = ()
    """Options that bring the sentence about."""
    mapping: str = ""
    stays: bool = False
    """The sentence stays true: another volume is used."""


OWNER = "put it into the folder of the patient and the visit, name it after the patient"
REAL = [
    Real("export the whole series again, or pass --gaps", gap, ("--gaps", "resample")),
    Real("bring the sequences onto one grid, or pass --gaps", grids, ("--gaps", "resample")),
    Real("nothing to do, or pass --volume", echoes, ("--volume", "1"), stays=True),
    Real("pass --volume with the number", volumes, ("--volume", "1")),
    Real("raise the limit with --max-mib", large, ("--max-mib", "16"), base=("--max-mib", "1")),
    Real("nothing to do, or pass --min-slices", single, ("--min-slices", "1")),
    Real("pass --mpp with the microns", picture, ("--mpp", "1")),
    Real(
        "write into the row what the images call the patient",
        strangers,
        ("--mapping",),
        mapping="patients: {P9: '774411'}",
    ),
    Real(OWNER, nobody, ("--patient-level", "1", "--visits", "together")),
    Real(OWNER, nobody, ("--mapping",), mapping="patients: {letter: '774411', P1: '774411'}"),
    Real(
        "name the columns with --mapping",
        columns,
        ("--mapping",),
        mapping="reports: [{file: '*.csv', patient: who, text: what}]",
    ),
    Real("which of the two is right cannot be told", twice, ("--patient-level", "1")),
    Real(
        "if the folders are the patients, or name them in the mapping file (patients:)",
        twice,
        ("--mapping",),
        mapping="patients: {P1: '774411', P2: '774412'}",
    ),
    Real("into its name, or pass --visits together", visits, ("--visits", "together")),
    Real("correct the date, or pass --visits together", late, ("--visits", "together")),
]


@pytest.mark.parametrize("case", REAL, ids=lambda case: f"{case.make.__name__} {case.cure[0]}")
def test_the_advised_option_helps(
    case: Real, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case.make(tmp_path / "src")
    cure = case.cure
    if case.mapping:
        (tmp_path / "map.yaml").write_text(case.mapping)
        cure = (*cure, str(tmp_path / "map.yaml"))

    def run(out: Path, *options: str) -> tuple[str, set[tuple[str, str]]]:
        """What is said, and what the cohort holds."""
        command = ["hospital", str(tmp_path / "src"), "--out", str(out), "--workers", "1"]
        prepare.main([*command, "--size", "32", *options])
        said = capsys.readouterr().err
        if (out / "rejections.private.csv").exists():
            said += (out / "rejections.private.csv").read_text()
        manifest = out / "manifest.csv"
        rows = read(manifest) if manifest.exists() else []
        return said, {(row.digest, row.report) for row in rows}

    before, lacking = run(tmp_path / "before", *case.base)
    assert case.words in before
    after, whole = run(tmp_path / "after", *cure)
    assert whole - lacking
    assert case.stays or case.words not in after


# With paths alone.

DATED = "pass --patient-level {n} if each of these folders is a patient"
LAYOUTS = [
    # What is said (with the number that is advised), of which paths, and what else it asks for.
    (DATED, ["2021-03-04/t1.nii", "2021-09-06/t1.nii"], None),
    (
        "put the files of each patient into a folder of its own and pass --patient-level {n}",
        ["scan_001.nii", "scan_002.nii"],
        ["A/scan_001.nii", "B/scan_002.nii"],
    ),
    (
        "if each of these folders is a patient; if not, put the folders of each patient into one "
        "and then pass --patient-level {n}",
        ["P1a/t1.nii", "P1b/t1.nii", "P2a/t1.nii", "P2b/t1.nii"],
        ["P1/a/t1.nii", "P1/b/t1.nii", "P2/a/t1.nii", "P2/b/t1.nii"],
    ),
    (
        "or batches), and whether they are the same people cannot be told; pass --patient-level "
        "{n} if they are not",
        ["train/P1/t1.nii", "test/P1/t1.nii", "train/P2/t1.nii"],
        None,
    ),
    (
        "stand in several folders, and whether they are the same people cannot be told; pass "
        "--patient-level {n} if they are not",
        [f"{n}/P{k}/{name}.nii" for n in (1, 2) for k in (1, 2, 3) for name in ("t1", "t2")],
        None,
    ),
    (
        "with several visits each (--patient-level {n})",
        ["Maier/1/t1.nii", "Maier/2/t1.nii", "Huber/1/t1.nii", "Huber/2/t1.nii"],
        None,
    ),
    (
        "patients (--patient-level {n})",
        ["Maier/1/t1.nii", "Maier/2/t1.nii", "Huber/1/t1.nii", "Huber/2/t1.nii"],
        None,
    ),
    (
        "pass --patient-level with the depth of this folder if it is one patient",
        ["maier/4711_t1.nii", "maier/4712_t1.nii"],
        None,
    ),
]


@pytest.mark.parametrize(("words", "paths", "moved"), LAYOUTS, ids=lambda value: str(value)[:40])
def test_the_advised_level_helps(words: str, paths: list[str], moved: list[str] | None) -> None:
    pattern = re.escape(words).replace(re.escape("{n}"), r"(\d)")
    found = re.search(pattern, scan(paths).doubt)
    assert found
    level = int(found[1]) if found.groups() else 1
    cured = scan(moved or paths, level=level)
    assert cured.doubt == ""
    wanted = {"/".join(path.split("/")[:level]) for path in moved or paths}
    assert len({study.patient_id for study in cured.studies}) == len(wanted)


NAMED = "the mapping file (patients:) for --mapping"
FLAT = [f"XY0{p}_0{v}_{s}.nii" for p in (1, 2) for v in (1, 2) for s in ("t1", "flair")]
MAPPED = [
    # Of which paths it is said, and which names stand for a patient in the mapping file.
    (FLAT, {"XY01": "A", "XY02": "B"}),
    (FLAT, {"xy01-01": "A", "XY01_02": "A", "XY02": "B"}),
    (FLAT, {name.removesuffix(".nii"): name[:4] for name in FLAT}),
    (FLAT, {f"{name}.gz": name[:4] for name in FLAT}),
    (["P1a/t1.nii", "P1b/t1.nii"], {"P1a": "A", "P1b": "A"}),
]


@pytest.mark.parametrize(("paths", "names"), MAPPED, ids=lambda value: str(value)[:20])
def test_the_advised_names_help(paths: list[str], names: dict[str, str]) -> None:
    assert NAMED in scan(paths).doubt
    found = scan(paths, words=Words(patients=names))
    assert found.doubt == ""
    assert len({study.patient_id for study in found.studies}) == len(set(names.values()))
    wanted = len({path[:7] if path in FLAT else path for path in paths})
    assert len(found.studies) == wanted  # names of one patient that hold the same are visits


# By functions.


@pytest.mark.parametrize(
    ("name", "labels", "words"),
    [("BraTS-PED-00001-000", {1, 2}, "paediatric"), ("P1", {1, 3, 4}, "the labels 3 and 4")],
)
def test_the_advised_year_of_labels_helps(name: str, labels: set[int], words: str) -> None:
    with pytest.raises(ValuesError, match=f"{words}.*--mask-labels"):
        scheme_of(labels, name)
    assert scheme_of(labels, name, "brats2023").labels >= labels


def scanned(path: Path) -> object:
    sitk.WriteImage(sitk.GetImageFromArray(brain((8, 8, 4))), str(path), True)
    return read_volume(path)


def pdf(path: Path) -> object:
    from pypdf import PdfWriter

    writer = PdfWriter()
    writer.add_blank_page(9, 9)
    writer.write(path)
    return read_document(path)[0]


def rtf(path: Path) -> object:
    path.write_text(r"{\rtf1\ansi A mass on the left.}")
    return read_document(path)[0]


@pytest.mark.parametrize(
    ("library", "name", "reader"),
    [("SimpleITK", "x.nrrd", scanned), ("pypdf", "x.pdf", pdf), ("striprtf", "x.rtf", rtf)],
)
def test_the_advised_package_reads_the_file(
    library: str,
    name: str,
    reader: Callable[[Path], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    try:
        reader(tmp_path / name)  # with it the file is read, or something else is said of it
    except DataError as error:
        assert "picture of it" in error.reason  # noqa: PT017  (a page without text)

    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.partition(".")[0] == library:
            raise ImportError(name)
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises((CodecError, UnsupportedError)) as caught:
        (read_document if name != "x.nrrd" else read_volume)(tmp_path / name)
    [extra] = re.findall(r"multisk\[rfpmss,(\w+)\]", str(caught.value))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(line.startswith(library) for line in project["optional-dependencies"][extra])
    assert find_spec(library)


# What other files try: the words, and the test.
ELSEWHERE = {
    "prepare it with --order levels (of the phantom": (
        "data/cohort/test_levels.py",
        "test_a_cohort_without_heights_is_refused_with_the_way_out",
    ),
    "pass --report-languages": (
        "data/privacy/test_languages.py",
        "test_the_way_out_takes_them_redacted",
    ),
    "DICOM studies have no PatientID, or a placeholder": (
        "data/identity/test_layouts.py",
        "test_studies_that_nothing_says_whose_they_are_are_refused",
    ),
    " or --patient-level ": (
        "data/identity/test_unnamed.py",
        "test_numbered_folders_with_and_without_a_patient_id_are_refused_with_two_ways_out",
    ),
    "which takes all rows": (
        "data/reports/test_tables_of_texts.py",
        "test_rows_of_another_examination_are_taken_when_the_mapping_file_names_the_columns",
    ),
    "accept it with rfpmss check COHORT --accept": (
        "data/cohort/test_check.py",
        "test_a_manifest_changed_on_purpose_counts_after_it_was_accepted",
    ),
    "prepare one of them alone, or pass --unmapped": (
        "data/sources/test_public_names.py",
        "test_releases_that_share_patients_are_not_mixed_unnoticed",
    ),
    "pass --mapping BraTS2021_MappingToTCIA.xlsx, or --unmapped": (
        "data/sources/test_public_run.py",
        "test_both_trees_are_refused_unmapped_then_merged_split_shown_and_trained_on",
    ),
    "remove splits.csv and deal a larger share to test (--splits 0.6 0.1 0.3)": (
        "data/identity/test_hospital.py",
        "test_a_larger_share_for_test_holds_enough_reports_out",
    ),
    "prepare it with --depth and --spacing, or train with --data.depth 0": (
        "data/cohort/test_boxes.py",
        "test_slices_are_refused_where_boxes_are_read",
    ),
    "train with --data.depth, as --preset tiny3d does, or prepare without --depth": (
        "data/cohort/test_boxes.py",
        "test_boxes_of_another_kind_are_refused_with_the_way_out",
    ),
    "train with --data.spacing ": (
        "data/cohort/test_boxes.py",
        "test_boxes_of_another_kind_are_refused_with_the_way_out",
    ),
    "train with --data.resize ": (
        "data/cohort/test_boxes.py",
        "test_boxes_of_another_kind_are_refused_with_the_way_out",
    ),
    "or prepare without --depth where single slices are wanted": (
        "data/cohort/test_boxes.py",
        "test_a_slice_alone_is_refused_and_its_study_goes_on_without_it",
    ),
    ", or prepare with --spacing ": (
        "data/cohort/test_boxes.py",
        "test_boxes_of_another_kind_are_refused_with_the_way_out",
    ),
    ", a --data.size of at most that and a --data.depth of at most ": (
        "data/cohort/test_boxes.py",
        "test_boxes_of_another_kind_are_refused_with_the_way_out",
    ),
    ", or prepare with another --size and --depth": (
        "data/cohort/test_boxes.py",
        "test_boxes_of_another_kind_are_refused_with_the_way_out",
    ),
    "prepare with a larger --depth, --size or --spacing": (
        "data/cohort/test_boxes.py",
        "test_a_box_that_leaves_out_most_of_the_head_is_refused_with_its_size",
    ),
    "(--label-columns takes it all the same)": (
        "data/reports/test_labels.py",
        "test_columns_can_be_asked_for_by_name",
    ),
}
TYPED = {
    *("no image lies in a folder at the depth of --patient-level", "correct --bids-masks"),
    *("correct the table of --labels", "--labels must name a file"),
    *("--keep-words must be a CSV table", "the column blanked of --keep-words"),
    *("--label-columns must name columns", "of the columns that --mapping names"),
    *("what --dicomweb-patients, -dates and -modalities ask for", "final address as --dicomweb"),
    *("fewer --workers or a lower --max-mib", "--out holds an export already", "a new --salt"),
    "write one with `python -m rfpmss.prepare <source> SRC --out DIR`",
}
"""Sentences about an option that was given, and about commands and machines, not about a file."""


def test_no_option_is_advised_that_no_test_tries() -> None:
    tried = [case.words for case in REAL] + [words for words, _, _ in LAYOUTS]
    tried = [NAMED, *(words.partition("{n}")[0].strip() for words in tried)]
    tried += ["say which with --mask-labels", "pip install 'multisk[rfpmss,"]
    every = [*tried, *ELSEWHERE, *TYPED]
    found = list(advice())
    assert len(found) > 30
    for option, text in found:
        assert any(words in text for words in every), (option, text)
    for words in every:
        assert any(words in text for _, text in found), f"nothing says so any more: {words}"
    for file, test in ELSEWHERE.values():
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")
