"""What every command line must keep to: numbers in bounds, lists without doubles, usable paths."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

MOST_PASSES = 100_000_000
"""As `rfpmss.config.sections.Count`."""

MOST_STEPS = 1 << 53
"""Optimisation steps; a float still counts them."""

MOST_WORKERS = 1_024
"""Processes or threads at the same time; more than any machine gains from."""

Number = int | float

NAME = re.compile(r"[^\W_](?:[\w.-]{0,62}[^\W_])?")
"""A name that becomes part of the names of files: no folder, nothing hidden, no blanks."""


def within(options: object, least: Number, most: Number, *names: str) -> None:
    """Refuse numbers out of bounds; each of several, none where an option is None.

    Raises:
        ValueError: names the option, the bound and the number.
    """
    for name in names:
        value = getattr(options, name)
        for number in value if isinstance(value, tuple) else (value,):
            if number is None:
                continue
            if not number >= least:  # NaN is not
                raise ValueError(f"{option(name)} must be at least {least}, got {number}")
            if number > most:
                raise ValueError(f"{option(name)} must be at most {most}, got {number}")


def distinct(options: object, *names: str) -> None:
    """Refuse lists that are empty by accident or name something twice: it would count twice.

    Raises:
        ValueError: names the option and the value.
    """
    for name in names:
        values = getattr(options, name)
        twice = next((value for at, value in enumerate(values) if value in values[:at]), None)
        if twice is not None:
            raise ValueError(f"{option(name)} must name each value once, got {twice} twice")


def require_name(text: str, shown: str) -> str:
    """A text that becomes part of the names of files, or stands in tables.

    Raises:
        ValueError: names the option.

    Example:
        >>> require_name("hospital-b", "--name")
        'hospital-b'
    """
    if not NAME.fullmatch(text):
        raise ValueError(
            f"{shown} must be of letters, digits, dots, hyphens and underscores, begin and end "
            f"with a letter or digit, and have at most 64 of them, got {text!r}"
        )
    return text


def require_words(words: Sequence[str]) -> None:
    """Refuse empty arguments, and those that are no UTF-8.

    Raises:
        ValueError: names the option.
    """
    require_filled(words)
    for word in words:
        _require_text(word, "an argument")


def require_filled(words: Sequence[str]) -> None:
    """Refuse empty arguments: an empty path would be the current folder.

    Raises:
        ValueError: names the option.
    """
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not word:
            before = words[at - 1] if at and words[at - 1].startswith("-") else "an argument"
            raise ValueError(f"{before} must not be empty, got ''")
        if word.startswith("--") and equals and not value:
            raise ValueError(f"{name} must not be empty, got ''")


def require_places(options: object) -> None:
    """Refuse paths that lead to a folder whose name is no UTF-8.

    Libraries of weights and tokenizers, and our own records, cannot be told them.

    Raises:
        ValueError: names the option.
    """
    for shown, path in _places(options):
        _require_text(os.path.realpath(path), shown)


def require_reachable(options: object) -> None:
    """Refuse a current folder that is gone, and paths that no file can have.

    Raises:
        ValueError: names the option.
    """
    try:
        os.getcwd()
    except OSError:
        raise ValueError(
            "the current folder must exist, got one that was removed or cannot be reached; change "
            "to another one"
        ) from None

    for shown, path in _places(options):
        require_path(path, shown)


def require_path(path: Path, shown: str) -> None:
    """Refuse what no file can be called; whether there is one is not asked.

    Args:
        path: what was typed.
        shown: the option it was typed for.

    Raises:
        ValueError: names the option.
    """
    try:
        os.stat(path)
    except ValueError:
        raise ValueError(f"{shown} must be a path, got one with a null byte") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError(
                f"{shown} must lead somewhere, got links in a circle in {path}; choose another"
            ) from None
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError(
                f"{shown} must be a path that the disk takes, got {len(str(path))} characters; "
                f"choose a shorter one"
            ) from None


def _places(options: object) -> Iterator[tuple[str, Path]]:
    """The paths of a command line, and how they are called there."""
    for entry in fields(options):  # type: ignore[arg-type]
        value = getattr(options, entry.name)
        shown = entry.name.upper() if "Positional" in str(entry.type) else option(entry.name)
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, Path):
                yield shown, path


def _require_text(text: str, shown: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(
            f"{shown} must be UTF-8, got {text!r}; rename it or choose another"
        ) from None


def option(name: str) -> str:
    """How a field is called on the command line."""
    return f"--{name.replace('_', '-')}"
