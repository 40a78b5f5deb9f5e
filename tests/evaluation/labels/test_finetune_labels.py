"""Labels of one's own patients: what is learned, what is refused, and a table at the end."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rfpmss.commands import finetune
from rfpmss.config import smoke
from rfpmss.data.study import Source, Study
from rfpmss.evaluation.labels.probe import Tuning, task
from rfpmss.evaluation.labels.transfer import random_start
from rfpmss.evaluation.labels.values import choose_label, choose_positive, is_positive
from rfpmss.runs.opened import Opened

MRI = (None, Source(kind="shard", paths=()), None)


def people(values, name="idh", splits=None, views=MRI):
    """A study a patient; every fifth is in test and every tenth in val unless told otherwise."""
    return tuple(
        Study(
            study_id=f"s{i}",
            patient_id=f"p{i}",
            split=splits[i] if splits else ("test", "train", "train", "val", "train")[i % 5],
            views=views,
            labels=((name, value),) if value else (),
        )
        for i, value in enumerate(values)
    )


def cohort_of(studies):
    return SimpleNamespace(
        studies=studies,
        indices=lambda split: np.array([i for i, s in enumerate(studies) if s.split == split]),
    )


def test_a_cohort_without_labels_ends_in_one_sentence_that_names_the_option(tmp_path, capsys):
    opened = SimpleNamespace(cohort=cohort_of(people([""] * 10)))
    for label in (None, "grade"):
        with pytest.raises(ValueError, match=r"no labels to learn; .* --labels TABLE"):
            finetune.finetune(finetune.Arguments(run_dir=tmp_path, label=label), opened)


@pytest.mark.parametrize(
    ("values", "asked", "tasks"),
    [
        (["mutant", "wildtype"] * 9, (), [("mutant",)]),
        (["0", "1"] * 9, (), [("1",)]),
        (["no", "yes", "yes"] * 9, (), [("yes",)]),
        (["A", "B", "B"] * 9, (), [("A",)]),  # no word says which: the rarer one
        (["2", "3", "4"] * 9, (), [("2",), ("3",), ("4",)]),
        (["2", "10", "3"] * 9, ("10", "3"), [("10", "3")]),
        ([str(n) for n in range(30)], (">=12.5",), [(">=12.5",)]),
    ],
)
def test_what_counts_as_positive_follows_from_the_values(values, asked, tasks):
    assert choose_positive(people(values), "idh", asked) == tasks


@pytest.mark.parametrize(
    ("values", "asked", "sentence"),
    [
        (["x"] * 9, (), "label idh has one value for all patients"),
        ([str(n) for n in range(30)], (), r"30 different numbers from 0 to 29; pass a bound"),
        ([f"text {n}" for n in range(30)], (), "has 30 values; name those"),
        (["a", "b"], ("c",), r"--positive must be values of idh \(a, b\), got c"),
        (["1", "2"], (">=0",), "--positive must leave some value of idh out"),
    ],
)
def test_values_that_are_no_classes_are_refused_with_the_way_out(values, asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        choose_positive(people(values), "idh", asked)


def test_the_label_is_the_only_one_or_the_grade_or_must_be_named():
    both = tuple(
        Study(study_id=f"{n}", patient_id=f"{n}", labels=(("idh", "1"), ("mgmt", "0")))
        for n in range(4)
    )
    assert choose_label(people(["1"]), None) == "idh"
    assert choose_label(people(["4"], "grade") + both, None) == "grade"
    with pytest.raises(ValueError, match="--label must name one of the labels idh, mgmt"):
        choose_label(both, None)
    with pytest.raises(ValueError, match="--label must be one of idh, mgmt, got idh1"):
        choose_label(both, "idh1")


@given(st.floats(-1e6, 1e6), st.integers(-1000, 1000))
def test_bounds_compare_as_numbers_do(value, bound):
    shown = (is_positive(repr(value), (f"{sign}{bound}",)) for sign in (">=", "<", ">", "<="))
    assert tuple(shown) == (value >= bound, value < bound, value > bound, value <= bound)


@pytest.mark.parametrize("count", range(30, 66, 5))
def test_few_held_out_patients_of_val_are_made_up_from_those_of_training(count):
    values = ["yes" if i % 10 in (0, 1, 2) else "no" for i in range(count)]
    studies = people(values)  # val holds one kind only
    made = task(cohort_of(studies), "idh", ("yes",), 0)
    parts = [{studies[i].patient_id for i in part} for part in (made.train, made.validation)]
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == sum(study.split != "test" for study in studies)
    for part in (made.train, made.validation, made.test):
        assert min(made.positive[part].sum(), (~made.positive[part]).sum()) >= 2


def test_too_few_patients_of_a_kind_are_told_with_their_number_and_the_way_out():
    values = ["yes" if i in (0, 1, 2, 3, 5) else "no" for i in range(30)]
    with pytest.raises(ValueError, match=r"for training there are 1 with it and .*--splits"):
        task(cohort_of(people(values)), "idh", ("yes",), 0)
    twice = tuple(
        Study(study_id=f"s{i}", patient_id=f"p{i // 2}", split="test", labels=(("idh", "1"),))
        for i in range(2)  # two studies are one patient
    )
    rest = people(["1", "0"] * 10, splits=["train"] * 18 + ["test"] * 2)[:20]
    with pytest.raises(ValueError, match="for the test there are"):
        task(cohort_of(twice + tuple(s for s in rest if s.split == "train")), "idh", ("1",), 0)


@pytest.fixture(scope="module")
def own(smoke_cohort):
    """The smoke cohort with a label of three classes, of which one is rare."""
    from rfpmss.data.batches.batch import Cohort
    from rfpmss.data.batches.tokens import train_tokenizer

    config = smoke()
    cohort = Cohort.open(smoke_cohort, config.data)
    tokenizer = train_tokenizer(cohort.reports("train"), 300)
    kinds = {"2": "a", "3": "b", "4": "a"}
    studies = tuple(
        Study(**{**vars(s), "labels": (("kind", "c" if i == 3 else kinds[s.label("grade")]),)})
        for i, s in enumerate(cohort.studies)
    )
    made = Cohort(studies, cohort.places, cohort.config, cohort.records)
    torch.manual_seed(0)
    return Opened(random_start(config, tokenizer.get_vocab_size()), made, tokenizer, config)


def test_several_classes_are_learned_each_against_the_others(own, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(finetune, "Tuning", partial(Tuning, steps=1, batch=12))
    arguments = finetune.Arguments(
        run_dir=tmp_path, fractions=(1.0,), seeds=(0,), modes=("linear",), epochs=1
    )
    assert finetune.finetune(arguments, replace(own, place=tmp_path)) == 0
    shown = capsys.readouterr()
    assert "learning kind: a, b against all others" in shown.out
    assert "left out: too few patients to learn kind c" in shown.err
    written = json.loads((tmp_path / "evaluation" / "finetune.json").read_text())
    assert [(r["value"], r["start"]) for r in written["rows"]] == [
        *(("a", "this run"), ("a", "random weights")),
        *(("b", "this run"), ("b", "random weights")),
    ]
    adjusted = [row["p_holm"] for row in written["rows"] if row["p_delong"] is not None]
    raw = sorted(row["p_delong"] for row in written["rows"] if row["p_delong"] is not None)
    assert min(adjusted) == pytest.approx(min(1.0, 2 * raw[0]))  # Holm over both classes


def test_views_that_no_labelled_patient_has_are_refused(own, tmp_path):
    bare = SimpleNamespace(cohort=cohort_of(people(["a", "b"] * 9)), config=own.config)
    arguments = finetune.Arguments(run_dir=tmp_path, views=("ct", "pathology"))
    with pytest.raises(ValueError, match=r"an image of --views ct pathology; they have mri"):
        finetune.finetune(arguments, bare)


def test_a_fraction_that_holds_too_few_says_how_many_are_used(capsys):
    problem = task(cohort_of(people(["yes", "no", "no"] * 20)), "idh", ("yes",), 0)
    plan = finetune.Plan(fractions=(1e-9, 1.0))
    finetune._say_few(plan, [problem])
    [line] = capsys.readouterr().err.splitlines()
    kinds = problem.positive[problem.train]
    used = next(k for k in range(len(kinds)) if 2 <= kinds[:k].sum() <= k - 2)
    assert line.startswith(f"note: --fractions 1e-09 of {len(kinds)} training studies is 0; {used}")
