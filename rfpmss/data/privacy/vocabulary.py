"""Words that decide whether a phrase names a person or says a finding."""

from __future__ import annotations

import re

_ALSO_NAMES = """
white gray grey black brown young long stone field cross may short good poor wall root day summer
small large strong hand frau mann stern weiss weiß gross groß grosse klein kleine lang lange kurz
schwarz braun grau hart weich breit tief alt neu stark petit petite grand grande gros grosse blanc
blanche noir noire brun blanco blanca negro negra moreno bravo delgado rojo leal
"""
ALSO_NAMES = frozenset(_ALSO_NAMES.split())
"""Words that are names as well, where a title stands before them."""
_FINDINGS = """
left right bilateral frontal parietal temporal occipital insular thalamus brain stem cerebral
cerebellar lobe tumor tumour glioma glioblastoma astrocytoma oligodendroglioma gbm lgg hgg grade
high low mass lesion edema oedema necrosis cancer normal control case patient head neck neuro
oncology surgery imaging center centre institute hospital clinic university medical department
radiology pathology general and the for with may large small long short old young white gray
grey black brown bright dark strong weak ring rim wall root bone stone field cross sharp deep
wide thin thick soft hard solid round mild good poor new man woman male female child day night
summer
左 右 额叶 颞叶 顶叶 枕叶 医院 大学 胶质瘤 肿瘤
患者 病人 左侧 右侧 占位 病变 正常 大小 高信号 低信号
"""
FINDINGS = ALSO_NAMES | frozenset(_FINDINGS.split())
"""Words that names and institutions share with findings: they stay unless a title stands before."""

_COMMON = """
neuroradiology diffusion perfusion tensor spectroscopy ultrasound angiography tractography section
board team staff department group committee software computer contrast imaging supine prone none
a an at by in of on is was has no not now on to this that there these it its as from after
before without known unknown anonymous see seen history clinical indication technique comparison
findings finding impression conclusion report exam examination date study series age sex year
years mri ct pet mr flair status post pre male female follow up followup stable multiple single
no none new enhancing enhancement hemorrhage haemorrhage infarct ischemia cyst cystic meningioma
metastasis metastases schwannoma lymphoma ependymoma medulloblastoma midline ventricle
ventricles sinus shows shown suspected suspicious consistent compatible recurrent residual
resection radiologist physician pathologist surgeon neurosurgeon neurologist oncologist
attending resident consultant md phd electronically signed dictated der die das den dem des ein
eine einer kein keine ohne mit und im in am an bei bis nach vor zum zur links rechts linke
rechte linker rechter beidseits bekannt bekannte bekanntes unauffällig herd herde befund
beurteilung klinik fragestellung technik vergleich zustand verdacht tumor ödem blutung nekrose
schädel kopf hirn gehirn groß große kleine multiple alter jahre männlich weiblich mann frau
patientin facharzt oberarzt chefarzt radiologe radiologin arzt ärztin le la les un une des du au
aux pas sans avec et en à après avant sur lésion lésions masse tumeur œdème hémorragie nécrose
gauche droite frontale temporale pariétale occipitale connu connue suivi résultat résultats
technique indication conclusion homme femme âge ans aspect présence absence radiologue médecin
patiente el los las una del sin con y tras por para se paciente masa lesión lesiones tumor edema
hemorragia necrosis izquierda izquierdo derecha derecho frontal conocido conocida varón mujer
años edad hallazgos conclusión impresión técnica motivo radiólogo radióloga médico médica
"""
COMMON = FINDINGS | frozenset(_COMMON.split())
"""Words that begin sentences, in lower case: no name."""
# German nouns have capitals as names have; these endings are those of findings.
_ENDINGS = re.compile(
    r".{0,80}(?:ology|ographie|ungs?|ungen|heit|keit|tion(?:en)?|ations?|blastoms?|glioms?|nome?|meningeoms?"
    r"|zytoms?|phoms?"
    r"|drome?|itis|nekrosen?|sklerosen?|stenosen?|thrombosen?|osis|ödems?|edemas?|logie|ämien?"
    r"|graphie"
    r"|ektomie|tomie|pathie|lappens?|hirns?|herd(?:e|es)?|raum(?:es)?|tumors?|läsion(?:en)?|zysten?"
    r"|signal|bereich|seite|ventrikel|gefäß|rinde|zeichen|effekt|infarkte?|gebiet|metastasen?"
    r"|tionen"
    r"|ología|ción|ciones|siones|sión)",
    re.IGNORECASE,
)
SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏"
    "薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易"
    "常武乔贺赖龚文庞樊兰殷施陶洪翟安颜倪严牛温芦季俞章鲁葛伍韦申尤毕聂丛焦向柳邢路岳齐梅莫庄辛管祝"
    "張劉陳楊趙黃吳孫馬羅鄭謝韓馮蕭鄧許傅沈彭呂蘇盧蔣賈葉閻余鍾薑範譚鄒陸郝錢湯賴龔龐蘭陶顏倪嚴"
)
"""Common Chinese surnames of one character."""
DOUBLE = "欧阳|上官|司马|诸葛|夏侯|皇甫|尉迟|公孙|慕容|令狐|东方|南宫|端木|歐陽|司馬|諸葛"
"""Chinese surnames of two."""
STOP = (
    r"左|右|双侧?|两侧|男|女|性别|年龄|性別|年齡|额|颞|顶叶|枕|脑|颅|额|顳|腦|顱|见|見|检查|檢查|影像|诊断|診斷"
    r"|报告|報告|审核|審核|科室|科别|病区|病历|病案|病理|病变|住院|门诊|床号|临床|送检|申请|电话|姓名|医师|醫師|医生|技师|未见"
    r"|未|无|平扫|增强|患者|病人|印象|所见|所見|描述|结论|全脑|胸|腹部|头|鼻|眼|轻度|重度|大小|考虑|建议|请|日期|时间|编号|岁|出生"
    r"|身份|联系|地址|部位|设备|方法|序列|主诉|因|于|入院|出院|术前|术后|复查|随访|右|中线|病灶|肿瘤|胶质|占位|信号"
)
"""Where a Chinese name behind a label ends without a sign: what the next word begins with."""


def common(word: str) -> bool:
    """Whether a word with a capital is none of a name.

    Example:
        >>> [w for w in ("Left", "Raumforderung", "Smith", "Wang", "Known", "Müller") if common(w)]
        ['Left', 'Raumforderung', 'Known']
    """
    plain = word.strip(".,;:'’-").lower()
    return plain in COMMON or (len(plain) > 5 and _ENDINGS.fullmatch(plain) is not None)
