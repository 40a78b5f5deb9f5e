"""The ceiling of retrieval: what a reader who sees every shown finding without error would reach.

Two modalities of a patient show partly the same findings. The oracle counts, for every gallery
item, the shared findings on which it agrees with the query; the right patient agrees on all of
them, so it ties exactly with the patients no perfect reading could tell apart, and the ties are
averaged. This is the ranking by posterior probability when nothing but the shared findings is
used. Patients with the very same findings (``phantom.duplicate_reports``) tie in the same way, and
neither
another scanner nor a faint tumour hides a finding: a harder cohort's ceiling is computed alike. In
the phantom's second edition a report states the size with an error, or none: a size that may be the
image's counts as agreed, none as half, and the rare wrong side as what it is. Findings shown by
only one of the two that are correlated with the other's (through the grade) could in principle
break some of these ties; that is left out of the oracle, so a score slightly above the ceiling is
possible and no error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from rfpmss.data.phantom.narrative import ERROR, SIZE

Findings = Mapping[str, object]
"""What one modality of one patient shows: name of the finding -> value."""


def agreement(queries: Sequence[Findings], gallery: Sequence[Findings]) -> Float[np.ndarray, "n g"]:
    """Number of shared findings on which query and gallery item agree.

    Example:
        >>> seen = [{"side": "left", "grade": 4}, {"side": "right", "grade": 4}]
        >>> agreement(seen, [{"side": "left"}, {"side": "right", "size": 20}]).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    names = sorted({n for row in queries for n in row} & {n for row in gallery for n in row})
    total = np.zeros((len(queries), len(gallery)))
    for name in names:
        if name == SIZE:
            total += _compatible(*([row.get(name) for row in side] for side in (queries, gallery)))
            continue
        codes: dict[object, int] = {}
        left = [codes.setdefault(row.get(name), len(codes)) for row in queries]
        right = [codes.setdefault(row.get(name), len(codes)) for row in gallery]
        total += np.asarray(left)[:, None] == np.asarray(right)[None, :]

    return total


def _compatible(left: Sequence[object], right: Sequence[object]) -> Float[np.ndarray, "n g"]:
    """1 where a stated size may be that of the images, 1/2 where one of them has none, else 0."""
    a, b = (np.array([np.nan if v is None else v for v in side], float) for side in (left, right))
    apart = np.abs(a[:, None] - b[None])
    return np.where(np.isnan(apart), 0.5, apart <= ERROR + 0.5)


def label_ceiling(
    labels: Sequence[Mapping[str, str]], truth: Sequence[Mapping[str, str]]
) -> dict[str, float]:
    """Accuracy that a reader without error reaches against each label, right or wrong.

    Args:
        labels: of each patient, as the manifest has them (``phantom.label_noise``).
        truth: of the same patients.

    Example:
        >>> label_ceiling([{"grade": "4"}, {"grade": "2"}], [{"grade": "4"}, {"grade": "3"}])
        {'grade': 0.5}
    """
    right: dict[str, list[bool]] = {}
    for given, true in zip(labels, truth, strict=True):
        for name in given.keys() & true.keys():
            right.setdefault(name, []).append(given[name] == true[name])

    return {name: sum(hits) / len(hits) for name, hits in sorted(right.items())}
