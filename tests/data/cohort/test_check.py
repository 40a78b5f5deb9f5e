"""A cohort is as it was written, or it is refused and its damaged studies are named."""

import csv
import json
import os
import shutil
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rfpmss import check, prepare
from rfpmss.config import smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.cohort import manifest
from rfpmss.data.cohort.manifest import Row, read, write
from rfpmss.data.errors import (
    ChangedError,
    DataError,
    DuplicateError,
    LeakageError,
    PieceError,
    StudyError,
    TextError,
    UnreadableError,
)
from tests.data.odd import not_a_file


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


def test_a_refused_acceptance_changes_nothing(cohort: Path) -> None:
    digest = next(row.digest for row in read(cohort) if row.path)
    cohort.write_text(cohort.read_text().replace(digest, digest[::-1], 1))
    before = manifest.sum_of(cohort).read_bytes()
    assert check.main([str(cohort), "--accept"]) == 1
    assert manifest.sum_of(cohort).read_bytes() == before


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


def renamed(cohort: Path, change) -> None:
    """Write other paths into the rows of CT, without digests and without a sum."""
    rows = read(cohort)
    mine = [row for row in rows if row.modality == "ct"]
    paths = change([row.path for row in mine], [row.split for row in mine])
    new = {
        row.path: replace(row, path=path, digest="") for row, path in zip(mine, paths, strict=True)
    }
    write(cohort, [new.get(row.path, row) if row.modality == "ct" else row for row in rows])
    manifest.sum_of(cohort).unlink()


