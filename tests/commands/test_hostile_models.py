"""What a folder of somebody else's weights and words may do: be refused in one sentence."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rfpmss.config import smoke
from rfpmss.data.batches.tokens import load_tokenizer, train_tokenizer
from rfpmss.embed import main
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.model.stored.hub import write_sums

TEXTS = ["a mass on the left side, grade 4", "ring enhancement, necrosis"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as ``rfpmss export`` writes it, without sums: as somebody else may write it."""
    folder, config = tmp_path_factory.mktemp("m") / "model", smoke()
    words = train_tokenizer(TEXTS, 300)
    torch.manual_seed(0)
    RFPMSS(config.model, config.data, words.get_vocab_size()).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(words.to_str())
    return folder


def refused(folder: Path, cohort: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([str(cohort), "--model", str(folder), "--out", str(out)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert not list(out.parent.glob("*e.parquet*"))
    return error


def test_finite_weights_whose_vectors_overflow_are_refused(
    model: Path, smoke_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    file = folder / "model.safetensors"
    large = {k: v * 1e30 if v.is_floating_point() else v for k, v in load_file(file).items()}
    save_file(large, file)
    error = refused(folder, smoke_cohort, tmp_path / "e.parquet", capsys)
    assert "features must be finite, got infinite or undefined ones for" in error


@pytest.mark.parametrize("kind", [torch.complex64, torch.int8])
def test_weights_of_another_kind_of_number_are_refused(
    kind: torch.dtype,
    model: Path,
    smoke_cohort: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    file = folder / "model.safetensors"
    save_file({name: value.to(kind) for name, value in load_file(file).items()}, file)
    error = refused(folder, smoke_cohort, tmp_path / "e.parquet", capsys)
    assert "must be of type torch.float32, got" in error


def test_a_tokenizer_survives_its_file() -> None:
    made = train_tokenizer(TEXTS, 300)
    assert load_tokenizer(made.to_str()).to_str() == made.to_str()


REPLACE = {"type": "Replace", "pattern": {"String": "e"}, "content": "e" * 200}
TRUNCATION = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 1}
PADDING = {
    "strategy": {"Fixed": 1 << 40},
    "direction": "Right",
    "pad_to_multiple_of": 1 << 62,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "[PAD]",
}
REGEX = {"type": "Replace", "pattern": {"Regex": "(a*)*b"}, "content": ""}
ADDED = {"id": 0, "content": "e", "special": True}
HOSTILE = [
    ("normalizer", {"type": "Sequence", "normalizers": [REPLACE] * 4}),
    ("normalizer", REGEX),
    ("normalizer", None),
    ("truncation", TRUNCATION),
    ("padding", PADDING),
    ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed"}),
    ("post_processor", {"type": "ByteLevel", "add_prefix_space": True}),
    ("decoder", {"type": "Sequence", "decoders": []}),
    ("added_tokens", [ADDED]),
    ("model", {"type": "BPE", "vocab": {"a": 0}, "merges": []}),
    ("model", []),
    ("quite", "other"),
]


@pytest.mark.parametrize(("name", "value"), HOSTILE)
def test_rules_of_somebody_else_are_refused_before_they_are_made(name: str, value: object) -> None:
    found = json.loads(train_tokenizer(TEXTS, 300).to_str()) | {name: value}
    with pytest.raises(ValueError, match="must"):
        load_tokenizer(json.dumps(found))


@pytest.mark.parametrize(
    "change",
    [
        {"[PAD]": 1, "[UNK]": 0},
        {"e": 10**400},
        {"e": True},
        {"e": -1},
        {"e": 1.0},
        {"\ud800": 10**6},
    ],
)
def test_words_of_somebody_else_are_refused(change: dict[str, object]) -> None:
    found = json.loads(train_tokenizer(TEXTS, 300).to_str())
    found["model"]["vocab"] |= change
    with pytest.raises(ValueError, match=r"must|Exceeds"):
        load_tokenizer(json.dumps(found))


def test_a_hostile_tokenizer_is_one_sentence_from_the_command(
    model: Path, smoke_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    found = json.loads((folder / "tokenizer.json").read_text()) | {"padding": PADDING}
    (folder / "tokenizer.json").write_text(json.dumps(found))
    error = refused(folder, smoke_cohort, tmp_path / "e.parquet", capsys)
    assert "padding must be that of a tokenizer of rfpmss" in error
    assert f"the tokenizer must be that of an exported model, got {folder}" in error
    assert "checkpoint" not in error


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_with_a_hole_of_a_terabyte_is_refused_before_it_is_read(
    name: str,
    model: Path,
    smoke_cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    write_sums(folder)
    os.truncate(folder / name, 1 << 40)
    read: list[str] = []
    digest = hashlib.file_digest
    monkeypatch.setattr(
        hashlib, "file_digest", lambda file, kind: read.append(file.name) or digest(file, kind)
    )
    refused(folder, smoke_cohort, tmp_path / "e.parquet", capsys)
    (folder / "SHA256SUMS").unlink()
    refused(folder, smoke_cohort, tmp_path / "e.parquet", capsys)
    assert str(folder / name) not in read


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("data", "resize", 65_536),
        ("data", "slices", 1_024),
        ("data", "tokens", 65_536),
        ("data", "size", 33),
        ("model", "patch", 1),
    ],
)
def test_sizes_beyond_all_use_are_refused_before_memory_is_taken(
    section: str,
    name: str,
    value: int,
    model: Path,
    smoke_cohort: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    found = json.loads((folder / "config.json").read_text())
    if name != "resize":
        found["data"] |= {"resize": 8_192, "size": 8_192}
    found[section][name] = value
    (folder / "config.json").write_text(json.dumps(found))
    error = refused(folder, smoke_cohort, tmp_path / "e.parquet", capsys)
    assert "must be a multiple" in error or "less than or equal" in error or "at most" in error


def test_a_configuration_that_says_a_size_twice_is_refused(
    model: Path, smoke_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    text = (folder / "config.json").read_text().replace('"resize":', '"resize": 40, "resize":')
    (folder / "config.json").write_text(text)
    error = refused(folder, smoke_cohort, tmp_path / "e.parquet", capsys)
    assert "config.json must name each key once, got 'resize' twice" in error
