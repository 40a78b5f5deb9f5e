"""Command lines: typed arguments, presets and YAML files, answered without loading torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import tyro
from pydantic import BaseModel, ValidationError

from rfpmss.common.files import sentence
from rfpmss.common.output import outlived
from rfpmss.common.yaml import YamlError, read_mapping
from rfpmss.config import PRESETS, Config, levels, second_edition, tiny
from rfpmss.config.bounds import (
    MOST_PASSES,
    MOST_STEPS,
    MOST_WORKERS,
    distinct,
    require_path,
    require_places,
    require_reachable,
    require_words,
    within,
)

Arguments = TypeVar("Arguments")

LONGEST_SHOWN = 120
"""Characters of a wrong value that a message repeats."""

NARROWEST = 40
"""Columns for which a help text is laid out at least: in one column it takes minutes."""

WIDEST = 200
"""Columns for which it is laid out at most."""

LONGEST = 1e7
"""Seconds of the longest --timeout, four months; what counts them overflows far above."""


def program(verb: str) -> str:
    """What a verb's usage is shown for: the words that were typed."""
    typed = Path(sys.argv[0]).name in ("rfpmss", "cli.py")
    return f"rfpmss {verb}" if typed else f"python -m rfpmss.{verb}"


@dataclass(frozen=True)
class TrainArguments:
    """What ``python -m rfpmss.train`` takes."""

    data: Path | None = None
    """Prepared cohort, its manifest.csv or its folder (see rfpmss.prepare). Without it the phantom
    cohort of the preset is used: generated once under $XDG_CACHE_HOME/rfpmss, by default
    ~/.cache/rfpmss."""
    run_dir: Path | None = None
    """Run folder; an existing one is resumed. By default runs/PRESET-SEED."""
    max_steps: int | None = None
    """Stop after this many optimisation steps in all; by default epochs x steps of an epoch."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; by default cuda where there is one."""
    start: Path | None = None
    """Another run whose newest weights and tokenizer a new run starts from, for train.stage."""
    ranks: int = 1
    """Processes on this machine that share each batch."""
    max_restarts: int = 0
    """How often all ranks are started again from the last checkpoint when one dies or hangs."""
    timeout: float = 120.0
    """Seconds after which a rank that takes no step counts as hung; more than the slowest step,
    the first compiled ones included. Saving and evaluating do not count."""
    workers: int = 1
    """Threads that draw batches ahead; changes no result."""
    evaluate: bool = True
    """Score the held-out patients and write the page at the end."""
    track: tuple[Literal["trackio", "mlflow", "wandb"], ...] = ()
    """Trackers that get the figures too, written into the run folder; nothing is sent."""
    config_file: Path | None = None
    """YAML file with values for the fields below, e.g. the config.yaml of another run."""
    allow_config_change: bool = False
    """Resume a run although its configuration, its cohort or the code differs."""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=tiny)

    def __post_init__(self) -> None:
        within(self, 1, MOST_STEPS, "max_steps")
        within(self, 1, MOST_WORKERS, "ranks")
        within(self, 0, MOST_PASSES, "max_restarts")
        within(self, 0, MOST_WORKERS, "workers")
        distinct(self, "track")
        if not 0 < self.timeout <= LONGEST:
            raise ValueError(
                f"--timeout must be positive and at most {LONGEST:.0f} seconds, "
                f"got {self.timeout:g}"
            )

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.run_dir or Path("runs") / f"{self.config.preset}-{self.config.seed}"

    @property
    def supervised(self) -> bool:
        """Whether torchrun is started and watched."""
        return self.ranks > 1 or self.max_restarts > 0


def read(kind: type[Arguments], argv: list[str] | None, verb: str, about: str | None) -> Arguments:
    """Parse the command line of a verb.

    Exits with status 2 and one clear message on a wrong argument.
    """
    words = sys.argv[1:] if argv is None else argv
    try:
        require_words(words)
        return asked(
            lambda: tyro.cli(kind, args=words, prog=program(verb), description=about), text=True
        )
    except ValueError as error:
        _refuse(str(error))


def asked(parse: Callable[[], Arguments], *, text: bool = False) -> Arguments:
    """What a command line asks for; one that asks for help may be read by ``head``.

    Args:
        parse: reads the command line.
        text: whether its paths must be UTF-8; the files of patients need not.

    Raises:
        ValueError: if an argument is wrong; names it.
    """
    with outlived(), _wide_enough(), _in_one_sentence():
        found = parse()

    require_reachable(found)
    if text:
        require_places(found)

    return found


@contextmanager
def _in_one_sentence() -> Iterator[None]:
    """In the body what tyro would draw a box of, where a value is refused, is a ValueError.

    Its hook is not public: a version without it keeps its boxes.
    """
    register = getattr(getattr(tyro, "_errors", None), "on_parse_error", None)
    with register(_told) if register else nullcontext():
        yield


def _told(event: Any) -> None:
    """Raise what is wrong with a value; options that are missing or unknown are tyro's to say."""
    if type(event).__name__ != "InstantiationFailure":
        return

    raised = sys.exc_info()[1]
    refused = raised.__context__ if raised and raised.__context__ else raised
    if isinstance(refused, ValidationError):
        raise ValueError(_sentence(refused, _section(refused.title))) from None

    message = " ".join(str(event.message).split())
    if event.argument is None:
        raise ValueError(message) from None

    lowered = event.argument.lowered
    name = (lowered.name_or_flags or (event.argument.field.extern_name,))[0]
    raise ValueError(f"{name} must be {lowered.metavar}: {message}") from None


