"""How near the words of a generated text are to the original: BLEU, ROUGE-L, CIDEr.

They say nothing about whether the findings are right (see ``findings``); both belong together.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

ORDERS = (1, 2, 3, 4)
"""Lengths of word sequences."""


def words(text: str) -> list[str]:
    """Lower-case words and numbers; a Chinese character is a word of its own.

    Example:
        >>> words("A 24 mm mass, left.")
        ['a', '24', 'mm', 'mass', 'left']
    """
    return re.findall(r"[a-z0-9]+|[\u4e00-\u9fff]", text.lower())


def scores(texts: Sequence[str], originals: Sequence[str]) -> dict[str, float]:
    """BLEU-1 to 4, ROUGE-L and CIDEr of a corpus with one original each, as fractions.

    CIDEr is on its usual scale of 0 to 10.

    Raises:
        ValueError: if there are no pairs or the lengths differ.
    """
    if not texts or len(texts) != len(originals):
        raise ValueError(
            f"texts and originals must be as many, not none, got {len(texts)}, {len(originals)}"
        )

    told, true = [words(text) for text in texts], [words(text) for text in originals]
    found = {f"bleu{n}": bleu(told, true, n) for n in ORDERS}
    pairs = list(zip(told, true, strict=True))
    found["rouge_l"] = sum(rouge_l(*pair) for pair in pairs) / len(pairs)

    return found | {"cider": cider(told, true)}


def bleu(told: Sequence[list[str]], true: Sequence[list[str]], longest: int) -> float:
    """Corpus BLEU: geometric mean of clipped precisions up to ``longest``, brevity penalty.

    Not smoothed: zero if no sequence of some length is matched.
    """
    logs = 0.0
    for n in range(1, longest + 1):
        counts = [(sequences(a, n), sequences(b, n)) for a, b in zip(told, true, strict=True)]
        matched = sum((a & b).total() for a, b in counts)
        total = sum(a.total() for a, _ in counts)
        if not matched:
            return 0.0
        logs += math.log(matched / total) / longest

    length, wanted = sum(map(len, told)), sum(map(len, true))
    return math.exp(logs + min(0.0, 1 - wanted / length))


def rouge_l(told: list[str], true: list[str]) -> float:
    """F1 of the longest common subsequence of words."""
    row = [0] * (len(true) + 1)
    for word in told:
        corner = 0
        for j, other in enumerate(true, start=1):
            above = row[j]
            row[j] = corner + 1 if word == other else max(above, row[j - 1])
            corner = above

    total = len(told) + len(true)
    return 2 * row[-1] / total if total else 0.0


def cider(told: Sequence[list[str]], true: Sequence[list[str]]) -> float:
    """Ten times the mean cosine of tf-idf vectors of word sequences of length 1 to 4.

    A sequence weighs the logarithm of the number of originals over those that hold it.
    """
    total = 0.0
    for n in ORDERS:
        holding = Counter(gram for text in true for gram in sequences(text, n))
        for a, b in zip(told, true, strict=True):
            x, y = (_weigh(sequences(text, n), holding, len(true)) for text in (a, b))
            norm = math.sqrt(sum(v * v for v in x.values()) * sum(v * v for v in y.values()))
            if norm:
                total += sum(v * y[gram] for gram, v in x.items() if gram in y) / norm

    return 10 * total / (len(ORDERS) * len(true))


def sequences(text: list[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each sequence of ``n`` words occurs."""
    return Counter(zip(*(text[i:] for i in range(n)), strict=False))


def _weigh(
    counts: Counter[tuple[str, ...]], holding: Counter[tuple[str, ...]], texts: int
) -> dict[tuple[str, ...], float]:
    return {
        gram: count * (math.log(texts) - math.log(max(1, holding[gram])))
        for gram, count in counts.items()
    }
