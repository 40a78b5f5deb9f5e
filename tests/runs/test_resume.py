"""Real processes, real kills: a resumed run is the uninterrupted run, to the bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rfpmss.config.sections import TERMS
from rfpmss.runs import checkpoint
from tests import warm

KILLS = 5
STEPS = 20


def command(cohort: Path, folder: Path, *words: str) -> list[str]:
    return [
        *(sys.executable, "-m", "rfpmss.train", "--preset", "smoke", "--data", str(cohort)),
        *("--run-dir", str(folder), "--max-steps", str(STEPS), "--seed", "5"),
        *("--train.save-every", "3", *words),
    ]


def losses(folder: Path) -> dict[int, tuple[str, ...]]:
    terms = ("loss", *TERMS, "gradient")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    return {row["step"]: tuple(float(row[name]).hex() for name in terms) for row in rows}


def steps_logged(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture(scope="module")
def whole(smoke_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run(command(smoke_cohort, folder), check=True, capture_output=True)
    return folder


def test_the_smoke_run_leaves_everything_it_promises(whole: Path) -> None:
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert {"step", "loss", "language", "contrast", "nce", "consistency", "lr", "seconds"} <= set(
        rows[0]
    )
    first, last = (sum(row["loss"] for row in part) / 4 for part in (rows[:4], rows[-4:]))
    assert last < first
    found = checkpoint.latest(whole)
    assert found is not None
    assert found.name == f"step-{STEPS}"
    table = json.loads((whole / "evaluation" / "retrieval.json").read_text())
    assert {"query", "gallery", "n", "r1", "r5", "r10", "medr", "meanr", "chance_r5"} <= set(
        table[0]
    )
    assert {"study", "report"} <= {row["query"] for row in table}
    assert (whole / "report.html").stat().st_size < 15_000_000
    assert (whole / "config.yaml").exists()
    assert list((whole / "tensorboard").iterdir())


def kill_and_resume(cohort: Path, folder: Path, kills: int, draw: random.Random) -> int:
    """Kill that many starts at random moments, then let the run end; how many died of it."""
    killed = 0
    for _ in range(kills):
        before = steps_logged(folder)
        words = ("--no-evaluate", "--workers", str(draw.choice((0, 1, 2))))
        process = warm.start(
            command(cohort, folder, *words),
            stdout=warm.DEVNULL,
            stderr=warm.DEVNULL,
            start_new_session=True,
        )
        goal = before + draw.randint(0, 4)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if steps_logged(folder) > min(goal, STEPS - 2):
                break
            time.sleep(0.003)
        time.sleep(draw.random() * 0.03)  # now and then in the middle of a save
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    final = command(cohort, folder, "--no-evaluate")  # cold, as the uninterrupted run
    assert "resuming" in subprocess.run(final, check=True, capture_output=True, text=True).stdout
    return killed


def assert_same(ours: Path, theirs: Path) -> None:
    assert losses(ours) == losses(theirs)
    for name in ("model.safetensors", "bank.safetensors", "optimiser.safetensors"):
        one, two = (checkpoint.newest(folder) / name for folder in (ours, theirs))
        assert one.read_bytes() == two.read_bytes()


def test_losses_after_random_kills_equal_the_uninterrupted_ones(
    whole: Path, smoke_cohort: Path, tmp_path: Path
) -> None:
    assert kill_and_resume(smoke_cohort, tmp_path, KILLS, random.Random(11)) >= KILLS // 2
    assert_same(tmp_path, whole)


@pytest.mark.slow
def test_a_hundred_kills_cost_no_loss_and_no_run(
    whole: Path, smoke_cohort: Path, tmp_path: Path
) -> None:
    killed = 0
    for seed in range(25):  # a run has 20 steps: it is over after a few kills
        folder = tmp_path / str(seed)
        killed += kill_and_resume(smoke_cohort, folder, 6, random.Random(seed))
        assert_same(folder, whole)
        if killed >= 100:
            break
    assert killed >= 100


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_signal_saves_and_leaves(smoke_cohort: Path, tmp_path: Path, number: int) -> None:
    process = warm.start(
        command(smoke_cohort, tmp_path, "--train.save-every", "1000"),
        stdout=warm.PIPE,
        stderr=warm.DEVNULL,
    )
    while steps_logged(tmp_path) < 2 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    printed, _ = process.communicate()
    assert process.returncode == 128 + number
    assert "start again with --run-dir" in printed
    assert checkpoint.step_of(checkpoint.newest(tmp_path)) == steps_logged(tmp_path)
