"""What is a word of a language, and what language a text is in: all else may be a name."""

from __future__ import annotations

import re
import unicodedata
import zipfile
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path

from rfpmss.common.files import regular
from rfpmss.data.privacy.language.words import reported
from rfpmss.data.privacy.persons import LOWER, TITLE, UPPER
from rfpmss.data.privacy.unlabelled.lexicon import lexicon
from rfpmss.data.privacy.unlabelled.people import is_no_name
from rfpmss.data.privacy.vocabulary import ALSO_NAMES, common, ordinary

WORDS = Path(__file__).parent / "general.zip"
"""Made by ``tools/words/general_words.py``, which says from what."""
CUT = 7
"""Letters of a word that are kept of languages with many endings."""
ENGLISH = "en"
"""Words of it stand in reports of every language."""
CAPITALS = frozenset(("de", "lb"))
"""Languages in which every noun has a capital."""
_ALSO = 0.6
"""Languages with so many of the frequent words of the likeliest one count, too."""
_SURE = 3
_MARKED = frozenset(("fr", "es", "it", "pt"))
"""Languages that are typed without their marks."""
_CUT = frozenset(("pl", "cs", "sk", "sl", "hbs", "hu", "fi", "ro", "tr", "ru", "uk", "bg", "el"))
_SMALL = re.compile(r"(?<![\w'’-])[^\W\d_]{2,12}(?![\w'’-])")
_WORD = re.compile(r"[^\W\d_]{4,40}")
# Latin and Greek of medicine, in any language that writes Latin letters.
_STEMS = re.compile(
    r"(?:neuro|sph[eé]no|sfeno|keilbein|exer[eè]|ex[eé]r[eèé]s|asportaz|petro[cs]|vaso[gj]|vazo"
    r"|paras[ae]|hyper|hypo|hiper|hipo|iper|ipo|peri(?:v|t|l|f|n|ph)|intra|extra|infra"
    r"|crane[ao]|macro|micro|adeno|s[iy]lvi|supra|sopra|post[ -]?(?:op|c|t|r)|retro|contra|kontra"
    r"|cranio|crani[oe]|kranio"
    r"|c[eé]r[eé]br|zerebr|[eé]nc[eé]phal|enzephal|encefal|m[eé]ning|ventri[ck]"
    r"|[eé]pend|astro[cz]|oligo|gliom|glial|gliob|gliosi|angio|vas[ck]ul|radio[nt]"
    r"|[ck]h?emo|h[aä]?emo[rst]|hemorr|emorrag|leu[ck]|gangli|[ck]orti[ck]|thalam"
    r"|talam|parie?t|tempor|o[ck][cz]ipit|front(?:o|al|en)|[ck]allos|mesio|dorso"
    r"|ventro|rostr|[ck]audal|basal|h[iy]po[ck]amp|amygdal|amigdal|op[eé]r[ck]ul"
    r"|insul|[ck]ereb|cerebel|mesenc|pontin|medul|spinal|tomograf|tomogra|r[eé]son"
    r"|resonan|diffu|perfus|spe[ck]tro|contrast|kontrast|gadolin|sequen[cz]|s[eé]quen"
    r"|axial|sagit|coron(?:al|ar)|koronar|transvers|[oö]?edema|[œö]dem|n[eé][ck]ro[st]"
    r"|[ck][iy]st|zyst|[ck]al[ck]ifi|kalzifi|infilt|h[eé]t[eé]rog|homog|inhomog"
    r"|l[eé]si[oó]|läsion|lesion|mass?ef|tumou?r|tumeur|metasta|m[eé]tasta|carcin"
    r"|karzin|sarcom|blastom|sch?wann|lymph|linfo|limfo|pituit|hypoph|hipof|ipofis"
    r"|hydro[ck]|hidroc|idroc|h[eé]m[iy](?:sp|par|pl|an|s)|h[eé]rni|thromb|tromb"
    r"|sten[oó]|isch|isquem|ischem|infar|epilep|[eé]pilep|apha[sz]|afas|par[eé](?:si|st)"
    r"|tetra|dys[aept]|dis(?:art|fas|fag|estes)|ata[xk]|nyst|diplop|pap+il|chirur"
    r"|kirur|[ck]irug|surg|rese[ckz]|biops|hist[oó]|immun|inmun|imuno|molek|molec"
    r"|mutat|mutac|mutaz|methyl|metil|prolif|mitos|mitot|grad[oi]?ng|klassif|classif"
    r"|progres|progred|regres|regred|stabil|recid|r[eé]cid|rezid|recidiv|follow"
    r"|kontrol|unver|dexa|tem?ozol|bevaci|lever?tir|lomust|vinc?rist|carbopl|procarb"
    r"|gado[bptv]|magn[eé]t|anasth|an[aä]?esth|anest|stereo|st[eé]r[eé]o|mening"
    r"|oligod|subdur|epidur|extrad|dural|arachn|arac?noid|subar)",
    re.IGNORECASE,
)
_STEMS_OTHER = re.compile(
    r"(?:нейро|мальформ|гипер|гипо|пери|интра|экстра|супра|пост|ретро|черепн|церебр|энцефал"
    r"|менинг|мозг|желудоч|эпенд|астроц|олигод|глио|ангио|сосуд|радио|хими|хіміо"
    r"|гемор|лейк|гангли|корти|талам|темен|височ|затыл|лобн|мозол|томогр|резонан"
    r"|магнит|магніт|дифф|дифу|перфуз|спектро|контраст|последов|аксиал|сагит|корон"
    r"|отек|отёк|набряк|некро|кист|кальци|инфильт|гетероген|однород|образов|утворен"
    r"|опухол|пухлин|метаст|карцин|саркин|бласт|лимф|гипоф|гидроц|гемип|герни"
    r"|тромб|стено|ишем|інсул|инфар|эпилеп|операц|хирур|резек|биопс|гисто|имун"
    r"|имму|мутац|метил|прогрес|стабил|рецид|дексам|темозол|бевац|глиоб|νευρο"
    r"|υπερ|υπο|περι|ενδο|εξω|εγκεφ|κραν|μηνιγγ|κοιλ|γλοι|αστρο|αγγει|ακτινο|χημειο"
    r"|αιμορ|λευκ|θαλαμ|βρεγμ|κροταφ|ινιακ|μετωπ|μεσολ|τομογρ|μαγνητ|συντον|διαχυ"
    r"|αντιθ|σκιαγρ|οιδημ|νεκρω|κυστ|αποτιτ|βλαβ|ογκο|μεταστ|επιλη|χειρουργ|βιοψ"
    r"|ιστολ)",
    re.IGNORECASE,
)
_DRUG = re.compile(
    r".{2,}(?:mab|nib|mide|amida|lamid|ciclib|parib|limus|statin[ae]?|prazole?"
    r"|sartan|[aeio]lol|etam|acetam|azepam|azepin[ae]?|barbital|toin[ae]?|mycin"
    r"|cillin|oxacin|platin[oe]?|rubicin|taxel|ustin[ea]?|zolomid[ea]?|sone|solon"
    r"|olone|heparin|xaban|gatran|iodol|vist|scan|hance|graf|paque|ray)$",
    re.IGNORECASE,
)
"""Stems of international nonproprietary names (WHO), and ends of names of contrast agents."""
_INSIDE = re.compile(r"[a-zß-ÿ](?!c[A-Z])[A-Z]")
_NAMED_INSIDE = re.compile(r"(?:Mc|Mac|De|Di|Da|Du|La|Le|Van|Von|Fitz|Ben|El|Al|O['’]|D['’])[A-Z]")
_CASED = re.compile(rf"[{UPPER}{LOWER}'’-]+")
_TITLE = re.compile(rf"(?:{TITLE})\.?")
_JOINT = re.compile(r"['’-]")


