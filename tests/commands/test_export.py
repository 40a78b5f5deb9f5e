"""A run exported by the real command, loaded back in one line."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from rfpmss.commands import export as export_command
from rfpmss.config import smoke
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.export import main
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.model.stored import graphs as stored_graphs
from rfpmss.runs import checkpoint, origin
from rfpmss.runs.folder import Run
from rfpmss.runs.origin import Origin
from rfpmss.training.build import build
from tests import warm
from tests.model.small import WORDS, random_batch, small_config

ROOT = Path(__file__).parents[2]
RETRIEVAL = [
    {"query": "mri", "gallery": "report", "n": 16, "r5": 0.5, "chance_r5": 0.3125, "ceiling_r5": 1}
]


def python(*words):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, words)], env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with one checkpoint, as after three steps."""
    folder = tmp_path_factory.mktemp("somebody") / "run"
    config = smoke().model_copy(update={"train": smoke().train.model_copy(update={"ema": 0.5})})
    Run(folder, config, folder / "cohort" / "manifest.csv")
    words = train_tokenizer(["a mass on the left side", "ring enhancement, grade 4"], 300)
    torch.manual_seed(0)
    state, _ = build(config, words, 48, "cpu", fresh=True)
    with torch.no_grad():
        for parameter in state.modules["average"].module.parameters():
            parameter += 1
    saved = checkpoint.save(folder, 3, state, 2)
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "retrieval.json").write_text(json.dumps(RETRIEVAL))
    weights = checkpoint.weights_of(saved)
    origin.mark(
        *(Origin(3, weights, "c" * 32), folder / "evaluation", "retrieval", ["retrieval.json"]),
        split="test",
    )
    (folder / "metrics.jsonl").write_text('{"step": 1}\n{"step": 3}\n')  # a row is lost
    return folder


@pytest.fixture(scope="module")
def exported(run):
    out = run.parent / "model"
    done = python("-m", "rfpmss.export", run, "--out", out, "--license", "cc-by-4.0")
    assert done.returncode == 0, done.stderr
    assert f'RFPMSS.from_pretrained("{out}")' in done.stdout
    return out


def test_an_exported_run_loads_in_one_line_with_the_same_weights(run, exported):
    model = RFPMSS.from_pretrained(exported)
    expected, tokenizer, config = checkpoint.load_model(run)
    assert not model.training
    assert (model.config, model.data) == (config.model, config.data)
    mine, theirs = model.state_dict(), expected.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    words = Tokenizer.from_file(str(exported / "tokenizer.json"))
    assert words.get_vocab() == tokenizer.get_vocab()
    batch = random_batch(config, size=2)
    batch.tokens %= tokenizer.get_vocab_size()
    a, b = (m.encode(batch.images, batch.present, batch.tokens) for m in (model, expected))
    assert torch.equal(a.joint, b.joint)


def test_the_folder_holds_neither_pickles_nor_paths_of_this_machine(run, exported):
    names = {path.name for path in exported.iterdir()}
    expected = {"README.md", "SHA256SUMS", "config.json", "model.safetensors", "tokenizer.json"}
    assert names == expected | {"image.pt2", "text.pt2"}
    for path in exported.iterdir():
        texts = [path.read_bytes()]
        if path.suffix == ".pt2":
            with zipfile.ZipFile(path) as archive:
                texts = [archive.read(name) for name in archive.namelist()]
        for text in texts:
            assert str(run.parent).encode() not in text
            assert str(ROOT).encode() not in text
    assert (
        load_file(exported / "model.safetensors").keys()
        == RFPMSS.from_pretrained(exported).state_dict().keys()
    )


