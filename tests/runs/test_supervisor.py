"""The supervisor with stand-ins for torchrun: what it ends, starts again and passes on."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from rfpmss.common.command import guarded
from rfpmss.config import smoke
from rfpmss.config.arguments import TrainArguments
from rfpmss.runs import children, launcher, supervisor
from rfpmss.runs.folder import ERROR
from rfpmss.runs.interrupt import Stop

Supervise = Callable[..., int]


def alive(number: int) -> bool:
    return children.stat(number) is not None


@pytest.fixture
def supervise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supervise:
    """Supervise a line of Python in the run folder in the place of torchrun."""

    def call(code: str, restarts: int = 0, timeout: float = 60.0) -> int:
        usual = subprocess.Popen

        def start(_: list[str], **named: object) -> subprocess.Popen:
            return usual([sys.executable, "-c", code], cwd=tmp_path, **named)  # type: ignore[call-overload]

        monkeypatch.setattr(subprocess, "Popen", start)
        arguments = TrainArguments(
            config=smoke(), run_dir=tmp_path, max_restarts=restarts, timeout=timeout
        )
        return supervisor.supervise(arguments, [])

    return call


def test_a_process_and_all_its_children_are_ended() -> None:
    code = "import subprocess; subprocess.Popen(['sleep', '99']); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        family = children.family(parent.pid)
        assert len(family) == 2
        for number, _ in family:
            os.kill(number, signal.SIGSTOP)
        children.kill(family)
        assert parent.wait() == -signal.SIGKILL
    while any(alive(number) for number, _ in family):
        time.sleep(0.01)


def test_a_number_that_is_used_again_is_spared() -> None:
    with subprocess.Popen(["sleep", "99"]) as process:
        ((number, began),) = children.family(process.pid)
        children.kill({(number, began - 1)})
        assert process.poll() is None
        children.kill({(number, began)})
        assert process.wait() == -signal.SIGKILL


def test_success_is_not_repeated(supervise: Supervise, tmp_path: Path) -> None:
    assert supervise("open('starts', 'a').write('x')", restarts=3) == 0
    assert (tmp_path / "starts").read_text() == "x"


def test_a_failure_is_tried_again_as_often_as_asked(
    supervise: Supervise, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert supervise("open('starts', 'a').write('x'); exit(3)", restarts=2) == 3
    assert (tmp_path / "starts").read_text() == "xxx"
    said = capsys.readouterr().err.splitlines()
    assert [line.rpartition(": ")[2] for line in said] == [
        "starting afresh, 2 restarts left",
        "starting afresh, 1 restarts left",
        "no restarts left",
    ]


def test_an_error_that_would_come_again_is_not_tried_again(
    supervise: Supervise, tmp_path: Path
) -> None:
    (tmp_path / ERROR).write_text("of another start")
    code = "import os; open('starts', 'a').write(str(os.path.exists('error.txt')));"
    assert supervise(code + "open('error.txt', 'w'); exit(1)", restarts=2) == 1
    assert (tmp_path / "starts").read_text() == "False"


@pytest.mark.parametrize(
    ("more", "left"), [("", []), ("open('config.yaml', 'w');", [".lock", "config.yaml", ERROR])]
)
def test_ranks_that_never_begin_leave_nothing(
    more: str, left: list[str], supervise: Supervise, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert supervise(f"{more} open('error.txt', 'w'); exit(1)", restarts=2) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*left, "notes.txt"])


def test_silence_after_a_step_is_a_hang(
    supervise: Supervise, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import time; open('heartbeat', 'w'); time.sleep(99)"
    assert supervise(code, timeout=1.0) == -signal.SIGKILL
    assert "no step for 1 seconds: a rank hangs" in capsys.readouterr().err


def test_silence_before_the_first_step_and_while_saving_is_none(supervise: Supervise) -> None:
    code = "import time, os; time.sleep(1.5); open('heartbeat', 'w'); os.remove('heartbeat');"
    assert supervise(code + "time.sleep(1.5)", timeout=1.0) == 0


def test_a_signal_is_passed_on_and_ends_the_supervision(
    supervise: Supervise, tmp_path: Path
) -> None:
    code = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (open('saved', 'w'), exit(1)))\n"
        f"os.kill({os.getpid()}, signal.SIGINT)\n"
        "time.sleep(99)"
    )
    assert supervise(code, restarts=3) == 128 + signal.SIGINT
    assert (tmp_path / "saved").exists()


def test_signals_are_remembered_once_and_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Stop() as stop:
        assert stop.signal == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_command_with_the_status_of_the_first(second: int) -> None:
    def body() -> int:
        with Stop():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), second)
        return 0

    assert guarded(body) == 143


def test_a_heartbeat_is_timed_by_a_clock_that_nobody_sets(tmp_path: Path) -> None:
    beat = tmp_path / "heartbeat"
    pulse = supervisor.Pulse(beat)
    assert pulse.silent() == 0
    beat.touch()
    for hours in (-400 * 24, 400 * 24):  # the wall clock was set back, or forth
        os.utime(beat, (time.time() + 3600 * hours,) * 2)
        assert pulse.silent() < 60
    beat.unlink()
    assert pulse.silent() == 0


def test_a_supervisor_touches_nothing_in_the_folder_of_a_living_run(
    supervise: Supervise, tmp_path: Path
) -> None:
    from rfpmss.runs.folder import Claim, RunError

    with Claim(tmp_path) as living:
        living.take()
        for name in ("heartbeat", ERROR):
            (tmp_path / name).write_text("of the living run")
        with pytest.raises(RunError, match="run_dir must not be in use"):
            supervise("open('started', 'w')")
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "heartbeat", ERROR}


def test_a_supervisor_that_came_second_does_not_try_again(
    supervise: Supervise,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its rank is refused, because another one took the folder after the supervisor had looked."""
    from rfpmss.runs.folder import Claim, RunError

    tries, living = [], Claim(tmp_path)

    def refused(*_: object) -> int:
        tries.append(living.take())
        (tmp_path / "heartbeat").write_text("of the living run")
        return 1

    monkeypatch.setattr(supervisor, "_watch", refused)
    with living, pytest.raises(RunError, match="run_dir must not be in use"):
        supervise("", restarts=3)
    assert len(tries) == 1
    assert "afresh" not in capsys.readouterr().err
    assert (tmp_path / "heartbeat").exists()


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        (None, 0, ""),
        (SignalException("got 15", sigval=signal.SIGTERM), 128 + signal.SIGTERM, ""),
        (
            ChildFailedError("rfpmss.train", {3: ProcessFailure(3, 77, 74, "")}),
            1,
            "rank 3 ended with status 74; the other ranks were ended\n",
        ),
        (
            ChildFailedError("rfpmss.train", {0: ProcessFailure(0, 77, -9, "")}),
            1,
            "rank 0 ended by signal 9; the other ranks were ended\n",
        ),
    ],
)
def test_the_end_of_torchrun_is_a_status_and_no_traceback(
    end: Exception | None,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def torchrun() -> None:
        if end is not None:
            raise end

    monkeypatch.setattr(launcher, "torchrun", torchrun)
    try:
        assert launcher.main() == status
    finally:
        logging.disable(logging.NOTSET)
    assert capsys.readouterr().err == said
