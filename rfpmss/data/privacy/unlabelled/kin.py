"""Relatives: `seine Tochter Ilvane`, `S/o Mohan Lal`, `家属王建国`, `filho de Raimundo`."""

from __future__ import annotations

import re
from collections.abc import Collection

from rfpmss.data.privacy.labelled.east_asian import SURNAMES_KO, TWO_KO
from rfpmss.data.privacy.persons import PARTICLE, WORD
from rfpmss.data.privacy.unlabelled.general import (
    is_known,
    is_word,
    languages,
    nouns_have_capitals,
)
from rfpmss.data.privacy.unlabelled.people import is_eponym
from rfpmss.data.privacy.vocabulary import DOUBLE, FOUND_ZH, STOP, SURNAMES

_HAN = r"\u3400-\u9fff"
KIN = (
    r"(?:(?:step|grand|foster )?(?:son|daughter|mother|father|sister|brother)(?:-in-law)?|wife"
    r"|husband|spouse"
    r"|partner|aunt|uncle|niece|nephew|cousin|guardian|carer|caregiver|fiancée?"
    r"|(?:stief|schwieger|groß|enkel|ehe)?(?:mutter|vaters?|sohn(?:e?s)?|tochter|mann(?:es)?|frau)|gattin|gatte"
    r"|schwester|bruders?|nichte"
    r"|neffe|tante|onkel|schwager|schwägerin|oma|opa|enkelin|lebensgefährt(?:e|in)|betreuer(?:in)?"
    r"|épouse?|époux|mari|mère|père|fils|fille|frère|sœur|belle-(?:fille|mère|sœur)"
    r"|beau-(?:fils|père|frère)"
    r"|(?:sa )?femme|ved\.|vedova|veuve|vve|verw\.|verwitwete|viuda(?: de)?|viúva(?: de)?"
    r"|wdowa(?: po)?"
    r"|compagne|compagnon|conjointe?|esposa|esposo|marido|mujer|madre|padre|hij[oa]s?"
    r"|herman[oa]|sobrin[oa]|tí[oa]"
    r"|abuel[oa]|niet[oa]|nuera|yerno|cuñad[oa]|pareja|moglie|marito|figli[oa]|fratello|sorella"
    r"|nipote|nonn[oa]"
    r"|compagn[oa]|genero|mãe|pai|filh[oa]|irmã|irmão|sobrinh[oa]|net[oa]|av[óô]|companheir[oa]"
    r"|genro"
    r"|mare|fill[a]?|germ[àa]n?[a]?|dona|muller|espos"  # Catalan, Galician
    r"|vrouw|man|echtgeno(?:ot|te)|moeder|vader|zoon|dochter|zus|broer|partner|mantelzorger"
    r"|hustrun?|fru|maken?|maka[n]?|dottern?|sonen?|systern?|brodern?|modern|fadern|mamman?"
    r"|pappan?|sambon?"
    r"|kone[n]?|datter(?:en)?|søn(?:nen)?|sønn(?:en)?|mor(?:en)?|far(?:en)?|ægtefælle|ektefelle"
    r"|samboer|søster|bror"
    r"|żon[aąęy]|mąż|męża|mężem|córk[aąęi]|syn[aem]{0,2}|matk[aąęi]|ojc(?:iec|a|em)"
    r"|siostr[aąęy]|brat[aem]{0,2}|opiekun(?:ka)?"
    r"|manžel(?:ka|ky|kou|em|a)?|dcer[aouy]|syn(?:em|a)?|matk[ay]|otec|otcem|sestr[aoyu]"
    r"|bratr(?:em|a)?"
    r"|suprug[aeou]{0,2}|kć(?:i|er|erka|erki)|kćerk[aoi]|sin(?:om|a)?|majk[aeo]|otac|sestr[aeo]"
    r"|žen[aeo]|muž(?:em)?|hč(?:i|er|erka)|mož"
    r"|feleség(?:e|ét|ével)?|férj(?:e|ét|ével)?|lány(?:a|át|ával)|fi(?:a|át|ával)|anyja|apja"
    r"|testvére|nővére|húga"
    r"|soți(?:a|ei|e)|soțul(?:ui)?|fiic[aă]i?|fiul(?:ui)?|mama|tatăl|sora|fratele"
    r"|eşi|eşi|eşinin|kızı|oğlu|annesi|babası|kardeşi|ablası|abisi|yakını|karısı|kocası|eşiyle"
    r"|vaimo(?:nsa)?|puoliso(?:nsa)?|mies|miehensä|tytär|tyttärensä|poika|poikansa|äiti|isä"
    r"|sisko|veli|omainen|abikaasa|tütar|poeg"
    r"|жен[аыеуой]{1,2}|муж[аеуомь]{0,2}|дочь|дочер[иью]{1,2}|сын[аеуом]{0,2}|мат(?:ь|ери|ерью)"
    r"|отец|отц[аеуом]{1,2}|сестр[аеуыой]{1,2}|брат[аеуом]{0,2}"
    r"|дружин[аиуою]{1,2}|чоловік[аоми]{0,3}|доньк[аиуою]{1,2}|дочк[аиуою]{1,2}|син[аоми]{0,3}"
    r"|мат(?:и|ері)|батьк[оау]|съпруг[аът]{0,2}|дъщеря|майка|баща"
    r"|σύζυγος|συζύγου|κόρη|κόρης|γιος|γιο[υύς]|μητέρα|πατέρας|αδελφ[όή]ς?"
    r"|istri(?:nya)?|suami(?:nya)?|anak(?:nya)?|ibu(?:nya)?|ayah(?:nya)?|isteri|vợ|chồng"
    r"|con (?:gái|trai)|bố|mẹ|mke|mume|binti)"
)
_OF = r"(?:of|de|del|des|du|di|della|do|da|von|van|der|d['’])"
_NAMED = re.compile(
    rf"(?<![\w-])(?i:{KIN}(?: {_OF})?|{KIN} (?:namens|named|called|prénommée?|llamad[oa]"
    rf"|chamad[oa]|di nome|o imieniu))"
    rf"(?P<gap>[,:]? [\[(]?|, | \()(?:{PARTICLE}|(?:Lo|La|Li|Mac|Mc) ){{0,2}}(?P<word>{WORD})"
)
_OF_AT_END = re.compile(rf" {_OF}$")
_HONOR = r"(?:(?:Late|late|Shri|Sri|Smt|Sh|Mr|Mrs|Ms|Dr|Md|Mohd|Kumari|Km)\.?\s){0,3}"
# Son, wife, daughter and care of, in India and its neighbours; resident of, with the address.
_OF_INDIA = re.compile(
    rf"(?<![\w/])(?P<kin>[SWDCHMFB]\s?/\s?[Oo])(?![\w/])[.:]?\s?{_HONOR}{WORD}(?: {WORD}){{0,3}}"
    r"|(?<![\w/])(?P<home>[Rr]\s?/\s?[Oo])(?![\w/])[.:]?\s?(?:(?![.;]\s)[^\n;]){3,80}(?=[.;\n]|$)"
)
_VERB_ZH = r"[代陪签诉称说告同来在电联已要于到提反表补介送确知商签诉，。、；：,.;:（）()\s]"
_NAME_ZH = rf"(?!{STOP}|{FOUND_ZH})(?:(?:{DOUBLE})[{_HAN}]{{1,2}}?|[{SURNAMES}][{_HAN}]{{1,2}}?)"
_KIN_ZH = re.compile(
    r"(?P<kin>家属|家屬|亲属|陪护|陪同者?|监护人|联系人|[其之][子女妻夫父母兄弟姐妹孙]子?"
    r"|(?:长|次|小|大|独|三)(?:子|女)|儿子|女儿|兒子|女兒|儿媳|女婿|妻子|丈夫|爱人|配偶|老伴|父亲|母亲|父親|母親"
    r"|哥哥|弟弟|姐姐|妹妹|孙子|孙女|侄子|侄女|外甥女?|姑姑|叔叔|舅舅)"
    rf"(?P<gap>[（(:：为是叫名 ]{{0,2}})(?P<word>{_NAME_ZH})(?={_VERB_ZH}|$)"
)
_NAMED_ZH = re.compile(
    rf"(?P<kin>患者|病人|患儿|联系人)(?P<gap>)(?P<word>(?!{STOP}|{FOUND_ZH})[{_HAN}]{{2,4}})"
    r"(?=[，,、]\s?(?:[男女](?:[，,。性]|$)|电话|手机))"
)
_KIN_JA = re.compile(
    r"(?P<kin>妻|夫|長男|長女|次男|次女|三男|三女|息子|娘|母親?|父親?|姉|妹|兄|弟|孫|嫁|家族|配偶者|キーパーソン)"
    rf"(?P<gap>(?:である|の|は|、|・|：|:|（"
    rf"|\()?)(?P<word>[{_HAN}々\u3041-\u3096\u30a1-\u30fa]{{1,6}}?)(?=さん|様|氏|さま)"
)
_KIN_KO = re.compile(
    r"(?P<kin>아들|딸|아내|남편|배우자|보호자|어머니|아버지|모친|부친|며느리|사위|손자|손녀|형|누나|언니|동생)"
    rf"(?P<gap>[ :(]{{0,2}}(?:인 )?)(?P<word>(?:{TWO_KO}|[{SURNAMES_KO}])[가-힣]{{2}})"
    r"(?=[\s,.)]|씨|님|에게|이|가|과|와|은|는|$)"
)
_WIDE = re.compile(r"[\u3041-\u30ff\u3400-\u9fff가-힣]")


