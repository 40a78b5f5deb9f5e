"""Time points that names tell, and the words for them in the languages of hospitals."""

from __future__ import annotations

import re
from dataclasses import dataclass

START, END = r"(?<![0-9a-z])", r"(?![0-9a-z])"


@dataclass(frozen=True)
class Time:
    """A time point that a name tells."""

    label: str
    """Such as ``week 44``; equal for all spellings."""
    day: int | None = None
    """Of a date."""
    phase: str = ""
    """``pre-op``, ``intra-op`` or ``post-op``."""
    weak: bool = False
    """A word that may also number files or people: scan 3, exam 2, control 1, a date."""


UNITS = {
    "visit": "visite?s?|besuch|visita|consulta|termin|bezoek|wizyta",
    "scan": "scans?|aufnahme|acquisition|esame",
    "exam": ("exam|exams|examination|examen|untersuchung|ex|bilan|onderzoek|badanie|estudo|exame"),
    "study": "study|studie|etude|estudio|st",
    "session": "sessions?|sess|ses|sitzung|sesion|seance",
    "timepoint": "time-?points?|tp|time|zeitpunkt|temps",
    "week": r"weeks?|wks?|wochen?|semaines?|semanas?|settiman[ae]|weken|tydzien|tygodni\w*",
    "month": (r"months?|mo|mths?|mons?|monate?|mois|mes(?:es)?|mes[ei]|maand(?:en)?|miesi[ae]c\w*"),
    "day": "days?|tage?|jours?|dias?|giorn[oi]|dag(?:en)?|dzien|dni",
    "year": "years?|yrs?|jahre?|annees?|anos?|ann[oi]|jaar",
    "follow-up": (
        "follow-?ups?|fup?|verlauf|verlaufskontrolle|suivi|seguimiento|seguimento"
        "|acompanhamento|opvolging|obserwacja|nachsorge|recheck|restaging"
    ),
    "control": (
        "control|(?:verlaufs|nach|zwischen|abschluss)?kontrolle|controle|controllo|kontrola"
        "|voruntersuchung"
    ),
    "baseline": (
        "baseline|bl|nulmeting|ausgangs(?:befund|untersuchung)"
        "|erst(?:untersuchung|diagnose|vorstellung|befund)"
    ),
    "recurrence": (
        "recurrence|recurrent|rezidiv|recidive|recidief|recidiva|recaida|relapse|wznowa"
    ),
    "progression": "progression|progress|progresion|progressione|progressao|progressie|progresja",
    "screening": "screening",
    "unscheduled": "unscheduled|unsched",
    "cycle": "cycles?|zyklus|zyklen|ciclos?|ciclo|cykl|kuur",
}
WEAK = {"scan", "exam", "study", "control"}
SPANS = {"week", "month", "day", "year"}
_ALONE = "|".join(
    (
        r"(?!recheck|control(?![a-z]))(?:" + UNITS["follow-up"] + "|" + UNITS["control"] + ")|fu",
        UNITS["baseline"],
        r"(?!recurrent)(?:" + UNITS["recurrence"] + ")",
        r"(?!progress(?![a-z]))(?:" + UNITS["progression"] + ")",
        UNITS["screening"],
        UNITS["unscheduled"],
    )
)
EXAMINATION = re.compile(
    "|".join((*(UNITS[unit] for unit in ("visit", "scan", "exam", "study", "control")), "de|del"))
)
SCANNED = re.compile(
    r"mri?|mrt|irm|nmr|rmn?|rnm|rezonans|ct|cat|tc|tac|tdm|tomo(?:grafia)?|scanner|pet|kernspin"
    r"|resonan(?:cia|za|ce)|magnetic|magneti[ck]a|kranial|cranial|cerebral|cerebrale|brain|kopf"
    r"|schadel|head|encefalo|craneo|cranio|cerebro|cerebrum|hersenen"
)
_ALL = "|".join(f"(?P<{unit.replace('-', '_')}>{words})" for unit, words in UNITS.items())
SPAN = "|".join(UNITS[unit] for unit in sorted(SPANS))
LETTERS = {"mo": "month", "d": "day", "w": "week", "m": "month", "y": "year"}
"""Units behind a number without a separator: ``postop6m``."""
_SHORT_WORDS = r"(?:ex|st|ses|sess|tp|wks?|mo|mths?|mons?|mes|fup?|bl|an|dias?)"
_LETTERED = r"(?:visite?|scan|exam|examination|study|session|time-?point|follow-?up|besuch)"
SPELLED = {
    **{word: n for n, word in enumerate(("one", "two", "three", "four", "five", "six"), 1)},
    **{word: n for n, word in enumerate("abcdef", 1)},
    **{word: n for n, word in enumerate(("i", "ii", "iii", "iv", "v", "vi", "vii", "viii"), 1)},
}
WORDED = re.compile(rf"(?<![a-z])(?=(?:{_LETTERED})-)(?:{_ALL})-(?P<o>{'|'.join(SPELLED)}){END}")
FORWARD = re.compile(
    rf"(?<![a-z])(?!(?<=[0-9]){_SHORT_WORDS}-?\d)(?:{_ALL})"
    rf"-?(?P<n>\d{{1,4}})(?!-(?:{SPAN}){END})"
    r"(?P<sub>-\d{1,2}(?!\d)(?=-|$))?(?P<letter>[a-z])?" + END
)
BACKWARD = re.compile(
    rf"(?<![0-9a-z])(?P<n>\d{{1,4}})(?:st|nd|rd|th|e|er|ere|eme)?-?(?:{_ALL}){END}"
)
ORDINAL = {
    **dict.fromkeys(("first", "1st", "erste", "premier", "premiere", "primera", "primer"), 1),
    **dict.fromkeys(("second", "2nd", "zweite", "deuxieme", "segunda", "segundo"), 2),
    **dict.fromkeys(("third", "3rd", "dritte", "troisieme", "tercera", "tercer"), 3),
    **dict.fromkeys(("fourth", "vierte", "quatrieme", "cuarta"), 4),
    **dict.fromkeys(("last", "final", "letzte", "dernier", "derniere", "ultima"), 99),
}
ORDER = re.compile(rf"{START}(?P<o>{'|'.join(ORDINAL)})-(?:{_ALL}){END}")
LONE = re.compile(rf"{START}(?:{_ALONE}){END}")

