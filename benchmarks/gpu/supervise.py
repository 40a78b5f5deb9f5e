"""Named steps in a child process: one that hangs or breaks the device costs itself alone.

A barrier that never opens cannot be interrupted, and after an illegal access every later call of
the same process fails. The parent therefore never touches the device: it follows the child's
output, ends a child that stays silent in a step for too long, and starts another at the next step.
"""

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

MARK = "\x1e"  # before the number of the step that a child begins
START = 120.0  # seconds until a child has begun its first step: imports, the device's context
BROKEN = 3  # exit status of a child whose device takes no further call


@dataclass(frozen=True)
class Step:
    """Something to do, and the most seconds it may take."""

    name: str
    run: Callable[[], None]
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What became of the steps: those that were ended or ended their process, those not begun."""

    lost: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class BrokenDeviceError(Exception):
    """No further call of this process will succeed."""


def is_broken(error: BaseException) -> bool:
    """Whether the device may refuse every later call of this process: CUDA's errors are sticky.

    Memory that ran out is not such an error; and a new process costs ten seconds.
    """
    return any(words in str(error) for words in ("CUDA error", "Triton Error [CUDA]"))


def work(steps: Sequence[Step], first: int) -> int:
    """The child: run the steps from `first` on; gives the exit status."""
    for at in range(first, len(steps)):
        print(f"{MARK}{at}", flush=True)
        try:
            steps[at].run()
        except BrokenDeviceError:
            return BROKEN
    return 0


def supervise(
    command: Sequence[str],
    steps: Sequence[Step],
    until: float,
    say: Callable[[str], None],
    environment: dict[str, str],
) -> Outcome:
    """The parent: start `command` with the first step's number appended, until all are done.

    Args:
        command: Starts a child that calls `work` on the same steps.
        steps: What the child does; only names and limits are read here.
        until: `time.monotonic()` at which everything ends.
        say: Takes each line of output.
        environment: Of the child.
    """
    at, lost = 0, []
    while at < len(steps) and time.monotonic() < until:
        child = subprocess.Popen(
            [*command, str(at)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,  # what it starts, as compilers, ends with it
        )
        begun, why = follow(child, steps, until, say)
        if begun is None:
            say(f"no step could be begun: {why}")
            return Outcome(tuple(lost), tuple(step.name for step in steps[at:]))
        if not why:
            return Outcome(tuple(lost))
        say(f"LOST {steps[begun].name}: {why}")
        lost.append(steps[begun].name)
        at = begun + 1
    return Outcome(tuple(lost), tuple(step.name for step in steps[at:]))


def follow(
    child: subprocess.Popen[str], steps: Sequence[Step], until: float, say: Callable[[str], None]
) -> tuple[int | None, str]:
    """The last step that a child began, and why it did not come to its end ("" where it did)."""
    assert child.stdout is not None
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(child.stdout, lines), daemon=True)
    reader.start()
    at, deadline = None, time.monotonic() + START
    try:
        while True:
            try:
                line = lines.get(timeout=max(0.05, min(deadline, until) - time.monotonic()))
            except queue.Empty:
                return at, "the time is up" if time.monotonic() >= until else "it took too long"
            if line is None:
                status = child.wait()
                return at, "" if status == 0 else f"its process ended with status {status}"
            if line.startswith(MARK):
                at = int(line[1:])
                deadline = time.monotonic() + steps[at].seconds
            else:
                say(line.rstrip("\n"))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        reader.join(timeout=5.0)
        child.stdout.close()


def _read(stream: IO[str], lines: "queue.Queue[str | None]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)
