"""Numbers of patients that could be dates, such as ``20110417`` or ``ZY20210311``."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import date
from pathlib import PurePosixPath

from rfpmss.data.identity.names.parse import parse
from rfpmss.data.identity.names.what import says_what
from rfpmss.data.identity.numbered import stem

_LEADING = re.compile(r"(?P<head>[^\W\d_]{0,12})[-_ ]?(?P<number>\d{5,12})(?=[-_. ]|$)")
_EIGHT = re.compile(r"\d{8}")
_NUMBER_WORD = re.compile(
    r"mrn|pid|pn|ipp|nhc|uhid|nhs|kis|id|patient(?:id|nr|no)|pat(?:id|nr|no)|fallnr|caseid|subjectid"
    r"|住院号|登记号|病历号|病案号|门诊号|患者番号|환자번호"
)
"""Words for the number behind them."""
_FEWEST = 3
"""Names with one beginning, each with a report, that are more than the visits of one person."""


def like_dates(
    images: Iterable[PurePosixPath], texts: Iterable[str], known: Iterable[str]
) -> frozenset[str]:
    """Numbers of patients that could be dates, in lower case with the letters before them.

    They are PatientIDs, stand behind a word such as MRN, beside numbers that are no dates
    (``20411117`` and ``18765432``), or above another date; or all begin with the same letters and
    reports have the very same names.

    Args:
        images: paths of images.
        texts: names of texts, without their endings, and of folders of texts alone.
        known: identifiers of patients.

    Example:
        >>> paths = [PurePosixPath(f"ZY202103{n}/t1.nii") for n in (11, 12, 13)]
        >>> like_dates(paths, (), ()), sorted(like_dates(paths, ["zy20210311", "ZY20210312"], ()))
        (frozenset(), ['zy20210311', 'zy20210312', 'zy20210313'])
    """
    beside: dict[PurePosixPath, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    above: dict[PurePosixPath, set[str]] = defaultdict(set)
    for path in images:
        inner: set[int] = set()
        for place in (path.with_name(stem(path)), *path.parents[:-1]):
            if found := _LEADING.match(place.name.lower()):
                head, number = found["head"], found["number"]
                beside[place.parent][head].add(number)
                if head and inner - set(_days(number)):
                    above[place.parent].add(head)
            inner.update(time.day for time in parse(place.name).times if time.day is not None)

    named = {f["head"] + f["number"] for f in map(_LEADING.match, map(str.lower, texts)) if f}
    ids = {
        f["head"] + f["number"]
        for f in map(_LEADING.fullmatch, (text.strip().lower() for text in known))
        if f and _EIGHT.fullmatch(f["number"])
    }
    for place, heads in beside.items():
        for head, numbers in heads.items():
            alone = len(heads) == 1
            if (
                not all(map(_is_date, numbers))
                or _NUMBER_WORD.fullmatch(head)
                or head in above.get(place, ())
                or (alone and _reported(head, numbers, named))
            ):
                ids |= {head + number for number in numbers if _EIGHT.fullmatch(number)}

    return frozenset(ids)


def _days(number: str) -> Iterator[int]:
    return (time.day for time in parse(number).times if time.day is not None)


def _is_date(number: str) -> bool:
    """A day, not in the future; or a month or hour that names tell as well."""
    days = list(_days(number))
    return bool(parse(number).times) and all(day <= date.today().toordinal() for day in days)


def _reported(head: str, numbers: Collection[str], named: Collection[str]) -> bool:
    """Whether reports are called as names with the same letters, which say nothing else."""
    if not head or says_what(head) or len(numbers) < _FEWEST:
        return False

    return 2 * sum(head + number in named for number in numbers) >= len(numbers)


def coded(images: Iterable[PurePosixPath], ids: Collection[str]) -> tuple[set[str], list[int]]:
    """Names such as ``BJ20210311`` and ``BJ20210412`` beside ``SH20210513``, and their depths.

    The letters may be those of a person, with the date, or of a hospital, with a number.

    Args:
        images: paths of images.
        ids: of `like_dates`.

    Returns:
        The letters that stand with several dates, and the depth of each such name from 1; 0: it is
        a file's.
    """
    found: dict[PurePosixPath, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for path in images:
        for depth, place in enumerate((path.with_name(stem(path)), *path.parents[:-1])):
            code = _CODE.match(place.name)
            if code and code[0].lower() not in ids and _is_date(code["number"]):
                at = len(place.parts) if depth else 0
                found[place.parent][code["letters"]][code["number"]] = at

    several = [heads for heads in found.values() if len(heads) > 1]
    letters = {
        head
        for heads in several
        for head, dates in heads.items()
        if len(dates) > 1 and not says_what(head.lower())
    }
    depths = [
        at for heads in several for head in letters & set(heads) for at in heads[head].values()
    ]
    return letters, depths


_CODE = re.compile(r"(?P<letters>[A-Z]{1,4})(?P<number>\d{8})(?=[-_. ]|$)")
