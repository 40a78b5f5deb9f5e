"""Masks: which NIfTI file is one, of what, and what its labels mean.

A mask of the tumour gives the box of the finding; a mask of the brain says nothing of it and is
never used. Names tell first, values confirm: a mask holds few whole numbers, an image does not.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped

from rfpmss.data.errors import DataError, ValuesError
from rfpmss.data.readers.formats import read_volume
from rfpmss.data.readers.volume import MAX_BYTES, Volume

TUMOUR, BRAIN, UNNAMED = "mask", "brain mask", "unnamed mask"
"""Views of masks: of the tumour; of the brain, its parts or anything else; of nobody knows what."""
FEW = 64
"""A mask has at most so many labels."""


def _words(text: str) -> set[str]:
    return set(text.split())


# A file is a mask of something ...
_MASK = _words(
    "seg segm segs segmentation segmentations segment mask masks label labels labelmap dseg "
    "probseg annotation annotations contour contours contourage delineation outline rtstruct "
    "maske masken masque masques mascara maschera segmentierung autoseg groundtruth gt kontur "
    "konturen umriss markierung contorno"
)
# ... of the tumour; these words alone do not make a mask: "tumor_007_t1.nii.gz" is an image ...
_LESION = _words(
    "tumor tumors tumour tumours tumeur tumeurs tumore tumoral tumoren lesion lesions lasion "
    "lasionen lesione lesiones laesion gtv glioma gliom gliome glioblastoma "
    "glioblastom edema oedema odem oedem necrosis nekrose necrose enhancing metastasis "
    "metastases metastase metastasen gbm neoplasm neoplasms raumforderung netc snfh "
    "gtvp gtvn gtvt necrotic meningioma meningeom astrocytoma lymphoma dipg"
)
# ... of a part of it, which stands behind a mask of the whole.
_PARTIAL = _words(
    "edema edemas oedema oedeme oedemes odem oedem odema odeem peritumoral perifocal "
    "necrosis necrotic nekrose necrose necrosi nekroza enhancing enhancement nonenhancing core "
    "kern noyau nucleo netc snfh ncr net et tc rim ring cyst cystic zyste kyste quiste cisti "
    "отек отёк некроз"
)
# These say so where no word tells another part: "oral cavity", "hippocampus roi".
_WEAK = _words("roi rois voi vois wt tc et ncr herd")
# What a surgeon left is never the tumour, whose word may stand beside it: "tumor_cavity_mask".
_CAVITY = _words(
    "cavity cavities cavite cavites cavidad cavidades cavidade cavita cavitario hohle hohlen holte "
    "tumorbett tumorbed lecho"
)
# A finding that is none of the tumour, whatever stands beside it: "WMH_lesion", "stroke lesion".
_OTHER = _words(
    "wmh wmhs hyperintensities leukoaraiosis leukoencephalopathy infarct infarcts infarction "
    "infarctions infarkt infarkte infarto infarti ischemia ischaemia ischemic ischaemic ischamie "
    "ischemie isquemia isquemica isquemico ischemica ischemico ischemique ischamisch "
    "ischamische stroke strokes schlaganfall ictus avc accident penumbra "
    "hemorrhage haemorrhage hemorrhages bleed bleeding bleedings blutung blutungen hemorragie "
    "hemorragia emorragia saignement sangrado bloeding hematoma haematoma hematome hamatom "
    "ematoma microbleed microbleeds cmb mikroblutung siderosis contusion kontusion tbi trauma "
    "aneurysm aneurysma aneurysms anevrysme aneurisma avm cavernoma kavernom sclerosis sclerose "
    "sklerose esclerosis sclerosi mslesion mslesions plaque plaques demyelination demyelinating "
    "demyelinisierung lacune lacunes lacunar lakune abscess abszess abces absceso encephalitis "
    "enzephalitis gliosis gliose heterotopia nawm nagm contralateral kontralateral "
    "calcification calcifications verkalkung shunt catheter electrode electrodes clip stent"
)
# What is irradiated holds the tumour and a margin.
_TARGET = _words(
    "ptv ptvs ctv ctvs itv prv isodose isodosis isodosen dose dosis zielvolumen ptvp ptvn ctvp "
    "ctvn ptvs sib"
)
_GENERIC = _words(
    "lesion lesions lasion lasionen lesione lesiones lesioni laesion laesies laesie enhancing"
)
"""These are of a tumour, unless a word says where another kind lies: `white matter lesion`."""
_WHITE = (_words("white matter"), _words("marklager"), _words("wm"), _words("ms"))
# ... or of the brain, its parts, the face, an organ at risk of radiotherapy, or anything else
# that is no tumour.
_HEAD = _words(
    # brain and head
    "brain brains bet hdbet synthstrip ss skull schadel parenchyma gehirn hirn cerveau "
    "cerebro cervello encefalo crane craneo head kopf tete cabeza face gesicht defacing "
    "deface defaced aseg aparc synthseg tissue gewebe gm wm csf liquor lcr bmask vista nvseg "
    "vessel vessels gefasse gefass artery arteries arterie arterien vein veins venen vene "
    "carotid carotis vascular vaisseaux vasos vasi sinus sinuses midline "
    "mittellinie extraction skullstrip skullstripping stripped "
    "skullstripped bone knochen os hueso body external externe skin haut peau piel scalp "
    "airway "
    # parts of the brain
    "ventricle ventricles ventricular ventrikel ventricule ventricules ventriculo ventriculos "
    "ventricolo ventricoli cerebellum cerebellar kleinhirn cervelet cerebelo cervelletto "
    "cerebrum cerebral grosshirn hippocampus hippocampi hippocampal hippokampus hippocampe "
    "hipocampo ippocampo amygdala amygdale thalamus thalami talamo hypothalamus caudate "
    "caudatus putamen pallidum striatum accumbens basalganglia basalganglien ganglia insula "
    "cortex kortex cortical corteza gyrus sulcus white gray grey matter substanz marklager "
    "corpus callosum balken fornix brainstem stem hirnstamm stammhirn tronc tronco midbrain "
    "mesencephalon pons medulla oblongata pineal epiphyse hemisphere hemispheres hemisphare "
    "hemisphere lobe lobes choroid falx tentorium dura meninges dentate capsule peduncle "
    "atlas parcellation hyperintensity tract tracts fasciculus arcuate uncinate bundle "
    "eloquent motor speech language activation "
    # organs at risk
    "oar oars risikoorgan risikoorgane organ organs organes organos anatomy structures chiasm "
    "chiasma opticchiasm quiasma optic opticus opticnerve sehnerv sehnerven optique nerve "
    "nerv nerf nervio nervo lens lenses linse linsen cristallin cristalino cristallino eye "
    "eyes auge augen oeil yeux ojo ojos occhio occhi eyeball globe retina cornea orbit orbits "
    "orbita lacrimal lacrimalgland cochlea cochleae schnecke cochlee coclea ear inner parotid "
    "parotids parotis parotide parotidas submandibular pituitary hypophysis hypophyse "
    "hipofisis ipofisi sella spinal spinalcord cord ruckenmark moelle mandible mandibula "
    "unterkiefer larynx esophagus oesophagus oral tongue temporomandibular tmj temporallobe "
    "augapfel ohrspeicheldruse innenohr mittelohr ohr sehbahn parotida oreille glandula bulbo "
    "bulbe hirnrinde rinde druse tranendruse nasal nase nez nariz "
    # what was cut out, and marks of other things
    "resection resektion resezione reseccion background artifact artefact valid fov foreground "
    "landmarks couch bolus vertebra vertebrae fiducial fiducials"
)
_CJK: dict[str, set[str]] = dict.fromkeys(
    ("肿瘤", "瘤", "病灶", "腫瘍", "水肿", "强化灶", "坏死"), _LESION
)
_PARTIAL_CJK = (
    "水肿",
    "水腫",
    "浮腫",
    "坏死",
    "壊死",
    "强化",
    "造影",
    "核心",
    "囊",
    "부종",
    "괴사",
)
_CJK |= dict.fromkeys(("术腔", "残腔", "切除腔", "术后腔", "空腔"), _CAVITY)
_CJK |= dict.fromkeys(("掩膜", "分割", "勾画", "标注", "标签", "掩码", "轮廓", "靶区"), _MASK)
_CJK |= dict.fromkeys(
    ("脑", "視", "视", "晶", "眼", "耳", "腮", "垂体", "海马", "丘脑", "白质", "灰质", "颅骨")
    + ("头", "脊髓", "下颌", "危及器官", "海馬", "水晶体", "蜗"),
    _HEAD,
)
_CJK |= dict.fromkeys(
    (
        "出血",
        "梗死",
        "梗塞",
        "卒中",
        "脱髓鞘",
        "硬化",
        "白质高信号",
        "白质病变",
        "血肿",
        "动脉瘤",
        "微出血",
        "白質病変",
    )
    + ("高信号灶", "缺血", "钙化", "軟化灶", "软化灶"),
    _OTHER,
)
_CJK |= dict.fromkeys(("종양", "병변", "교종", "전이", "病変"), _LESION)
_CJK |= dict.fromkeys(
    ("마스크", "라벨", "분할", "マスク", "ラベル", "セグメンテーション", "輪郭"), _MASK
)
_CJK |= dict.fromkeys(("뇌실", "뇌간", "시신경", "해마", "두개", "脳", "頭"), _HEAD)
_CJK |= dict.fromkeys(("출혈", "경색", "뇌졸중", "백질", "出血", "梗塞"), _OTHER)
_CJK |= dict.fromkeys(("절제강", "摘出腔"), _CAVITY)
_CJK |= dict.fromkeys(("计划靶区", "临床靶区", "計画標的"), _TARGET)
_WHOSE = re.compile(
    r"(?<![^\W_])(?:gbm|glioma|gliom|glioblastoma|tumou?r|lesion|metastas[ie]s|meningioma|roi"
    r"|dipg|brain|head|kopf|hirn)s?(?:[-_ ]?(?=[^\W_]*\d{2})|[-_ ](?=[a-z]\d))",
    re.IGNORECASE,
)
"""A word that begins a number of a patient: GBM-011, Tumor_007, glioma P12."""
_KNOWN = _MASK | _LESION | _WEAK | _HEAD | _CAVITY | _OTHER | _TARGET
_PARTS = _KNOWN - _WEAK - _words("ss os gt stem cord inner oral ear avc avm prv sib tbi cmb clip")


def words_of(name: str) -> set[str]:
    """The words of a name, with glued ones such as ``tumorMask`` and ``brainmask`` taken apart."""
    plain = unicodedata.normalize("NFD", name)
    plain = "".join(letter for letter in plain if not "\u0300" <= letter <= "\u036f")
    plain = unicodedata.normalize("NFC", plain)  # puts the syllables of Korean together again
    plain = re.sub(r"([a-z])([A-Z])", r"\1 \2", plain).lower().replace("hd-bet", "hdbet")
    plain = plain.replace("ß", "ss").replace("œ", "oe")
    plain = re.sub(r"\bground[^0-9a-z]?truth", "groundtruth", plain.replace("_", " "))
    plain = re.sub(r"\bpre[- ]?re[sz]e[ck]\w*", " ", plain)  # before surgery, no cavity
    words: set[str] = set()
    for word in re.split(r"[^0-9a-z\u30a0-\u30ff\u4e00-\u9fff\uac00-\ud7a3]+", plain):
        word = re.sub(r"(?<=\D)\d+$", "", word)  # noqa: PLW2901
        words.update(_cut(word))
        words.update(piece for piece in _CJK if piece in word)

    return words - {""}


def _cut(word: str) -> tuple[str, ...]:
    """The words of a compound, such as ``tumorkontur`` or ``tumorvolumen``; known words first."""
    if word in _KNOWN:
        return (word,)

    cuts = [(word[:at], word[at:]) for at in range(3, len(word) - 2)]
    cuts += [(one, other[1:]) for one, other in cuts if other[0] in "sn" and len(other) > 3]
    both = next((cut for cut in cuts if cut[0] in _PARTS and cut[1] in _PARTS), None)
    long = sorted(cuts, key=lambda cut: -len(cut[0]))
    first = next((cut for cut in long if len(cut[0]) > 4 and cut[0] in _PARTS), None)
    last = next((cut for cut in cuts if len(cut[1]) > 4 and cut[1] in _PARTS), None)

    return both or first or last or (word,)


def kind_of(name: str, folder: str = "") -> str:
    """`TUMOUR`, `BRAIN` or nothing, by the name of a file and of its folder.

    A word that only begins the patient's number tells nothing: the tumour of ``GBM-011_brainstem``.

    Example:
        >>> [kind_of(n) for n in ("p1_seg", "p1_brain_mask", "p1_tumorMask", "p1_t1", "p1_bet")]
        ['mask', 'brain mask', 'mask', '', '']
        >>> kind_of("BRATS_001", "labelsTr"), kind_of("UCSF_brain_parenchyma_segmentation")
        ('mask', 'brain mask')
        >>> kind_of("Tumorkontur"), kind_of("GBM-011_ventricles_seg")
        ('mask', 'brain mask')
        >>> kind_of("scan", "brainmask"), kind_of("scan", "SEG"), kind_of("seg", "brain")
        ('brain mask', 'mask', 'mask')
    """
    words, above = words_of(_own(name, folder)), words_of(re.sub(r"T[rs]$", "", folder))
    if not (_has(words | above, _MASK) or "gtv" in words):
        return ""
    return _of_what(words | _lent(words, folder), above)


def _lent(words: set[str], folder: str) -> set[str]:
    """What the folder says of a mask whose own words do not say of what it is.

    ``brainmask/scan``, ``PTV/mask``; but ``brain/seg`` is of the tumour in the brain, and a number
    behind the word makes it the patient's: ``Brain7``.
    """
    if words & (_KNOWN - _MASK) or any(_CJK.get(word, _MASK) is not _MASK for word in words):
        return set()
    if re.search(r"\d", re.sub(r"^\d{1,2}[-_. ]+", "", folder)):
        return set()

    above = words_of(folder)
    return above if why_not(above) or _has(above, _MASK) or not _has(words, _MASK) else set()


def _of_what(words: set[str], above: set[str]) -> str:
    """Of what a mask is, whose words or whose folder's words say that it is one."""
    if why_not(words):
        return BRAIN
    if _has(words, _LESION):
        return TUMOUR

    return BRAIN if _has(words, _HEAD) or above & _ORGANS else TUMOUR


