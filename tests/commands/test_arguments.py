"""What every command line must keep to: numbers in bounds, no empty words, UTF-8, names."""

import json
import os
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from importlib import import_module
from pathlib import Path
from shutil import get_terminal_size
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import BaseModel

from rfpmss.config import Config
from rfpmss.config.arguments import TrainArguments, asked, parse
from rfpmss.data.sources.folder import FolderOptions

VERBS = [
    "train",
    "check",
    "evaluate",
    "findings",
    "finetune",
    "ablate",
    "reproduce",
    "report",
    "view",
]
REQUIRED = {"run_dir": Path("run"), "cohort": Path("c"), "run": Path("run"), "out": Path("o")}


WORDS = {
    "check": ["c"],
    "embed": ["p", "--model", "m", "--out", "o"],
    "evaluate": ["--run-dir", "r"],
    "export": ["r", "--out", "o"],
    "findings": ["--run-dir", "r"],
    "finetune": ["--run-dir", "r"],
    "prepare": ["phantom", "--out", "o"],
    "report": ["--run-dir", "r"],
}


def arguments(verb: str) -> Any:
    return TrainArguments if verb == "train" else import_module(f"rfpmss.{verb}").Arguments


def kinds(hint: Any) -> set[type]:
    """The types that a field's value or its items may have."""
    parts = get_args(hint)
    return set().union(*map(kinds, parts)) if parts else {hint}


def numbers() -> Iterator[tuple[str, str]]:
    for verb in [*VERBS, "export"]:
        kind = arguments(verb)
        for name, hint in get_type_hints(kind).items():
            if kinds(hint) & {int, float}:
                yield verb, name


