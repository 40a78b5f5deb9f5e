"""The command ``rfpmss``: its verbs name themselves as they were typed."""

from __future__ import annotations

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
