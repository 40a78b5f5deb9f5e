"""What says who in a report: fields such as ``Name:`` or ``姓名：``, and who wrote and signed it.

A field loses its label and its value and nothing else: what follows in the same line stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from rfpmss.data.privacy.functions import (
    CALLED,
    CLOSING,
    DONE,
    FUNCTION,
    KIN_FIELD,
    KIN_NAMED,
    KIN_OF,
    KIN_ONE,
    MAIDEN,
    MAIDEN_FIELD,
    TOLD,
    TOLD_ONE,
)
from rfpmss.data.privacy.labelled import east_asian
from rfpmss.data.privacy.labelled.labels import NAMED, PATIENT, VALUES, Labelled, uncased
from rfpmss.data.privacy.persons import (
    PARTICLE,
    SMALL_PARTICLE,
    TITLE,
    UPPER,
    WORD,
    degreed,
    people,
    person,
    titles,
    together,
)
from rfpmss.data.privacy.vocabulary import (
    ALSO_NAMES,
    DOUBLE,
    FOUND_ZH,
    MED_ZH,
    RARE_SURNAMES,
    STOP,
    SURNAMES,
    common,
)
from rfpmss.data.readers.text.dates import MONTH

BLANK = "___"
_HAN = r"\u3400-\u9fff"
_SPACE = r"[ \t\u3000\u00a0]"
# No repetition is without a bound: a match then costs a constant, and a text as much as it is long.
_GAP = rf"{_SPACE}{{0,3}}"
_GAP1 = rf"{_SPACE}{{1,3}}"

# Chinese. A name is at most four characters, or parts of a longer one around a dot.
_NAME = (
    rf"(?:(?:{DOUBLE})(?:(?!{STOP})[{_HAN}]){{1,2}}|[{_HAN}]{{1,9}}(?:·[{_HAN}]{{1,9}}){{1,5}}"
    rf"|(?!{STOP})[{_HAN}]{_SPACE}{{1,2}}(?!{STOP})[{_HAN}](?![{_HAN}]|{_GAP}[:：])"
    rf"|(?!{STOP})[{_HAN}](?:(?!{STOP})[{_HAN}]){{0,3}}(?![{_HAN}]|(?<={_SPACE}))"
    rf"|(?!{STOP})[{_HAN}](?:(?!{STOP})[{_HAN}]){{0,3}}(?={STOP})"
    rf"|[{SURNAMES}][{_HAN}]{{1,2}}|(?!{STOP})[{_HAN}]{{5,7}}(?=\s|$)|[A-Za-z][A-Za-z'. ]{{1,30}})"
)
_MORE = (
    rf"(?:{_GAP}[、/,，和]?{_GAP}(?!{STOP})[{SURNAMES}]"
    rf"(?:(?!{STOP})[{_HAN}]){{1,2}}(?![{_HAN}])){{0,9}}"
)
_END = rf"{_GAP}[，,；;。、|/.]?{_GAP}"
_DASH = r"[-\u2010-\u2015\u2212\uff0d]{1,2}"
_DASHED = rf"(?:{_GAP1}{_DASH}{_GAP}|[\u2012-\u2015\u2212\uff0d]{{1,2}}{_GAP}|-(?=(?-i:{TITLE})\b))"
"""A dash in place of a colon: behind a blank, longer than a hyphen, or before a title."""
_COLON = rf"(?:{_GAP}(?:[:：=]|{_DASH}){_GAP}|{_GAP1})"


def _spread(words: str) -> str:
    """Labels of forms have spaces inside: `姓 名`."""
    return "|".join(rf"{_GAP}".join(word) if len(word) == 2 else word for word in words.split())


_WHO = "患者 病人 患儿 受检者 受检人 就诊人 病员 病患"
_NAMES_ZH = re.compile(
    rf"(?:(?:{_spread(_WHO)})?(?:{_spread('姓名 名字')})"
    rf"|(?:曾用名|别名|原名|患儿|基本信息|秘书|打字|口述|誊写|转录|接诊|主诊|经手人|收件人)"
    rf"(?={_GAP}[:：])|(?<![{_HAN}])[姓名](?={_GAP}[:：])"
    rf"|(?:{_spread('患者 病人 受检者')}){_GAP}"
    rf"(?=[:：]|{_DASH}{_GAP}(?:{DOUBLE}|[{SURNAMES}])[{_HAN}]{{1,2}}(?![{_HAN}])))"
    rf"{_COLON}{_NAME}?{_END}"
)
_DUTY = (
    r"(?:检查|报告|审核|送检|申请|诊断|主治|主管|住院|主任|副主任|经治|责任|记录|书写|初诊"
    r"|复核|审阅|阅片|操作|签发|签字|会诊|撰写|录入|打印|检验"
    r"|送诊|开单|初步|登记|扫描|取材|制片|接诊|首诊|带教|进修|实习|规培|住培|轮转|值班|审签"
    r"|签审|书写|管床|带组|終审|终审|進修|报告书写|初写|報告|檢查|審核|主治)"
)
_STAFF_ZH = re.compile(
    rf"(?:{_DUTY}{{0,4}}"
    r"(?:医师|医生|大夫|醫師|醫生|者|人|老师|助手|术者|主刀|技师|技师长|技术员|护士"
    r"|主任)(?:签名|签字|签章)?|(?:医师|医生|审核|报告)?(?:签名|签字|签章))"
    rf"{_GAP}[:：]{_GAP}{_NAME}?{_MORE}{_END}"
)
_GIVEN = rf"(?!{STOP}|[叶葉脑腦瘤灶区區岛島病症疸影])[{_HAN}]"
"""A character of a name where findings may stand as well."""
# What was done says who did it only before a name: `报告：` may begin the findings as well.
_DID_ZH = (
    r"(?:审核|复核|录入|审阅|审签|签发|登记|初写|撰写|阅片|打印|审批|校对|審核|複核|錄入|書寫|书写)"
)
_FOUND_BY_ZH = r"(?:报告|检查|诊断|记录|操作|報告|檢查|診斷)"
"""Labels of findings as well: who examined, and what was found."""
_DOER_ZH = re.compile(
    rf"(?:(?:{_FOUND_BY_ZH}?{_DID_ZH}{{1,2}}{_FOUND_BY_ZH}?|{_FOUND_BY_ZH}{{1,2}}(?=人"
    rf"|者))(?:人员|人員|人|者)?"
    rf"{_GAP}[:：]{_GAP}(?!{STOP})"
    rf"|{_FOUND_BY_ZH}{{1,2}}{_GAP}[:：]{_GAP}(?!{STOP}|{FOUND_ZH}|明[显确]))"
    rf"(?:(?:{DOUBLE}|[{SURNAMES}])(?:{_GIVEN}){{1,2}}"
    rf"|(?:{_GIVEN}){{1,9}}(?:[·•・‧](?:{_GIVEN}){{1,9}}){{1,5}})"
    rf"(?=$|[^{_HAN}]|(?:审核|报告|复核|录入|审阅|日期|时间)[^:：\n]{{0,4}}[:：]){_MORE}{_END}",
    re.MULTILINE,
)
# A dash also joins what a doctor does, "主治医师-查房": only a surname behind it begins a name.
_STAFF_DASHED_ZH = re.compile(
    rf"(?:{_DUTY}{{1,4}}(?:者|人员?)"
    rf"|{_DUTY}{{0,4}}(?:医师|医生|大夫|醫師|醫生|技师|技术员|护士|签名|签字))"
    rf"{_GAP}{_DASH}{_GAP}(?={DOUBLE}|[{SURNAMES}]){_NAME}{_MORE}{_END}"
)
_STAFF_BARE_ZH = re.compile(
    rf"((?:{_DUTY}{{1,4}}(?:医师|医生|大夫|醫師|醫生|技师|护士)|值班医[师生]){_SPACE}{{0,2}})"
    rf"(?!{STOP})(?:(?<={_SPACE})[{_HAN}]{{2,5}}|(?:{DOUBLE})[{_HAN}]{{1,2}}|[{SURNAMES}][{_HAN}]{{1,2}})"
    r"(?=[\s，,。；;、]|$)"
)
"""`送检医师 哈斯巴根`, `值班医生亓官云`: no colon, and nothing but a sign behind the name."""
_FOREIGN_ZH = re.compile(
    rf"(?:(?<=患者)|(?<=病人)|(?<=患儿)|(?<![{_HAN}]))"
    rf"(?:{_GIVEN}){{2,8}}(?:[·•・‧](?:{_GIVEN}){{2,8}}){{1,3}}(?![{_HAN}])"
)
"""`奥卢米德·班科莱`, but `岛叶·颞叶`."""
_RANKED_BEFORE_ZH = re.compile(
    rf"(主诊|接诊|住院医师，?|前台|护士|病房)(?:{_GIVEN}){{1,3}}?(?=教授|副教授|主任|医[师生]|女士|先生|老师|[，,。；;\s]|$)"
)
_BROUGHT_ZH = re.compile(
    rf"(患者|病人|患儿)(?!{STOP})[{_HAN}]{{2,5}}?(?=由(?:其|家属|家人))"
    rf"|((?:由其|其|由)(?:长|次)?(?:子|女|妻|夫|父|母|兄|弟|姐|妹|爱人|儿子|女儿))(?!{STOP})[{_HAN}]{{2,4}}?"
    r"(?=陪同|陪诊|代诉|代述|签字|送来|送入)"
)
_CALLED_ZH = re.compile(
    r"((?:报告|告知|通知|联系|请示|呈报)(?:了)?)"
    rf"(?:(?:{DOUBLE})|[{SURNAMES}{RARE_SURNAMES}])(?:{_GIVEN}){{1,2}}?(?=医[生师]|护士|主任)"
    rf"|((?:后|由|请|经|找|到|挂|约))(?!{STOP}|科|上级|各|副|其)[{_HAN}]{{2,3}}"
    r"(?=主任(?:医师)?(?:门诊|查房|阅片|复诊|会诊))"
)
_BRACKETED_ZH = re.compile(
    rf"([:：])(?!{STOP}|{FOUND_ZH})[{_HAN}]{{2,4}}(?=[（(](?:护照|身份证|男|女|丈夫|妻子|儿子|女儿|生日|出生|\d{{2}}岁))"
)
_ALONE_ZH = re.compile(
    rf"((?:诊断|书写|报告|审核|记录|签名|签字|医[师生]|技师|操作|阅片|会诊|主诊){_GAP}[:：]{_GAP})"
    rf"(?!{STOP}|{FOUND_ZH})[{SURNAMES}{RARE_SURNAMES}](?:(?!{MED_ZH}|{STOP})[{_HAN}]){{1,2}}"
    rf"(?={_GAP}(?:$|\n|[/／（(，,；;]|\d{{4}}|审核|报告|复核))"
)
"""`诊断：水均益` at the end of a line."""
_WORKED_ZH = re.compile(
    rf"((?:技师|护士|医[师生]))[{SURNAMES}{RARE_SURNAMES}](?:(?!{MED_ZH})[{_HAN}]){{1,2}}?"
    r"(?=完成|操作|扫描|记录|通知|告知|要求|执行|会诊)"
)
_DOCTOR_ZH = re.compile(
    rf"((?:^|(?<=[\s：:，。（(])))[{SURNAMES}{RARE_SURNAMES}](?:{_GIVEN}){{1,2}}"
    r"(?=医生|教授|院士|主任医师|大夫|护士长)"
)
_ROLE_ZH = re.compile(
    r"((?:护士|医[师生]|专家|技师|技术员|大夫|教授|记录[者人]|审核者?|报告者|操作者"
    r"|校对|签字|签名)"
    rf"[ \t/:：]{{1,3}}(?:(?:Prof|Dr|PD)\.?{_GAP})?)"
    rf"(?!{STOP}|通知|告知|记录|完成|执行|陪同|护理|交班|复查|要求|电话|签收|意见|签名|签字|建议|会诊|查房|审核|报告|阅片|日期|时间)(?:{_GIVEN}){{2,4}}"
    r"(?=[\s/，,。；;（(、]|已|$)"
)
"""Behind a function a name goes whatever its signs mean: `护士 白雪`."""
_LATIN_TITLE_ZH = re.compile(
    rf"((?:Prof|Dr)\.?{_GAP})(?:(?:{DOUBLE})|[{SURNAMES}{RARE_SURNAMES}])(?:{_GIVEN}){{1,2}}"
)
_RELATED_ZH = re.compile(
    rf"((?:家属|家人|村民|居民))(?!{STOP})(?:{_GIVEN}){{2,3}}(?=[（(，,])"
    rf"|((?:^|(?<=[\n。])))(?!{STOP}|患者|病人|患儿|成人)(?:{_GIVEN}){{2,4}}(?=[（(][男女][，,])"
)
_FROM_ZH = re.compile(rf"(?<=[，,。；;\s])[{_HAN}]{{1,10}}?[省市县區区镇乡村](?=人[，,。；;\s])")
_SIGNED_ZH = re.compile(
    rf"((?:^|(?<=[。\n]))(?:报告|审核|书写|记录))[{SURNAMES}](?:{_GIVEN}){{1,2}}(?=\s{{0,9}}(?:\n|$))"
)
_NAMED_ZH = re.compile(
    rf"((?<=[，,])名)[{_HAN}]{{2,3}}(?=[，,])|((?:名叫|名为|姓名为|姓名是|叫作|叫做)[:：]?)(?:(?:{DOUBLE})[{_HAN}]{{1,2}}|[{SURNAMES}][{_HAN}]{{1,2}})"
    r"(?=[\s，,。；;、]|$)"
)
_TOLD_KIN_ZH = re.compile(
    rf"((?:告知|通知|联系|告诉|转告)(?:其|患者)(?:长|次|大|小|之)?(?:子|女|妻|夫|父|母|兄|弟|姐|妹|女儿|儿子|妻子|丈夫|家属))"
    rf"[{_HAN}·]{{2,6}}(?=[\s，,。；;、]|$)"
)
_TYPED_ZH = re.compile(
    rf"(?:录入|打印|登记|抄写|记录){_GAP}[:：]{_GAP}[{SURNAMES}](?![{_HAN}]){_END}"
    rf"|(?:审核|报告|诊断|复核){_GAP}[:：]{_GAP}(?!{STOP})[{_HAN}]{{2,4}}{_SPACE}?"
    r"(?:教授|副教授|主任医师|副主任医师|主治医师|医师|医生)(?=\s|$)"
)
_KIN_ZH = re.compile(
    r"(?:患者|病人)?(?:家属|家屬|联系人|聯絡人|监护人|監護人|陪同人?员?|陪护|陪檢|陪检|护工"
    r"|委托人|代理人|父亲|母亲|父親|母親|配偶|丈夫|妻子|儿子|兒子|女儿|女兒|爱人|子女"
    r"|哥哥|弟弟|姐姐|妹妹|直系亲属)(?:姓名|签名|签字|代表)?"
    rf"{_GAP}[:：]{_GAP}(?:(?:{DOUBLE})[{_HAN}]{{1,2}}|[{SURNAMES}][{_HAN}]{{1,2}})(?![{_HAN}])"
    rf"(?:[（(][^（）()\n]{{0,12}}[）)])?{_END}"
)
# `其子王强代诉`
_KIN_SAID_ZH = re.compile(
    r"((?:其|患者)(?:之)?(?:长|次|大|小|二)?(?:子|女|妻|夫|父|母|兄|弟|姐|妹|儿子|女儿|儿媳"
    r"|女婿|妻子|丈夫|父亲|母亲|家属|配偶|孙|外甥|侄)"
    r"(?:子|女)?)"
    rf"(?:(?:{DOUBLE})|[{SURNAMES}]){_GIVEN}{{1,2}}?(?=[，,。；;、）)\s]|代|陪|签|诉|称|说|告"
    rf"|同|来|$)"
)
_NUMBERS_ZH = re.compile(
    r"(?:住院|病历|病案|门诊|工|检查|影像|登记|放射|就诊|就诊卡|申请单?|报告单?|检查单|检查流水"
    r"|流水|病理|标本|条码|医保|医保卡|社保|社保卡|卡|急诊|体检|"
    r"身份证|身份证件|证件|护照|床|床位|病床|病人|患者|超声|CT|MRI?|DR|X线|ID|序|编|住院病历"
    r"|病歷|住院|檢查|門診)"
    rf"{_GAP}(?:号码?|编号|編號|號碼?|ID"
    rf"|id){_COLON}(?:[A-Za-z0-9][\w\-/.]{{0,60}}(?:床(?!号))?)?{_END}"
    rf"|(?:身份证|联系电话|联系方式|电话号码|电话|手机号?码?|传真|邮编|邮箱|QQ|微信号?"
    rf"|電話)(?:号码?)?{_COLON}"
    rf"[\w\-+()（）@.]{{0,60}}{_END}"
    rf"|(?:出生日期|出生年月日?|生日|出生)"
    rf"{_GAP}[:：]{_GAP}[\d年月日/.\-]{{1,30}}{_END}"
    rf"|(?:家庭住址|家庭地址|通讯地址|联系地址|现住址|住址|地址|籍贯|户籍|工作单位|单位"
    rf"|送检医院|送检单位|检查医院|医院名称|就诊医院|申请医院|转诊医院|医院"
    rf"|检查机构|机构名称|送檢醫院|醫院)"
    rf"{_GAP}[:：]{_GAP}[^\s，,。；;]{{0,80}}{_END}"
)
_PATIENT_ZH = re.compile(
    rf"(患者|病人|患儿)(?:(?:{DOUBLE})[{_HAN}]{{1,2}}|(?!{FOUND_ZH})[{SURNAMES}][{_HAN}]{{1,2}})"
    rf"(?=[，,、（(]?{_GAP}(?:男|女|性别|\d{{1,3}}{_GAP}岁|因|于\d|自述|主诉|入院|既往"
    rf"|家住|现住|住于|住在|来自|联系|电话|身份|出生))"
    rf"|(患者|病人|患儿)(?!{FOUND_ZH})(?:(?:{DOUBLE})|[{SURNAMES}]){_GIVEN}{{1,2}}(?=[，,])"
    rf"|(患者|病人|患儿)(?!{FOUND_ZH}|[于因常向曾方时余史经])(?:(?:{DOUBLE})|[{SURNAMES}])"
    rf"(?:(?![叶葉脑腦瘤灶区區病症于在因自曾行由经术入热烧压])[{_HAN}]){{1,2}}(?=[（(]|于|在|因|自[^主]|曾|经|由|术[后前]|行[^走]|复[查诊]|来院|就诊|随访|住院|入院|出院"
    r"|女士|先生|今|近[日期来]|突发)"
)
# `王芳 女 45岁`: a name, a sex and an age in one line.
_LISTED_ZH = re.compile(
    rf"(?<![{_HAN}])(?!患者|病人|患儿|成人|{FOUND_ZH})[{_HAN}]{{2,4}}(?=[，,]{_GAP}[男女][，,]{_GAP}\d{{1,3}}岁)"
    rf"|(?<![{_HAN}])(?:(?:{DOUBLE})|[{SURNAMES}])(?:(?!{STOP})[{_HAN}]){{1,2}}"
    rf"(?=[\s，,、]{{1,3}}[男女]性?[\s，,、]{{1,3}}\d{{1,3}}{_GAP}岁)"
)
_BEHIND_RU = "|".join(
    rf"(?<=(?i:{word})\s)"
    for word in (
        *("пациент", "пациента", "пациенту", "пациентка", "пациентки", "пациентке", "пациентку"),
        *("больной", "больная", "больного", "больному", "больную"),
    )
)
# `Иванова М.П.`, `М. П. Иванова`, `у пациентки Ивановой` in any case.
_INITIALS_RU = re.compile(
    r"(?<!\w)(?:(?P<name>[А-ЯЁ][а-яё]{2,40}(?:-[А-ЯЁ][а-яё]{2,40})?)\s[А-ЯЁ]\.\s?[А-ЯЁ]\."
    r"|[А-ЯЁ]\.\s?[А-ЯЁ]\.\s?(?P<last>[А-ЯЁ][а-яё]{2,40}(?:-[А-ЯЁ][а-яё]{2,40})?)"
    rf"|(?:{_BEHIND_RU})(?P<one>[А-ЯЁ][а-яё]{{2,40}}))(?!\w)"
)
_AGED = re.compile(
    rf"(?<![\w-])(?:(?P<name>[{UPPER}][\w'’-]{{1,40}}(?:\s[{UPPER}][\w'’-]{{1,40}})?,\s"
    rf"[{UPPER}][\w'’-]{{1,40}}(?:\s[{UPPER}][\w'’-]{{1,40}})?)"
    rf"|(?<=(?i:bei|von|für)\s)(?P<given>[{UPPER}][\w'’-]{{1,40}}\s[{UPPER}][\w'’-]{{1,40}}))"
    r"(?=,\s\d{1,3}\s?(?:J\.|Jahre?|Jährig|j\.|y\.?o\.?|y/o|years?|ans|años|anni|anos|jaar|lat|år)"
    r"(?!\w))"
)
"""A family and a given name before an age: `bei Koch, Sabine, 41 J.`"""
_BORN_IN = re.compile(
    r"(?<![\w-])((?i:nat[oa] (?:ad?|in)|nacid[oa] en|née? à|geb(?:oren|\.) in"
    r"|nascid[oa] (?:em|n[oa])"
    rf"|born in)\s)[{UPPER}][\w'’-]{{1,40}}(?:[ -][{UPPER}][\w'’-]{{1,40}}){{0,2}}"
)

_IN_BORN = re.compile(rf"((?:^|\s)in\s)[{UPPER}][\w'’-]{{1,40}}(\sgeboren(?!\w))")
_RANK_ZH = (
    r"(?:副?主任(?:医师|医生|技师|护师)?|(?:主治|住院|首席)?(?:医师|医生|技师|护师)|副?教授"
    r"|大夫|護士|护士长?"
    r"|专家|專家|院士|副?院长|博士|研究员)"
)
# `请毛颖教授`, and behind what the person is: `首席专家毛颖教授`, `外院张伟主任`.
_TITLED_ZH = re.compile(
    r"(?:(?<=[请請由经經与與和及邀为為给給找让让跟同向应的班意，,。；;：:、（(_院科室组組部席床知师師生任授家长長士人过過\s])|^)"
    rf"(?!主任|方法)(?:(?:{DOUBLE})|[{SURNAMES}])[{_HAN}]{{0,2}}?"
    rf"(?={_RANK_ZH}(?<!主任)|副?主任(?!医)|副?主任医[师生]|先生|女士|老师"
    rf"|[、和及与](?:{_RANK_ZH})?(?:{DOUBLE}|[{SURNAMES}])[{_HAN}]{{1,2}}?(?:等)?(?:{_RANK_ZH}"
    rf"|报告|审核))"
)

_RANKED_ZH = re.compile(
    rf"((?:{_RANK_ZH}|主任){_SPACE}{{0,2}})(?!常规|高度|任何|温和|方可|明确|严格|安排|全程"
    rf"|共同|{STOP})"
    rf"(?:(?:{DOUBLE})|[{SURNAMES}])(?:(?!{STOP})[{_HAN}]){{1,2}}"
    r"(?=[ \t\u3000]{0,2}(?:阅片|審閱|审阅|审核|会诊|查房|读片|复核|诊断|报告|签|主刀|操作)"
    r"|[\s，,；;。、/（(]|$)"
)

_HOSPITAL_ZH = re.compile(
    r"(?:中国|首都|北京|上海|天津|重庆|广州|深圳|南京|武汉|成都|西安|杭州|郑州|长沙|沈阳|济南"
    r"|青岛|复旦|协和"
    r"|华西|中山|同济|湘雅|解放军|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东"
    r"|河南|湖北|湖南"
    r"|广东|海南|四川|贵州|云南|陕西|甘肃|青海|台湾|内蒙古|广西|西藏|宁夏|新疆|南方|南昌|苏州"
    r"|宁波|大连|哈尔滨)"
    rf"[{_HAN}]{{0,20}}?(?:医院|卫生院)"
)

# Russian: a family name with given names or initials.
_NAMES_RU = re.compile(
    r"(?<!\w)(?:Ф\.?\s?И\.?\s?О\.?|Пациент(?:ка)?|(?:Лечащий\s)?[Вв]рач(?:[ -][а-яё]{3,20})?"
    rf"|Рентгенолог|Фамилия)(?:\s(?:пациента|пациентки|врача))?{_GAP}:{_GAP}"
    r"[А-ЯЁ][а-яё]{1,40}(?:-[А-ЯЁ][а-яё]{1,40})?"
    rf"(?:{_GAP}[А-ЯЁ]\.|{_GAP1}[А-ЯЁ][а-яё]{{1,40}}(?!\s[а-яё])){{1,2}}{_END}"
)

# English, German, French, Spanish. Labels before a colon; `Patient:` may also begin a sentence.
_PERSON = Labelled(
    r"(?P<label>(?:(?:patient(?:'?s)?|pt|full|last|first|given|family|sur"
    r"|subject)[ _.]{0,3}){0,4}name"
    r"(?P<both>(?: ?[/&,+] ?(?:id|mrn|dob|d\.o\.b\.?|no|number|nr)){1,3})?"
    r"|(?:last|family)(?: name)?, ?first(?: name)?|(?:dr|dra|prof|dott)\.?|professor(?:in)?"
    r"|surname|forenames?|(?:maiden|birth) name|geburtsname|mädchenname|nom d['’]usage"
    r"|nom de (?:naissance|jeune fille)|nombres|name of (?:the )?patient"
    r"|referr(?:er|ing(?: physician| doctor| md)?)"
    r"|requesting physician"
    r"|attending|reading|resident|fellow|consultant"
    r"|(?:attending|ordering|reading|reporting|primary|consulting|supervising|interpreting"
    r"|performing"
    r"|responsible)?"
    r" ?(?:physician|radiologist|pathologist|doctor|clinician|provider|technologist|technician"
    r"|operator)"
    r"|(?:electronically )?signed(?: off)?(?: by)?|signature|signatory|dictated(?: by)?"
    r"|transcribed(?: by)?|transcriptionist|typist|scribe"
    r"|reported by|read by|interpreted by|reviewed by|verified by|approved by|authori[sz]ed by"
    r"|author"
    r"|(?:name|nachname|familienname) ?(?:[-/,&]|und) ?vorname|vor-"
    r" ?(?:und|u\.|/) ?(?:nach|zu)?namen?"
    r"|name des patienten|patientenname|nachname|vorname|familienname|zuweiser|einsender|überweiser"
    r"|(?:befundender |zuweisender |behandelnder |verantwortlicher |überweisender )?arzt|ärztin"
    r"|hausarzt"
    r"|(?:befundende[rn]? )?radiolog(?:e|in)|oberarzt|oberärztin|chefarzt|befunde[rt](?: von"
    r"| durch)?"
    r"|middle(?: name)?|reporting radiographer|transcribe|frappe|schreibzimmer|diktat|secretary"
    r"|secretar[ií]a|secrétariat|schreibkraft|sekretariat|secr[ée]taire|dactylo(?:graphié)?"
    r"|transcrit[oa]?(?: por| par)?"
    r"|mecanografiad[oa](?: por)?"
    r"|unterschrift|gezeichnet|freigegeben(?: von| durch)?|erstellt von|diktiert von"
    r"|validiert von|mtra?"
    r"|nom(?: du patient| de famille| usuel|(?: ?[-/,&] ?| et )pr[ée]noms?)?|pr[ée]noms?"
    r"|patient\(e\)|radiologue"
    r"|signé(?: par)?"
    r"|médecin(?: traitant| prescripteur| référent| demandeur)?|prescripteur|validé par"
    r"|rédigé par|signataire"
    r"|compte[ -]rendu par|interprété par|manipulateur"
    r"|nombre(?: del paciente| y apellidos)?|apellidos?(?: y nombre)?|médic[oa](?: solicitante"
    r"| responsable)?"
    r"|doctora|dottor(?:e|essa)|docteure?|doutora?|doktor(?:in)?"
    r"|radiólog[oa]|facultativo|firmado(?: por)?|firma|informado por|validado por|realizado por"
    r"|solicitante"
    r"|elaborado por|dictado por|patóloga|patólogo"
    r"|(?:medico )?radiologo|radiologa|medico (?:refertante|curante|richiedente)"
    r"|cognome(?: e nome)?"
    r"|nome(?: e cognome| do paciente| completo)?|(?:médic[oa] )?radiologista|assinatura"
    r"|radioloog|aanvrager|verwijzer|huisarts|(?:achter|voor)?naam(?: patiënt)?)",
    rf"{_GAP}[:#]{_GAP}|(?P<dash>{_DASHED})",
)
_PATIENT = re.compile(
    rf"(?<![\w-])(?:(?:patient|patientin|patient(?:/-?|\*|:|\()in\)?|patiente|paciente|paziente|pt|pat\.?)"
    rf"(?:{_GAP}[:#]{_GAP}|(?P<dash>{_DASHED}))"
    # The chief complaint is called CC as well.
    r"|(?:betr(?:eff|ifft)?\.?|re|objet|asunto|personalien|demographics|coordonnées|identité"
    rf"|filiación|pte\.?|sig\.?(?: ?/ ?sig\.?ra)?|mother|father|next of kin){_GAP}:{_GAP}"
    r"|(?:cc|bcc|copy to|copies to|kopien? an|nachrichtlich(?: an)?|verteiler|copie à|con copia a"
    rf"|kopie aan|in copia a){_GAP}:{_GAP}"
    rf"(?-i:(?={TITLE}\b|[A-ZÀ-Þ][\w'’-]{{1,60}},? (?:[A-ZÀ-Þ]\. )?[A-ZÀ-Þ])))",
    re.IGNORECASE,
)
# When, between what was done and by whom: `dictated on 5/6/2019 at 14:22 by`.
_WHEN = (
    r"(?:[ ,]{1,2}(?:on|at|the|of|am|um|uhr|vom|le|à|el|a|las|los|día|il|alle|ore|op|om|em|às|de"
    r"|den|h|hrs?|hours|[ap]\.?m\.?|[ecmp][sd]t|utc|gmt|kl|monday|tuesday|wednesday|thursday|friday"
    rf"|saturday|sunday|{MONTH}\.?|\d[\d:./h-]{{0,20}}(?:st|nd|rd|th|h|[ap]m)?)){{0,12}}?"
)
_BY = re.compile(
    r"(?<![\w-])(?:(?:this report (?:was|has been)|report|electronically|digitally|finally)?"
    r"[ ]{0,3}(?:signed(?: off)?|dictated|transcribed|reported|read|authenticated|attested|released"
    r"|edited|interpreted|reviewed|verified"
    r"|approved|authored"
    r"|authori[sz]ed|finali[sz]ed|prepared)(?: and (?:signed"
    r"|approved|reported"
    r"|dictated|verified|reviewed))?(?: electronically)?"
    rf"{_WHEN}(?: electronically)? by"
    r"|(?:elektronisch )?(?:befundet|vidiert|unterschrieben|unterzeichnet|signiert|gezeichnet"
    r"|freigegeben|diktiert"
    r"|erstellt|validiert|geprüft|untersucht|überwiesen|zugewiesen)(?: und \w{1,40})?"
    rf"{_WHEN} (?:von|durch)"
    r"|gez\.|(?-i:i\. ?A\.)"
    r"|(?:(?:compte[ -]rendu|cr|examen|document)(?: \w{1,40})? )?(?:signé|rédigé|validé|interprété"
    r"|dicté|réalisé"
    r"|relu|établi|adressé)e?(?: (?:électroniquement|et \w{1,40}))?"
    rf"{_WHEN} par"
    r"|compte[ -]rendu par"
    r"|(?:electrónicamente )?(?:firmado|informado|validado|redactado|dictado|revisado|elaborado"
    r"|realizado"
    r"|interpretado|remitido|solicitado)(?: electrónicamente)?(?: y \w{1,40})?"
    rf"{_WHEN} por"
    r"|(?:gedicteerd|geautoriseerd|ondertekend|beoordeeld|verslagen|gevalideerd)"
    rf"{_WHEN} door"
    r"|(?:firmato|refertato|dettato|validato|redatto|eseguito)(?: digitalmente)?"
    rf"{_WHEN} (?:da|dal|dalla)"
    r"|(?:assinado|laudado|ditado|validado|revisado|realizado)"
    r"(?: (?:eletronicamente|digitalmente))?"
    rf"{_WHEN} (?:por|pelo|pela))"
    r"[ \t:\u2010-\u2015\u2212-]{1,4}",
    re.IGNORECASE,
)
_DONE_BY = re.compile(
    r"(?<![\w-])(?:(?:assessed|evaluated|written|compiled|reported|report|note|letter|ordered|referred|requested|performed|attended|examined|seen|treated|operated"
    r"|consulted|supervised|assisted|witnessed|entered|completed|acquired|scanned|checked|confirmed"
    r"|prescribed|submitted|acknowledged|cosigned|co-signed|countersigned|electronically approved"
    r"|proofread|typed|created|updated|amended|addended|injected|administered|protocoll?ed)"
    rf"(?:{_WHEN}| in (?:the |our )?\w{{2,12}}) by"
    r"|(?:angefordert|angeordnet|beauftragt|durchgeführt|behandelt|betreut|operiert|beurteilt"
    r"|kontrolliert|gelesen|geschrieben|verfasst|gegengezeichnet|veranlasst|besprochen|gegengelesen"
    rf"|supervidiert|visitiert|transkribiert|bestätigt|abgenommen|eingewiesen){_WHEN} (?:von|durch)"
    r"|(?:demandé|prescrit|orienté|opéré|contrôlé|vérifié|approuvé|transcrit|exécuté|effectué|lu"
    r"|pratiqué|vu|examiné|pris en charge|suivi|référé|authentifié|supervisé|saisi|tapé|envoyé)e?s?"
    rf"{_WHEN} par"
    r"|(?:pedid|referid|derivad|ordenad|indicad|verificad|aprobad|transcrit|atendid|autorizad|vist"
    r"|intervenid|operad|tratad|valorad|enviad|autenticad|supervisad|efectuad|leíd|prescrit"
    rf"|encaminhad|executad|transcrito|solicitad|aprovad|elaborad|atendid)[oa]s?{_WHEN}"
    r" (?:por|pelo|pela)"
    r"|(?:richiest|inviat|interpretat|verificat|approvat|trascritt|rivist|compilat|prescritt"
    r"|ordinat"
    r"|eseguit|visitat|operat|curat|controllat|autenticat|lett|effettuat|seguit)[oaie]"
    rf"{_WHEN} (?:da|dal|dalla)"
    r"|(?:aangevraagd|verwezen|uitgevoerd|verricht|goedgekeurd|getekend|gezien|behandeld|besproken)"
    rf"{_WHEN} door)"
    r"[ \t:\u2010-\u2015\u2212-]{1,4}",
    re.IGNORECASE,
)
"""Who asked for an examination, made or saw it: only the name goes, for what was done stays."""
# What a person does in a hospital; a label goes with its name, and elsewhere the name alone.
_FUNCTION_FIELD = Labelled(FUNCTION, rf"{_GAP}:{_GAP}", flags=re.NOFLAG)
_FUNCTION = re.compile(rf"(?<![\w-]){FUNCTION}{_GAP1}")
_SIGNED_NAME = (
    rf"(?:[{UPPER}]\.[ ]?){{0,3}}(?:{PARTICLE})?{WORD}(?:[ ](?:{PARTICLE})?{WORD}){{0,3}}"
)
_FIELD = r"(?:(?:[Nn]euro)?[Rr]adiolog\w{0,4}|[Nn]eurolog\w{0,4}|[Oo]n[ck]olog\w{0,4}|R\d)"
# `Kuipers, radioloog / A. Bouzid (AIOS)`: alone on a line, or beside a stroke, before a function.
_SIGNED_AS = re.compile(
    rf"(?m)(?:^|(?<=[/;|] ))({_SIGNED_NAME})"
    rf"(?=(?:,?[ ]{{1,3}}|[ ]?\()(?:{_FIELD}[ ])?{FUNCTION}(?:[ ]{_FIELD})?\)?[ \t]{{0,3}}"
    r"(?:$|[/;|.,]))"
)
_DATE = r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}"
_NUMBERED = re.compile(
    r"(?<![\w-])(?:(?:patient|pat\.?|study|exam|case|hospital|visit|encounter|account"
    r"|order)?[ _-]?(?:id|no|nr|number|#)"
    r"|mrn|medical record(?: (?:no|number))?|accession(?: (?:no|number))?|acc(?:\."
    r"|ession)? (?:no|#)|ssn"
    r"|patient(?:en)?[ -]?(?:nr|nummer|id|no|number)|fall[ -]?(?:nr|nummer)|aufnahmenummer"
    r"|auftragsnummer"
    r"|versicherten[ -]?(?:nr|nummer)|untersuchungsnummer|ipp|nip|nda|n° (?:de )?(?:dossier"
    r"|patient)"
    r"|numéro (?:de )?(?:dossier|patient|sécurité sociale)|nhc|n\.?º (?:de )?historia"
    r"|historia clínica|dni"
    r"|número (?:de )?(?:historia|paciente)|expediente|insurance (?:no|number)|nhs (?:no|number))"
    rf"\.?{_GAP}[:#]{_GAP}(?:[A-Za-z]{{0,6}}[-/ ]?\d[\w./-]{{0,60}}\w|[A-Za-z]{{0,6}}-?\d)"
    rf"{_GAP}[.,;|]?(?=\s|$){_GAP}",
    re.IGNORECASE,
)
# The same without a colon, where it can be nothing else: `Patient ID 4711-08`.
_NUMBERED_BARE = re.compile(
    rf"(?<![\w-])(?:patient[ _-]?(?:id|no|nr|number)|patient(?:en)?[ -]?(?:nr|nummer)|mrn|ssn"
    rf"|nhc|ipp|medical record (?:no|number)|accession(?: (?:no|number))?|nhs (?:no|number)"
    rf"|fall[ -]?(?:nr|nummer))\.?(?:{_GAP}{_DASH}{_GAP}|{_GAP1})(?:[A-Za-z]{{0,6}}[-/]?)"
    rf"(?=(?:[-/.]?\d){{4}})\d[\w./-]{{0,60}}\w"
    rf"{_GAP}[.,;|]?(?=\s|$){_GAP}",
    re.IGNORECASE,
)
_BORN = re.compile(
    rf"(?<![\w-])(?:d\.?o\.?b\.?|date of birth|birth ?date|born|geburtsdatum|geb\.(?: am)?"
    rf"|geboren am"
    rf"|date de naissance|née? le|ddn|(?:n[º°]\.? )?f(?:echa|\.)? ?(?:de )?nac(?:imiento|\.)?"
    rf"|nacid[oa] el){_GAP}[:#]?{_GAP}"
    rf"{_DATE}{_GAP}[.,;|]?(?=\s|$){_GAP}",
    re.IGNORECASE,
)
_BORN_AT = re.compile(
    rf"(?<![\w-])((?i:nat[oa](?: il)?|née?(?:\(e\))?(?: le)?|nacid[oa](?: el)?|nascid[oa](?: em)?"
    rf"|geb(?:oren|\.)?(?: am)?|born(?: on)?|d\.?o\.?b\.?:?|date of birth:?|geburtsdatum:?"
    rf"|geboren(?: op)?|född|født|fødd|ur\.|urodzon[ya])\s"
    rf"(?:{_DATE}|\d{{1,2}}(?:er|\.|st|nd|rd|th)?(?: de)? (?i:{MONTH})(?: de)? \d{{4}}))"
    rf"(?:(?:,?\s(?:à|a|in|en|em|te|w|i)\s|,\s(?=[^\W\d_][\w '’-]{{2,40}}(?:[.)\n]|$)))"
    rf"(?P<town>[{UPPER}][\w'’-]{{1,40}}(?:[ -][{UPPER}][\w'’-]{{1,40}}){{0,2}})"
    r"(?:\s\(\w{2,20}\))?)"
)
"""A place of birth behind the date: `née le 12 mars 1960 à Saint-Denis (93)`."""
_FIVE = r"[+(]?\d(?:[ ()/.-]{0,2}\d){4}"
_CONTACT = re.compile(
    rf"(?<![\w-])(?:phone|telephone|tel|tfno|tlfno|tlfn|tlf|telf|mobile|cell|fax|telefon|handy|téléphone|teléfono|móvil"
    rf"|e-?mail|mail"
    rf"|pager|correo){_GAP}\.?{_GAP}(?:[:#]|{_DASH}(?={_GAP}{_FIVE})){_GAP}"
    rf"(?:[+\d(][\d ()/.+-]{{0,60}}\d|\d{{1,60}}"
    rf"|\S{{1,64}}@\S{{1,99}}\w)?"
    rf"{_GAP}[.,;|]?(?=\s|$){_GAP}",
    re.IGNORECASE,
)
_PLACE = re.compile(
    rf"(?<![\w-])(?:(?:lives|residence|address|home address|adresse|anschrift|wohnort|dirección"
    rf"|domicilio)"
    rf"(?:{_GAP}[:#]{_GAP}|{_DASHED})|(?:institution|facility"
    rf"|hospital|krankenhaus|hôpital|établissement|clinic|praxis"
    rf"|centro){_GAP}[:#]{_GAP})"
    r"(?:(?!(?<!\bSt)(?<!\bAve)(?<!\bRd)(?<!\bStr)(?<!\bNo)(?<!\bNr)(?<!\bDr)(?<!\bBlvd)(?<!\bWhg)(?<!\bApp)"
    r"(?<!\bApt)(?<!\b[Bb]ât)(?<!\b[Ee]sc)(?<!\bAvda)(?<!\bizda)(?<!\bdcha)"
    r"[.;](?:\s|$))[^\n]){0,500}[.;]?"
    rf"{_GAP}",
    re.IGNORECASE,
)
_TITLED = re.compile(
    r"(?<![\w.-])D\.?a\.? (?=(?:[A-ZÀ-Þ][a-zß-ÿ]{1,30}[ ,.]){2})|"
    rf"(?<![\w.-])(?:{TITLE}\b\.?[ -]{{0,3}}){{1,6}}(?=(?:(?:{SMALL_PARTICLE}|bin)\s)"
    rf"{{0,3}}[{UPPER}])"
    # `Oberarzt Keller befundet`: nothing but a name or a department stands behind it.
    r"|(?<![\w-])(?:Ober|Chef|Assistenz|Stations|Haus|Turnus|Sekundar)[aä]rzt(?:in)? (?=[A-ZÀ-Þ])"
    r"|(?<![\w.-])M\. (?=[A-ZÀ-Þ][a-zß-ÿ])"
    # `D. José Ramírez acude`, but `D. Sella Turcica normal` of a list.
    r"|(?<![\w.-])D\. (?=(?:[A-ZÀ-Þ][a-zß-ÿ]{1,30}[ ,]{1,2}){2,4}"
    r"(?:(?:acude|refiere|presenta|ingresa|consulta|padece|remitido)\b|(?:de )?\d{1,3} años))"
)
_CALLED = re.compile(
    r"(?<![\w-])(?:patient(?:in|en|e)?|pt\.?|pat\."
    r"|paciente|paziente)\s{1,3}(?:D\.|Dª\.?|Dña\.?|Don"
    r"|Doña)?\s{0,3}(?=(?-i:[A-ZÀ-Þ]\.\s?)[A-ZÀ-Þ][\w'’-]{2,60}"
    r"|[A-ZÀ-Þ][\w'’-]{1,60}\s{1,3}[A-ZÀ-Þ][\w'’-])",
    re.IGNORECASE,
)
_AFTER = re.compile(
    rf"(?:{_GAP}\((?:pager|beeper|bleep|ext|extension|phone|tel|fax|dect"
    rf"|mobile)\b[^()\n]{{0,40}}\))?"
    rf"{_GAP}[.,;|।،؛]?(?=\s|$){_GAP}",
    re.IGNORECASE,
)


def without_fields(text: str) -> tuple[str, list[str]]:
    """A report without the fields that say who, and the names that stood in them.

    Example:
        >>> without_fields("Radiologist: Dr. Smith. Left mass.")
        ('Left mass.', ['Dr. Smith'])
        >>> without_fields("姓名：张三 性别：男 检查所见：左侧额叶见占位。")[0]
        '性别：男 检查所见：左侧额叶见占位。'
    """
    names: list[str] = []
    text = east_asian.without_fields(text, names, BLANK)
    if _HAN_LETTER.search(text):
        text = _chinese(text, names)

    text = _NUMBERS_ZH.sub("", _field(text, _NAMES_RU, names))
    text = _blanked(text, _INITIALS_RU, names)
    text = _IN_BORN.sub(rf"\1{BLANK}\2", _BORN_IN.sub(rf"\1{BLANK}", text))
    text = _BORN_AT.sub(_without_a_town, text)
    for pattern in (*VALUES, _BORN, _CONTACT, _NUMBERED, _NUMBERED_BARE, _PLACE):
        text = pattern.sub("", text)

    text = _persons(text, _PERSON, names, _loose)
    text = _persons(text, NAMED, names, _otherwise)
    text = _persons(text, PATIENT, names, uncased)
    text = _persons(text, _PATIENT, names, None)
    text = _persons(text, _BY, names, _also_words)
    text = _persons(text, DONE, names, _also_words)
    for label in (KIN_FIELD, CLOSING):
        text = _persons(text, label, names, None, least=2)

    text = _blanked(text, _SIGNED_AS, names)
    text = _persons(text, _FUNCTION_FIELD, names, None, least=2)
    for label, least in ((_DONE_BY, 1), (_FUNCTION, 2), (KIN_NAMED, 2), (TOLD, 2)):
        text = _persons(text, label, names, None, least=least, keep=True)

    text = _persons(text, CALLED, names, None, least=2, keep=True)
    text = _blanked(text, _AGED, names)
    text = _relatives(text, names)
    for label in (TOLD_ONE, MAIDEN, MAIDEN_FIELD):
        text = _persons(text, label, names, _one_word, keep=True)

    text = _persons(text, KIN_ONE, names, _one_word, keep=True)
    return _titled(text, names), names


_COMPLAINT = re.compile(
    r".{0,40}(?:schmerz(?:en)?|schwindel|anfälle?|übelkeit|parese|störung)", re.I
)


def _without_a_town(found: re.Match[str]) -> str:
    """A birthday without the town behind it: `geb. 12.03.1960, Kassel`."""
    words = found["town"].split()
    stays = any(common(word) or _COMPLAINT.fullmatch(word) for word in words)
    return found[0] if stays else found[1]


_HAN_LETTER = re.compile(f"[{_HAN}]")


def _chinese(text: str, names: list[str]) -> str:
    """A report without the Chinese fields and phrases that say who."""
    for pattern in (*(_NAMES_ZH, _STAFF_ZH, _DOER_ZH, _STAFF_DASHED_ZH, _KIN_ZH, _TYPED_ZH),):
        text = _field(text, pattern, names)

    text = _FROM_ZH.sub(BLANK, _DOCTOR_ZH.sub(BLANK, text))
    for pattern in (
        *(_STAFF_BARE_ZH, _NAMED_ZH, _TOLD_KIN_ZH, _RANKED_BEFORE_ZH, _SIGNED_ZH),
        *(_BROUGHT_ZH, _CALLED_ZH, _BRACKETED_ZH, _ALONE_ZH, _WORKED_ZH, _ROLE_ZH),
        *(_LATIN_TITLE_ZH, _RELATED_ZH),
    ):
        text = pattern.sub(lambda found: f"{next(filter(None, found.groups()), '')}{BLANK}", text)

    text = _FOREIGN_ZH.sub(BLANK, text)

    text = _HOSPITAL_ZH.sub(BLANK, text)
    names += (found[0][2:] for found in _PATIENT_ZH.finditer(text))
    text = _TITLED_ZH.sub(BLANK, _PATIENT_ZH.sub(lambda found: found[0][:2] + BLANK, text))
    text = _RANKED_ZH.sub(rf"\1{BLANK}", text)
    text = _KIN_SAID_ZH.sub(rf"\1{BLANK}", text)

    names += _LISTED_ZH.findall(text)
    return _LISTED_ZH.sub(BLANK, text)


def _blanked(text: str, pattern: re.Pattern[str], names: list[str]) -> str:
    """Blank the names that a pattern finds, but those of ordinary words."""

    def blank(found: re.Match[str]) -> str:
        said = next(filter(None, found.groups()))
        words = re.findall(r"[\w'’-]+", said)
        if all(common(word) and word.lower() not in ALSO_NAMES for word in words):
            return found[0]
        names.append(said)
        return BLANK

    return pattern.sub(blank, text)


def _field(text: str, pattern: re.Pattern[str], names: list[str]) -> str:
    if pattern is _NAMES_RU:  # a family name and more, parted by blanks
        names += (found[0].split(":", 1)[1].strip() for found in pattern.finditer(text))
    else:
        names += filter(None, (_value(found.group()) for found in pattern.finditer(text)))
    return pattern.sub("", text)


_LABEL_ALONE = re.compile(r"[^\W\d_][^:：|\n]{0,40}?\s?(?P<colon>[:：]?)")
_VALUE_ALONE = re.compile(
    rf"(?!{STOP})[{_HAN}]{{2,4}}|[{_HAN}]{{1,9}}(?:[·•・‧][{_HAN}]{{1,9}}){{1,5}}"
    r"|[А-ЯЁ][а-яё]{1,40}(?:\s?[А-ЯЁ]\.|\s[А-ЯЁ][а-яё]{1,40}){1,2}"
    r"|[A-Za-z]{0,6}[-/ ]?\d[\w./-]{0,40}"
)


_SURELY_NAMED = re.compile(
    rf"(?:(?:{DOUBLE})[{_HAN}]{{1,2}}|[{SURNAMES}单][{_HAN}]{{1,2}})(?:{_SPACE}?{_RANK_ZH})?"
    rf"|(?:{TITLE}\.?\s){{1,4}}(?:[{UPPER}a-z][\w'’-]{{0,30}}\s?){{1,4}}"
)
"""A Chinese name, or a title and a name, in a line of its own."""
WHO_ALONE = re.compile(
    r"审核|审核医[师生]|报告医?[师生]?|诊断医[师生]|患者|病人|姓名"
    r"|(?:verified|validated|approved|signed|reported|read)(?: by)?"
    r"|(?:freigegeben|validiert|vidiert|befundet)(?: von| durch)?|validé par|signé par"
    r"|validado por|firmado por|informado por|patient(?:in|e)?|paciente"
    r"|radiolog(?:ist|e|in|ue)|radi[oó]log[oa]",
    re.IGNORECASE,
)
"""A label in a line of its own, before a name in the next."""


def joined(text: str) -> str:
    r"""A text in which the value of a field stands in the line of its label.

    Forms have a label in a cell or a line, and the value in the next. A label that is a cell needs
    no colon, if it says who; elsewhere only what looks like a name or a number is a value.

    Args:
        text: a report, in which cells of tables begin with a tab.

    Example:
        >>> joined("Patientenname\n\tZoe Huber\nName:\nJane Roe\nFindings").split("\n")
        ['Patientenname: Zoe Huber', 'Name: Jane Roe', 'Findings']
    """
    lines = [line for line in text.split("\n") if line.strip()]
    made: list[str] = []
    label = None
    for line in lines:
        cell, said = line.startswith("\t"), line.strip()
        alone = _LABEL_ALONE.fullmatch(said)
        named = bool(alone and alone["colon"])
        if label is not None and not named and _answers(label, said, cell=cell):
            made[-1] = f"{label} {said}" if label[-1] in ":：" else f"{label}: {said}"
            label = None
            continue
        made.append(line)
        label = said if alone else None

    return "\n".join(made)


def _answers(label: str, said: str, *, cell: bool) -> bool:
    """Whether a line is the value of the label in the line before."""
    if label[-1] not in ":：":
        named = cell or (_SURELY_NAMED.fullmatch(said) is not None and WHO_ALONE.fullmatch(label))
        return bool(named) and len(said) < LONGEST_VALUE and says_who(label)
    if cell or _VALUE_ALONE.fullmatch(said):
        return True

    words = said.replace(",", " ").split()
    return 0 < len(words) <= 6 and _only_names(said, words)


def _only_names(said: str, words: list[str]) -> bool:
    end = people(said, 0, field=True)
    whole = end is not None and not said[end:].strip(" .,")
    return whole and not any(common(word) for word in words)


LONGEST_VALUE = 120
"""Letters of a cell behind a label without a colon."""


@lru_cache(maxsize=4096)
def says_who(label: str) -> bool:
    """Whether a field of this label goes with a name or a number behind it.

    Example:
        >>> [label for label in ("Patientenname", "Befund", "住院号") if says_who(label)]
        ['Patientenname', '住院号']
    """
    values = ("Keller Zamora", "王小明", "김민수", "4821377", "03.04.1951")
    return any(not without_fields(f"{label}: {value}")[0].strip() for value in values)


def _value(found: str) -> str:
    """What stands behind the label."""
    return re.split(r"[:：=\s\u2010-\u2015\u2212\uff0d-]+", found.strip(" \t\u3000，,；;。、|/."))[
        -1
    ]


def _persons(
    text: str,
    label: re.Pattern[str] | Labelled,
    names: list[str],
    otherwise: Callable[[str, int], int | None] | None,
    *,
    least: int = 1,
    keep: bool = False,
) -> str:
    """Cut each label that a name follows, with the name.

    Args:
        text: a report.
        label: what stands before a name.
        names: takes the names.
        otherwise: the end of what goes where no name follows; None: all stays.
        least: words of a name without a title, where the label has other meanings.
        keep: the label stays, and a blank stands for the name.
    """
    made, start = [], 0
    for found in label.finditer(text):
        if found.start() < start:
            continue
        end = people(text, found.end(), field=True)
        if end is not None and not _long(text[found.end() : end], least):
            end = None
        dashed = bool(found.groupdict().get("dash"))
        numbered = _NUMBERED_WORD.match(text, found.end())  # `Reviewed: T1`, `Technik: T1`
        if numbered:
            end = None
        if dashed and end is not None and _DIGIT.search(text, found.end(), end):
            end = None  # `Reading - T1 FLAIR`
        if end is None and otherwise is not None and not (dashed or numbered):
            end = otherwise(text, found.end())
        if end is None:
            continue
        names.append(text[found.end() : end])
        if keep:
            made += [text[start : found.end()], BLANK]
            start = end
            continue
        made.append(_ARTICLE.sub("", text[start : found.start()]))
        if found.groupdict().get("both") and (number := _NUMBER_BEHIND.match(text, end)):
            end = number.end()
        after = _AFTER.match(text, end)
        start = after.end() if after else end

    return "".join((*made, text[start:]))


_NUMBER_BEHIND = re.compile(r"(?:[ /,|;()-]{1,3}[A-Za-z]{0,4}\d[\w./-]{0,30}(?<![./-])\)?){1,3}")
"""Behind the name in a field of both, `Name/ID: Jane Roe/4711`."""
_ARTICLE = re.compile(
    r"(?<![^\s.,;])(?:il|lo|la|le|l['’]|i|el|los|las|der|die|den|dem|das|o|a|os|as|de|het|the"
    r"|un|una|une|ein|eine[rn]?) ?$",
    re.IGNORECASE,
)
"""Before a label, as in `Il medico:`, which is left alone when the field goes."""


def _long(name: str, least: int) -> bool:
    """Whether a name has as many words, or a title."""
    return titles(name, 0) > 0 or len(re.findall(r"[^\W\d_]['’\w-]*", name)) >= least


_DIGIT = re.compile(r"\d")
_NUMBERED_WORD = re.compile(r"[^\W\d_]{1,8}\d")
_SMALL = re.compile(
    r"(?:[a-z]\. ?)?[a-zß-ÿ'’-]{2,60}(?:\.[a-z]{1,12})?(?:,? [a-zß-ÿ'’-]{2,60}){0,2}(?=[.,;|\n]|$)"
)


def _loose(text: str, start: int) -> int:
    """A name in small letters, or none, behind a label that nothing but a name follows."""
    found = _SMALL.match(text, start)
    return found.end() if found else _also_words(text, start) or start


_WORDS = re.compile(
    rf"[{UPPER}][\w'’-]{{1,60}}(?:,?[ \u00a0][{UPPER}][\w'’-]{{1,60}}){{0,2}}"
    r"(?=\s{0,2}(?:[.,;|\n]|$))"
)


def _also_words(text: str, start: int) -> int | None:
    """A name of words that findings have as well, up to a sign: `Signed: Young.`, no more."""
    found = _WORDS.match(text, start)
    words = found.group().replace(",", "").split() if found else []
    whole = words and all(word.lower() in ALSO_NAMES or not common(word) for word in words)
    return found.end() if found and whole else None


def _otherwise(text: str, start: int) -> int | None:
    """A name in letters without capitals, or a word with one whatever stands behind it."""
    return uncased(text, start) or _also_words(text, start) or _one_word(text, start)


def _titled(text: str, names: list[str]) -> str:
    """Blank the names behind titles, `discussed with Dr. ___`, and `the patient Karl Huber`."""
    made, start = [], 0
    for found in _TITLED.finditer(text):
        begin = found.end()
        if found.start() < start:
            continue
        name = titles(text, found.start())
        end = person(text, name if name > found.start() else begin)
        if end is None and (particles := _PARTICLES.match(text, begin)):
            end = _one_word(text, particles.end())
        end = end or _one_word(text, begin)
        if end is None:
            continue
        end = together(text, found.start(), end)
        names += re.split(_BETWEEN, text[begin:end])
        if number := _REGISTERED.match(text, end):
            end = number.end()
        made += [text[start:begin], BLANK]
        start = end

    return _degreed(_called("".join((*made, text[start:])), names), names)


def _degreed(text: str, names: list[str]) -> str:
    """Blank the names before degrees: `___ MD reviewed the images`."""
    made, start = [], 0
    for begin, end in degreed(text):
        names.append(text[begin:end])
        made += [text[start:begin], BLANK]
        start = end

    return "".join((*made, text[start:]))


_SECOND = re.compile(rf",\s([{UPPER}][\w'’-]{{1,40}})(?=[\s,.;)]|$)")


def _relatives(text: str, names: list[str]) -> str:
    """Blank whose relative somebody is, and the relative's own name behind it."""
    made, start = [], 0
    for found in KIN_OF.finditer(text):
        begin = found.end()
        end = person(text, begin) or _one_word(text, begin)
        if end is None or begin < start:
            continue
        second = _SECOND.match(text, end)
        names.append(text[begin:end])
        if second and not common(second[1]):
            names.append(second[1])
            end = second.end()
        made += [text[start:begin], BLANK]
        start = end

    return "".join((*made, text[start:]))


def _called(text: str, names: list[str]) -> str:
    made, start = [], 0
    for found in _CALLED.finditer(text):
        end = person(text, found.end())
        if end is not None and " " in text[found.end() : end]:
            names.append(text[found.end() : end])
            made += [text[start : found.end()], BLANK]
            start = end

    return "".join((*made, text[start:]))


_PARTICLES = re.compile(rf"{PARTICLE}{{1,3}}")
_BETWEEN = re.compile(r"\s?[/&+;]\s?|\s(?:and|und|et|y|e|en|og|och|i)\s")
_REGISTERED = re.compile(r",?\s?\((?:[^\W\d_][^\W\d_.º°-]{0,12}[.º°]?[ :-]?){0,3}\d[\d./-]{3,12}\)")
"""Behind a name: whatever the label, it is what the person is registered by."""
_CAPITAL = re.compile(rf"[{UPPER}][\w'’-]{{1,80}}")


def _one_word(text: str, start: int) -> int | None:
    """Behind a title any word with a capital is a name: `Dr. Gray`."""
    found = _CAPITAL.match(text, start)
    if not found or (common(found.group()) and found.group().lower() not in ALSO_NAMES):
        return None
    return found.end()
