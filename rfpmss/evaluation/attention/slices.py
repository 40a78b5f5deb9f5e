"""Every stored image of one view of one study, with where the encoder looks and the boxes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from rfpmss.config import VIEWS
from rfpmss.data.batches.boxes import four
from rfpmss.evaluation.attention.boxes import Box, box_of
from rfpmss.evaluation.attention.maps import enlarge, rollout
from rfpmss.evaluation.page.pictures import (
    TITLES,
    channels_of,
    codes,
    data_uri,
    exact_uri,
    heat_uri,
    sides_of,
    stained,
    thumbnails,
    window_of,
)
from rfpmss.evaluation.page.tables import read_rows, trusted
from rfpmss.model.vit import MedicalImageTransformer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.data.batches.batch import Cohort
    from rfpmss.model.image import ImageEncoder
    from rfpmss.model.rfpmss import RFPMSS

METHOD = "pretrained, rollout"
"""The row of ``attention.json`` whose threshold draws the predicted box."""

Sides = tuple[float, float, float, float]
"""x, y, width, height."""


@dataclass(frozen=True)
class Mark:
    """What is laid over one image."""

    heat: str
    """``data:`` URI of the attention; empty where the encoder has none."""
    reference: Sides | None
    """Of the finding, where it is known."""
    predicted: Sides | None
    """Of the attention above the threshold chosen on validation patients."""


@dataclass(frozen=True)
class Channel:
    """All stored images of one channel."""

    caption: str
    uris: tuple[str, ...]
    """``data:`` URI of each image."""
    window: tuple[float, float] | None = None
    """Grey values shown as black and as white; None for colours."""


@dataclass(frozen=True)
class Stack:
    """All stored images of a view, the best first."""

    view: str
    size: int
    """Side, pixels."""
    channels: tuple[Channel, ...]
    marks: tuple[Mark, ...]
    """One for each image."""
    absent: tuple[str, ...] = ()
    """Sequences that the study does not have."""
    heights: tuple[float, ...] = ()
    """Of the images above the middle of the volume, mm, where they are known."""

    @property
    def title(self) -> str:
        """What a page calls the view."""
        return TITLES[self.view]

    @property
    def sides(self) -> tuple[str, str] | None:
        """Of the patient, at the left and the right edge."""
        return sides_of(self.view)

    @property
    def presets(self) -> bool:
        """The channels are windows of one image, to be shown one at a time."""
        return self.view == "ct"


def stack_of(
    model: RFPMSS,
    cohort: Cohort,
    tokenizer: Tokenizer,
    index: int,
    view: str,
    threshold: float | None = None,
) -> Stack | None:
    """All that is stored of a view; None where the study lacks it.

    Args:
        model: gives the attention, rolled out over its blocks image by image.
        cohort: holds the study.
        tokenizer: of the run.
        index: of the study.
        view: ct, mri or pathology.
        threshold: of the predicted box; None draws none.
    """
    found = stored(cohort, tokenizer, index, view)
    if found is None:
        return None

    images, shown = found

    heats = [None] * len(images)
    if _attends(model):
        levels = levels_of(cohort, index, view) if cohort.config.order == "levels" else None
        maps = rollout(maps_of(model.image, images, view, levels, shown))
        maps = maps.repeat_interleave(len(images) // len(maps), dim=0)  # of a slab, its slices
        heats = list(enlarge(maps, images.shape[-1]))

    place = cohort.places[index][VIEWS.index(view)]
    entering = place.slices(len(images)) if place and place.voxel else range(len(images))
    marks = tuple(
        Mark(
            "" if heat is None else heat_uri(heat),
            sides(cohort.box(index, view, number)),
            sides(None if heat is None or threshold is None else box_of(heat, threshold)),
        )
        for number, heat in zip(entering, heats, strict=True)
    )
    if shown is not None and view == "mri":
        images = four(images, shown.expand(len(images), -1))
    pixels = images.numpy()
    absent = channels_of(view, pixels).absent
    heights = tuple(place.heights[k] for k in entering) if place and place.heights else ()
    return Stack(view, images.shape[-1], channels(view, pixels), marks, absent, heights)


def channels(
    view: str, images: Float[np.ndarray, "s c h w"], *, few: bool = False
) -> tuple[Channel, ...]:
    """Pictures of the channels that a view has, or only those that stand for it.

    Sequences share a window, those of CT have one each.
    """
    shown = channels_of(view, images).shown
    shown = thumbnails(view, shown) if few else shown
    if view == "pathology":
        tiles = tuple(data_uri(stained(image)) for image in images)
        return tuple(Channel(caption, tiles) for caption, _ in shown)

    grey = {caption: codes(images[:, place]) for caption, place in shown}
    common = None if view == "ct" else window_of(np.stack(list(grey.values())))
    return tuple(
        Channel(caption, tuple(map(exact_uri, shades)), common or window_of(shades))
        for caption, shades in grey.items()
    )


def stored(
    cohort: Cohort, tokenizer: Tokenizer, index: int, view: str
) -> tuple[Float32[Tensor, "s c h w"], Int64[Tensor, "1 q"] | None] | None:
    """All images that the cohort has of a view, as they are stored, cut for the encoder.

    Of boxes the slices that enter, and which sequences their channels are.
    """
    place = cohort.places[index][VIEWS.index(view)]
    if place is None:
        return None

    sizes = {"slices": int(place.shard.shape[1]), "series": 1, "order": "best"}
    whole = replace(cohort, config=cohort.config.model_copy(update={} if place.voxel else sizes))
    batch = whole.batch([index], tokenizer, augment=None)
    return batch.images[VIEWS.index(view)][0], batch.shown


def levels_of(cohort: Cohort, index: int, view: str) -> list[int] | None:
    """Which of the heights that a model has learned is nearest to each stored image of a view."""
    place = cohort.places[index][VIEWS.index(view)]
    if place is None or not place.heights:
        return None

    ranks = np.argsort(np.argsort(place.heights, kind="stable"), kind="stable")
    return (ranks * cohort.config.slices // len(ranks)).tolist()


def maps_of(
    image: ImageEncoder,
    images: Float32[Tensor, "s c h w"],
    view: str,
    levels: list[int] | None,
    shown: Int64[Tensor, "1 q"] | None = None,
) -> Float[Tensor, "depth _ t t"]:
    """Attention of every block on each of the images, or of their slabs, heads averaged."""
    device = next(image.parameters()).device
    trunk = cast("MedicalImageTransformer", image.trunk(view))
    with torch.no_grad():
        there = torch.ones(1, dtype=torch.bool, device=device)
        shown = None if shown is None else shown.to(device)
        return trunk.attention(image.stem(view, images[None].to(device), there, levels, shown))


def threshold_of(folder: Path, view: str) -> float | None:
    """What ``attention.json`` says of `METHOD`; None where it was not measured."""
    path = folder / "attention.json"
    with trusted(path):
        rows = read_rows(path)
        found = [row for row in rows if row["view"] == view and row["method"] == METHOD]
        return float(found[0]["threshold"]) if found else None


def sides(box: Box | None) -> Sides | None:
    """Corners as x, y, width, height.

    Example:
        >>> sides((1.0, 2.0, 4.0, 6.0))
        (1.0, 2.0, 3.0, 4.0)
    """
    return None if box is None else (box[0], box[1], box[2] - box[0], box[3] - box[1])


def _attends(model: RFPMSS) -> bool:
    return isinstance(model.image.trunk(VIEWS[0]), MedicalImageTransformer)