BARE = re.compile(rf"{START}(?P<when>pre|post)(?:-?(?P<n>\d))?{END}")
ALONE_ONLY = {
    **{word: f"visit {number}" for word, number in ORDINAL.items()},
    **dict.fromkeys(
        ("before", "vorher", "avant", "antes", "prior", "previous", "prima", "przed", "前"),
        "before",
    ),
    **dict.fromkeys(
        ("after", "nachher", "apres", "despues", "depois", "dopo", "po", "后"), "after"
    ),
    **dict.fromkeys(
        (
            *("initial", "initiale", "initiales", "inicial", "iniziale", "start", "beginning"),
            *("basale", "basal", "begin", "beginn", "debut", "inicio", "inizio", "poczatek"),
            *("ausgang", "ausgangslage", "pretratamiento", "prebehandeling"),
            *("poczatkowe", "wstepne", "wyjsciowe", "eerste", "pierwsze"),
        ),
        "baseline",
    ),
    **dict.fromkeys(
        ("diagnosis", "diagnose", "diagnostic", "diagnostico", "diagnosi"), "diagnosis"
    ),
    **dict.fromkeys(
        ("fin", "finale", "fine", "fim", "ende", "abschluss", "einde", "koniec"), "end"
    ),
    **dict.fromkeys(("admission", "入院"), "admission"),
    **dict.fromkeys(("discharge", "出院"), "discharge"),
    **dict.fromkeys(("repeat", "retest"), "visit 2"),
    **dict.fromkeys(("early", "late", "current", "end", "middle"), ""),
}
"""Words that tell the time where they are the whole name."""
ALONE_ONLY = {word: label or word for word, label in ALONE_ONLY.items()}