def test_the_card_says_sizes_training_and_scores_beside_chance(exported):
    card = (exported / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "cc-by-4.0"
    assert "medical" in head["tags"]
    assert "not for clinical use" in card
    assert "| mri | report | 16 | 50.0 | 31.2 | 100.0 |" in card
    total = sum(p.numel() for p in RFPMSS.from_pretrained(exported).parameters())
    assert f"| total | {total:,} |" in card
    assert "preset `smoke`, seed 0, 3 steps of 12 studies" in card
    assert "Measured after step 3 on the studies that another cohort (digest cccc" in card


@pytest.mark.parametrize("kind", ["another step", "edited", "older"])
def test_scores_of_other_weights_are_no_scores_of_the_exported_ones(
    kind, run, tmp_path, monkeypatch, capsys
):
    shutil.copytree(run, tmp_path / "run")
    scores = tmp_path / "run" / "evaluation"
    if kind == "another step":
        mark = scores / "retrieval_origin.json"
        mark.write_text(json.dumps(json.loads(mark.read_text()) | {"step": 2, "weights": "0" * 64}))
    elif kind == "edited":
        (scores / "retrieval.json").write_text(json.dumps([RETRIEVAL[0] | {"r5": 1.0}]))
    else:
        (scores / "retrieval_origin.json").unlink()
    assert main([str(tmp_path / "run"), "--no-graphs", "--out", str(tmp_path / "out")]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| mri | report" not in card
    assert "Not measured with these weights." in card
    wanted = "other weights (step 2; these are of step 3)" if kind[0] == "a" else "not known"
    assert wanted in capsys.readouterr().err


GRAPHS = """
import sys, torch
from rfpmss.model.stored.graphs import ImageSide, TextSide
from rfpmss.model.rfpmss import RFPMSS

folder = sys.argv[1]
model = RFPMSS.from_pretrained(folder)
data, words = model.data, model.report.bert.config.vocab_size
graphs = {name: torch.export.load(f"{folder}/{name}.pt2").module() for name in ("image", "text")}
torch.manual_seed(1)
for studies in (1, 3, 7):
    images = [torch.randn(studies, 1, c, data.size, data.size) for c in (3, 4, 3)]
    present = torch.rand(studies, 4) > 0.3
    tokens = torch.randint(4, words, (studies, data.tokens))
    tokens[0, 5:] = 0
    tokens[-1, :] = 0
    for name, side, given in (
        ("image", ImageSide(model), (*images, present)),
        ("text", TextSide(model), (tokens,)),
    ):
        with torch.no_grad():
            for mine, expected in zip(graphs[name](*given), side(*given), strict=True):
                assert len(mine) == studies
                torch.testing.assert_close(mine, expected, rtol=1e-6, atol=1e-6)
    whole = model.encode(tuple(images), present, tokens)
    joint = graphs["image"](*images, present)[1]
    torch.testing.assert_close(joint, whole.joint[:, :3].detach(), rtol=1e-5, atol=1e-5)
print("equal")
"""


def test_exported_graphs_compute_what_the_model_does_for_any_number_of_studies(exported):
    # A process of its own: the run-time checks of shapes in tests cannot be traced.
    done = warm.run([sys.executable, "-c", GRAPHS, exported])
    assert done.stdout.strip() == "equal", done.stderr


def test_a_model_can_be_saved_and_loaded_without_a_run(tmp_path):
    config = small_config(fusion="token", image_weights="/home/somebody/vit", text_frozen=1)
    model = RFPMSS(config.model, config.data, WORDS)
    model.save_pretrained(tmp_path / "m")
    other = RFPMSS.from_pretrained(str(tmp_path / "m"))
    assert other.config == config.model.model_copy(update={"image_weights": None})
    assert other.config.activation == "gelu"
    assert "somebody" not in (tmp_path / "m" / "config.json").read_text()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.requires_grad == b.requires_grad


def test_an_export_of_before_the_recipe_loads_as_it_was(tmp_path):
    config = small_config()
    model = RFPMSS(config.model, config.data, WORDS).eval()
    model.save_pretrained(tmp_path / "m")
    stored = json.loads((tmp_path / "m" / "config.json").read_text())
    for name in ("standardise", "study_words", "token_types"):
        del stored["model"][name]
    (tmp_path / "m" / "config.json").write_text(json.dumps(stored))
    other = RFPMSS.from_pretrained(str(tmp_path / "m"))
    assert not [name for name in other.state_dict() if "standardise" in name]
    batch = random_batch(config, size=2)
    a, b = (m(batch.images, batch.present, batch.tokens) for m in (model, other))
    for name in ("study", "report", "joint", "logits"):
        assert torch.equal(getattr(a, name), getattr(b, name))


def test_running_figures_are_exported_with_the_weights(tmp_path):
    config = small_config(standardise=True, study_words=True)
    model = RFPMSS(config.model, config.data, WORDS)
    batch = random_batch(config, size=6)
    model.train()(batch.images, batch.present, batch.tokens)
    model.eval().save_pretrained(tmp_path / "m")
    other = RFPMSS.from_pretrained(str(tmp_path / "m"))
    assert other.fuse.standardise.batches.tolist() == [1]
    a, b = (m.encode(batch.images, batch.present, batch.tokens) for m in (model, other))
    for name in ("study", "report", "joint"):
        assert torch.equal(getattr(a, name), getattr(b, name))


def test_what_is_no_model_is_refused_in_one_sentence(exported, tmp_path):
    def copy(name, **changes):
        folder = tmp_path / name
        folder.mkdir()
        for file in ("config.json", "model.safetensors"):
            (folder / file).write_bytes((exported / file).read_bytes())
        for file, content in changes.items():
            (folder / file.replace("_", ".")).write_bytes(content)
        return folder

    config = json.loads((exported / "config.json").read_text())
    config["model"]["depht"] = 3
    half = (exported / "model.safetensors").read_bytes()[:1000]
    lacking = load_file(exported / "model.safetensors")
    del lacking["anchors.joint"]
    missing = copy("missing")
    save_file(lacking, missing / "model.safetensors")
    weightless = copy("weightless")
    (weightless / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1)}, weightless / "pytorch_model.bin")
    (tmp_path / "empty").mkdir()
    for source, words in {
        tmp_path / "nowhere": "got .*nowhere",
        "somebody/some-model": "in the local cache of the hub, got somebody/some-model",
        tmp_path / "empty": "a folder with config.json",
        copy("typo", config_json=json.dumps(config).encode()): "depht",
        copy("text", config_json=b"{"): "JSONDecodeError",
        copy("half", model_safetensors=half): "SafetensorError",
        missing: "RuntimeError",
        weightless: "FileNotFoundError",
    }.items():
        with pytest.raises(ValueError, match=words) as error:
            RFPMSS.from_pretrained(source)
        assert "\n" not in str(error.value)


