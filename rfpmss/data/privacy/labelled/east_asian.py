"""Who a report in Japanese or Korean names: fields such as `読影医：` or `판독의:`.

Chinese stands in `rfpmss.data.privacy.sentences`, whose surnames tell names in sentences.
"""

from __future__ import annotations

import re

_SPACE = r"[ \t\u3000\u00a0]"
_GAP = rf"{_SPACE}{{0,3}}"
_SIGN = rf"{_GAP}[:：=]{_GAP}"
_END = r"(?=[\s。、，,.；;：:）)】\]（(/／|]|$)"
_AFTER = rf"{_GAP}[。、，,.；;/／|]?{_GAP}"

# Japanese: a name is up to six signs, or family and given name apart.
_JA = r"\u3400-\u9fff々ヶ\u3041-\u3096\u30a1-\u30fa\u30fc・"
_STOP_JA = (
    r"(?:左|右|両|前頭|側頭|頭|後頭|小脳|大脳|脳|腫|出血|浮腫|異常|所見|病変|梗塞|造影|単純|正常|高信号|低信号|水頭|診断"
    r"|検査|男|女|歳|年|月|日|結果|依頼|未|無|有|あり|なし|不明|同上|当院|以下|本人|上記|既往|症状|認め)"
)
_HONORED_JA = r"(?:医師|先生|技師|教授|部長|氏|様|さん|殿|看護師)"
_NAME_JA = (
    rf"(?!{_STOP_JA})[{_JA}]{{1,8}}?{_HONORED_JA}?{_END}"
    rf"(?:{_SPACE}{{1,2}}(?!{_STOP_JA})[{_JA}]{{1,4}}?{_HONORED_JA}?{_END})?"
)
_LABELS_JA = (
    r"(?:一次|二次|主|副)?(?:読影|診断|主治|担当|報告|依頼|紹介|執刀|指導|上級|当直|検査|放射線科|放射線|病理|撮影|責任|承認|確認"
    r"|記載|作成|入力|検像|転送|術|研修|専門|連携|かかりつけ)(?:専門)?(?:医師?|者|技師)(?:名|氏名)?"
    r"|(?:患者|受診者|被検者|本人|お)?(?:氏名|名前|名称)|患者名|患者様?|被検者|フリガナ|ふりがな|カナ氏名|漢字氏名|ローマ字氏名"
    r"|(?:ご)?家族(?:氏?名)?|続柄|保護者(?:名)?|キーパーソン|緊急連絡先|連絡先|配偶者|代筆者?|付添(?:人|者)?|同伴者"
    r"|医師(?:名)?|署名|サイン|看護師|技師(?:名)?|(?:診療)?科長|部長|執刀"
)
_FIELD_JA = re.compile(
    rf"(?:【{_GAP}(?:{_LABELS_JA}){_GAP}】{_GAP}[:：]?{_GAP}|(?:{_LABELS_JA}){_SIGN})"
    rf"(?P<name>{_NAME_JA}|[A-Za-z][A-Za-z'.,\- ]{{1,40}}{_END}){_AFTER}"
)
_BARE_JA = re.compile(
    r"(?<![\u3400-\u9fff])(?:読影医師?|診断医師?|主治医|担当医師?|報告医師?|報告者|執刀医|依頼医師?|患者氏名|患者名)"
    rf"{_SPACE}{{1,3}}(?P<name>(?!{_STOP_JA})[{_JA}]{{2,6}}?{_HONORED_JA}?{_END}){_AFTER}"
)
# `服部先生に報告`: what stands before an honorific is a name, but for functions and relatives.
_HONORIFIC_JA = re.compile(
    r"(?<![\u3400-\u9fff\u30a1-\u30fc])(?!担当|主治|当直|執刀|専門|指導|上級|依頼|紹介|患者|家族|放射|各|読影|診断|研修"
    r"|外科|内科|病院|麻酔|脳|神経|他|同|当|主|奥|息子|娘|看護|救急|病理|産業|開業|当院|前|後|複数|以前)"
    r"(?P<name>[\u3400-\u9fff々]{1,4}?)(?=(?:先生|医師|技師|教授)(?:より|から|に|へ|と|の|が|は|も|を|宛|御|[、。\s]|$))"
)

