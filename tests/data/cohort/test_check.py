"""A cohort is as it was written, or it is refused and its damaged studies are named."""

import csv
import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rfpmss import check
from rfpmss.config import smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.cohort import manifest
from rfpmss.data.cohort.manifest import Row, read, write
from rfpmss.data.errors import (
    ChangedError,
    DataError,
    DuplicateError,
    StudyError,
    TextError,
    UnreadableError,
)


@pytest.fixture
def cohort(smoke_cohort: Path, tmp_path: Path) -> Path:
    shutil.copytree(smoke_cohort.parent, tmp_path / "cohort")
    return tmp_path / "cohort" / smoke_cohort.name


def shard_of(cohort: Path, view: str) -> Path:
    return cohort.parent / "shards" / f"{view}-00000.npy"


def stored(cohort: Path, view: str) -> list[str]:
    """The studies of a shard, in its order."""
    rows = [row for row in read(cohort) if row.modality == view]
    return [row.study_id for row in sorted(rows, key=lambda row: int(row.path.split("#")[1]))]


def test_a_cohort_as_it_was_written_passes(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.main([str(cohort.parent)]) == 0
    images = sum(1 for row in read(cohort) if row.path)
    assert f"images: {images} of {images} as they were prepared" in capsys.readouterr().out


def test_links_to_a_cohort_and_to_its_manifest_lead_to_its_sum_and_shards(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "linked").symlink_to(cohort.parent)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.csv").symlink_to(cohort)
    for place in ("linked", "mine", "mine/manifest.csv"):
        assert check.main([str(tmp_path / place)]) == 0
    assert "no sum" not in capsys.readouterr().out


def test_flipped_bytes_of_a_shard_are_found_and_their_studies_named(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names, path = stored(cohort, "ct"), shard_of(cohort, "ct")
    content = np.load(path, mmap_mode="r+")
    for row in (3, 17):
        content[row, 0, 0, 0, 0] ^= 255
    content.flush()
    del content
    with pytest.raises(UnreadableError, match=f"2 studies .*: {names[3]}, {names[17]}"):
        Cohort.open(cohort, smoke().data)
    assert check.main([str(cohort)]) == 1
    told = capsys.readouterr()
    assert "error: 2 of 64 studies are damaged" in told.err
    assert [line.split(",")[0] for line in told.err.splitlines()[:2]] == [
        f"damaged: study {names[3]}",
        f"damaged: study {names[17]}",
    ]


@pytest.mark.parametrize("damage", ["cut", "gone", "header"])
def test_a_shard_that_is_cut_off_or_gone_names_its_studies(
    cohort: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names, path = stored(cohort, "mri"), shard_of(cohort, "mri")
    if damage == "gone":
        path.unlink()
    elif damage == "header":
        path.write_bytes(path.read_bytes().replace(b"NUMPY", b"MUMPY", 1))
    else:
        os.truncate(path, path.stat().st_size - 10)
        names = names[-1:]
    assert check.main([str(cohort)]) == 1
    assert f"{len(names)} of 64 studies are damaged" in capsys.readouterr().err
    with pytest.raises(UnreadableError, match=rf"shards/mri-00000\.npy: {names[0]}"):
        Cohort.open(cohort, smoke().data)


def test_a_shard_that_is_cut_off_while_it_is_read_is_an_error_not_a_signal(cohort: Path) -> None:
    from rfpmss.data.batches.tokens import train_tokenizer

    opened = Cohort.open(cohort, smoke().data)
    words = train_tokenizer(opened.reports("train"), 300)
    os.truncate(shard_of(cohort, "ct"), 5000)
    with pytest.raises(UnreadableError, match=r"ct-00000\.npy ends too early"):
        opened.batch(range(len(opened)), words, augment=None)


def test_a_shard_reads_like_the_array_it_is(cohort: Path) -> None:
    from rfpmss.data.cohort.shards import open_shard

    path = shard_of(cohort, "ct")
    ours, theirs = open_shard(path), np.load(path)
    assert ours.shape == theirs.shape
    for key in (0, -1, 5, (3, 0), (3, 0, 2), (4, 0, slice(None), 1), slice(2, 5), (slice(3), 0)):
        np.testing.assert_array_equal(ours[key], theirs[key])
    with pytest.raises(IndexError):
        ours[len(theirs)]


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 1, 3, 8, 8), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 0, 3, 8, 8), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 1, 3, 8, 0), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 1, 3, 8, 1099511627776), }",
        "{'descr': '|u1', 'fortran_order': True, 'shape': (4, 1, 3, 8, 8), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 1, 3, 8, 8), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (4, 1, 3, 8, 8), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': ('4', 1, 3, 8, 8), }",
        "__import__('os').system('true')",
    ],
)
def test_what_a_header_claims_is_bounded_before_it_is_used(header: str, tmp_path: Path) -> None:
    from rfpmss.data.cohort.shards import open_shard

    text = header.ljust(117).encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(1000)
    (tmp_path / "ct-00000.npy").write_bytes(content)
    with pytest.raises(UnreadableError):
        open_shard(tmp_path / "ct-00000.npy")


