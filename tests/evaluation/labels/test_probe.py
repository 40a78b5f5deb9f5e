"""Few-label learning: nesting by patient, no leak, areas and tests as they should be."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rfpmss.commands import finetune
from rfpmss.config import smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.data.study import Study
from rfpmss.evaluation.labels.probe import (
    Task,
    Tuning,
    image_features,
    linear_probe,
    nested_order,
    predict,
    task,
    tune,
)
from rfpmss.evaluation.labels.transfer import Outcome, random_start, table
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.runs import checkpoint
from rfpmss.runs.opened import Opened, OpenError


def cohort_of(n=120, val=False, per_patient=2, seed=0):
    draw = np.random.default_rng(seed)
    splits = ["train"] * (n // 2) + ["val" if val else "train"] * (n // 6) + ["test"] * (n // 3)
    studies = tuple(
        Study(
            study_id=f"s{i}",
            patient_id=f"p{i // per_patient}",
            split=splits[i],
            labels=(("grade", "4" if draw.random() < 0.3 else "2"),) if i % 10 else (),
        )
        for i in range(n)
    )
    return SimpleNamespace(
        studies=studies,
        indices=lambda split: np.array([i for i, s in enumerate(studies) if s.split == split]),
    )


@pytest.mark.parametrize("val", [False, True])
def test_no_patient_is_learned_from_and_held_out(val):
    cohort = cohort_of(val=val)
    made = task(cohort, "grade", ("4",), seed=1)
    patients = [
        {cohort.studies[i].patient_id for i in part}
        for part in (made.train, made.validation, made.test)
    ]
    assert not patients[0] & patients[1]
    assert not (patients[0] | patients[1]) & patients[2]
    assert all(cohort.studies[i].label("grade") for i in (*made.train, *made.validation))
    assert [bool(p) for p in made.positive] == [s.label("grade") == "4" for s in cohort.studies]


@given(st.integers(0, 1000))
def test_larger_shares_hold_the_smaller_and_kinds_stay_even(seed):
    draw = np.random.default_rng(seed)
    positive = draw.random(200) < 0.3
    order = nested_order(positive, np.arange(200), seed)
    assert sorted(order) == list(range(200))
    made = Task(
        name="x",
        train=order,
        validation=order,
        test=order,
        positive=positive,
        mirrored=positive,
    )
    subsets = [made.subset(f).tolist() for f in (0.01, 0.1, 0.5, 1.0)]
    for small, large in zip(subsets, subsets[1:], strict=False):
        assert large[: len(small)] == small
    for part in subsets:
        kinds = positive[part]
        assert min(kinds.sum(), (~kinds).sum()) >= 2
        assert abs(kinds.sum() - positive.mean() * len(part)) <= 2
    assert len(subsets[1]) == 20


def test_studies_of_a_patient_stay_together():
    patients = np.arange(60) // 3
    order = nested_order(np.arange(60) % 7 == 0, patients, 0)
    seen = patients[order].tolist()
    assert [seen[i] for i in range(0, 60, 3)] == list(dict.fromkeys(seen))


def test_a_split_with_one_kind_is_refused():
    cohort = cohort_of()
    with pytest.raises(ValueError, match="too few patients to learn grade 9: for training"):
        task(cohort, "grade", ("9",), seed=0)


def test_the_probe_finds_what_is_linear_and_nothing_in_noise():
    draw = np.random.default_rng(0)
    positive = draw.random(900) < 0.4
    order = nested_order(positive[:400], np.arange(400), 0)
    made = Task(
        name="x",
        train=order,
        validation=np.arange(400, 500),
        test=np.arange(500, 900),
        positive=positive,
        mirrored=positive,
    )
    noise = draw.normal(size=(900, 5))
    signal = np.c_[noise, positive + 0.5 * draw.normal(size=900)]

    def area(features):
        scores = linear_probe(features, made, 1.0)
        one, other = scores[positive[500:]], scores[~positive[500:]]
        return (one[:, None] > other).mean()

    assert area(signal) > 0.88
    assert 0.4 < area(noise) < 0.6


def test_the_table_compares_each_start_with_the_reference_on_the_same_cases():
    draw = np.random.default_rng(1)
    positive = np.arange(150) < 60
    good = positive + draw.normal(size=(3, 150)) * 0.7
    bad = draw.normal(size=(3, 150))
    keys = [("mine", "linear", 0.1), ("other", "linear", 0.1), ("twin", "linear", 0.1)]
    outcome = Outcome(
        dict(zip(keys, (good, bad, good), strict=True)), positive, np.arange(150), None
    )
    mine, other, twin = table(outcome, "mine", draws=200)
    assert mine["p_delong"] is None
    assert mine["auc_low"] < mine["auc"] < mine["auc_high"]
    assert other["p_holm"] < 1e-3
    assert other["difference"] == pytest.approx(mine["auc"] - other["auc"])
    assert twin["difference"] == 0.0
    assert twin["p_delong"] == twin["p_bootstrap"] == 1.0


@pytest.fixture(scope="module")
def opened(smoke_cohort):
    config = smoke()
    cohort = Cohort.open(smoke_cohort, config.data)
    tokenizer = train_tokenizer(cohort.reports("train"), config.data.vocabulary)
    torch.manual_seed(0)
    model = RFPMSS(config.model, config.data, tokenizer.get_vocab_size()).eval()
    return Opened(model, cohort, tokenizer, config)


def test_tuning_learns_the_subset_and_leaves_the_start_alone(opened):
    made = task(opened.cohort, "necrosis", ("yes",), seed=0)
    before = {n: v.clone() for n, v in opened.model.state_dict().items()}
    classifier, scores = tune(
        opened.model,
        opened.cohort,
        opened.tokenizer,
        made,
        1.0,
        0,
        ("mri", "pathology"),
        Tuning(epochs=4, steps=8, lr=2e-3),
    )
    assert scores.shape == made.test.shape
    assert all(torch.equal(v, before[n]) for n, v in opened.model.state_dict().items())
    seen = predict(classifier, opened.cohort, opened.tokenizer, made.train)
    kinds = made.positive[made.train]
    assert (seen[kinds][:, None] > seen[~kinds]).mean() > 0.75


def test_a_mirrored_study_has_the_other_side_and_else_the_label_it_had(opened):
    reports = opened.cohort.reports("train")
    assert any("left" in report.lower() for report in reports)
    studies, draw = np.asarray(opened.cohort.indices("train")), (3, 1)
    flip = opened.cohort.flips(studies, augment=draw)
    assert 0 < flip.sum() < len(studies)
    batch = opened.cohort.batch(studies, opened.tokenizer, augment=draw)
    said = np.array(
        ["left" in opened.tokenizer.decode(row.tolist()).lower().split() for row in batch.tokens]
    )
    everything = np.arange(len(opened.cohort.studies))  # six of validation are too few for a task
    whole = SimpleNamespace(studies=opened.cohort.studies, indices=lambda _: everything)
    side = task(whole, "side", ("left",), seed=0)
    assert np.array_equal(side.targets(studies, flip), said)
    assert not np.array_equal(side.positive[studies], said)
    grade = task(opened.cohort, "necrosis", ("yes",), seed=0)
    assert np.array_equal(grade.targets(studies, flip), grade.positive[studies])


def test_tuning_gives_the_same_scores_for_the_same_seed_only(opened):
    made = task(opened.cohort, "necrosis", ("yes",), seed=0)
    first, again, other = (
        tune(
            opened.model,
            opened.cohort,
            opened.tokenizer,
            made,
            1.0,
            seed,
            ("mri",),
            Tuning(epochs=2, steps=2, batch=6, lr=2e-3),
        )[1]
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_views_that_are_left_out_do_not_matter(opened):
    found = image_features(opened.model, opened.cohort, opened.tokenizer, ("mri",))
    width = opened.config.model.dim
    assert not found[:, :width].any()
    assert found[:, width : 2 * width].any()
    assert not found[:, 2 * width :].any()


def test_random_starts_are_the_same_for_the_same_seed_and_touch_no_generator(opened):
    words = opened.tokenizer.get_vocab_size()
    state = torch.get_rng_state()
    first, second = (random_start(opened.config, words, seed=3) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_the_command_writes_its_table_and_the_tuned_encoder(opened, tmp_path, monkeypatch, capsys):
    # One step a pass: what is tuned is told above, here is what is done with it.
    monkeypatch.setattr(finetune, "Tuning", partial(Tuning, steps=1, batch=12))
    arguments = finetune.Arguments(
        run_dir=tmp_path,
        label="necrosis",
        positive=("yes",),
        fractions=(0.5, 1.0),
        seeds=(0, 1),
        epochs=1,
    )
    assert finetune.finetune(arguments, replace(opened, place=tmp_path)) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2 * 2 * 2 + 1
    assert {p.name for p in (tmp_path / "evaluation").iterdir()} == {
        *("finetune.json", "finetune.csv", "finetune.tex", "finetune_scores.json")
    }
    assert (tmp_path / "finetuned.safetensors").is_file()


def test_a_baseline_must_be_a_run(opened, tmp_path):
    arguments = finetune.Arguments(run_dir=tmp_path, baseline=(f"x={tmp_path}",))
    with pytest.raises(OpenError, match="--baseline x must be a run folder"):
        finetune.finetune(arguments, opened)
    with pytest.raises(ValueError, match="--baseline must be NAME=RUN_DIR"):
        finetune.finetune(finetune.Arguments(run_dir=Path("x"), baseline=("x",)), opened)
    assert checkpoint.latest(tmp_path) is None
