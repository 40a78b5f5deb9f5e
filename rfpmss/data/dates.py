"""Dates in headers, tables and paths, as plain day numbers."""

from __future__ import annotations

import re
from datetime import date

# Year first, with or without separators; or a four-digit year last.
_YEAR_FIRST = re.compile(
    r"(?<!\d)((?:19|20)\d\d)([-_./年]?)\s?(\d{1,2})(?:\2|月)\s?(\d{1,2})日?(?!\d)"
)
_YEAR_LAST = re.compile(r"(?<!\d)(\d{1,2})([-./])(\d{1,2})\2((?:19|20)\d\d)(?!\d)")


def day(text: str) -> int | None:
    """The first date in a text as a day number; None where there is none that is certain.

    A date with the year last is certain when it is written with dots (day first) or when one number
    is above 12.

    Example:
        >>> day("20210304") == day("2021-03-04") == day("4.3.2021") == day("2021年3月4日")
        True
        >>> day("03/04/2021"), day("patient 7"), day("20211304")
        (None, None, None)
    """
    if found := _YEAR_FIRST.search(text):
        year, separator, month, of_month = found.groups()
        if separator or len(month) == len(of_month) == 2:
            return _number(int(year), int(month), int(of_month))
    if found := _YEAR_LAST.search(text):
        first, separator, second, year = found.groups()
        a, b = int(first), int(second)
        if separator == "." or a > 12:
            return _number(int(year), b, a)
        if b > 12:
            return _number(int(year), a, b)
    return None


def _number(year: int, month: int, of_month: int) -> int | None:
    try:
        return date(year, month, of_month).toordinal()
    except ValueError:
        return None
