"""Targets tell met, missed and not known; every step of `rfpmss reproduce` is a valid command."""

import csv
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from rfpmss import reproduce
from rfpmss.commands import reproduce as body
from rfpmss.commands import steps as planned
from rfpmss.config import PhantomConfig, tiny
from rfpmss.config.arguments import TrainArguments, parse
from rfpmss.data.phantom import command as generating
from rfpmss.data.phantom.cohort import folder_name
from rfpmss.evaluation.page.targets import targets, write_targets
from rfpmss.runs import record
from rfpmss.runs.children import Children


def row(query, gallery, r5, r10, low):
    return {
        **{"query": query, "gallery": gallery, "r5": r5, "r10": r10},
        **{"r5_low": low, "r5_high": 1.0, "r10_low": low, "r10_high": 1.0},
        **{"chance_r5": 0.04, "chance_r10": 0.08, "ceiling_r5": 1.0, "ceiling_r10": 0.5},
    }


def write(folder, **files):
    (folder / "evaluation").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / "evaluation" / f"{name}.json").write_text(json.dumps(content))


def found(folder):
    return {target.name: target for target in targets(folder)}


def test_an_empty_run_meets_and_misses_nothing(tmp_path):
    assert [target.met for target in targets(tmp_path)] == [None] * 7


@pytest.mark.parametrize(("r5", "met"), [(0.79, False), (0.8, True)])
def test_both_rules_of_study_to_report_must_hold(tmp_path, r5, met):
    write(tmp_path, retrieval_full=[row("study", "report", r5, 1.0, 0.5)])
    told = found(tmp_path)
    assert told["study to report, R@5"].met is met
    assert told["mri to report, R@10"].met is None


def test_without_a_ceiling_a_rule_on_it_is_not_known_but_chance_still_counts(tmp_path):
    table = [row("study", "report", 0.9, 1.0, 0.5) | {"ceiling_r5": None}]
    write(tmp_path, retrieval_full=table)
    assert found(tmp_path)["study to report, R@5"].met is None
    write(tmp_path, retrieval_full=[table[0] | {"r5": 0.1}])
    assert found(tmp_path)["study to report, R@5"].met is False


def test_clearly_above_chance_means_the_whole_interval(tmp_path):
    write(
        tmp_path,
        retrieval_full=[row("mri", "report", 0.2, 0.2, 0.09), row("ct", "mri", 0.2, 0.2, 0.08)],
    )
    told = found(tmp_path)
    assert told["mri to report, R@10"].met is True
    assert told["ct to mri, R@10"].met is False


def test_pathology_is_held_against_its_own_ceiling(tmp_path):
    write(tmp_path, retrieval_full=[row("pathology", "report", 0.0, 0.4, 0.1)])
    assert found(tmp_path)["pathology to report, R@10"].met is True


def test_the_gain_is_over_the_better_mode_of_random_weights(tmp_path):
    def line(mode, auc, difference, fraction=0.1):
        return {
            **{"start": "random weights", "mode": mode, "fraction": fraction, "auc": auc},
            **{"difference": difference, "difference_low": 0.0, "difference_high": 0.3},
        }

    rows = [line("linear", 0.6, 0.3), line("full", 0.8, 0.05), line("full", 0.9, 0.2, 1.0)]
    write(tmp_path, finetune={"rows": rows})
    gain = found(tmp_path)["AUC at 10 % labels above random weights"]
    assert (gain.value, gain.met) == (0.05, False)
    assert gain.ceiling == pytest.approx(0.2)
    assert "full" in gain.source


def test_attention_is_chosen_on_validation_and_held_against_the_best_control(tmp_path):
    def line(method, control, iou, validation):
        return {
            **{"view": "mri", "method": method, "control": control, "iou": iou},
            **{"iou_low": iou, "iou_high": iou, "validation_iou": validation, "ceiling": 0.55},
        }

    rows = [
        line("fine-tuned, rollout", False, 0.5, 0.9),
        line("fine-tuned, gradient", False, 0.8, 0.1),
        line("intensity", True, 0.6, 0.6),
        line("centre box", True, 0.2, 0.2),
        line("pretrained, rollout", False, 0.9, 0.95),
    ]
    write(tmp_path, attention=rows)
    target = found(tmp_path)["attention IoU after fine-tuning, MRI"]
    assert (target.value, target.chance, target.met) == (0.5, 0.6, False)
    assert target.ceiling == 0.55  # below the best control: patches cannot reach it


def test_sides_come_with_an_interval_and_the_majority(tmp_path):
    right = {"right": 0.9375, "majority": 0.58, "low": 0.9, "high": 0.98}
    write(tmp_path, findings=[{"finding": "side", "n": 128} | right])
    side = found(tmp_path)["side right in generated reports"]
    assert side.met is True
    assert (side.low, side.high, side.chance) == (0.9, 0.98, 0.58)