def languages(text: str) -> frozenset[str]:
    """The languages a text may be in, English always: by the frequent words that it holds.

    Example:
        >>> sorted(languages("Der Tumor liegt in der linken Hirnhälfte und ist nicht größer."))
        ['de', 'en']
    """
    said = [word.lower() for word in _SMALL.findall(text)]
    scores = {language: sum(map(few.__contains__, said)) for language, few in _frequent().items()}
    if max(scores.values()) < _SURE:  # too few words to tell by
        said = [word.lower() for word in _WORD.findall(text)]
        scores = {n: most + sum(holds(n, word) for word in said) for n, most in scores.items()}

    most = max(scores.values())
    found = {name for name, score in scores.items() if most and score >= _ALSO * most}
    return frozenset((ENGLISH, *found))


def nouns_have_capitals(spoken: Collection[str]) -> bool:
    """Whether a capital tells nothing in one of the languages of a text: German."""
    return not CAPITALS.isdisjoint(spoken)


def is_word(word: str, spoken: Iterable[str]) -> bool:
    """Whether a word of a text is none of a name, as far as is known.

    Args:
        word: as it is written.
        spoken: the languages of the text.

    Example:
        >>> [w for w in ("Stable", "Vasconcelos", "Iyer", "MPRAGE", "Temozolomide", "Fazekas")
        ...  if is_word(w, ["en"])]
        ['Stable', 'MPRAGE', 'Temozolomide', 'Fazekas']
    """
    spoken = tuple(sorted(spoken))
    return _is_word(word, spoken)


