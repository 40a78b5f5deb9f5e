"""Text encoder: BERT (Devlin et al. 2019) and a linear map into the space of the study vectors.

It gives t^k of Eq. 7, and the tokens that are projected to the joint space.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rfpmss.common.distributed import ALONE, Peers
from rfpmss.config import PAD, ModelConfig
from rfpmss.model.block import spread
from rfpmss.model.features import Text
from rfpmss.model.moments import Standardise, masked_mean


class ReportEncoder(nn.Module):
    """BERT with a pooled vector t^k per report.

    Args:
        config: widths, depth and pooling.
        vocabulary: number of token ids.
        tokens: longest report, tokens.
        width: width of the study vectors.
    """

    def __init__(self, config: ModelConfig, vocabulary: int, tokens: int, width: int) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel  # slow to import: only when a model is built

        self.pooling = config.text_pooling
        self.bert = BertModel(
            BertConfig(
                vocab_size=vocabulary,
                hidden_size=config.text_dim,
                num_hidden_layers=config.text_depth,
                num_attention_heads=config.text_heads,
                intermediate_size=config.text_mlp,
                max_position_embeddings=tokens,
                hidden_dropout_prob=config.dropout,
                attention_probs_dropout_prob=config.dropout,
                pad_token_id=PAD,
                initializer_range=spread(config.text_dim),
            ),
            add_pooling_layer=config.text_pooling == "pooler",
        )
        self.project = nn.Linear(config.text_dim, width)
        self.standardise = Standardise(1, width) if config.standardise else None
        self.recompute, self.frozen = config.recompute, config.text_frozen
        self.token_types = config.token_types

        if not self.token_types:
            nn.init.zeros_(self.bert.embeddings.token_type_embeddings.weight)

        self.freeze()

    def freeze(self) -> None:
        """Keep the embeddings and the first layers as they are, where the configuration says so.

        All tokens are of one type: a learned type is one vector added to every token of every
        report, which moves all reports alike and takes nine tenths of the gradient that
        ``train.clip`` allows.
        """
        if not self.token_types:
            self.bert.embeddings.token_type_embeddings.requires_grad_(requires_grad=False)

        if self.frozen:
            self.bert.embeddings.requires_grad_(requires_grad=False)
            for layer in self.bert.encoder.layer[: self.frozen]:
                layer.requires_grad_(requires_grad=False)

    def forward(self, tokens: Int64[Tensor, "b t"], present: Bool[Tensor, " b"]) -> Text:
        """Encode; an absent report counts as one padding token and its vector is zero."""
        tokens = tokens.masked_fill(~present[:, None], PAD)
        mask = tokens != PAD
        mask[:, 0] = True

        if self.recompute and torch.is_grad_enabled():
            hidden, pooled = checkpoint(self._read, tokens, mask, use_reentrant=False)
        else:
            hidden, pooled = self._read(tokens, mask)

        vectors = self.project(self._pool(hidden, mask, pooled))
        return Text(vectors.masked_fill(~present[:, None], 0.0), hidden, mask)

    def compared(
        self,
        vectors: Float[Tensor, "b f"],
        present: Bool[Tensor, " b"],
        peers: Peers = ALONE,
    ) -> Float[Tensor, "b f"]:
        """Report vectors as Eq. 7 compares them: standardised, where the model does that."""
        if self.standardise is None:
            return vectors
        return self.standardise(vectors[:, None], present[:, None], peers)[:, 0]

    def _read(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        out = self.bert(input_ids=tokens, attention_mask=mask[:, None, None, :])
        return out.last_hidden_state, out.pooler_output

    def _pool(
        self, hidden: Float[Tensor, "b t w"], mask: Bool[Tensor, "b t"], pooled: Tensor | None
    ) -> Float[Tensor, "b w"]:
        if self.pooling == "mean":
            return masked_mean(hidden, mask)
        return hidden[:, 0] if pooled is None else pooled
