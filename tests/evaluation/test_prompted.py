"""Findings by sentences: intervals cover what is known, groups too small say so, files are checked.

Synthetic scores have a known area and known calibration; scikit-learn counts the same.
"""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import roc_auc_score, roc_curve

from rfpmss import findings, train
from rfpmss.commands.findings import _groups
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.data.cohort import manifest
from rfpmss.data.phantom.text import LANGUAGES
from rfpmss.data.study import Study
from rfpmss.evaluation.prompted import calibration as calibrating
from rfpmss.evaluation.prompted import table
from rfpmss.evaluation.prompted.asked import Asked, Tables
from rfpmss.evaluation.prompted.groups import labels_of, values_of
from rfpmss.evaluation.prompted.prompts import SHIPPED, PromptError, read_prompts
from rfpmss.evaluation.prompted.scores import Reader, Seen
from rfpmss.evaluation.prompted.table import Cases, Rule, figures, gap, rule
from rfpmss.evaluation.statistics import area_gap, area_interval

RESAMPLES = 200
COVER = (0.90, 0.98)
AREA = stats.norm.cdf(1.2 / np.sqrt(2))


def binormal(rng: np.random.Generator, patients: int, shift: float = 1.2) -> Cases:
    """One to three studies a patient that resemble each other; the area is Phi(shift / sqrt 2)."""
    visits = rng.integers(1, 4, patients)
    having = np.repeat(rng.random(patients) < 0.4, visits)
    own = np.repeat(rng.normal(size=patients), visits)
    scores = shift * having + np.sqrt(0.5) * own + np.sqrt(0.5) * rng.normal(size=len(own))
    return Cases(scores, having, np.repeat(np.arange(patients), visits))


def logistic(rng: np.random.Generator, patients: int, slope: float, offset: float) -> Cases:
    """Logits whose right probability is ``sigmoid(slope * logit + offset)``."""
    logits = 1.5 * rng.normal(size=patients)
    return Cases(logits, rng.random(patients) < expit(slope * logits + offset), np.arange(patients))


def covered(intervals: list[tuple[float, float]], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def test_intervals_of_areas_cover_the_known_area_of_patients_with_several_studies():
    made = [binormal(np.random.default_rng([1, n]), 120) for n in range(RESAMPLES)]
    found = [area_interval(c.positive, c.logits, c.patients, draws=400) for c in made]
    assert np.mean([area for area, _, _ in found]) == pytest.approx(AREA, abs=0.01)
    assert COVER[0] <= covered([ends for _, *ends in found], AREA) <= COVER[1]
    # The same studies as if each were of a patient of its own: too sure of themselves.
    apart = [area_interval(c.positive, c.logits, np.arange(len(c)), draws=400)[1:] for c in made]
    assert covered(apart, AREA) < COVER[0]


def test_intervals_of_gaps_cover_the_known_difference_of_two_hospitals():
    truth = AREA - stats.norm.cdf(0.5 / np.sqrt(2))
    intervals = []
    for n in range(RESAMPLES):
        rng = np.random.default_rng([2, n])
        home, away = binormal(rng, 100), binormal(rng, 80, 0.5)
        intervals.append(area_gap(home.sides, away.sides, draws=400)[1:])
    assert COVER[0] <= covered(intervals, truth) <= COVER[1]


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.5, 0.0), (1.0, 1.0), (0.3, -1.0)])
def test_intervals_of_the_calibration_error_cover_the_known_one(slope: float, offset: float):
    many = 1.5 * stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    distance = expit(many) - expit(slope * many + offset)
    truth = np.abs(distance.reshape(calibrating.BINS, -1).mean(axis=1)).mean()
    found = []
    for n in range(RESAMPLES):
        cases = logistic(np.random.default_rng([3, n]), 150, slope, offset)
        probability = calibrating.probabilities(cases.logits, 1.0)
        found.append(
            calibrating.calibration(probability, cases.positive, cases.patients, draws=300)
        )
    assert COVER[0] <= covered([(one.low, one.high) for one in found], truth) <= COVER[1]
    assert np.mean([one.excess for one in found]) == pytest.approx(distance.mean(), abs=0.01)
    if truth == 0:
        errors = [one.error for one in found]
        assert np.mean([one.right for one in found]) == pytest.approx(np.mean(errors), rel=0.1)


