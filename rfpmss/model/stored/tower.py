"""A published BERT as text encoder: sizes, words and weights of a folder of ``save_pretrained``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rfpmss.common import strict
from rfpmss.common.files import opened, read_text, regular
from rfpmss.model.stored.hub import require_whole
from rfpmss.model.stored.names import bert_names

CONFIG, WEIGHTS, TOKENIZER, WORDS = (
    *("config.json", "model.safetensors", "tokenizer.json", "vocab.txt"),
)
LARGEST = {CONFIG: 1 << 20, TOKENIZER: 1 << 26, WORDS: 1 << 25, "tokenizer_config.json": 1 << 20}
"""Bytes of a file; the words of a multilingual BERT have three million."""

MOST = {
    "vocab_size": 1_000_000,
    "hidden_size": 8_192,
    "num_hidden_layers": 96,
    "num_attention_heads": 256,
    "intermediate_size": 65_536,
    "max_position_embeddings": 65_536,
}
"""Largest sizes that a folder may claim."""

SIZES = {
    "text_dim": "hidden_size",
    "text_depth": "num_hidden_layers",
    "text_heads": "num_attention_heads",
    "text_mlp": "intermediate_size",
}
"""Fields of the model's configuration, and what the folder calls them."""

FIXED: dict[str, tuple[object, ...]] = {
    "model_type": ("bert",),
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute",),
    "layer_norm_eps": (1e-12,),
    "type_vocab_size": (2,),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
}
"""What the text encoder computes, and no other; absent fields are BERT's own defaults."""

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
"""Of every BERT, in the order of PAD, UNK, START, END."""

EMBEDDINGS = "embeddings.word_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"

NORMAL = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
PIECES = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
"""Rules of a tokenizer.json that are ours too."""


class TowerError(ValueError):
    """A folder is no text encoder of the kind that is read; the message is a sentence."""


@dataclass(frozen=True)
class Tower:
    """What a folder says of its model."""

    folder: Path
    sizes: dict[str, int]
    """By the fields of the model's configuration."""
    positions: int
    """Tokens of the longest text."""
    rows: int
    """Of the table of words."""
    words: dict[str, int]
    """Each word and its row."""
    cased: bool
    """Whether large letters differ from small ones."""


def read_tower(folder: str | Path) -> Tower:
    """Sizes and words of a folder; its weights are not read yet.

    Raises:
        TowerError: if it is no folder of a BERT that this text encoder computes; names the file
            and the field.
    """
    path = Path(folder)
    if not path.is_dir():
        raise TowerError(
            f"model.text must be a folder with {CONFIG}, {WEIGHTS} and {TOKENIZER} or {WORDS}, "
            f"got {path}"
        )

    said = _object(path, CONFIG)
    for name, allowed in FIXED.items():
        value = said.get(name, allowed[0] if name != "model_type" else None)
        if isinstance(value, bool) != isinstance(allowed[0], bool) or value not in allowed:
            raise TowerError(
                f"model.text must be a BERT with {name}={allowed[0]}, got {str(value)[:60]} in "
                f"{path / CONFIG}"
            )

    for name, most in MOST.items():
        if not strict.whole(said.get(name)) or not 1 <= said[name] <= most:
            raise TowerError(
                f"model.text must have a {name} from 1 to {most:,}, got "
                f"{str(said.get(name))[:40]} in {path / CONFIG}"
            )

    sizes = {ours: said[theirs] for ours, theirs in SIZES.items()}
    if sizes["text_dim"] % sizes["text_heads"]:
        raise TowerError(
            f"model.text must have a hidden_size that is a multiple of num_attention_heads, got "
            f"{sizes['text_dim']} and {sizes['text_heads']} in {path / CONFIG}"
        )

    words, cased = _words(path)
    if max(words.values()) >= said["vocab_size"]:
        raise TowerError(
            f"model.text must have a row for each of its {len(words):,} words, got "
            f"vocab_size={said['vocab_size']:,} in {path / CONFIG}"
        )

    return Tower(path, sizes, said["max_position_embeddings"], said["vocab_size"], words, cased)


def digest(folder: str | Path) -> str:
    """SHA-256 of the lines of sha256sum over all files that are read; empty: one is missing."""
    path, lines = Path(folder), []
    for name in (CONFIG, WEIGHTS, _vocabulary(path)):
        try:
            with opened(path / name) as file:
                lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
        except OSError:
            return ""

    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_state(tower: Tower, vocabulary: Sequence[str], length: int) -> dict[str, Tensor]:
    """The weights by BERT's names, the table of words in another order.

    Args:
        tower: of `read_tower`.
        vocabulary: words of the run in order, PAD, UNK, START and END first.
        length: tokens that the run reads.

    Raises:
        TowerError: if weights are missing, of another shape, or no finite numbers; or the folder
            reads shorter texts.
    """
    if length > tower.positions:
        raise TowerError(
            f"data.tokens must be at most {tower.positions}, the positions of the model in "
            f"{tower.folder}, got {length}"
        )

    file = tower.folder / WEIGHTS
    try:
        require_whole(file)
        state = bert_names(_tensors(file, tower))
    except (OSError, SafetensorError) as error:
        raise TowerError(
            f"model.text must hold {WEIGHTS}, as save_pretrained writes it in one file, got "
            f"{file} ({type(error).__name__})"
        ) from None

    if bad := [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]:
        raise TowerError(f"model.text must hold finite weights, got others in {bad[0]} of {file}")

    names = (*SPECIAL, *vocabulary[len(SPECIAL) :])
    state[EMBEDDINGS] = state[EMBEDDINGS][[tower.words[name] for name in names]]
    return state


