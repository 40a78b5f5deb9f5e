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

TUMOUR, BRAIN = "mask", "brain mask"
"""Views of masks: of the tumour, and of the brain or its tissues."""
FEW = 64
"""A mask has at most so many labels."""

# A file is a mask of something ...
_MASK = {
    *("seg", "segm", "segs", "segmentation", "segmentations", "segment", "mask", "masks", "label"),
    *("labels", "labelmap", "dseg", "probseg", "annotation", "annotations", "contour", "contours"),
    *("maske", "masken", "masque", "mascara", "segmentierung", "autoseg", "groundtruth", "gt"),
}
# ... of the tumour; these words alone do not make a mask: "tumor_007_t1.nii.gz" is an image ...
_LESION = {
    *(
        "tumor",
        "tumors",
        "tumour",
        "tumours",
        "tumeur",
        "lesion",
        "lesions",
        "lasion",
        "gtv",
        "ctv",
    ),
    *("roi", "rois", "glioma", "gliom", "edema", "oedema", "odem", "necrosis", "nekrose", "cavity"),
    *("enhancing", "metastasis", "metastases", "gbm", "neoplasm", "neoplasms"),
}
# ... or of the brain, its parts, or the face.
_HEAD = {
    *(
        "brain",
        "brains",
        "bet",
        "hdbet",
        "skull",
        "schadel",
        "parenchyma",
        "gehirn",
        "hirn",
        "cerveau",
        "cerebro",
    ),
    *("head", "face", "defacing", "deface", "defaced", "aseg", "aparc", "synthseg", "tissue"),
    *("gm", "wm", "csf", "ventricle", "ventricles", "cerebellum", "bmask", "vista", "nvseg"),
    *("hippocampus", "vessel", "vessels", "midline", "stripped", "skullstripped", "bone"),
}
_CJK = {"肿瘤": _LESION, "瘤": _LESION, "病灶": _LESION, "脑": _HEAD, "掩膜": _MASK, "分割": _MASK}
_CJK |= {"勾画": _MASK, "标注": _MASK, "标签": _MASK, "掩码": _MASK, "腫瘍": _LESION}


def words_of(name: str) -> set[str]:
    """The words of a name, with glued ones such as ``tumorMask`` and ``brainmask`` taken apart."""
    plain = unicodedata.normalize("NFD", name)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    plain = re.sub(r"([a-z])([A-Z])", r"\1 \2", plain).lower().replace("hd-bet", "hdbet")
    words: set[str] = set()
    for word in re.split(r"[^0-9a-z\u4e00-\u9fff]+", plain):
        word = re.sub(r"(?<=\D)\d+$", "", word)  # noqa: PLW2901
        cuts = ((word[:at], word[at:]) for at in range(3, len(word) - 2))
        known = _MASK | _LESION | _HEAD
        words.update(next((c for c in cuts if c[0] in known and c[1] in known), (word,)))
        words.update(piece for piece in _CJK if piece in word)
    return words - {""}


def kind_of(name: str, folder: str = "") -> str:
    """`TUMOUR`, `BRAIN` or nothing, by the name of a file and of its folder.

    Example:
        >>> [kind_of(n) for n in ("p1_seg", "p1_brain_mask", "p1_tumorMask", "p1_t1", "p1_bet")]
        ['mask', 'brain mask', 'mask', '', '']
        >>> kind_of("BRATS_001", "labelsTr"), kind_of("UCSF_brain_parenchyma_segmentation")
        ('mask', 'brain mask')
    """
    words = words_of(name)
    mask = bool(_has(words, _MASK)) or bool(_has(words_of(re.sub(r"T[rs]$", "", folder)), _MASK))
    if not mask and "gtv" not in words:
        return ""
    if _has(words, _LESION):
        return TUMOUR
    return BRAIN if _has(words, _HEAD) else TUMOUR


def may_be(name: str) -> bool:
    """Whether a name says tumour but not mask, so that the values must tell."""
    words = words_of(name)
    return bool(_has(words, _LESION)) and not _has(words, _MASK)


def certain(name: str) -> bool:
    """Whether the name says mask in so many words."""
    return bool(_has(words_of(name), _MASK))


def shows_head(name: str) -> bool:
    """Whether a name speaks of the brain or a part of it: an image, or a mask of it."""
    return bool(_has(words_of(name), _HEAD))


def shows_tumour(name: str) -> bool:
    """Whether a name speaks of the tumour or a part of it."""
    return bool(_has(words_of(name), _LESION))


def _has(words: set[str], table: set[str]) -> bool:
    return bool(words & table) or any(_CJK.get(word) is table for word in words)


def rank(name: str) -> tuple[int, int, str]:
    """Which of several masks of one image stands first.

    Drawn by hand before automatic; one that names the tumour before one that only says mask.
    """
    words = words_of(name)
    automatic = bool(words & {"automated", "automatic", "auto", "approx", "pred", "prediction"})
    return int(automatic), int(not _has(words, _LESION)), name


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
_NEW = re.compile(r"brats[-_](?:gli|met|men|ssa|goat|syn)[-_]\d", re.IGNORECASE)
_PEDIATRIC = re.compile(r"brats[-_]ped[-_]", re.IGNORECASE)
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
    """The voxels of the finding: every label but a resection cavity that the name tells of."""
    found = labels > 0
    return found & (labels != 4) if _NEW.search(name) else found


MOST_OF_HEAD, LARGEST_TUMOUR = 0.5, 600.0
"""A share of the image that is not background, and millilitres: a brain has about 1,200."""


def is_whole(mask: Volume, image: Volume) -> bool:
    """Whether a mask covers so much of the head that it is one of the brain or its tissues.

    Args:
        mask: of the finding, see `tumour`.
        image: that it belongs to.
    """
    labelled = mask.array > 0
    if labelled.sum() * abs(np.linalg.det(mask.affine[:3, :3])) / 1000 > LARGEST_TUMOUR:
        return True
    if labelled.shape != image.array.shape:
        return False
    head = image.array > image.array.min()
    return bool(labelled.sum() > MOST_OF_HEAD * max(head.sum(), 1))
