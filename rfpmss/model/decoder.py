"""Report decoder: a transformer (Vaswani et al. 2017) that writes the report from the fused study.

Eq. 4 is the likelihood of its words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from rfpmss.common.precision import precise
from rfpmss.config import PAD, ModelConfig
from rfpmss.model.block import Attention, Perceptron, spread

EMBEDDING_EPS = 1e-8
"""Added to the variance when word embeddings are normalised."""

IN_CACHE = 1 << 18
"""Scores that are held at a time on a processor: a megabyte."""


class Cache(NamedTuple):
    """Keys and values of one layer: of the words so far and of the memory."""

    key: Float[Tensor, "b h t e"] | None
    value: Float[Tensor, "b h t e"] | None
    memory: tuple[Float[Tensor, "b h n e"], Float[Tensor, "b h n e"]]


class ReportDecoder(nn.Module):
    """Words to next words, given the tokens of a study.

    Args:
        config: widths, depth and where to normalise.
        vocabulary: number of token ids.
        tokens: longest report, tokens.
        study: width of the study vector.
    """

    def __init__(self, config: ModelConfig, vocabulary: int, tokens: int, study: int) -> None:
        super().__init__()
        width = config.decoder_dim
        self.see = nn.Linear(config.dim, width)
        # Eq. 4 decodes from v: cross-attention over the patches alone has to find the side again.
        self.study = nn.Linear(study, width) if config.study_words else None
        self.words = nn.Embedding(vocabulary, width, padding_idx=PAD)
        self.positions = nn.Parameter(torch.empty(tokens, width).normal_(std=spread(width)))

        with torch.no_grad():
            self.words.weight.normal_(std=spread(width))
            self.words.weight[PAD] = 0

        self.norm = nn.LayerNorm(width, eps=EMBEDDING_EPS)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_depth))
        self.last = nn.LayerNorm(width) if config.decoder_prenorm else nn.Identity()
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(
        self,
        words: Int64[Tensor, "b t"],
        memory: Float[Tensor, "b n d"],
        seen: Bool[Tensor, "b n"],
        vectors: Float[Tensor, "b f"],
        targets: Int64[Tensor, "b t"] | None = None,
    ) -> Float[Tensor, "b t vocabulary"] | Float[Tensor, ""]:
        """Scores of the word after each word (teacher forcing).

        With ``targets``, the words that come, their summed negative log-likelihood (Eq. 4) instead,
        padding left out: a batch's scores are the largest tensor of a step.
        """
        x = self.embed(words, 0, vectors)
        memory, seen = self.see(memory), rearrange(seen, "b n -> b 1 1 n")
        for layer in self.stack:
            x = layer(x, memory, seen)

        if targets is None:
            return self.score(x)
        return unlikelihood(self.last(x), self.words.weight, self.bias, targets)

    @property
    def stack(self) -> list[DecoderLayer]:
        """The layers, first to last."""
        return cast("list[DecoderLayer]", list(self.layers))

    def embed(
        self, words: Int64[Tensor, "b t"], start: int, vectors: Float[Tensor, "b f"]
    ) -> Float[Tensor, "b t w"]:
        """Words ``start`` and following, their positions and, where it counts, the study vector."""
        positions = self.positions[start : start + words.shape[1]]
        x = self.dropout(self.norm(self.words(words) + positions))
        return x if self.study is None else x + self.study(vectors)[:, None]

    def score(self, x: Float[Tensor, "b t w"]) -> Float[Tensor, "b t vocabulary"]:
        """Output embedding tied to the words' (Press and Wolf 2017)."""
        return F.linear(self.last(x), self.words.weight, self.bias)

    def start(self, memory: Float[Tensor, "b n d"]) -> list[Cache]:
        """Caches of all layers before the first word."""
        memory = self.see(memory)
        return [Cache(None, None, layer.look.remember(memory)) for layer in self.stack]

    def next(
        self,
        words: Int64[Tensor, "b 1"],
        position: int,
        caches: list[Cache],
        seen: Bool[Tensor, "b n"],
        vectors: Float[Tensor, "b f"],
    ) -> tuple[Float[Tensor, "b vocabulary"], list[Cache]]:
        """Scores of the word after ``words``, which stand at ``position``, and the new caches."""
        x, mask = self.embed(words, position, vectors), rearrange(seen, "b n -> b 1 1 n")
        grown = []
        for layer, cache in zip(self.stack, caches, strict=True):
            x, cache = layer.step(x, cache, mask)
            grown.append(cache)

        return self.score(x)[:, 0], grown


