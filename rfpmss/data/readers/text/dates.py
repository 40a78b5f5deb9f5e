"""Dates in headers, tables and paths, as plain day numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from unicodedata import decimal

MONTHS = {
    word: number
    for number, words in enumerate(
        (
            *(
                "jan january januar jänner janv janvier ene enero gennaio janeiro"
                " janúar januari januara stycznia ledna január januára ocak ianuarie"
                " tammikuuta января січня ιανουαρίου",
            ),
            *(
                "feb february februar févr fév février fevrier febrero febbraio fevereiro"
                " febrúar februari lutego února februára şubat februarie helmikuuta февраля"
                " лютого φεβρουαρίου",
            ),
            *(
                "mar mär mrz march märz maerz mars marzo março"
                " maart marts marca března mart martie maaliskuuta марта березня μαρτίου",
            ),
            *(
                "apr april avr avril abr abril aprile"
                " apríl kwietnia dubna apríla nisan aprilie huhtikuuta апреля квітня απριλίου",
            ),
            *(
                "may mai mayo maggio maio"
                " maí mei maj maja května mája mayıs toukokuuta мая травня μαΐου",
            ),
            *(
                "jun june juni juin junio giugno junho"
                " júní czerwca června júna haziran iunie kesäkuuta июня червня ιουνίου",
            ),
            *(
                "jul july juli juil juillet julio luglio julho"
                " júlí lipca července júla temmuz iulie heinäkuuta июля липня ιουλίου",
            ),
            *(
                "aug august août aout ago agosto"
                " ágúst augusti augustus sierpnia srpna augusta ağustos elokuuta августа"
                " серпня αυγούστου",
            ),
            *(
                "sep sept september septembre septiembre setiembre settembre setembro"
                " września září septembra eylül septembrie syyskuuta сентября вересня σεπτεμβρίου",
            ),
            *(
                "oct okt october oktober octobre octubre ottobre outubro"
                " október października října októbra ekim octombrie lokakuuta октября жовтня"
                " οκτωβρίου",
            ),
            *(
                "nov november novembre noviembre novembro"
                " nóvember listopada listopadu novembra kasım noiembrie marraskuuta ноября"
                " листопада νοεμβρίου",
            ),
            *(
                "dec dez déc dic december dezember décembre decembre diciembre dicembre dezembro"
                " desember grudnia prosince decembra aralık decembrie joulukuuta декабря грудня"
                " δεκεμβρίου",
            ),
        ),
        start=1,
    )
    for word in words.split()
}
"""Names of months, as dates have them, and short forms of the first six languages.

