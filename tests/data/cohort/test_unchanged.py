"""An unchanged folder is not read again, and no change whatever goes unnoticed."""

import builtins
import io
import os
import shutil
import time
from pathlib import Path

import pytest

from rfpmss import prepare
from rfpmss.data.cohort import unchanged
from tests.data.files import brain, write_nifti, write_series


@pytest.fixture
def cohort(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """Prepared once, with files that count as old."""
    src = tmp_path / "src"
    write_series(src / "P1" / "ct", brain((4, 16, 16)))
    write_nifti(src / "P2" / "t1.nii.gz", brain())
    (src / "P2" / "report.txt").write_text("A mass on the left.")
    monkeypatch.setattr(unchanged, "RACY", 0)
    time.sleep(0.02)  # more than a tick of the file system's clock
    assert run(src, tmp_path / "out") == 0
    return src, tmp_path / "out"


def run(src: Path, out: Path, *options: str) -> int:
    words = ["hospital", str(src), "--out", str(out), "--workers", "1", *options]
    return prepare.main(words)


def files(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != unchanged.RECORD
    }


def test_the_second_run_opens_no_file_of_the_source(cohort, monkeypatch, capsys):
    src, out = cohort
    before, opened = files(out), []
    capsys.readouterr()
    real, low = io.open, os.open

    def noted(path, *arguments, **options):
        opened.append(str(path))
        return real(path, *arguments, **options)

    def noted_low(path, *arguments, **options):
        opened.append(str(path))
        return low(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(io, "open", noted)
        patch.setattr(builtins, "open", noted)
        patch.setattr(os, "open", noted_low)
        assert run(src, out) == 0
    assert not [path for path in opened if path.startswith(str(src))]
    assert any(path.startswith(str(out)) for path in opened)  # the watch works
    assert "nothing has changed since the last run" in capsys.readouterr().out
    assert files(out) == before


def changed_in_place(src: Path, out: Path) -> None:
    """Other bytes of the same size, and the time of modification set back."""
    path = src / "P2" / "report.txt"
    about = path.stat()
    path.write_text("A mass on the LEFT.")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert path.stat().st_size == about.st_size
    assert path.stat().st_mtime_ns == about.st_mtime_ns


CHANGES = {
    "in place": changed_in_place,
    "a new file": lambda src, out: (src / "P2" / "notes.txt").write_text("Edema on the left."),
    "a file less": lambda src, out: (src / "P2" / "report.txt").unlink(),
    "another name": lambda src, out: (src / "P2").rename(src / "P3"),
    "an output less": lambda src, out: (out / "cohort.html").unlink(),
    "an output changed": lambda src, out: (out / "splits.csv").write_text("patient_id,split\n"),
    "a shard changed": lambda src, out: next(out.glob("shards/*")).write_bytes(b"x"),
    "a damaged record": lambda src, out: (out / unchanged.RECORD).write_bytes(b"\xff{"),
    "another salt": lambda src, out: (out / ".salt").write_text("another-secret-0123"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_noticed(cohort, change, tmp_path, capsys):
    src, out = cohort
    CHANGES[change](src, out)
    time.sleep(0.02)
    assert run(src, out) == 0
    assert "nothing has changed" not in capsys.readouterr().out
    anew = tmp_path / "anew"
    anew.mkdir()
    shutil.copy(out / ".salt", anew)
    assert run(src, anew) == 0
    same = ("manifest.csv", "rejections.csv")
    for name in same:
        assert (out / name).read_bytes() == (anew / name).read_bytes()


@pytest.mark.parametrize("option", [("--min-slices", "5"), ("--seed", "3"), ("--size", "64")])
def test_other_options_are_another_cohort(cohort, option, capsys):
    assert run(*cohort, *option) == 0
    assert "nothing has changed" not in capsys.readouterr().out
    assert run(*cohort, *option) == 0
    assert "nothing has changed" in capsys.readouterr().out


def test_other_code_and_files_that_are_too_new_are_never_trusted(cohort, monkeypatch, capsys):
    src, out = cohort
    with monkeypatch.context() as patch:
        patch.setattr(unchanged, "_program", lambda: "another version")
        assert run(src, out) == 0
        assert "nothing has changed" not in capsys.readouterr().out
    monkeypatch.setattr(unchanged, "RACY", 3600 * 10**9)
    assert run(src, out) == 0
    assert not (out / unchanged.RECORD).exists()
    assert run(src, out) == 0
    assert "nothing has changed" not in capsys.readouterr().out


def test_the_record_is_private_and_names_nobody(cohort):
    src, out = cohort
    path = out / unchanged.RECORD
    assert path.stat().st_mode & 0o077 == 0
    text = path.read_text()
    for name in ("P1", "P2", "report", "MRN-774411", str(src)):
        assert name not in text
