"""When: the time points that a name tells, taken out of it."""

from __future__ import annotations

import re

from rfpmss.data.identity.names.cjk import CHINESE, chinese
from rfpmss.data.identity.names.person import PERSONS
from rfpmss.data.identity.names.plain import cut_at, plain
from rfpmss.data.identity.names.therapy import HOURS, PHASES, TREATED, TREATED_WHEN, TRIAL
from rfpmss.data.identity.names.times import (
    ALONE_ONLY,
    BACKWARD,
    BARE,
    END,
    EXAMINATION,
    FORWARD,
    LETTERS,
    LONE,
    ORDER,
    ORDINAL,
    SCANNED,
    SPAN,
    SPANS,
    SPELLED,
    UNITS,
    WEAK,
    WORDED,
    Time,
)
from rfpmss.data.identity.names.what import CONTENT, MODALITY, says_what


def phase_of(text: str) -> str:
    """``pre-op``, ``intra-op`` or ``post-op`` if a description says one of them, else nothing.

    Example:
        >>> [phase_of(t) for t in ("MRI BRAIN POST OP", "T1 post contrast", "头颅MRI术前")]
        ['post-op', '', 'pre-op']
    """
    rest = plain(text)
    found = {
        phase for phase, words in PHASES.items() if re.search(rf"(?<![a-z])(?:{words}){END}", rest)
    }
    found |= {phase for pattern, phase in CHINESE if phase in PHASES and pattern.search(rest)}
    return found.pop() if len(found) == 1 else ""


def when(rest: str, times: list[Time], *, file: bool) -> str:
    """What is left of a name without its time points, which are added to ``times``.

    Args:
        rest: the name, as `plain` has it.
        times: takes them.
        file: it is a file's: ``pre`` and ``post`` beside a sequence tell of contrast.
    """
    for phase, words in PHASES.items():
        pattern = re.compile(
            rf"(?<![a-z])(?:{words})(?:-?(?P<n>\d{{1,2}})(?!-(?:{SPAN}){END})"
            rf"(?P<unit>{'|'.join(LETTERS)})?)?{END}"
        )
        if found := pattern.search(rest):
            unit = f" {LETTERS[found['unit']]}" if found["unit"] else ""
            number = f"{unit} {int(found['n'])}" if found["n"] else ""
            when = re.search(r"early|late|immediate|fruh|spat", found[0])
            times.append(Time((f"{when[0]} " if when else "") + phase + number, phase=phase))
            rest = cut_at(rest, found)

    rest = _treated(rest, times)
    for pattern in (FORWARD, WORDED, ORDER, BACKWARD):
        while found := pattern.search(rest):
            if pattern is BACKWARD and _somebodys(_before(rest, found), found):
                break
            times.append(_numbered(found))
            rest = cut_at(rest, found)

    rest = chinese(rest, times)
    if found := _alone(rest):
        times.append(Time(ALONE_ONLY[found[1]]))
        return found[0]

    if found := LONE.search(rest):
        unit = next(u for u, words in UNITS.items() if re.fullmatch(words, found[0]))
        times.append(Time(unit, weak=unit in WEAK))
        rest = cut_at(rest, found)

    found = BARE.search(rest)
    contrast = file and (
        re.search(r"(?<![a-z])t[12]|flair|mprage|spgr", rest) or found["n"] if found else ""
    )
    if found and not contrast:
        phase = f"{found['when']}-op"
        times.append(Time(f"{phase} {found['n']}" if found["n"] else phase, phase=phase))
        rest = cut_at(rest, found)

    return rest


def _treated(rest: str, times: list[Time]) -> str:
    """Before, in and after therapy; the visits of drug trials; hours."""
    if found := TREATED.search(rest):
        german = {"b": "start", "s": "start", "e": "end"}[(found["german"] or "e")[0]]
        when = next((when for when in TREATED_WHEN if found[when]), german)
        times.append(Time(f"{when}-treatment"))
        rest = cut_at(rest, found)

    for pattern, label in TRIAL:
        if found := pattern.search(rest):
            times.append(Time(label.format(*map(int, found.groups()))))
            rest = cut_at(rest, found)

    if (found := HOURS.search(rest)) and (times or found[0] == rest):
        times.append(Time(f"hour {int(found[1])}"))
        rest = cut_at(rest, found)

    return rest


def _alone(rest: str) -> tuple[str, str] | None:
    """What is left, and the one word for a time beside words for an examination.

    A number or nothing is left, and behind a number what the examination is: ``01-rm-basal``.
    """
    tokens = rest.split("-")
    number = tokens.pop(0) if len(tokens) > 1 and re.fullmatch(r"\d{1,2}", tokens[0]) else ""
    kept = [token for token in tokens if not EXAMINATION.fullmatch(token)]
    what = [token for token in kept if number and SCANNED.fullmatch(token)]
    kept = [token for token in kept if token not in what]
    if len(kept) != 1 or kept[0] not in ALONE_ONLY:
        return None

    return "-".join((number, *what)), kept[0]


def examined(who: str, times: list[Time]) -> str:
    """Of a name that tells the time what is left without words for an examination.

    ``02-control`` of ``02_RM_control_6_meses`` is the number alone.
    """
    number, _, words = who.partition("-")
    if not re.fullmatch(r"\d{1,2}", number):
        number, words = "", who

    spoken = times and words and all(map(EXAMINATION.fullmatch, words.split("-")))
    return number if spoken else who


def _somebodys(before: str, found: re.Match[str]) -> bool:
    """Whether a number belongs to the word before it: ``brain-01-baseline``, not ``mri-2-control``.

    Args:
        before: the word and the number.
        found: of the number and a word for a time behind it.
    """
    word = before.rpartition("-")[0]
    spans = any(found[unit] for unit in SPANS)
    content = word and says_what(word) and not EXAMINATION.fullmatch(word) and not MODALITY(word)
    return bool(PERSONS.fullmatch(before)) or bool(content and not spans)


def _before(rest: str, found: re.Match[str]) -> str:
    """The words up to a number, with it, that would lose it."""
    head = rest[: found.start()].rstrip("-").rpartition("-")[2]
    return f"{head}-{found['n']}" if head else ""


def _numbered(found: re.Match[str]) -> Time:
    groups = found.groupdict()
    unit = next(u for u in UNITS if groups.get(u.replace("-", "_")) is not None)
    number = (ORDINAL | SPELLED)[groups["o"]] if groups.get("o") else int(groups["n"])
    sub = groups.get("sub") or "" if unit in SPANS else ""
    return Time(f"{unit} {number}{sub}{groups.get('letter') or ''}", weak=unit in WEAK)


def tees(tokens: list[str], times: list[Time], *, file: bool) -> list[str]:
    """T0, T1, ... as time points: of a file's name the first that a content follows."""
    places = [n for n, token in enumerate(tokens) if re.fullmatch(r"t\d", token)]
    if not places:
        return tokens

    place = places[0] if file else places[-1]
    after = any(CONTENT.fullmatch(token) for token in tokens[place + 1 :])
    if file and not after and tokens[place] in ("t1", "t2"):
        return tokens

    times.append(Time(f"timepoint {tokens[place][1]}"))
    return tokens[:place] + tokens[place + 1 :]