English, German, French, Spanish, Italian, Portuguese; Dutch, the Nordic languages, Polish, Czech,
Slovak, Romanian, Turkish, Russian, Ukrainian, Greek. Croatian is left out: its `listopada` is
October, November in Polish.
"""
MONTH = "(?:" + "|".join(sorted(MONTHS, key=len, reverse=True)) + ")"
"""A pattern of a month's name, in lower case."""
# Year first, with or without separators; a four-digit year last; a month in letters.
_YEAR_FIRST = re.compile(
    r"(?<!\d)((?:19|20)\d\d)([-_./年년]?)\s?(\d{1,2})(?:\2|[月월])\s?(\d{1,2})[日일]?"
    r"(?:(?!\d)|(?=(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d(?:\.\d+)?)?(?!\d)))"
)
_YEAR_LAST = re.compile(r"(?<!\d)(\d{1,2})([-./])\s?(\d{1,2})\2\s?((?:19|20)\d\d)(?!\d)")
_DAY_MONTH_YEAR = re.compile(
    rf"(?<!\w)(\d{{1,2}})(?:st|nd|rd|th|er|\.|º)?[-_/. ]*(?:de |of )? ?({MONTH})\.?[-_/., ]*"
    r"(?:de )?((?:19|20)\d\d)(?!\d)",
    re.IGNORECASE,
)
_MONTH_DAY_YEAR = re.compile(
    rf"(?<![^\W_])({MONTH})\.?[-_/ ]*(\d{{1,2}})(?:st|nd|rd|th)?[-_/, ]+((?:19|20)\d\d)(?!\d)",
    re.IGNORECASE,
)
_YEAR_MONTH_DAY = re.compile(
    rf"(?<!\d)((?:19|20)\d\d)[-_/. ]({MONTH})\.?[-_/. ](\d{{1,2}})(?!\d)", re.IGNORECASE
)
# Years of other calendars: Japan's eras and the Republic of China's; in a whole cell their letters,
# the bare year of the Republic (110 is 2021), and the Buddhist era of Thailand.
_ERAS = {"令和": 2018, "平成": 1988, "昭和": 1925, "大正": 1911, "r": 2018, "h": 1988, "s": 1925}
_REPUBLIC, _BUDDHIST = 1911, -543
_ERA = re.compile(
    r"(令和|平成|昭和|大正|(?:中[華华])?民[國国])\s?(元|\d{1,3})\s?[年./-]\s?(\d{1,2})\s?[月./-]\s?(\d{1,2})日?"
)
_ERA_CELL = re.compile(r"([rhs])\s?(\d{1,2})([./-])(\d{1,2})\3(\d{1,2})(?!\d)", re.IGNORECASE)
_REPUBLIC_CELL = re.compile(r"(0?[89]\d|1[0-3]\d)([./-])(\d{1,2})\2(\d{1,2})(?!\d)")
_REPUBLIC_DIGITS = re.compile(r"(1[0-3]\d)([01]\d)([0-3]\d)")
_BUDDHIST_YEAR = re.compile(r"(?<!\d)(25[3-8]\d)(?!\d)")
# The whole of a cell: a year of two digits, or a day that a spreadsheet counts; a time may follow.
_TIME = r"(?:[T,]?\s*\d{1,2}[:.h]\d{2}(?:[:.]\d{2}(?:[.,]\d+)?)?\s*(?:[ap]\.?m\.?)?\s*(?:uhr|z)?)?"
_SHORT_YEAR = re.compile(rf"(\d{{1,2}})([-./])(\d{{1,2}})\2(\d\d){_TIME}", re.IGNORECASE)
_SHORT_MONTH = re.compile(rf"(\d{{1,2}})[-/. ]({MONTH})\.?[-/. ](\d\d){_TIME}", re.IGNORECASE)
_SERIAL = re.compile(r"(\d{5})(?:[.,]\d+)?")
SERIALS = (date(1899, 12, 30).toordinal(), date(1904, 1, 1).toordinal())
"""Day 0 of the dates in a spreadsheet: Excel's two systems."""
_FIRST_SERIAL, _LAST_SERIAL = 25_569, 58_000
"""1970 and 2058 by the usual system."""


def day(text: str) -> int | None:
    """The first date in a text as a day number; None where there is none that is certain.

    A date with the year last is certain when it is written with dots (day first), with the month in
    letters, or when one number is above 12.

    Example:
        >>> day("20210304") == day("2021-03-04") == day("4.3.2021") == day("2021年3月4日")
        True
        >>> day("4. März 2021") == day("04-Mar-2021") == day("20210304101112") == day("20210304")
        True
        >>> day("03/04/2021"), day("patient 7"), day("20211304")
        (None, None, None)
    """
    found = _written(western(text))
    return found[0] if len(found) == 1 else None


def _written(text: str) -> tuple[int, ...]:
    """All readings of the first date in a text."""
    if found := _YEAR_FIRST.search(text):
        year, separator, month, of_month = found.groups()
        if separator or len(month) == len(of_month) == 2:
            return _days((year, month, of_month))

    if found := _DAY_MONTH_YEAR.search(text):
        return _days((found[3], _month(found[2]), found[1]))
    if found := _MONTH_DAY_YEAR.search(text):
        return _days((found[3], _month(found[1]), found[2]))
    if found := _YEAR_MONTH_DAY.search(text):
        return _days((found[1], _month(found[2]), found[3]))

    if found := _YEAR_LAST.search(text):
        first, separator, second, year = found.groups()
        return _either(first, second, year, separator)

    return ()


_OTHER_YEAR = r"1[34]\d\d|25[3-8]\d"
"""Of Iran's calendar and the Islamic one, which are told apart by the century, or of Thailand's."""
_OTHER_FIRST = re.compile(rf"(?<!\d)({_OTHER_YEAR})([-_/.])(\d{{1,2}})\2(\d{{1,2}})(?!\d)")
_OTHER_LAST = re.compile(rf"(?<!\d)(\d{{1,2}})([-_/.])(\d{{1,2}})\2({_OTHER_YEAR})(?!\d)")
_OTHER_DIGITS = re.compile(rf"({_OTHER_YEAR})([01]\d)([0-3]\d)")
_FIRST_HIJRI = 1416
"""1995 in the Islamic calendar; as a year of Iran's it is 2037."""


