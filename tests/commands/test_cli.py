"""The command ``rfpmss``: its verbs name themselves as they were typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rfpmss import cli
from rfpmss.common.completion import script


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


def test_a_shell_completes_verbs_subcommands_and_options_as_the_commands_have_them(
    tmp_path: Path,
) -> None:
    """The shell asks ``rfpmss``, which is a function here: each start of Python takes a second."""
    (tmp_path / "completion").write_text(script(list(cli.VERBS)))
    asked = rf"""
    rfpmss() {{ case "$*" in
        "prepare --help") echo "usage: rfpmss prepare [-h] {{hospital,public}}";;
        "prepare hospital --help") printf '%s\n' "usage:" "  --out PATH" "  --patient-level INT";;
        "train --help") printf '%s\n' "usage: rfpmss train" "  --train.lr FLOAT" "  --train.clip";;
    esac; }}
    . {tmp_path}/completion
    words() {{ COMP_WORDS=(rfpmss "$@"); COMP_CWORD=$#; _rfpmss; echo "${{COMPREPLY[@]}}"; }}
    words tr; words prepare ""; words prepare hospital --p; words train --train.; words train --x ""
    """
    shell = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=60)
    assert shell.stderr == ""
    assert shell.stdout.splitlines() == [
        "train",
        "hospital public",
        "--patient-level",
        "--train.clip --train.lr",
        "",
    ]


def test_the_script_for_shells_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--completion"]) == 0
    assert "complete -o default -F _rfpmss rfpmss" in capsys.readouterr().out