@pytest.mark.parametrize(("verb", "name"), list(numbers()))
@pytest.mark.parametrize("value", [-1, -(10**30), 10**30, float("nan")])
def test_every_number_of_every_command_has_bounds(verb: str, name: str, value: float) -> None:
    kind = arguments(verb)
    allowed = kinds(get_type_hints(kind)[name])
    if float in allowed:
        value = float(value)
    elif value != value:  # noqa: PLR0124
        return  # the parser takes no NaN for a whole number
    given = {e.name: REQUIRED[e.name] for e in fields(kind) if e.default is e.default_factory}
    several = isinstance(getattr(kind, name, None), tuple) or "tuple" in str(
        get_type_hints(kind)[name]
    )
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} .*got"):
        kind(**given | {name: (value,) if several else value})


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("prepare", ["hospital", ".", "--out", ""]),
        ("prepare", ["phantom", "--out="]),
        ("embed", [".", "--model", "m", "--out", ""]),
        ("embed", ["", "--model", "m", "--out", "o"]),
    ],
)
def test_empty_places_of_patients_are_refused(
    verb: str,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert import_module(f"rfpmss.{verb}").main(words) == 2
    assert "must not be empty" in capsys.readouterr().err
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("columns", "wide"), [("1", 40), ("39", 40), ("90", 90), ("10" * 5, 200), ("abc", 80)]
)
def test_help_is_laid_out_for_a_terminal_of_sensible_width(
    columns: str, wide: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    found = asked(lambda: Wide(get_terminal_size((80, 24)).columns))  # one column took minutes
    assert found.columns == wide
    assert os.environ["COLUMNS"] == columns


@dataclass
class Wide:
    columns: int


def test_the_table_of_numbers_is_not_empty() -> None:
    assert {("finetune", "epochs"), ("view", "port"), ("ablate", "seeds")} <= set(numbers())
    assert MISSING is fields(arguments("check"))[0].default
    assert issubclass(arguments("embed"), FolderOptions)  # has bounds of its own


NUMBERS = (int, float)


def unbounded(kind: type[BaseModel]) -> list[str]:
    """Numbers of a configuration that may be as large, or as small, as anybody likes."""
    found = []
    for name, entry in kind.model_fields.items():
        if isinstance(entry.annotation, type) and issubclass(entry.annotation, BaseModel):
            found += unbounded(entry.annotation)
        elif set(NUMBERS) & set(inner(entry.annotation)):
            text = entry.description.rpartition("[")[2]
            if not (">" in text and "<" in text):
                found.append(name)
    return found


def inner(annotation: object) -> list[object]:
    return [annotation, *(one for part in get_args(annotation) for one in inner(part))]


def test_every_number_of_a_configuration_has_two_bounds() -> None:
    assert unbounded(Config) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--data.resize", "0"], "--data.resize must be greater than 0, got 0"),
        (["--train.weight-decay", "-1"], "--train.weight-decay must be greater than or equal to 0"),
        (["--loss.temperature", "1e300"], "--loss.temperature must be less than or equal to"),
        (["--train.lr", "nan"], "--train.lr must be a finite number, got nan"),
        (["--train.epochs", "x"], "--train.epochs must be INT: "),
        (["--model.heads", "3"], "model.dim must be a multiple of model.heads=3, got 32"),
        (["--timeout", "-1"], "--timeout must be positive"),
        (["--ranks", "0"], "--ranks must be at least 1, got 0"),
    ],
)
def test_a_value_out_of_bounds_is_one_sentence_without_a_box(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        import_module("rfpmss.train").main(["--preset", "smoke", *words])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {sentence}")


@pytest.mark.parametrize(
    ("verb", "words", "sentence"),
    [
        ("train", ["--run-dir", ""], "--run-dir must not be empty"),
        ("train", ["--data="], "--data must not be empty"),
        ("train", ["--model.image-weights", ""], "--model.image-weights must not be empty"),
        ("evaluate", ["--run-dir", ""], "--run-dir must not be empty"),
        ("export", ["", "--out", "x"], "an argument must not be empty"),
        ("export", ["run", "--out", ""], "--out must not be empty"),
        ("export", ["r", "--out", "x", "--license", "a\nb: c"], "--license must be of letters"),
        ("ablate", ["--out", "\udcff"], "must be UTF-8"),
        ("reproduce", ["--out", "o\udcff"], "must be UTF-8"),
        ("train", ["--run-dir", "r\udcff"], "must be UTF-8"),
        ("train", ["--data", "d\udcff"], "must be UTF-8"),
        ("check", ["d\udcff"], "must be UTF-8"),
        ("view", ["--run-dir", "link"], "--run-dir must be UTF-8"),
        ("check", ["link"], "COHORT must be UTF-8"),
        ("train", ["--run-dir", "loop"], "--run-dir must lead somewhere, got links in a circle"),
        ("train", ["--data", "loop/manifest.csv"], "--data must lead somewhere"),
        ("export", ["loop", "--out", "x"], "RUN must lead somewhere"),
        ("export", ["run", "--out", "loop"], "--out must lead somewhere"),
        ("evaluate", ["--run-dir", "r", "--split", "nonsense"], "nonsense"),
        ("evaluate", ["--run-dir", "r", "--name", "../../../out"], "--name must be of letters"),
        ("evaluate", ["--run-dir", "r", "--name", "/out"], "--name must be of letters"),
        ("evaluate", ["--run-dir", "r", "--name", ".hidden"], "--name must be of letters"),
        ("evaluate", ["--run-dir", "r", "--name", "a" * 65], "--name must be of letters"),
        ("evaluate", ["--run-dir", "r", "--name", "a\nb"], "--name must be of letters"),
        ("evaluate", ["--run-dir", "r", "--name", "b-val"], "--name must not end like"),
        ("evaluate", ["--run-dir", "r", "--name", "b_full"], "--name must not end in"),
        ("evaluate", ["--run-dir", "r", "--beams", "1", "1"], "--beams must name each value once"),
        ("finetune", ["--run-dir", "r", "--seeds", "0", "0"], "--seeds must name each value once"),
        ("finetune", ["--run-dir", "r", "--baseline", "this run=r"], "with a new name"),
        ("finetune", ["--run-dir", "r", "--baseline", "a=r", "a=s"], "with a new name"),
        ("finetune", ["--run-dir", "r", "--baseline", "a="], "NAME=RUN_DIR"),
        ("finetune", ["--run-dir", "r", "--baseline", "a\tb=r"], "NAME of --baseline must be"),
        ("ablate", ["--seeds", "1", "2", "1"], "--seeds must name each value once, got 1 twice"),
    ],
)
def test_a_wrong_argument_is_status_2_and_leaves_nothing(
    verb: str,
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    os.symlink("o\udcff", "link")
    os.symlink("loop", "loop")
    with pytest.raises(SystemExit) as ended:
        import_module(f"rfpmss.{verb}").main(words)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
    assert sorted(os.listdir()) == ["link", "loop"]


@pytest.mark.parametrize(
    ("verb", "words", "name"),
    [
        ("prepare", ["hospital", "loop", "--out", "o"], "SRC"),
        ("prepare", ["hospital", ".", "--out", "loop/o"], "--out"),
        ("prepare", ["merge", "loop", "--out", "o"], "PARTS"),
        ("embed", [".", "--model", "loop", "--out", "o"], "--model"),
    ],
)
def test_places_of_patients_behind_links_in_a_circle_are_refused(
    verb: str,
    words: list[str],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    os.symlink("loop", "loop")
    assert import_module(f"rfpmss.{verb}").main(words) == 2
    assert capsys.readouterr().err.startswith(
        f"error: {name} must lead somewhere, got links in a circle in loop"
    )
    assert os.listdir() == ["loop"]


@pytest.mark.parametrize("verb", [*VERBS, "export", "embed", "prepare"])
def test_help_that_nobody_reads_to_its_end_and_a_current_folder_that_is_gone(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for size in (1, -1):  # written while it is printed, and when the process ends
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w", buffering=size) as closed, monkeypatch.context() as patch:
            patch.setattr("sys.stdout", closed)
            with pytest.raises(SystemExit) as ended:
                import_module(f"rfpmss.{verb}").main(["--help"])
            assert not ended.value.code
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        status = import_module(f"rfpmss.{verb}").main(WORDS.get(verb, []))
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert capsys.readouterr().err.startswith("error: the current folder must exist, got one that")


def test_fields_that_a_file_does_not_name_are_the_presets(tmp_path: Path) -> None:
    from rfpmss.config import smoke, tiny

    file = tmp_path / "part.yaml"
    file.write_text("train:\n  batch: 4\n")
    found = parse(
        TrainArguments, ["--preset", "smoke", "--config-file", str(file)], "train", None
    ).config
    assert found.train.batch == 4
    assert found.model == smoke().model
    file.write_text("preset: smoke\ntrain:\n  batch: 3\n")
    assert (
        parse(TrainArguments, ["--config-file", str(file)], "train", None).config.data
        == smoke().data
    )
    file.write_text("train:\n  batch: 4\n")
    assert (
        parse(TrainArguments, ["--config-file", str(file)], "train", None).config.model
        == tiny().model
    )


def test_the_record_of_an_older_run_keeps_its_old_behaviour(tmp_path: Path) -> None:
    """Its fields are complete: what it lacks did not exist then, whatever the preset says now."""
    from rfpmss.config import tiny

    old = tiny().model_dump(mode="json")
    new = {"model": ("standardise", "study_words", "token_types"), "train": ("matrix_rate",)}
    for section, names in new.items():
        for name in names:
            del old[section][name]
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps({"manifest": "manifest.csv", "ranks": 1, "config": old}))
    found = parse(TrainArguments, ["--config-file", str(file)], "train", None).config
    assert (found.model.standardise, found.model.study_words) == (False, False)
    assert found.model.token_types
    assert found.train == tiny().train