class DecoderLayer(nn.Module):
    """Attend to the words so far, to the study, then a perceptron."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.decoder_dim
        self.first = config.decoder_prenorm
        self.attend = Attention(width, config.decoder_heads)
        self.look = Attention(width, config.decoder_heads)
        self.perceptron = Perceptron(width, config.decoder_mlp, "gelu")
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Float[Tensor, "b t w"],
        memory: Float[Tensor, "b n w"],
        seen: Bool[Tensor, "b 1 1 n"],
    ) -> Float[Tensor, "b t w"]:
        """All words at once, none seeing a later one."""
        remembered = self.look.remember(memory)
        x = self._add(0, x, lambda y: self.attend(y, causal=True))
        x = self._add(1, x, lambda y: self.look.cross(y, remembered, seen))
        return self._add(2, x, self.perceptron)

    def step(
        self, x: Float[Tensor, "b 1 w"], cache: Cache, seen: Bool[Tensor, "b 1 1 n"]
    ) -> tuple[Float[Tensor, "b 1 w"], Cache]:
        """The newest word only; the words before it are in the cache."""
        grown = cache

        def attend(y: Tensor) -> Tensor:
            nonlocal grown
            mixed, key, value = self.attend.extend(y, cache.key, cache.value)
            grown = Cache(key, value, cache.memory)
            return mixed

        x = self._add(0, x, attend)
        x = self._add(1, x, lambda y: self.look.cross(y, cache.memory, seen))
        return self._add(2, x, self.perceptron), grown

    def _add(self, part: int, x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        norm = self.norms[part]
        if self.first:
            return x + self.dropout(change(norm(x)))
        return norm(x + self.dropout(change(x)))


def unlikelihood(
    x: Float[Tensor, "*b w"],
    words: Float[Tensor, "vocabulary w"],
    bias: Float[Tensor, " vocabulary"],
    targets: Int64[Tensor, "*b"],
) -> Float[Tensor, ""]:
    """Summed negative log-likelihood of ``targets`` under the scores ``x @ words.T + bias``.

    Padding does not count. On a processor in training, scores of words that count are made a cache
    full at a time, and their gradients with them, so that none is written to memory.
    """
    x, targets = x.flatten(0, -2), targets.flatten()
    plain = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    if plain and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        count = (targets != PAD).nonzero().squeeze(1)
        found = _Unlikelihood.apply(x[count], words, bias, targets[count])
        return cast("Tensor", found)

    scores = precise(F.linear(x, words, bias))
    return F.cross_entropy(scores, targets, ignore_index=PAD, reduction="sum")


class _Unlikelihood(torch.autograd.Function):
    """The sum and its gradients in one pass over the words."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, words: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        total = x.new_zeros(())
        of_x, of_words, of_bias = (
            torch.empty_like(x),
            torch.zeros_like(words),
            torch.zeros_like(bias),
        )
        rows = max(1, IN_CACHE // len(words))
        for part, target, out in zip(
            x.split(rows), targets[:, None].split(rows), of_x.split(rows), strict=True
        ):
            logs = torch.addmm(bias, part, words.T).log_softmax(dim=1)
            total -= logs.gather(1, target).sum()
            # d/dscores of -log softmax at the target: softmax, less 1 there.
            slope = logs.exp_().scatter_add_(1, target, part.new_full(target.shape, -1.0))
            torch.mm(slope, words, out=out)
            of_words.addmm_(slope.T, part)
            of_bias += slope.sum(dim=0)

        ctx.save_for_backward(of_x, of_words, of_bias)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        of_x, of_words, of_bias = ctx.saved_tensors
        return gradient * of_x, gradient * of_words, gradient * of_bias, None
