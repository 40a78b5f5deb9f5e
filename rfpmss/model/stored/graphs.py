"""The image encoder and the text encoder as graphs that run without this package."""

from __future__ import annotations

import io
from math import prod
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from rfpmss.common.files import fill
from rfpmss.config import CHANNELS, END, MODALITIES, PAD, SEQUENCES, START, UNK, VIEWS
from rfpmss.model.image import Images
from rfpmss.model.rfpmss import RFPMSS

BATCH = 2
"""Studies of the example; a batch of one would be taken for a constant."""


class ImageSide(nn.Module):
    """Images to the study vector and to each view's place in the joint space."""

    def __init__(self, model: RFPMSS) -> None:
        super().__init__()
        self.image, self.fuse, self.project = model.image, model.fuse, model.project

    def forward(
        self,
        ct: Float[Tensor, "b s _ h w"],
        mri: Float[Tensor, "b s _ h w"],
        pathology: Float[Tensor, "b _ 3 h w"],
        present: Bool[Tensor, "b m"],
        shown: Int64[Tensor, "b q"] | None = None,
    ) -> tuple[Float[Tensor, "b f"], Float[Tensor, "b v e"]]:
        """Study vector, and joint-space features; zero where a view is absent."""
        views = self.image((ct, mri, pathology), present, shown)
        joint = [self.project.of[view](views.tokens[:, i])[1] for i, view in enumerate(VIEWS)]
        joint = torch.stack([*joint, torch.zeros_like(joint[0])], dim=1)  # no report here
        joint = self.project.compared(joint.masked_fill(~present[..., None], 0.0), present)
        study = self.fuse(views, present)
        vectors, _ = self.fuse.compared(study.readings, study.readable)

        return vectors, joint[:, : len(VIEWS)]


class TextSide(nn.Module):
    """Token ids to the report vector and to its place in the joint space."""

    def __init__(self, model: RFPMSS) -> None:
        super().__init__()
        self.report, self.project = model.report, model.project

    def forward(
        self, tokens: Int64[Tensor, "b t"]
    ) -> tuple[Float[Tensor, "b f"], Float[Tensor, "b e"]]:
        """Report vector and joint-space feature; zero where the text is all padding."""
        present = (tokens != PAD).any(dim=1)
        text = self.report(tokens, present)
        joint = self.project.of["report"](text.tokens, text.mask)[1]
        joint = joint.masked_fill(~present[:, None], 0.0)[:, None]
        shape = (0, 0, len(VIEWS), 0)  # no images here
        joint = self.project.compared(F.pad(joint, shape), F.pad(present[:, None], shape[2:]))

        return self.report.compared(text.vectors, present), joint[:, -1]


def graphs(model: RFPMSS) -> dict[str, ExportedProgram]:
    """``image`` and ``text`` of a model in evaluation, for any number of studies.

    Take the weights along: a graph needs torch and nothing else to run. Paths of source files are
    taken out of it.

    Example:
        >>> from rfpmss.config import smoke
        >>> model = RFPMSS(smoke().model, smoke().data, vocabulary=50).eval()
        >>> sorted(graphs(model))  # doctest: +SKIP
        ['image', 'text']
    """
    images, present, tokens, shown = example(model)
    b = Dim("studies", min=1)
    seen = (*images, present) if shown is None else (*images, present, shown)
    sides = {"image": (ImageSide(model), seen), "text": (TextSide(model), (tokens,))}
    found = {}
    with torch.no_grad():
        for name, (side, given) in sides.items():
            dynamic = tuple({0: b} for _ in given)
            found[name] = _nameless(torch.export.export(side, given, dynamic_shapes=dynamic))

    return found


def example(
    model: RFPMSS,
) -> tuple[Images, Bool[Tensor, "b m"], Int64[Tensor, "b t"], Int64[Tensor, "b q"] | None]:
    """Images, what is present, reports and sequences of `BATCH` studies that have all; of nobody.

    The sequences of boxes are slots in the order of ``SEQUENCES``.
    """
    data, device = model.data, next(model.parameters()).device
    channels, counts = dict(CHANNELS), dict.fromkeys(VIEWS, data.slices * data.series)
    shown = None
    if data.depth:
        channels["mri"] = len(SEQUENCES)
        counts |= {"ct": data.depth, "mri": data.depth}
        shown = torch.arange(len(SEQUENCES), device=device).repeat(BATCH, 1)

    shapes = [(BATCH, counts[view], channels[view], data.size, data.size) for view in VIEWS]
    ct, mri, slide = (torch.linspace(-1, 1, prod(s), device=device).reshape(s) for s in shapes)
    present = torch.ones(BATCH, len(MODALITIES), dtype=torch.bool, device=device)
    tokens = torch.full((BATCH, data.tokens), PAD, device=device)
    tokens[:, :3] = torch.tensor([START, UNK, END])

    return (ct, mri, slide), present, tokens, shown


def write(model: RFPMSS, folder: Path) -> list[Path]:
    """Write ``image.pt2`` and ``text.pt2``; return their paths."""
    paths = []
    for name, program in graphs(model).items():
        paths.append(folder / f"{name}.pt2")
        content = io.BytesIO()  # on a full disk torch's own writer ends the process
        torch.export.save(program, content)
        fill(paths[-1], content.getvalue())

    return paths


def _nameless(program: ExportedProgram) -> ExportedProgram:
    """Without source paths, and without the example, which would be stored as a pickle."""
    for node in program.graph.nodes:
        for name in ("stack_trace", "source_fn_stack", "nn_module_stack", "from_node"):
            node.meta.pop(name, None)

    program._example_inputs = None  # noqa: SLF001
    return program
