"""The whole network: images and report in, features of every loss out."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from rfpmss.config import MODALITIES, VIEWS, DataConfig, ModelConfig
from rfpmss.model.anchors import Anchors
from rfpmss.model.decoder import ReportDecoder
from rfpmss.model.features import Features, Study, Text, Views
from rfpmss.model.fuse import Fusion
from rfpmss.model.image import ImageEncoder, Images
from rfpmss.model.project import Projections
from rfpmss.model.report import ReportEncoder
from rfpmss.model.search import beam, greedy
from rfpmss.model.stored.hub import CODERS, Published
from rfpmss.model.vit import MedicalImageTransformer

REPORT = MODALITIES.index("report")


class RFPMSS(nn.Module, Published, coders=CODERS):
    """Medical Image Transformer, view fusion, BERT, report decoder, projections and anchors.

    ``RFPMSS.from_pretrained(folder)`` loads what ``rfpmss export`` wrote.

    Args:
        model: the network.
        data: image size and report length.
        vocabulary: number of token ids of the tokenizer.

    Example:
        >>> from rfpmss.config import smoke
        >>> from rfpmss.model.rfpmss import RFPMSS
        >>> model = RFPMSS(smoke().model, smoke().data, vocabulary=50)
    """

    def __init__(self, model: ModelConfig, data: DataConfig, vocabulary: int) -> None:
        super().__init__()
        self.config, self.data = model, data
        self.image = ImageEncoder(model, data.size)
        self.fuse = Fusion(model)
        self.report = ReportEncoder(model, vocabulary, data.tokens, self.fuse.width)
        self.decoder = ReportDecoder(model, vocabulary, data.tokens)
        self.project = Projections(model)
        self.anchors = Anchors(model)

    def forward(
        self, images: Images, present: Bool[Tensor, "b m"], tokens: Int64[Tensor, "b t"]
    ) -> Features:
        """Features of a batch with the decoder's scores.

        Args:
            images: one tensor (b, slices, channels, height, width) per view.
            present: which modalities each study has, in the order of ``MODALITIES``.
            tokens: reports, START first, padded with 0.
        """
        views, text, study = self._see(images, present, tokens)
        return self._features(views, text, study, present, self._write(study, tokens))

    def encode(
        self, images: Images, present: Bool[Tensor, "b m"], tokens: Int64[Tensor, "b t"]
    ) -> Features:
        """Features without the decoder, as evaluation needs them."""
        views, text, study = self._see(images, present, tokens)
        return self._features(views, text, study, present, logits=None)

    @torch.no_grad()
    def generate(
        self, images: Images, present: Bool[Tensor, "b m"], length: int, *, width: int = 1
    ) -> Int64[Tensor, "b length"]:
        """Reports written by greedy search, or by beam search of the given width.

        START, words, END, padding. Without view fusion the first present view is described.
        """
        study = self.fuse(self.image(images, present), present)
        first = study.readable.to(torch.int64).argmax(dim=1)
        row = torch.arange(len(first), device=first.device)
        memory, seen = study.memory[row, first], study.seen[row, first]
        if width == 1:
            return greedy(self.decoder, memory, seen, length)
        return beam(self.decoder, memory, seen, length, width=width)

    @torch.no_grad()
    def attention(self, images: Images, present: Bool[Tensor, "b m"]) -> tuple[Tensor, ...]:
        """Attention maps of each view, (depth, b, slices, p + 1, p + 1), heads averaged.

        Row and column 0 belong to the aggregation embedding, the others to the patches row by row.
        """
        maps = []
        for i, view in enumerate(VIEWS):
            trunk = self.image.trunk(view)
            if not isinstance(trunk, MedicalImageTransformer):
                raise ValueError("attention needs model.backbone=vit, got a residual network")
            weights = trunk.attention(self.image.stem(view, images[i], present[:, i]))
            maps.append(rearrange(weights, "n (b s) q k -> n b s q k", b=len(present)))
        return tuple(maps)

    def _see(self, images: Images, present: Tensor, tokens: Tensor) -> tuple[Views, Text, Study]:
        views = self.image(images, present)
        return views, self.report(tokens, present[:, REPORT]), self.fuse(views, present)

    def _write(self, study: Study, tokens: Tensor) -> Tensor:
        readings = study.memory.shape[1]
        words = repeat(tokens[:, :-1], "b t -> (b r) t", r=readings)
        logits = self.decoder(
            words,
            rearrange(study.memory, "b r n d -> (b r) n d"),
            rearrange(study.seen, "b r n -> (b r) n"),
        )
        return rearrange(logits, "(b r) t w -> b r t w", r=readings)

    def _features(
        self, views: Views, text: Text, study: Study, present: Tensor, logits: Tensor | None
    ) -> Features:
        inputs, joint = self.project(views, text, present)
        return Features(
            inputs=inputs,
            joint=joint,
            study=study.vectors,
            report=text.vectors,
            readings=study.readings,
            readable=study.readable,
            logits=logits,
            present=present,
            rebuilt=self.project.rebuild(joint),
        )


def count(model: RFPMSS) -> dict[str, int]:
    """Parameters of each part and in total.

    Example:
        >>> from rfpmss.config import smoke
        >>> parts = count(RFPMSS(smoke().model, smoke().data, vocabulary=50))
        >>> parts["total"] == sum(parts[name] for name in parts if name != "total")
        True
    """
    parts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    return parts | {"total": sum(parts.values())}
