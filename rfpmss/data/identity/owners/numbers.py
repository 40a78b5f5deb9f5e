"""Numbers in the names of texts: those of patients and of examinations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from rfpmss.data.identity.names.plain import plain as plain_of

_T = TypeVar("_T")

LONG = 4
"""Digits of a number that is no count, so that it tells a patient or an examination anywhere."""

_NUMBER_WORD = re.compile(
    r"(?:mrn|pid|pat(?:ient(?:in|en)?|iente)?(?:-?(?:id|nr|no))?|pt|case|fall(?:nr)?|id|subj(?:ect)?"
    r"|ipp|nhc|hn|kis|uhid|nhs|paziente|paciente|patientnr|accession(?:-?(?:no|nr|number))?|acc"
    r"|患者|病人|住院号|登记号|检查号|病历号)-?(?=\d)"
)
"""Words for the number behind them."""


def digits(text: str) -> int:
    """How many digits a text has."""
    return sum(map(str.isdigit, text))


def number_of(name: str) -> str:
    """A number as files and headers spell it: separators between digits part two numbers."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", joint(plain_of(name)))


def unworded(name: str) -> str:
    """A number without the word before it, such as MRN."""
    return number_of(_NUMBER_WORD.sub("", name))


def spans(name: str, wanted: Callable[[str], bool]) -> list[tuple[range, str]]:
    """The runs of a name's words that are wanted, each with its place, as `number` has them."""
    words = name.split("-")
    every = [
        (range(a, b), "-".join(words[a:b]))
        for a in range(len(words))
        for b in range(a + 1, len(words) + 1)
    ]
    return [(span, number_of(run)) for span, run in every if wanted(run)]


def found_in(runs: Iterable[tuple[range, str]], known: Mapping[str, set[_T]]) -> set[_T]:
    """What the longest runs stand for: a run within another that is known says nothing more."""
    there = [(span, known[run]) for span, run in runs if run in known]
    return {
        one
        for span, found in there
        for one in found
        if not any(set(span) < set(other) for other, _ in there)
    }


def joint(name: str) -> str:
    """A name without separators, but between two numbers: P1-1 is not P11."""
    return re.sub(r"(?<!\d)-|-(?!\d)", "", name)


def runs(name: str) -> set[str]:
    """All words of a name that stand together."""
    words = name.split("-")
    count = len(words)
    return {"-".join(words[a:b]) for a in range(count) for b in range(a + 1, count + 1)}
