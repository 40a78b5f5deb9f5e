"""Baselines are pretrained as the run is: the same order and length, other tasks, no leak."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from rfpmss.commands import finetune
from rfpmss.config import smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import swap_sides, train_tokenizer
from rfpmss.evaluation.labels import baselines
from rfpmss.evaluation.labels.probe import image_features
from rfpmss.evaluation.labels.transfer import random_start
from rfpmss.runs.children import Children
from rfpmss.runs.opened import Opened


@pytest.fixture(scope="module")
def opened(smoke_cohort):
    config = smoke()
    cohort = Cohort.open(smoke_cohort, config.data)
    tokenizer = train_tokenizer(cohort.reports("train"), config.data.vocabulary)
    model = random_start(config, tokenizer.get_vocab_size())
    return Opened(model, cohort, tokenizer, config)


def test_classes_come_from_training_reports_as_they_stand_and_mirrored(opened):
    texts = opened.cohort.reports("train")
    classes = baselines.classes_of(texts)
    assert classes == baselines.classes_of([swap_sides(text) for text in texts])
    assert set(classes["side"]) == {"left", "right"}
    assert "size" not in classes
    assert all(sorted(places.values()) == list(range(len(places))) for places in classes.values())
    assert baselines.classes_of(["Nothing is told."]) == {}


def test_the_encoder_learns_the_findings_and_the_same_again(opened):
    """With labels seen in training the features tell cell density apart, random ones less."""

    def train():
        return baselines.train_labels(
            opened.config, opened.cohort, opened.tokenizer, "cpu", epochs=6
        )

    state = torch.get_rng_state()
    made = train()
    assert torch.equal(state, torch.get_rng_state())
    start = random_start(
        opened.config, opened.tokenizer.get_vocab_size(), opened.config.seed
    ).state_dict()
    moved = {
        name.partition(".")[0]
        for name, value in made.state_dict().items()
        if not torch.equal(value, start[name])
    }
    assert moved == {"image"}

    def separation(model):
        features = image_features(model, opened.cohort, opened.tokenizer)
        features = features[opened.cohort.indices("train")]
        values = [opened.cohort.studies[i].label("density") for i in opened.cohort.indices("train")]
        centred = features - features.mean(axis=0)
        means = [centred[np.array(values) == value].mean(axis=0) for value in set(values)]
        return sum((mean**2).sum() for mean in means) / (centred**2).sum(axis=1).mean()

    assert separation(made) > 1.5 * separation(opened.model)
    again = train().state_dict()
    assert all(torch.equal(value, again[name]) for name, value in made.state_dict().items())


def test_targets_are_those_of_the_report_that_the_batch_shows(opened, monkeypatch):
    studies = opened.cohort.indices("train")
    classes = baselines.classes_of(opened.cohort.reports("train"))
    heads = torch.nn.ModuleDict(
        {
            name: torch.nn.Linear(3 * opened.config.model.dim, len(places))
            for name, places in classes.items()
        }
    )
    for parameter in heads.parameters():
        torch.nn.init.zeros_(parameter)
    seen, original = [], baselines._targets

    def spy(stated, name, places):
        found = original(stated, name, places)
        if name == "side":
            seen.append(found)
        return found

    monkeypatch.setattr(baselines, "_targets", spy)
    wanted = np.mean([np.log(len(places)) for places in classes.values()])
    for augment in (None, (0, 0)):
        batch = opened.cohort.batch(studies, opened.tokenizer, augment=augment)
        loss = baselines._losses(opened.model, heads, batch, opened.tokenizer, classes)
        assert loss.item() == pytest.approx(wanted, rel=1e-5)
    plain, flipped = seen
    true = [opened.cohort.studies[i].label("side") for i in studies]
    assert [classes["side"][side] for side in true] == plain.tolist()
    assert 0.2 < (plain != flipped).float().mean() < 0.8


def test_without_reports_there_is_nothing_to_learn(opened):
    mute = SimpleNamespace(reports=lambda _: [])
    with pytest.raises(ValueError, match="needs training reports that state findings"):
        baselines.train_labels(opened.config, mute, opened.tokenizer, "cpu")


@pytest.mark.parametrize("name", baselines.OTHERS)
def test_another_run_gets_the_same_seed_and_length(name, tmp_path, monkeypatch):
    calls = []

    monkeypatch.setattr(Children, "run", lambda _, words, __: calls.append(words) or 0)
    config = smoke().model_copy(update={"seed": 5})
    baselines.train_other(name, config, tmp_path / "manifest.csv", tmp_path, "cpu", 3)
    wanted = yaml.safe_load((tmp_path / "wanted.yaml").read_text())
    assert (wanted["seed"], wanted["train"]["epochs"]) == (5, 3)
    assert wanted["data"] == config.model_dump(mode="json")["data"]
    assert "--no-evaluate" in calls[0]
    changes = baselines.OTHERS[name].changes
    for path, value in changes.items():
        section, field = path.split(".")
        assert wanted[section][field] == value


def test_a_baseline_that_fails_names_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr(Children, "run", lambda *_: 3)
    with pytest.raises(ValueError, match=r"contrast ended with status 3; see .*log\.txt"):
        baselines.train_other("contrast", smoke(), tmp_path / "m", tmp_path, "cpu", None)


def test_labels_are_learned_once_and_stand_beside_the_run(opened, tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"manifest": "manifest.csv"}))
    arguments = finetune.Arguments(run_dir=tmp_path, train_baseline=("labels",), baseline_epochs=1)
    first = finetune._starts(arguments, opened)["labels"]
    assert (tmp_path / "baselines" / "labels-1" / "image.safetensors").is_file()
    monkeypatch.setattr(finetune, "train_labels", None)
    again = finetune._starts(arguments, opened)
    assert list(again) == ["this run", "random weights", "labels"]
    for name, value in first.image.state_dict().items():
        assert torch.equal(value, again["labels"].image.state_dict()[name])


def test_published_weights_are_a_start_of_their_own_and_must_be_there(opened, tmp_path):
    absent = finetune.Arguments(run_dir=tmp_path, image_weights=tmp_path / "vit.safetensors")
    with pytest.raises(ValueError, match=r"vit\.safetensors"):
        finetune._starts(absent, opened)