def test_intervals_of_sensitivity_cover_the_known_one_at_a_threshold_of_other_patients():
    inside = {"sensitivity": [], "specificity": []}
    for n in range(RESAMPLES):
        rng = np.random.default_rng([4, n])
        chosen = Rule(calibrating.threshold(*binormal(rng, 100).sides[1::-1]))
        with pytest.MonkeyPatch.context() as patch:  # `figures` draws everything else too
            for name in ("area_interval", "calibration"):
                patch.setattr(table, name, BLANK[name])
            row = figures(binormal(rng, 150), chosen)
        truth = stats.norm.sf(chosen.threshold - 1.2), stats.norm.cdf(chosen.threshold)
        for name, value in zip(inside, truth, strict=True):
            inside[name].append(row[f"{name}_low"] <= value <= row[f"{name}_high"])
    for name, found in inside.items():
        assert COVER[0] <= np.mean(found) <= COVER[1], name


BLANK = {
    "area_interval": lambda *_: (0.5, 0.0, 1.0),
    "calibration": lambda *_: calibrating.Calibration(0.0, 0.0, 0.0, 0.0, 0.0),
}


@given(st.integers(0, 2**32 - 1))
def test_area_and_threshold_are_those_of_scikit_learn(seed: int):
    rng = np.random.default_rng(seed)
    positive = np.arange(24) < rng.integers(4, 20)
    logits = rng.integers(-6, 7, 24) / 2 + positive  # ties
    area, low, high = area_interval(positive, logits, np.arange(24), draws=50)
    assert area == pytest.approx(roc_auc_score(positive, logits))
    assert low <= high
    cut = calibrating.threshold(logits, positive)
    false, true, _ = roc_curve(positive, logits, drop_intermediate=False)
    told = logits >= cut
    reached = told[positive].mean() - told[~positive].mean()
    assert reached == pytest.approx((true - false).max())


@pytest.mark.parametrize("heat", [0.2, 1.0, 7.0])
def test_the_temperature_is_the_one_that_was_put_in(heat: float):
    cases = logistic(np.random.default_rng(5), 40_000, 1.0, 0.0)
    found = calibrating.temperature(cases.logits * heat, cases.positive)
    assert found == pytest.approx(heat, rel=0.05)
    few = cases.take(np.arange(len(cases)) < 90)
    sign = np.where(few.positive, 1.0, -1.0)
    least = minimize(lambda b: np.logaddexp(0, -sign * few.logits * heat * b).mean(), [0.5 / heat])
    small = calibrating.temperature(few.logits * heat, few.positive)
    assert small == pytest.approx(1 / least.x[0], rel=1e-2)


def test_scores_that_say_the_contrary_become_one_half():
    cases = logistic(np.random.default_rng(6), 200, -2.0, 0.0)
    heat = calibrating.temperature(cases.logits, cases.positive)
    assert calibrating.probabilities(cases.logits, heat) == pytest.approx(0.5, abs=0.01)


def test_a_group_too_small_has_its_counts_and_no_figure():
    cases = binormal(np.random.default_rng(7), 60)
    nine = np.unique(cases.patients[cases.positive])[:9]
    few = cases.take(~cases.positive | np.isin(cases.patients, nine))
    row = figures(few, Rule(0.0, 1.0))
    assert row["patients"] == len(np.unique(few.patients))
    assert row["note"].startswith("9 patients with it, ")
    assert {row[name] for name in ("auc", "sensitivity", "ece", "ece_after")} == {None}
    assert rule(few).threshold is None
    scored = [({"group": "sex", "value": value} | figures(some, Rule()), some)
              for value, some in (("F", cases), ("M", few))]  # fmt: skip
    assert gap(scored) is None
    assert gap([scored[0], scored[0]])["gap"] == 0


def test_groups_are_found_by_the_names_of_labels_and_ages_are_put_together():
    def study(**labels: str) -> Study:
        return Study(study_id="s", patient_id="p", labels=tuple(labels.items()))

    studies = [study(Sex="F", AGE="041Y", Manufacturer="A"), study(Sex="M", AGE="n/a", arm="1")]
    assert labels_of(studies, ()) == {"scanner": "Manufacturer", "sex": "Sex", "age": "AGE"}
    assert labels_of(studies, ("arm",))["arm"] == "arm"
    assert values_of(studies, "AGE").tolist() == ["40-59", "not known"]
    assert values_of(studies, "Manufacturer").tolist() == ["A", "not known"]
    with pytest.raises(
        ValueError, match=r"--by must name labels of the cohort \(AGE, Man.*, got x"
    ):
        labels_of(studies, ("x",))
    with pytest.raises(ValueError, match="has 30 values, more than 24"):
        values_of([study(scanner=str(n)) for n in range(30)], "scanner")


