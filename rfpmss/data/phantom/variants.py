"""What makes a generated cohort harder: another hospital, faint tumours, twins, wrong labels.

All draws here come from generators of their own, so that a cohort with such an option differs from
the plain one in nothing else, and any patient can still be made alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from rfpmss.config import PhantomConfig
from rfpmss.data.phantom import latents as known
from rfpmss.data.phantom.latents import Latents

_FLAGS, _LABELS, _WORDS = 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What is special about one patient."""

    other: bool
    """Scanned and stained in the other hospital."""
    isointense: bool
    """The tumour is as bright as the brain around it."""
    origin: int
    """The patient whose findings and report this one has; usually the patient's own number."""
    language: str
    """Of the report: ``english`` or ``chinese``."""


def variant(config: PhantomConfig, index: int) -> Variant:
    """What is special about patient ``index``.

    Example:
        >>> variant(PhantomConfig(), 7)
        Variant(other=False, isointense=False, origin=7, language='english')
    """
    origin = _origin(config, index)
    chinese = {"english": 0.0, "mixed": 0.5, "chinese": 1.0}[config.language]
    held_out = config.hospital == "held-out" and index >= config.train
    return Variant(
        other=config.hospital == "other" or held_out,
        isointense=bool(_flags(config, index)[0] < config.isointense),
        origin=origin,
        language="chinese" if _flags(config, origin)[1] < chinese else "english",
    )


def _origin(config: PhantomConfig, index: int) -> int:
    """Follow the copies back to the patient who was the first of them."""
    while True:
        _, _, chance, place = _flags(config, index)
        if index == 0 or chance >= config.duplicate_reports:
            return index
        index = int(place * index)


def _flags(config: PhantomConfig, index: int) -> np.ndarray:
    return np.random.default_rng([config.seed, index, _FLAGS]).random(4)


def words(config: PhantomConfig, index: int) -> np.random.Generator:
    """The generator of the wording in another language than English."""
    return np.random.default_rng([config.seed, index, _WORDS])


def labels(latents: Latents, config: PhantomConfig, index: int) -> tuple[tuple[str, str], ...]:
    """The findings as the manifest has them: wrong ones with probability ``label_noise`` each.

    A wrong label is one of the other values, each equally likely; a wrong size is any size.

    Example:
        >>> truth = known.draw(np.random.default_rng(0))
        >>> labels(truth, PhantomConfig(), 0) == truth.labels()
        True
    """
    rng = np.random.default_rng([config.seed, index, _LABELS])
    wrong = {}
    for field in fields(Latents):
        true = getattr(latents, field.name)
        chance, place = rng.random(2)
        if chance >= config.label_noise:
            continue
        if field.name == "size":
            spread = known.LARGEST - known.SMALLEST
            wrong["size"] = float(np.round(known.SMALLEST + place * spread, 3))
            continue
        others = [value for value in VALUES.get(field.name, (False, True)) if value != true]
        wrong[field.name] = others[int(place * len(others))]
    return Latents.from_dict(latents.as_dict() | wrong).labels()


VALUES: dict[str, tuple[object, ...]] = {
    "grade": known.GRADES,
    "side": known.SIDES,
    "lobe": known.LOBES,
    "enhancement": known.ENHANCEMENTS,
    "edema": known.EDEMAS,
    "density": known.DENSITIES,
}
"""All values of each finding that is no yes or no."""
