"""What makes a generated cohort harder: another hospital, faint tumours, twins, wrong labels.

All draws here come from generators of their own, so that a cohort with such an option differs from
the plain one in nothing else, and any patient can still be made alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import UInt8

from rfpmss.config import VIEWS, PhantomConfig
from rfpmss.data.phantom import latents as known
from rfpmss.data.phantom.anatomy import NOTHING, Head, Marks
from rfpmss.data.phantom.latents import Latents
from rfpmss.data.phantom.narrative import Stated
from rfpmss.data.phantom.pose import STRAIGHT, Pose
from rfpmss.data.phantom.slide import Deposit
from rfpmss.data.phantom.untold import Untold, in_ct, in_mri, in_slide

_FLAGS, _LABELS, _WORDS = 1, 2, 3
_SECOND, _STATED, _TEXT, _DRAWN = 4, 5, 6, 7


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


@dataclass(frozen=True, kw_only=True)
class Second:
    """What a patient has in the second edition alone; of the first: lies straight, tells all."""

    poses: Mapping[str, Pose]
    """Of CT and MRI."""
    stated: Stated | None = None
    """What the long report says."""
    untold: Untold | None = None
    """What no report says."""
    entropy: tuple[int, ...] = ()
    """Of the generators of text and of what is drawn."""

    @property
    def words(self) -> np.random.Generator:
        """The generator of the report's wording; twins share it."""
        return np.random.default_rng([*self.entropy[:2], _TEXT])

    def marks(self, modality: str, head: Head, label: UInt8[np.ndarray, "z y x"]) -> Marks:
        """What CT or MRI shows besides."""
        if self.untold is None:
            return NOTHING

        shown = {"ct": in_ct, "mri": in_mri}[modality]
        at = self.poses[modality].grid((label.shape[2], label.shape[1], label.shape[0]))
        return shown(self.untold, head, label, at, self._drawing(modality))

    def deposits(self) -> list[Deposit]:
        """What the slide shows besides."""
        return [] if self.untold is None else in_slide(self.untold, self._drawing("pathology"))

    def _drawing(self, modality: str) -> np.random.Generator:
        return np.random.default_rng([*self.entropy[2:], _DRAWN, VIEWS.index(modality)])


def second(config: PhantomConfig, index: int, latents: Latents) -> Second:
    """What patient ``index`` has in the second edition alone."""
    if config.edition == 1:
        return Second(poses={"ct": STRAIGHT, "mri": STRAIGHT})

    origin = _origin(config, index)
    rng = np.random.default_rng([config.seed, index, _SECOND])
    told = np.random.default_rng([config.seed, origin, _STATED])
    return Second(
        poses={name: Pose.draw(name, rng) for name in ("ct", "mri")},
        untold=Untold.draw(rng),
        stated=Stated.draw(latents, told, away=variant(config, origin).other),
        entropy=(config.seed, origin, config.seed, index),
    )


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
