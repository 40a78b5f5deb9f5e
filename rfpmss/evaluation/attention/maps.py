"""Where the image encoder looks: rollout, gradient-weighted rollout, the gaze of each word."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rfpmss.config import VIEWS
from rfpmss.model.block import Attention, Block
from rfpmss.model.vit import MedicalImageTransformer

if TYPE_CHECKING:
    from rfpmss.data.batches.batch import Batch
    from rfpmss.model.image import ImageEncoder
    from rfpmss.model.rfpmss import RFPMSS

T = TypeVar("T")
Target = Callable[["Batch"], Tensor]
"""A number per study whose gradient weighs the attention."""


def rollout(maps: Float[Tensor, "depth r t t"]) -> Float[Tensor, "r p"]:
    """How much each patch reaches the aggregation embedding through all blocks.

    Half of every token is taken as passed on by the residual connection; the matrices of the blocks
    are multiplied (attention rollout, Abnar and Zuidema, 2020).
    """
    flow = torch.eye(maps.shape[-1]).to(maps)
    for attention in maps:
        flow = (0.5 * attention + 0.5 * torch.eye(maps.shape[-1]).to(maps)) @ flow
    return flow[:, 0, 1:]


def gradient_rollout(
    weights: Sequence[Float[Tensor, "r h t t"]], gradients: Sequence[Float[Tensor, "r h t t"]]
) -> Float[Tensor, "r p"]:
    """Relevance of each patch: attention times its gradient, positive part, heads averaged.

    The relevance of a block adds to that of the blocks before it (Chefer et al., 2021).
    """
    relevance = torch.eye(weights[0].shape[-1]).to(weights[0])
    for attention, gradient in zip(weights, gradients, strict=True):
        update = (attention * gradient).clamp(min=0).mean(dim=1)
        relevance = relevance + update @ relevance

    return relevance[..., 0, 1:]


def layer_maps(image: ImageEncoder, batch: Batch, view: str) -> Float[Tensor, "depth b t t"]:
    """Attention of every block on a view's image that ``focus`` names, heads averaged."""
    with torch.no_grad():
        weights, _, rows = _weights(
            image, view, lambda: image(batch.images, batch.present, batch.shown), batch
        )
    return torch.stack([_focused(part[rows], batch, view, image).mean(dim=1) for part in weights])


def gradient_map(
    image: ImageEncoder, batch: Batch, view: str, target: Target
) -> Float[Tensor, "b p"]:
    """Gradient-weighted rollout on a view's image that ``focus`` names, for ``target(batch)``."""
    with torch.enable_grad():
        weights, values, rows = _weights(image, view, lambda: target(batch), batch)
        gradients = torch.autograd.grad(values.sum(), weights, allow_unused=True)

    kept = [
        (w[rows].detach(), torch.zeros_like(w[rows]) if g is None else g[rows])
        for w, g in zip(weights, gradients, strict=True)
    ]
    found = gradient_rollout([w for w, _ in kept], [g for _, g in kept])
    return _focused(found, batch, view, image)


def gaze(model: RFPMSS, batch: Batch) -> Float[Tensor, "b w v p"]:
    """How much each word of the report looks at each patch of each view; last decoder layer.

    Word ``w`` is the one predicted from the tokens before it (teacher forcing), so row ``w`` is
    the gaze that chose token ``w + 1``.
    """
    look = cast("Attention", model.decoder.stack[-1].look)
    with torch.no_grad(), recorded([look]) as found:
        model(batch.images, batch.present, batch.tokens, batch.shown)

    weights = found[0].mean(dim=1)
    if len(weights) != len(batch.tokens):
        raise ValueError("gaze needs model.fusion=view or token, got none")

    return rearrange(weights, "b w (v p) -> b w v p", v=len(VIEWS))


@contextmanager
def recorded(layers: Sequence[Attention]) -> Iterator[list[Tensor]]:
    """Yield a list that fills with the attention weights of ``layers``, in the order of use.

    Inside, attention is written out instead of fused, so that the weights have gradients; the
    result is the same up to rounding.
    """
    found: list[Tensor] = []
    for layer in layers:
        layer._mix = _written_out(layer, found)  # type: ignore[method-assign]

    try:
        yield found
    finally:
        for layer in layers:
            del layer._mix


def enlarge(maps: Float[Tensor, "n p"], size: int) -> Float[np.ndarray, "n size size"]:
    """Patch maps as pictures of ``size`` pixels, each scaled to [0, 1]."""
    side = round(maps.shape[1] ** 0.5)
    grid = rearrange(maps, "n (i j) -> n 1 i j", i=side)
    large = F.interpolate(grid, size=(size, size), mode="bilinear", align_corners=False)[:, 0]
    low, high = large.amin(dim=(1, 2), keepdim=True), large.amax(dim=(1, 2), keepdim=True)

    return ((large - low) / (high - low).clamp(min=1e-12)).detach().cpu().numpy()


def _written_out(layer: Attention, found: list[Tensor]) -> Callable[..., Tensor]:
    def mix(
        query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, causal: bool = False
    ) -> Tensor:
        scores = query @ key.mT / key.shape[-1] ** 0.5
        if causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(later, -torch.inf)

        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)

        weights = scores.softmax(dim=-1)
        if torch.is_grad_enabled() and not weights.requires_grad:
            weights.requires_grad_()

        found.append(weights)
        return layer.out(rearrange(weights @ value, "b h t e -> b t (h e)"))

    return mix


def _weights(
    image: ImageEncoder,
    view: str,
    run: Callable[[], T],
    batch: Batch,
) -> tuple[list[Tensor], T, slice]:
    """Weights of the blocks that serve ``view``, what ``run`` returned, and the view's rows."""
    trunk = cast("nn.Module", image.trunk(view))
    if not isinstance(trunk, MedicalImageTransformer):
        raise ValueError("attention needs model.backbone=vit, got a residual network")

    blocks = cast("list[Block]", list(trunk.blocks))
    with recorded([block.attention for block in blocks]) as found:
        value = run()

    rows = slice(None)
    if image.trunk(VIEWS[0]) is image.trunk(VIEWS[-1]):  # one trunk: the views lie one by one
        counts = [
            len(images) * image.count(name, images.shape[1])
            for name, images in zip(VIEWS, batch.images, strict=True)
        ]
        start = sum(counts[: VIEWS.index(view)])
        rows = slice(start, start + counts[VIEWS.index(view)])

    return found, value, rows


def _focused(found: Tensor, batch: Batch, view: str, image: ImageEncoder) -> Tensor:
    """The rows of each study's image that ``focus`` names, of those of all its images."""
    stored = batch.images[VIEWS.index(view)].shape[1]
    slices = image.count(view, stored)
    if batch.focus is None:
        return found[::slices]

    rows = torch.arange(len(batch.present), device=found.device) * slices
    return found[rows + batch.focus[:, VIEWS.index(view)] * slices // stored]
