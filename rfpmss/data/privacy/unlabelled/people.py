"""Names in scripts with capital letters: `Sarah Whitcombe`, `Koch, Sabine`, `J. P. Müller`.

A name is a given name of the lexicon beside words with capitals that are none of medicine. Where
only people stand (a line or a bracket of its own, behind `discussed with` or `his niece`) a given
name alone is one, or a known family name, or initials and a word. Eponyms are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from rfpmss.data.privacy.persons import LOWER, PARTICLE, UPPER
from rfpmss.data.privacy.unlabelled.lexicon import Lexicon, lexicon
from rfpmss.data.privacy.vocabulary import common

_TOKEN = rf"(?:[{UPPER}]\.(?:-?[{UPPER}]\.)?|[{UPPER}]\w{{0,40}}(?:['’-]\w{{1,40}}){{0,3}})"
_RUN = re.compile(
    rf"(?<![\w'’.-]){_TOKEN}(?:(?:,?[ \u00a0]|(?<=\.))(?:{PARTICLE}){{0,3}}{_TOKEN}){{0,9}}"
)
_PIECE = re.compile(
    rf"(?P<before>,?[ \u00a0]?)(?P<particles>(?:{PARTICLE}){{0,3}})(?P<word>{_TOKEN})"
)
_RU = "А-ЯЁІЇЄҐ"
_RU_FAMILY = (
    rf"[{_RU}][а-яёіїєґ’'-]{{1,40}}(?:[оеё]в|[иы]н|[цс]кий|ко|[ую]к|ян|дзе|швили|[иы]х|[оеё]ва"
    rf"|[иы]на|[цс]кая"
    r"|[оеё]вой|[иы]ной|[цс]кой|[оеё]ву|[иы]ну|[оеё]вым|[иы]ным|[цс]кого|[цс]ким)"
)
_PATRONYMIC = re.compile(
    rf"(?<!\w)(?:{_RU_FAMILY}\s)?[{_RU}][а-яёіїєґ’']{{1,40}}\s[{_RU}][а-яёіїєґ’']{{1,40}}"
    r"(?:(?:ович|евич|йович)(?:а|у|ем|ом|е|і)?|(?:овн|евн|івн|ївн|иничн)(?:а|ой|ою|е|у|ы|і))"
    rf"(?:\s{_RU_FAMILY})?(?!\w)"
)
_KIN = (
    r"wife|husband|mother|father|son|daughter|spouse|partner|sister|brother|aunt|uncle|niece"
    r"|nephew|cousin"
    r"|friend|neighbou?r|carer|fiancée?|in-law|ehefrau|ehemann|gattin|mutter|vater|sohn|tochter"
    r"|schwester|bruder"
    r"|nichte|neffe|tante|onkel|freundin|nachbarin|épouse|mari|mère|père|fils|fille|frère|sœur"
    r"|nièce|neveu"
    r"|compagne|compagnon|belle-fille|beau-fils|esposa|marido|madre|padre|hij[oa]|herman[oa]"
    r"|sobrin[oa]|ti[oa]"
    r"|moglie|marito|figli[oa]|fratello|sorella|nipote|mãe|pai|filh[oa]|irmã|irmão|sobrinh[oa]"
    r"|vrouw|dochter|zoon"
    r"|zus|broer|nicht|neef|hustrun?|maken|dottern?|sonen|systern?|brodern?|kone|datter|søn|sønn"
    r"|żona|mąż|córka|syn"
    r"|siostra|brat|siostrzenica|manželka|manžel|dcera|felesége|férje|lánya|fia|soția|soțul|fiica"
    r"|fiul|eşi|kızı|oğlu"
    r"|vaimo|puoliso|tytär|poika|жена|муж|дочь|сын|мать|отец|сестра|брат|племянница|дружина|дочка"
    r"|син|съпруга"
    r"|σύζυγος|κόρη|γιος"
)
_ROLE = (
    r"nurse|technologist|technician|tech|radiographer|sonographer|secretary|interpreter|porter"
    r"|registrar|resident"
    r"|fellow|consultant|paramedic|mtra|schwester|pfleger|assistenz|sekretariat|laborant(?:e|in)?"
    r"|manipulat(?:eur|rice)|infirmi(?:er|ère)|secrétaire|enfermer[ao]|técnic[oa]|residente"
    r"|tecnico|infermier[ea]"
    r"|медсестра|лаборант|врач|technik|zdravotní sestra|laborantka|sköterska|sygeplejerske"
)
_HEARD = (
    r"(?:discussed|reviewed|agreed|consulted|conferred|confirmed|seen|shared) (?:together )?with"
    r"|(?:spoke|spoken|talked"
    r"|reported|communicated|given|relayed|called|thanks|letter|referred) to|notified|informed"
    r"|paged|called"
    r"|thank you|contact|attn:?|dear|besprochen mit|rücksprache(?: mit)?|mitteilung an"
    r"|informiert:?|telefonat mit|dank an"
    r"|nachrichtlich|(?:discuté|vu|échangé) avec|(?:appel|merci|transmis|communiqué) à|informé"
    r"|(?:comentado|discutido|hablado) con|avisad[oa](?: a)?|informad[oa](?: a)?|gracias a"
    r"|discusso con|avvisat[oa]"
    r"|grazie a|discutido com|besproken met|gebeld met|overlegd met|diskuterat med|ringt"
    r"|drøftet med|diskutert med"
    r"|omówiono z|poinformowano|konzultováno s|konzultované s|megbeszélve:?|discutat cu"
    r"|dogovoreno s|konsultovan"
    r"|posvet:?|keskusteltu:?|rætt við|arutatud:?|pārrunāts ar|aptarta su|đã trao đổi với"
    r"|didiskusikan dengan"
    r"|dibincangkan dengan|обсуждено с|консультирован|обговорено з|обсъдено с|консултован"
    r"|συζητήθηκε με"
    r"|cheers|regards|thanks|hello|lives with|accompanied by|signed|reviewed by|read by"
)
_BEFORE = re.compile(
    rf"(?<![\w-])(?:(?:{_KIN}|{_ROLE}|{_HEARD}),?\s{{1,2}}|(?:{_KIN})\s\()$", re.IGNORECASE
)
_NOUN = re.compile(
    r"['’]?s?[- ](?:syndrom|síndrom|sindrom|disease|malformation|sign\b|signs\b|score|grad|index"
    r"|scale|spaces?\b|fissure"
    r"|krankheit|phänomen|body|bodies|classification|criteria|cyst|sequence|reflex|palsy|test\b"
    r"|stain|method|line\b"
    r"|angle|fold|atroph|reservoir|valve|catheter|encephal|trias|triad|variant|kinase|sarcom"
    r"|lymphom|anomal|complex\b"
    r"|coil|aneurysm|protocol|regimen|artifact|ray\b|knife|räume|zeichen|zyste)",
    re.IGNORECASE,
)
"""Behind an eponym."""
_MORBUS = re.compile(
    r"(?:syndrom\w*|síndrome|sindrome|maladie|malformat\w*|morbus|signe?|enfermedad|doença"
    r"|malattia|krankheit|indice"
    r"|índice|zespół|choroba|болезнь|синдром|ziekte|espaces?|veine|cisura|agujero|trou|forame\w*"
    r"|vein|artery|fovea) "
    r"(?:de |di |von |van |of |du |da )?$",
    re.IGNORECASE,
)
_EPONYM = re.compile(
    rf"(?:[ –-](?:and )?[{UPPER}][{LOWER}]{{2,20}})?(?:{_NOUN.pattern}"
    r"|['’]?s?[- ](?:nucle|cells?\b|parese?\b|paresis|loop|schleife|kriteri|klassifik|skala"
    r"|staging|[AB]\b|appearance"
    r"|canal\b|medical|linear|pump))",
    re.IGNORECASE,
)
_CASES = (
    *(
        ("ой", "а"),
        ("ою", "а"),
        ("ей", "я"),
        ("ом", ""),
        ("ем", "й"),
        ("у", "а"),
        ("у", ""),
        ("а", ""),
        ("ы", "а"),
    ),
    *(
        ("е", "а"),
        ("и", "я"),
        ("ą", "a"),
        ("ę", "a"),
        ("iem", ""),
        ("em", ""),
        ("owi", ""),
        ("ovi", ""),
        ("ou", "a"),
    ),
    *(("a", ""), ("'s", ""), ("’s", ""), ("ς", ""), ("ο", "ος"), ("η", "ης"), ("ου", "ος")),
)
"""Endings of cases, and what stands for them in the nominative: Russian, Polish, Czech, Greek."""
LONGEST = 5
"""Words of a name at most."""


@dataclass(frozen=True, kw_only=True)
class _Word:
    start: int
    """Of the word; its particles stand before it."""
    end: int
    kind: str
    """given, weak (a word as well), family, initial, unknown, or no (none of a name)."""
    comma: bool
    low: str


def people(text: str) -> Iterator[tuple[int, int]]:
    """The places of names that nothing but the lexicon tells.

    Example:
        >>> text = "Agreed with Sarah Whitcombe. Arnold Chiari I. Mass, Koch, Sabine."
        >>> [text[start:end] for start, end in people(text)]
        ['Sarah Whitcombe', 'Koch, Sabine']
    """
    known = lexicon()
    if _CYRILLIC.search(text):
        taken = [found.span() for found in _PATRONYMIC.finditer(text)]
        yield from taken
        for start, end in taken:  # what stands before it is no part of it
            text = text[:start] + "_" * (end - start) + text[end:]

    for run in _RUN.finditer(text):
        words = _words(text, run, known)
        for part in _parts(words):
            yield from _in_part(text, part)


_CYRILLIC = re.compile("[а-я]")


def is_eponym(text: str, start: int, end: int) -> bool:
    """Whether a word of a text is part of the name of a finding, a sign or a scale.

    Example:
        >>> text = "Goltz syndrome, morbus Xyz; Pierre Marie. Goltz"
        >>> [is_eponym(text, n, n + 5) for n in (0, 42)]
        [True, False]
    """
    if _EPONYM.match(text, end) or _MORBUS.search(text[max(0, start - 24) : start]):
        return True

    pairs = lexicon().phrases
    word = text[start:end].lower()
    behind, before = _NEXT.match(text, end), _LAST.search(text[max(0, start - 24) : start])
    return bool(
        (behind and (word, behind[1].lower()) in pairs)
        or (before and (before[1].lower(), word) in pairs)
    )


_NEXT = re.compile(rf"[ –-]([{UPPER}]\w{{1,20}})")
_LAST = re.compile(rf"([{UPPER}]\w{{1,20}})[ –-]$")


def _words(text: str, run: re.Match[str], known: Lexicon) -> list[_Word]:
    made = []
    place = run.start()
    while place < run.end():
        found = _PIECE.match(text, place, run.end())
        if not found:
            break
        word = found["word"]
        kind = _kind(word)
        comma = "," in found["before"]
        start, end = found.span("word")
        made.append(_Word(start=start, end=end, kind=kind, comma=comma, low=word.lower()))
        place = found.end()

    for n in range(1, len(made)):
        if (made[n - 1].low, made[n].low) in known.phrases:
            made[n - 1 : n + 1] = [replace(word, kind="no") for word in made[n - 1 : n + 1]]

    return made


@lru_cache(maxsize=1 << 14)
def _kind(word: str) -> str:
    low, known = word.lower(), lexicon()
    if word.endswith("."):
        return "initial"
    if len(word) < 2 or any(map(str.isdigit, word)) or is_no_name(low, known):
        return "no"
    if word.isupper() and len(word) < 4 and not (len(word) == 3 and low in known.family):
        return "no"

    for kind, names in (("given", known.given), ("family", known.family)):
        if low in names:
            return kind
    if common(word):
        return "no"

    return "weak" if low in known.also_words else _kind_of_unknown(low, known)


def _kind_of_unknown(low: str, known: Lexicon) -> str:
    halves = low.split("-")
    if len(halves) > 1 and halves[0] in known.given:
        return "given"
    if len(halves) > 1 and any(half in known.never or common(half) for half in halves):
        return "no"

    return "given" if _inflected(low, known) else "unknown"


_OTHERS = re.compile(rf"(?:{_KIN}|{_ROLE}|{_HEARD})", re.IGNORECASE)
_FORM = re.compile(r"(?:a|ego|u|em|owa|ov[aáý]|ovy|ův|s|schen?|’s|'s)$")
"""Endings of eponyms: `Willisa`, `Chiariego`."""


def is_no_name(low: str, known: Lexicon) -> bool:
    """Whether it is an eponym, a relative, a function or another word that is no name."""
    if low in known.never or _OTHERS.fullmatch(low):
        return True
    found = _FORM.search(low)
    return found is not None and len(low) > 5 and low[: found.start()] in known.never


def _inflected(low: str, known: Lexicon) -> bool:
    return len(low) > 4 and any(
        low.endswith(ending) and low[: len(low) - len(ending)] + basic in known.given
        for ending, basic in _CASES
        if ending
    )


def _parts(words: Sequence[_Word]) -> Iterator[list[_Word]]:
    """The stretches between words that are none of names, and between names of a list."""
    part: list[_Word] = []
    for word in words:
        joins = len(part) == 1 and (
            word.kind in ("given", "weak", "initial") or part[0].kind == "family"
        )
        if word.kind == "no" or (word.comma and not joins):
            if part:
                yield part
            part = []
        if word.kind != "no":
            part.append(word)

    if part:
        yield part


def _in_part(text: str, part: list[_Word]) -> Iterator[tuple[int, int]]:
    part = _without_a_beginning(part)[:LONGEST]
    if not part:
        return

    start, end = part[0].start, part[-1].end
    if _NOUN.match(text, end) or _MORBUS.search(text[max(0, start - 24) : start]):
        return
    if _is_person([word.kind for word in part]) or (
        _is_likely([word.kind for word in part]) and _among_people(text, start, end)
    ):
        yield start, end


def _is_person(kinds: Sequence[str]) -> bool:
    """Whether the words are a name wherever they stand."""
    if len(kinds) < 2:
        return False
    if "given" in kinds:
        return any(kind != "initial" for kind in kinds)

    family = "family" in kinds
    return (family and ("weak" in kinds or "initial" in kinds)) or (
        kinds.count("initial") > 1 and kinds[-1] == "unknown"
    )


def _is_likely(kinds: Sequence[str]) -> bool:
    """Whether the words are a name where people stand."""
    if len(kinds) == 1:
        return kinds[0] == "given"
    return any(kind in ("family", "initial", "weak") for kind in kinds)


def _without_a_beginning(part: list[_Word]) -> list[_Word]:
    """`Interpreter Fatima Aziz`: what stands before a given and a family name is none of them."""
    kinds = [word.kind for word in part]
    first = kinds.index("given") if "given" in kinds else 0
    alone = first and kinds[:first] == ["unknown"] * first and not part[first].comma
    return (
        part[first:]
        if alone and kinds[first + 1 : first + 2] in (["unknown"], ["family"])
        else part
    )


_OPENS = re.compile(r"(?:^|\n|[(\[（/]|\s[-–—]{1,2} )\s?$")
_CLOSES = re.compile(r"\s?(?:$|\n|[)\]）/]|[-–—]{1,2}\s)")


def _among_people(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - 40) : start]
    if _BEFORE.search(before):
        return True
    return _OPENS.search(before) is not None and _CLOSES.match(text, end) is not None