def why_not(words: set[str]) -> str:
    """What the words of a mask say it shows, if that is no tumour even beside the tumour's word.

    Example:
        >>> [why_not(words_of(n))[:16] for n in ("WMH_lesion", "GTV", "PTV_60", "tumor_cavity")]
        ['another finding ', '', 'a target volume ', 'a resection cavi']
    """
    if _has(words, _TARGET):
        return "a target volume of radiotherapy, which holds a margin around the tumour"
    if _has(words, _OTHER):
        return "another finding than the tumour"
    if _has(words, _CAVITY):
        return "a resection cavity"

    only = words & _LESION <= _GENERIC and not any(_CJK.get(word) is _LESION for word in words)
    if only and words & _GENERIC and any(white <= words for white in _WHITE):
        return "another finding than the tumour"

    return ""


_ORGANS = _words("oar oars risikoorgan risikoorgane organ organs organes anatomy 危及器官")
"""Words of folders with masks of what is no tumour."""


def _own(name: str, folder: str = "") -> str:
    """A file's name without the patient's."""
    said = set(re.split(r"[\W_]+", folder.lower()))
    if (re.search(r"\d", folder) or not said & _KNOWN) and name.lower().startswith(folder.lower()):
        name = name[len(folder) :] or name
    return _WHOSE.sub("", name)


