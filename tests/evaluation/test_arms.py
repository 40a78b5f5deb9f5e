"""The experiment on Eq. 5 and 6: paired by seed, endpoints and families fixed, no early p-value."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rfpmss.commands import scores
from rfpmss.config import smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.study import Study
from rfpmss.evaluation import arms
from rfpmss.evaluation.grid import EQ6, NONE, OURS, VARIANTS, chosen
from rfpmss.evaluation.labels import untold
from rfpmss.evaluation.page.tables import TableError
from rfpmss.evaluation.retrieval.embed import Embeddings
from rfpmss.evaluation.statistics import holm
from rfpmss.evaluation.structure.learned import NAMES

QUERIES, SEEDS = 40, (0, 1, 2, 3)


def test_the_arms_are_those_of_the_design():
    rows = chosen([EQ6])
    assert rows == [OURS, "reconstruction", NONE, "logit-0.3", "logit-1"]
    losses = {name: dict(VARIANTS[name].changes) for name in rows}
    assert losses[OURS] == {}
    assert losses[NONE] == {"loss.consistency": 0.0}
    for weight in (0.3, 1):
        wanted = {"loss.similarity": "logit", "loss.consistency": weight}
        assert losses[f"logit-{weight}"] == wanted


def test_families_are_those_of_the_design():
    tested = {
        family: [e.name for e in arms.endpoints() if e.family == family]
        for family in (arms.PRIMARY, arms.SECONDARY)
    }
    assert tested == {
        "primary": ["home_mri_report_r5", "home_ct_mri_r5", "untold_joint_auc"],
        "secondary": ["adapted_mri_report_r5", "adapted_ct_mri_r5"],
    }
    assert len({e.name for e in arms.endpoints()}) == 15


@given(st.lists(st.floats(-50, 50).map(lambda x: round(x, 2)), min_size=2, max_size=12))
def test_the_interval_is_that_of_the_paired_t_test(gains):
    found = arms.paired_t(np.array(gains))
    if np.std(gains) == 0:
        assert found == (gains[0], gains[0], float(gains[0] == 0))
        return
    oracle = stats.ttest_1samp(gains, 0.0)
    low, high = oracle.confidence_interval(0.95)
    assert found == pytest.approx((low, high, oracle.pvalue), rel=1e-6, abs=1e-9)


def test_a_single_pair_has_no_interval():
    assert arms.paired_t(np.array([3.0])) == (None, None, None)


def scored(folder, shift, seed, patients=None):
    """The files of a run whose ranks are better by ``shift`` in expectation."""
    draw = np.random.default_rng([seed, 7])
    (folder / "evaluation").mkdir(parents=True)
    for place, name in arms.FILES.items():
        ranks = np.maximum(1, draw.geometric(0.1, (2, QUERIES)) - shift).astype(float)
        entries = [
            {
                **{"query": query, "gallery": gallery},
                "patient": patients or [f"p{i}" for i in range(QUERIES)],
                "rank": rank.tolist(),
                "hit5": (rank <= 5).astype(float).tolist(),
            }
            for (query, gallery), rank in zip(arms.DIRECTIONS, ranks, strict=True)
        ]
        path = folder / "evaluation" / f"{name}_queries.json"
        path.write_text(json.dumps(entries))
        full = [
            {"query": "ct", "gallery": "mri", "chance_r5": 0.1, "ceiling_r5": 0.9} | more
            for more in ([{"outline_r5": 0.2}] if place == arms.HOME else [{}])
        ]
        path.with_name(f"{name}_full.json").write_text(json.dumps(full))
    areas = [
        {"finding": finding, "space": space, "auc": auc}
        for space, base in (("joint", 0.6), ("inputs", 0.7), ("study", 0.5))
        for finding, auc in (("shunt", base + 0.01 * shift * (1 + seed)), ("infarct", None))
    ]
    (folder / "evaluation" / arms.UNTOLD).write_text(json.dumps(areas))
    return folder


def grid(tmp_path, seeds=SEEDS, **shifts):
    return {
        row: {seed: scored(tmp_path / row / f"seed-{seed}", shift, seed) for seed in seeds}
        for row, shift in shifts.items()
    }


def differences(found, seeds=SEEDS):
    runs = {row: {s: arms.read(folder) for s, folder in c.items()} for row, c in found.items()}
    return {(line["row"], line["endpoint"]): line for line in arms.compare(runs, seeds)}


def test_every_arm_is_compared_by_seed_with_the_one_without(tmp_path):
    found = grid(tmp_path, **{NONE: 0, OURS: 0, "logit-1": 4})
    lines = differences(found)
    assert len(lines) == 2 * len(arms.endpoints())
    for endpoint in arms.endpoints():
        values = {
            row: [arms.read(folder)[endpoint.name].value for folder in cells.values()]
            for row, cells in found.items()
        }
        line = lines["logit-1", endpoint.name]
        low, high = stats.ttest_rel(values["logit-1"], values[NONE]).confidence_interval(0.95)
        gain = np.mean(values["logit-1"]) - np.mean(values[NONE])
        assert line["difference"] == pytest.approx(gain)
        assert (line["low"], line["high"]) == pytest.approx((low, high))
        same = lines[OURS, endpoint.name]
        assert (same["difference"], same["low"], same["high"]) == (0.0, 0.0, 0.0)
    hits = lines["logit-1", "home_mri_report_r5"]
    assert hits["patient_low"] < hits["difference"] < hits["patient_high"]
    assert hits["patient_low"] > 0
    assert lines["logit-1", "home_mri_report_log_rank"]["difference"] < 0
    assert lines["logit-1", "untold_joint_auc"]["patient_low"] is None
    for family in (arms.PRIMARY, arms.SECONDARY):
        mine = [line for line in lines.values() if line["family"] == family]
        assert [line["p_holm"] for line in mine] == holm([line["p"] for line in mine])
    described = [line for line in lines.values() if line["family"] == arms.DESCRIBED]
    assert {line["p"] for line in described} == {None}


def test_no_p_value_before_all_seeds_of_all_arms_are_done(tmp_path):
    found = grid(tmp_path, **{NONE: 0, OURS: 0, "logit-1": 4})
    gone = found[OURS].pop(SEEDS[-1])
    assert gone.name == "seed-3"
    lines = differences(found)
    assert {line["p"] for line in lines.values()} == {None}
    assert lines[OURS, "home_ct_mri_r5"]["seeds"] == len(SEEDS) - 1
    assert lines["logit-1", "home_ct_mri_r5"]["seeds"] == len(SEEDS)
    assert lines["logit-1", "home_ct_mri_r5"]["low"] is not None
    assert differences({OURS: found[OURS]}) == {}


def test_runs_on_other_queries_are_not_compared(tmp_path):
    found = grid(tmp_path, **{NONE: 0})
    others = [f"q{i}" for i in range(QUERIES)]
    found[OURS] = {0: scored(tmp_path / OURS / "seed-0", 0, 0, others)}
    with pytest.raises(TableError, match="same queries"):
        differences(found)


def test_the_tables_hold_a_line_a_run_and_controls_beside_differences(tmp_path):
    found = grid(tmp_path, (0, 1), **{NONE: 0, OURS: 2})
    rows = [{"step": 1, **dict.fromkeys(NAMES, 2.0)}, {"step": 2, **dict.fromkeys(NAMES, 4.0)}]
    log = found[OURS][1] / "metrics.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores.experiment(tmp_path, found, (0, 1))
    head, *runs = (tmp_path / scores.EXPERIMENT).read_text().splitlines()
    assert [line.split(",")[:2] for line in runs] == [[r, s] for r in (NONE, OURS) for s in "01"]
    assert head.startswith("row,seed,home_mri_report_r5,home_ct_mri_r5,untold_joint_auc,")
    assert [line.split(",")[-3:] for line in runs] == [[""] * 3] * 3 + [["3.0"] * 3]
    lines = (tmp_path / scores.DIFFERENCES).read_text().splitlines()
    assert lines[0].endswith(",chance,ceiling,outline")
    beside = {line.split(",")[1]: line.split(",")[-3:] for line in lines[1:]}
    assert beside["home_ct_mri_r5"] == ["0.1", "0.9", "0.2"]
    assert beside["away_ct_mri_r5"] == ["0.1", "0.9", ""]
    assert beside["untold_joint_auc"] == ["0.5", "", ""]


@pytest.mark.parametrize("standardise", [True, False])
def test_another_hospital_is_scored_as_it_is_before_it_is_adapted(
    tmp_path, monkeypatch, standardise
):
    calls = []
    config = SimpleNamespace(
        train=SimpleNamespace(batch=4), model=SimpleNamespace(standardise=standardise)
    )

    def opened(folder, data, device, **_):
        return SimpleNamespace(model="m", cohort=data, tokenizer="t", config=config, origin=None)

    monkeypatch.setattr(scores, "open_run", opened)
    monkeypatch.setattr(
        scores.evaluation,
        "run",
        lambda model, cohort, *_, name="retrieval", **__: calls.append((name, cohort)),
    )
    monkeypatch.setattr(scores, "adapt", lambda _, cohort, *__: calls.append(("adapt", cohort)))
    monkeypatch.setattr(scores, "untold", lambda *_: [])
    scores.score(tmp_path, None, "cpu")
    assert calls == [("retrieval", None)]
    assert json.loads((tmp_path / "evaluation" / arms.UNTOLD).read_text()) == []
    calls.clear()
    scores.score(tmp_path, tmp_path, "cpu")
    away = ["retrieval-elsewhere", "adapt", "retrieval-elsewhere-adapted"]
    wanted = [(name, tmp_path) for name in (away if standardise else away[:1])]
    assert calls == [("retrieval", None), *wanted]


def test_what_a_space_keeps_of_an_untold_finding_is_found_there_alone(monkeypatch):
    draw = np.random.default_rng(0)
    count, has = 400, draw.random(400) < 0.4
    studies = tuple(
        Study(
            study_id=f"s{i}",
            patient_id=f"s{i}",
            split="train" if i < 250 else "test",
            labels=(("shunt", "yes" if has[i] else "no"), ("infarct", "no")),
        )
        for i in range(count)
    )
    cohort = Cohort(studies, ((None,) * 3,) * count, smoke().data, (None,) * count)
    noise = draw.normal(size=(3, count, 4, 5))
    noise[0, :, 0, 2] += 4 * has  # in the joint space, of CT
    noise[0, :, 1, 2] += 4 * ~has  # of MRI: not where a shunt is looked for
    made = Embeddings(
        index=np.arange(count),
        patient=np.array([s.patient_id for s in studies]),
        inputs=noise[1],
        joint=noise[0],
        study=noise[2, :, 0],
        report=noise[2, :, 1],
        present=np.ones((count, 4), bool),
    )
    monkeypatch.setattr(untold, "embed", lambda *_: made)
    rows = untold.untold(None, cohort, None, 8)
    found = {(row["finding"], row["space"]): row for row in rows}
    assert set(found) == {(f, s) for f in ("infarct", "shunt") for s in arms.SPACES}
    assert found["shunt", "joint"]["auc"] > 0.9
    assert abs(found["shunt", "inputs"]["auc"] - 0.5) < 0.1
    assert abs(found["shunt", "study"]["auc"] - 0.5) < 0.1
    row = found["shunt", "joint"]
    assert (row["modality"], row["n"], row["positive"]) == ("ct", 150, has[250:].sum())
    assert 18 <= row["labels"] <= 25  # a tenth of the 250 less those that choose the strength
    assert found["infarct", "joint"]["auc"] is None  # nobody has it


def test_a_cohort_without_such_labels_is_not_read(monkeypatch):
    monkeypatch.setattr(untold, "embed", None)
    studies = (Study(study_id="s", patient_id="s", labels=(("grade", "4"),)),)
    assert (
        untold.untold(None, Cohort(studies, ((None,) * 3,), smoke().data, (None,)), None, 8) == []
    )