def _section(title: str) -> str:
    """How the options of a section of the configuration begin."""
    kinds = {name: entry.annotation for name, entry in Config.model_fields.items()}
    found = [name for name, kind in kinds.items() if getattr(kind, "__name__", "") == title]
    return f"--{found[0]}." if found else "--"


@contextmanager
def _wide_enough() -> Iterator[None]:
    """In the body the terminal counts as at least ``NARROWEST`` columns wide."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(min(max(get_terminal_size().columns, NARROWEST), WIDEST))
    try:
        yield
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


def parse(kind: type[Arguments], argv: list[str] | None, prog: str, about: str | None) -> Arguments:
    """Parse a command line whose defaults depend on ``--preset`` and ``--config-file``.

    Exits with status 2 and one clear message on a wrong argument.
    """
    given = sys.argv[1:] if argv is None else argv
    try:
        require_words(given)
        default = kind(config=_starting_point(given))  # type: ignore[call-arg]
    except ValidationError as error:
        _refuse(_sentence(error))
    except ValueError as error:
        _refuse(str(error))

    try:
        return asked(
            lambda: tyro.cli(kind, args=given, default=default, prog=prog, description=about),
            text=True,
        )
    except ValidationError as error:
        _refuse(_sentence(error))
    except ValueError as error:
        _refuse(str(error))


def _starting_point(argv: list[str]) -> Config:
    name = value_of(argv, "--preset") or "tiny"
    if name not in PRESETS:
        hint = _hint(name, PRESETS)
        raise ValueError(f"--preset must be one of {', '.join(PRESETS)}, got {name}{hint}")

    path = value_of(argv, "--config-file")
    if path is None:
        return _as_asked(PRESETS[name](), argv, {})

    require_path(Path(path), "--config-file")
    if not Path(path).is_file():
        kind = "a regular file" if Path(path).exists() else "an existing file"
        raise ValueError(f"--config-file must be {kind}, got {path}")

    try:
        content = read_mapping(Path(path))
    except YamlError as error:
        raise ValueError(f"--config-file {error}, got {path}") from None
    except OSError as error:
        raise ValueError(f"--config-file must be readable, got {sentence(error)}") from None

    given = content.get("config", content)
    if not isinstance(given, dict) or not _named(given):
        raise ValueError(
            f"--config-file must hold a mapping of fields under config, got {_shown(given)}"
        )

    said = given.get("preset")
    if value_of(argv, "--preset") is None and isinstance(said, str) and said in PRESETS:
        name = said

    # The record of a run holds every field of its release: what it lacks did not exist then.
    below = Config() if "manifest" in content else PRESETS[name]()
    if "manifest" not in content:
        below = _as_asked(below, argv, given)

    return Config.model_validate(_over(below.model_dump(), given))


def _as_asked(config: Config, argv: Sequence[str], given: Mapping[str, Any]) -> Config:
    """A preset with the starting values that two fields change, asked for in words or a file."""
    for section, field_, value, change in (
        ("phantom", "edition", 2, second_edition),
        ("data", "order", "levels", levels),
    ):
        said, inside = value_of(argv, f"--{section}.{field_}"), given.get(section)
        if said is None and isinstance(inside, dict):
            said = inside.get(field_)
        if str(said) == str(value):
            config = change(config)

    return config


def _named(tree: Mapping[Any, Any]) -> bool:
    """Whether all keys of nested mappings are texts."""
    inside = (value for value in tree.values() if isinstance(value, Mapping))
    return all(isinstance(key, str) for key in tree) and all(_named(value) for value in inside)


def _over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a file over those of its preset, section by section."""
    found = dict(below)
    for key, value in above.items():
        here = found.get(key)
        if isinstance(here, dict) and isinstance(value, Mapping):
            found[key] = _over(here, value)
        else:
            found[key] = value

    return found


def value_of(argv: Sequence[str], option: str) -> str | None:
    """What a command line gives an option, before it is parsed; the last one counts."""
    found = None
    for place, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == option and (equals or place + 1 < len(argv)):
            found = value if equals else argv[place + 1]

    return found


def _sentence(error: ValidationError, before: str = "") -> str:
    """What pydantic refuses, without its link; ``before``: how the names begin."""
    problem = error.errors()[0]
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"there is no field {name}{_hint(name, _names(Config))}"

    text = problem["msg"].removeprefix("Value error, ")
    if not name:
        return text

    shown = f"{before}{name.replace('_', '-')}" if before else name
    text = text.replace("Input should be", "must be", 1)
    between = " " if text.startswith("must ") else ": "
    return f"{shown}{between}{text}, got {_shown(problem['input'])}"


def _shown(value: object) -> str:
    """A value of a file of somebody else, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more than 4,300 digits
        text = f"a value of type {type(value).__name__} with too many digits"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _names(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """All fields of a configuration and of its sections."""
    found = []
    for name, entry in kind.model_fields.items():
        found.append(f"{prefix}{name}")
        if isinstance(entry.annotation, type) and issubclass(entry.annotation, BaseModel):
            found += _names(entry.annotation, f"{prefix}{name}.")

    return found


def _hint(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _refuse(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
