"""The command ``rfpmss``: its verbs name themselves as they were typed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rfpmss import cli


@pytest.mark.parametrize("verb", cli.VERBS)
@pytest.mark.parametrize("command", ["rfpmss", "python -m rfpmss."])
def test_the_usage_of_a_verb_shows_the_words_that_were_typed(
    verb: str,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed = command == "rfpmss"
    monkeypatch.setattr(sys, "argv", ["/bin/rfpmss" if typed else f"rfpmss/{verb}.py", "--help"])
    with pytest.raises(SystemExit) as end:
        cli.main([verb, "--help"])
    assert end.value.code in (0, None)
    shown = f"rfpmss {verb}" if typed else f"python -m rfpmss.{verb}"
    assert capsys.readouterr().out.split("usage: ")[1].startswith(f"{shown} ")


def test_a_reader_that_stops_early_is_no_error() -> None:
    """``rfpmss train --help | head`` closes the pipe before the end."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "rfpmss.cli", "train", "--help"]
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")