def _gregorian(year: int, month: int, of_month: int) -> date | None:
    """A day of Iran's solar calendar, the Islamic civil one, or the Buddhist one.

    Calculation: E. G. Richards, "Calendars", Explanatory Supplement to the Astronomical Almanac
    (2013), 15.11; for Iran the 33-year cycle, right from 1178 to 1633. The Islamic day may be one
    off the one that was announced.
    """
    if not (1 <= month <= 12 and 1 <= of_month <= 31):
        return None
    if year > 2500:
        days = _days((str(year + _BUDDHIST), month, str(of_month)))
        return date.fromordinal(days[0]) if days else None
    if year >= _FIRST_HIJRI:
        julian = (11 * year + 3) // 30 + 354 * year + 30 * month - (month - 1) // 2 + of_month
        return date.fromordinal(julian + 1948440 - 385 - 1721425)

    past = year - 979
    number = 365 * past + past // 33 * 8 + (past % 33 + 3) // 4 + of_month - 1
    number += 31 * (month - 1) if month < 7 else 30 * (month - 7) + 186
    return date.fromordinal(date(1600, 1, 1).toordinal() + 79 + number)


def _digits(text: str) -> str:
    """Digits of all scripts as those of ASCII: `۱۴۰۱`, `٢٠٢١`, `२०२१`."""
    if text.isascii():
        return text
    return "".join(str(decimal(c)) if c.isdecimal() else c for c in text)


def western(text: str) -> str:
    """A text with dates of other calendars as most of the world has them, and digits of ASCII.

    Japan's eras, the Republic of China, Iran, the Islamic calendar, Thailand.

    Example:
        >>> western("令和3年4月5日 MRI"), western("民國110年3月4日"), western("平成元年2月3日")
        ('2021-4-5 MRI', '2021-3-4', '1989-2-3')
        >>> [western(text) for text in ("۱۴۰۱-۰۵-۱۲", "12/05/1401", "1443-07-12", "2564-03-04")]
        ['2022-08-03', '2022-08-03', '2022-02-14', '2021-03-04']
    """
    text = _digits(text)

    def other(found: re.Match[str]) -> str:
        numbers = [int(found[n]) for n in (1, 3, 4)]
        if numbers[2] > 2500:  # of the day and the month either may come first
            return found[0].replace(found[4], str(numbers[2] + _BUDDHIST))

        of_year = _gregorian(*(numbers if numbers[0] > 1000 else reversed(numbers)))
        return of_year.isoformat() if of_year else found[0]

    text = _OTHER_LAST.sub(other, _OTHER_FIRST.sub(other, text))

    def written(found: re.Match[str]) -> str:
        count = 1 if found[2] == "元" else int(found[2])
        return f"{_ERAS.get(found[1], _REPUBLIC) + count}-{found[3]}-{found[4]}"

    return _ERA.sub(written, text)


def _western_cell(cell: str) -> str:
    """`western` of a whole cell, where a letter or a bare number may tell the calendar.

    Example:
        >>> [_western_cell(cell) for cell in ("R3.4.5", "110/03/04", "1100304", "04/03/2564")]
        ['2021-4-5', '2021-03-04', '2021-03-04', '04/03/2021']
        >>> [_western_cell(cell) for cell in ("14020512", "25640304", "۱۴۰۲۰۵۱۲")]
        ['2023-08-03', '2021-03-04', '2023-08-03']
    """
    if found := _ERA_CELL.match(cell):
        return (
            f"{_ERAS[found[1].lower()] + int(found[2])}-{found[4]}-{found[5]}{cell[found.end() :]}"
        )
    if found := _REPUBLIC_CELL.match(cell):
        return f"{_REPUBLIC + int(found[1])}-{found[3]}-{found[4]}{cell[found.end() :]}"
    if found := _OTHER_DIGITS.fullmatch(_digits(cell)):
        return western("-".join(found.groups()))
    if found := _REPUBLIC_DIGITS.fullmatch(cell):
        return f"{_REPUBLIC + int(found[1])}-{found[2]}-{found[3]}"

    return _BUDDHIST_YEAR.sub(lambda year: str(int(year[0]) + _BUDDHIST), western(cell))


def _month(word: str) -> int:
    return MONTHS[word.lower()]


def _either(first: str, second: str, year: str, separator: str) -> tuple[int, ...]:
    """Day first; unless the numbers are parted by dots, month first as well."""
    readings = [(year, second, first)]
    if separator != "." and first != second:
        readings.append((year, first, second))
    return _days(*readings)


