"""All images of all views to one vector and a grid of tokens per view."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from rfpmss.config import CHANNELS, VIEWS, ModelConfig
from rfpmss.model.features import Views
from rfpmss.model.resnet import ConvStem, ResNetTrunk
from rfpmss.model.vit import MedicalImageTransformer, PatchStem, SequenceStem, line

Images = tuple[Float[Tensor, "b _ _ _ _"], Float[Tensor, "b _ _ _ _"], Float[Tensor, "b _ _ _ _"]]
"""One tensor (b, slices, channels, height, width) per view, in the order of ``VIEWS``."""

SHARED = "shared"


class ImageEncoder(nn.Module):
    """A stem per view and a trunk for all of them, or one each.

    Args:
        config: backbone, trunk and how slices are pooled.
        size: side of an image, pixels.
        levels: slices of CT and MRI that are in order of their heights, each of which has a
            learned vector; 0: their heights are not known.
        boxes: CT and MRI are slabs of ``config.thick`` slices, MRI of any sequences.
    """

    def __init__(
        self, config: ModelConfig, size: int, levels: int = 0, *, boxes: bool = False
    ) -> None:
        super().__init__()
        convolutional = config.backbone == "resnet101"
        self.only_present = convolutional  # batch statistics must not see what does not exist
        self.stems = nn.ModuleDict({view: _stem(view, config, boxes=boxes) for view in VIEWS})
        self.trunks = nn.ModuleDict(
            {
                name: ResNetTrunk(config)
                if convolutional
                else MedicalImageTransformer(config, size)
                for name in ((SHARED,) if config.trunk == "shared" else VIEWS)
            }
        )
        self.attend = nn.Linear(config.dim, 1) if config.slice_pooling == "attention" else None
        self.largest = config.slice_pooling == "max"
        self.thick = config.thick
        width = config.resnet_width if convolutional else config.dim
        self.heights = nn.Parameter(line(levels, width)) if levels else None

    def forward(
        self,
        images: Images,
        present: Bool[Tensor, "b m"],
        shown: Int64[Tensor, "b q"] | None = None,
    ) -> Views:
        """Vector and tokens of each view, pooled over its slices; ``shown`` as `stem` has it.

        What an absent view holds never matters: it is replaced by zeros on entry and its features
        are zero on leaving.
        """
        stemmed = [
            self.stem(view, images[i], present[:, i], shown=shown) for i, view in enumerate(VIEWS)
        ]
        slices = [self.count(name, view.shape[1]) for name, view in zip(VIEWS, images, strict=True)]
        exist = [present[:, i].repeat_interleave(s) for i, s in enumerate(slices)]
        if SHARED in self.trunks:
            rows = [part.shape[0] for part in stemmed]  # len() would fix the batch of an export
            vectors, tokens = self._run(SHARED, torch.cat(stemmed), torch.cat(exist))
            pairs = list(zip(vectors.split(rows), tokens.split(rows), strict=True))
        else:
            pairs = [self._run(*view) for view in zip(VIEWS, stemmed, exist, strict=True)]

        pooled = [self.pool(*pair, count) for pair, count in zip(pairs, slices, strict=True)]
        vectors, tokens = (torch.stack(parts, dim=1) for parts in zip(*pooled, strict=True))
        absent = ~present[:, : len(VIEWS), None]
        return Views(vectors.masked_fill(absent, 0.0), tokens.masked_fill(absent[..., None], 0.0))

    def stem(
        self,
        view: str,
        images: Float[Tensor, "b s c h w"],
        present: Bool[Tensor, " b"],
        levels: Sequence[int] | None = None,
        shown: Int64[Tensor, "b q"] | None = None,
    ) -> Float[Tensor, "r ..."]:
        """One view through its own stem, one row per slice.

        Args:
            view: ct, mri or pathology.
            images: its slices.
            present: which studies have them.
            levels: the height of each slice; None: they rise, series by series.
            shown: of boxes: the place in ``SEQUENCES`` of each sequence of MRI, -1 for none.
        """
        images = images.masked_fill(~present[:, None, None, None, None], 0.0)
        stem = self.stems[view]
        if isinstance(stem, SequenceStem):
            if shown is None:
                raise ValueError("shown must say which sequences of MRI the boxes are, got None")
            rows = stem(images, shown)
        else:
            thick = images.shape[1] // self.count(view, images.shape[1])
            rows = stem(rearrange(images, "b (s z) c h w -> (b s) (c z) h w", z=thick))
        if self.heights is None or view == "pathology":  # tiles have no height
            return rows

        count = self.count(view, images.shape[1])
        if levels is None:
            levels = [slice_ % len(self.heights) for slice_ in range(count)]
        places = self.heights[list(levels)]
        # Of patches the last axis holds the features, of a convolution's map the first.
        places = places[:, :, None, None] if self.only_present else places[:, None]
        return (rows.unflatten(0, (-1, count)) + places).flatten(0, 1)

    def count(self, view: str, slices: int) -> int:
        """Images that the trunk sees: of boxes slabs of ``model.thick`` slices."""
        return slices if view == "pathology" else slices // self.thick

    def trunk(self, view: str) -> nn.Module:
        """The trunk that serves a view."""
        return self.trunks[SHARED if SHARED in self.trunks else view]

    def pool(
        self, vectors: Float[Tensor, "r d"], tokens: Float[Tensor, "r p d"], slices: int
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b p d"]]:
        """Rows of slices to rows of studies: mean, learned weighted mean, or largest values."""
        vectors = rearrange(vectors, "(b s) d -> b s d", s=slices)
        tokens = rearrange(tokens, "(b s) p d -> b s p d", s=slices)
        if self.largest:
            return vectors.amax(dim=1), tokens.amax(dim=1)
        if self.attend is None:
            return vectors.mean(dim=1), tokens.mean(dim=1)

        weight = self.attend(vectors).softmax(dim=1)
        return (vectors * weight).sum(dim=1), (tokens * weight[..., None]).sum(dim=1)

    def _run(self, trunk: str, x: Tensor, exist: Tensor) -> tuple[Tensor, Tensor]:
        if not (self.only_present and self.training):
            return self.trunks[trunk](x)

        index = exist.nonzero().squeeze(1)
        if not len(index):  # batch normalisation cannot take an empty batch; the result is unused
            index = torch.zeros_like(exist[:1], dtype=torch.int64)

        parts = self.trunks[trunk](x[index])
        blank = [part.new_zeros(len(x), *part.shape[1:]) for part in parts]
        vectors, tokens = (b.index_copy(0, index, p) for b, p in zip(blank, parts, strict=True))
        return vectors, tokens


def _stem(view: str, config: ModelConfig, *, boxes: bool) -> nn.Module:
    """What turns the images of a view into patches."""
    if config.backbone == "resnet101":
        return ConvStem(CHANNELS[view], config.resnet_width)
    if boxes and view == "mri":
        return SequenceStem(config)
    return PatchStem(CHANNELS[view] * (config.thick if boxes and view == "ct" else 1), config)