WRONG = [
    ("", "must hold a mapping"),
    ("a: [1]", "a mapping of fields, not 'a': list"),
    ("a: {label: 3, e: {positive: [x], negative: [y]}}", "must name the label of a as a text"),
    ("a: {label: b}", "one or more languages for a, got label"),
    ("a: {e: {positive: [x]}}", "positive and negative sentences for a in e"),
    ("a: {e: {positive: [x], negative: x}}", "1 to 100 texts for negative of a in e"),
    ("a: {e: {positive: [x], negative: []}}", "1 to 100 texts for negative of a in e"),
    ("a: {e: {positive: [x], negative: [x]}}", "one sentence as positive and negative of a in e"),
    ("a: {e: {positive: [x, x], negative: [y]}}", "each text once for positive of a in e"),
    ("a: {positive: [yes], e: {positive: [x], negative: [y]}}", "YAML reads yes and no without"),
    ("a: {e: {positive: ['  '], negative: [y]}}", "texts of 1 to 2000 characters"),
    ("a: {'../e': {positive: [x], negative: [y]}}", "one or more languages for a"),
    ("a: &b [*b]", "must not hold aliases"),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG)
def test_a_file_of_sentences_that_cannot_be_used_is_refused_in_one_sentence(
    tmp_path: Path, text: str, sentence: str
):
    path = tmp_path / "prompts.yaml"
    path.write_text(text)
    with pytest.raises(PromptError, match=sentence) as caught:
        read_prompts(path)
    assert str(path) in str(caught.value)


def test_the_shipped_sentences_are_of_values_that_the_phantom_has_in_both_languages():
    known = {field for wording in LANGUAGES.values() for field in vars(wording)} | {"side"}
    for prompt in read_prompts(SHIPPED):
        assert prompt.label in known
        assert set(prompt.languages) == set(LANGUAGES)


def test_a_hospital_without_the_label_is_called_by_its_cohort():
    cases = binormal(np.random.default_rng(10), 2)
    plain = seen("north", cases, ["yes"] * len(cases))
    labelled = tuple(replace(one, labels=(("Site", "A"),)) for one in plain.studies)
    found = _groups([replace(plain, hospital="home", studies=labelled), plain], ())
    assert found["hospital"].tolist() == ["A"] * len(cases) + ["north"] * len(cases)
    assert _groups([replace(plain, studies=labelled)], ())["hospital"].tolist() == ["A"] * len(
        cases
    )


class Planted:
    """A model whose vector of a sentence is the unit vector of its first number."""

    def logits(self, vectors: np.ndarray, said: object) -> np.ndarray:
        return vectors[:, 0]


def seen(name: str, cases: Cases, labels: list[str], report: str = "") -> Seen:
    studies = tuple(
        Study(
            study_id=f"{name}{n}",
            patient_id=f"{name}{patient}",
            report=report,
            labels=(("necrosis", label),) if label else (),
        )  # fmt: skip
        for n, (patient, label) in enumerate(zip(cases.patients, labels, strict=True))
    )
    return Seen(name, studies, np.stack([cases.logits, cases.logits], axis=1))


def test_phantom_hospitals_have_their_own_rows_and_the_worst_its_gap():
    rng = np.random.default_rng(8)
    parts = {name: binormal(rng, 150, shift) for name, shift in (("a", 2.5), ("b", 0.5))}
    words = {name: ["yes" if p else "no" for p in cases.positive] for name, cases in parts.items()}
    looked = [seen(name, cases, words[name]) for name, cases in parts.items()]
    groups = {"hospital": np.repeat(["a", "b"], [len(cases) for cases in parts.values()])}
    prompt = read_prompts(SHIPPED)[0]
    found = Tables()
    Asked(Planted(), looked[0], looked, groups).score(found, prompt, "english")  # type: ignore[arg-type]
    (own,), (a, b), (far,) = found.findings, found.groups, found.gaps
    assert own["n"] == a["n"] == len(parts["a"])
    assert own["truth"] == "labels"
    assert a["threshold"] == b["threshold"] == own["threshold"]
    assert (far["worst"], far["best"]) == ("b", "a")
    assert far["gap"] == pytest.approx(a["auc"] - b["auc"])
    assert far["gap_low"] < stats.norm.cdf(2.5 / 2**0.5) - stats.norm.cdf(0.5 / 2**0.5)
    assert a["auc"] == pytest.approx(roc_auc_score(parts["a"].positive, parts["a"].logits))