def test_a_run_s_targets_are_written_with_the_file_and_the_command_of_each(tmp_path):
    run = tmp_path / "a run"
    write(run, retrieval_full=[row("study", "report", 0.9, 1.0, 0.5)])
    told = write_targets(run)
    assert told == targets(run)
    rows = json.loads((run / "evaluation" / "targets.json").read_text())
    assert [entry["met"] for entry in rows] == [True, *[None] * 6]
    assert rows[0]["source"] == "retrieval_full.json: study, report, r5"
    assert rows[0]["command"] == f"python -m rfpmss.evaluate --run-dir '{run}'"
    with (run / "evaluation" / "targets.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines] == [entry["name"] for entry in rows]
    assert float(lines[0]["value"]) == 0.9
    assert (run / "evaluation" / "targets.tex").read_text().count("not known") == 6


@pytest.mark.parametrize("budget", planned.BUDGETS)
@pytest.mark.parametrize("preset", ["smoke", "tiny"])
def test_every_step_is_a_command_line_that_its_command_takes(budget, preset, tmp_path):
    arguments = reproduce.Arguments(budget=budget, preset=preset, out=tmp_path)
    steps = planned.commands(arguments, planned.BUDGETS[budget])
    manifests = set()
    for name, *words in steps:
        if name == "rfpmss.train":
            taken = parse(TrainArguments, words, name, None)
            assert taken.config.preset == preset
        elif name == "rfpmss.prepare":
            made = tyro.extras.subcommand_cli_from_dict(
                {words[0]: generating.command(words), "other": dict}, args=words
            )
            manifests.add(made.out / folder_name(made.config) / "manifest.csv")
        else:
            taken = tyro.cli(importlib.import_module(name).Arguments, args=words)
            if name == "rfpmss.evaluate" and taken.data:
                assert taken.data in manifests
    assert {words[0] for words in steps} == {
        f"rfpmss.{verb}"
        for verb in ("prepare", "train", "evaluate", "finetune", "ablate", "report")
    }


def test_a_step_that_is_done_is_not_done_again_and_a_failed_one_is(tmp_path, monkeypatch, capsys):
    calls, broken = [], ["rfpmss.finetune"]

    def run(_, words):
        calls.append(words[0])
        if words[0] == "rfpmss.evaluate":
            write(tmp_path / "seed-0", retrieval_full=[row("study", "report", 0.9, 1.0, 0.8)])
        return int(words[0] in broken)

    monkeypatch.setattr(Children, "run", run)
    words = ["--out", str(tmp_path), "--preset", "smoke"]
    assert reproduce.main(words) == 1
    assert "rfpmss.finetune" in capsys.readouterr().err
    first = len(calls)
    broken.clear()
    assert reproduce.main(words) == 0
    assert calls[first:] == ["rfpmss.finetune"]
    told = json.loads((tmp_path / "targets.json").read_text())
    assert [entry["met"] for entry in told] == [True, *[None] * 6]
    assert {entry["seed"] for entry in told} == {0}
    entries = json.loads((tmp_path / "commands.json").read_text())
    assert [entry["status"] for entry in entries] == [0] * first
    assert (tmp_path / "targets.tex").read_text().count("met") >= 1
    code = record.code() | {"release": "0.0.0"}
    monkeypatch.setattr(record, "code", lambda: code)
    assert reproduce.main(words) == 1
    assert "code.release: " in capsys.readouterr().err
    assert reproduce.main([*words, "--allow-config-change"]) == 0
    assert len(calls) == first + 1


def test_the_grid_s_table_is_handed_to_the_page(tmp_path):
    grid, run = tmp_path / "ablation", tmp_path / "seed-0"
    grid.mkdir()
    run.mkdir()
    (grid / "ablation.json").write_text("[]")
    body._share(tmp_path, run)
    assert (run / "evaluation" / "ablation.json").read_text() == "[]"


def test_listing_the_steps_loads_no_torch():
    code = (
        "import sys, rfpmss.reproduce as c\n"
        "assert c.main(['--list', '--budget', 'full']) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "python -m rfpmss.ablate --preset tiny --rows all" in run.stdout


def test_the_phantom_of_another_hospital_differs_in_patients_too():
    words, manifest = planned._elsewhere(Path("x"), "tiny")
    made = tyro.cli(generating.command(words), args=words[2:]).config
    home = tiny().phantom
    assert made.hospital == "other"
    assert made.seed != home.seed
    assert manifest.parent.name == folder_name(made)
    trained = set(range(home.train))
    assert trained.isdisjoint(range(made.train, made.train + made.test))
    assert manifest.parent.name != folder_name(PhantomConfig())
