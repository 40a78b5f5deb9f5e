"""A folder means the same to every command, is only read, and failures are one true sentence."""

import dataclasses
import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rfpmss
from rfpmss import cli, embed, prepare
from rfpmss.commands import embed as embedding
from rfpmss.config import VIEWS
from rfpmss.config.sections import DataConfig
from rfpmss.data.cohort import build
from rfpmss.data.cohort.counts import reasons
from rfpmss.data.cohort.manifest import read
from rfpmss.data.errors import EmptyError, ShortError, UnsupportedError, describe
from rfpmss.data.sources.folder import FolderOptions
from tests.data.files import brain, write_nifti, write_series

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CT of twelve slices, a scout of two, an MRI and its late follow-up, a text of no use."""
    src = tmp_path_factory.mktemp("clinic") / "src"
    write_series(src / "P1" / "ct", brain((12, 16, 16)))
    write_series(src / "P1" / "scout", brain((2, 16, 16)), changes={"SeriesDescription": "x"})
    for day in ("2021-03-04", "2021-09-04"):
        write_nifti(src / "P2" / day / "t1.nii.gz", brain(seed=int(day[6])))
    (src / "P2" / "notes.docx").write_bytes(b"\xd0\xcf\x11\xe0 no report")
    return src


def run(*words: object) -> int:
    return prepare.main(["hospital", *map(str, words), "--workers", "1"])


@pytest.mark.parametrize(
    "options", [(), ("--min-slices", "1"), ("--visits", "together"), ("--patient-level", "1")]
)
def test_embed_reads_the_studies_that_prepare_reads(clinic, options, tmp_path, monkeypatch):
    assert run(clinic, "--out", tmp_path / "out", *options) == 0
    salt = tmp_path / "out" / ".salt"
    taken: list[embed.Arguments] = []
    monkeypatch.setattr(embedding, "embed", lambda given: taken.append(given) or 0)
    words = [str(clinic), "--model", "m", "--out", str(tmp_path / "e"), "--salt", str(salt)]
    assert embed.main([*words, "--workers", "1", *options]) == 0
    data = DataConfig(resize=256, slices=1)
    (tmp_path / "work").mkdir()
    manifest, _ = embedding._prepare(taken[0], data, tmp_path / "work")
    embedded = read(manifest)
    shown = [
        {(row.patient_id, row.study_id, row.modality, row.series, row.digest) for row in rows}
        for rows in (read(tmp_path / "out" / "manifest.csv"), embedded)
    ]
    assert shown[0] == shown[1]
    assert len(shown[0]) == {"--min-slices": 4, "--visits": 3}.get(options[0] if options else "", 3)


def test_the_options_of_a_folder_stand_in_one_place():
    """No option of reading may be added to one command alone."""
    own = {"src", "out", "salt"}
    for command in (prepare.Hospital, embed.Arguments):
        assert issubclass(command, FolderOptions)
        again = set(command.__annotations__) & {f.name for f in dataclasses.fields(FolderOptions)}
        assert again <= {"src"}  # embed also takes a manifest there
    both = set(prepare.Hospital.__annotations__) & set(embed.Arguments.__annotations__)
    assert both <= own


@pytest.mark.parametrize("place", ["inside", "deep", "link", "same", "above", "salt", "copy"])
def test_an_output_inside_the_source_is_refused_before_anything_is_written(
    clinic, place, tmp_path, capsys
):
    src = tmp_path / "home" / "src"
    shutil.copytree(clinic, src)
    (tmp_path / "link").symlink_to(src / "P1")
    free = tmp_path / "out"
    words = {
        "inside": ("--out", src / "out"),
        "deep": ("--out", src / "P1" / "ct" / "new" / "out"),
        "link": ("--out", tmp_path / "link" / "out"),
        "same": ("--out", src / ".." / "src"),
        "above": ("--out", tmp_path / "home"),
        "salt": ("--out", free, "--salt", src / "secret"),
        "copy": ("--out", free, "--deidentify", src / "copy"),
    }[place]
    before = sorted(tmp_path.rglob("*"))
    assert run(src, *words) == 2
    sentence = capsys.readouterr().err
    assert re.fullmatch(r"error: (--out|a new --salt|--deidentify) must not be .*SRC.*\n", sentence)
    if place in ("inside", "deep", "link", "salt"):
        assert embed.main([str(src), "--model", "none", *map(str, words)]) == 1
        assert capsys.readouterr().err == sentence
    assert sorted(tmp_path.rglob("*")) == before


def test_embed_never_overwrites_a_file(clinic, tmp_path, capsys):
    out = tmp_path / "e.parquet"
    out.write_text("dear")
    assert embed.main([str(clinic), "--model", "none", "--out", str(out)]) == 1
    assert "--out must be a new file" in capsys.readouterr().err
    assert out.read_text() == "dear"


def test_a_full_disk_is_told_as_the_output_folder_with_bytes(clinic, tmp_path, capsys, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "out"
    free = shutil.disk_usage(tmp_path)._replace(free=4321)
    with monkeypatch.context() as patch:
        patch.setattr(build, "write_piece", full)
        patch.setattr(shutil, "disk_usage", lambda _: free)
        assert run(clinic, "--out", out, "--size", "64", "--views", "2") == 74
    sentence = capsys.readouterr().err.splitlines()[-1]
    # Four series (the scout is one), two views, at most four channels of 64 x 64 bytes.
    assert f"at most {4 * 2 * 4 * 64 * 64:,} more bytes are needed, 4,321 are free" in sentence
    assert sentence.startswith("error: the output folder is full: ")
    assert f"in {out}" in sentence
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: free)
        assert run(clinic, "--out", out) == 74
    assert "4,321 are free" in capsys.readouterr().err
    assert not (out / "manifest.csv").exists()
    assert run(clinic, "--out", out) == 0


def test_a_folder_without_files_is_told_as_such(tmp_path, capsys):
    (tmp_path / "src" / "P1").mkdir(parents=True)
    assert run(tmp_path / "src", "--out", tmp_path / "out") == 1
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence == f"error: {EmptyError('SRC holds no files')}"


def test_what_was_left_out_is_told_in_words(clinic, tmp_path, capsys):
    assert run(clinic, "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert not re.search(r"\w+Error", shown)
    assert "left out:      1  " in shown
    assert re.search(
        r"rejected files: 3\n +2  the largest stack of the series has 2 of 3 slices\n +1  ", shown
    )


def test_rare_reasons_are_counted_together_and_none_is_lost():
    texts = [describe(ShortError(f"kind {n}; again")) for n in range(12) for _ in range(12 - n)]
    texts += [describe(UnsupportedError("other"))]
    shown = reasons(texts)
    assert shown[0] == ("kind 0; again", 12)
    assert len(shown) == 9
    assert sum(count for _, count in shown) == len(texts)


def test_a_script_without_a_main_guard_is_prepared_once_and_ends(clinic, tmp_path):
    script = tmp_path / "script.py"
    words = ["hospital", str(clinic), "--out", str(tmp_path / "out"), "--workers", "2"]
    script.write_text(f"from rfpmss.prepare import main\nprint('status', main({words!r}))\n")
    done = subprocess.run(
        [sys.executable, script], env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.count("status") == 1, done.stdout + done.stderr
    assert "status 0" in done.stdout
    assert {row.modality for row in read(tmp_path / "out" / "manifest.csv")} <= set(VIEWS)


@pytest.mark.parametrize("program", ["rfpmss", "-m"])
def test_without_its_dependencies_the_command_says_how_to_get_them(program, monkeypatch):
    monkeypatch.setitem(sys.modules, "tyro", None)
    monkeypatch.setattr(sys, "argv", [program, "prepare"])
    with pytest.raises(SystemExit) as ended:
        exec(compile(Path(rfpmss.__file__).read_text(), "rfpmss", "exec"), {})
    (command,) = re.findall(r"pip install .*\[rfpmss\]'", str(ended.value))
    assert command in (ROOT / "rfpmss" / "README.md").read_text()  # the command that a reader knows
    monkeypatch.setattr(sys, "argv", ["my_program.py"])
    with pytest.raises(ModuleNotFoundError, match="pip install"):
        exec(compile(Path(rfpmss.__file__).read_text(), "rfpmss", "exec"), {})


def test_the_version_and_the_usage_are_those_of_what_was_typed(capsys, monkeypatch):
    assert cli.main(["--version"]) == 0
    assert re.fullmatch(r"rfpmss \d+\.\d+\.\d+\n", capsys.readouterr().out)
    for typed, shown in (("rfpmss", "usage: rfpmss prepare"), ("x", "python -m rfpmss.prepare")):
        monkeypatch.setattr(sys, "argv", [typed])
        with pytest.raises(SystemExit):
            cli.main(["prepare", "--help"])
        assert shown in capsys.readouterr().out