def test_a_manifest_that_was_cut_is_refused_at_every_length(cohort: Path) -> None:
    content = cohort.read_bytes()
    for part in range(1, 40):
        cohort.write_bytes(content[: len(content) * part // 40])
        with pytest.raises((ChangedError, TextError)):
            read(cohort)
    lines = content.splitlines(keepends=True)
    cohort.write_bytes(b"".join(lines[:-3]))
    with pytest.raises(
        ChangedError, match=rf"must have {len(lines) - 1} rows, got {len(lines) - 4}"
    ):
        read(cohort)


def test_a_manifest_of_before_is_read_and_one_of_a_spreadsheet_is_the_same(cohort: Path) -> None:
    rows = read(cohort)
    with cohort.open("w", newline="", encoding="utf-8-sig") as file:  # as a spreadsheet saves it
        writer = csv.DictWriter(file, manifest.COLUMNS, quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(vars(row) for row in rows)
    assert read(cohort) == rows
    manifest.sum_of(cohort).unlink()
    cohort.write_bytes(b"".join(cohort.read_bytes().splitlines(keepends=True)[:-3]))
    assert read(cohort) == rows[:-3]


def test_a_manifest_changed_on_purpose_counts_after_it_was_accepted(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort.write_text(cohort.read_text().replace("grade=", "stage="))
    assert check.main([str(cohort)]) == 1
    assert "rfpmss check COHORT --accept" in capsys.readouterr().err
    assert check.main([str(cohort), "--accept"]) == 0
    assert read(cohort)
    said = json.loads(manifest.sum_of(cohort).read_text())
    for damaged in ({}, {**said, "rows": said["rows"] + 1}, {**said, "rows": float("inf")}):
        manifest.sum_of(cohort).write_text(json.dumps(damaged))
        with pytest.raises(ChangedError, match=r"manifest\.sum beside the manifest is damaged"):
            read(cohort)


ONE = Row(patient_id="p1", study_id="s1", modality="report", report="a mass", split="train")


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([ONE, replace(ONE, patient_id="p2")], StudyError),
        ([ONE, replace(ONE, patient_id="p2", split="test")], StudyError),
        ([ONE, ONE], DuplicateError),
        ([ONE, replace(ONE, report="no mass")], StudyError),
        ([replace(ONE, labels="grade=4"), replace(ONE, report="", labels="grade=2")], StudyError),
        ([replace(ONE, split="tsain")], TextError),
    ],
)
def test_rows_that_contradict_one_another_are_refused(
    rows: list[Row], kind: type[DataError], tmp_path: Path
) -> None:
    write(tmp_path / "manifest.csv", rows)
    with pytest.raises(kind, match=r"line \d of the manifest|says what another one says"):
        read(tmp_path / "manifest.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("patient_id,study_id,modality,split,split\na,b,report,train,test\n", "split twice"),
        ("patient_id,study_id,modality,split\na,b,rep", "fewer cells"),
        ("patient_id,study_id,modality\na,b,report,x\n", "more cells"),
    ],
)
def test_a_badly_formed_manifest_is_refused_with_the_reason(
    text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(TextError, match=words):
        read(tmp_path / "manifest.csv")


def test_a_long_report_is_read(tmp_path: Path) -> None:
    write(tmp_path / "manifest.csv", [replace(ONE, report="word " * 40_000)])
    assert len(read(tmp_path / "manifest.csv")[0].report) == 199_999


@pytest.mark.parametrize("boxes", ["x", "0 0 1", "0 0 nan 1", "0 0 1 1|0 0 1 1", "||"])
def test_boxes_that_are_none_are_refused(cohort: Path, boxes: str) -> None:
    write(cohort, [replace(r, boxes=boxes) if r.modality == "ct" else r for r in read(cohort)])
    with pytest.raises(TextError, match="box"):
        Cohort.open(cohort, smoke().data)


def test_what_holds_patients_data_is_the_owners_alone(cohort: Path) -> None:
    private = [cohort, manifest.sum_of(cohort), *cohort.parent.glob("shards/*.npy")]
    assert len(private) > 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert json.loads(manifest.sum_of(cohort).read_text())["rows"] == len(read(cohort))


def test_the_bytes_of_a_shard_are_asked_for_before_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk a memory map ends the process by a signal at the first page it cannot get."""
    from rfpmss.data.cohort import shards

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        shards._new(tmp_path / "ct-00000.npy", (4, 1, 3, 8, 8))
    assert caught.value.filename == str(tmp_path / "ct-00000.npy")
