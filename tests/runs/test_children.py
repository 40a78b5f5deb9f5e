"""Commands started by a command end with it: saved, once, in seconds, with its signal's status."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from rfpmss.common.errors import Interrupted
from rfpmss.runs.children import Children

CHILD = """
import signal, sys, time
def leave(number, _):
    open(sys.argv[1] + ".saved", "a").write("x")
    sys.exit(143)
signal.signal(signal.SIGTERM, leave if sys.argv[2] == "polite" else signal.SIG_IGN)
open(sys.argv[1] + ".runs", "w").close()
time.sleep(99)
"""

PARENT = """
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from rfpmss.common.command import guarded
from rfpmss.runs.children import Children
def pool():
    with ThreadPoolExecutor(2) as pool, Children(grace=60) as children:
        names = ["a", "b", "c", "d"]
        started = [pool.submit(children.run, ["child", name, sys.argv[1]]) for name in names]
        for done in as_completed(started):
            done.result()
def single():
    with Children(grace=60) as children:
        return children.run(["child", "a", sys.argv[1]])
sys.exit(guarded({"pool": pool, "single": single}[sys.argv[2]]))
"""


def begin(folder: Path, manner: str, kind: str) -> subprocess.Popen[bytes]:
    (folder / "child.py").write_text(textwrap.dedent(CHILD))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, manner, kind], cwd=folder, start_new_session=True
    )
    running = 2 if kind == "pool" else 1
    while len(list(folder.glob("*.runs"))) < running:
        assert parent.poll() is None
        time.sleep(0.02)
    return parent


@pytest.mark.parametrize("kind", ["pool", "single"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("group", [False, True])
def test_a_signal_ends_what_runs_saved_and_starts_nothing_more(
    kind: str, number: signal.Signals, group: bool, tmp_path: Path
) -> None:
    with begin(tmp_path, "polite", kind) as parent:
        (os.killpg if group else os.kill)(parent.pid, number)
        assert parent.wait(30) == 128 + number
    ran = {path.stem for path in tmp_path.glob("*.runs")}
    assert {path.stem: path.read_text() for path in tmp_path.glob("*.saved")} == dict.fromkeys(
        ran, "x"
    )
    assert len(ran) == (2 if kind == "pool" else 1)


def test_a_session_that_ends_sends_more_than_one_signal_and_all_is_saved() -> None:
    for numbers, patient in (
        ([signal.SIGHUP, signal.SIGHUP, signal.SIGTERM], True),
        ([signal.SIGTERM, signal.SIGHUP], True),
        ([signal.SIGHUP, signal.SIGTERM, signal.SIGINT], False),
        ([signal.SIGTERM, signal.SIGTERM], False),
    ):
        with Children() as children:
            with pytest.raises(Interrupted):
                signal.raise_signal(numbers[0])
            for number in numbers[1:-1]:
                signal.raise_signal(number)
            if patient:
                signal.raise_signal(numbers[-1])
            else:
                with pytest.raises(Interrupted):
                    signal.raise_signal(numbers[-1])
        assert children.signal == numbers[0]


def test_a_second_signal_ends_those_that_do_not_leave(tmp_path: Path) -> None:
    with begin(tmp_path, "deaf", "pool") as parent:
        parent.send_signal(signal.SIGTERM)
        time.sleep(0.5)  # it waits for its children
        assert parent.poll() is None
        parent.send_signal(signal.SIGINT)
        assert parent.wait(30) == 128 + signal.SIGTERM  # that which came first
    assert not list(tmp_path.glob("*.saved"))
