"""Findings read out of a report's text, so that a generated report is judged by what it says.

Overlap of words hides the wrong side: "left" and "right" differ by one word in forty. The reader
here knows the wording of short English glioma reports; what a text does not state is left out.
"""

from __future__ import annotations

import re

SIDES = ("left", "right")
LOBES = ("frontal", "parietal", "temporal", "occipital")
AMOUNTS = ("mild", "moderate", "marked")
DENSITIES = ("low", "moderate", "high")

_NO = re.compile(r"\b(no|not|without|absent|negative)\b", re.IGNORECASE)


def read_findings(text: str) -> dict[str, str]:
    """Name and value of every finding that the text states.

    ``size`` is in millimetres; ``necrosis``, ``hemorrhage``, ``calcification`` and
    ``proliferation`` are ``yes`` or ``no``.

    Example:
        >>> found = read_findings("A 24 mm mass in the left frontal lobe. No necrosis.")
        >>> found["side"], found["size"], found["necrosis"]
        ('left', '24', 'no')
    """
    found: dict[str, str] = {}
    for sentence in re.split(r"(?<=[.!?;])\s+", text.lower()):
        for name, value in _of_sentence(sentence).items():
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
    if size := re.search(r"\b(\d+(?:\.\d+)?)\s*mm\b", sentence):
        found["size"] = size[1]
    if grade := re.search(r"\bgrade\s*(\d)\b", sentence):
        found["grade"] = grade[1]
    if "edema" in sentence and (word := _one_of(sentence, AMOUNTS)):
        found["edema"] = word
    if re.search(r"cellularity|cell density", sentence) and (word := _one_of(sentence, DENSITIES)):
        found["density"] = word
    if re.search(r"\benhance", sentence) or "enhancement" in sentence:
        found["enhancement"] = _enhancement(sentence)
    for name, pattern in (
        ("necrosis", r"necro"),
        ("hemorrhage", r"hemorrhage|\bblood\b"),
        ("calcification", r"calcif"),
        ("proliferation", r"vascular proliferation|vessels proliferate"),
    ):
        if re.search(pattern, sentence):
            found[name] = "no" if _NO.search(sentence) else "yes"
    return found


def _enhancement(sentence: str) -> str:
    if _NO.search(sentence):
        return "none"
    if re.search(r"\b(ring|rim)\b", sentence):
        return "ring"
    return "patchy"


def _one_of(sentence: str, words: tuple[str, ...]) -> str | None:
    found = re.search(rf"\b({'|'.join(words)})\b", sentence)
    return found[1] if found else None
