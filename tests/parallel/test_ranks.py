"""Several processes through the real command: the same losses, found when lost, started afresh."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rfpmss.config.sections import TERMS
from rfpmss.runs import checkpoint
from tests import warm

STEPS = 12
LOSSES = ("loss", *TERMS)


def command(cohort: Path, folder: Path, *words: str) -> list[str]:
    return [
        *(sys.executable, "-m", "rfpmss.train", "--preset", "smoke", "--data", str(cohort)),
        *("--run-dir", str(folder), "--max-steps", str(STEPS), "--train.save-every", "4"),
        *("--no-evaluate", *words),
    ]


def run(cohort: Path, folder: Path, *words: str) -> dict[int, dict[str, float]]:
    warm.run(command(cohort, folder, *words), check=True)
    return rows(folder)


def rows(folder: Path) -> dict[int, dict[str, float]]:
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["step"]: row for row in map(json.loads, lines)}


def farthest(ours: dict, theirs: dict) -> float:
    assert list(ours) == list(theirs)
    assert ours
    return max(
        abs(ours[step][name] - theirs[step][name]) / abs(theirs[step][name])
        for step in ours
        for name in LOSSES
    )


@pytest.fixture(scope="module")
def two(smoke_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks: supervisor, torchrun and ranks started cold."""
    folder = tmp_path_factory.mktemp("two")
    cold = command(smoke_cohort, folder, "--ranks", "2")
    subprocess.run(cold, check=True, capture_output=True)
    return folder


def test_two_processes_have_the_losses_of_one(
    two: Path, smoke_cohort: Path, tmp_path: Path
) -> None:
    # At equal weights; rounding, divided by small deviations, then grows tenfold in three steps.
    one = run(smoke_cohort, tmp_path, "--max-steps", "3")
    assert farthest({step: row for step, row in rows(two).items() if step <= 3}, one) < 1e-6


def test_in_double_precision_they_agree_to_twelve_digits(
    smoke_cohort: Path, tmp_path: Path
) -> None:
    words = ("--train.precision", "float64", "--max-steps", "3")
    alone = run(smoke_cohort, tmp_path / "1", *words)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    shared = command(smoke_cohort, tmp_path / "2", *words, "--train.parallel", "shard")
    warm.run([*torchrun, "2", *shared[1:]], check=True)
    assert farthest(rows(tmp_path / "2"), alone) < 1e-12
    saved = checkpoint.load_model(tmp_path / "2")[0].state_dict()
    for name, value in checkpoint.load_model(tmp_path / "1")[0].state_dict().items():
        assert (saved[name] - value).abs().max() < 1e-6, name


def of_run(folder: Path, rank: int | None = None) -> list[int]:
    """Processes of a run; with ``rank`` that rank's alone."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        mine = str(folder).encode() in words
        if mine and (rank is None or f"RANK={rank}".encode() in words + variables):
            found.append(int(entry.name))
    return found


def wait_for_step(folder: Path, step: int, process: warm.Process) -> None:
    while max(rows_written(folder), default=0) < step:
        assert process.poll() is None
        time.sleep(0.02)


def rows_written(folder: Path) -> list[int]:
    path = folder / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [int(number) for number in re.findall(r'^\{"step": (\d+),.*\}$', text, re.MULTILINE)]


def lose(folder: Path, cohort: Path, number: int, *words: str) -> str:
    """Send a signal to rank 1 after step 5; what was said."""
    started = command(cohort, folder, "--ranks", "2", *words)
    with warm.start(started, stderr=warm.PIPE) as process:
        wait_for_step(folder, 1, process)
        (victim,) = of_run(folder, rank=1)
        wait_for_step(folder, 5, process)
        os.kill(victim, number)
        said = process.stderr.read()
    assert of_run(folder) == []
    assert (process.returncode == 0) == ("--max-restarts" in words)
    return said


def test_a_killed_rank_is_noticed_and_all_start_again(
    two: Path, smoke_cohort: Path, tmp_path: Path
) -> None:
    said = lose(tmp_path, smoke_cohort, signal.SIGKILL, "--max-restarts", "2")
    assert "starting afresh, 2 restarts left" in said
    assert rows_equal(tmp_path, two)


def test_without_restarts_a_hung_rank_ends_the_run(smoke_cohort: Path, tmp_path: Path) -> None:
    said = lose(tmp_path, smoke_cohort, signal.SIGSTOP, "--timeout", "15")
    assert "no step for 15 seconds: a rank hangs" in said
    assert "no restarts left" in said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("time", range(5))
def test_ten_lost_ranks_of_ten_are_noticed_and_cost_nothing(
    two: Path, smoke_cohort: Path, tmp_path: Path, number: int, time: int
) -> None:
    words = ("--max-restarts", "1", "--timeout", "10")
    said = lose(tmp_path, smoke_cohort, number, *words)
    # A dead rank is noticed by its end, not by the silence that tells a hanging one.
    assert ("no step for 10 seconds" in said) == (number == signal.SIGSTOP)
    assert rows_equal(tmp_path, two)


def rows_equal(ours: Path, theirs: Path) -> bool:
    mine, other = (
        {
            step: [row[name].hex() for name in (*LOSSES, "gradient")]
            for step, row in rows(folder).items()
        }
        for folder in (ours, theirs)
    )
    weights = [checkpoint.newest(f) / "model.safetensors" for f in (ours, theirs)]
    return mine == other and weights[0].read_bytes() == weights[1].read_bytes()


def test_a_signal_to_the_supervisor_reaches_all_ranks(smoke_cohort: Path, tmp_path: Path) -> None:
    words = ("--ranks", "2", "--train.save-every", "1000")
    process = warm.start(command(smoke_cohort, tmp_path, *words), stdout=warm.PIPE)
    wait_for_step(tmp_path, 2, process)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "which is saved" in printed
    assert checkpoint.step_of(checkpoint.newest(tmp_path)) == max(rows(tmp_path))
    assert of_run(tmp_path) == []


def test_what_starting_again_cannot_cure_is_said_once(smoke_cohort: Path, tmp_path: Path) -> None:
    words = ("--ranks", "2", "--max-restarts", "3", "--train.batch", "9")
    done = warm.run(command(smoke_cohort, tmp_path, *words))
    assert done.returncode == 1
    assert done.stderr.count("error: a batch must be a multiple of the 2 ranks, got 9") == 1
    assert "starting afresh" not in done.stderr


def test_another_number_of_ranks_is_another_run(two: Path, smoke_cohort: Path) -> None:
    done = warm.run(command(smoke_cohort, two))
    assert done.returncode == 1
    assert "ranks: 2 there, 1 requested" in done.stderr
