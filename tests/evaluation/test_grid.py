"""The ablation grid: every row is a valid run, comparisons are paired, a finished cell stays."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rfpmss import ablate, reproduce
from rfpmss.commands import ablate as grid
from rfpmss.common.yaml import read_mapping
from rfpmss.config import PRESETS, VIEWS, Config, second_edition, smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.cohort.manifest import read, write
from rfpmss.data.cohort.verify import fingerprint_of
from rfpmss.evaluation.grid import EQ6, OURS, VARIANTS, changed, chosen, summary
from rfpmss.evaluation.page.tables import TableError
from rfpmss.evaluation.page.targets import targets
from rfpmss.runs import folder, record
from rfpmss.runs.children import Children

RECIPE = {name for name, variant in VARIANTS.items() if variant.table == "recipe"} | {
    *("fusion-token", "fusion-view", "pairs-all"),
}
"""Rows that some preset has already."""


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("preset", [name for name in PRESETS if not PRESETS[name]().data.depth])
def test_every_row_is_a_valid_configuration_that_differs_from_ours(name, preset):
    base = PRESETS[preset]()
    made = changed(base, VARIANTS[name], seed=7)
    assert made.seed == 7
    # What a preset has already, and rows that see fewer images, change no field.
    variant = VARIANTS[name]
    fields = [(*path.split("."), value) for path, value in variant.changes.items()]
    alone = all(getattr(getattr(base, section), field) == value for section, field, value in fields)
    same = alone and not variant.scale
    assert same <= (name in {OURS, *RECIPE} or bool(variant.only) or variant.missing > 0)
    assert (made == changed(base, VARIANTS[OURS], 7)) is same


def test_rows_are_chosen_by_name_and_table_and_ours_is_always_there():
    assert chosen(["no-fusion"]) == [OURS, "no-fusion"]
    assert set(chosen(["4b"])) == {OURS, "anchors-quarter", "anchors-half", "k-half", "k-more"}
    assert chosen(["3"])[1:] == [f"separate-{of}" for of in ("ct", "mri", "pathology", "images")]
    assert chosen(["all"]) == list(VARIANTS)
    with pytest.raises(ValueError, match="rows must be of"):
        chosen(["nothing"])


def finished(folder, hits, patients=None):
    (folder / "evaluation").mkdir(parents=True)
    entry = {
        **{"query": "study", "gallery": "report"},
        "patient": patients or [f"p{i}" for i in range(len(hits))],
        "rank": [1.0] * len(hits),
        **{f"hit{k}": list(hits) for k in (1, 5, 10)},
    }
    (folder / "evaluation" / "retrieval_queries.json").write_text(json.dumps([entry]))
    return folder


def test_rows_are_paired_with_ours_query_by_query(tmp_path):
    draw = np.random.default_rng(0)
    base = (draw.random((2, 80)) < 0.6).astype(float)
    worse = base * (draw.random((2, 80)) < 0.5)
    folders = {
        name: {seed: finished(tmp_path / name / str(seed), hits[seed]) for seed in (0, 1)}
        for name, hits in ((OURS, base), ("no-sspc", worse), ("modified-sk", base))
    }
    ours, no_sspc, modified = summary(folders, draws=300)
    assert ours["p_bootstrap"] is None
    assert ours["r5"] == pytest.approx(base.mean())
    assert no_sspc["difference_r5"] == pytest.approx((worse - base).mean())
    assert no_sspc["p_holm"] < 0.02
    assert modified["difference_r5"] == 0.0
    assert modified["p_holm"] == 1.0


@pytest.mark.parametrize("content", ["{}", "[1]", "[{}]", "null", "3", "[" * 9999, "[NaN]", "x"])
def test_scores_of_somebody_else_are_one_sentence(content, tmp_path):
    folder = finished(tmp_path / OURS, [1.0, 0.0])
    (folder / "evaluation" / "retrieval_queries.json").write_text(content)
    with pytest.raises(TableError, match="must be JSON as rfpmss wrote it"):
        summary({OURS: {0: folder}})
    (tmp_path / "complete.json").write_text(content)
    with pytest.raises(TableError, match=r"complete\.json, which is damaged"):
        grid._seconds(tmp_path / "complete.json")
    (tmp_path / "complete.json").write_text('{"seconds": 1e400}')
    with pytest.raises(TableError, match=r"complete\.json, which is damaged"):
        grid._seconds(tmp_path / "complete.json")
    (folder / "evaluation" / "retrieval_queries.json").unlink()
    with pytest.raises(TableError, match=r"got no .*retrieval_queries\.json; run the command"):
        summary({OURS: {0: folder}})
    (tmp_path / "run" / "evaluation").mkdir(parents=True)
    (tmp_path / "run" / "evaluation" / "finetune.json").write_text(content)
    with pytest.raises(TableError, match=r"finetune\.json, which is damaged"):
        targets(tmp_path / "run")
    (tmp_path / "run" / "evaluation" / "finetune.json").unlink()
    (tmp_path / "run" / "evaluation" / "retrieval_full.json").write_text(content)
    with pytest.raises(TableError, match=r"retrieval_full\.json, which is damaged"):
        targets(tmp_path / "run")


def test_a_clear_difference_stays_clear_in_a_table_of_every_row(tmp_path):
    draw = np.random.default_rng(0)
    clear, none = (draw.random(60) < 0.9).astype(float), (draw.random(60) < 0.05).astype(float)
    names = [*VARIANTS, *(f"{name} again" for name in VARIANTS if name != OURS)]
    rows = {name: VARIANTS[name.removesuffix(" again")] for name in names}
    folders = {name: {0: finished(tmp_path / name, clear)} for name in names}
    folders["no-contrast"] = {0: finished(tmp_path / "worse", none)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rfpmss.evaluation.grid.VARIANTS", rows)
        lines = {line["row"]: line for line in summary(folders, draws=200)}
    assert len(lines) == 2 * len(VARIANTS) - 1
    assert lines["no-contrast"]["p_holm"] < 0.005
    assert lines["no-sspc"]["p_holm"] == 1.0


def test_a_run_that_cannot_be_scored_is_named_and_the_grid_goes_on(
    tmp_path, monkeypatch, capsys, smoke_cohort
):
    monkeypatch.setattr(Children, "run", lambda *_: 0)

    def score(folder, elsewhere, device, **_):
        if folder.parent.name == OURS:
            raise RuntimeError("no room")
        finished(folder, [1.0, 0.0])

    monkeypatch.setattr(grid, "score", score)
    words = [
        "--out",
        str(tmp_path),
        "--rows",
        "no-sspc",
        "--seeds",
        "0",
        "--preset",
        "smoke",
        "--data",
        str(smoke_cohort),
    ]
    assert ablate.main(words) == 1
    assert f"{OURS}, seed 0: no room" in capsys.readouterr().err
    lines = json.loads((tmp_path / "ablation.json").read_text())
    assert [line["row"] for line in lines] == ["no-sspc"]


def test_slow_rows_come_last(tmp_path, monkeypatch, scored, smoke_cohort):
    monkeypatch.setattr(Children, "run", lambda *_: 0)
    words = [
        "--out",
        str(tmp_path),
        "--rows",
        "resnet",
        "no-fusion",
        "--preset",
        "smoke",
        "--data",
        str(smoke_cohort),
    ]
    assert ablate.main([*words, "--seeds", "0", "1"]) == 0
    assert [folder.parent.name for folder in scored][-2:] == ["resnet", "resnet"]


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_views_are_missing_in_training_only_and_never_all_of_a_study(smoke_cohort, share):
    name = f"missing-{100 * share:.0f}"
    path = grid._data(smoke_cohort, smoke().phantom, VARIANTS[name])
    rows = read(path)
    whole = read(smoke_cohort)
    held = [row for row in whole if row.split != "train"]
    assert [row for row in rows if row.split != "train"] == held
    views = {(row.study_id, row.modality) for row in rows if row.split == "train"}
    studies = {row.study_id for row in whole if row.split == "train"}
    count = {study: sum((study, view) in views for view in VIEWS) for study in studies}
    assert min(count.values()) >= 1
    assert all((study, "report") in views for study in studies)
    kept = sum(count.values()) / (len(VIEWS) * len(studies))
    expected = 1 - share + share**3 / 3  # one comes back where all would go
    assert abs(kept - expected) < 4 * np.sqrt(share * (1 - share) / (3 * len(studies)))
    assert read(grid._data(smoke_cohort, smoke().phantom, VARIANTS[name])) == rows


def test_rows_with_other_queries_are_not_paired(tmp_path):
    folders = {
        OURS: {0: finished(tmp_path / "a", [1.0, 0.0])},
        "no-sspc": {0: finished(tmp_path / "b", [1.0, 0.0], ["x", "y"])},
    }
    assert [line["p_bootstrap"] for line in summary(folders)] == [None, None]


@pytest.fixture
def scored(monkeypatch):
    """Scores each run with hits of its own, without training."""
    folders = []

    def score(folder, elsewhere, device, **_):
        folders.append(folder)
        draw = np.random.default_rng(len(folder.parent.name) + int(folder.name[-1]))
        finished(folder, (draw.random(9) < 0.5).astype(float).tolist())

    monkeypatch.setattr(grid, "score", score)
    return folders


def test_a_finished_cell_is_not_run_again_and_a_failed_one_is_named(
    tmp_path, monkeypatch, capsys, scored, smoke_cohort
):
    calls = []

    def run(_, words, log):
        folder = words[words.index("--run-dir") + 1]
        assert words[0] == "rfpmss.train"
        calls.append(folder)
        return int("no-sspc" in folder and "seed-1" in folder)

    monkeypatch.setattr(Children, "run", run)
    words = [
        "--out",
        str(tmp_path),
        "--rows",
        "no-sspc",
        "--seeds",
        "0",
        "1",
        "--preset",
        "smoke",
        "--data",
        str(smoke_cohort),
    ]
    assert ablate.main(words) == 1
    assert "no-sspc, seed 1: train ended with status 1" in capsys.readouterr().err
    assert (len(calls), len(scored)) == (4, 3)
    assert ablate.main(words) == 1
    assert (len(calls), len(scored)) == (5, 3)
    lines = json.loads((tmp_path / "ablation.json").read_text())
    assert [(line["row"], line["seeds"]) for line in lines] == [(OURS, 2), ("no-sspc", 1)]
    assert changed(smoke(), VARIANTS["no-sspc"], 0).loss.structure == "no-sspc"
    assert all(line["runs"][0] == f"{line['row']}/seed-0" for line in lines)
    assert ablate.main([*words, "--epochs", "2"]) == 1
    assert "holds a run of another configuration" in capsys.readouterr().err
    assert (len(calls), len(scored)) == (5, 3)


def test_finished_cells_of_another_cohort_or_code_are_no_cells_of_this_one(
    tmp_path, monkeypatch, capsys, scored, smoke_cohort
):
    monkeypatch.setattr(Children, "run", lambda *_: 0)
    out = tmp_path / "out"
    words = ["--out", str(out), "--rows", "no-sspc", "--seeds", "0", "--preset", "smoke"]
    assert ablate.main([*words, "--data", str(smoke_cohort)]) == 0
    rows = read(smoke_cohort)
    gone = sorted({row.patient_id for row in rows if row.split == "test"})[:6]
    other = Path(shutil.copytree(smoke_cohort.parent, tmp_path / "other"))
    write(other / "manifest.csv", [row for row in rows if row.patient_id not in gone])
    before = (out / "ablation.csv").read_bytes()
    capsys.readouterr()
    assert ablate.main([*words, "--data", str(other)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: --out must hold cells of this configuration, cohort and code")
    assert error.count(": cohort: ") == 2
    assert "--allow-config-change" in error
    assert ablate.main([*words, "--data", str(smoke_cohort.parent)]) == 0  # its folder
    code = record.code() | {"sources": "another"}
    with monkeypatch.context() as patch:
        patch.setattr(record, "code", lambda: code)
        assert ablate.main([*words, "--data", str(smoke_cohort)]) == 1
    assert ": code.sources: " in capsys.readouterr().err
    for cell in (OURS, "no-sspc"):  # of before, when cells did not say it
        (out / cell / "seed-0" / "complete.json").write_text('{"seconds": 1}')
    assert ablate.main([*words, "--data", str(smoke_cohort)]) == 1
    assert "not known" in capsys.readouterr().err
    assert (out / "ablation.csv").read_bytes() == before
    allow = "--allow-config-change"
    assert ablate.main([*words, "--data", str(other), allow]) == 0
    assert capsys.readouterr().err.count("scores without digests, taken as they are") == 2
    assert len(scored) == 2


def test_scores_of_another_cell_or_edited_ones_go_into_no_table(
    tmp_path, monkeypatch, capsys, scored, smoke_cohort
):
    monkeypatch.setattr(Children, "run", lambda *_: 0)
    out = tmp_path / "out"
    words = ["--out", str(out), "--rows", "no-sspc", "--seeds", "0", "--preset", "smoke"]
    words += ["--data", str(smoke_cohort)]
    assert ablate.main(words) == 0
    mine = out / "no-sspc" / "seed-0" / "evaluation" / "retrieval_queries.json"
    right, table = mine.read_bytes(), (out / "ablation.csv").read_bytes()

    rows = json.loads(right)
    rows[0]["hit5"] = [1.0 - hit for hit in rows[0]["hit5"]]
    for change in (lambda: mine.write_text(json.dumps(rows)), mine.unlink):
        change()
        capsys.readouterr()
        assert ablate.main(words) == 1
        error = capsys.readouterr().err
        assert str(mine) in error
        assert "the cells are scored anew" in error
        assert (out / "ablation.csv").read_bytes() == table

    (out / "no-sspc" / "seed-0" / "complete.json").unlink()
    shutil.rmtree(mine.parent)
    assert ablate.main(words) == 0
    assert mine.read_bytes() == right
    assert len(scored) == 3


@pytest.mark.parametrize("command", [ablate, reproduce])
def test_one_folder_takes_one_grid_at_a_time(command, tmp_path, monkeypatch, capsys):
    def child(*_):
        raise AssertionError("a refused process has started a run")

    monkeypatch.setattr(Children, "run", child)
    out = tmp_path / "out"
    words = ["--out", str(out), "--preset", "smoke"]
    with folder.alone(out):
        assert command.main(words) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"error: --out must not be in use, got {out}, into which another")
        assert error.count("\n") == 1
        assert [path.name for path in out.iterdir()] == [".lock"]
    assert not out.exists()  # nothing came there


def test_a_folder_in_place_of_a_file_is_found_before_the_work(
    tmp_path, monkeypatch, capsys, scored, smoke_cohort
):
    calls = []
    monkeypatch.setattr(Children, "run", lambda *_: calls.append(1) or 0)
    words = ["--rows", "no-sspc", "--seeds", "0", "--preset", "smoke", "--data", str(smoke_cohort)]
    for number, name in enumerate(
        ("ablation.csv", "no-sspc/seed-0/complete.json", "no-sspc/seed-0/evaluation/untold.json")
    ):
        out = tmp_path / str(number)
        (out / name).mkdir(parents=True)
        assert ablate.main(["--out", str(out), *words]) == 1
        assert f"error: {out / name} must be a regular file" in capsys.readouterr().err
    assert not calls


def test_the_arms_of_a_seed_come_before_the_next_seed_and_keep_their_other_hospital(
    tmp_path, monkeypatch, capsys, scored, smoke_cohort
):
    asked = []
    monkeypatch.setattr(Children, "run", lambda _, words, __: asked.append(words) or 0)
    other = Path(shutil.copytree(smoke_cohort.parent, tmp_path / "other"))
    rows = read(smoke_cohort)
    write(other / "manifest.csv", [row for row in rows if row.split == "test"])
    out = tmp_path / "out"
    words = ["--out", str(out), "--preset", "smoke", "--edition", "2", "--data", str(smoke_cohort)]
    words += ["--rows", "eq6", "--seeds", "0", "1"]
    elsewhere = ["--elsewhere", str(other)]
    assert ablate.main([*words, *elsewhere]) == 0
    arms = set(chosen([EQ6]))
    assert [{folder.parent.name for folder in scored[at : at + 5]} for at in (0, 5)] == [arms, arms]
    assert [folder.name for folder in scored] == ["seed-0"] * 5 + ["seed-1"] * 5
    wanted = [Config.model_validate(read_mapping(folder / "wanted.yaml")) for folder in scored]
    assert all(config.data == second_edition(smoke()).data for config in wanted)
    assert len((out / "eq6.csv").read_text().splitlines()) == 11
    told = [json.loads((folder / "complete.json").read_text()) for folder in scored]
    assert {one["elsewhere"] for one in told} == {fingerprint_of(other / "manifest.csv").digest}
    assert ablate.main(words) == 0  # a hospital that is not asked for is no reason
    capsys.readouterr()
    assert ablate.main([*words, "--elsewhere", str(smoke_cohort)]) == 1
    assert "was not scored in this other hospital" in capsys.readouterr().err
    assert len(scored) == 10


def test_runs_at_the_same_time_give_the_same_table(tmp_path, monkeypatch, scored, smoke_cohort):
    monkeypatch.setattr(Children, "run", lambda *_: 0)
    tables = []
    for jobs in ("1", "3"):
        words = [
            "--out",
            str(tmp_path / jobs),
            "--rows",
            "4a",
            "--preset",
            "smoke",
            "--data",
            str(smoke_cohort),
        ]
        assert ablate.main([*words, "--jobs", jobs]) == 0
        lines = json.loads((tmp_path / jobs / "ablation.json").read_text())
        tables.append([{k: v for k, v in line.items() if k != "seconds"} for line in lines])
    assert tables[0] == tables[1]


def test_a_row_of_some_modalities_sees_no_other(smoke_cohort):
    path = grid._data(smoke_cohort, smoke().phantom, VARIANTS["separate-mri"])
    kept = Cohort.open(path, smoke().data)
    whole = Cohort.open(smoke_cohort, smoke().data)
    assert [study.study_id for study in kept.studies] == [s.study_id for s in whole.studies]
    for study in kept.studies:
        assert [view is not None for view in study.views] == [False, True, False]
        assert study.report
    assert grid._data(smoke_cohort, smoke().phantom, VARIANTS[OURS]) == smoke_cohort


@pytest.mark.parametrize("command", ["evaluate", "report", "finetune", "ablate", "reproduce"])
def test_help_is_complete_and_loads_no_torch(command):
    code = (
        f"import sys, rfpmss.{command} as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit as e: assert not e.code\n"
        "assert 'torch' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    wanted = ("--budget", "--out") if command == "reproduce" else ("--data", "--device")
    assert all(option in run.stdout for option in wanted)
