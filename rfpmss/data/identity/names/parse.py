"""What one folder's or file's name says: who, when, and what is in it.

The words are those of hospitals and of public cohorts in English, Chinese, German, French and
Spanish; ``tests/tables/identity/layouts.csv`` is the table of what is known to be read right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from rfpmss.data.identity.names.dates import date_in
from rfpmss.data.identity.names.person import ID, KNOWN, NOBODY, PERSONS, WORD, rank
from rfpmss.data.identity.names.plain import cut, plain, unaccented
from rfpmss.data.identity.names.times import ALONE_ONLY, Time
from rfpmss.data.identity.names.what import (
    CHANNEL,
    CHINESE_CONTENT,
    CONTRAST,
    ENTITY,
    SHORT_REPORT,
    says_what,
)
from rfpmss.data.identity.names.when import examined, tees, when
from rfpmss.data.identity.words.spoken import in_english
from rfpmss.data.readers.sequences import without_prefix
from rfpmss.data.readers.text.dates import western


@dataclass(frozen=True)
class Name:
    """A name, taken apart."""

    who: str
    """What is left without words for what and when; ``""``: nothing."""
    times: tuple[Time, ...] = ()
    kinds: tuple[str, ...] = ()
    """Words for what is in it."""
    number: str = ""
    """A number beside words for what is in it, such as ``017`` of ``MR_017``."""
    core: str = ""
    """`who` of a folder such as ``Mueller_CT`` without the words for what is in it."""

    @property
    def rank(self) -> int:
        """`PERSON`, `ID`, `SHORT` or `WORD`."""
        return rank(self.who)


@lru_cache(maxsize=100_000)
def parse(
    text: str, *, file: bool = False, tee: bool = False, ids: frozenset[str] = frozenset()
) -> Name:
    """Take a name apart.

    Args:
        text: of a folder, or of a file without its endings.
        file: it is a file's: ``pre`` and ``post`` beside a sequence tell of contrast.
        tee: T0, T1, T2 are time points, not sequences.
        ids: numbers of patients that could be dates, see `rfpmss.data.identity.like_dates`.

    Example:
        >>> parse("P1_visit2"), parse("week-044").times[0].label
        (Name(who='p1', times=(Time(label='visit 2', day=None, phase='', weak=False),), kinds=(), \
number='', core='p1'), 'week 44')
        >>> [parse(t).times[0].phase for t in ("PreOp", "post_surgery", "术后")]
        ['pre-op', 'post-op', 'post-op']
    """
    text = in_english(text)
    if file:
        text = without_prefix(text)

    text = western(text)
    low = unaccented(text).lower()
    times: list[Time] = []
    while (found := date_in(low, ids)) is not None:
        start, end, time = found
        if times and (not file or time.day is None):
            break
        times.append(time)  # of a file's name also a second one: a birth, then the examination
        text = cut(text if len(text) == len(low) else low, start, end)
        low = cut(low, start, end)

    rest = plain(text)
    if file:
        rest = CHANNEL.sub("", rest)
        if rest.startswith("sub-"):
            rest = ENTITY.sub("-", rest)

    rest, kinds = _take(rest, CONTRAST)
    rest = _known(rest, times)
    rest = when(rest, times, file=file)
    rest = re.sub(CHINESE_CONTENT, lambda m: f"-{kinds.append(m[0]) or ''}", rest)
    tokens = [token for token in re.split(r"-+", rest) if token]
    tokens = tees(tokens, times, file=file) if tee else tokens
    who, number = _who(tokens, kinds, times)
    if who in ALONE_ONLY:
        times.append(Time(ALONE_ONLY[who]))
        who = ""

    if kinds and not times and (found := re.fullmatch(r"(\d{1,2})-control", who)):
        times.append(Time(f"control {int(found[1])}", weak=True))  # as 02_control without MRI
        who = ""

    who = examined(who, times)
    core = who
    if who and kinds and not file and rank(who) == WORD:  # CT_small and MR_small may be two people
        who = "-".join(tokens)

    dated = times and times[0].label.startswith("date")
    if NOBODY.fullmatch(who) or (dated and who in ("ses", "visit", "scan", "exam")):
        who = core = ""

    return Name(who, tuple(dict.fromkeys(times)), tuple(kinds), number, core)


def parse_id(text: str) -> Name:
    """`parse` of a PatientID: no sequence stands at its end, so T1 is a time point there.

    Example:
        >>> parse_id("GBM01-T1").times[0].label, parse_id("P11_tp2").who
        ('timepoint 1', 'p11')
    """
    return parse(text, tee=re.search(r"[\W_][tT]\d$", text) is not None)


def _take(rest: str, pattern: re.Pattern[str]) -> tuple[str, list[str]]:
    kinds = [found[0] for found in pattern.finditer(rest)]
    return pattern.sub("-", rest), kinds


def _known(rest: str, times: list[Time]) -> str:
    for pattern in KNOWN:
        if found := pattern.match(rest):
            if found["t"]:
                times.append(Time(f"timepoint {found['t'].lstrip('0') or 0}"))
            # No word inside of it is taken for a time or a content.
            return f"{found['who'].replace('-', '_')}-{rest[found.end() :]}"

    return rest


def short_time(text: str) -> Time | None:
    """The time point of ``v2``, ``m12`` or ``6w``: a letter and a number; None: it is none.

    Example:
        >>> [time and time.label for time in map(short_time, ("v2", "6w", "x1", "12"))]
        ['visit 2', 'week 6', None, None]
    """
    mark = re.fullmatch(r"(?P<a>[vwmdy]?)(?P<n>\d{1,4})(?P<b>[wmdy]?)", text)
    if not mark or bool(mark["a"]) == bool(mark["b"]):
        return None

    unit = dict(zip("vwmdy", ("visit", "week", "month", "day", "year"), strict=True))
    return Time(f"{unit[mark['a'] or mark['b']]} {int(mark['n'])}")


def _who(tokens: list[str], kinds: list[str], times: list[Time]) -> tuple[str, str]:
    rest, numbers = [], []
    letter = len(tokens) == 1 and len(tokens[0]) == 1
    for place, token in enumerate(tokens):
        named = place > 0 and PERSONS.fullmatch(f"{tokens[place - 1]}-{token}")
        if named and tokens[place - 1] not in rest:
            rest.append(tokens[place - 1])
        last = place == len(tokens) - 1 and re.search(r"\d", "".join(rest))
        short = last and token == SHORT_REPORT
        if short or (not letter and says_what(token) and not PERSONS.fullmatch(token)):
            kinds.append(token)
        elif token.isdecimal() and not rest and kinds and not named:
            numbers.append(token)
        else:
            rest.append(token)

    # P1_V2, GBM-017_m12: a letter and a number after who it is.
    short = short_time(rest[-1]) if rest else None
    counted = len(rest) == 1 and bool(numbers) and rest[0].startswith("v")  # tumor-01_v1
    if short and (times or counted or rank("-".join(rest[:-1])) >= ID):
        times.append(short)
        rest = rest[:-1]

    numbered = [token for token in numbers if len(token) > 3]
    if not rest and len(numbered) == 1:  # MR_00017: a number of so many digits is somebody's
        rest = numbered

    number = next((k for k in kinds if re.search(r"[a-z]\d{3,}$", k)), "")
    number = numbers[0] if numbers else re.sub(r"\D", "", number)
    return "-".join(rest).replace("_", "-"), number
