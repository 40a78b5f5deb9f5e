"""Splits by patient: seeded, balanced over what patients have, stable when patients are added."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rfpmss.data.errors import LeakageError
from rfpmss.data.study import Study

SPLITS = ("train", "val", "test")


def split(
    studies: Sequence[Study],
    shares: tuple[float, float, float],
    seed: int,
    known: Mapping[str, str] | None = None,
    together: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """A split for every patient.

    Patients are ordered by what they have (modalities, report), by the labels that classes can be
    learned from (`Study.stratum`), and then by a hash, and the splits are dealt along that order:
    each gets its share of every kind. At least one patient with a report trains, where there is
    one.

    Args:
        studies: all studies; several of one patient count once.
        shares: of train, val and test, as `rfpmss.data.cohort.options.check_shares` wants them.
        seed: of the hash.
        known: splits that are settled already, by patient.
        together: for patients who share an image, or may be one person, the one that stands for
            them all; they get one split.

    Raises:
        LeakageError: if patients of ``together`` have different splits already.

    Example:
        >>> people = [Study(study_id=str(i), patient_id=str(i), report="x") for i in range(10)]
        >>> dealt = split(people, (0.8, 0.1, 0.1), seed=0)
        >>> sorted(dealt.values()).count("train"), set(dealt.values()) == set(SPLITS)
        (8, True)
    """
    head = dict(together or {})
    patients = {study.patient_id for study in studies}
    has = _kinds([replace(s, patient_id=head.get(s.patient_id, s.patient_id)) for s in studies])
    result = _settled({p: s for p, s in (known or {}).items() if p in patients}, head)
    settled = frozenset(result)
    strata = {head.get(study.patient_id, study.patient_id): study.stratum for study in studies}
    order = sorted(
        (p for p in has if p not in result), key=lambda p: (has[p], strata[p], _hash(seed, p))
    )
    total = {name: share * len(has) for name, share in zip(SPLITS, shares, strict=True)}
    total |= _at_least_one(total, len(has))
    counts = {name: list(result.values()).count(name) for name in SPLITS}
    need = {name: max(total[name] - counts[name], 0.0) for name in SPLITS}
    whole = sum(need.values()) or 1.0
    given = dict.fromkeys(SPLITS, 0)
    for number, patient in enumerate(order, start=1):
        # The split that lags most behind its share of the patients dealt so far.
        name = max(SPLITS, key=lambda s: need[s] / whole * number - given[s])
        given[name] += 1
        result[patient] = name

    result = _one_report_trains(result, has, settled)
    return {patient: result[head.get(patient, patient)] for patient in sorted(patients)}


def unscored(reports: Mapping[str, int]) -> str:
    """What cannot be scored for want of held-out reports; empty where all can, or none exist.

    Args:
        reports: how many studies of each split have one.

    Example:
        >>> unscored({"train": 4, "test": 1})
        'one of the 5 reports is held out (split test): retrieval with reports needs two'
        >>> unscored({"train": 4, "test": 2})
        ''
    """
    total, held = sum(reports.values()), reports.get("test", 0)
    if not total or held > 1:
        return ""

    start = f"{'none' if not held else 'one'} of the {total} reports is held out (split test): "
    if not held:
        return start + "no retrieval with reports and no generated report can be scored"

    return start + "retrieval with reports needs two"


RAISE = (
    "give more patients with reports, or remove splits.csv and deal a larger share to test "
    "(--splits 0.6 0.1 0.3)"
)
"""The way out of it."""


def _settled(known: Mapping[str, str], head: Mapping[str, str]) -> dict[str, str]:
    result: dict[str, str] = {}
    for patient, name in known.items():
        if result.setdefault(head.get(patient, patient), name) != name:
            raise LeakageError(
                "two patients of different splits share an image or may be one person; remove "
                "splits.csv to deal anew"
            )
    return result


def _at_least_one(total: dict[str, float], patients: int) -> dict[str, float]:
    """From four patients on, a wanted test split is never empty."""
    if patients < 4:
        return {"train": float(patients), "val": 0.0, "test": 0.0}
    return {"test": max(total["test"], 1.0)} if total["test"] > 0 else {}


def _kinds(studies: Sequence[Study]) -> dict[str, tuple[bool, int]]:
    """Per patient: lacks a report, and minus the number of views; the richest sort first."""
    result: dict[str, tuple[bool, int]] = {}
    for study in studies:
        views = sum(view is not None for view in study.views)
        mine = (study.report is None, -views)
        result[study.patient_id] = min(mine, result.get(study.patient_id, mine))

    return result


def _one_report_trains(
    result: dict[str, str], has: dict[str, tuple[bool, int]], settled: frozenset[str]
) -> dict[str, str]:
    told = [patient for patient in result if not has[patient][0]]
    if told and not any(result[patient] == "train" for patient in told):
        mine = next((p for p in told if p not in settled), None)
        other = next((p for p in result if result[p] == "train" and p not in settled), None)
        if mine and other:
            result[mine], result[other] = "train", result[mine]
        elif mine:
            result[mine] = "train"

    return result


def _hash(seed: int, patient: str) -> str:
    return hashlib.sha256(f"{seed}\0{patient}".encode()).hexdigest()
