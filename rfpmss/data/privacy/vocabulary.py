"""Words that decide whether a phrase names a person or says a finding."""

from __future__ import annotations

import re

_ALSO_NAMES = """
white gray grey black brown young long stone field cross may short good poor wall root day summer
small large strong hand frau mann stern weiss weiß gross groß grosse klein kleine lang lange kurz
schwarz braun grau hart weich breit tief alt neu stark petit petite grand grande gros grosse blanc
blanche noir noire brun blanco blanca negro negra moreno bravo delgado rojo leal
prior early late border worst fall falls pain cave peak likely flow alte frische neuer pons
bright sharp bone night dark
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
_BEGINNINGS = """
женщина мужчина мальчик девочка жінка чоловік мъж kobieta mężczyzna dziecko erkek kadın çocuk
homem mulher bărbat femeie férfi nő muž žena muškarac moški ženska άνδρας γυναίκα
ανδρας γυναικα kvinna kvinne kvinde mies nainen pria wanita laki-laki perempuan nữ
early late mid upper lower inner outer anterior posterior superior inferior medial lateral central
peripheral axial sagittal coronal transverse lefthand righthand left-sided right-sided unilateral
contralateral ipsilateral contrast gadolinium gad contrasted native plain weighted t1-weighted
t2-weighted sequence series scan scans image images volume slice slices mask masks seg
segmentation label labels roi rois baseline followup pre-op post-op preop postop preoperative
postoperative reg registered unchanged increased decreased resolved interval acute subacute
chronic absent minimal mild moderate severe marked slight molecular
methylation vollständig komplett sí oui yes no ja nein stabil stabile estable previo previa implants
implante implantate complet completo completa subtle diffuse focal extensive partial
complete incomplete residual progressive mean elevated raised fractional anisotropy diffusivity
map maps value values tensor callosal loss gait vision memory syndrome disease protocol index
score reviewed discussed recurring persistent worsening worsened improved improving improvement
enlarged enlarging reduced reduction increase decrease progression regression response
pseudoprogression radionecrosis evolving evolution expected unexpected similar identical
comparable prior previous current recent latest limited motion artifact artifacts artefact
artefacts degraded adequate suboptimal nondiagnostic unremarkable abnormal abnormality
abnormalities evidence patent preserved intact symmetric asymmetric grossly redemonstrated
redemonstration demonstrated identified visualized visualised noted nonspecific heterogeneous
homogeneous hyperintense hypointense isointense hyperdense hypodense isodense nonenhancing
rim-enhancing ring-enhancing solitary scattered numerous several innumerable fluid dark attenuated
inversion recovery suppressed saturated resolution isotropic likely probable probably possible
possibly questionable suggestive concerning worrisome favor favour favored represents representing
correlate correlation recommend recommended recommendation clinically please thank overall
otherwise additionally furthermore finally today yesterday yes callosum corpus basal ganglia
thalami putamen caudate capsule capsular internal external hippocampus hippocampal thalamic caudal
rostral amygdala insula operculum opercular cingulate gyrus gyri sulcus sulci sulcal cistern
cisterns cisternal fissure falx tentorium tentorial cerebellum cerebellopontine vermis pons
pontine medulla medullary midbrain mesencephalon brainstem hypothalamus pituitary chiasm optic
orbit orbits orbital sella suprasellar parasellar cavernous ventricular periventricular
subependymal leptomeningeal meningeal dural dura epidural subdural subarachnoid intraventricular
intraparenchymal intracranial extra-axial intra-axial parenchyma parenchymal cortical cortex
subcortical juxtacortical hemisphere hemispheric supratentorial infratentorial calvarium calvarial
craniotomy tract spine spinal cervical thoracic lumbar artery arterial vein venous vascular vessel
vessels flow void voids hydrocephalus herniation shift effect effacement compression dissemination
restricted cavity margin margins border borders necrotic cystic calcified calcification
calcifications hemorrhagic nodule nodular nodules satellite butterfly multifocal multicentric
oligometastatic headache headaches seizure seizures weakness nausea vomiting aphasia dizziness
confusion ataxia epilepsy disorder symptoms pain worst worse sudden onset visual speech difficulty
trouble altered mental change changes fall falls syncope collapse numbness tingling arm leg face
blurry double fever peritumoral intratumoral perilesional perifocal nigra substantia nucleus
nuclei rathke cleft meckel cave white-matter gray-matter optics arcuate fasciculus corticospinal
peak tumors tumours gliomas masses lesions unverändert unveränderte unveränderter größenkonstant
größenprogredient progrediente progredienter regrediente regredienter zunehmende abnehmende neue
neuer neues neu deutlich deutliche geringe geringer mäßige ausgeprägte fragliche mögliche
bekannter diskrete fokale akute chronische alte frische zystische nekrotische kleinhirn
stammganglien balken mittellinie liquorräume seitenventrikel okzipital präoperativ postoperativ
voraufnahme voraufnahmen
huge tiny giant massive irregular lobulated bulky vasogenic confluent prominent significant complex
expansile exophytic infiltrative infiltrating ill poorly partially two three four five again well
predominantly mainly mostly breast lung colon prostate renal
neurosurgery neurosurgical neuro-oncology neurooncology emergency er ed icu ward clinic stroke
trauma ent hno nch zna ina kch mkg radiotherapy rehabilitation palliative primary care family
clinician provider surgery surgical cardiology nephrology urologie urgences neurocirugía urgencias
oncología pronto soccorso spoed neurochirurgia oncologia neurocirurgia neurochirurgie
strahlentherapie tumorboard tumorkonferenz tumorkonferenzen intensivstation notaufnahme ambulanz
zuweiser hausarzt klinik klinikum abteilung kollegen kollegin kollege team teams consultation pacs
ris patient's
"""
COMMON = FINDINGS | frozenset((_COMMON + _BEGINNINGS).split())
"""Words that begin sentences, in lower case: no name."""
# With and without, negations, prepositions, articles, sides and anatomy, by language: many stand
# in the names of files ("T1 sans injection"), and some in those of institutions.
_ORDINARY = """
with without within into onto over under between behind above below during through until while
against about along around near beside than then thus also only both either neither nor not never
nothing non when where which whose who whom what because although though however but yet still
again already are were been being have had does did done can cannot could should would shall will
must might all any each every some few many much more most less least other another same such very
here our your his her their its they them you she him one two three four five six first second
third last next auf aus durch für gegen hinter neben über unter vor zwischen während wegen seit ab
als auch aber oder wenn dass wie sowie beim ins ans vom zur ist sind war wurde wurden wird werden
hat haben nicht nie nichts keinen keinem keines eines einem einen dieser diese dieses jede jeder
alle allem beide beiden beidseitig beidseitige links- rechts linken linkes rechten rechtes
linksseitig rechtsseitig linksseitige rechtsseitige vorne hinten oben unten innen außen aussen
nativ native kontrast kontrastmittel gabe km-gabe aufnahme aufnahmen bild bilder sequenz serie
schicht maske dans entre chez vers depuis pendant contre sous selon lors ainsi mais donc ni ou où
que qui dont est sont était été être ont cette ces ses leur leurs jamais aucun aucune absent
absente droit gauches droits droites bilatéral bilatérale bilatéraux supérieur inférieur antérieur
postérieur injecté injectée produit préopératoire postopératoire opératoire natif séquence séries
image coupe coupes masque cérébral cérébrale cérébelleux cervelet lobe lobes hémisphère tronc
encéphale thalamique insulaire inchangé inchangée stable augmentation diminution discret discrète
importante important nouvelle nouveau petits petites quelques plusieurs desde hasta sobre contra
hacia según durante antes después pero también muy más menos cual cuyo es son fue fueron era está
están hay esta este estas estos ese esa los unas unos ningún ninguna ninguno nunca izquierdos
izquierdas derechos derechas bilateral bilaterales superior anterior posterior contraste
contrastado secuencia imagen imágenes corte máscara cerebral cerebrales cerebelo cerebeloso lobo
lóbulo hemisferio tronco talámica insular aumento disminución nueva nuevo nuevos nuevas pequeña
pequeño pequeñas ausencia presencia aguda agudo crónica crónico previo previa preoperatorio
postoperatorio het een van voor naar bij door tegen tussen onder boven achter tijdens vóór zonder
met aan uit geen niet nooit maar ook dan deze dit dat zijn werd worden wordt heeft linker rechter
linkszijdig rechtszijdig linkszijdige rechtszijdige beiderzijds verslag verslagen onderzoek
contrastmiddel blanco opname opnamen beeld beelden reeks snede masker hersenen hersen kleine
hersenstam letsel laesie laesies ruimte-innemend proces oedeem bloeding bloedingen necrose
hersenvliezen ventrikel ventrikels onveranderd toegenomen afgenomen nieuw nieuwe bekende
postoperatieve preoperatieve senza dopo prima verso tra fra sotto sopra dietro davanti nel nella
nello nelle nei negli della dello delle dei degli dal dalla dallo dalle dai sul sulla sullo sulle
sui uno una gli per che mai nessun nessuna nessuno sono stato stata hanno questo questa questi
queste sinistra sinistro sinistri destra destro destri bilaterale bilaterali mezzo mdc sequenza
sequenze immagine immagini maschera cerebrale cerebrali encefalo cervelletto emisfero insulare
talamica lesione lesioni emorragia emorragie edema necrosi riduzione nuova nuovo piccola piccolo
invariata invariato referto esame assenza presenza acuta acuto cronica cronico precedente sem com
para pelo pela pelos pelas nos nas num numa dos das aos após até sob hemisfério não nenhum nenhuma
mas também esquerda esquerdo esquerdos direita direito direitos meio sequência imagem imagens
série cérebro encéfalo lesão lesões hemorragia realce redução nova novo pequena pequeno laudo
exame ausência presença crônica crônico 无 無 未 非 有 和 与 與 及 或 在 前 后 後 上 下 内 外 中
平扫 增强 增強 造影 造影剂 对比剂 轴位 矢状位 冠状位 序列 图像 圖像 分割 标注 標注 掩膜 术前 术后
术中 复查 随访 無造影 双侧 雙側 左额 右额 左颞 右颞 左顶 右顶 左枕 右枕 额 颞 顶 枕 岛叶 丘脑 脑干
小脑 胼胝体 基底节 侧脑室 脑室 中线 水肿 出血 坏死 囊变 强化 病灶 转移瘤 脑膜瘤 检查 报告 影像
所见 诊断 印象 未见 伴 不伴 无强化 有强化
głowa głowy mózg mózgu czaszki kontrastem kontrastu kontrast hlava hlavy mozek mozku mozgu lebky
glava glave glavy mozak možgani možganov fej fejről koponya koponyáról agy agyi kontrasztos huvud
huvudet hjärna hjärnan skalle hoved hovedet hjerne hjernen hode hodet pää pään aivot aivojen kallo
pea aju capul capului creier creierul cerebral craniu kafa kafası beyin başı galva galvas smadzenes
galvos smegenų kepala otak đầu não sọ голова головы головного мозг мозга главы черепа головний мозку
мозък мозъка κεφάλι κεφαλής εγκέφαλος εγκεφάλου cabeza cerebro cráneo cabeça crânio cerebral tête
cerveau crâne testa cranio cervello encefalo hoofd schedel hersenen
"""
ORDINARY = COMMON | frozenset(_ORDINARY.split())
"""Words that reports are made of: no file and no header makes a name of one by itself."""
# German nouns have capitals as names have; these endings are those of findings.
_ENDINGS = re.compile(
    r".{0,80}(?:ology|ographie|ungs?|ungen|heit|keit|tion(?:en)?|ations?|blastoms?|glioms?|nome?|meningeoms?"
    r"|zytoms?|phoms?"
    r"|drome?|(?<!a)itis|nekrosen?|sklerosen?|stenosen?|thrombosen?|osis|ödems?|edemas?|logie|ämien?"
    r"|graphie"
    r"|ektomie|tomie|pathie|chirurgie|medizin|ambulanz|station|lappens?|hirns?|herd(?:e|es)?|raum(?:es)?|tumors?|läsion(?:en)?|zysten?"
    r"|signal|bereich|seite|ventrikel|gefäß|rinde|zeichen|effekt|infarkte?|gebiet|metastasen?"
    r"|tionen"
    r"|ología|ción|ciones|siones|sión)",
    re.IGNORECASE,
)
_GIVEN = frozenset(
    prefix + end
    for prefix in "concep purifica asun encarna visita anuncia consola ascens".split()  # noqa: SIM905
    for end in ("ción", "cion", "ión", "ion")
)
"""Given names that end as findings do."""
SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏"
    "薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易"
    "常武乔贺赖龚文庞樊兰殷施陶洪翟安颜倪严牛温芦季俞章鲁葛伍韦申尤毕聂丛焦向柳邢路岳齐梅莫庄辛管祝"
    "張劉陳楊趙黃吳孫馬羅鄭謝韓馮蕭鄧許傅沈彭呂蘇盧蔣賈葉閻余鍾薑範譚鄒陸郝錢湯賴龔龐蘭陶顏倪嚴"
    "覃蒙岑凌霍虞柯骆阮裴翁甄靳芮褚卞戚喻鲍饶詹冉桑桂瞿晏柴艾尚耿匡寇阙巩晁敖阚鞠荆游竺卓蔺屠佘佟麦闫涂农娄盛帅楚"
    "欧仇逄冼亓郜逯佴仉闵苑逢裘鄢苟戚巫缪嵇邢滕荀甄芮储靳邴糜隗宓郗栾钭詹韶蓟蒲邰鄂莘劳姬郦雍璩濮扈郏宦庾暨阙殳蔚夔厍晁訾阚蒯逯佟茹"
)
"""Common Chinese surnames of one character."""
RARE_SURNAMES = (
    "水郎费康施计成卞柏窦云葛奚范昌凤花酆雷贺倪殷毕罗安乐时皮齐伍和穆祁湛汪毛狄米贝明臧戴谈宋茅庞纪舒屈项祝董梁阮蓝席季强路娄危江"
    "童颜郭梅盛林刁徐邱骆虞万支柯咎卢经房裘缪干解应宗丁宣贲邓郁单杭洪诸吉钮龚程裴陆荣翁惠曲家封羿汲松井段富焦巴弓牧山谷车侯蓬班仰"
    "秋仲伊宫宁甘厉祖武符景束龙幸司黎印宿怀从索咸赖卓屠池乔能双闻党翟申堵冉宰桑桂牛寿边燕冀浦尚温庄晏柴瞿慕连习艾容古易慎戈廖终居"
    "衡都耿弘匡国文寇广欧沃利越师巩聂敖融冷辛那简饶曾沙养丰巢关相查荆红游竺权盖益桓冯陈褚卫蒋沈韩杨朱秦尤许何吕曹严华金魏陶姜谢"
    "邹苏潘彭鲁韦昌马苗方俞任袁柳史唐廉岑薛滕殷罗郝邬安常于傅卞元卜顾孟平黄萧尹姚邵麻迟靖阳关代铁佟战毋海覃管柴白岳盖邸"
)
"""Further surnames, which mean other things as well: behind a label or between signs alone."""
DOUBLE = (
    "欧阳|上官|司马|诸葛|夏侯|皇甫|尉迟|公孙|慕容|令狐|东方|南宫|端木|歐陽|司馬|諸葛|亓官|司空|呼延|钟离|宇文|长孙|鲜于|闾丘|司徒|司寇|仲孙"
    "|轩辕|赫连|澹台|公冶|宗政|濮阳|淳于|申屠|公良|拓跋|夹谷|纳兰|钮祜禄|爱新觉罗|叶赫那拉|完颜|富察|那拉|瓜尔佳"
)
"""Chinese surnames of two."""
STOP = (
    r"左|右|双侧?|两侧|男|女|性别|年龄|性別|年齡|额|颞|顶叶|枕|脑|颅|额|顳|腦|顱|见|見|检查|檢查|影像|诊断|診斷"
    r"|报告|報告|审核|審核|科室|科别|病区|病历|病案|病理|病变|住院|门诊|床号|临床|送检|申请|电话|姓名|医师|醫師|医生|技师|未见"
    r"|未|无|平扫|增强|患者|病人|印象|所见|所見|描述|结论|全脑|胸|腹部|头|鼻|眼|轻度|重度|大小|考虑|建议|请|日期|时间|编号|岁|出生"
    r"|身份|联系|地址|部位|设备|方法|序列|主诉|因|于|入院|出院|术前|术后|复查|随访|右|中线|病灶|肿瘤|胶质|占位|信号"
)
"""Where a Chinese name behind a label ends without a sign: what the next word begins with."""

FOUND_ZH = (
    r"农民|农业|农村|欧洲|欧盟|安静|安全|安放|安装|安定|黄斑|黄染|黄疸|黄体|黄色|黃斑|黃染|黃疸|周围|周边|周期|周径|陈旧|陳舊|张力|張力|张开|张口"
    r"|高[度危级信密压龄热清质分代灌位血能频敏]|马尾|马蹄|马赛|梁状|曾[有行用因患经]|程[度序]|余[未正无阴均部处各下结前同其脑]"
    r"|餘[未正無陰均部處各]|任[何意务]|范[围例畴]|範圍|方[法位向案形便正]|石[化灰骨蜡]|金属|金屬|陆续|孔[洞径隙源]"
    r"|康复|毛[发细刺玻糙囊霉]|常[规见用染]|施[行术万]|颜[面色]|严[重密格]|嚴重|牛[眼角奶]|温[度热和]|溫[度熱]|申请"
    r"|尤[其以因]|丛[状集生]|叢[狀集]|焦[虑点痂]|向[心左右前后後上下内内外量]|路径|齐[状全]|梅[毒尼]|管[状腔型壁内径]"
    r"|史氏|雷[诺帕]|唐氏|杜氏|莫氏|卢氏|汤氏|柳氏|苏醒|蘇醒|叶[状间]|葉[狀間]|龙骨|龍骨|于[左右双两额颞顶枕]|易[出激感见]|季节"
    r"|段[落性]|万古|韦格|郎格|何杰|霍奇|熊猫|郭清|金标|钱币|白[质細细色]"
    r"|[\u3400-\u9fff]{2}[性样樣状狀型化瘤灶症炎病常大小期级区區变變损損形好良差](?![\u3400-\u9fff])"
)
"""Findings that begin with a surname, or end as no given name does."""

MED_ZH = (
    r"(?:[叶葉脑腦瘤灶区區岛島病症疸影号號信度性型期级變变见見大小多少部位长長高低内外前后後上下侧側化术術查描"
    r"肿腫水血管骨质質室池沟裂回核球囊腔孔弓板窦竇腺体體常清密])"
)
"""Signs that given names hardly have."""
NAME_PARTICLES = frozenset(
    ("von", "van", "vom", "zu", "zur", "der", "den", "ten", "ter")
    + ("de", "del", "della", "la", "las", "los", "le", "du", "di", "da", "dos", "el", "al")
)
"""Before family names, with a small letter or a capital one: `van der Berg`, `De La Cruz`."""


def ordinary(word: str) -> bool:
    """Whether a word is one that reports are made of, or is made of such words.

    Example:
        >>> [w for w in ("sans", "BrainStem", "左额叶病灶", "Whitehead") if ordinary(w)]
        ['sans', 'BrainStem', '左额叶病灶']
    """
    low = word.lower()
    if low in ORDINARY:
        return True

    least = 1 if low > "\u2e80" else 4  # Chinese has no blanks
    pieces: list[str | None] = [""] + [None] * len(
        low
    )  # the longest piece of a way to cut the word up to there
    for end in range(least, len(low) + 1):
        for start in range(end - least + 1):
            before, piece = pieces[start], low[start:end]
            if before is not None and piece in ORDINARY and piece not in ALSO_NAMES:
                pieces[end] = max(before, piece, pieces[end] or "", key=len)

    return len(pieces[-1] or "") > 1  # 左中 may be a name


def common(word: str) -> bool:
    """Whether a word with a capital is none of a name.

    Example:
        >>> [w for w in ("Left", "Raumforderung", "Smith", "Wang", "Known", "Müller") if common(w)]
        ['Left', 'Raumforderung', 'Known']
    """
    plain = word.strip(".,;:'’-").lower()
    if plain in COMMON:
        return True
    return len(plain) > 5 and plain not in _GIVEN and _ENDINGS.fullmatch(plain) is not None