def may_be(name: str, folder: str = "") -> str:
    """Of what a file whose name does not say mask is one, if its values are a mask's."""
    words = words_of(_own(name, folder))
    words |= _lent(words, folder)
    if why_not(words):
        return BRAIN
    if _has(words, _LESION):
        return TUMOUR
    if _has(words, _HEAD) or words_of(folder) & _ORGANS:
        return BRAIN

    lone = not any(map(str.isalpha, words)) and _has(words_of(name), _LESION)  # lesion_02.nii.gz
    return TUMOUR if words & _WEAK or lone else ""


def certain(name: str) -> bool:
    """Whether the name says mask in so many words."""
    return _has(words_of(name), _MASK)


def shows_head(name: str) -> bool:
    """Whether a name speaks of the brain or a part of it: an image, or a mask of it."""
    words = words_of(name)
    return bool(why_not(words)) or _has(words, _HEAD)


def shows_tumour(name: str) -> bool:
    """Whether a name speaks of the tumour or a part of it, and of no other finding."""
    words = words_of(name)
    return _has(words, _LESION) and not why_not(words)


def _has(words: set[str], table: set[str]) -> bool:
    return bool(words & table) or any(_CJK.get(word) is table for word in words)


def rank(name: str) -> tuple[int, int, int, str]:
    """Which of several masks of one image stands first.

    The whole tumour before a part of it, such as its oedema; drawn by hand before automatic; one
    that names the tumour before one that only says mask.

    Example:
        >>> sorted(["edema_seg", "z_tumor_seg", "seg", "tumor_core_seg"], key=rank)
        ['z_tumor_seg', 'seg', 'edema_seg', 'tumor_core_seg']
    """
    words = words_of(name)
    part = bool(words & _PARTIAL) or any(word in name for word in _PARTIAL_CJK)
    automatic = bool(words & {"automated", "automatic", "auto", "approx", "pred", "prediction"})
    return int(part), int(automatic), int(not _has(words, _LESION)), name


