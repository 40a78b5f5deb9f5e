"""The one table of names: which MRI sequence a name, a description or a DICOM header means.

A text is cut into words, a word into pieces of the table (``AXT1POST`` is ax + t1 + post), and
each piece stands for one idea. `KIND` lists what excludes the four sequences; then weighting,
inversion and contrast decide. The same rules read file names, BIDS suffixes and series descriptions
of Siemens, GE, Philips, Canon and United Imaging, in the languages met so far.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

from rfpmss.config import SEQUENCES

FOUR = SEQUENCES[:4]
"""The sequences with a channel of their own, in the order of the channels."""
ELSEWHERE = "elsewhere"
LOCALIZER = "localizer"
UNNAMED = ("spectroscopy", "map", "subtraction", "projection")
"""Kinds of MRI series that are recognised and have no name of their own in `SEQUENCES`."""
OTHER_KINDS = (*SEQUENCES[4:], *UNNAMED, LOCALIZER, ELSEWHERE)
"""Kinds that are recognised and are none of the four."""

# Idea -> the words for it. Words are lower case, without accents; several ideas never share one.
TABLE = {
    # Weighting. "w" and "wi" after it: weighted, weighted image.
    "t1": "t1 t1w t1wi uni unit1 uniden",  # UNI: the T1-weighted image of MP2RAGE
    "t2": "t2 t2w t2wi",
    "pd": "pd pdw pdwi proton protons protonendichte dp densite 质子",  # proton density
    # Names of techniques that imply a weighting where none is said.
    "t1 by technique": (
        "mprage mp2rage mpnrage spgr fspgr irfspgr irspgr bravo tfl tfl3d fl3d flash3d vibe "
        "starvibe lava thrive ethrive tfe quick3d efgre3d isspgr"
    ),
    "t2 by technique": "frfse haste ssfse propeller blade multivane jet arms",
    "t1 or reformat": "mpr",  # Siemens: MPRAGE, but on other series a multiplanar reformat
    # T2 read out by a gradient echo is T2*; T1 read out so is a T1.
    "gradient echo": (
        "gre ffe fl2d flash fe2d fe3d fe epi ep2d ep3d medic merge fgre mfgre eg "
        "gradient gradiente gradientenecho"
    ),
    "t2star": (
        "t2* t2star t2starw t2s t2starwi hemo haemo hamo heme hemoflash hemorrhage blutung "
        "susceptibility bold venbold swip"
    ),
    # Water is made dark by an inversion of about 2.5 s. TIRM: Siemens' word, in the brain nearly
    # always dark-fluid. SPACE with IR ("spc_ir", "da-fl") is the 3-D form.
    "flair": (
        "flair tirm darkfluid t2f spcir spaceflair cubeflair liquorsuppression wassersuppression "
        "压水 抑水 黑水 水抑制 水抑 抑制水 自由水抑制 "
        "フレア 플레어 флаир флэир"
    ),
    "dark": "dark da attenuated attenuation suppressed suppression suppr supprimiert sat saturated",
    "fluid": "fluid fl water csf liquor wasser liquide agua",
    "spc": "spc space cube vista view brainview matrix mvox",  # 3-D turbo spin echo, any weighting
    "ir": "ir inversion",
    # Contrast: the word, the agents, and how protocols shorten them, by language.
    "contrast": (
        "c contrast contrasted contraste contrasto contrastado kontrast kontrastmittel kontrasti "
        "kontrastli ce cm gd gad gado gadolinium gadolinio dtpa dota dotarem clariscan magnevist "
        "gadovist gadavist multihance omniscan prohance eovist primovist vueway elucirem magnegita "
        "dotagraf km mdc pdc inj injected injecte injection injektion inyectado iniettato "
        "enh enhance enhanced enhancement civ pc postkm postcontrast postgad postgado "
        "postgd postinj "
        "postce postcontraste nachkm mitkm контраст контрастом контрастное ку kontras "
        "σκιαγραφικ σκιαστικ صبغة صبغه تباين حقن ملون تزریق کنتراست حاجب ניגוד הזרקה גדוליניום "
        "कंटरासट विपरीत ฉีดสี ฉีดสาร สารทึบ 对比剂 對比劑 显影剂 顯影劑 "
        "增强 增強 加强 加強 强化 造影 造影后 造影後 注射后 打药后 조영 조영증강 조영후 가돌리늄"
    ),
    "post": "post after nach apres tras despues dopo pos depois sonrasi efter etter po "
    "dupa poslije posle nakon jalkeen parast pec sesudah setelah после след після "
    "μετα بعد אחרי לאחר หลัง",
    "native": (
        "native nativ nativo nativa natif plain noncontrast noncon nonenhanced unenhanced nc "
        "precontrast pregad pregado pregd preinj prekm precontraste nogad nogd "
        "nocontrast uncontrasted "
        "okm vkm ohnekm vorkm kontrastsiz noncontrasted "
        "平扫 平掃 未增强 非增强 无增强 不增强 增强前 造影前 非造影 単純 单纯 비조영 조영전"
    ),
    "pre": "pre before vor avant antes ante prima oncesi voor przed ennen innan fore for до "
    "pred prije inainte elott pirms enne pries truoc sebelum перед преди "
    "πριν προ قبل پیش לפני טרם กอน",
    "without": (
        "without wo w/o no non not ohne sans sin senza sem zonder utan uden bez без "
        "nicht kein keine keinen uten ikke ikkje inte ingen ilman ilma fara brez nelkul nelkuli "
        "heb khong tanpa "
        "не нет χωρις ανευ بدون بلا ללא בלי बिना ไม "
        "minus none nein nil o"
    ),
    "both": "both",  # set by `_SIGNS`: with and without
    # What follows "pre" or "post" and is no contrast: treatment, places, software.
    "event": (
        "op operative operation operativ surgery surgical resection resected rt rtx xrt radiation "
        "radiotherapy chemo chemotherapy treatment treated therapy biopsy craniotomy tx fossa "
        "processed processing process proc filter filtered seizure ictal trauma stroke"
    ),
    "event whole": (
        "preop postop preoperative postoperative preoperativ postoperativ presurgery postsurgery "
        "preresection postresection postrt prert posttreatment pretreatment postproc postprocessed "
        "posterior 术后 术前 術後 術前"
    ),
    # All of these are MRI of the head, and none of the four.
    "stir": "stir",
    "swi": (
        "swi swan eswan swim minipswi swan3d susc suscept swipha swimag magimages phaimages "
        "磁敏感 磁敏感加权 venography3dswi"
    ),
    "dwi": (
        "dwi edwi diff diffusion difusion diffusione dti hardi dki noddi ivim trace tracew tensor "
        "fa colfa resolve tractography fiber fibre fibertrack dif dwibs isodwi dw bvec bval "
        "弥散 彌散 扩散 擴散 확산 拡散"
    ),
    "adc": "adc eadc dadc apparent 表观 表观扩散系数",
    "mra": (
        "tof mra mrv angio angiography angiographie angiografia veno venogram venography cemra "
        "inhance qiss mc 3di s3di tofmra carotid carotids vessel willis pca phasecontrast "
        "cta ctv arteriography arteriographie arteriografia ctangio angioct ctangiografie "
        "血管 血管成像 静脉成像"
    ),
    "perfusion": (
        "perf perfusion perfusie dsc dce asl pasl pcasl casl cbv cbf rcbv rcbf relcbv "
        "relcbf mtt ttp "
        "tmax ktrans pbp gbp pwi dyn dyna dynamic dynamique dinamico dinamica dynamisch "
        "twist tricks "
        "disco grasp bolus 4d permeability 灌注 动态 動態 関流"
    ),
    "spectroscopy": (
        "mrs mrsi csi svs spectro spectroscopy spectroscopie spektroskopie press slaser 波谱 波譜"
    ),
    "map": (
        "map maps mapping t1map t2map t2starmap pdmap r1map r2map r2starmap molli "
        "smart1map qt1 qt2 "
        "qsm fieldmap field fmap shim shimming relaxometry t1rho t2rho rho mtr r1 r2 r2* phase pha "
        "symri synt1 synt2 synflair b0 b1 b1map b0map magic synthetic tb1tfl tb1afi"
    ),
    "subtraction": (
        "sub subs subtr subtract subtracted subtraction subtraktion substraction "
        "substracted delta 减影 減影"
    ),
    "projection": "mip minip mnip mpip thinmip projection",
    "other": (
        "ciss fiesta fiestac trufi trufisp truefisp truessfp bffe btfe bssfp ssfp balanced "
        "blnc basg "
        "cosmic psif dess fmri rest resting task func "
        "cine flow cest apt aptw elastography mre dir psir fgatir mosaic report screenshot "
        "screen snapshot inv1 inv2 pet fat opp opposed"
    ),
    LOCALIZER: (
        "localizer localiser localizador localisateur localiz loc scout survey pilot topogram "
        "surview scano scanogram scanogramm smartbrain aahead aascout aaheadscout reperage "
        "ubersicht ubersichtsaufnahme 3plane 3pl 3planeloc calibration cal asset refscan coilsens "
        "prescan senseref locator planscan centratore centraggio posizionamento positioning "
        "positionnement posicionamiento posicionamento uberblick kilavuz pilotaj локалаизер "
        "定位 定位像 位置決め ロケータ 위치결정 로컬라이저"
    ),
    # Another part of the body; "head" or "brain" in the same text outweighs it.
    ELSEWHERE: (
        "spine spinal cspine tspine lspine ctlspine wholespine cervical thoracic lumbar "
        "lumbosacral sacral sacrum coccyx vertebra vertebral hws bws lws wirbelsaule "
        "halswirbelsaule brustwirbelsaule lendenwirbelsaule ruckenmark kreuzbein rachis rachide "
        "columna coluna colonna colonne vertebrale lombaire lombare lumbalis myelo myelogram "
        "moelle medula midollo wervelkolom ruggenmerg neck hals cuello cou collo nuque pescoco "
        "larynx kehlkopf laringe pharynx oropharynx thyroid schilddruse knee knie genou rodilla "
        "ginocchio joelho shoulder schulter epaule hombro spalla ombro hip hufte hanche cadera "
        "anca wrist handgelenk poignet muneca polso ankle sprunggelenk cheville tobillo "
        "caviglia elbow ellenbogen coude codo gomito femur oberschenkel foot fuss pied "
        "extremity abdomen abdominal oberbauch unterbauch liver leber foie higado fegato figado "
        "pancreas pankreas kidney niere nieren reins rinon rene spleen mrcp pelvis pelvic "
        "becken bassin bacino bacia prostate prostata rectum rektum uterus breast brust mamma "
        "mammae mammo mama mammella chest thorax thoracique torax torace lung lungs lunge "
        "poumon pulmon cardiac herz coeur corazon cuore coracao heart plexus whole_body "
        "wholebody ganzkorper "
        "颈椎 胸椎 腰椎 脊柱 脊髓 颈部 胸部 腹部 盆腔 膝"
    ),
    "head": (
        "head brain cerebral cranial cranium schadel kopf gehirn hirn cerveau crane "
        "cerebro craneo encefalo 头 头颅 颅脑 脑 頭部 脳"
    ),
    # A part of the head: the sequence is named all the same, but others stand before it.
    "part of the head": (
        "orbit orbits orbita orbitas orbite orbites orbiten orbital orbitale augenhohle "
        "augenhohlen auge augen oeil ojo ojos occhio eye eyes iac iacs iam iams cai khbw cpa "
        "felsenbein felsenbeine rocher rochers penasco penascos rocca rocche petrous petreux "
        "temporalbone innenohr ohr ohren oido oidos oreille oreilles orecchio ear ears mastoid "
        "mastoide cochlea meato meatus meati acustico auditivo auditif auditifs uditivo "
        "akustikus acusticus pituitary hypophyse hypophysis hypophysaire hipofisis hipofisario "
        "hipofise ipofisi ipofisario sella sellar selar turcica cavernosum cavernoso kavernosus "
        "tmj atm kiefergelenk kiefergelenke kiefer oberkiefer unterkiefer mandible mandibula "
        "maxilla machoire mascella temporomandibular nnh nasennebenhohlen paranasal paranasales "
        "sinus sinuses seno senos seni parotid parotis parotide parotida speicheldruse "
        "speicheldrusen salivary trigeminus trigeminal trigemino trijumeau facialis nerve "
        "nerves nervus nerf nerfs nervio nervios nervo nervi opticus optikus optique optiques "
        "optico ottico sehnerv sehnerven chiasm chiasma facial faciale gesicht gesichtsschadel "
        "mittelgesicht viscerocranium dental zahne dents dientes denti tongue zunge langue "
        "lengua mundboden nasopharynx rhinopharynx cavum skullbase schadelbasis hippocampus "
        "hippo hippocampi hippokampus hippocampe hipocampo ippocampo "
        "垂体 海马 内听道 眼眶 颞骨 颞下颌 鼻窦 鼻咽 腮腺 视神经 三叉神经 "
        "眼窩 内耳 側頭骨 下垂体 顎関節 "
        "副鼻腔 안와 측두골 뇌하수체 내이 부비동"
    ),
    # Neutral: where, how fine, how fast, with what help. Here so that glued words can be cut.
    "neutral": (
        "ax axi axial axiale tra trans transversal transverse oax oaxial obl sag "
        "sagittal sagital osag cor "
        "coronal koronar ocor coro tse fse se 2d 3d fs fatsat spair spir dixon nfs iso isotropic "
        "high res hr thin p2 p3 grappa sense wi w ws iv with mit avec con com met and "
        "und weighted gewichtet images image img series "
        "bias biascorr n4 reg registered coreg mni sri stripped skullstripped skull unstripped bet "
        "defaced deface raw orig mri mag magn norm nd dis2d dis3d final anat std 加权 矢状位 "
        "冠状位 横断位 轴位 压脂 脂肪抑制"
    ),
}
WORDS = {word: idea for idea, words in TABLE.items() for word in words.split()}
_CJK = sorted((w for w in WORDS if not w.isascii()), key=len, reverse=True)
_LATIN = frozenset(w for w in WORDS if w.isascii())
# Prefixes of long words with many endings.
_STEMS = {
    "gado": "contrast", "contrast": "contrast", "kontrast": "contrast", "enhanc": "contrast",
    "inject": "contrast", "injekt": "contrast", "inyec": "contrast", "iniez": "contrast",
    "контраст": "contrast", "kontraszt": "contrast", "tehoste": "contrast",
    "varjoain": "contrast", "skuggaefn": "contrast", "нативн": "native",
    "усилен": "contrast", "підсилен": "contrast", "гадол": "contrast",
    "spektro": "spectroscopy", "spectro": "spectroscopy",
    "diffus": "dwi", "perfus": "perfusion", "subtra": "subtraction", "substra": "subtraction",
    "angiog": "mra", "angios": "mra", "angiot": "mra", "angioc": "mra", "venogra": "mra",
    "localis": LOCALIZER, "localiz": LOCALIZER,
    "lokaliz": LOCALIZER, "topogram": LOCALIZER, "топограм": LOCALIZER, "локализ": LOCALIZER,
    "lokalis": LOCALIZER, "suscept": "swi", "wirbels": ELSEWHERE, "lumbal": ELSEWHERE,
    "zervikal": ELSEWHERE, "cervic": ELSEWHERE, "thorak": ELSEWHERE, "dynami": "perfusion",
}  # fmt: skip
# Only directly after t1 or t2: t1c, t1n, t1p; only directly before: sT1W, eT1W (Philips: single
# and enhanced ... both neutral), dT1 (BraTS: post minus pre).
_AFTER = {"t1": {"c": "contrast", "n": "native", "p": "contrast"}, "t2": {"f": "flair"}}
_BEFORE = {"s": "neutral", "e": "neutral", "o": "neutral", "d": "subtraction", "q": "map"}
KIND = (
    *((ELSEWHERE, ELSEWHERE), (LOCALIZER, LOCALIZER), ("adc", "adc"), ("swi", "swi")),
    *(("perfusion", "perfusion"), ("dwi", "dwi"), ("mra", "mra"), ("map", "map")),
    *(("spectroscopy", "spectroscopy"), ("subtraction", "subtraction")),
    *(("projection", "projection"), ("t2star", "swi"), ("stir", "other"), ("other", "other")),
)
"""Ideas that exclude the four sequences, and the kind that each makes; the first wins."""


def sequence_of(text: str, *, contrast: bool | None = None) -> str:
    """Which of the `FOUR` sequences a name or description means, or nothing.

    Args:
        text: file name or series description.
        contrast: an agent was given, was not given, or None: only the text can say.

    Example:
        >>> [sequence_of(t) for t in ("P1_T1GD", "ax t2 flair", "T2w", "sag MPRAGE +C", "dwi")]
        ['t1ce', 'flair', 't2', 't1ce', '']
        >>> [sequence_of(t) for t in ("AX T1 FLAIR", "T1W_TSE", "T1增强", "T2*", "T2_FLAIR_tra")]
        ['t1', 't1', 't1ce', '', 'flair']
        >>> [sequence_of(t) for t in ("AX T1 WITHOUT GAD", "AXT1POST", "T1 post-op", "t2_fl2d")]
        ['t1', 't1ce', 't1', '']
    """
    kind = kind_of(text, contrast=contrast)
    return kind if kind in FOUR else ""


def kind_of(text: str, *, contrast: bool | None = None) -> str:
    """As `sequence_of`, but one of `OTHER_KINDS` too; nothing where the text does not say."""
    ideas = ideas_of(text)
    there = set(ideas)
    if "head" in there:
        there.discard(ELSEWHERE)

    t1, t2 = "t1" in there, "t2" in there
    weighted = t1 or t2
    t1 |= not weighted and "t1 by technique" in there
    t2 |= not weighted and "t2 by technique" in there
    rules = (
        *((idea in there, kind) for idea, kind in KIND),
        ("flair" in there and ("t2" in there or not t1), "flair"),  # "T1 FLAIR" is a T1
        (t1 and t2, ""),
        (t2 and "gradient echo" in there, "swi"),  # T2*
        ("pd" in there, "pd"),
        (t2, "t2"),
        (t1, "t1"),
    )
    found = next((kind for holds, kind in rules if holds), "")

    return _contrasted(ideas, given=contrast) if found == "t1" else found


def _contrasted(ideas: Sequence[str], *, given: bool | None) -> str:
    """``t1`` or ``t1ce``; nothing where the text says both and the header is silent.

    A negation outweighs the word: "T1 W/O CONTRAST". The header outweighs a silent text, and a
    header that denies an agent outweighs a text that claims one.
    """
    if "both" in ideas:  # "W/WO CONTRAST" names an examination, so the header must say
        return {True: "t1ce", False: "t1", None: ""}[given]
    if "native" in ideas or given is False:
        return "t1"

    return "t1ce" if "contrast" in ideas or given else "t1"


def named(kind: str) -> str:
    """The name in `SEQUENCES` of a kind of MRI series.

    Example:
        >>> [named(kind) for kind in ("t1ce", "dwi", "projection", "")]
        ['t1ce', 'dwi', 'other', 'other']
    """
    return kind if kind in SEQUENCES else "other"


def is_part(text: str) -> bool:
    """Whether a description names a small part of the head: orbits, pituitary, hippocampus."""
    return "part of the head" in ideas_of(text)


_HOW = {
    *(
        "bias",
        "bet",
        "stripped",
        "unstripped",
        "skullstripped",
        "n4",
        "raw",
        "axi",
        "obl",
        "oblique",
    ),
    *("deface", "defaced", "defacing", "vista", "nvseg", "coreg", "reg", "registered", "fla"),
}
"""Words of file names that say how an image was made."""


def describes(word: str) -> bool:
    """Whether a word of a file's name says what the file shows, and so not whose it is.

    Example:
        >>> [describes(w) for w in ("t1n", "t2f", "tiêm", "AXT1POST", "p7", "anna", "sub")]
        [True, True, True, True, False, False, False]
    """
    low = _fold(word)
    if low in _HOW or _GIVEN_OR_NOT.fullmatch(low):
        return True

    telling = {*FOUR, "pd", "flair", "contrast", "native", "swi", "dwi", "adc", "t2star", "stir"}
    telling |= {"t1 by technique", "perfusion", "mra"}
    if len(low) < 2 or low in (
        "sub",
        "sin",
        "con",
        "mc",
        "fa",
        "cal",
        "pc",
        "nc",
        "cm",
        "rest",
        "press",
    ):
        return False

    pieces = _cut(low) if low.isascii() else _ideas_cjk(low)
    return bool(pieces) and bool(telling & set(pieces))


@lru_cache(maxsize=4096)
def ideas_of(text: str) -> tuple[str, ...]:
    """The ideas of a text in their order, with negated contrast turned into ``native``."""
    return tuple(_resolve(list(_ideas(_fold(text)))))


def without_prefix(text: str) -> str:
    """A name without the letters that SPM puts before a sequence.

    Example:
        >>> [without_prefix(name) for name in ("P1_rT1.nii", "swT2", "WT1_flair")]
        ['P1_T1.nii', 'T2', 'WT1_flair']
    """
    return _SPM.sub("", text)


def spelled_out(name: str) -> str:
    """A name in small letters in which FLAIR is not shortened.

    Example:
        >>> [spelled_out(name) for name in ("p1_fl", "fl_to_sri_brain", "t1_fl_post", "fl_001_t2")]
        ['p1_flair', 'flair_to_sri_brain', 't1_fl_post', 'fl_001_t2']
    """
    for pattern, by in _FL:
        name = re.sub(pattern, by.replace(" ", ""), name)
    return name


def _fold(text: str) -> str:
    """Lower case, no accents, full-width letters narrow, signs of contrast as words."""
    # Capitals part words: TumorT1Gd, PostContrast.
    text = without_prefix(unicodedata.normalize("NFKC", text))
    text = re.sub(r"(?<=[a-z]{2})(?=T[12]|[A-Z][a-z]{2})", " ", text)
    low = text.lower().replace("т1", "t1").replace("т2", "t2")
    low = "".join(c for c in unicodedata.normalize("NFD", low) if not unicodedata.combining(c))

    return unicodedata.normalize("NFC", low).translate(_LETTERS)


_WITH = r"(?:with|mit|avec|con|com|w|post|nach|after|apres|despues|dopo)"
_WITHOUT = r"(?:without|ohne|sans|sin|sem|wo|pre|vor|before|avant|antes|prima)"
_AGENT = r"(?:c|gd|gado?|km|ce|iv|contrast)"
_MINUS = "[-\u2212\u2013]"
# SPM puts letters before a name: r registered, w warped, m bias-corrected, s smoothed, b brain.
# Their case tells them from patients such as WT1 and BT2.
_SPM = re.compile(r"(?<![A-Za-z0-9])[rwmsb]{1,4}(?=T[12]|PD|FLAIR)")
_AND = r"[\s_/&+-]*(?:and|und|et|y|e|u)?[\s_/&+-]+"
_LETTERS = str.maketrans({"ı": "i", "ł": "l", "ø": "o", "æ": "ae", "ß": "ss"})
_ANY = "(?:t1|t2|flair|pd|swi|dwi|adc|cbv|cbf)"
_REG = "(?:(?:co)?reg(?:istered)?|aligned|warped|resampled)"
_TARGET = r"(?:t1|t2|flair|pd|mni|atlas|sri)(?![*])[a-z0-9]*"
_AGENT_ZH = "(?:造影[剂劑剤]?|[对對]比[剂劑]|[显顯]影[剂劑]|[钆釓][剂劑]|[药藥])"
_GIVEN_ZH = "(?:注射?|打|推注?|用|加|使用|有)"
PIPELINE = (
    "to|in|reg|coreg|registered|brain|raw|rai|lps|ras|lpi|n4|bet|hdbet|stripped|skullstripped|skull"
    "|unstripped|masked|bias|biascorr|corrected|warped|norm|normalized|sri|sri24|mni|1mm|iso|final"
)
"""What preprocessing (CaPTk, FeTS, HD-BET, ANTs) puts behind the name of a sequence."""
# FL and FLA of CaPTk and FeTS are FLAIR, but of a T1 the FLASH of Siemens.
_FL = (
    (r"(?<![a-z0-9])(t2w?)[-_ ]?fla?(?![a-z0-9])", " flair "),
    (rf"^((?!.*t2)[^+]*?(?<![a-z0-9]))fla?(?=[-_ ]+(?:to|in)[-_ ]+{_TARGET})", r"\1 flair"),
    (
        rf"^((?!.*t[12])(?:.*[^a-z0-9])?)fla?(?=[-_ ](?:{PIPELINE})(?![a-z])|[\W_]*$)",
        r"\1 flair ",
    ),
)
_SIGNS = (
    # Weighted, in Korean and Japanese: 강조영상 holds 조영, contrast.
    (r"강조\s*(?:영상)?|強調(?:画像|像)?", " "),
    (r"조영제?\s*(?:(?:주입|투여|사용)\s*)?(?:전|없이|없음|미사용|안)|[비무미]\s*조영", " native "),
    (r"조영제?\s*(?:(?:주입|투여|사용)\s*)?후", " contrast "),
    (r"造影[剤剂劑]?\s*(?:な[しく]|ナシ|無し?|せす)", " native "),
    # Not injected, and before and after an injection, in Chinese.
    (r"(?:造影[剂劑剤]?|增[强強]|[强強]化)前[后後]", " both "),
    (rf"[未不無无没沒免]{_GIVEN_ZH}{{0,3}}\s*(?:{_AGENT_ZH}|增[强強]|[强強]化)", " native "),
    (rf"{_GIVEN_ZH}?{_AGENT_ZH}(?:投与|注入|注射|静注)?之?前", " native "),
    (r"(?:注射|增[强強]|[强強]化)之?前", " native "),
    (rf"{_GIVEN_ZH}?{_AGENT_ZH}[后後]|{_GIVEN_ZH}{_AGENT_ZH}|注射之?[后後]", " contrast "),
    # Fluid-attenuated inversion recovery, spelled out.
    (r"[液流][体體]?(?:衰[减減]|減衰|抑制|[减減]弱)[反翻][转轉転](?:恢[复復]|回復)?", " flair "),
    (r"액체\s*감[쇠약]\s*[역반]전\s*회복", " flair "),
    # Languages in which the case or a common word denies.
    (r"kontrasti(?:t?ta)(?![a-z])|kontrastaineta|kontras[zt]+mentes|tehosteetta", " native "),
    (r"(?<![a-z])(?:be|pa|sen|sense|an)\s(?=(?:de )?(?:[ck]ontr|skugga))", " without "),
    # One word of a preposition and an ending: postkontrastně, postcontrastografico, bezkontrastowe.
    (r"(?<![^\W_])(?:post|po|nach)[-_]?[ck]ontrast[^\W_]*", " contrast "),
    (
        r"(?<![^\W_])(?:pre|prä|prae|pred|před|przed|bez|brez|ne|nie|non|senza|vor|ikke)[-_]?"
        r"[ck]ontrast[^\W_]*",
        " native ",
    ),
    (r"kontraste\w*\s+gabe", " native "),  # Basque; German Gabe: administration
    (r"kontraszt\w*\s+utan", " contrast "),  # after; Swedish utan: without
    (r"(?<![a-z])tiem(?:\sthuoc)?(?![a-z])", " contrast "),
    (r"(?<![a-z])k\.\s?l\.", " contrast "),  # Czech: kontrastní látka
    *_FL,
    (r"bias[-_ ]?field[-_ ]?corr\w*", " "),
    # The grid of an image of fMRIPrep is not its sequence.
    (r"^(sub-.*?)_space-[a-z0-9]+", r"\1"),
    # BIDS entities that name someone or count something; "ce-", "acq-", "desc-" stay.
    (r"(?<![a-z0-9])(?:sub|ses|run|echo|task)-[a-z0-9]+(?=[_.\s]|$)", " "),
    (r"inv-?([12])(?![0-9])", r" inv\1 "),
    (r"(?<![a-z0-9])ct1(?![0-9])", " contrast t1 "),  # LUMIERE
    # "+/-", "+C/-C", "C-/C+": with and without.
    (rf"\u00b1|\+\s?{_AGENT}?\s?/\s?{_AGENT}?\s?{_MINUS}", " both "),
    (rf"{_MINUS}\s?{_AGENT}?\s?/\s?{_AGENT}?\s?\+", " both "),
    (rf"\+_?{_MINUS}(?=[\s_]?(?:{_AGENT}(?![a-z])|$|[\s.)]))", " both "),  # no "/" in files'
    (r"(?<![a-z0-9])w\s?[/&+]\s?w\.?[/ ]?o(?![a-z0-9])", " both "),
    (r"(?<![a-z0-9])w\s?/\s?o(?![a-z0-9])", " without "),
    (rf"(?<![a-z0-9])(?:{_WITH}{_AND}{_WITHOUT}|{_WITHOUT}{_AND}{_WITH})(?![a-z0-9])", " both "),
    # sin/sans and con/avec contraste, gadolinio, injection: "S/C", "C/GD", "IV+", "IV-"
    (r"(?<![a-z0-9])s/\s?(?:c|cte?|gd|gado?\w*|civ|iv|inj\w*)(?![a-z0-9])", " native "),
    (r"(?<![a-z0-9])c/\s?(?:c|cte?|gd|gado?\w*|civ|iv|inj\w*)(?![a-z0-9])", " contrast "),
    (r"(?<![a-z0-9])(?:iv|inj)\s?\+", " contrast "),
    (r"(?<![a-z0-9])(?:iv|inj)\s?-(?![a-z0-9])", " native "),
    (r"조영\s*전", " native "),
    (r"조영\s*후", " contrast "),
    (r"(?:contrast|kontrast|gd|gado\w*)[-_ ]?(?:free|less|frei|los)(?![a-z])", " native "),
    # Registered to another sequence: the target says nothing of the image.
    (rf"({_ANY}[a-z0-9]*)[-_ ]+{_REG}?[-_ ]*(?:to|in|into|on|onto)[-_ ]*{_TARGET}", r"\1 "),
    (rf"({_ANY}[a-z0-9]*)[-_ ]+{_REG}[-_ 2]*{_TARGET}", r"\1 "),
    (rf"({_ANY}[a-z0-9]*)[-_ ]+(?:t1|t2|flair)[a-z]{{0,3}}space(?![a-z])", r"\1 "),
    (r"post\W*(?:minus|-)\W*pre(?![a-z])", " subtraction "),
    (r"t[12]\w*[-_ ]minus[-_ ]t[12]", " subtraction "),
    (r"平[扫掃][\s、,/&和及+]*增[强強]", " both "),
    (r"(?<![a-z0-9])i\.\s?v\.?", " iv "),
    (r"(?<![a-z0-9])p\.\s?c\.?(?![a-z0-9])", " contrast "),
    (r"(?<![a-z0-9])([ovmn])\.\s?km", lambda m: f" {_KM[m[1]]} km "),
    (r"\(\s*\+\s*\)|(?:c|gd|km|ce)\s?\+(?![a-z0-9])|(?:c|gd|km|ce)\+(?=[_\s.-])", " contrast "),
    (r"\+\s?(?:c|gd|gad|gado|km|ce|contrast)(?![a-z])", " contrast "),
    (r"(?<=t1)\s?\+(?!\s?(?:t2|pd))|(?<=t1w)\s?\+(?!\s?(?:t2|pd))", " contrast "),
    (r"\(\s*-\s*\)|(?<![a-z0-9])(?:c|gd|km)-(?=\s|$|\))|(?<=\s)-\s?c(?![a-z0-9-])", " native "),
    (r"t2\s?(?:\*|star)", " t2star "),
    (r"10\^-?6 ?mm2/s", " adc "),
    (r"t1\s?[-_ ]?rho", " t1rho "),
    (r"(?<![a-z0-9])b\s?[=_-]?\s?\d{3,4}(?![0-9])", " dwi "),
    (r"phase[-_ ]?contrast", " phasecontrast "),
    (r"3[-_ ]?(?:plane|pl)(?![a-z])", " localizer "),
    (r"(?:ref(?:erence)?|plan)[-_ ]?scan|smart[-_ ]?brain", " localizer "),
    (r"(?:mag|pha)[-_ ]images", " swi "),
    (r"whole[-_ ]body", " wholebody "),
    (r"double[-_ ](?:inversion|ir)", " dir "),
    (r"time[-_ ]?resolved", " dynamic "),
    (r"mp-rage", " mprage "),
    # Balanced steady state by the names of all vendors.
    (
        r"(?<![a-z])s?b[-_ ]?(?:tfe|ffe|ssfp)(?![a-z])"
        r"|(?<![a-z])bal\w*[-_. ]+(?:tfe|ffe|ssfp|fe|gre)",
        " bssfp ",
    ),
    (
        r"(?<![a-z])true?[-_ ]?(?:fisp|ssfp|fi)(?![a-z])"
        r"|(?<![a-z])tfi[23]d\w*"
        r"|steady[-_ ]?state",
        " bssfp ",
    ),
    (
        r"temporal[-_ ]?bones?|os[-_ ]temporal\w*|hueso[-_ ]temporal|osso[-_ ]temporal",
        " temporalbone ",
    ),
    (
        r"skull[-_ ]?base"
        r"|base[-_ ](?:du|del|de|do|of)[-_ ](?:la[-_ ])?(?:cran\w*|skull)",
        " skullbase ",
    ),
    (r"mp2rage(.*)t1[-_ ]images", r" t1map \1"),  # the map of MP2RAGE, beside UNI_Images
    (r"(?:dixon|vibe)[-_ \w]*[-_ ](?:f|fat|opp|in|ip|op|ff)(?![a-z0-9])", " opposed "),
    (r"fat[-_ ]?(?:sat|sup|supp|suppressed|suppression)\w*", " fatsat "),
    (r"(?:spc|space|cube|vista)[-_ ]?ir(?![a-z])", " flair "),
)  # fmt: skip
_GIVEN_OR_NOT = re.compile(
    "|".join(pattern for pattern, by in _SIGNS if by in (" contrast ", " native "))
)
"""Words of which one alone says whether an agent was given: tiêm, postkontrastně."""
_KM = {"o": "without", "v": "without", "m": "with", "n": "post"}


def _ideas(low: str) -> Iterator[str]:
    for pattern, by in _SIGNS:
        low = re.sub(pattern, by, low)

    for part in re.findall(r"[a-z0-9*а-яі]+|[^\x00-\x7fа-яі]+", low):
        if part.isascii():
            yield from _cut(part) or _around(part)
        elif re.fullmatch("[а-яі]+", part):
            yield from _word(part)
        else:
            yield from _ideas_cjk(part)


def _ideas_cjk(text: str) -> list[str]:
    """Chinese, Japanese and Korean have no spaces: the longest words of the table, in order."""
    found, at = [], 0
    while at < len(text):
        word = next((w for w in _CJK if text.startswith(w, at)), "")
        if word:
            found.append(WORDS[word])
        at += len(word) or 1

    return found


def _word(part: str) -> list[str]:
    if part in WORDS:
        return [WORDS[part]]
    return next(([idea] for stem, idea in _STEMS.items() if part.startswith(stem)), [])


@lru_cache(maxsize=8192)
def _cut(part: str) -> list[str]:
    """The ideas of a glued word, in as few pieces as can be; nothing if it cannot be cut whole.

    Pieces of two letters are allowed only beside a weighting or in words of their own, so that
    ``manga`` is not read as a gadolinium.
    """
    if found := _word(part):
        return found

    glued = bool(re.search(r"t[12]|pd|km$", part))
    best: list[list[str] | None] = [[]] + [None] * len(part)
    for end in range(1, len(part) + 1):
        for start in range(end):
            before, piece = best[start], part[start:end]
            if before is None:
                continue
            idea = _piece(part, start, end, piece)
            if not glued and len(piece) < 3 and piece not in ("2d", "3d", "fs"):
                continue
            if idea and (best[end] is None or len(before) + 1 < len(best[end] or [])):
                best[end] = [*before, idea]

    return best[-1] or []


def _piece(part: str, start: int, end: int, piece: str) -> str:
    """The idea of ``part[start:end]``, where single letters count beside t1 and t2 only."""
    if piece in _LATIN and not (len(piece) == 1 or piece in ("wo", "no", "po", "da", "fl", "fa")):
        return WORDS[piece]
    if piece in _BEFORE and start == 0 and re.match(r"t[12]", part[end:]):
        return _BEFORE[piece]

    for weight, letters in _AFTER.items():
        if piece in letters and re.search(rf"{weight}w?i?$", part[:start]):
            return letters[piece]

    return ""


def _around(part: str) -> list[str]:
    """Of a word that cannot be cut whole: the weighting that it begins with, and what follows."""
    found = re.match(r"(?:ax|sag|cor|tra|[seo])?(t1|t2)(?![0-9])w?(.*)", part)
    if not found:
        return ["flair"] if "flair" in part else []

    rest = _cut(found[2]) or _word(found[2]) or (["flair"] if "flair" in found[2] else [])
    return [found[1], *rest]


_FILL = {"neutral", "post"}


def _resolve(ideas: list[str]) -> Iterator[str]:
    """Join what belongs together: dark + fluid, post + surgery, without + contrast."""
    at = 0
    while at < len(ideas):
        idea = ideas[at]
        after = ideas[at + 1] if at + 1 < len(ideas) else ""
        at += 1
        if {idea, after} == {"dark", "fluid"} or (idea, after) == ("spc", "ir"):
            yield "flair"
            at += 1
        elif idea in ("pre", "post") and after == "event":
            yield "event whole"
            at += 1
        elif idea in ("without", "pre") or (idea == "contrast" and after == "without"):
            yield from _negated(ideas, at - 1)
        elif idea == "post":
            yield "contrast"
        elif idea == "t1 or reformat":
            yield "t1 or reformat"
        else:
            yield idea


def _negated(ideas: list[str], at: int) -> Iterator[str]:
    """Deny: "no GAD", "pre contrast", "contrast none". "No" before other words says nothing."""
    idea = ideas[at]
    if idea == "contrast":
        yield "native"
        return

    ahead = [other for other in ideas[at + 1 : at + 4] if other not in _FILL][:1]
    close = ahead == ["contrast"]
    if idea == "pre" or close:
        yield "native"