def _tensors(file: Path, tower: Tower) -> dict[str, Tensor]:
    """Tensors that the text encoder has, their shapes compared before one is read."""
    width, depth = tower.sizes["text_dim"], tower.sizes["text_depth"]
    found: dict[str, Tensor] = {}
    with safe_open(regular(file), framework="pt") as held:
        for name in held.keys():  # noqa: SIM118 (no mapping)
            plain = name.removeprefix("bert.")
            if not plain.startswith(("embeddings.", "encoder.layer.", "pooler.")):
                continue  # heads of other tasks
            if plain.startswith("encoder.layer.") and int(plain.split(".")[2]) >= depth:
                raise TowerError(
                    f"model.text must have num_hidden_layers={depth} layers, got {name} in {file}"
                )
            part = held.get_slice(name)
            wanted = {EMBEDDINGS: [tower.rows, width], POSITIONS: [tower.positions, width]}
            shape = list(part.get_shape())
            if shape != wanted.get(plain, shape):
                raise TowerError(
                    f"model.text must have {plain} of the shape {wanted[plain]}, got {shape} in "
                    f"{file}"
                )
            if part.get_dtype() in ("F64", "F32", "F16", "BF16"):
                found[name] = held.get_tensor(name).float()

    if EMBEDDINGS not in bert_names(found):
        raise TowerError(f"model.text must have {EMBEDDINGS}, got none in {file}")
    return found


def _vocabulary(path: Path) -> str:
    return TOKENIZER if (path / TOKENIZER).is_file() else WORDS


def _words(path: Path) -> tuple[dict[str, int], bool]:
    """Each word and its row, and whether case counts."""
    if _vocabulary(path) == TOKENIZER:
        words, cased = _of_tokenizer(path)
    else:
        lines = _text(path, WORDS).splitlines()
        words = {word: row for row, word in enumerate(lines)}
        if len(words) < len(lines):
            raise TowerError(f"model.text must name each word once, got {path / WORDS}")
        there = (path / "tokenizer_config.json").is_file()
        lower = _object(path, "tokenizer_config.json").get("do_lower_case", True) if there else True
        cased = lower is False

    if lacking := [name for name in SPECIAL if name not in words]:
        raise TowerError(f"model.text must have the word {lacking[0]} of every BERT, got {path}")
    return words, cased


def _of_tokenizer(path: Path) -> tuple[dict[str, int], bool]:
    said = _object(path, TOKENIZER)
    model, normal = (
        part if isinstance(part, dict) else {} for part in map(said.get, ("model", "normalizer"))
    )
    pieces = all(model.get(name) == value for name, value in PIECES.items())
    plain = all(normal.get(name) == value for name, value in NORMAL.items())
    if not pieces or not plain or said.get("pre_tokenizer") != {"type": "BertPreTokenizer"}:
        raise TowerError(
            f"model.text must have BERT's tokenizer (WordPiece, BertNormalizer, "
            f"BertPreTokenizer), got another in {path / TOKENIZER}"
        )

    found, lower = model.get("vocab"), normal.get("lowercase")
    words: dict[str, int] = found if isinstance(found, dict) else {}
    rows = list(words.values())
    if not rows or not all(strict.whole(row) and row >= 0 for row in rows):
        raise TowerError(f"model.text must give each word a row, got {path / TOKENIZER}")
    if len(set(rows)) < len(rows):
        raise TowerError(f"model.text must give each word a row of its own, got {path / TOKENIZER}")
    if not isinstance(lower, bool) or normal.get("strip_accents") not in (None, lower):
        raise TowerError(
            f"model.text must lower case and strip accents both or neither, got {path / TOKENIZER}"
        )
    return words, not lower


def _object(path: Path, name: str) -> dict[str, Any]:
    text = _text(path, name)
    try:
        found = strict.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise TowerError(f"model.text must hold a JSON object in {name}, got {path / name}")
    return found


def _text(path: Path, name: str) -> str:
    try:
        return read_text(path / name, most=LARGEST[name])
    except (OSError, UnicodeDecodeError) as error:
        raise TowerError(
            f"model.text must hold a readable {name}, got {path / name} ({type(error).__name__})"
        ) from None
