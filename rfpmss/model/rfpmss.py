"""The whole network: images and report in, features of every loss out."""

from __future__ import annotations

from dataclasses import replace

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from rfpmss.common.distributed import ALONE, Peers
from rfpmss.config import MODALITIES, VIEWS, DataConfig, ModelConfig
from rfpmss.model.anchors import Anchors
from rfpmss.model.decoder import ReportDecoder
from rfpmss.model.features import Features, Study
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
        self.decoder = ReportDecoder(model, vocabulary, data.tokens, self.fuse.width)
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
        return self.compared(self.read(images, present, tokens, write=True))

    def encode(
        self, images: Images, present: Bool[Tensor, "b m"], tokens: Int64[Tensor, "b t"]
    ) -> Features:
        """Features without the decoder, as evaluation needs them."""
        return self.compared(self.read(images, present, tokens, write=False))

    def read(
        self,
        images: Images,
        present: Bool[Tensor, "b m"],
        tokens: Int64[Tensor, "b t"],
        *,
        write: bool,
    ) -> Features:
        """Features before they are `compared`: those of a study depend on that study alone.

        So a batch may be read part by part, and by several ranks.

        Args:
            images: one tensor (b, slices, channels, height, width) per view.
            present: which modalities each study has.
            tokens: reports.
            write: also the decoder's scores.
        """
        views = self.image(images, present)
        text, study = self.report(tokens, present[:, REPORT]), self.fuse(views, present)
        inputs, joint = self.project(views, text, present)
        return Features(
            inputs=inputs,
            joint=joint,
            study=study.readings[:, 0],
            report=text.vectors,
            readings=study.readings,
            readable=study.readable,
            logits=self._write(study, tokens) if write else None,
            present=present,
        )

    def compared(self, read: Features, peers: Peers = ALONE) -> Features:
        """The features of a batch as the losses and the evaluation compare them by cosine.

        Study, report and joint-space vectors are standardised where ``model.standardise`` says so:
        in training over the studies of all ranks, in evaluation by the running figures.

        Args:
            read: features of this rank's whole part of the batch.
            peers: ranks that hold the others.
        """
        study, readings = self.fuse.compared(read.readings, read.readable, peers)
        joint = self.project.compared(read.joint, read.present, peers)
        return replace(
            read,
            study=study,
            readings=readings,
            report=self.report.compared(read.report, read.present[:, REPORT], peers),
            joint=joint,
            rebuilt=self.project.rebuild(joint),
        )

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
        vectors = study.readings[row, first]
        if width == 1:
            return greedy(self.decoder, memory, seen, vectors, length)

        return beam(self.decoder, memory, seen, vectors, length, width=width)

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

    def _write(self, study: Study, tokens: Tensor) -> Tensor:
        readings = study.memory.shape[1]
        words = repeat(tokens[:, :-1], "b t -> (b r) t", r=readings)
        logits = self.decoder(
            words,
            rearrange(study.memory, "b r n d -> (b r) n d"),
            rearrange(study.seen, "b r n -> (b r) n"),
            rearrange(study.readings, "b r f -> (b r) f"),
        )
        return rearrange(logits, "(b r) t w -> b r t w", r=readings)


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
