"""Every stored image of one view of one study, with where the encoder looks and the boxes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float32
from torch import Tensor

from rfpmss.config import CHANNELS, MODALITIES, VIEWS
from rfpmss.data.batches.batch import Batch
from rfpmss.evaluation.attention.boxes import Box, box_of
from rfpmss.evaluation.attention.maps import enlarge, layer_maps, rollout
from rfpmss.evaluation.page.pictures import CHANNELS_SHOWN, data_uri, heat_uri, shown_pixels
from rfpmss.evaluation.page.tables import read_rows, trusted
from rfpmss.model.vit import MedicalImageTransformer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.data.batches.batch import Cohort
    from rfpmss.model.rfpmss import RFPMSS

METHOD = "pretrained, rollout"
"""The row of ``attention.json`` whose threshold draws the predicted box."""

Sides = tuple[float, float, float, float]
"""x, y, width, height."""


@dataclass(frozen=True)
class Slice:
    """One image."""

    uri: str
    """``data:`` URI of the pixels."""
    heat: str
    """``data:`` URI of the attention; empty where the encoder has none."""
    reference: Sides | None
    """Of the finding, where it is known."""
    predicted: Sides | None
    """Of the attention above the threshold chosen on validation patients."""


@dataclass(frozen=True)
class Scan:
    """All stored images of one channel of a view, the best first."""

    view: str
    caption: str
    size: int
    """Side, pixels."""
    slices: list[Slice]


def scans(
    model: RFPMSS,
    cohort: Cohort,
    tokenizer: Tokenizer,
    index: int,
    view: str,
    threshold: float | None = None,
) -> list[Scan]:
    """One scan per shown channel; none where the study lacks the view.

    Args:
        model: gives the attention, rolled out over its blocks image by image.
        cohort: holds the study.
        tokenizer: of the run.
        index: of the study.
        view: ct, mri or pathology.
        threshold: of the predicted box; None draws none.
    """
    images = stored(cohort, tokenizer, index, view)
    if images is None:
        return []
    heats = None
    if _attends(model):
        maps = rollout(layer_maps(model.image, alone(images, view), view))
        heats = enlarge(maps, images.shape[-1])
    boxes = [reference(cohort, index, view, number) for number in range(len(images))]
    drawn = None if heats is None else [heat_uri(heat) for heat in heats]
    marked = [
        box_of(heat, threshold) if threshold is not None else None
        for heat in (() if heats is None else heats)
    ]
    return [
        Scan(
            view,
            caption,
            images.shape[-1],
            [
                Slice(
                    data_uri(shown_pixels(image.numpy(), channel)),
                    drawn[number] if drawn else "",
                    sides(boxes[number]),
                    sides(marked[number]) if marked else None,
                )
                for number, image in enumerate(images)
            ],
        )
        for caption, channel in CHANNELS_SHOWN[view]
    ]


def stored(
    cohort: Cohort, tokenizer: Tokenizer, index: int, view: str
) -> Float32[Tensor, "s c h w"] | None:
    """All images that the cohort has of a view, cut as the encoder sees them."""
    place = cohort.places[index][VIEWS.index(view)]
    if place is None:
        return None
    sizes = {"slices": int(place.shard.shape[1]), "series": 1}
    whole = replace(cohort, config=cohort.config.model_copy(update=sizes))
    return whole.batch([index], tokenizer, augment=None).images[VIEWS.index(view)][0]


def alone(images: Float32[Tensor, "s c h w"], view: str) -> Batch:
    """The images as studies that have nothing else."""
    count, size = len(images), images.shape[-1]
    shown = [
        images[:, None] if name == view else torch.zeros(count, 1, CHANNELS[name], size, size)
        for name in VIEWS
    ]
    present = torch.tensor([name == view for name in MODALITIES]).expand(count, -1)
    tokens = torch.zeros(count, 2, dtype=torch.int64)
    ct, mri, pathology = shown
    return Batch((ct, mri, pathology), present, tokens, torch.arange(count))


def reference(cohort: Cohort, index: int, view: str, number: int) -> Box | None:
    """The finding's box on one of the stored images, as `Cohort.box` gives it for the first."""
    place = cohort.places[index][VIEWS.index(view)]
    if place is None:
        return None
    from_there = replace(place, boxes=place.boxes[number:])
    row = tuple(from_there if name == view else None for name in VIEWS)
    return replace(cohort, places=(row,)).box(0, view)


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
