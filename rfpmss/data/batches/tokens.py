"""Reports to token ids and back, and the exchange of left and right."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int64
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from rfpmss.common import strict
from rfpmss.config import END, PAD, START, UNK
from rfpmss.data.errors import TextError

if TYPE_CHECKING:
    from tokenizers.models import Model

SPECIAL = {"[PAD]": PAD, "[UNK]": UNK, "[START]": START, "[END]": END}
ENGLISH = {"left": "right", "right": "left"}
CHINESE = {"左": "右", "右": "左"}
LETTERS = [
    begin + letter for begin in ("", "##") for letter in string.ascii_lowercase + string.digits
]
"""What any word of English can be spelt with."""
# Whole Latin words; runs of 左 and 右, of which only those of length one name a side
# (左右 means "both sides" or "about").
_SIDES = re.compile(r"(?<![A-Za-z0-9_])(?:left|right)(?![A-Za-z0-9_])|[左右]+", re.IGNORECASE)


def swap_sides(text: str) -> str:
    """The report of the mirrored patient; twice is the identity.

    Whole words only, case kept; 左右 is left alone.

    Example:
        >>> swap_sides("Left frontal, bright, RIGHT-sided; 左额叶")
        'Right frontal, bright, LEFT-sided; 右额叶'
    """
    return _SIDES.sub(_swap, text)


def _swap(match: re.Match[str]) -> str:
    word = match.group()
    if word[0] in CHINESE:
        return CHINESE[word] if len(word) == 1 else word

    other = ENGLISH[word.lower()]
    for case in (str.lower, str.upper, str.capitalize):
        if word == case(word):
            return case(other)

    return word  # mixed case is no word that a person wrote


def train_tokenizer(reports: Sequence[str], size: int) -> Tokenizer:
    """A WordPiece tokenizer of at most ``size`` words, special tokens first.

    Args:
        reports: training texts; both sides' words are learned from either.
        size: upper bound of the vocabulary.

    Raises:
        TextError: if there is no text.
    """
    texts = [text for text in reports if text.strip()]
    if not texts:
        raise TextError("there is no report with text to learn words from")

    corpus = [*texts, *(swap_sides(text) for text in texts)]
    learner = _tokenizer(models.WordPiece(unk_token="[UNK]"))  # type: ignore[call-arg]
    # The trainer numbers letters inside words in the order of a randomised hash and breaks ties by
    # that number: without a fixed order no two processes would learn the same words.
    inside = sorted({f"##{letter}" for word in _words(learner, corpus) for letter in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=[*SPECIAL, *inside], show_progress=False
    )
    learner.train_from_iterator(corpus, trainer)

    # Letters are no special tokens: keep what was learned, not the markings.
    return _tokenizer(models.WordPiece(learner.get_vocab(), unk_token="[UNK]"))  # type: ignore[call-arg]


def take_words(
    words: Mapping[str, int], reports: Sequence[str], size: int, *, cased: bool
) -> Tokenizer:
    """The words of a published BERT, START and END in the place of its [CLS] and [SEP].

    Where it has more than ``size``, those that the reports use are kept, the most used first, and
    single letters to spell all others with: reports of these words are read as by the whole
    vocabulary.

    Args:
        words: of the published model; [PAD], [UNK], [CLS] and [SEP] among them.
        reports: training texts.
        size: upper bound of the vocabulary.
        cased: whether large letters differ from small ones.

    Raises:
        TextError: if it has words called [START] or [END].
    """
    if taken := {"[START]", "[END]"} & set(words):
        raise TextError(f"a published vocabulary must not have the word {min(taken)}")

    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    rest = [word for word in sorted(words, key=words.__getitem__) if word not in special]
    if len(rest) + len(special) > size:
        kept = _most_used(words, reports, size - len(special), cased=cased)
        rest = [word for word in rest if word in kept]

    vocabulary = {word: place for place, word in enumerate([*SPECIAL, *rest])}
    return _tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"), cased=cased)  # type: ignore[call-arg]


def _most_used(
    words: Mapping[str, int], reports: Sequence[str], size: int, *, cased: bool
) -> set[str]:
    whole = _tokenizer(models.WordPiece(dict(words), unk_token="[UNK]"), cased=cased)  # type: ignore[call-arg]
    texts = [*reports, *(swap_sides(text) for text in reports)]
    coded = whole.encode_batch(texts, add_special_tokens=False)
    used = Counter(token for item in coded for token in item.tokens)
    letters = [word for word in LETTERS if word in words]
    order = [*letters, *sorted(used, key=lambda word: (-used[word], words[word]))]
    return set(list(dict.fromkeys(order))[:size])


def load_tokenizer(text: str) -> Tokenizer:
    """The tokenizer in a file of ours: nothing but its words is taken from there.

    A file of somebody else may name rules that run for minutes, take gigabytes or end the process:
    rules other than those of `train_tokenizer` are refused before they are made.

    Args:
        text: JSON as ``Tokenizer.to_str`` writes it.

    Raises:
        ValueError: says what is none of ours.
    """
    found = strict.loads(text)
    if not isinstance(found, dict) or not isinstance(found.get("model"), dict):
        raise ValueError("must be a JSON object with a model")

    vocabulary = found["model"].pop("vocab", None)
    if not isinstance(vocabulary, dict) or not all(type(n) is int for n in vocabulary.values()):
        raise ValueError("must give each word of its model a whole number")
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ValueError("the ids of the words must be 0, 1, 2 ...")
    if {name: vocabulary.get(name) for name in SPECIAL} != SPECIAL:
        raise ValueError(f"must begin with the words {', '.join(SPECIAL)}")

    normal = found.get("normalizer")
    cased = isinstance(normal, dict) and normal.get("lowercase") is False
    made = _tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"), cased=cased)  # type: ignore[call-arg]
    empty = _tokenizer(models.WordPiece({}, unk_token="[UNK]"), cased=cased)  # type: ignore[call-arg]
    ours = json.loads(empty.to_str())
    del ours["model"]["vocab"]

    for name in sorted(found.keys() | ours.keys()):
        if found.get(name) != ours.get(name):
            raise ValueError(f"{name} must be that of a tokenizer of rfpmss")

    return made


def _tokenizer(model: Model, *, cased: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not cased)  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    tokenizer.decoder = decoders.WordPiece()  # type: ignore[assignment]
    return tokenizer


def _words(tokenizer: Tokenizer, texts: Sequence[str]) -> set[str]:
    plain = (tokenizer.normalizer.normalize_str(text) for text in texts)
    return {word for text in plain for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)}


def encode(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> Int64[Tensor, "b t"]:
    """``START words END PAD...``; longer texts lose their tail, never their END.

    Example:
        >>> words = train_tokenizer(["a mass on the left"], 64)
        >>> ids = encode(words, ["left mass", ""], 5)
        >>> [int(row[0]) for row in ids], int(ids[1, 1])
        ([2, 2], 3)
    """
    if length < 2:
        raise ValueError(f"length must be at least 2, got {length}")

    ids = np.full((len(texts), length), PAD, np.int64)
    coded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    for row, item in zip(ids, coded, strict=True):
        words = item.ids[: length - 2]
        row[0], row[1 : 1 + len(words)], row[1 + len(words)] = START, words, END

    return torch.from_numpy(ids)


def trim(ids: Int64[Tensor, "b t"]) -> Int64[Tensor, "b u"]:
    """The same reports without the padding that all of them end with.

    Example:
        >>> trim(torch.tensor([[2, 7, 3, 0, 0], [2, 3, 0, 0, 0]])).tolist()
        [[2, 7, 3], [2, 3, 0]]
    """
    used = int((ids != PAD).any(dim=0).sum())
    return ids[:, : max(used, 2)].contiguous()  # a decoder has a word to say, if only to nobody


@dataclass(frozen=True)
class Cut:
    """What is lost of reports that are longer than a model reads."""

    reports: int
    long: int
    """Reports that lose words."""
    words: int
    """Of all reports; a Chinese character is one."""
    lost: int
    """Words that no model sees, those cut in two included."""
    longest: int
    """Tokens of the longest report, start and end included."""
    length: int
    """Tokens that are read."""

    @property
    def sentence(self) -> str:
        """One line for the log and the page."""
        if not self.long:
            return f"no report is longer than data.tokens={self.length}, the longest {self.longest}"
        return (
            f"{self.long} of {self.reports} reports are longer than data.tokens={self.length}: "
            f"{self.lost} of {self.words} words are cut, the longest report has {self.longest}"
        )


_WORD = re.compile(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+")


def cut(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> Cut:
    """Count what `encode` leaves out.

    Example:
        >>> words = train_tokenizer(["a mass on the left"], 64)
        >>> found = cut(words, ["a mass on the left", "left"], 5)
        >>> found.long, found.lost, found.words, found.longest
        (1, 2, 6, 7)
    """
    long = lost = words = longest = 0
    for start in range(0, len(texts), 1024):
        some = list(texts[start : start + 1024])
        coded = tokenizer.encode_batch(some, add_special_tokens=False)
        for text, item in zip(some, coded, strict=True):
            words += len(_WORD.findall(text))
            longest = max(longest, len(item.ids) + 2)
            if len(item.ids) > length - 2:
                long += 1
                kept = item.offsets[length - 2][0]
                lost += sum(found.end() > kept for found in _WORD.finditer(text))

    return Cut(len(texts), long, words, lost, longest, length)


def decode(tokenizer: Tokenizer, ids: Int64[Tensor, " t"] | Sequence[int]) -> str:
    """Words up to the first END, without special tokens."""
    words = []
    for word in ids.tolist() if isinstance(ids, Tensor) else ids:
        if word == END:
            break
        if word not in (PAD, START):
            words.append(int(word))

    return tokenizer.decode(words, skip_special_tokens=False)
