"""No command shows what libraries warn of or log; what is ours is shown; errors stay errors."""

import importlib
import logging
import sys
import types
import warnings
from pathlib import Path

import pytest

from multisk._warning import MultiskWarning
from rfpmss import cli
from rfpmss.common.command import guarded
from rfpmss.common.errors import RfpmssError

SECRET = "Quimby^Zebulon"


def chatter(*_: object) -> int:
    """A library that shows a header, and a line of our own."""
    for category in (UserWarning, FutureWarning, RuntimeWarning):
        warnings.warn(f"invalid value {SECRET}", category, stacklevel=2)
    for name in ("pydicom", "torch.distributed", "transformers"):
        logger = logging.getLogger(name)
        handler = logging.StreamHandler(sys.stderr)
        logger.addHandler(handler)
        logger.critical(SECRET)
        logger.removeHandler(handler)
    logging.getLogger("unheard.of").error(SECRET)  # reaches the handler of last resort
    sys.stderr.write("our own line\n")
    return 0


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings go to stderr as outside pytest, which else keeps them or raises."""

    def show(message: object, *_: object, **__: object) -> None:
        sys.stderr.write(f"{message}\n")

    monkeypatch.setattr(warnings, "showwarning", show)
    warnings.simplefilter("always")  # pytest restores the filters after each test


# Each verb, its arguments, and the function that does its work.
BODIES = {
    "prepare": (["hospital", "{0}", "--out", "{0}/out"], "hospital"),
    "check": (["{0}"], "check"),
    "train": (["--run-dir", "{0}/run"], "run"),
    "evaluate": (["--run-dir", "{0}"], "evaluate"),
    "findings": (["--run-dir", "{0}"], "run"),
    "finetune": (["--run-dir", "{0}"], "run"),
    "ablate": (["--out", "{0}"], "run"),
    "reproduce": (["--out", "{0}"], "run"),
    "report": (["--run-dir", "{0}"], "report"),
    "view": (["--run-dir", "{0}"], "view"),
    "export": (["{0}", "--out", "{0}/out"], "run"),
    "embed": (["{0}", "--model", "{0}", "--out", "{0}/x.parquet"], "embed"),
}


def test_every_verb_is_in_the_table() -> None:
    assert set(BODIES) == set(cli.VERBS)


@pytest.mark.usefixtures("shown")
@pytest.mark.parametrize("verb", BODIES)
def test_a_command_shows_no_warning_and_no_log_line_of_a_library(
    verb: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, body = BODIES[verb]
    monkeypatch.setattr(importlib.import_module(f"rfpmss.commands.{verb}"), body, chatter)
    module = importlib.import_module(f"rfpmss.{verb}")
    assert module.main([word.format(tmp_path) for word in words]) == 0
    said = "".join(capsys.readouterr())
    assert "our own line" in said
    assert SECRET not in said
    chatter()
    assert SECRET in capsys.readouterr().err  # as before, once the command has ended


@pytest.mark.usefixtures("shown")
def test_a_library_that_warns_as_it_is_imported_is_not_heard(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(_: str) -> types.SimpleNamespace:
        chatter()
        return types.SimpleNamespace(main=chatter)

    monkeypatch.setattr(cli.importlib, "import_module", load)
    assert cli.main(["check"]) == 0
    assert SECRET not in capsys.readouterr().err


@pytest.mark.usefixtures("shown")
def test_our_own_warnings_and_errors_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> int:
        warnings.warn("solves are slower", MultiskWarning, stacklevel=2)
        raise RfpmssError("nothing to do")

    assert guarded(body) == RfpmssError("").status
    assert capsys.readouterr().err == "warning: solves are slower\nerror: nothing to do\n"


def test_warnings_that_are_errors_stay_errors() -> None:
    with pytest.raises(FutureWarning):
        guarded(lambda: warnings.warn("gone tomorrow", FutureWarning, stacklevel=2) or 0)
