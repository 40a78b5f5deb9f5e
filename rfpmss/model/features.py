"""What the model hands to the losses and to the evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rfpmss.config import PAD

Rows = Tensor | slice
"""Some rows of a batch."""

ALL = slice(None)
"""All of them."""

TOGETHER = 2048
"""Tokens of reports that a processor reads together: what a layer makes of them stays in its
caches."""


@dataclass(frozen=True)
class Views:
    """Image features of a batch: one vector and a grid of tokens per view."""

    vectors: Float[Tensor, "b v d"]
    """Aggregation embeddings; zero where the view is absent."""
    tokens: Float[Tensor, "b v p d"]
    """Patch tokens after the recurrent concatenation; zero where the view is absent."""


@dataclass(frozen=True)
class Text:
    """Report features of a batch."""

    vectors: Float[Tensor, "b f"]
    """Report vectors t in the space of the study vectors, before they are compared; zero where the
    report is absent."""
    tokens: Float[Tensor, "b t w"]
    """Contextual tokens of the text encoder."""
    mask: Bool[Tensor, "b t"]
    """True for tokens that are no padding; at least one per row."""
    rows: Rows = field(default_factory=lambda: ALL)
    """Of which studies of the batch."""


@dataclass(frozen=True)
class Study:
    """The views fused: what stands opposite the report.

    With view fusion there is one reading, the study; without fusion each view is a reading of its
    own (Table 5, row 3).
    """

    readings: Float[Tensor, "b r f"]
    """The vectors that Eq. 7 pairs with the report, before they are compared."""
    readable: Bool[Tensor, "b r"]
    """Readings that exist."""
    memory: Float[Tensor, "b r n d"]
    """Tokens the report decoder looks at."""
    seen: Bool[Tensor, "b r n"]
    """Memory tokens that exist; at least one per reading."""
    weights: Float[Tensor, "b v"]
    """How much each view counts."""

    def some(self, rows: Rows) -> Study:
        """The same of some studies."""
        return Study(**{name: value[rows] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Features:
    """One batch after the whole network."""

    inputs: Float[Tensor, "b m d"]
    """Input-space features: means of projected tokens; zero where the modality is absent."""
    joint: Float[Tensor, "b m e"]
    """Joint-space features of unit norm; zero where the modality is absent."""
    study: Float[Tensor, "b f"]
    """Study vectors v."""
    report: Float[Tensor, "b f"]
    """Report vectors t."""
    readings: Float[Tensor, "b r f"]
    """What Eq. 7 pairs with the report: the study, or each view without fusion."""
    readable: Bool[Tensor, "b r"]
    """Readings that exist."""
    logits: Float[Tensor, "b r u vocabulary"] | None
    """Scores of the next word after tokens 0 .. t-2 (u = t - 1); None after ``encode``."""
    present: Bool[Tensor, "b m"]
    """Modalities that exist."""
    nll: Float[Tensor, ""] | None = None
    """Summed negative log-likelihood of the reports' words, where it was asked for."""
    rebuilt: Float[Tensor, "b m d"] | None = None
    """Input-space features rebuilt from the joint-space ones, for the reconstruction ablation."""


def alike(tokens: Int64[Tensor, "b t"], longest: int) -> list[tuple[Rows, int]]:
    """Rows of reports of about the same length, and the length of the longest of them.

    Long reports of a batch on a processor are read in such groups, at most about ``TOGETHER``
    tokens each, so that the others are not padded to the longest; anything else is read in one.
    How many groups there are depends on the number of rows and on ``longest``, the tokens that a
    model reads at most: it is the same on all ranks.

    Example:
        >>> alike(torch.ones(2, 3, dtype=torch.int64), longest=9)
        [(slice(None, None, None), 3)]
    """
    parts = min(len(tokens) * longest // TOGETHER, len(tokens))
    if tokens.device.type != "cpu" or torch.compiler.is_compiling() or parts < 2:
        return [(ALL, tokens.shape[1])]

    place = torch.arange(1, tokens.shape[1] + 1)
    length, order = torch.where(tokens != PAD, place, 0).amax(dim=1).sort(stable=True)
    groups = zip(order.chunk(parts), length.chunk(parts), strict=True)
    return [(rows, max(int(lengths[-1]), 2)) for rows, lengths in groups]


def together(parts: Sequence[Tensor], rows: Sequence[Rows]) -> Tensor:
    """What was made of groups of rows, in the order of the batch."""
    if len(parts) == 1:
        return parts[0]
    order = torch.cat([part for part in rows if isinstance(part, Tensor)])
    return torch.cat(list(parts))[order.argsort()]