@lru_cache(maxsize=1 << 14)
def _is_word(word: str, spoken: tuple[str, ...]) -> bool:
    low, known = word.lower(), lexicon()
    if is_told(word, low) or any(
        holds(language, low) or _typed(language, low) for language in spoken
    ):
        return True
    if low in known.given or low in known.family:
        return False

    parts = _JOINT.split(word)
    if len(parts) > 1:
        return all(len(part) < 2 or _is_word(part, spoken) for part in parts)
    return is_of_medicine(low) or ("de" in spoken and _is_compound(low))


def is_told(word: str, low: str) -> bool:
    """Whether a list or its form says that it is no name, in any language."""
    known = lexicon()
    listed = low in known.medicine or is_no_name(low, known) or ordinary(word)
    listed = listed or (low in reported() and low not in known.given | known.family)
    told = listed or _TITLE.fullmatch(word) or not _CASED.fullmatch(word) or _is_code(word)
    return bool(told) or (low not in ALSO_NAMES and common(word))


def is_known(word: str) -> bool:
    """Whether a list, its form or medicine say that a word is no name, in any language."""
    low = word.lower()
    return is_told(word, low) or is_of_medicine(low)


def _is_code(word: str) -> bool:
    """An acronym, a classification, a scanner: `IDH1`, `MPRAGE`, `SyngoVia`."""
    if any(map(str.isdigit, word)):
        return True
    if word.isupper() and len(word) < (7 if word.isascii() else 5):
        return len(word) < 4 or word.lower() not in lexicon().given | lexicon().family

    return _INSIDE.search(word) is not None and _NAMED_INSIDE.match(word) is None


def is_of_medicine(low: str) -> bool:
    """Whether a word in small letters has the form of one of medicine, a drug included."""
    stem = _STEMS.match(low) or _STEMS_OTHER.match(low) or _STEMS.match(unmarked(low))
    return len(low) > 5 and (stem is not None or _DRUG.fullmatch(low) is not None)


def vocabularies() -> Collection[str]:
    """The languages whose words are known, by their codes."""
    return _frequent().keys()


@lru_cache(maxsize=1 << 14)
def unmarked(word: str) -> str:
    """A word without the marks that many leave out in typing: `restriccion`, `CRANIENNE`."""
    return "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))


def holds(language: str, low: str) -> bool:
    """Whether the vocabulary of a language has a word in small letters."""
    words = _words(language)
    return (low[:CUT] if language in _CUT else low) in words


def _typed(language: str, low: str) -> bool:
    """Whether it has the word with marks that a typist left out."""
    return language in _MARKED and low.isascii() and low in _unmarked(language)


def _is_compound(low: str) -> bool:
    """German: words of four letters and more, joined as they are or by an `s`."""
    words = _words("de")
    ends = {0}
    for end in range(4, len(low) + 1):
        for start in [place for place in ends if end - place > 3]:
            piece = low[start:end]
            if piece in words or piece.removesuffix("s") in words or is_of_medicine(piece):
                ends.add(end)
                break

    return len(low) in ends


@lru_cache(maxsize=8)
def _unmarked(language: str) -> frozenset[str]:
    """The words of a language that have marks, without them."""
    return frozenset(unmarked(word) for word in _words(language) if not word.isascii())


@lru_cache(maxsize=64)
def _words(language: str) -> frozenset[str]:
    with zipfile.ZipFile(regular(WORDS)) as file:
        return frozenset(file.read(f"{language}.txt").decode().split("\n"))


@lru_cache(maxsize=1)
def _frequent() -> dict[str, frozenset[str]]:
    with zipfile.ZipFile(regular(WORDS)) as file:
        lines = (line.split() for line in file.read("frequent.txt").decode().split("\n"))
        return {language: frozenset(words) for language, *words in lines}
