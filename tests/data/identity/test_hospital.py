"""A hospital's folder, from files that nobody here made to a cohort that trains."""

import csv
import os
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from rfpmss import prepare, train
from rfpmss.config.sections import DataConfig
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.cohort.manifest import Row, read
from rfpmss.data.cohort.splits import RAISE, split, unscored
from rfpmss.data.errors import PathError, UnreadableError
from rfpmss.data.identity.owners.assign import owners
from rfpmss.data.identity.owners.item import Item
from rfpmss.data.privacy.private import pseudonym, read_report, read_salt, redact
from rfpmss.data.readers.sniff import kind_of
from rfpmss.data.sources.hospital import look, scan
from rfpmss.data.study import Study
from tests.data.files import NIBABEL, PYDICOM, brain, write_nifti, write_series
from tests.data.prepared import prepared

SALT = b"0123456789abcdef"
SINGLE = ("--min-slices", "1")
"""Most shipped files are single slices."""


def rejected(out: Path) -> dict[str, str]:
    with (out / "rejections.private.csv").open(newline="") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def copy(source: Path, target: Path) -> Path:
    """Copy a file or folder; files of an installed package may be read-only."""
    for file in [source] if source.is_file() else sorted(source.rglob("*")):
        if file.is_file():
            place = target / (file.relative_to(source) if file != source else file.name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    return target


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of the pydicom and nibabel wheels with a report beside some, prepared."""
    src, out = tmp_path_factory.mktemp("src"), tmp_path_factory.mktemp("out")
    copy(PYDICOM / "dicomdirtests", src / "dirs")
    for name in ("CT_small.dcm", "MR_small.dcm", "MR_truncated.dcm", "rtplan.dcm", "test-SR.dcm"):
        copy(PYDICOM / name, src / name.partition(".")[0] / "deep" / "er")
    for name in ("anatomical.nii", "example4d.nii.gz", "nifti1.hdr", "test.mgz", "T1.PAR"):
        copy(NIBABEL / name, src / f"N{name[:5]}")
    (src / "CT_small" / "report.txt").write_text("A 24 mm mass in the left frontal lobe.")
    (src / "MR_small" / "deep" / "note.txt").write_text("Right parietal lesion without edema.")
    (src / "dirs" / "98892003" / "report.txt").write_text("Spine without a mass. Mr Doe is well.")
    (src / "Nanato" / "anatomical.txt").write_text("Normal brain, left and right.")
    prepared(src, out, *SINGLE)
    return src, out


def test_the_series_with_a_gap_of_200_mm_is_rejected_with_its_reason(
    shipped: tuple[Path, Path],
) -> None:
    reasons = rejected(shipped[1])
    for name in ("17106", "17136", "17166", "17196"):
        assert "one gap is 202.50 mm" in reasons[f"dirs/77654033/CT2/{name}"]


def test_the_folder_with_three_series_becomes_three_series(tmp_path: Path) -> None:
    copy(PYDICOM / "dicomdirtests" / "98892003" / "MR2", tmp_path / "src" / "MR2")
    rows = prepared(tmp_path / "src", tmp_path / "out", *SINGLE)
    assert [row.modality for row in rows] == ["mri"] * 3
    assert len({row.series for row in rows}) == 3
    assert len({row.path for row in rows}) == 3


def test_stacks_of_fewer_than_three_slices_are_left_out_unless_wanted(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        voxels = np.random.default_rng(count).integers(900, 1100, (count, 16, 16))
        write_series(tmp_path / "src" / f"s{count}", voxels)
    rows = prepared(tmp_path / "src", tmp_path / "out")
    assert [row.grid for row in rows] == ["16 16 3"]
    reasons = rejected(tmp_path / "out")
    assert {path.split("/")[0] for path in reasons} == {"s1", "s2"}
    for path, reason in reasons.items():
        assert reason.startswith(f"ShortError: the largest stack of the series has {path[1]} of 3")
    rows = prepared(tmp_path / "src", tmp_path / "all", *SINGLE)
    assert [row.grid for row in rows] == ["16 16 3", "16 16 2", "16 16 1"]


def test_every_shipped_file_is_read_or_rejected_for_a_true_reason(
    shipped: tuple[Path, Path],
) -> None:
    src, out = shipped
    reasons = rejected(out)
    wanted = {
        "rtplan/deep/er/rtplan.dcm": "holds no image",
        "test-SR/deep/er/test-SR.dcm": "belongs to no image",
        "MR_truncated/deep/er/MR_truncated.dcm": "same DICOM instance",
        "Nexamp/example4d.nii.gz": "holds 2 volumes",
        "Ntest./test.mgz": "holds 2 volumes",
        "dirs/77654033/CR1/6154": "modality is CR",
        "dirs/98892001/CT2N/6293": "localizer",
        "dirs/README.txt": "no report",
    }
    for path, reason in wanted.items():
        assert reason in reasons[path], path
    for path in ("CT_small/deep/er/CT_small.dcm", "MR_small/deep/er/MR_small.dcm"):
        assert path not in reasons
    assert "Nanato/anatomical.nii" not in reasons
    rows = read(out / "manifest.csv")
    assert sum(row.modality == "report" for row in rows) == 4


def test_texts_go_to_the_patient_of_the_folder_they_lie_in(shipped: tuple[Path, Path]) -> None:
    by_study: dict[str, list[Row]] = {}
    for row in read(shipped[1] / "manifest.csv"):
        by_study.setdefault(row.study_id, []).append(row)
    views = {
        next((row.report for row in rows if row.report), ""): {row.modality for row in rows}
        for rows in by_study.values()
    }
    assert views["A 24 mm mass in the left frontal lobe."] == {"ct", "report"}
    assert views["Right parietal lesion without edema."] == {"mri", "report"}
    assert views["Normal brain, left and right."] == {"mri", "report"}


def test_a_prepared_ct_holds_the_pixels_of_the_file(shipped: tuple[Path, Path]) -> None:
    import pydicom

    config = DataConfig(resize=128, size=128)
    cohort = Cohort.open(shipped[1] / "manifest.csv", config)
    number = next(
        i for i, s in enumerate(cohort.studies) if s.report and s.report.startswith("A 24")
    )
    place = cohort.places[number][0]
    assert place is not None
    stored = place.shard[place.row, 0, 2].astype(float)
    data = pydicom.dcmread(PYDICOM / "CT_small.dcm")
    bone = np.clip(data.pixel_array * 1.0 + float(data.RescaleIntercept), -500, 1300)
    inside = (stored > 0) & (stored < 255)
    assert np.corrcoef(stored[inside], bone[inside])[0, 1] > 0.999


def test_a_training_run_on_shipped_files_does_steps_and_writes_its_page(
    shipped: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--preset", "smoke", "--data", str(shipped[1] / "manifest.csv"), "--max-steps", "2"]
    status = train.main([*command, "--run-dir", str(tmp_path / "run"), "--train.batch", "3"])
    assert status == 0
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000
    assert "Traceback" not in "".join(capsys.readouterr())


def test_no_identifier_reaches_the_manifest_the_messages_or_the_shards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "src" / "Quimby_Z_774411"
    write_series(folder / "CT", rng.integers(900, 1100, (4, 32, 32)))
    write_series(folder / "CT_bad", rng.integers(0, 9, (3, 32, 32)), places=[0.0, 1.0, 9.0])
    (folder / "report.txt").write_text(
        "Patient name: Zebulon Quimby\nMRN: 774411\nMr. QUIMBY (MRN-774411) has a left mass.\n"
    )
    rows = prepared(tmp_path / "src", tmp_path / "out")
    shown = capsys.readouterr()
    said = shown.out + shown.err
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file() and file.name != "rejections.private.csv":
            said += file.read_bytes().decode("latin-1")
    for secret in ("quimby", "zebulon", "774411", "1.2.826", "quimby_z"):
        assert secret not in said.lower(), secret
    assert next(row.report for row in rows if row.report) == "Mr. ___ has a left mass."


def test_ids_depend_on_the_salt_and_stay_the_same_with_it(tmp_path: Path) -> None:
    write_nifti(tmp_path / "src" / "P1" / "t1.nii", brain())
    first = prepared(tmp_path / "src", tmp_path / "a")
    again = prepared(tmp_path / "src", tmp_path / "a")
    other = prepared(tmp_path / "src", tmp_path / "b")
    same = prepared(tmp_path / "src", tmp_path / "c", "--salt", str(tmp_path / "a" / ".salt"))
    assert first == again == same
    assert first[0].patient_id != other[0].patient_id
    assert (tmp_path / "a" / ".salt").stat().st_mode & 0o077 == 0


def test_the_same_folder_gives_the_same_bytes_with_one_worker_or_two(tmp_path: Path) -> None:
    for number in range(3):
        write_nifti(tmp_path / "src" / f"P{number}" / "t1.nii", brain(seed=number))
    salt = tmp_path / "salt"
    read_salt(salt)
    prepared(tmp_path / "src", tmp_path / "a", "--salt", str(salt))
    command = ["hospital", str(tmp_path / "src"), "--out", str(tmp_path / "b"), "--workers", "2"]
    assert prepare.main([*command, "--salt", str(salt)]) == 0
    for name in ("manifest.csv", "splits.csv", "rejections.csv", "shards/mri-00000.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_sequences_of_one_name_become_channels_and_their_mask_gives_the_box(tmp_path: Path) -> None:
    folder = tmp_path / "src" / "P1"
    for sequence in ("t1", "T1GD", "t2", "FLAIR"):
        write_nifti(folder / f"P1_{sequence}.nii.gz", brain(seed=len(sequence)))
    mask = np.zeros((20, 20, 8), np.uint8)
    mask[4:8, 10:15, 3:6] = 1
    write_nifti(folder / "P1_seg.nii.gz", mask)
    rows = prepared(tmp_path / "src", tmp_path / "out")
    assert len(rows) == 1
    assert rows[0].series.startswith("NIfTI t1 t1ce t2 flair ")
    assert rows[0].boxes == "0.20000 0.50000 0.40000 0.75000"


def test_a_colour_image_is_pathology_once_its_scale_is_given(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for name in ("P1/a.png", "P2/b.jpg", "P3/c.tif"):
        (tmp_path / "src" / name).parent.mkdir(parents=True)
        Image.fromarray(colours).save(tmp_path / "src" / name)
    Image.fromarray(colours[..., 0]).save(tmp_path / "src" / "P1" / "grey.png")
    command = ["hospital", str(tmp_path / "src"), "--out", str(tmp_path / "o"), "--workers", "1"]
    assert prepare.main(command) == 1
    assert all(
        "how large its pixels are" in r or "grey" in r for r in rejected(tmp_path / "o").values()
    )
    rows = prepared(tmp_path / "src", tmp_path / "o", "--mpp", "2")
    assert [row.modality for row in rows] == ["pathology"] * 3
    assert list(rejected(tmp_path / "o")) == ["P1/grey.png"]


def test_patients_that_were_dealt_keep_their_split_when_others_come(tmp_path: Path) -> None:
    for number in range(6):
        write_nifti(tmp_path / "src" / f"P{number}" / "t1.nii", brain((8, 8, 4), number))
    before = {row.patient_id: row.split for row in prepared(tmp_path / "src", tmp_path / "out")}
    for number in range(6, 12):
        write_nifti(tmp_path / "src" / f"P{number}" / "t1.nii", brain((8, 8, 4), number))
    after = {row.patient_id: row.split for row in prepared(tmp_path / "src", tmp_path / "out")}
    assert len(after) == 12
    assert before.items() <= after.items()
    assert set(after.values()) == {"train", "val", "test"}


def test_splits_are_by_patient_seeded_and_of_the_shares_asked_for() -> None:
    people = [
        Study(study_id=f"{p}-{n}", patient_id=str(p), report="x" if p % 3 else None)
        for p in range(100)
        for n in range(2)
    ]
    dealt = split(people, (0.7, 0.1, 0.2), 1)
    counts = [list(dealt.values()).count(name) for name in ("train", "val", "test")]
    assert counts == [70, 10, 20]
    told = [dealt[str(p)] for p in range(100) if p % 3]
    assert abs(told.count("test") - 0.2 * len(told)) <= 1.5
    assert dealt == split(people[::-1], (0.7, 0.1, 0.2), 1)
    assert dealt != split(people, (0.7, 0.1, 0.2), 2)


def test_a_larger_share_for_test_holds_enough_reports_out() -> None:
    people = [Study(study_id=str(p), patient_id=str(p), report="x") for p in range(10)]
    told = {
        shares: unscored(Counter(split(people, shares, 0).values()))
        for shares in ((0.8, 0.1, 0.1), (0.6, 0.1, 0.3))
    }
    assert [bool(why) for why in told.values()] == [True, False]
    assert "--splits 0.6 0.1 0.3" in RAISE


@pytest.mark.parametrize("reports", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_somebody_with_a_report_trains_however_few_there_are(reports: int, seed: int) -> None:
    people = [
        Study(study_id=str(p), patient_id=str(p), report="x" if p < reports else None)
        for p in range(5)
    ]
    dealt = split(people, (0.4, 0.3, 0.3), seed)
    assert any(dealt[str(p)] == "train" for p in range(reports))


OWNERSHIP = {
    "one folder a patient": {"P1/t1.nii": "a", "P1/ct.nii": "a", "P1/r.txt": "a", "P2/t1.nii": "b"},
    "folders by kind": {
        "images/P1.nii": "a", "reports/P1.txt": "a", "images/P2.nii": "b", "reports/P2.txt": "b",
    },
    "visits are no patients": {"P1/visit1/t1.nii": "a", "P1/visit2/MR/t1.nii": "a"},
    "flat with names": {
        "all/p1_t1.nii": "a", "all/p1.txt": "a", "all/p2_ct.nii": "b", "all/p2_report.txt": "b",
    },
    "same name at two sites": {"north/P1/t1.nii": "a", "south/P1/t1.nii": "b"},
    "nobody's text": {"P1/t1.nii": "a", "P2/t1.nii": "b", "report.txt": None},
}  # fmt: skip


@pytest.mark.parametrize("layout", OWNERSHIP)
def test_layouts_that_hospitals_use_are_told_apart(layout: str) -> None:
    wanted = OWNERSHIP[layout]
    kinds = {".txt": "text", ".nii": "mri"}
    items = [
        Item(PurePosixPath(p), "ct" if "ct" in p else kinds[PurePosixPath(p).suffix])
        for p in wanted
    ]
    found = owners(items)
    names = dict(zip(found, wanted.values(), strict=True))
    assert len(names) == len(set(wanted.values()))
    assert [names[owner] for owner in found] == list(wanted.values())
    assert (None in found) == (None in wanted.values())


def test_a_text_in_a_folder_with_two_dicom_patients_is_nobodys_unless_it_names_one() -> None:
    items = [
        Item(PurePosixPath("x/1"), "ct", "ID7", "u1"),
        Item(PurePosixPath("x/2"), "ct", "ID8", "u2"),
        Item(PurePosixPath("x/report.txt"), "text"),
        Item(PurePosixPath("x/ID8_report.txt"), "text"),
        Item(PurePosixPath("x/1.txt"), "text"),
    ]
    assert owners(items)[2:] == [None, "id:ID8", "id:ID7"]


def test_the_level_of_the_patients_folders_can_be_given() -> None:
    paths = ["A/one/t1.nii", "A/two/t2.nii", "B/one/t1.nii"]
    found = owners([Item(PurePosixPath(p), "mri") for p in paths], 1)
    assert found[0] == found[1] != found[2]


def test_links_and_pipes_in_the_source_are_refused_not_followed(tmp_path: Path) -> None:
    outside = write_nifti(tmp_path / "outside.nii", brain())
    src = tmp_path / "src"
    write_nifti(src / "P1" / "t1.nii", brain())
    (src / "P1" / "t2.nii").symlink_to(outside)
    (src / "P1" / "folder").symlink_to(tmp_path)
    os.mkfifo(src / "P1" / "pipe.nii")
    found = scan(src, SALT)
    assert sorted(path.name for path, _ in found.rejections) == ["folder", "pipe.nii", "t2.nii"]
    with pytest.raises(PathError):
        look(src / "P1" / "t2.nii", src)


def test_redaction_keeps_the_findings_and_takes_the_names() -> None:
    text = "Name: Li Wei. Left mass.\n姓名：李伟\n李伟 左额叶占位。 Li Wei was seen by\nPhone: 555"
    assert redact(text, ["Li^Wei", "李伟"]) == "Left mass. ___ 左额叶占位。 ___ was seen by"


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_reports_are_read_in_the_encodings_of_hospitals(code: str, tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_bytes("左额叶 mass\r\n12 mm".encode(code))
    assert redact(read_report(tmp_path / "r.txt"), []) == "左额叶 mass 12 mm"


def test_dicom_is_known_by_its_content_and_by_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "scan.nii").write_bytes((PYDICOM / "CT_small.dcm").read_bytes())
    assert kind_of(tmp_path / "scan.nii") == "dicom"
    (tmp_path / "fake.dcm").write_bytes(b"hello, this is no DICOM file at all" * 9)
    with pytest.raises(UnreadableError):
        kind_of(tmp_path / "fake.dcm")
    assert kind_of(PYDICOM / "ExplVR_LitEndNoMeta.dcm") == "dicom"  # without preamble


def test_pseudonyms_do_not_collide_between_kinds_and_hide_their_source() -> None:
    made = {pseudonym(SALT, kind, name) for kind in "psx" for name in ("1", "2", "Doe^John")}
    assert len(made) == 9
    assert not any("Doe" in name for name in made)


def test_wrong_calls_end_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main(["hospital", str(tmp_path / "none"), "--out", str(tmp_path / "o")]) == 2
    assert prepare.main(["hospital", str(tmp_path), "--out", str(tmp_path)]) == 2
    (tmp_path / "empty").mkdir()
    assert prepare.main(["hospital", str(tmp_path / "empty"), "--out", str(tmp_path / "o")]) == 1
    said = capsys.readouterr().err
    assert said.count("error: ") == 3
    assert "Traceback" not in said


def test_a_preparation_that_broke_off_is_resumed_without_decoding_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rfpmss.data.cohort import build as building

    for number in range(3):
        write_nifti(tmp_path / "src" / f"P{number}" / "t1.nii", brain((8, 8, 4), number))
    real, made = building.write_piece, []

    def breaking(folder: Path, study: Study, choice: object) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(study.study_id)
        real(folder, study, choice)  # type: ignore[arg-type]

    monkeypatch.setattr(building, "write_piece", breaking)
    folders = [str(tmp_path / "src"), "--out", str(tmp_path / "out")]
    assert prepare.main(["hospital", *folders, "--workers", "1"]) == 130  # as a shell counts Ctrl-C
    assert not (tmp_path / "out" / "manifest.csv").exists()
    made.pop()
    rows = prepared(tmp_path / "src", tmp_path / "out")
    assert len(rows) == 3
    assert len(set(made)) == len(made) == 2  # one before the break, one after
    assert "resuming" in capsys.readouterr().err


def test_without_a_held_out_patient_training_still_ends_with_its_page(tmp_path: Path) -> None:
    for number in range(3):
        write_nifti(tmp_path / "src" / f"P{number}" / "t1.nii", brain(seed=number))
    (tmp_path / "src" / "P1" / "report.txt").write_text("A mass on the left.")
    rows = prepared(tmp_path / "src", tmp_path / "out")
    assert {row.split for row in rows} == {"train"}
    command = ["--preset", "smoke", "--data", str(tmp_path / "out" / "manifest.csv")]
    command += ["--run-dir", str(tmp_path / "run"), "--max-steps", "1", "--train.batch", "3"]
    assert train.main(command) == 0
    assert (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / "evaluation" / "retrieval.json").read_text().strip() == "[]"


def test_patients_that_come_back_have_the_split_they_had(tmp_path: Path) -> None:
    src, out, away = tmp_path / "src", tmp_path / "out", tmp_path / "away"
    for number in range(10):
        write_nifti(src / f"P{number:02}" / "t1.nii", brain(seed=number))
    before = {row.patient_id: row.split for row in prepared(src, out)}
    away.mkdir()
    for number in (1, 4, 7, 9):  # as on a disk that is not mounted
        (src / f"P{number:02}").rename(away / f"P{number:02}")
    assert len(prepared(src, out, "--seed", "5")) == 6
    for folder in list(away.iterdir()):
        folder.rename(src / folder.name)
    after = {row.patient_id: row.split for row in prepared(src, out, "--seed", "5")}
    assert after == before


def other_word(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    lines[2] = lines[2].partition(",")[0] + ",TRAIN\n"
    path.write_text("".join(lines))


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda out: (out / ".salt").unlink(), "the salt of this cohort is gone"),
        (lambda out: twice(out / "splits.csv"), "splits.csv names a patient in two splits (line"),
        (
            lambda out: other_word(out / "splits.csv"),
            "splits.csv must give each patient one of train, val, test, got 'TRAIN' in line 3",
        ),
    ],
    ids=["salt", "two splits", "other word"],
)
def test_what_splits_rest_on_is_not_made_anew_in_silence(
    harm: object, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src, out = tmp_path / "src", tmp_path / "out"
    for number in range(4):
        write_nifti(src / f"P{number}" / "t1.nii", brain(seed=number))
    prepared(src, out)
    kept = (out / "manifest.csv").read_bytes()
    harm(out)  # type: ignore[operator]
    write_nifti(src / "P9" / "t1.nii", brain(seed=9))  # or nothing would be read again
    command = ["hospital", str(src), "--out", str(out), "--workers", "1"]
    assert prepare.main(command) != 0
    assert sentence in capsys.readouterr().err
    assert (out / "manifest.csv").read_bytes() == kept


def twice(path: Path) -> None:
    """Let the first patient of the file stand in another split too."""
    lines = path.read_text().splitlines()
    patient, split = lines[1].split(",")
    other = "test" if split == "train" else "train"
    path.write_text("\n".join([*lines, f"{patient},{other}"]) + "\n")
