"""Writing a report word by word: greedy and beam search."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rfpmss.config import END, PAD, START
from rfpmss.model.decoder import Cache, ReportDecoder


@torch.no_grad()
def greedy(
    decoder: ReportDecoder,
    memory: Float[Tensor, "b n d"],
    seen: Bool[Tensor, "b n"],
    vectors: Float[Tensor, "b f"],
    length: int,
) -> Int64[Tensor, "b length"]:
    """The likeliest word at each place: START, words, END, then padding.

    Args:
        decoder: the report decoder.
        memory: tokens of each study.
        seen: memory tokens that exist.
        vectors: study vectors.
        length: words in all, START included; at most the longest report of the decoder.

    Raises:
        ValueError: when ``length`` does not fit the decoder.
    """
    _check(decoder, length)
    report = torch.full((len(memory), length), PAD, device=memory.device)
    report[:, 0] = START
    caches, going = decoder.start(memory), report[:, 0] == START
    for place in range(length - 1):
        scores, caches = decoder.next(report[:, place, None], place, caches, seen, vectors)
        report[:, place + 1] = _words(scores).argmax(dim=-1).where(going, PAD)
        going = going & (report[:, place + 1] != END)
        if not going.any():
            break

    return report


@torch.no_grad()
def beam(
    decoder: ReportDecoder,
    memory: Float[Tensor, "b n d"],
    seen: Bool[Tensor, "b n"],
    vectors: Float[Tensor, "b f"],
    length: int,
    *,
    width: int,
    reward: float = 0.0,
) -> Int64[Tensor, "b length"]:
    """The best of ``width`` reports kept side by side.

    At each place the ``width`` likeliest continuations of all kept reports stay; a report that has
    ended stays as it is. The winner has the highest log-likelihood divided by (words written) to
    the power of ``reward``.

    Args:
        decoder: the report decoder.
        memory: tokens of each study.
        seen: memory tokens that exist.
        vectors: study vectors.
        length: words in all, START included.
        width: reports kept; 1 is greedy search.
        reward: how much longer reports are favoured, 0 not at all, 1 mean per word.

    Raises:
        ValueError: when ``length`` does not fit the decoder or ``width`` is below 1.
    """
    _check(decoder, length)
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")

    studies = len(memory)
    reports = torch.full((studies, width, length), PAD, device=memory.device)
    reports[:, :, 0] = START
    likelihood = memory.new_full((studies, width), -torch.inf)
    likelihood[:, 0] = 0.0  # all beams start alike: only the first may grow
    caches = [
        _take(c, torch.arange(studies).repeat_interleave(width)) for c in decoder.start(memory)
    ]
    seen, vectors = (repeat(x, "b n -> (b w) n", w=width) for x in (seen, vectors))
    first = torch.arange(studies, device=memory.device)[:, None] * width
    for place in range(length - 1):
        last = rearrange(reports[:, :, place], "b w -> (b w) 1")
        scores, caches = decoder.next(last, place, caches, seen, vectors)
        step = rearrange(_words(scores).log_softmax(dim=-1), "(b w) v -> b w v", w=width)
        ended = (reports[:, :, place] == END) | (reports[:, :, place] == PAD)
        step = step.masked_fill(ended[..., None], -torch.inf)
        step[..., PAD] = step[..., PAD].masked_fill(ended, 0.0)
        total = rearrange(likelihood[..., None] + step, "b w v -> b (w v)")
        likelihood, chosen = total.topk(width, dim=1)
        parent = chosen // step.shape[-1]
        reports = reports.gather(1, repeat(parent, "b w -> b w t", t=length))
        reports[:, :, place + 1] = chosen % step.shape[-1]
        caches = [_take(cache, (first + parent).flatten()) for cache in caches]
        if ((reports[:, :, place + 1] == END) | (reports[:, :, place + 1] == PAD)).all():
            break

    written = (reports != PAD).sum(dim=-1) - 1
    best = (likelihood / written.clamp(min=1) ** reward).argmax(dim=1)
    return reports[torch.arange(studies), best]


def _words(scores: Float[Tensor, "b v"]) -> Float[Tensor, "b v"]:
    """Padding and START are never written."""
    scores = scores.clone()
    scores[:, [PAD, START]] = -torch.inf
    return scores


def _take(cache: Cache, rows: Int64[Tensor, " r"]) -> Cache:
    key, value, memory = cache
    if key is not None and value is not None:
        key, value = key[rows], value[rows]
    return Cache(key, value, (memory[0][rows], memory[1][rows]))


def _check(decoder: ReportDecoder, length: int) -> None:
    longest = len(decoder.positions)
    if not 1 <= length <= longest:
        raise ValueError(f"length must lie in 1..{longest}, got {length}")
