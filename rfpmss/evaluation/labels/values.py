"""Which label of a cohort is learned, and which of its values count as positive."""

from __future__ import annotations

import operator
import re
from collections import defaultdict
from collections.abc import Callable, Sequence

from rfpmss.data.study import Study

FEW = 2
"""Fewest patients of each kind in training, validation and test; below, no area has an error."""
CLASSES = 8
"""Most values of a label that are learned one against the others without being named."""
GRADE = "grade"
"""The label that is learned by default where a cohort has several, with its positive value."""
_WORDS = """
1 yes y true t positive pos + present mutant mutated mut methylated codeleted amplified dead
recurrence progression 是 有 阳性 突变 甲基化 ja oui si sí
"""
_POSITIVE = frozenset(_WORDS.split())
_BOUND = re.compile(r"(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    **{">=": operator.ge, "<=": operator.le},
    **{">": operator.gt, "<": operator.lt},
}


def is_positive(value: str | None, positive: Sequence[str]) -> bool:
    """Whether a value is one of ``positive``, which may be bounds of numbers.

    Example:
        >>> is_positive("4", ("4",)), is_positive("400", (">=365",)), is_positive("long", (">=3",))
        (True, True, False)
    """
    if value is None:
        return False
    return value in positive or any(_within(value, bound) for bound in positive)


def _within(value: str, bound: str) -> bool:
    found = _BOUND.fullmatch(bound.strip())
    number = _number(value)
    return bool(found) and number is not None and _COMPARE[found[1]](number, float(found[2]))


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def choose_label(studies: Sequence[Study], label: str | None) -> str:
    """The label to learn: the one that was asked for, the only one there is, or the grade.

    Raises:
        ValueError: if there is none, or several and none was named.
    """
    names = sorted({name for study in studies for name, _ in study.labels})
    if not names:
        raise ValueError(
            "the cohort has no labels to learn; give them to `rfpmss prepare hospital` with "
            "--labels TABLE, one row a patient and one column a label (docs/data/labels.md)"
        )
    if label is None and len(names) > 1 and GRADE not in names:
        raise ValueError(f"--label must name one of the labels {', '.join(names)}")

    wanted = label or (GRADE if GRADE in names else names[0])
    if wanted not in names:
        raise ValueError(f"--label must be one of {', '.join(names)}, got {wanted}")

    return wanted


def choose_positive(
    studies: Sequence[Study], label: str, positive: Sequence[str]
) -> list[tuple[str, ...]]:
    """What counts as positive, a task each: as asked, of two values one, of several each in turn.

    Raises:
        ValueError: if no value is asked for that there is, or the values are no classes.
    """
    patients: dict[str, set[str]] = defaultdict(set)
    for study in studies:
        if (value := study.label(label)) is not None:
            patients[value].add(study.patient_id)

    values = sorted(patients, key=lambda v: (_number(v) is None, _number(v) or 0.0, v))
    if positive:
        _check(label, positive, values)
        return [tuple(positive)]

    if label == GRADE and "4" in values:
        return [("4",)]
    if len(values) == 1:
        raise ValueError(f"label {label} has one value for all patients; there is nothing to learn")

    if len(values) == 2:
        named = [value for value in values if value.lower() in _POSITIVE]
        rarer = min(values, key=lambda value: (len(patients[value]), value))
        return [(named[0] if len(named) == 1 else rarer,)]

    numbers = [number for number in map(_number, values) if number is not None]
    if len(values) > CLASSES and len(numbers) == len(values):
        middle = sorted(numbers)[len(numbers) // 2]
        raise ValueError(
            f"label {label} has {len(values)} different numbers from {min(numbers):g} to "
            f"{max(numbers):g}; pass a bound as --positive '>={middle:g}'"
        )

    if len(values) > CLASSES:
        raise ValueError(
            f"label {label} has {len(values)} values; name those that count as positive with "
            "--positive"
        )

    return [(value,) for value in values]


def _check(label: str, positive: Sequence[str], values: Sequence[str]) -> None:
    absent = [p for p in positive if not any(is_positive(value, (p,)) for value in values)]
    if absent:
        shown = ", ".join(values[:CLASSES]) + (", ..." if len(values) > CLASSES else "")
        raise ValueError(f"--positive must be values of {label} ({shown}), got {absent[0]}")

    if all(is_positive(value, positive) for value in values):
        raise ValueError(f"--positive must leave some value of {label} out, got all of them")