def _days(*readings: tuple[str, str | int, str]) -> tuple[int, ...]:
    found = []
    for year, month, of_month in readings:
        try:
            found.append(date(int(year), int(month), int(of_month)).toordinal())
        except ValueError:
            continue

    return tuple(dict.fromkeys(found))


def readings(cell: str) -> tuple[int, ...]:
    """All days that the cell of a column of dates can mean, the likelier first; none: no date.

    Besides what `day` reads: ``03/04/2021`` both ways, years of two digits, and the days that
    spreadsheets count from 1900 or 1904.

    Example:
        >>> [date.fromordinal(d).isoformat() for d in readings("03/04/2021 10:15")]
        ['2021-04-03', '2021-03-04']
        >>> [date.fromordinal(d).isoformat() for d in readings("04.03.21")]
        ['2021-03-04']
        >>> [date.fromordinal(d).isoformat() for d in readings("110/03/04") + readings("R3.4.5")]
        ['2021-03-04', '2021-04-05']
        >>> [date.fromordinal(d).isoformat() for d in readings("44259")]
        ['2021-03-04', '2025-03-05']
    """
    text = _western_cell(cell.strip())
    if found := _written(text):
        return found

    if found := _SHORT_YEAR.fullmatch(text):
        first, separator, second, year = found.groups()
        return _either(first, second, _century(year), separator)

    if found := _SHORT_MONTH.fullmatch(text):
        return _days((_century(found[3]), _month(found[2]), found[1]))
    if (found := _SERIAL.fullmatch(text)) and _FIRST_SERIAL <= int(found[1]) <= _LAST_SERIAL:
        return tuple(start + int(found[1]) for start in SERIALS)

    return ()


def _century(year: str) -> str:
    return f"{'19' if int(year) > 68 else '20'}{year}"  # as POSIX reads them


def settle(cells: Sequence[str], examined: Sequence[Iterable[int]], apart: int) -> list[int | None]:
    """The day of each cell of a column; None where two readings are left.

    One column has one order of day and month: that of its cells that can be read one way only.
    Where there is none, the order in which more cells name a day on which the patient was examined;
    and for a single cell the reading that lies near an examination, where the other one does not.
    Without an examination to compare with, nothing settles it.

    Args:
        cells: of the column.
        examined: days of the examinations of each row's patient.
        apart: days up to which a reading is near.

    Example:
        >>> exams = [{date(2021, 4, 3).toordinal()}, {date(2021, 5, 2).toordinal()}]
        >>> found = settle(["03/04/2021", "02/05/2021"], exams, 30)
        >>> [date.fromordinal(d).isoformat() for d in found if d]
        ['2021-04-03', '2021-05-02']
    """
    read = [readings(cell) for cell in cells]
    order = _order(cells, read, examined)
    result: list[int | None] = []
    for days, exams in zip(read, examined, strict=True):
        if len(days) < 2 or order is not None:
            result.append(days[min(order or 0, len(days) - 1)] if days else None)
            continue
        exams = tuple(exams)
        near = [d for d in days if any(abs(d - exam) <= apart for exam in exams)]
        # Where both are far from every examination, neither can be its report's.
        far = days[0] if exams and not near else None
        result.append(near[0] if len(near) == 1 else far)

    return result


def _order(
    cells: Sequence[str], read: Sequence[tuple[int, ...]], examined: Sequence[Iterable[int]]
) -> int | None:
    """Which of two readings the cells of a column mean; None where nothing settles it."""
    firsts = {_certain(cell) for cell, days in zip(cells, read, strict=True) if len(days) == 1}
    firsts.discard(None)
    if len(firsts) == 1:
        return firsts.pop()

    same = [0, 0]
    for days, exams in zip(read, examined, strict=True):
        if len(days) == 2:
            for place, d in enumerate(days):
                same[place] += d in set(exams)

    if not firsts and same[0] != same[1] and 0 in same:
        return same.index(max(same))
    if read and all(map(_serial, cells)):
        return 0 if same[0] >= same[1] else 1

    return None


def _serial(cell: str) -> bool:
    return not cell.strip() or _SERIAL.fullmatch(cell.strip()) is not None


def _certain(cell: str) -> int | None:
    """0 where the day comes before the month for certain, 1 where it comes after it."""
    found = re.match(r"(\d{1,2})([-/])(\d{1,2})\2(?:\d{4}|\d\d)(?!\d)", cell.strip())
    if not found or int(found[1]) == int(found[3]):
        return None
    return 0 if int(found[1]) > 12 else 1 if int(found[3]) > 12 else None
