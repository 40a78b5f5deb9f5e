"""A checkpoint is whole or absent; damage is found before it is used."""

import errno
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn

from rfpmss.runs import checkpoint
from rfpmss.runs.content import State, restore

FILES = [
    "MANIFEST.json",
    "bank.safetensors",
    "config.yaml",
    "model.safetensors",
    "optimiser.json",
    "optimiser.safetensors",
    "progress.json",
    "tokenizer.json",
]


def make_state(seed: int = 0) -> State:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    bank = nn.BatchNorm1d(4)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(3):
        optimiser.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        optimiser.step()
    return State({"model": model, "bank": bank}, optimiser, Tokenizer(WordLevel()))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("config: {}\n")
    return tmp_path


def test_a_restored_state_continues_exactly_like_the_saved_one(run_dir: Path) -> None:
    saved, other = make_state(0), make_state(1)
    folder = checkpoint.save(run_dir, 7, saved, keep=2)
    assert sorted(path.name for path in folder.iterdir()) == FILES
    restore(folder, other)
    x = torch.randn(4, 3)
    for state in (saved, other):
        state.optimiser.zero_grad()
        state.modules["model"](x).square().sum().backward()
        state.optimiser.step()
    for left, right in zip(
        saved.modules["model"].parameters(), other.modules["model"].parameters(), strict=True
    ):
        assert torch.equal(left, right)


def test_only_the_last_checkpoints_are_kept(run_dir: Path) -> None:
    state = make_state()
    for step in (2, 10, 9):
        checkpoint.save(run_dir, step, state, keep=2)
    assert {path.name for path in (run_dir / "checkpoints").iterdir()} == {"step-9", "step-10"}


def steps_kept(run_dir: Path) -> set[int]:
    return {checkpoint.step_of(path) for path in checkpoint.folders(run_dir)}


def test_the_best_checkpoint_outlives_the_last_ones(run_dir: Path) -> None:
    state, kept = make_state(), []
    for step, score in enumerate((3.0, None, 1.0, 2.0, 2.5, 0.0, None, 0.5), start=1):
        checkpoint.save(run_dir, step, state, keep=2, score=score)
        kept.append(steps_kept(run_dir))
    expected = [{1}, {1, 2}, {2, 3}, {3, 4}, {3, 4, 5}, {5, 6}, {6, 7}, {6, 7, 8}]
    assert kept == expected
    assert checkpoint.best_of(run_dir) == checkpoint.at(run_dir, 6)
    (checkpoint.at(run_dir, 6) / "bank.safetensors").write_bytes(b"")
    assert checkpoint.best_of(run_dir) == checkpoint.at(run_dir, 8)


def rot(folder: Path) -> None:
    """Damage the weights, the size unchanged."""
    path = folder / "model.safetensors"
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])


def test_damaged_checkpoints_never_crowd_out_good_ones(run_dir: Path) -> None:
    state = make_state()
    for step, score in ((5, 2.0), (25, 1.0), (30, 1.5), (32, 1.25)):
        checkpoint.save(run_dir, step, state, keep=2, score=score)
    assert steps_kept(run_dir) == {25, 30, 32}
    for step in (30, 32):
        rot(checkpoint.at(run_dir, step))
    checkpoint.save(run_dir, 27, state, keep=2)
    assert steps_kept(run_dir) == {25, 27, 30, 32}
    assert checkpoint.latest(run_dir) == checkpoint.at(run_dir, 27)
    checkpoint.save(run_dir, 30, state, keep=2)  # takes the place of the damaged one
    assert checkpoint.latest(run_dir) == checkpoint.at(run_dir, 30)
    for step in (33, 34):
        checkpoint.save(run_dir, step, state, keep=2)
    assert steps_kept(run_dir) == {25, 33, 34}  # 32 went as soon as two good newer ones stood


