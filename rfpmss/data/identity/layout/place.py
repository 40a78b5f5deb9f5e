"""What a path says: whose a file is and when it was made, before and after the choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rfpmss.data.identity.names.parse import Name
from rfpmss.data.identity.names.times import Time

MOST_VISITS = 12
"""A folder with more numbered folders than this, and than there are such folders, is no patient."""

Home = tuple[str, ...]
"""Who a folder says it is: the patient's name, after the names of groups it lies in."""


@dataclass(frozen=True)
class Place:
    """What a path says of its file."""

    home: Home = ()
    """Folders that name the patient; empty: none does."""
    raw: Home = ()
    """The same as they are written."""
    times: tuple[Time, ...] = ()
    """From the outermost folder to the file's name."""
    name: str = ""
    """Who the file's name says it is."""
    kinds: tuple[str, ...] = ()
    """What the file's name says it is."""
    rule: str = ""
    """By what its time was known."""

    @property
    def label(self) -> str:
        """The time points as one text, ``""`` where there are none; days apart."""
        return " ".join(dict.fromkeys(t.label for t in self.times if t.day is None))

    @property
    def weak(self) -> bool:
        """Only words or numbers that may count the scans of one visit tell the time."""
        return all(t.weak for t in self.times)

    @property
    def phase(self) -> str:
        """Before, in or after an operation, if a name says so."""
        return next((t.phase for t in self.times if t.phase), "")

    @property
    def day(self) -> int | None:
        """The date of the innermost name that has one."""
        return next((t.day for t in reversed(self.times) if t.day is not None), None)


@dataclass(frozen=True)
class Part:
    """A folder that may be a patient."""

    text: str
    name: Name
    depth: int
    """From 1, of the path."""
    sure: bool = False
    """Its files' names make it a patient."""


@dataclass(frozen=True)
class Taken:
    """A path, taken apart."""

    parts: tuple[Part, ...]
    times: tuple[Time, ...]
    groups: tuple[str, ...]
    """Sites that it lies in."""
    sets: tuple[str, ...]
    """Other folders of several patients that it lies in."""
    file: Name = Name("")

    @property
    def whos(self) -> Home:
        """The names of the candidates."""
        return tuple(part.name.who for part in self.parts)


def dated(time: Time) -> bool:
    """Whether a time point is a date."""
    return time.label.startswith("date ")


def rule(times: Sequence[Time]) -> str:
    """How a visit is known."""
    if not times:
        return ""
    if all(dated(time) for time in times):
        return "dates in names"
    if all(time.label.startswith("folder ") for time in times):
        return "folders that recur or are numbered"

    return "words in names"


def people(count: int) -> str:
    """How many patients, in words."""
    return "1 patient" if count == 1 else f"{count} patients"
