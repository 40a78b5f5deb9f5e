"""The whole network: images and report in, features of every loss out."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from rfpmss.common.distributed import ALONE, Peers
from rfpmss.config import MODALITIES, PAD, VIEWS, DataConfig, ModelConfig
from rfpmss.model.anchors import Anchors
from rfpmss.model.decoder import ReportDecoder
from rfpmss.model.features import Features, Study, alike, together
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
        levels = data.slices if data.order == "levels" else data.depth // model.thick
        self.image = ImageEncoder(model, data.size, levels, boxes=data.depth > 0)
        self.fuse = Fusion(model)
        self.report = ReportEncoder(model, vocabulary, data.tokens, self.fuse.width)
        self.decoder = ReportDecoder(model, vocabulary, data.tokens, self.fuse.width)
        self.project = Projections(model)
        self.anchors = Anchors(model)

    def forward(
        self,
        images: Images,
        present: Bool[Tensor, "b m"],
        tokens: Int64[Tensor, "b t"],
        shown: Int64[Tensor, "b q"] | None = None,
    ) -> Features:
        """Features of a batch with the decoder's scores.

        Args:
            images: one tensor (b, slices, channels, height, width) per view.
            present: which modalities each study has, in the order of ``MODALITIES``.
            tokens: reports, START first, padded with 0.
            shown: of boxes (``data.depth``): the place in ``SEQUENCES`` of each sequence of MRI,
                -1 for none.
        """
        return self.compared(self.read(images, present, tokens, shown, write="scores"))

    def encode(
        self,
        images: Images,
        present: Bool[Tensor, "b m"],
        tokens: Int64[Tensor, "b t"],
        shown: Int64[Tensor, "b q"] | None = None,
    ) -> Features:
        """Features without the decoder, as evaluation needs them."""
        return self.compared(self.read(images, present, tokens, shown))

    def read(
        self,
        images: Images,
        present: Bool[Tensor, "b m"],
        tokens: Int64[Tensor, "b t"],
        shown: Int64[Tensor, "b q"] | None = None,
        *,
        write: Literal["scores", "likelihood"] | None = None,
    ) -> Features:
        """Features before they are `compared`: those of a study depend on that study alone.

        So a batch may be read part by part, and by several ranks.

        Args:
            images: one tensor (b, slices, channels, height, width) per view.
            present: which modalities each study has.
            tokens: reports.
            shown: sequences of boxes.
            write: also the decoder's scores, or the likelihood of the reports alone.
        """
        views, there = self.image(images, present, shown), present[:, REPORT]
        groups = alike(tokens, self.data.tokens)
        texts = [
            replace(self.report(tokens[rows, :length], there[rows]), rows=rows)
            for rows, length in groups
        ]
        study = self.fuse(views, present)
        inputs, joint = self.project(views, texts, present)
        return Features(
            inputs=inputs,
            joint=joint,
            study=study.readings[:, 0],
            report=together([text.vectors for text in texts], [rows for rows, _ in groups]),
            readings=study.readings,
            readable=study.readable,
            logits=self._scores(study, tokens) if write == "scores" else None,
            present=present,
            nll=self._nll(study, tokens, there) if write == "likelihood" else None,
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
        self,
        images: Images,
        present: Bool[Tensor, "b m"],
        length: int,
        *,
        width: int = 1,
        shown: Int64[Tensor, "b q"] | None = None,
    ) -> Int64[Tensor, "b length"]:
        """Reports written by greedy search, or by beam search of the given width.

        START, words, END, padding. Without view fusion the first present view is described.
        """
        study = self.fuse(self.image(images, present, shown), present)
        first = study.readable.to(torch.int64).argmax(dim=1)
        row = torch.arange(len(first), device=first.device)
        memory, seen = study.memory[row, first], study.seen[row, first]
        vectors = study.readings[row, first]
        if width == 1:
            return greedy(self.decoder, memory, seen, vectors, length)

        return beam(self.decoder, memory, seen, vectors, length, width=width)

    @torch.no_grad()
    def attention(
        self,
        images: Images,
        present: Bool[Tensor, "b m"],
        shown: Int64[Tensor, "b q"] | None = None,
    ) -> tuple[Tensor, ...]:
        """Attention maps of each view, (depth, b, slices, p + 1, p + 1), heads averaged.

        Row and column 0 belong to the aggregation embedding, the others to the patches row by row.
        """
        maps = []
        for i, view in enumerate(VIEWS):
            trunk = self.image.trunk(view)
            if not isinstance(trunk, MedicalImageTransformer):
                raise ValueError("attention needs model.backbone=vit, got a residual network")
            stemmed = self.image.stem(view, images[i], present[:, i], shown=shown)
            weights = trunk.attention(stemmed)
            maps.append(rearrange(weights, "n (b s) q k -> n b s q k", b=len(present)))

        return tuple(maps)

    def _scores(self, study: Study, tokens: Tensor) -> Tensor:
        readings = study.memory.shape[1]
        logits = self.decoder(*_told(study, tokens))
        return rearrange(logits, "(b r) t w -> b r t w", r=readings)

    def _nll(self, study: Study, tokens: Tensor, there: Tensor) -> Tensor:
        counted = study.readable & there[:, None]
        targets = tokens[:, None, 1:].masked_fill(~counted[..., None], PAD)
        parts = []
        for rows, length in alike(tokens, self.data.tokens):
            told = _told(study.some(rows), tokens[rows, :length])
            target = rearrange(targets[rows, :, : length - 1], "b r t -> (b r) t")
            parts.append(self.decoder(*told, target))

        return torch.stack(parts).sum()


def _told(study: Study, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What the decoder gets: a row for each reading of each study."""
    words = repeat(tokens[:, :-1], "b t -> (b r) t", r=study.memory.shape[1])
    return (
        words,
        rearrange(study.memory, "b r n d -> (b r) n d"),
        rearrange(study.seen, "b r n -> (b r) n"),
        rearrange(study.readings, "b r f -> (b r) f"),
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
