"""Where the name of a person ends in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rfpmss.data.privacy.unlabelled.lexicon import lexicon
from rfpmss.data.privacy.vocabulary import ALSO_NAMES, NAME_PARTICLES, common

# Latin, Greek, Cyrillic and Armenian.
_CASED = (*range(0xC0, 0x250), *range(0x370, 0x530), *range(0x531, 0x588), *range(0x1E00, 0x2000))
UPPER = "A-Z" + "".join(chr(c) for c in _CASED if chr(c).isupper())
LOWER = "a-z" + "".join(chr(c) for c in _CASED if chr(c).islower())
"""Letters of a class of `re`."""
WORD = rf"[{UPPER}]\w{{1,40}}(?:['’-]\w{{1,40}}){{0,3}}"
"""A word with a capital, with what hyphens and apostrophes join to it."""

_PLURAL = (
    r"(?:[Dd]res|[Dd]r\.es|[Dd]ras|[Dd]rs|[Dd]ott\.?ri|[Dd]ott\.?sse|[Pp]rofs|[Pp]roff"
    r"|(?<!\d )(?<!\d)MM|Mmes|[Ss]res"
    r"|[Ss]ras|[Ss]rs|Messrs|Herren|[Dd]octors|[Dd]octores|[Dd]octeurs|[Dd]ottori|[Pp]rofessors"
    r"|[Dd]outores)"
)
TITLE = (
    rf"(?:{_PLURAL}|[Dd]r|[Dd]ra|[Dd]rs|PD|Priv|Doz|[Pp]rof|[Pp]rofessor|[Dd]octor|Pr|Dipl|med|univ|habil"
    r"|h\. ?c|rer|nat"
    r"|[Hh]errn?|[Ff]rau|Frl|(?<!\d )Hrn?|Fr(?=\.)|Doktor(?:a|ze|owi|em)?"
    r"|Koll(?:eg(?:en?|in)|(?=\.))|OA|OÄ|CA|AÄ|FÄ"
    r"|Mr|Mrs|Ms|Miss|Mx|Sir|Rev|[Nn]urse|[Ss]ister|[Cc]olleague|Schwester|Pfleger|Fru"
    r"|Mmes?|Mlle|[Mm]onsieur|[Mm]adame|[Mm]ademoiselle|Maître|[Dd]octeur|[Pp]rofesseur|[Cc]onfrère"
    r"|[Cc]onsœur|Infirmi(?:er|ère)"
    r"|Sr|Sra|Srta|[Ss]eñor(?:a|ita)?|[Dd]on|[Dd]oña|Dña|Dn|D\.?[ªᵃ]|D\.ña|Sr\.?[ªᵃ]|Dr\.?[ªᵃ]"
    r"|[Ss]enhor(?:a|ita)?|[Dd]ona|Exm[oa]|Enf\.?[ªᵃ]?|Enfermer[ao]"
    r"|[Ss]ig(?:\.(?:ra|na))?|[Ss]ig\.?r?a|[Ss]ignor[ae]?|[Dd]ott(?:\.ssa)?|[Pp]rof\.ssa"
    r"|[Dd][.r]?\.?ssa|[Dd]ottor(?:e|essa)?"
    r"|[Dd]hr|Mw|mw(?=\.)|[Mm]evr|[Mm]evrouw|[Mm]eneer|(?:[Dd]e )?[Hh]eer"
    r"|[Cc]oll?ega|[Pp]an(?:i|ią|a|em|u|ie|owie)?|Państwo|MUDr|lek"
    r"|DR|DRA|PROF|HERR|FRAU|MRS|MME|MLLE|DOTT(?:\.SSA)?"
    r"|[Дд]-р|[Дд]октор|[Пп]роф(?:ессор)?|[Дд]оц|Δρ|Uzm|[Dd]oç|Yrd|[Dd]oc|(?:BS|TS|ThS|PGS|GS)(?=\.))"
)
_TITLES = re.compile(rf"(?:(?:le|la|der|die|el)\s{{1,3}})?(?:{TITLE}\b\.?-?\s{{0,3}}){{1,6}}")
SMALL_PARTICLE = "|".join(sorted(NAME_PARTICLES))
"""In small letters, without the blank behind."""
_LOUD_PARTICLE = "|".join(f"{word.capitalize()}|{word.upper()}" for word in sorted(NAME_PARTICLES))
LOUD_PARTICLE = (
    rf"(?:{_LOUD_PARTICLE})[ \t\u00a0]{{1,3}}(?=[{UPPER}][\w'’.-]|(?:{SMALL_PARTICLE})\b)"
)
"""`Van Der Berg`, `DE LA CRUZ`: with a capital where a name goes on behind it."""
PARTICLE = (
    r"(?:(?:[EA]l|[Bb]en|[Bb]int?i?|ibn|ap|ab|ferch|mac|dem|y|e|do|af|av|ní|ó|née?"
    rf"|{SMALL_PARTICLE})\b[ \t\u00a0]{{1,3}}(?=\S)|{LOUD_PARTICLE}|d['’](?=[{UPPER}])"
    rf"|(?:[ae]l|[ae][nrstz]|ash|abd|bin|ben|ul|ad)-(?=[{UPPER}]))"
)
"""What stands before a family name or between two, with the blank behind it."""
_PARTICLE = re.compile(rf"St\.[ \t\u00a0]{{1,3}}(?=[A-Z])|{PARTICLE}")
_WORD = re.compile(rf"[{UPPER}](?:[\w'’]|-(?=\w)){{0,80}}\.?")
_INITIAL = re.compile(
    rf"[{UPPER}]\.(?:[{UPPER}]\.)?"
    r"|(?:Chr?|Th|Ph|Lj|Nj|D[žz]|Cz|Sz|Zs|Gy|Cs|Ny|Ty|[JY]u|[JY]a|[JY]e|Wm|Jos|Alex|Ю|Я)\."
)
_DEGREES = (
    r"(?:M\.?D|[Mm]d|Ph\.?D|D\.O\.|F\.?R\.?C\.?R|FRCPC?|FRCS|FRCPath|FRANZCR|FACR|FACS|FACP|FAAN|FANA"
    r"|MRCPI?|MRCS|MBBS|M\.?B\.?B\.?S|MBChB|MBBCh|BMBS|M\.Sc|MSc|B\.Sc|BSc|Pharm\.?D|DABR|DNP|DMD|DDS"
    r"|R\.N\.|BSN|MSN|FNP|FNP-(?:BC|C)|AGACNP|AGACNP-BC|ACNP|ACNP-BC|CRNP|ARNP|APRN|APRN-CNP|CNP|CRNA"
    r"|CNRN|CCRN|N\.P\.|P\.A\.|PA-?C|MPH|MBA|MHA|RDMS|CNMT|RRA|R\.?T\.?\((?:R|MR|CT)\))"
)
"""Academic degrees and professions that are nothing but that, behind a name."""
_SHORT_DEGREES = r"(?:RN|NP|PA|DO|MA|MS|BA|BS|RT|Prof|Professor)"
"""Those that mean something else as well: behind a comma, or at the end of a sentence."""
_ROLES = (
    r"(?i:(?:(?:staff|attending|consultant|consulting|chief|senior|resident|interventional"
    r"|board[- ]certified)\s{1,3}){0,2}"
    r"(?:neuro)?(?:radiologist|pathologist|physician|oncologist|surgeon|neurologist)"
    r"|Fach[aä]rzt(?:in)?(?:\s{1,3}für\s{1,3}\w{1,40})?|(?:leitende[rn]?\s{1,3})?Ober[aä]rzt(?:in)?"
    r"|Chef[aä]rzt(?:in)?|Assistenz[aä]rzt(?:in)?"
    r"|arzt|Ärztin|Radiolog(?:e|in)|radiologue|radi[oó]log[oa]|radioloog|médecin|medico|médico|médica)"
)
_BEHIND_A_COMMA = (
    rf"(?:{TITLE}\b\.?+[ -]{{0,2}}+){{1,4}}(?:(?<=med\.)|(?<=med\. )|(?<=med)|(?=[,;)\n]|$))"
)
_FIELD = r"\s{0,3}[:：]"
"""A role before a colon is the label of the next field."""
_DEGREE = re.compile(
    rf"\s{{0,3}},?\s{{0,3}}\(?(?:(?:{_DEGREES}|{_ROLES})(?!\w|{_FIELD})|{_SHORT_DEGREES}(?=\s{{0,2}}[.,;)\n]|$))"
    r"\)?(?:\.(?=\s?,))?"
    rf"|\s{{0,3}},\s{{0,3}}(?:{_SHORT_DEGREES}(?![\w-])|{_BEHIND_A_COMMA})"
)
_ENDING = re.compile(
    rf"\s{{0,3}},?\s{{0,3}}\(?{_DEGREES}(?!\w)|\s{{0,3}},\s{{0,3}}{_SHORT_DEGREES}(?![\w-])"
)
"""A degree ends a name: what follows is none of it, whatever its first letter."""
WORDS = 5
"""Words of a name at most."""
PARTICLES = 4
"""Of a name at one place: `van der`, `de la`."""
PEOPLE = 9
"""Further names in one list."""
DEGREES = 9
"""Behind a name at most: `MD, PhD, FRCR`."""


def titles(text: str, start: int) -> int:
    """The end of the titles that begin at ``start``; ``start`` where there are none."""
    found = _TITLES.match(text, start)
    return found.end() if found else start


def person(text: str, start: int, *, field: bool = False) -> int | None:
    """The end of the name that begins at ``start``, with titles and degrees; None: no name.

    Args:
        text: a report.
        start: place in it.
        field: a label stands before the name, and a sentence may begin behind it without a sign.

    Example:
        >>> text = "Dr. med. Hans von der Müller, Facharzt. Links frontal"
        >>> text[:person(text, 0)]
        'Dr. med. Hans von der Müller, Facharzt'
        >>> person("54-year-old man", 0), person("Left frontal mass", 0)
        (None, None)
    """
    place = titles(text, start)
    named = place > start
    count, end, comma = 0, place, False
    taken: list[str] = []
    while count < WORDS:
        place = _spaces(text, place)
        following = place
        following = _repeated(_PARTICLE, text, following, PARTICLES)
        if following > place and count and not _names_more(text, place, following, taken):
            break
        place = following
        found = _WORD.match(text, place)
        if not found or _TITLES.match(text, place) or (count and _ENDING.match(text, end)):
            break
        word = found.group()
        if field and count and _LABEL.match(text, place):
            break
        if not _is_name(word, behind=named or count > 0) and not (
            field
            and count
            and len(word.rstrip(".")) < 4
            and _SIGN.match(text, place + len(word.rstrip(".")))
        ):
            break  # but `Nguyễn Văn An` ends with a word that is common elsewhere
        if field and count and _sentence(text, found, taken):
            break
        end = found.end()
        if word.endswith(".") and not _INITIAL.fullmatch(word):
            end -= 1  # the end of the sentence
            count += 1
            break
        count, place = count + 1, end
        taken.append(word)
        if (
            text[place : place + 1] == ","
            and not comma
            and not _PLACE.match(text, place + 1)
            and _WORD.match(text, _spaces(text, place + 1))
        ):
            comma, place = True, place + 1
            taken.append(",")

    if not count or (not named and _begins_a_sentence(text, start, end, count)):
        return None

    return _repeated(_DEGREE, text, end, DEGREES)


def _titled(text: str, place: int) -> int | None:
    """The end of a name with a title that begins there: `Oberstarzt Dr. Jaroschek`."""
    return person(text, place, field=True) if titles(text, place) > place else None


_PLACE = re.compile(
    r"\s?(?:\w{0,12}[Pp]raxis|\w{0,12}[Kk]lini[ckq]\w{0,4}|Cabinet|Hospital|\w{0,12}krankenhaus|MVZ"
    r"|Consultorio|Centro|Surgery|Abteilung|Institut\w?|Service|Servicio|Department"
    r"|Pieps?er|Pager|Bleep|DECT|Telefon|Tel|Handy|Durchwahl|Bip|Busca)(?!\w)"
)
"""Where somebody works, behind the name: no given name."""
_PURPOSE = re.compile(r"zu|zur|vom")
_EXAMINED = re.compile(
    r"zur\s{1,3}\w{0,40}(?:ung|kontrolle|nachsorge|ik|ion|psie|pie|gra[fp]h?ie|ing)\b",
    re.IGNORECASE,
)
"""`Herr Stein zur Verlaufskontrolle`: what somebody comes for."""
_ACRONYM = re.compile(rf"[{UPPER}]{{2,5}}(?!\w)")


def _names_more(text: str, place: int, following: int, taken: list[str]) -> bool:
    """Whether particles behind a name lead to more of it: `Eva zur Heide`, but `Berg zur MRT`."""
    if not _WORD.match(text, following):
        return False
    if _ACRONYM.match(text, following) and not all(map(str.isupper, taken)):
        return False
    if _EXAMINED.match(text, place):
        return False
    if not _PURPOSE.match(text, place):
        return True

    return taken[-1].lower() in lexicon().given


_LABEL = re.compile(r"[\w'’-]{1,80}\.?[ \t\u00a0]{0,2}[:：]")
"""A word that is the label of the next field."""
_AND = re.compile(r"\s{0,3}(?:[;/&,]|(?:and|und|et|y|e|en|och|og)\b)\s{0,3}")


def people(text: str, start: int, *, field: bool = False) -> int | None:
    """The end of the names that begin at ``start``; None: no name.

    A further name has a title, a degree or two words, and nothing but a sign behind it.

    Example:
        >>> text = "Anita Desai MD; Greg Olson PA-C, Dr. Roe. Left"
        >>> text[: people(text, 0)]
        'Anita Desai MD; Greg Olson PA-C, Dr. Roe'
        >>> text = "Jane Roe, Butterfly glioma"
        >>> text[: people(text, 0)]
        'Jane Roe'
    """
    end = person(text, start, field=field)
    if end is not None and field:
        end = _titled(text, _spaces(text, end)) or end
    end = None if end is None else together(text, start, end)
    for _ in range(PEOPLE):
        found = None if end is None else _AND.match(text, end)
        more = person(text, found.end(), field=field) if found else None
        if not found or more is None or not _SIGN.match(text, more):
            break
        said = text[found.end() : more]
        if titles(text, found.end()) == found.end() and " " not in said:
            break
        end = more

    return end


_MANY = re.compile(rf"{_PLURAL}\b")
_JOINED = re.compile(r"\s?[/&+]\s?")
_LISTED = re.compile(r"\s?[/&+,;]\s?|\s(?:and|und|et|y|e|en|og|och|i)\s")
_ONE = re.compile(rf"[{UPPER}][\w'’-]{{1,40}}")


def together(text: str, start: int, end: int) -> int:
    """The end of the names that share the title at ``start`` with the one that ends at ``end``.

    Example:
        >>> texts = ("Drs. Smith, Roe and Jones saw", "Dr. Huber/Klein", "Dr. Huber and Klein")
        >>> [text[: together(text, 0, person(text, 0))] for text in texts]
        ['Drs. Smith, Roe and Jones', 'Dr. Huber/Klein', 'Dr. Huber']
    """
    if titles(text, start) == start:
        return end

    sign = _LISTED if _MANY.match(text, start) else _JOINED
    for _ in range(PEOPLE):
        found = sign.match(text, end)
        place = titles(text, found.end()) if found else end
        word = _ONE.match(text, place) if found else None
        if not word or not _is_name(word[0], behind=True):
            break
        end = person(text, place) or word.end()

    return end


_SIGN = re.compile(r"\s{0,3}(?:[.,;/&)\n]|(?:and|und|et|y|e|en|och|og)\b|$)")
_READ = r"(?:reviewed|read|agrees?|agreed|notified|informed|contacted|dictated|signed|personally)"
_WENT_ON = rf"(?:[.,;)\n]|$|\s(?:at|on|by|in|from|who|via|{_READ}|(?:and|or)\s[A-Z][a-z]))"
"""What stands behind a degree of two letters, which elsewhere may mean a nucleus or a drug."""
_DEGREED = re.compile(
    r"(?<![\w.'’-])(?:[A-ZÀ-Þ][\w'’-]{1,40}|[A-ZÀ-Þ]\.)"
    rf"(?:,?[ \u00a0](?:(?:{SMALL_PARTICLE}|bin)[ \u00a0]){{0,2}}"
    rf"(?!{_DEGREES}(?![\w-]))(?:[A-ZÀ-Þ][\w'’-]{{1,40}}|[A-ZÀ-Þ]\.?)){{0,4}}"
    rf"(?=(?P<sure>\s?,?\s?\(?{_DEGREES}(?![\w-]))|,?\s(?:RN|NP|PA|DO)(?={_WENT_ON})"
    rf"|,\s?(?:{_ROLES}|(?:Professor|Head|Chief|Director|Chair(?:man|woman)?) of)(?![\w-]))"
)
# MD also means the mean diffusivity of a tensor.
_DIFFUSIVITY = re.compile(
    r"\s?,?\s?\(?MD\)?(?:,? (?:and |or )?(?:maps?|values?|FA|AD|RD|ADC)\b| [=<>]"
    r"| \d{1,4}(?:[.,]\d{1,4})?(?![\d/:.-]))"
)


_BARE = re.compile(rf"\s(?:MD|Md)(?!\w)(?! {_READ})")


def degreed(text: str) -> Iterator[tuple[int, int]]:
    """The places of names that only a degree or a profession behind them tells.

    Example:
        >>> text = "Images reviewed by Olivia Chen MD and Greg Olson, RN. Elevated MD, Stupp RT."
        >>> [text[start:end] for start, end in degreed(text)]
        ['Olivia Chen', 'Greg Olson']
    """
    for found in _DEGREED.finditer(text):
        words = list(re.finditer(r"[^\s,]+", found.group()))
        while words and common(words[0].group()):
            del words[0]
        if not words or _DIFFUSIVITY.match(text, found.end()):
            continue
        alone = len(words) == 1
        last = words[-1].group()
        if alone and (not found["sure"] or len(last) < 3 or (last.isupper() and len(last) < 5)):
            continue
        if alone and _BARE.match(text, found.end()):
            continue
        if all(_is_name(word.group(), behind=True) for word in words):
            yield found.start() + words[0].start(), found.end()


def _is_name(word: str, *, behind: bool) -> bool:
    """Whether a word can be one of a name; ``behind`` a title or another name `Gray` can."""
    if _INITIAL.fullmatch(word) or not common(word):
        return True
    return behind and word.strip(".,").lower() in ALSO_NAMES


def _repeated(pattern: re.Pattern[str], text: str, place: int, most: int) -> int:
    """The end of what stands there at most so many times, with blanks before and between."""
    for _ in range(most):
        found = pattern.match(text, place)
        if not found:
            break
        place = found.end()

    return place


def _spaces(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\u00a0":
        place += 1
    return place


_VERBS = re.compile(
    r"\s{1,3}(?:has|is|was|with|presents?|presented|shows?|had|underwent|aged|born|who|and|hat|ist"
    r"|zeigt|mit"
    r"|wurde|war|geb|geboren|a|présente|né|née|presenta|tiene|nacid[oa]|en)\b"
)


_GOES_ON = re.compile(
    r"\s(?:at|on|by|in|from|via|with|and|or|to|for|of|who|he|she|since|as|due|not|also|per|the|an?"
    r"|is|was|has|had|will|am|um|vom|mit|und|hat|ist|war|wurde|wird|aus|bei|im|zur|zum|nach|seit|geb"
    r"|geboren|zeigt|kommt|stellt|leidet|est|née?|le|la|du|des|et|avec|pour|chez|au|par|en|es|fue|ha"
    r"|underwent|felt|came|took|went|saw|told|became|fell|had|will|can|should|could|would"
    r"|el|con|y|para|por|del|acude|refiere|presenta|nacid[oa]|è|e|il|al|da|op|te|met|heeft|werd)\b"
    # A verb and what follows verbs: `reviewed the`, `complains of`.
    r"|\s(?P<verb>[a-z]{2,20}(?:ed|[^\Ws]s))\s(?:the|an?|to|of|with|for|his|her|at|on|by|in|from|and|that|this|it)\b"
)
"""What goes on behind a name, where a finding would have a noun: `John Paul Smith was`."""
_NOUN = re.compile(rf"\s(?:[{LOWER}][\w'’-]{{1,40}})")


def _goes_on(text: str, place: int) -> bool:
    found = _GOES_ON.match(text, place)
    return found is not None and not (found["verb"] and common(found["verb"]))  # `masses in`


def _sentence(text: str, found: re.Match[str], taken: list[str]) -> bool:
    """Whether a word behind a name begins a sentence: `Donna Harris Large mass`.

    A word in small letters behind it says so, once there are a family and a given name or where
    the word is one of findings as well; and a word that is not all in capitals behind a name that
    is, `HARRIS, DONNA Large, irregular`.
    """
    word, names = found.group(), [name for name in taken if name != ","]
    given = taken[taken.index(",") + 1 :] if "," in taken else []
    loud = [name for name in names if len(name) > 2]
    if given and loud and all(map(str.isupper, loud)) and re.search(r"[a-zß-ÿ]{2}", word):
        return True
    if len(names) < 2 and not common(word):
        return False

    goes_on = _goes_on(text, found.end())
    if _PARTICLE.match(text, _spaces(text, found.end())) and not common(word):
        return False

    return _NOUN.match(text, found.end()) is not None and (not goes_on or word.endswith("ly"))


def _begins_a_sentence(text: str, start: int, end: int, count: int) -> bool:
    """`Known glioblastoma`: one word with a capital before one without."""
    return (
        count == 1
        and re.match(rf"\s{{1,8}}[{LOWER}]", text[end : end + 9]) is not None
        and _VERBS.match(text, end) is None
    )


_WIDE = re.compile(r"[ \u00a0\u3000]{2,99}|[ \u00a0\u3000]?\t[ \t\u00a0\u3000]{0,99}")
_OPENS = re.compile(r"[A-ZÀ-Þ0-9]")
_LABELLED = re.compile(r"[^\s:：][^:：]{0,40}[:：]")
_SMALL = re.compile(
    rf"(?:^|\s)(?!(?:{SMALL_PARTICLE}|bin|y|e)\s)"
    r"[a-zß-ÿ][\w'’-]{1,60}"
)


def apart(text: str) -> str:
    r"""A text whose fields stand on lines of their own where more than one blank parts them.

    `Name: HARRIS, DONNA   Large mass`: a name ends there, if a sentence or the next field follows.

    Example:
        >>> apart("Name: DOE,  JOHN   MRN: 7   Large mass.").split("\n")
        ['Name: DOE,  JOHN', 'MRN: 7', 'Large mass.']
    """
    return "\n".join(map(_apart, text.split("\n")))


def _apart(line: str) -> str:
    cells, gaps = _WIDE.split(line), _WIDE.findall(line)
    made, words, labelled = [cells[0]], 0, False
    for n, cell in enumerate(cells):
        if n:
            ends = labelled and words > 0 and _ends_a_field(cells[n - 1].rstrip(), cell)
            made += ["\n" if ends else gaps[n - 1], cell]
            labelled, words = (False, 0) if ends else (labelled, words)
        label = max(cell.rfind(":"), cell.rfind("："))
        labelled = labelled or label >= 0
        words = len(cell[label + 1 :].split()) + (words if label < 0 else 0)

    return "".join(made)


def _ends_a_field(before: str, after: str) -> bool:
    """Whether a wide gap parts a field from the next one or from a sentence."""
    if before.endswith((",", ":", "：", ";", "-", "&", "/", "(")) or _LAST.search(before[-20:]):
        return False
    if not _OPENS.match(after):
        return False

    word = _WORD.match(after)
    goes_on = word and _goes_on(after, word.end()) and not before[-1:].isdigit()
    return bool(_LABELLED.match(after) or (_SMALL.search(after) and not goes_on))


_LAST = re.compile(rf"(?<![\w.]){TITLE}\.?$")
