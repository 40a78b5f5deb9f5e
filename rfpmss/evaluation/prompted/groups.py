"""Hospitals, scanners, sexes and ages: the groups in which figures are told apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rfpmss.data.study import Study

HOSPITAL = "hospital"
NAMES = {
    HOSPITAL: ("hospital", "site", "institution", "center", "centre", "医院"),
    "scanner": ("scanner", "manufacturer", "vendor", "machine", "设备"),
    "sex": ("sex", "gender", "性别"),
    "age": ("age", "年龄"),
}
"""Groups that are looked for, and the labels that say them; case does not matter."""

AGES = (18, 40, 60, 80)
"""Years at which a group of age begins."""

MOST = 24
"""Values of a label that are groups."""

MISSING = "not known"

_AGE = re.compile(r"0*(\d{1,3})(?:\.\d+)?\s*y?", re.IGNORECASE)


class TooManyError(ValueError):
    """A label has so many values that they are no groups."""


def labels_of(studies: Sequence[Study], asked: Sequence[str]) -> dict[str, str]:
    """Name of each group and the label that says it.

    Args:
        studies: of all hospitals.
        asked: labels that are wanted besides.

    Raises:
        ValueError: if no study has a label that is asked for.
    """
    there = dict.fromkeys(name for study in studies for name, _ in study.labels)
    known = {name.lower(): name for name in there}
    found = {}
    for group, names in NAMES.items():
        label = next((known[name] for name in names if name in known), None)
        if label is not None:
            found[group] = label

    for name in asked:
        if name not in there:
            raise ValueError(
                f"--by must name labels of the cohort ({', '.join(sorted(there)) or 'it has none'})"
                f", got {name}"
            )
        if name not in found.values():
            found[name] = name

    return found


def values_of(studies: Sequence[Study], label: str) -> np.ndarray:
    """The group of each study by a label; ages are put together.

    Raises:
        TooManyError: if there are more values than groups make sense for.
    """
    raw = [study.label(label) or "" for study in studies]
    if label.lower() in NAMES["age"]:
        return np.array([_age(value) for value in raw])
    if len(set(raw)) > MOST:
        raise TooManyError(f"label {label} has {len(set(raw))} values, more than {MOST}")

    return np.array([value or MISSING for value in raw])


def _age(value: str) -> str:
    """The band of an age in years.

    Example:
        >>> _age("067Y"), _age("17.5"), _age("80"), _age("?")
        ('60-79', '0-17', '80 and over', 'not known')
    """
    found = _AGE.fullmatch(value.strip())
    if not found:
        return MISSING

    years = int(found[1])
    if years >= AGES[-1]:
        return f"{AGES[-1]} and over"
    start = max(edge for edge in (0, *AGES) if edge <= years)
    return f"{start}-{next(edge for edge in AGES if edge > years) - 1}"