def holds_labels(path: Path, limit: int = MAX_BYTES) -> bool:
    """Whether a NIfTI file holds few whole numbers, so that it can be a mask."""
    try:
        array = read_volume(path, limit, 0).array
    except DataError:
        return True  # the reader says later what is wrong

    sample = array.reshape(-1)[:: max(array.size // 200_000, 1)]
    if len(np.unique(sample)) > FEW:
        return False

    return array.dtype.kind in "iub" or bool((array == np.rint(array)).all())


def two_valued(array: Shaped[np.ndarray, "*shape"]) -> bool:
    """Whether an array is that of a mask whatever it is called: two whole numbers, one of them 0.

    No scanner makes such an image.
    """
    high = array.max()
    low = array == 0
    return bool(high > 0 and high == np.rint(high) and low.any() and (low | (array == high)).all())


def holds_shares(array: Shaped[np.ndarray, "*shape"]) -> bool:
    """Whether values are shares from 0 to 1, as a network gives them before it decides."""
    if array.dtype.kind != "f" or array.min() < 0 or array.max() > 1:
        return False
    return not bool((array == np.rint(array)).all())


@dataclass(frozen=True)
class Scheme:
    """What the labels of a mask mean; 0: not there."""

    core: int = 1
    """Necrotic or non-enhancing core."""
    edema: int = 2
    """Oedema, or the FLAIR abnormality around the tumour."""
    enhancing: int = 4
    cavity: int = 0
    """Resection cavity."""

    @property
    def labels(self) -> set[int]:
        """All labels that can occur."""
        return {self.core, self.edema, self.enhancing, self.cavity} - {0}


SCHEMES = {
    "brats2017": Scheme(),  # 2017 to 2021, UPENN-GBM, UCSF-PDGM
    "brats2023": Scheme(enhancing=3, cavity=4),  # from 2023; the cavity from 2024
}
_NEW = re.compile(
    r"brats[-_]?(?:gli|met|men|ssa|goat|syn)[-_]?(?:rt[-_])?\d|mu[-_]glioma[-_]post|ucsd[-_]ptgbm"
    r"|ucsf[-_]alptdg|patientid_\d{4}_timepoint_\d{1,2}_tumormask",
    re.IGNORECASE,
)
_PEDIATRIC = re.compile(r"brats[-_]ped[-_]", re.IGNORECASE)
_OLDEST = re.compile(r"brats[-_]?(?:20)?1[2-6](?!\d)|vsd\.brain", re.IGNORECASE)
"""Until 2016 label 3 was the non-enhancing and 4 the enhancing tumour."""
_OLD = re.compile(r"brats(?:17|18|19|20|2017|2018|2019|2020|2021)[-_]|upenn-gbm|ucsf-pdgm", re.I)


def named(path: Path) -> bool:
    """Whether the name of a mask says which year's labels it has."""
    return any(words.search(path.name) for words in (_NEW, _OLD, _PEDIATRIC))


def scheme_of(labels: set[int], name: str = "", wanted: str = "auto") -> Scheme:
    """What the labels of a BraTS mask mean, by the set of labels and the name of the file.

    Label 4 was the enhancing tumour until 2021 and is the resection cavity since 2024; label 3 is
    the enhancing tumour since 2023. A mask with 3 and 4 and no telling name may also be one of
    2015 (3: core, 4: enhancing), so it is refused.

    Args:
        labels: that occur in the mask, or in all masks of the cohort.
        name: of the file.
        wanted: a name of `SCHEMES` that the user gave, or ``auto``.

    Raises:
        ValuesError: if the labels are not those of a scheme, or two schemes fit.

    Example:
        >>> scheme_of({0, 1, 2, 4}).enhancing, scheme_of({0, 1, 2, 3}).enhancing
        (4, 3)
        >>> scheme_of({0, 1, 2, 4}, "BraTS-GLI-02405-100-seg.nii.gz").cavity
        4
    """
    found = labels - {0}
    if wanted != "auto":
        scheme = SCHEMES[wanted]
    elif _PEDIATRIC.search(name):
        raise ValuesError(
            "the labels of paediatric BraTS masks mean other things in 2023 than from 2024 on; say "
            "which with --mask-labels"
        )
    elif _NEW.search(name):
        scheme = SCHEMES["brats2023"]
    elif _OLD.search(name) or 3 not in found:
        scheme = SCHEMES["brats2017"]
    elif 4 not in found:
        scheme = SCHEMES["brats2023"]
    else:
        raise ValuesError(
            "the mask holds the labels 3 and 4, and nothing says whether 4 is the enhancing tumour "
            "(until 2021) or the resection cavity (from 2024); say which with --mask-labels"
        )

    if unknown := found - scheme.labels:
        raise ValuesError(
            f"the mask holds the label {min(unknown)}, which is none of "
            f"{', '.join(map(str, sorted(scheme.labels)))}"
        )

    return scheme


def labels_of(mask: Volume) -> set[int]:
    """The labels of a mask.

    Raises:
        ValuesError: if its values are not whole numbers.
    """
    values = np.unique(mask.array)
    if (values != np.rint(values)).any():
        raise ValuesError("the values of the mask are not whole numbers")
    return {int(value) for value in values}


def tumour(labels: Shaped[np.ndarray, "z y x"], name: str) -> Bool[np.ndarray, "z y x"]:
    """The voxels of the finding: every label but a resection cavity; see `cavity_of`."""
    return (labels > 0) & (labels != (cavity_of(labels, name) or 0))


CAVITY = 4
"""The label of a resection cavity in BraTS from 2024 on."""


def cavity_of(labels: Shaped[np.ndarray, "z y x"], name: str) -> int | None:
    """The label of the resection cavity; None: there is none, by the name and the labels.

    Until 2021 label 4 was the enhancing tumour and there was no 3; where both stand in one mask 3
    is the enhancing tumour. Masks of until 2016 and paediatric ones have both and no cavity.

    Args:
        labels: of the mask.
        name: of the file, or the end of its path.

    Example:
        >>> [cavity_of(np.array([[[0, 1, *more]]]), "P1_seg") for more in ([2, 4], [3, 4], [4, 5])]
        [None, 4, None]
    """
    if _NEW.search(name):
        return CAVITY
    if any(words.search(name) for words in (_OLD, _OLDEST, _PEDIATRIC)):
        return None

    found = set(np.unique(labels).tolist()) - {0}
    return CAVITY if {3, CAVITY} <= found <= {1, 2, 3, CAVITY} else None


def doubt_of(labels: Shaped[np.ndarray, "z y x"], name: str) -> str:
    """What was assumed of label 4 where no name says it; ``""`` where nothing had to be."""
    known = (_NEW, _OLD, _OLDEST, _PEDIATRIC)
    if any(words.search(name) for words in known) or not (labels == CAVITY).any():
        return ""

    found = set(np.unique(labels).tolist()) - {0}
    if cavity_of(labels, name):
        return "label 4 is taken for a resection cavity, since label 3 is there as well"
    if found <= {1, 2, CAVITY} and found != {CAVITY}:
        return "label 4 is taken for the enhancing tumour, since label 3 is not there"

    return ""


MOST_OF_HEAD, LARGEST_TUMOUR = 0.5, 600.0
"""A share of the image that is not background, and millilitres: a brain has about 1,200."""


HEAD = "a mask of most of the head says nothing of a tumour"


def is_whole(mask: Volume, image: Volume | None) -> bool:
    """Whether a mask covers so much of the head that it is one of the brain or its tissues.

    Args:
        mask: of the finding, see `tumour`.
        image: that it belongs to; None: judge by millilitres alone.
    """
    labelled = mask.array > 0
    if labelled.sum() * abs(np.linalg.det(mask.affine[:3, :3])) / 1000 > LARGEST_TUMOUR:
        return True
    if image is None or labelled.shape != image.array.shape:
        return False

    head = image.array > image.array.min()
    return bool(labelled.sum() > MOST_OF_HEAD * max(head.sum(), 1))
