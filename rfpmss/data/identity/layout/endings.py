"""Names that end in a number, a letter or a short date: who, and the mark of the visit?"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable

from rfpmss.data.identity.layout.place import (
    MOST_VISITS,
    Taken,
    dated,
)
from rfpmss.data.identity.names.person import GROUP, ID, PERSON, rank

_SUFFIX = re.compile(
    r"(?P<head>(?:.*?[^0-9])?(?P<last>\d+))(?P<by>-?)"
    r"(?P<mark>(?<=-)(?:\d{1,3}|(?:19[89]|20[0-4])\d)|[a-z\u3400-\u9fff]+|(?<=-)[a-z\u3400-\u9fff][\w-]*)"
)
"""A name that ends in a number, and what stands behind it."""

YEAR = re.compile(r"(?:19[89]|20[0-4])\d")


def with_visits(taken: Iterable[Taken]) -> set[str]:
    """Candidates with several visits below, if all have some: no number of theirs is one."""
    times: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for each in taken:
        if each.parts:
            told = tuple(t.label for t in each.times if not t.weak or dated(t))
            times[each.parts[-1].name.who].add(told)

    several = sum(len(found) > 1 for found in times.values())
    all_timed = all(() not in found for found in times.values())
    return set(times) if 2 * several >= len(times) and all_timed else set()


def marked(
    names: Collection[str], settled: Collection[str]
) -> tuple[dict[str, tuple[str, str]], set[str]]:
    """Names that end in the mark of a visit, taken apart; and stems of which that is not certain.

    Args:
        names: of folders and files that may be patients.
        settled: those that are patients for another reason.
    """
    split = {name: found for name in names if (found := _SUFFIX.fullmatch(name))}
    stems: dict[str, set[str]] = defaultdict(set)
    for found in split.values():
        stems[found["head"]].add(found["mark"])
        if found["head"] in names and (found["by"] or len(found["mark"]) == 1):
            # P1 beside "P1 (1)" or P1b
            stems[found["head"]].add("")

    many = max(map(len, stems.values()), default=0)
    if many < 2 or many > max(MOST_VISITS, len(stems)):
        return {}, set()

    heads = Counter(found["mark"] for found in split.values())
    counted = len(stems) > 1 and all(map(_from_one, stems.values()))
    result: dict[str, tuple[str, str]] = {}
    doubtful: set[str] = set()
    for name, found in split.items():
        several = len(stems[found["head"]]) > 1
        surely = _suffix(found, several=several, repeated=heads[found["mark"]] > 1)
        if surely is False and several and counted and re.match(r"[a-z]", found["head"]):
            surely = None  # XY1_001, XY1_002, XY2_001
        if surely:
            result[name] = (found["head"], found["mark"])
        elif surely is None and name not in settled:
            doubtful.add(found["head"])

    return result, doubtful


def counted_in(names: Collection[str]) -> set[str]:
    """Of names such as ``Mueller_1``, ``Mueller_2``, ``Meier_1`` those with several numbers."""
    stems: dict[str, set[str]] = defaultdict(set)
    for name in names:
        found = re.fullmatch(r"(.*[^\d-])-(\d{1,2})", name)
        if found and rank(name) < PERSON and not GROUP.fullmatch(found[1]):
            stems[found[1]].add(found[2].lstrip("0"))

    repeated = Counter(number for numbers in stems.values() for number in numbers)
    return {
        stem
        for stem, numbers in stems.items()
        if (len(stems) > 1 and len(numbers) > 1 and any(repeated[n] > 1 for n in numbers))
        or (stem in names and "1" not in numbers and len(numbers) < 4)  # Mueller, Mueller 2
    }


def short_dates(names: Iterable[str]) -> set[str]:
    """Of names such as ``P1_040321`` or ``P1 03-21`` those with several days or months.

    They are dates where all names end in one, and numbers elsewhere.
    """
    stems: dict[str, set[str]] = defaultdict(set)
    for name in names:
        found = _SHORT_DATE.fullmatch(name)
        if not found:
            return set()
        stems[found[1]].add(found[2])

    return {stem for stem, dates in stems.items() if len(stems) > 1 and len(dates) > 1}


def glued(names: Collection[str]) -> set[str]:
    """Of names such as ``XY0101``, ``XY0102``, ``XY0201`` those without the last two digits.

    Visits are counted from 1 for each patient; numbers of patients seldom are, in this way.
    """
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in names:
        if match := re.fullmatch(r"(?P<word>.*[^\d-]-?)(?P<head>\d{2,})(?P<last>\d\d)", name):
            found[match["word"]][match["head"]].add(match["last"])

    result: set[str] = set()
    for word, heads in found.items():
        most = max(map(len, heads.values()))
        if len(heads) > 1 and all(map(_from_one, heads.values())) and 1 < most <= MOST_VISITS:
            result |= {word + head for head, last in heads.items() if len(last) > 1}

    return result


def _from_one(marks: Collection[str]) -> bool:
    """Whether marks are the numbers 1, 2, 3, ... without a gap."""
    numbers = sorted(int(mark) if mark.isdecimal() else 0 for mark in marks)
    return numbers == list(range(1, len(numbers) + 1))


def begins(name: str, stems: Collection[str]) -> bool:
    """Whether a name is a stem, or one with a mark behind it."""
    ends = re.finditer(r"(?<=\d)(?=[^\d-]|\d\d$)|-|$", name)
    return any(name[: found.start()] in stems for found in ends)


_DAY, _MONTH, _YY = r"(?:0[1-9]|[12]\d|3[01])", r"(?:0[1-9]|1[0-2])", r"(?:0[5-9]|[1-3]\d)"

_SHORT_DATE = re.compile(
    rf"(.*[^\d-]\d*)-({_MONTH}-{_YY}|(?:{_DAY}-?{_MONTH}|{_MONTH}-?{_DAY})-?{_YY}"
    rf"|{_YY}-?{_MONTH}-?{_DAY})"
)
"""A name, and a day or a month with a year of two digits."""


def _suffix(found: re.Match[str], *, several: bool, repeated: bool) -> bool | None:
    """Whether what stands behind a name tells the visit; None: it may as well be a name.

    Args:
        found: of `_SUFFIX`.
        several: the name stands with several such marks.
        repeated: the mark stands behind several names.
    """
    head, last, mark = found["head"], found["last"], found["mark"]
    doubtful = None if several else False
    if re.fullmatch(r"(?:19|20)\d\d", last):  # patient_2021_17: numbered within a year, or a month
        plain_word = re.fullmatch(r"[a-z]+-?\d{4}", head) and rank(head) != PERSON
        return doubtful if plain_word and mark.isdecimal() and int(mark) <= 12 else False

    if not found["by"]:  # P1a, P1b
        return doubtful if len(mark) == 1 else False

    if mark.isdecimal():
        surely = _number(found, repeated=repeated)
        return doubtful if surely is None else surely

    if rank(head) < PERSON and not mark.isalpha():
        return False
    if rank(head) < ID:
        return doubtful

    return True if rank(head) == PERSON or repeated else doubtful


def _number(found: re.Match[str], *, repeated: bool) -> bool | None:
    """`_suffix` of a number."""
    last, mark = found["last"], found["mark"]
    if rank(found["head"]) == PERSON or len(last) >= 5:
        return True

    narrow = len(mark) <= max(len(last), 2 if repeated else 0)
    return None if narrow or YEAR.fullmatch(mark) else False