def test_a_damaged_best_checkpoint_is_not_kept_in_place_of_a_good_one(run_dir: Path) -> None:
    state = make_state()
    checkpoint.save(run_dir, 1, state, keep=1, score=0.5)
    checkpoint.save(run_dir, 2, state, keep=1, score=0.75)
    rot(checkpoint.at(run_dir, 1))
    checkpoint.save(run_dir, 3, state, keep=1, score=2.0)
    assert steps_kept(run_dir) == {2, 3}
    assert checkpoint.best_of(run_dir) == checkpoint.at(run_dir, 2)


def test_nothing_is_pruned_for_a_checkpoint_that_the_disk_has_spoilt(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, usual = make_state(), checkpoint.os.rename
    checkpoint.save(run_dir, 1, state, keep=1)

    def spoil(source: Path, target: Path) -> None:
        rot(source)
        usual(source, target)

    monkeypatch.setattr(checkpoint.os, "rename", spoil)
    checkpoint.save(run_dir, 2, state, keep=1)
    assert steps_kept(run_dir) == {1, 2}
    assert checkpoint.latest(run_dir) == checkpoint.at(run_dir, 1)


def test_the_step_is_what_the_checkpoint_says_not_what_its_folder_is_called(run_dir: Path) -> None:
    state = make_state()
    checkpoint.save(run_dir, 10, state, keep=3)
    checkpoint.at(run_dir, 10).rename(checkpoint.at(run_dir, 7))
    found = checkpoint.newest(run_dir)
    assert (found.name, checkpoint.step_of(found)) == ("step-7", 10)
    checkpoint.save(run_dir, 7, state, keep=3)  # its place is needed: it gets its own name back
    assert [checkpoint.step_of(path) for path in checkpoint.folders(run_dir)] == [10, 7]
    assert checkpoint.newest(run_dir) == checkpoint.at(run_dir, 10)


@pytest.mark.parametrize(
    "text", ['{"step": true}', '{"step": 7.0}', '{"step": 9, "step": 7}', '{"step": 1e999}', "[7]"]
)
def test_a_step_that_is_no_number_or_two_is_none(text: str, run_dir: Path) -> None:
    folder = checkpoint.save(run_dir, 3, make_state(), keep=2)
    (folder / "progress.json").write_text(text)
    assert checkpoint.step_of(folder) == 3


def test_only_a_finite_score_makes_a_checkpoint_the_best(run_dir: Path) -> None:
    state = make_state()
    good = checkpoint.save(run_dir, 1, state, keep=3, score=2.0)
    for step, score in ((2, -math.inf), (3, math.nan)):
        checkpoint.save(run_dir, step, state, keep=3, score=score)
    assert checkpoint.best_of(run_dir) == good


def test_links_and_stray_files_among_the_checkpoints_harm_nothing(
    run_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state, elsewhere = make_state(), tmp_path_factory.mktemp("elsewhere")
    checkpoint.save(run_dir, 1, state, keep=1)
    (checkpoint.at(run_dir, 1)).rename(elsewhere / "kept")
    checkpoint.at(run_dir, 1).symlink_to(elsewhere / "kept")
    (run_dir / "checkpoints" / ".tmp-2").write_text("stray")
    (run_dir / "checkpoints" / "step-0").write_text("stray")
    assert checkpoint.newest(run_dir) == checkpoint.at(run_dir, 1)
    checkpoint.save(run_dir, 2, state, keep=1)
    left = sorted(path.name for path in (run_dir / "checkpoints").iterdir())
    assert left == ["step-0", "step-2"]  # what is somebody else's stays
    assert checkpoint.verify(elsewhere / "kept") is None


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_no_checkpoint_is_set_aside_and_never_removed(
    kind: str, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, state = checkpoint.at(run_dir, 2), make_state()
    place.parent.mkdir(exist_ok=True)
    (place.parent / ".tmp-notes").write_text("mine")
    if kind == "folder":
        place.mkdir()
    if kind == "link":
        place.symlink_to(tmp_path / "nowhere")
    else:
        (place / "notes.txt" if kind == "folder" else place).write_text("mine")
    for step in (1, 2, 3, 4):
        checkpoint.save(run_dir, step, state, keep=1)
    names = {path.name for path in place.parent.iterdir()}
    assert names == {"step-4", ".tmp-notes", "aside-step-2-1"}
    assert f"{place} was in the way of a file of the run" in capsys.readouterr().err
    aside = place.parent / "aside-step-2-1"
    if kind == "link":
        assert aside.readlink() == tmp_path / "nowhere"
    else:
        assert (aside / "notes.txt" if kind == "folder" else aside).read_text() == "mine"


NUMBERS = {
    errno.ENOSPC: (True, "make room"),
    errno.EDQUOT: (True, "make room"),
    errno.EFBIG: (True, "raise the limit of a file's size (ulimit -f)"),
    errno.EIO: (False, "the disk fails: make sure of what is on it"),
    errno.EROFS: (False, "choose a folder that can be written"),
    errno.EACCES: (False, "choose a folder that you may write"),
    errno.EMFILE: (False, "raise the limit of open files (ulimit -n)"),
    errno.ESTALE: (False, ""),
}


@pytest.mark.parametrize("teller", ["system", "safetensors"])
@pytest.mark.parametrize("number", [*NUMBERS, 0])
def test_whoever_tells_an_error_of_the_disk_it_is_told_alike_and_only_a_full_one_needs_room(
    number: int, teller: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, way = NUMBERS.get(number, (False, ""))
    reason = os.strerror(number) if number else "invalid header"

    def refuse(*_: object) -> None:
        if teller == "system":
            raise OSError(number, reason)
        text = f"I/O error: {reason} (os error {number})"
        raise SafetensorError(f"Error while serializing: {text}" if number else reason)

    monkeypatch.setattr(checkpoint, "save_file", refuse)
    with pytest.raises(checkpoint.DiskError) as caught:
        checkpoint.save(run_dir, 2, make_state(), keep=1)
    said = str(caught.value)
    assert f"could not be written ({reason})" in said
    assert ("it needs" in said) is full
    assert f"were not touched{f': {way}' if way else ';'}" in said


def test_a_run_without_scores_has_no_best_checkpoint(run_dir: Path) -> None:
    checkpoint.save(run_dir, 1, make_state(), keep=2)
    assert checkpoint.best_of(run_dir) is None
    with pytest.raises(checkpoint.CheckpointError, match="a cohort with a split val"):
        checkpoint.load_model(run_dir, weights="best")


def test_nothing_in_a_checkpoint_is_a_pickle(run_dir: Path) -> None:
    folder = checkpoint.save(run_dir, 1, make_state(), keep=2)
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors", ".yaml"}
    for path in folder.glob("*.json"):
        json.loads(path.read_text())


def damages(folder: Path):
    """Every file truncated at each 1/32, deleted, and with one bit flipped at 64 places."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for part in range(32):
            yield path, content[: len(content) * part // 32], f"{path.name} cut at {part}/32"
        yield path, None, f"{path.name} deleted"
        if path.name == checkpoint.MANIFEST:
            continue  # its own flips: the next test
        for place in range(64):
            flipped = bytearray(content)
            position = place * len(content) // 64
            flipped[position] ^= 1 << (place % 8)
            yield path, bytes(flipped), f"{path.name} bit flipped at byte {position}"


def test_every_truncation_deletion_and_flipped_bit_is_detected(run_dir: Path) -> None:
    folder = checkpoint.save(run_dir, 1, make_state(), keep=2)
    assert checkpoint.verify(folder) is None
    tried = 0
    for path, damaged, what in damages(folder):
        original = path.read_bytes()
        path.unlink() if damaged is None else path.write_bytes(damaged)
        assert checkpoint.verify(folder) is not None, what
        path.write_bytes(original)
        tried += 1
    assert tried >= 7 * 97
    assert checkpoint.verify(folder) is None


def test_a_flip_in_the_manifest_never_lets_a_changed_file_through(run_dir: Path) -> None:
    folder = checkpoint.save(run_dir, 1, make_state(), keep=2)
    manifest, model = folder / checkpoint.MANIFEST, folder / "model.safetensors"
    original = manifest.read_bytes()
    model.write_bytes(model.read_bytes()[:-1] + b"\x00")
    for position in range(0, len(original), 7):
        flipped = bytearray(original)
        flipped[position] ^= 4
        manifest.write_bytes(bytes(flipped))
        assert checkpoint.verify(folder) is not None


def test_the_newest_good_checkpoint_is_used_and_the_bad_file_named(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = make_state()
    good = checkpoint.save(run_dir, 1, state, keep=2)
    bad = checkpoint.save(run_dir, 2, state, keep=2)
    with (bad / "optimiser.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    assert checkpoint.latest(run_dir) == good
    assert "step-2: optimiser.safetensors" in capsys.readouterr().err


def test_a_half_written_folder_is_no_checkpoint(run_dir: Path) -> None:
    state = make_state()
    good = checkpoint.save(run_dir, 1, state, keep=2)
    shutil.copytree(good, run_dir / "checkpoints" / ".tmp-1")
    assert checkpoint.latest(run_dir) == good
    checkpoint.save(run_dir, 2, state, keep=2)
    assert not (run_dir / "checkpoints" / ".tmp-1").exists()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_checkpoint import make_state
from rfpmss.runs import checkpoint
from rfpmss.runs.content import State, restore
run_dir = Path({run_dir!r})
state = make_state()
checkpoint.save(run_dir, 1, state, keep=2)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (100, 500, 1000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        checkpoint.save(run_dir, 2, state, keep=2)
    except checkpoint.DiskError as error:
        sys.stdout.write(f"{{error}}\\n")
"""


def test_a_full_disk_leaves_the_old_checkpoint_and_says_so(run_dir: Path) -> None:
    code = FULL_DISK.format(tests=str(Path(__file__).parent), run_dir=str(run_dir))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert f"{run_dir}/checkpoints/step-2 could not be written" in line
        assert re.search(r"it needs [\d,]+ bytes, [\d,]+ bytes free", line)
    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == ["step-1"]
    assert checkpoint.verify(run_dir / "checkpoints" / "step-1") is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs the rights of root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_really_is_full_is_told_with_what_is_needed_and_what_is_free(
    small_disk: Path,
) -> None:
    (small_disk / "config.yaml").write_text("config: {}\n")
    state = make_state()
    good = checkpoint.save(small_disk, 1, state, keep=2)
    used = sum(-(-path.stat().st_size // 4096) * 4096 for path in good.iterdir())
    filler = small_disk / "filler"
    free = shutil.disk_usage(small_disk).free
    filler.write_bytes(bytes(free - 4096))  # one page is left: some files fit, all do not
    with pytest.raises(checkpoint.DiskError) as caught:
        checkpoint.save(small_disk, 2, state, keep=2)
    needed, left = re.findall(r"([\d,]+) bytes", str(caught.value))
    assert str(small_disk / "checkpoints" / "step-2") in str(caught.value)
    assert "No space left on device" in str(caught.value)
    assert used <= int(needed.replace(",", "")) < 2 * used
    assert left == "4,096"
    assert checkpoint.latest(small_disk) == good
    assert [path.name for path in (small_disk / "checkpoints").iterdir()] == ["step-1"]
    filler.unlink()
    assert checkpoint.latest(small_disk) == good
    checkpoint.save(small_disk, 2, state, keep=2)
    assert steps_kept(small_disk) == {1, 2}


def test_a_checkpoint_that_is_pruned_while_it_is_read_is_chosen_again(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, read = make_state(), []
    good = checkpoint.save(run_dir, 1, state, keep=2)
    gone = checkpoint.save(run_dir, 2, state, keep=2)

    def load_folder(folder: Path, *_: object) -> None:
        read.append(folder)
        if folder == gone:
            shutil.rmtree(folder)
        raise checkpoint.CheckpointError(f"not this {folder.name}")

    monkeypatch.setattr(checkpoint, "load_folder", load_folder)
    with pytest.raises(checkpoint.CheckpointError, match="not this step-1"):
        checkpoint.load(run_dir)  # a whole one that does not fit is refused at once
    assert read == [gone, good]
