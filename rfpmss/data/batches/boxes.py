"""Boxes about the head to tensors: the sequences that enter, and what refuses another cohort."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from rfpmss.config import CHANNELS, SEQUENCES, VIEWS, DataConfig
from rfpmss.data.batches import augment as augmenting
from rfpmss.data.batches.augment import Draw
from rfpmss.data.batches.values import decode, scale
from rfpmss.data.cohort.places import Place
from rfpmss.data.errors import TextError

OTHER = SEQUENCES.index("other")
FOUR = 4
"""Sequences that pages show, the first of ``SEQUENCES``."""


def read_boxes(
    places: Sequence[Place | None], view: int, config: DataConfig, drawn: Draw | None
) -> tuple[Float32[Tensor, "b z c h w"], Int64[Tensor, "b q"]]:
    """The boxes of a view as slices from below; and which sequences its channels are.

    Args:
        places: of each study, or None where the view is absent.
        view: of CT or MRI.
        config: sizes.
        drawn: one draw a study; None: the middle of the box, all sequences by their names.

    Returns:
        Slices, whose channels are the windows of CT or the sequences of MRI, zero where a study has
        fewer; and the place of each sequence in ``SEQUENCES``, -1 where there is none.
    """
    mri = VIEWS[view] == "mri"
    entering = [_entering(place, config, drawn, row) for row, place in enumerate(places)]
    width = max(1, *map(len, entering)) if mri and entering else 1
    shown = torch.full((len(places), width), -1)
    shape = (len(places), config.depth, *([width] if mri else [CHANNELS[VIEWS[view]]]))
    if not any(places):
        return torch.zeros(()).expand(*shape, config.size, config.size), shown

    result = augmenting.empty(*shape, config.size, config.size)
    for row, place in enumerate(places):
        if place is None:
            result[row].zero_()
            continue

        pick = None if drawn is None else float(drawn.pick[row])
        chosen = entering[row] if mri else [(place, -1)]
        read = [one.shard[one.row, _run(one, config, pick)] for one, _ in chosen]
        codes = torch.from_numpy(np.concatenate(read, axis=1))[None]
        into, channels = result[row, :, : codes.shape[2]], codes.shape[2]
        result[row, :, channels:].zero_()
        shown[row, : len(chosen)] = torch.tensor([name for _, name in chosen])
        if drawn is None:
            into.copy_(augmenting.centre(decode(codes, view), config)[0])
        else:
            gains = scale(view, channels)
            augmenting.apply(codes, config, drawn.of([row]), view, gains, into=[into])

    return result, shown


def _run(place: Place, config: DataConfig, pick: float | None) -> slice:
    chosen = place.slices(config.depth, pick)
    return slice(chosen.start, chosen.stop)


def _entering(
    place: Place | None, config: DataConfig, drawn: Draw | None, row: int
) -> list[tuple[Place, int]]:
    """The sequences that enter, each with the name it enters by; of a study that has any, one."""
    if place is None:
        return []
    if drawn is None:
        return [(one, one.sequence) for one in place.all]

    out, unnamed = drawn.sequences[row, : len(place.all)].T
    kept = out >= config.drop
    kept[out.argmax()] = True
    return [
        (one, OTHER if unnamed[number] < config.unname else one.sequence)
        for number, one in enumerate(place.all)
        if kept[number]
    ]


def four(
    images: Float[Tensor, "b q h w"], shown: Int64[Tensor, "b q"]
) -> Float[Tensor, "b four h w"]:
    """A slice of each study as the four channels of a page; an absent sequence is zero.

    Of several sequences of a name their mean; where none is one of the four, the mean of all stands
    for each, as an image whose sequence is not known does.
    """
    share = shown[:, None] == torch.arange(FOUR, device=shown.device)[:, None]
    unknown = ~share.any(dim=(1, 2))
    share = share | ((shown >= 0)[:, None] & unknown[:, None, None])
    weight = share.to(images)
    weight = weight / weight.sum(dim=2, keepdim=True).clamp(min=1)
    return torch.einsum("bcq,bqhw->bchw", weight, images)


def require_kind(places: Iterable[Sequence[Place | None]], config: DataConfig) -> None:
    """Refuse boxes where slices are read, slices where boxes are, and boxes of other sizes.

    Raises:
        TextError: with the rule and the way out.
    """
    for row in places:
        for view, place in zip(VIEWS, row, strict=True):
            if place is not None and view != "pathology":
                for one in place.all:
                    _require_one(one, view, config)
                _require_few(place)


def _require_one(place: Place, view: str, config: DataConfig) -> None:
    if not config.depth:
        if place.voxel:
            raise TextError(
                f"data.depth=0 reads slices, got a cohort whose {view} are boxes",
                "train with --data.depth, as --preset tiny3d does, or prepare without --depth",
            )
        return

    if not place.voxel:
        raise TextError(
            f"data.depth={config.depth} reads boxes, got a cohort whose {view} are slices",
            "prepare it with --depth and --spacing, or train with --data.depth 0",
        )

    spacing, voxel = ("x".join(f"{mm:g}" for mm in s) for s in (config.spacing, place.voxel))
    if not np.allclose(config.spacing, place.voxel, rtol=1e-3):
        raise TextError(
            f"boxes must have voxels of data.spacing={spacing} mm, got {voxel} mm for {view}",
            f"train with --data.spacing {voxel.replace('x', ' ')}, or prepare with --spacing "
            f"{spacing.replace('x', ' ')}",
        )

    depth, side = place.shard.shape[1], place.shard.shape[4]
    if depth < config.depth or side != config.resize:
        raise TextError(
            f"boxes must have at least data.depth={config.depth} slices of data.resize="
            f"{config.resize} pixels, got {depth} of {side} for {view}",
            f"train with --data.resize {side}, a --data.size of at most that and a --data.depth "
            f"of at most {depth}, or prepare with another --size and --depth",
        )


def _require_few(place: Place) -> None:
    if len(place.all) > augmenting.SEQUENCES:
        raise TextError(
            f"a study must have at most {augmenting.SEQUENCES} sequences, got {len(place.all)}",
            "leave some out with files: in the mapping file",
        )