def test_averaged_weights_are_exported_when_asked_for(run, exported, tmp_path):
    out = tmp_path / "averaged"
    words = [str(run), "--out", str(out), "--weights", "averaged", "--no-graphs"]
    assert main(words) == 0
    assert sorted(p.name for p in out.iterdir() if p.suffix == ".pt2") == []
    last, averaged = (RFPMSS.from_pretrained(folder) for folder in (exported, out))
    for a, b in zip(last.parameters(), averaged.parameters(), strict=True):
        torch.testing.assert_close(a + 1, b)


def test_the_command_refuses_what_it_cannot_do_and_leaves_nothing_behind(run, tmp_path, capsys):
    for words, sentence in (
        ((tmp_path / "no", "--out", tmp_path / "o"), "RUN must be a run folder"),
        ((run, "--out", run), "--out must be a new or empty folder"),
        ((run, "--out", run / "checkpoints" / "step-99"), "--out must lie outside the checkpoints"),
        ((run, "--out", tmp_path / "o", "--weights", "best"), "the best weights need a run"),
    ):
        assert main(list(map(str, words))) == 1
        message = capsys.readouterr().err
        assert message.startswith(f"error: {sentence}")
        assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("largest", [100, 100_000])  # the configuration, the weights
def test_a_disk_that_is_full_is_named_as_such(run, largest, tmp_path, capsys):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        status = main([str(run), "--no-graphs", "--out", str(tmp_path / "o")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 74
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: File too large ({tmp_path}")
    assert "ulimit -f" in error
    assert list(tmp_path.iterdir()) == []


def test_a_graph_on_a_full_disk_is_an_error_of_the_disk(tmp_path, monkeypatch):
    class Module(torch.nn.Module):
        def forward(self, x):
            return x + torch.ones(1000)

    program = torch.export.export(Module(), (torch.zeros(1000),))
    monkeypatch.setattr(stored_graphs, "graphs", lambda _: {"image": program})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):  # torch's own writer aborts
            stored_graphs.write(RFPMSS(smoke().model, smoke().data, 50), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_of_two_exports_into_one_folder_the_second_is_told(run, tmp_path, monkeypatch, capsys):
    words = [str(run), "--no-graphs", "--out", str(tmp_path / "o")]
    describe = export_command.describe

    def meanwhile(*arguments):
        monkeypatch.setattr(export_command, "describe", describe)
        assert main(words) == 0
        return describe(*arguments)

    monkeypatch.setattr(export_command, "describe", meanwhile)
    assert main(words) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == (
        f"error: Directory not empty ({tmp_path / 'o'}); another process has just filled that "
        f"folder: choose another path"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["o"]
    RFPMSS.from_pretrained(tmp_path / "o")


def altered(exported, tmp_path, change):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        os.link(exported / name, folder / name)
    content = json.loads((exported / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(change(content)))
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: [], "must be a JSON object"),
        (lambda c: c | {"model": 3}, "must be a JSON object"),
        (lambda c: c | {"vocabulary": "x"}, "vocabulary must be an integer"),
        (lambda c: c | {"vocabulary": True}, "vocabulary must be an integer"),
        (lambda c: c | {"vocabulary": 2**40}, "vocabulary must be an integer"),
        (lambda c: c | {"vocabulary": 10_000_000}, "must have the shape"),
        (lambda c: c | {"model": c["model"] | {"depth": 2**40}}, "less than or equal to 1024"),
        (lambda c: c | {"model": c["model"] | {"dim": 65_536}}, "must have the shape"),
        (lambda c: c | {"model": c["model"] | {"decoder_depth": 1_024}}, "must hold the model's"),
        (lambda c: c | {"data": c["data"] | {"tokens": 8_192}}, "must have the shape"),
        (lambda c: c | {"model": c["model"] | {"image_weights": "/etc/passwd"}}, None),
    ],
)
def test_what_a_configuration_asks_for_is_bounded_by_the_weights(exported, tmp_path, change, words):
    folder = altered(exported, tmp_path, change)
    if words is None:
        assert RFPMSS.from_pretrained(folder)
        return
    with pytest.raises(ValueError, match=words):
        RFPMSS.from_pretrained(folder)


def test_undefined_weights_are_not_loaded(exported, tmp_path):
    folder = altered(exported, tmp_path, dict)
    held = load_file(folder / "model.safetensors")
    name = next(name for name, value in held.items() if value.is_floating_point())
    (folder / "model.safetensors").unlink()
    save_file(held | {name: held[name] * torch.nan}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="must hold finite weights"):
        RFPMSS.from_pretrained(folder)


def test_everybody_in_the_group_can_load_what_was_exported(exported):
    modes = {path.name: path.stat().st_mode & 0o777 for path in exported.iterdir()}
    assert set(modes.values()) == {0o666 & ~umask()}


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_graphs_hold_no_pickle_and_trust_is_asked_for(exported):
    for name in ("image.pt2", "text.pt2"):
        with zipfile.ZipFile(exported / name) as archive:
            samples = [n for n in archive.namelist() if "sample_inputs" in n]
            assert all(not archive.read(entry) for entry in samples)
    for text in ((exported / "README.md").read_text(), (ROOT / "docs/export.md").read_text()):
        assert re.search(r"\.pt2`\**,? only if you trust|\.pt2` only if\s+you trust", text)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_digests_without_a_line_for_a_file_are_told_as_that(exported, tmp_path, name):
    folder = tmp_path / "model"
    shutil.copytree(exported, folder)
    lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    (folder / "SHA256SUMS").write_text("".join(line for line in lines if name not in line))
    with pytest.raises(ValueError, match=f"SHA256SUMS must have a line for {name}, got none in"):
        RFPMSS.from_pretrained(folder)


def test_finite_weights_whose_vectors_overflow_are_not_exported(run, tmp_path, capsys):
    folder = tmp_path / "run"
    config, words = smoke(), train_tokenizer(["a mass on the left side"], 300)
    Run(folder, config, folder / "cohort" / "manifest.csv")
    state, _ = build(config, words, 48, "cpu", fresh=True)
    with torch.no_grad():
        for parameter in state.modules["model"].parameters():
            parameter.fill_(3e38)
    checkpoint.save(folder, 1, state, 2)
    assert main([str(folder), "--no-graphs", "--out", str(tmp_path / "o")]) == 1
    assert "weights must give finite vectors, got infinite or undefined ones (" in (
        capsys.readouterr().err
    )
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
