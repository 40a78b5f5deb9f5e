"""Forty planted identifiers: none reaches a message, a manifest, a shard, a page or a list."""

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from rfpmss import prepare
from rfpmss.data.cohort.build import decode
from rfpmss.data.cohort.manifest import read
from rfpmss.data.privacy.aliases import PRIVATE
from rfpmss.data.privacy.private import SALT
from rfpmss.data.sources.hospital import scan
from rfpmss.data.views import Choice
from tests.data.privacy.planted import WORDS, plant

KEPT_APART = {SALT, PRIVATE}
"""Secrets of the owner: the salt, and the list of paths."""


def everything(folder: Path) -> str:
    """All names, bytes and unpacked bytes of a folder, in lower case."""
    parts = []
    for path in folder.rglob("*"):
        parts.append(str(path.relative_to(folder)))
        if path.is_file() and path.name not in KEPT_APART:
            data = path.read_bytes()
            if data[:2] == b"\x1f\x8b":
                data += zlib.decompress(data, 31)
            parts += [data.decode("latin-1"), data.decode("utf-8", "replace")]
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as piece:
                    parts += [piece[name].tobytes().decode("latin-1") for name in piece.files]
    return "\n".join(parts).lower()


def found(text: str) -> list[str]:
    return [word for word in WORDS if word in text.lower()]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    src = tmp_path_factory.mktemp("planted") / "src"
    plant(src)
    return src


def test_every_identifier_was_planted(planted: Path) -> None:
    assert len(WORDS) >= 40
    assert sorted(found(everything(planted))) == sorted(WORDS)


def test_no_planted_identifier_is_in_anything_that_prepare_says_or_writes(
    planted: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "rfpmss.prepare", "hospital", str(planted), "--mpp", "1"]
    command += ["--out", str(tmp_path / "out"), "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert found(done.stdout + done.stderr) == []
    assert found(everything(tmp_path / "out")) == []
    rows = read(tmp_path / "out" / "manifest.csv")
    assert {"ct", "mri", "pathology", "report"} == {row.modality for row in rows}
    report = next(row.report for row in rows if row.report)
    assert "has a left mass" in report
    assert "Necrosis inside." in report
    assert "shows edema" in report
    private = (tmp_path / "out" / PRIVATE).read_text()
    assert "Hyazinthkaputt" in private
    assert (tmp_path / "out" / PRIVATE).stat().st_mode & 0o077 == 0


def test_no_planted_identifier_is_in_the_caches_between_decoding_and_shards(
    planted: Path, tmp_path: Path
) -> None:
    found_ = scan(planted, b"0123456789abcdef")
    (tmp_path / "out").mkdir()
    decode(found_, planted, tmp_path / "out", Choice(slide_mpp=1.0), 1)
    assert any((tmp_path / "out").rglob("*.npz"))
    assert found(everything(tmp_path / "out")) == []


@pytest.mark.parametrize("options", [(), ("--keep-dates", "--keep-descriptions")])
def test_no_planted_identifier_is_in_the_copy_that_deidentify_writes(
    planted: Path, tmp_path: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["hospital", str(planted), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert prepare.main([*command, "--deidentify", str(tmp_path / "copy"), *options]) == 0
    shown = capsys.readouterr()
    assert found(shown.out + shown.err) == []
    assert len(list((tmp_path / "copy").rglob("*.dcm"))) >= 4
    assert len(list((tmp_path / "copy").rglob("*.nii.gz"))) == 1
    assert found(everything(tmp_path / "copy")) == []


def test_a_dry_run_shows_guesses_and_neither_names_nor_files(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["hospital", str(planted), "--out", str(tmp_path / "out"), "--dry-run"]
    assert prepare.main(command) == 0
    shown = capsys.readouterr()
    assert "table, text in report, patient in patient_id" in shown.out
    assert "DICOM SR" in shown.out
    assert found(shown.out + shown.err) == []
    assert not (tmp_path / "out").exists()


def test_a_file_that_vanishes_ends_in_a_message_without_its_name(
    planted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", str(planted / "Zyxquimby"))

    monkeypatch.setattr("rfpmss.data.cohort.build._fingerprint", gone)
    assert prepare.main(["hospital", str(planted), "--out", str(tmp_path / "out")]) == 1
    shown = capsys.readouterr()
    assert "error: " in shown.err
    assert found(shown.out + shown.err) == []
