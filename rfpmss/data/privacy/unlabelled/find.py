"""Names of people and hospitals that no label, title or header tells."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import chain

from rfpmss.data.privacy.unlabelled.institutions import without_institutions
from rfpmss.data.privacy.unlabelled.kin import without_kin
from rfpmss.data.privacy.unlabelled.origins import without_origins
from rfpmss.data.privacy.unlabelled.people import people
from rfpmss.data.privacy.unlabelled.small import without_small
from rfpmss.data.privacy.unlabelled.uncased import WIDE, uncased


def without_unlabelled(
    text: str, blank: str, spoken: Collection[str] | None = None
) -> tuple[str, list[str]]:
    """A report with a blank for each name that only the lexicon or its place tells, and the names.

    Args:
        text: a report whose labelled names are gone.
        blank: what stands for a name.
        spoken: the languages of the text, of `general.languages`; None: as that tells them.

    Example:
        >>> without_unlabelled("Seen with Emily Thornbury at Mercy Hospital.", "___")
        ('Seen with ___ at ___.', ['Emily Thornbury'])
    """
    text = without_origins(without_institutions(text, blank), blank)
    found = people(text)
    if WIDE.search(text):
        found = chain(found, uncased(text))

    made, names, place = [], [], 0
    for start, end in sorted(found):
        if start < place:
            continue
        made += [text[place:start], blank]
        names.append(text[start:end])
        place = end

    text = without_kin("".join((*made, text[place:])), blank, spoken)
    return without_small(text, blank, spoken), names


_YEARS = (
    r"(?:[\s-]{0,2}(?:year|yr|y/?o\b|y\.o|jähr|jahre|j\.|ans\b|años|anni\b|anos\b|jaar|jarige"
    r"|lat\b|let\b|rok|år|éves|vuotia"
    r"|ani\b|godin|yaş|tahun|tuổi|ปี|歳|才|岁|歲|세|лет|год|рок[иі]в|ετών|שנ|سنة|ساله|वर्ष))"
)
_OLD = re.compile(
    rf"(?<![\d.,/-])(?:9\d|1[01]\d)(?={_YEARS})"
    r"|(?<=\baged )(?:9\d|1[01]\d)(?![\d%.])|(?<=\bage )(?:9\d|1[01]\d)(?![\d%.])",
    re.IGNORECASE,
)


def without_the_old(text: str, blank: str) -> str:
    """A report without ages above 89, which few people have.

    Rule: 45 CFR 164.514(b)(2)(i)(C).

    Example:
        >>> without_the_old("A 93-year-old woman, dose 95 mg.", "___")
        'A ___-year-old woman, dose 95 mg.'
    """
    return _OLD.sub(blank, text)