def test_without_labels_the_reports_say_what_is_there_and_unknown_is_left_out():
    cases = binormal(np.random.default_rng(9), 5)
    prompt = read_prompts(SHIPPED)[0]
    told = seen("a", cases, [""] * len(cases), "Central necrosis is present.")
    having, known, source = told.truth(prompt)
    assert (having.all(), known.all(), source) == (True, True, "reports")
    some = ["yes", *[""] * (len(cases) - 1)]
    having, known, source = seen("a", cases, some).truth(prompt)
    assert (having.sum(), known.sum(), source) == (1, 1, "labels")


def test_sentences_are_read_as_reports_are_and_long_ones_are_refused():
    torch.manual_seed(0)
    directions = torch.randn(40, 6)

    class Report:
        def __call__(self, tokens: torch.Tensor, present: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(vectors=directions[tokens[:, 1]])

        def compared(self, vectors: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
            return 3.0 * vectors

    words = train_tokenizer(["alpha beta gamma"], 64)
    model = SimpleNamespace(report=Report(), data=SimpleNamespace(tokens=4), training=True)
    model.parameters = lambda: iter([directions])
    model.eval = lambda: None
    model.train = lambda mode: None
    reader = Reader(model, words, 0.5)  # type: ignore[arg-type]
    said = read_prompts(SHIPPED)[0].languages["english"]
    said = replace(said, positive=("alpha", "beta"), negative=("gamma",))
    ids = [words.token_to_id(word) for word in ("alpha", "beta", "gamma")]
    a, b, c = (directions[i] / directions[i].norm() for i in ids)
    both = (a + b) / (a + b).norm()
    vectors = torch.nn.functional.normalize(torch.randn(3, 6), dim=1)
    wanted = (vectors @ both - vectors @ c) / 0.5
    assert reader.logits(vectors.numpy(), said) == pytest.approx(wanted.numpy(), abs=1e-6)
    assert reader.unread(said) == 0
    assert reader.unread(replace(said, negative=("Ω ω Ω",))) == pytest.approx(3 / 5)
    with pytest.raises(PromptError, match="at most data.tokens=4 tokens, got one of 5"):
        reader.logits(vectors.numpy(), replace(said, negative=("alpha beta gamma",)))


@pytest.fixture(scope="module")
def run(smoke_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of preset smoke."""
    folder = tmp_path_factory.mktemp("prompted") / "run"
    words = ["--preset", "smoke", "--run-dir", str(folder), "--no-evaluate", "--train.batch", "4"]
    assert train.main([*words, "--max-steps", "2", "--data", str(smoke_cohort)]) == 0
    return folder


@pytest.fixture(scope="module")
def away(smoke_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another hospital: the held-out patients of the cohort under other names, with labels."""
    folder = tmp_path_factory.mktemp("away") / "north"
    path = Path(shutil.copytree(smoke_cohort.parent, folder)) / smoke_cohort.name
    rows = [row for row in manifest.read(path) if row.split == "test"]
    manifest.write(
        path,
        [
            replace(row, patient_id=f"n{row.patient_id}", study_id=f"n{row.study_id}")
            for row in rows
        ],
    )
    return path


def test_the_command_writes_tables_that_the_page_shows(
    run: Path, away: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("rfpmss.evaluation.prompted.table.ENOUGH", 2)
    words = ["--run-dir", str(run), "--elsewhere", str(away.parent), "--by", "lobe"]
    words += ["--allow-config-change"]  # the same images as in the run's own cohort
    assert findings.main(words) == 0
    said = capsys.readouterr()
    assert "9 findings are not asked in chinese" in said.err
    assert "half of the held-out patients, not scored" in said.out
    folder = run / "evaluation"
    found = json.loads((folder / "zeroshot_findings.json").read_text())
    assert {row["language"] for row in found["findings"]} == {"english"}
    assert found["origin"]["step"] == 2
    with (folder / "zeroshot_findings.csv").open() as file:
        assert [row["finding"] for row in csv.DictReader(file)] == [
            row["finding"] for row in found["findings"]
        ]
    assert {row["value"] for row in found["groups"] if row["group"] == "hospital"} > {"north"}
    assert "worst" in said.out
    assert oct((folder / "zeroshot_findings_scores.json").stat().st_mode & 0o777) == "0o600"