# Korean: two to four syllables.
_KO = r"\uac00-\ud7a3"
SURNAMES_KO = (
    "김이박최정강조윤장임한오서신권황안송전홍유고문양손배백허남심노하곽성차주우구"
    "민류진나지엄채원천방공현함변염여추도소석선설마길연위표명기반왕금옥육인맹제모탁국어은편용"
)
TWO_KO = "남궁|황보|제갈|사공|선우|서문|독고|동방"
_STOP_KO = (
    r"(?:소견|판독|진료|진단|의뢰|검사|상담|정상|좌측|우측|양측|종괴|전두|측두|두정|후두|뇌|조영|병변|부종|출혈|이상|없음|있음|주치|전문|담당|지도"
    r"|기존|이전|현재|상기|본인|미상|불명|의사|지시|진행|고신호|저신호|신호|유의|관찰|환자|보호|의견|주의)"
)
_HONORED_KO = (
    rf"(?:{_GAP}(?:교수|선생님?|전문의|전공의|의사|원장|과장|부장|실장|기사|간호사|님|씨)"
    r"{1,2})?"
)
_NAME_KO = rf"(?!{_STOP_KO})[{_KO}]{{2,4}}?{_HONORED_KO}(?:{_GAP}\([^()\n]{{0,12}}\))?{_END}"
_LABELS_KO = (
    r"(?:영상의학과\s?)?(?:판독|담당|주치|의뢰|집도|수술|전문|전공|지도|협진|당직|진료|확인|검사|병리|책임|진단|시술|작성|보고|기록|촬영|승인|검토"
    r"|서명|입력|최종\s?판독|1차\s?판독|2차\s?판독)(?:의사?|자|기사|교수)(?:명|\s?성명)?"
    r"|판독\s?(?:전문의|의사)|담당\s?(?:의사|교수|기사)|(?:환자|수진자|대상자|본인)?\s?(?:성명|이름|성함)|(?:환자|수진자)(?:명|\s?이름)?|방사선사"
    r"|간호사|의사|교수|보호자(?:명)?|가족(?:명)?|배우자|연락처|동반자|서명|작성"
)
_FIELD_KO = re.compile(
    rf"(?:\[{_GAP}(?:{_LABELS_KO}){_GAP}\]{_GAP}[:：]?{_GAP}|(?<![{_KO}])(?:{_LABELS_KO}){_SIGN})"
    rf"(?P<name>{_NAME_KO}|[A-Za-z][A-Za-z'.,\- ]{{1,40}}{_END}){_AFTER}"
)
_BARE_KO = re.compile(
    rf"(?<![{_KO}])(?:판독의|담당의|주치의|집도의|의뢰의|전문의|전공의|교수"
    rf"|방사선사|간호사|판독자|보고자|환자명|환자\s?성명){_SPACE}{{1,3}}"
    rf"(?P<name>(?!{_STOP_KO})(?:(?:{TWO_KO})[{_KO}]{{1,2}}|[{SURNAMES_KO}][{_KO}]{{2}}){_HONORED_KO}{_END}){_AFTER}"
)
_HONORIFIC_KO = re.compile(
    rf"(?<![{_KO}])(?!{_STOP_KO}|전문의|주치의|지도|판독|원장|선생)"
    rf"(?P<name>(?:(?:{TWO_KO})[{_KO}]{{1,2}}|[{SURNAMES_KO}][{_KO}]{{1,2}}))"
    rf"(?={_SPACE}?(?:교수|선생|님|씨|전문의|전공의|과장|원장)(?:님|께|에게|이|가|은|는|의|와|과|께서|[\s.,)]|$))"
)


def without_fields(text: str, names: list[str], blank: str) -> str:
    """A report without the Japanese and Korean fields that say who.

    Args:
        text: a report.
        names: takes the names that stood there.
        blank: what stands for a name in a sentence.

    Example:
        >>> without_fields("読影医：服部半蔵。左前頭葉に腫瘤。", [], "___")
        '左前頭葉に腫瘤。'
        >>> without_fields("담당의 홍길동 좌측 종괴. 홍길동 교수에게 보고.", [], "___")
        '좌측 종괴. ___ 교수에게 보고.'
    """
    if not _ASIAN.search(text):
        return text

    for field in (_FIELD_JA, _BARE_JA, _FIELD_KO, _BARE_KO):
        names += (re.split(r"[\s（(]", found["name"].strip())[0] for found in field.finditer(text))
        text = field.sub("", text)

    for honorific in (_HONORIFIC_JA, _HONORIFIC_KO):
        text = honorific.sub(blank, text)

    return text


_ASIAN = re.compile(r"[\u3041-\u30ff\uac00-\ud7a3\u3400-\u9fff]")
