"""The date in a name of a folder or file."""

from __future__ import annotations

import re

from rfpmss.data.identity.names.plain import cut, plain, unaccented
from rfpmss.data.identity.names.times import Time
from rfpmss.data.identity.names.what import what
from rfpmss.data.readers.text.dates import MONTHS, readings
from rfpmss.data.readers.text.dates import day as full_date

_MONTHS = {
    **{unaccented(word): number for word, number in MONTHS.items()},
}
_YEAR = r"(?:19[89]\d|20[0-4]\d)"
_NAMED = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?<!\d){_YEAR}[01]\d[0-3]\d[-_t ]?[0-2]\d[0-5]\d(?:[0-5]\d)?(?!\d)"  # with the hour
        r"(?![-_./]\d\d[-_./]\d\d(?!\d))",  # but no second date
        rf"(?<!\d){_YEAR}([-_./ ]?)\d{{1,2}}\1\d{{1,2}}(?!\d)",
        rf"(?<!\d){_YEAR}年\d{{1,2}}月(?:\d{{1,2}}[日号]?)?",
        rf"(?<!\d){_YEAR}년 ?\d{{1,2}}월(?: ?\d{{1,2}}일)?",
        rf"(?<!\d)\d{{1,2}}([-_./])\d{{1,2}}\1{_YEAR}(?!\d)",
        r"(?<!\d)[0-3]?\d\.[01]?\d\.\d\d(?!\d)",
        rf"(?<![0-9a-z])[0-3]?\d[-_. ]*(?:de[-_. ])?(?:{_NAMED})[-_. ]*(?:de[-_. ])?{_YEAR}(?!\d)",
        rf"(?<!\d){_YEAR}[-_. ]*(?:{_NAMED})(?:[-_. ]*[0-3]?\d)?(?![0-9a-z])",
        rf"(?<![0-9a-z])(?:{_NAMED})[-_. ]*{_YEAR}(?!\d)",
        rf"(?<!\d){_YEAR}[-_.](?:0?[1-9]|1[0-2])(?![-_.]?\d)",
        rf"(?<![0-9a-z])(?:0?[1-9]|1[0-2])[-_.]{_YEAR}(?![-_.]?\d)",
        rf"(?<!\d){_YEAR}[-_ ]?q[1-4](?![0-9a-z])",
        rf"(?<!\d){_YEAR}年",
        rf"^{_YEAR}$",
    )
)

_NO_DATE = re.compile(r"brats1\d[-_]2013[-_]")
"""The patients of 2013 in BraTS 2015 to 2019, such as ``BraTS19_2013_10_1``."""


def date_in(low: str, ids: frozenset[str]) -> tuple[int, int, Time] | None:
    """The first date and where it stands; ``GBM_2021_11`` is the 11th of a year, not November."""
    if _NO_DATE.match(low):
        return None

    for pattern in _DATES:
        for found in pattern.finditer(low):
            if _is_id(low, found, ids) or not _possible(found[0]):
                continue
            time = _date(found[0])
            rest = plain(cut(low, found.start(), found.end()))
            numbers = re.fullmatch(r"\d+[\W_]+\d+", found[0]) and time.day is None
            if not (numbers and rest and not re.search(r"\d", rest) and not what(rest)):
                clock = _CLOCK.match(low, found.end())
                return found.start(), clock.end() if clock else found.end(), time

    return None


def _is_id(low: str, found: re.Match[str], ids: frozenset[str]) -> bool:
    """Whether a date, with the letters before it, is the number of a patient."""
    if not ids or not found[0][:8].isdecimal():
        return False

    head = _LETTERS_BEFORE.search(low[: found.start()])
    return found[0][:8] in ids or (head[1] if head else "") + found[0][:8] in ids


_LETTERS_BEFORE = re.compile(r"([^\W\d_]+)[-_ ]?$")

_CLOCK = re.compile(
    r"[-_t ]+(?:[01]?\d|2[0-3])(?:([-_.:])[0-5]\d\1[0-5]\d(?:[.,]\d+)?|[h:][0-5]\d(?::[0-5]\d)?)z?"
    r"(?![0-9a-z])"
)
"""The time behind a date: `2006-05-19_16_17_47.0`, `19-05-2006_16h17`."""


def _possible(text: str) -> bool:
    """Whether the calendar has a date; numbers such as ``20394871`` and ``2039487`` are none."""
    if re.match(r"\d{8}", text):
        return full_date(text[:8]) is not None
    if re.fullmatch(r"\d{6,7}", text):
        return len(text) == 6 and 1 <= int(text[4:]) <= 12

    whole = re.fullmatch(r"(\d+)([-_./ ])(\d+)\2(\d+)", text)
    return not whole or bool(readings("-".join(whole[n] for n in (1, 3, 4))))


_CALENDAR = str.maketrans({"号": "日", "년": "年", "월": "月", "일": "日"})


def _date(text: str) -> Time:
    if re.fullmatch(r"[0-3]?\d\.[01]?\d\.\d\d", text):  # which number is the year is not certain
        return Time(f"date {text}", weak=True)

    number = full_date(re.sub(r"^(\d{8}).+", r"\1", text).translate(_CALENDAR).replace(" ", "-"))
    if number is not None:
        return Time(f"date {number}", day=number, weak=True)

    if found := re.search(rf"({_NAMED})", text):
        month = _MONTHS[found[1]]
        year = re.search(_YEAR, text)
        of_month = re.search(r"(?<!\d)[0-3]?\d(?!\d)", text.replace(year[0] if year else "", " "))
        number = full_date(f"{year[0]}-{month:02d}-{of_month[0]}") if year and of_month else None
        if number is not None:
            return Time(f"date {number}", day=number, weak=True)
        text = f"{year[0] if year else ''}-{month}"

    parts = sorted((re.findall(r"\d+", text)), key=lambda part: (-len(part), part))
    return Time("date " + "-".join(p.lstrip("0") for p in parts), weak=True)
