"""Attention against reference boxes, always beside controls that know nothing (Fig. 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from rfpmss.config import CHANNELS, MODALITIES, VIEWS
from rfpmss.evaluation.attention.boxes import (
    Box,
    best_threshold,
    box_of,
    centre_heat,
    covered,
    overlaps,
    points_inside,
)
from rfpmss.evaluation.attention.maps import enlarge, gaze, gradient_map, layer_maps, rollout
from rfpmss.evaluation.statistics import interval

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.data.batches.batch import Batch, Cohort
    from rfpmss.evaluation.labels.probe import Classifier
    from rfpmss.model.image import ImageEncoder
    from rfpmss.model.rfpmss import RFPMSS

VALIDATION = 64
"""Most studies on which layers, channels and thresholds are chosen."""

SIZE = 32
"""Studies at a time."""

Heats = Float[np.ndarray, "n h w"]
Maps = dict[str, list[np.ndarray]]
"""Name of a variant (a layer, a channel) -> pictures of all studies, batch by batch."""


@dataclass(frozen=True)
class Grounded:
    """One method on held-out studies."""

    method: str
    variant: str
    """The layer or channel chosen on validation studies, if there was a choice."""
    control: bool
    """It has learned nothing of these images."""
    threshold: float
    validation_iou: float
    heats: Heats
    boxes: list[Box]
    ious: Float[np.ndarray, " n"]
    pointing: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Cases:
    """Studies of one view with a reference box."""

    validation: Int[np.ndarray, " v"]
    test: Int[np.ndarray, " t"]
    patients: list[str]
    """Of the test studies."""
    references: dict[int, Box]


def cases(cohort: Cohort, view: str, limit: int | None = None) -> Cases | None:
    """Validation (split val, or the last of train) and test studies with a box of ``view``.

    Of each at most ``limit``; of validation at most ``VALIDATION``.
    """
    references = {}
    for i in range(len(cohort.studies)):
        box = cohort.box(i, view)
        if box is not None:
            references[i] = box

    splits = {
        name: np.array([i for i in cohort.indices(name) if i in references], np.int64)
        for name in ("train", "val", "test")
    }
    validation = splits["val"] if len(splits["val"]) else splits["train"][-VALIDATION:]
    if not len(validation) or not len(splits["test"]):
        return None

    test = splits["test"][:limit]
    patients = [cohort.studies[i].patient_id for i in test]
    return Cases(validation[: min(limit or VALIDATION, VALIDATION)], test, patients, references)


def ground(
    model: RFPMSS,
    fresh: RFPMSS,
    tuned: Classifier | None,
    cohort: Cohort,
    tokenizer: Tokenizer,
    view: str,
    limit: int | None = None,
) -> list[Grounded]:
    """Every method and control on ``view``; none if no study has a box.

    Args:
        model: pretrained.
        fresh: the same network with random weights, the first control.
        tuned: classifier after fine-tuning, if there is one.
        cohort: holds the studies.
        tokenizer: of the run.
        view: ct, mri or pathology.
        limit: most studies of each split.
    """
    chosen = cases(cohort, view, limit)
    if chosen is None:
        return []

    methods: list[tuple[str, bool, Callable[[Batch], dict[str, Tensor]]]] = [
        ("pretrained, one layer", False, lambda batch: _layers(model.image, batch, view)),
        ("pretrained, rollout", False, lambda batch: _rollout(model.image, batch, view)),
        ("pretrained, gradient", False, lambda batch: _gradient(model, batch, view)),
        ("pretrained, decoder", False, lambda batch: _decoder(model, batch, view)),
        ("random weights, one layer", True, lambda batch: _layers(fresh.image, batch, view)),
        ("random weights, rollout", True, lambda batch: _rollout(fresh.image, batch, view)),
        ("image intensity", True, lambda batch: _intensity(batch, view)),
        ("centre of the image", True, lambda batch: _centre(batch, view)),
    ]
    if tuned is not None:
        image = tuned.image
        methods[4:4] = [
            ("fine-tuned, one layer", False, lambda batch: _layers(image, batch, view)),
            ("fine-tuned, rollout", False, lambda batch: _rollout(image, batch, view)),
            ("fine-tuned, gradient", False, lambda batch: _answer(tuned, batch, view)),
        ]

    return [
        _grounded(name, maker, cohort, tokenizer, chosen, control=control)
        for name, control, maker in methods
    ]


def ceiling(chosen: Cases, size: int, patch: int) -> float:
    """Mean overlap of maps that know exactly which share of every patch the reference box fills.

    They become boxes as all maps do, at a threshold chosen on validation studies: what patches of
    that size allow.
    """

    def heats(indices: Int[np.ndarray, " n"]) -> tuple[Heats, list[Box]]:
        boxes = [chosen.references[int(i)] for i in indices]
        maps = np.stack([covered(box, size, patch) for box in boxes])
        return enlarge(torch.from_numpy(maps).float(), size), boxes

    threshold, _ = best_threshold(*heats(chosen.validation))
    return float(overlaps(*heats(chosen.test), threshold).mean())


def table(
    found: list[Grounded], patients: list[str], view: str, most: float
) -> list[dict[str, object]]:
    """A row per method: overlap, share above one half, pointing; intervals are by patient.

    Args:
        found: of `ground`.
        patients: of the test studies.
        view: ct, mri or pathology.
        most: of `ceiling`.
    """
    rows: list[dict[str, object]] = []
    for item in found:
        low, high = interval(item.ious, np.array(patients))
        pointing_low, pointing_high = interval(item.pointing, np.array(patients))
        rows.append(
            {
                **{"view": view, "method": item.method, "variant": item.variant},
                **{"control": item.control, "n": len(item.ious), "threshold": item.threshold},
                **{"iou": float(item.ious.mean()), "iou_low": low, "iou_high": high},
                "ceiling": most,
                "above_half": float((item.ious > 0.5).mean()),
                "pointing": float(item.pointing.mean()),
                **{"pointing_low": pointing_low, "pointing_high": pointing_high},
                "validation_iou": item.validation_iou,
            }
        )

    return rows


def by_study(
    found: list[Grounded], names: list[str], references: list[Box], view: str
) -> list[dict[str, object]]:
    """What `table` sums up: boxes, overlap and pointing of every method, study by study."""
    boxes = [[float(side) for side in box] for box in references]
    shared = {"view": view, "studies": names, "references": boxes}
    return [
        {
            **shared,
            **{"method": item.method, "variant": item.variant, "threshold": item.threshold},
            **{"boxes": [list(box) for box in item.boxes], "iou": item.ious.tolist()},
            "pointing": item.pointing.tolist(),
        }
        for item in found
    ]


def _grounded(
    name: str,
    maker: Callable[[Batch], dict[str, Tensor]],
    cohort: Cohort,
    tokenizer: Tokenizer,
    chosen: Cases,
    *,
    control: bool,
) -> Grounded:
    validation = _heats(maker, cohort, tokenizer, chosen.validation)
    held = [chosen.references[int(i)] for i in chosen.validation]
    tried = {variant: best_threshold(heats, held) for variant, heats in validation.items()}
    variant = max(tried, key=lambda key: tried[key][1])
    threshold, reached = tried[variant]
    heats = _heats(maker, cohort, tokenizer, chosen.test)[variant]
    references = [chosen.references[int(i)] for i in chosen.test]

    return Grounded(
        method=name,
        variant=variant,
        control=control,
        threshold=threshold,
        validation_iou=reached,
        heats=heats,
        boxes=[box_of(heat, threshold) for heat in heats],
        ious=overlaps(heats, references, threshold),
        pointing=np.array(
            [points_inside(heat, box) for heat, box in zip(heats, references, strict=True)]
        ),
    )


def _heats(
    maker: Callable[[Batch], dict[str, Tensor]],
    cohort: Cohort,
    tokenizer: Tokenizer,
    indices: Int[np.ndarray, " n"],
) -> dict[str, Heats]:
    parts: Maps = {}
    for batch in _batches(cohort, tokenizer, indices):
        for variant, maps in maker(batch).items():
            parts.setdefault(variant, []).append(enlarge(maps, cohort.config.size))
    return {variant: np.concatenate(found) for variant, found in parts.items()}


def _batches(
    cohort: Cohort, tokenizer: Tokenizer, indices: Int[np.ndarray, " n"]
) -> Iterator[Batch]:
    for start in range(0, len(indices), SIZE):
        yield cohort.batch(indices[start : start + SIZE], tokenizer, augment=None)


def _layers(image: ImageEncoder, batch: Batch, view: str) -> dict[str, Tensor]:
    return {
        f"layer {i + 1}": part[:, 0, 1:] for i, part in enumerate(layer_maps(image, batch, view))
    }


def _rollout(image: ImageEncoder, batch: Batch, view: str) -> dict[str, Tensor]:
    return {"": rollout(layer_maps(image, batch, view))}


def _gradient(model: RFPMSS, batch: Batch, view: str) -> dict[str, Tensor]:
    """What raises the similarity of study and report; for image-only studies, of the views."""

    def target(batch: Batch) -> Tensor:
        found = model.encode(batch.images, batch.present, batch.tokens, batch.shown)
        return F.cosine_similarity(found.study, found.report.detach())

    return {"": gradient_map(model.image, batch, view, target)}


def _answer(tuned: Classifier, batch: Batch, view: str) -> dict[str, Tensor]:
    """What raises the answer that the classifier gives."""

    def target(batch: Batch) -> Tensor:
        logit = tuned(batch)
        return logit * logit.detach().sign()

    return {"": gradient_map(tuned.image, batch, view, target)}


def _decoder(model: RFPMSS, batch: Batch, view: str) -> dict[str, Tensor]:
    """Mean gaze of all words of the report, padding left out."""
    looks = gaze(model, batch)[:, :, VIEWS.index(view)]
    words = (batch.tokens[:, 1 : looks.shape[1] + 1] != 0).to(looks)
    told = batch.present[:, MODALITIES.index("report"), None].to(looks)
    weights = words * told + (1 - told)

    return {"": (looks * weights[..., None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)}


def _intensity(batch: Batch, view: str) -> dict[str, Tensor]:
    """Brightness of each channel, and darkness, at full resolution."""
    images = batch.image(VIEWS.index(view))
    found = {}
    for channel in range(CHANNELS[view]):
        flat = images[:, channel].flatten(1)
        found |= {f"bright, channel {channel + 1}": flat, f"dark, channel {channel + 1}": -flat}

    return found


def _centre(batch: Batch, view: str) -> dict[str, Tensor]:
    images = batch.images[VIEWS.index(view)]
    heat = torch.from_numpy(centre_heat(images.shape[-1])).float()
    return {"": heat.flatten().expand(len(images), -1)}
