"""What the model hands to the losses and to the evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor


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
    rebuilt: Float[Tensor, "b m d"] | None = None
    """Input-space features rebuilt from the joint-space ones, for the reconstruction ablation."""