PLACES = ["shards/ct-00000.npy#-1", "shards/ct-00000.npy#x", "shards/ct-00000.npy#99999"]
PLACES += ["shards/ct-00000.npy#٣", "shards/ct-00000.npy#", "shards/ct-00000.npy", "#1"]
PLACES += ["shards/ct-00000.npy#1e0", "shards/ct-00000.npy#9999999999"]


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_a_shard_does_not_have_is_refused_by_every_reader(
    cohort: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed(cohort, lambda paths, _: [place, *paths[1:]])
    with pytest.raises(DataError):
        Cohort.open(cohort, smoke().data)
    out = cohort.parent / "tar"
    for command in (lambda: check.main([str(cohort)]), lambda: export(cohort, out)):
        assert command() == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("error: ")
    assert not list(out.glob("*.tar"))


@pytest.mark.parametrize("path", ["../c/shards/ct-00000.npy#0", "/x.npy#0", "shards/ct.npy"])
@pytest.mark.parametrize("words", [(), ("--accept",)])
def test_a_path_that_is_none_is_named_with_its_line(
    cohort: Path, path: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    renamed(cohort, lambda paths, _: [*paths[:2], path, *paths[3:]])
    number = 2 + [row.path for row in manifest.parse(cohort)].index(path)
    assert check.main([str(cohort), *words]) == 1
    error = capsys.readouterr().err
    assert f"(line {number} of the manifest, path {path!r}); write the path as it was" in error


def test_a_shard_that_is_a_link_to_elsewhere_is_named(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = shard_of(cohort, "ct")
    shard.rename(tmp_path / "away.npy")
    shard.symlink_to(tmp_path / "away.npy")
    assert check.main([str(cohort)]) == 1
    error = capsys.readouterr().err
    assert "a link leads out of its folder (path 'shards/ct-00000.npy#0' of the manifest)" in error


@pytest.mark.parametrize("spelt", ["{}", "./{}", "shards/../{}", "{}0"])
def test_a_stored_image_is_that_of_one_row_however_its_place_is_spelt(
    cohort: Path, spelt: str
) -> None:
    def same(paths: list[str], splits: list[str]) -> list[str]:
        file, _, place = paths[splits.index("test")].partition("#")
        other = spelt.replace("0", "").format(file) + "#" + ("0" if "0" in spelt else "") + place
        return [other if n == splits.index("train") else path for n, path in enumerate(paths)]

    renamed(cohort, same)
    with pytest.raises(DataError, match=r"the same stored image|climbs out"):
        read(cohort)


def test_the_digests_that_a_manifest_lacks_are_made_and_compared(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.link(shard_of(cohort, "ct"), cohort.parent / "shards" / "copy.npy")

    def same(paths: list[str], splits: list[str]) -> list[str]:
        place = paths[splits.index("test")].partition("#")[2]
        at = splits.index("train")
        return [f"shards/copy.npy#{place}" if n == at else path for n, path in enumerate(paths)]

    renamed(cohort, same)
    with pytest.raises(LeakageError, match="the same image stands in the splits"):
        Cohort.open(cohort, smoke().data)
    assert check.main([str(cohort)]) == 1
    assert "the same image stands in the splits" in capsys.readouterr().err


def export(cohort: Path, out: Path) -> int:
    return prepare.main(["export", str(cohort), "--out", str(out)])


def test_damaged_images_are_not_exported(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = stored(cohort, "ct")[3]
    content = np.load(shard_of(cohort, "ct"), mmap_mode="r+")
    content[3, 0, 0, 0, 0] ^= 255
    content.flush()
    del content
    assert export(cohort, cohort.parent / "tar") == 1
    assert (
        f"1 studies have images that are not as they were prepared, in shards/ct-00000.npy: {name}"
        in capsys.readouterr().err
    )
    assert not list(cohort.parent.glob("tar/*.tar"))


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shards/ct-00000.npy", "studies are damaged"),
        ("manifest.sum", "is damaged"),
        ("manifest.csv", "error: COHORT must be the folder of a prepared cohort"),
    ],
)
def test_what_is_no_file_is_refused_and_not_waited_for(
    cohort: Path, name: str, words: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    not_a_file(cohort.parent / name, kind)
    assert check.main([str(cohort)]) == (2 if name == cohort.name else 1)
    assert words in capsys.readouterr().err


def test_a_shard_that_is_a_link_to_itself_is_refused_in_a_sentence(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = next((cohort.parent / "shards").iterdir())
    shard.unlink()
    shard.symlink_to(shard.name)
    assert check.main([str(cohort)]) == 1
    assert "error: " in capsys.readouterr().err


def test_findings_of_a_generated_cohort_that_were_edited_are_refused(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = cohort.parent / "truth.json"
    records = json.loads(truth.read_text())
    records[0]["latents"], records[1]["latents"] = records[1]["latents"], records[0]["latents"]
    truth.write_text(json.dumps(records))
    with pytest.raises(ChangedError, match="truth.json beside the manifest must be as it was"):
        Cohort.open(cohort, smoke().data)
    assert check.main([str(cohort), "--accept"]) == 0
    assert len(Cohort.open(cohort, smoke().data)) == len(records)
    truth.unlink()
    assert check.main([str(cohort)]) == 1
    assert "got another content or none" in capsys.readouterr().err


@pytest.mark.parametrize("content", ['[{"study_id": 3}]', "\udcff{", "[" * 9999, '{"a": 1}'])
def test_damaged_findings_of_a_generated_cohort_are_one_sentence(
    cohort: Path, content: str
) -> None:
    (cohort.parent / "truth.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    manifest.accept(cohort, manifest.parse(cohort))
    with pytest.raises(TextError, match=r"truth\.json beside the manifest must hold"):
        Cohort.open(cohort, smoke().data, verified=False)


def test_damaged_pieces_are_made_again_and_half_written_ones_removed(tmp_path: Path) -> None:
    from rfpmss.data.cohort import shards

    whole, cut, flipped = (tmp_path / f"s-{name}.npz" for name in "abc")
    for path in (whole, cut, flipped):
        np.savez(path, notes=np.arange(4000))
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    flipped.write_bytes(content[:900] + bytes([content[900] ^ 1]) + content[901:])
    (tmp_path / ".s-d.npz.17.tmp").write_bytes(b"half")
    not_a_file(tmp_path / "s-e.npz")
    with pytest.raises(PieceError, match="is damaged; start the preparation"):
        shards.read_notes(cut)
    shards.clear(tmp_path)
    assert list(tmp_path.iterdir()) == [whole]


def test_headers_of_shards_are_parsed_one_at_a_time(tmp_path, monkeypatch):
    """Python 3.11's parser counts its depth for all threads together."""
    from rfpmss.data.cohort import shards

    usual, inside, seen = shards.npy.read_array_header_1_0, [], []

    def read(file):
        inside.append(1)
        seen.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return usual(file)

    monkeypatch.setattr(shards.npy, "read_array_header_1_0", read)
    np.save(tmp_path / "a.npy", np.zeros((1, 1, 3, 4, 4), np.uint8))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(shards.open_shard, [tmp_path / "a.npy"] * 8))
    assert [shard.shape for shard in found] == [(1, 1, 3, 4, 4)] * 8
    assert seen == [1] * 8
