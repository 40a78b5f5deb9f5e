"""Names in scripts without capitals, which only their place tells: alone, in brackets, behind `与`.

Chinese and Korean: a surname and one or two signs. Japanese: a family name of the lexicon and up to
three signs. Hebrew, Arabic, Devanagari and Thai: a given name of the lexicon and a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from rfpmss.data.privacy.labelled.east_asian import SURNAMES_KO, TWO_KO
from rfpmss.data.privacy.unlabelled.lexicon import lexicon
from rfpmss.data.privacy.vocabulary import DOUBLE, FOUND_ZH, MED_ZH, STOP, SURNAMES

WIDE = re.compile(r"[\u0590-\u07ff\u0900-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
_HAN = r"\u3400-\u9fff"
_ZH = (
    rf"(?!{STOP}|{FOUND_ZH})(?:(?:{DOUBLE})(?!{MED_ZH})[{_HAN}]{{1,2}}"
    rf"|[{SURNAMES}](?:(?!{MED_ZH}|{STOP})[{_HAN}]){{1,2}})"
)
_ALONE = r"(?:^|(?<=\n)|(?<=[（(\[【/、。；]))[ \t]?"
_ENDS = r"(?=[ \t]?(?:[）)\]】/、]|[。.]?(?:\n|$)))"
_CHINESE = re.compile(
    rf"{_ALONE}(?P<alone>{_ZH}){_ENDS}"
    rf"|(?:[与與和同](?=[{_HAN}]{{2,4}}(?:沟通|溝通|讨论|討論|联系|聯繫|商量|核对|电话))|由|经|請|请|电话告知|告知|通知|电话通知"
    rf"|电告|致电|联系|转告|回报|报告给|抄送)(?P<heard>{_ZH}?)"
    r"(?=沟通|溝通|讨论|討論|联系|聯繫|商量|核对|电话|电告|告知|通知|报告|阅|会诊|确认|审|[，,。；;、\s]|$)"
    rf"|(?:^|(?<=[\n。；，]))(?P<told>{_ZH})(?=已(?:通知|告知|知晓|知情|签字|阅)|要求|代诉|陪同|签字)"
    rf"|(?:^|(?<=\n))(?P<first>{_ZH})(?=[，,、][ ]?(?:男|女|\d))"
)
_KOREAN = re.compile(
    rf"{_ALONE}(?P<alone>(?:{TWO_KO}|[{SURNAMES_KO}])[가-힣]{{2}}){_ENDS}"
    rf"|(?<=\. )(?P<last>(?:{TWO_KO}|[{SURNAMES_KO}])[가-힣]{{2}})(?=\.?$)"
    rf"|(?<![가-힣])(?P<heard>(?:{TWO_KO}|[{SURNAMES_KO}])[가-힣]{{2}})"
    r"(?=(?:과|와|에게|께|한테)\s?(?:상의|논의|통화|연락|보고|통보|설명|협의|전달)|\s드림|\s배상|\s올림)"
)
_NOT_KO = re.compile(
    r"선생님|교수님|원장님|소견|정상|이상|진단|판독|결과|검사|영상|종괴|부종|출혈|병변|신호|조영|전이|추적|관찰|변화|없음|있음|의심|가능|수술|방사|뇌실|좌측"
    r"|우측|양측|전두|기타|주의|임상|"
    r"연령|성인|여자|남자|증강|감소|증가|안정|고신호|저신호|전반|진행|현재|이전|최근|권고|한다|하다|된다|음$|임$|함$|됨$"
)
_JA = r"\u3400-\u9fff々\u3041-\u3096\u30a1-\u30fa"
_PLACED_JA = re.compile(
    rf"{_ALONE}(?P<alone>[{_JA}]{{1,4}}[ 　]?[{_JA}]{{1,4}}){_ENDS}"
    rf"|(?:(?<=[。、\n])|^|(?<=[でにへ、]))(?P<heard>[{_HAN}々]{{3,6}})"
    r"(?=(?:と(?:協議|相談|検討|確認|話|電話)|に(?:連絡|報告|電話|伝|説明|相談|依頼)|へ(?:連絡|報告)|より(?:連絡|電話|依頼)))"
)
_OTHER = r"[\u0590-\u05fa\u0610-\u061a\u0620-\u07ff\u0900-\u0963\u0966-\u0e7f\u200c]"
_SPACED = re.compile(rf"(?<!{_OTHER}){_OTHER}{{2,20}}(?: {_OTHER}{{2,20}}){{1,40}}")
_HEARD = re.compile(
    r"(?:ابن|ابنة|ابنته|ابنه|ابنها|زوجته|زوجها|والدته|والده|أخوه|أخته|همسرش|دخترش|پسرش|אשתו"
    r"|בעלה|בתו|בתה"
    r"|בנו|בנה|אמו|אביו|पत्नी|पति|पुत्र|पुत्री|बेटा|बेटी|ภรรยา|สามี|บุตร|בת|עם|مع|إلى|با|به"
    r"|ปรึกษา|แจ้ง|กับ)\s?$"
)
_ASKED = re.compile(r"\s(?:से|को|ने|صحبت|است|بودن)(?!\S\S\S)|\s(?:صحبت|اطلاع)")


_TRANSLITERATED = re.compile(
    r"[热汗阿买提江古丽依不都热合曼吐尔逊艾力木斯坦罕努帕伊拉亚森卡德巴哈扎西卓玛次仁达瓦尼旦增丹桑吉格措多杰才让央金姆其木乌云娜]{4,9}"
)
"""Names of Uyghurs, Tibetans and Mongols in Chinese signs."""


_TITLED = re.compile(
    r"(?:(?<![\u0590-\u05ff])(?:ד[\"״”'׳]{1,2}ר|דר['׳]?|דוקטור|ה?פרופ(?:['׳]|סור)?\.?"
    r"|גב['׳]|גברת|ה?אחות) "
    r"|(?<![\u0620-\u06ff])(?:د\.|أ\. ?د\.?|(?:ال)?دكتورة?|(?:ال)?استشارية?"
    r"|السيدة?|الأستاذة?|دکتر|آقای|سرکار خانم|ڈاکٹر) ?"
    r"|(?<![\u0900-\u097f])(?:डॉ\.?|डा\.|डॉक्टर|श्री(?:मती)?|प्रो\.) ?|(?:ডাঃ|ডা\.|ড\.) ?"
    r"|(?:นพ\.|พญ\.|ทพ\.|ดร\.|นายแพทย์|แพทย์หญิง|นางสาว|น\.ส\.|นาย|นาง) ?)"
    rf"(?P<name>{_OTHER}{{2,20}}(?:[ \u05be-]{_OTHER}{{2,20}})?)"
)
"""A title, and the two words behind it."""


def uncased(text: str) -> Iterator[tuple[int, int]]:
    """The places of such names, some of them twice.

    Example:
        >>> text = "左侧额叶占位。与李晓明沟通（张丽华）。"
        >>> [text[start:end] for start, end in sorted(set(uncased(text)))]
        ['李晓明', '张丽华']
    """
    for pattern in (_CHINESE, _KOREAN, _PLACED_JA):
        for found in pattern.finditer(text):
            kind = found.lastgroup or "alone"
            start, end = found.span(kind)
            said = text[start:end]
            if not said:  # `请会诊`
                continue
            if pattern is _KOREAN and _NOT_KO.search(said):
                continue
            if pattern is _PLACED_JA and not _japanese(said):
                continue
            yield start, end

    yield from (found.span("name") for found in _TITLED.finditer(text))
    yield from (found.span() for found in _TRANSLITERATED.finditer(text))
    yield from _spaced(text)


def _japanese(said: str) -> bool:
    """A family name of the lexicon and a given name of one to three signs."""
    known = lexicon()
    plain = re.sub(r"[ 　]", "", said)
    for cut in (2, 3, 1):
        family, given = plain[:cut], plain[cut:]
        if family in known.family and 0 < len(given) < 4:
            named = given in known.given or given in known.also_words
            if named or (cut > 1 and not re.search(r"[葉脳瘤病部変室性質側核]", given)):
                return True

    return False


def _spaced(text: str) -> Iterator[tuple[int, int]]:
    known = lexicon()
    for run in _SPACED.finditer(text):
        words = list(_LETTERS.finditer(text, *run.span()))
        alone = (
            len(words) < 4 and _OPENS.search(text, 0, run.start()) and _SHUT.match(text, run.end())
        )
        for first, last in pairwise(words):
            if first[0] not in known.given and first[0] not in known.also_words:
                continue
            heard = _HEARD.search(text[max(0, first.start() - 12) : first.start()])
            heard = heard or _ASKED.match(text, last.end())
            if alone or heard or last[0] in known.family:
                yield first.start(), last.end()


_LETTERS = re.compile(rf"{_OTHER}{{2,20}}")
_OPENS = re.compile(r"(?:^|[\n(\[]|[.।] )\Z")
_SHUT = re.compile(r" ?(?:[)\]]|[.।]?(?:\n|$))")