def without_kin(text: str, blank: str, spoken: Collection[str] | None = None) -> str:
    """A report with a blank for each relative's name.

    Example:
        >>> without_kin("S/o Mohan Lal. Her niece Zelphira, the son Left. 家属王建国代诉", "_")
        'S/o _. Her niece _, the son Left. 家属_代诉'
    """
    text = _OF_INDIA.sub(lambda found: f"{found['kin'] or found['home']} {blank}", text)
    spoken = languages(text) if spoken is None else spoken
    nouns = nouns_have_capitals(spoken)

    def named(found: re.Match[str]) -> str:
        word = found["word"]
        relative = found[0][: found.start("gap") - found.start()]
        # `kızı Yıldız`: a word, and her name.
        sure = not (nouns or _OF_AT_END.search(relative)) and found["gap"] == " "
        sure = sure and word[1:].islower()
        if (is_known(word) if sure else is_word(word, spoken)) or is_eponym(
            found.string, *found.span("word")
        ):
            return found[0]
        return found[0][: found.start("word") - found.start()] + blank

    text = _NAMED.sub(named, text)
    if not _WIDE.search(text):
        return text

    for pattern in (_KIN_ZH, _NAMED_ZH, _KIN_JA, _KIN_KO):
        text = pattern.sub(rf"\g<kin>\g<gap>{blank}", text)
    return text
