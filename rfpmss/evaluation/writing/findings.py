"""Findings read out of a report's text, so that a generated report is judged by what it says.

Overlap of words hides the wrong side: "left" and "right" differ by one word in forty. The readers
here know the wording of short English and Chinese glioma reports; what a text does not state is
left out. Both give the same names and values, so that languages can be compared.
"""

from __future__ import annotations

import re

SIDES = ("left", "right")
LOBES = ("frontal", "parietal", "temporal", "occipital")
AMOUNTS = ("mild", "moderate", "marked")
DENSITIES = ("low", "moderate", "high")

_HAN = re.compile(r"[\u4e00-\u9fff]")
_NONE = re.compile(r"无|未见|没有|阴性|不(?!均|规则)")
_WORDS: dict[str, dict[str, str]] = {
    "side": {"左": "left", "右": "right"},
    "lobe": {"额": "frontal", "顶": "parietal", "颞": "temporal", "枕": "occipital"},
    "edema": {
        **{"轻度": "mild", "轻微": "mild", "中度": "moderate", "中等": "moderate"},
        **{"重度": "marked", "明显": "marked", "显著": "marked"},
    },
    "density": {"低": "low", "中": "moderate", "高": "high"},
}
"""Chinese words and the values they stand for."""

_ROMAN = {"i": "1", "ii": "2", "iii": "3", "iv": "4"}
_NO = re.compile(r"\b(no|not|without|absent|negative)\b", re.IGNORECASE)


def read_findings(text: str) -> dict[str, str]:
    """Name and value of every finding that the text states.

    ``size`` is in millimetres; ``necrosis``, ``hemorrhage``, ``calcification`` and
    ``proliferation`` are ``yes`` or ``no``.

    Example:
        >>> found = read_findings("A 24 mm mass in the left frontal lobe. No necrosis.")
        >>> found["side"], found["size"], found["necrosis"]
        ('left', '24', 'no')
        >>> read_findings("肿块位于左侧额叶，直径24 mm。未见坏死。") == found
        True
    """
    found: dict[str, str] = {}
    for sentence in re.split(r"(?<=[.!?;])\s+|[。！？；]", text.lower()):
        read = _of_chinese if _HAN.search(sentence) else _of_sentence
        for name, value in read(sentence).items():
            found.setdefault(name, value)

    return found


def agree(name: str, told: str, true: str, millimetres: float = 4.0) -> bool:
    """Whether a stated value is right: equal, or for the size within ``millimetres``."""
    if name == "size":
        return abs(float(told) - float(true)) <= millimetres
    return told == true


def _of_sentence(sentence: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, values in (("side", SIDES), ("lobe", LOBES)):
        if word := _one_of(sentence, values):
            found[name] = word

    if size := re.search(r"\b(\d+(?:\.\d+)?)\s*(mm|cm)\b", sentence):
        found["size"] = _millimetres(size[1], size[2])

    if grade := re.search(r"\bgrade\s*(\d|i{1,3}|iv)\b", sentence):
        found["grade"] = _ROMAN.get(grade[1], grade[1])

    if "edema" in sentence and (word := _one_of(sentence, AMOUNTS)):
        found["edema"] = word

    if re.search(r"cellularity|cell density", sentence) and (word := _one_of(sentence, DENSITIES)):
        found["density"] = word

    if re.search(r"\benhance", sentence) or "enhancement" in sentence:
        found["enhancement"] = _enhancement(sentence)

    for name, pattern in (
        ("necrosis", r"necro"),
        ("hemorrhage", r"ha?emorrhage|\bblood\b"),
        ("calcification", r"calcif"),
        ("proliferation", r"vascular proliferation|vessels proliferate"),
    ):
        if re.search(pattern, sentence):
            found[name] = "no" if _NO.search(sentence) else "yes"

    return found


def _of_chinese(sentence: str) -> dict[str, str]:
    """The same for one Chinese sentence; words are written without blanks between them."""
    sentence = re.sub(r"(?<=[\u4e00-\u9fff]) +(?=[\u4e00-\u9fff])", "", sentence)
    found: dict[str, str] = {}
    if side := re.search(r"[左右]", sentence):
        found["side"] = _WORDS["side"][side[0]]

    if lobe := re.search(r"([额顶颞枕])叶", sentence):
        found["lobe"] = _WORDS["lobe"][lobe[1]]

    if size := re.search(r"(\d+(?:\.\d+)?)\s*(mm|毫米|cm|厘米)", sentence):
        found["size"] = _millimetres(size[1], size[2])

    if grade := re.search(r"(\d|i{1,3}|iv)\s*级", sentence):
        found["grade"] = _ROMAN.get(grade[1], grade[1])

    for name, topic in (("edema", "水肿"), ("density", "细胞密度")):
        around = rf"{'|'.join(_WORDS[name])}"
        if topic in sentence and (word := re.search(around, sentence)):
            found[name] = _WORDS[name][word[0]]

    if "强化" in sentence:
        ring = "ring" if re.search(r"环|厚壁", sentence) else "patchy"
        found["enhancement"] = "none" if _NONE.search(sentence) else ring

    for name, pattern in (
        ("necrosis", r"坏死"),
        ("hemorrhage", r"出血|积血"),
        ("calcification", r"钙化"),
        ("proliferation", r"血管增生"),
    ):
        if re.search(pattern, sentence):
            found[name] = "no" if _NONE.search(sentence) else "yes"

    return found


def _millimetres(number: str, unit: str) -> str:
    """A length as it would be said in millimetres."""
    return number if unit in ("mm", "毫米") else f"{10 * float(number):g}"


def _enhancement(sentence: str) -> str:
    if _NO.search(sentence):
        return "none"
    if re.search(r"\b(ring|rim)\b", sentence):
        return "ring"
    return "patchy"


def _one_of(sentence: str, words: tuple[str, ...]) -> str | None:
    found = re.search(rf"\b({'|'.join(words)})\b", sentence)
    return found[1] if found else None
