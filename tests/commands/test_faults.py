"""Every command with every fault of a place: one sentence, an exit status, nothing half-written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

Words = Callable[[str, Path], list[str]]

READ: dict[tuple[str, str], Words] = {
    ("prepare", "SRC"): lambda at, base: ["hospital", at, "--out", f"{base}/o"],
    ("prepare", "--mapping"): lambda at, base: [*hospital(base), "--mapping", at],
    ("prepare", "--labels"): lambda at, base: [*hospital(base), "--labels", at],
    ("prepare", "--salt"): lambda at, base: [*hospital(base)[:-1], "--salt", at],
    ("prepare", "--brats"): lambda at, base: ["public", "--brats", at, "--out", f"{base}/o"],
    ("prepare", "PART"): lambda at, base: ["merge", at, "--out", f"{base}/o"],
    ("prepare", "MANIFEST"): lambda at, base: ["export", at, "--out", f"{base}/o"],
    ("check", "COHORT"): lambda at, base: [at],
    ("train", "--data"): lambda at, base: ["--data", at, "--run-dir", f"{base}/o"],
    ("train", "--config-file"): lambda at, base: ["--config-file", at, "--run-dir", f"{base}/o"],
    ("train", "--start"): lambda at, base: ["--start", at, "--data", f"{base}/no"],
    ("evaluate", "--run-dir"): lambda at, base: ["--run-dir", at],
    ("findings", "--run-dir"): lambda at, base: ["--run-dir", at],
    ("findings", "--prompts"): lambda at, base: ["--run-dir", f"{base}/o", "--prompts", at],
    ("finetune", "--run-dir"): lambda at, base: ["--run-dir", at],
    ("report", "--run-dir"): lambda at, base: ["--run-dir", at],
    ("view", "--run-dir"): lambda at, base: ["--run-dir", at],
    ("export", "RUN"): lambda at, base: [at, "--out", f"{base}/o"],
    ("embed", "--model"): lambda at, base: [f"{base}/src", "--model", at, "--out", f"{base}/o"],
    ("ablate", "--data"): lambda at, base: ["--data", at, "--out", f"{base}/o"],
}
"""What commands read: a command line with the place ``at``."""

WRITTEN: dict[tuple[str, str], Words] = {
    ("prepare", "--out"): lambda at, base: ["hospital", f"{base}/src", "--out", at],
    ("prepare", "--out of phantom"): lambda at, base: [*phantom(), "--out", at],
}
"""What commands write; those of runs and grids stand in ``tests/runs/test_trust.py``."""

TAKEN = {("--salt", "missing"), ("--salt", "noise"), ("--mapping", "empty file")}
"""No faults: a new secret, any bytes as a secret, a mapping that says nothing."""


def hospital(base: Path) -> list[str]:
    return ["hospital", f"{base}/src", "--out", f"{base}/o", "--dry-run"]


def phantom() -> list[str]:
    return ["phantom", "--preset", "smoke", "--phantom.train", "2", "--phantom.test", "1"]


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one scan, and faults of all kinds beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src" / "P1").mkdir(parents=True)
    scan = np.random.default_rng(0).normal(30, 5, (12, 12, 6)).astype(np.float32)
    nib.save(nib.Nifti1Image(scan, np.eye(4)), tmp_path / "src" / "P1" / "ct.nii")
    (tmp_path / "text.txt").write_text("hello\n")
    (tmp_path / "nought").touch()
    (tmp_path / "noise").write_bytes(np.random.default_rng(0).bytes(300))
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "locked").mkdir()
    for name in ("config.yaml", "config.json", "manifest.csv", "part.json"):
        (tmp_path / "locked" / name).write_text("{}")
    return tmp_path


FAULTS = {
    **{"missing": "nope", "text": "text.txt", "empty file": "nought", "noise": "noise"},
    **{"empty folder": "empty", "links in a circle": "loop", "below a file": "text.txt/x"},
    **{"long": "x" * 300, "unreadable": "locked"},
}


def snapshot(base: Path) -> dict[str, bytes | None]:
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in base.rglob("*")
        if path.name != "loop"
    }


def refuse(patch: pytest.MonkeyPatch, folder: Path, number: int, *, writing: bool) -> None:
    """Let opening files below a folder fail, to read or only to write, as a disk does."""

    def guard(usual, writes):
        def call(path, *rest, **named):
            below = isinstance(path, str | os.PathLike) and str(path).startswith(str(folder))
            if below and (not writing or writes(*rest, **named)):
                raise OSError(number, os.strerror(number), str(path))
            return usual(path, *rest, **named)

        return call

    flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    named = guard(open, lambda mode="r", *_, **__: bool(set(mode) & set("wxa+")))
    patch.setattr("builtins.open", named)
    patch.setattr("io.open", named)
    patch.setattr("os.open", guard(os.open, lambda how=0, *_, **__: bool(how & flags)))
    patch.setattr("os.mkdir", guard(os.mkdir, lambda *_, **__: True))


def sentence(
    verb: str,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    wanted: tuple[int, ...] = (1, 2),
) -> str:
    """Run a command that must be refused; return the one sentence."""
    module = import_module(f"rfpmss.{verb}")
    try:
        status = module.main(words)
    except SystemExit as stop:
        status = stop.code
    said = capsys.readouterr().err.splitlines()
    errors = [line for line in said if line.startswith("error: ")]
    assert status in wanted, words
    assert len(errors) == 1, said
    assert said[-1] == errors[0]
    assert "Traceback" not in "".join(said)
    return errors[0]


@pytest.mark.parametrize(("verb", "name"), list(READ), ids=list(map(" ".join, READ)))
def test_what_cannot_be_read_is_one_sentence_and_leaves_nothing(
    verb: str,
    name: str,
    base: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make = READ[verb, name]
    before = snapshot(base)
    for fault, place in FAULTS.items():
        if (name, fault) in TAKEN:
            continue
        words = make(str(base / place), base)
        with pytest.MonkeyPatch.context() as patch:
            if fault == "unreadable":
                refuse(patch, base / "locked", errno.EACCES, writing=False)
            line = sentence(verb, words, capsys)
        assert "(a source file)" not in line or fault == "unreadable", line
        if fault in ("links in a circle", "long") and name not in ("PART", "--salt"):
            assert name in line, line
        if (name, fault) != ("SRC", "unreadable"):  # rejections.csv says of each file why
            made = {Path(path).name for path in snapshot(base).keys() - before.keys()}
            assert made <= {"o"}, (fault, made)


PLACES = {"below a file": "text.txt/x", "a file": "text.txt", "long": "x" * 300}


@pytest.mark.parametrize(("verb", "name"), list(WRITTEN), ids=list(map(" ".join, WRITTEN)))
def test_what_cannot_be_written_is_one_sentence_and_leaves_nothing(
    verb: str, name: str, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(base)
    for place in (*PLACES.values(), "loop/x"):
        line = sentence(verb, WRITTEN[verb, name](str(base / place), base), capsys)
        assert str(base / place)[:40] in line or "--out" in line
        assert snapshot(base).keys() == before.keys()
    for number, status, words in (
        (errno.ENOSPC, 74, "make room"),
        (errno.EROFS, 1, "choose a folder that can be written"),
        (errno.EACCES, 1, "change its permissions"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            refuse(patch, base / "out", number, writing=True)
            line = sentence(verb, WRITTEN[verb, name](str(base / "out"), base), capsys, (status,))
        assert words in line
        assert os.strerror(number) in line
        assert snapshot(base).keys() == before.keys()
