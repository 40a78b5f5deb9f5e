"""A run goes on only as what it was; what is refused leaves no trace; what is undefined stops."""

import errno
import hashlib
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save, save_file

from rfpmss import train
from rfpmss.config import smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.cohort.fingerprint import Fingerprint
from rfpmss.data.cohort.manifest import read, sum_of, write
from rfpmss.runs import checkpoint, record
from rfpmss.runs.folder import ERROR, Claim, read_metrics
from rfpmss.runs.opened import OpenError, open_run
from rfpmss.training.schedule import Schedule
from tests import warm

Command = Callable[..., int]


def start(folder: Path, data: Path, *words: str) -> int:
    fixed = ["--preset", "smoke", "--run-dir", str(folder), "--no-evaluate", "--max-steps", "2"]
    return train.main([*fixed, "--train.save-every", "1", "--data", str(data), *words])


def export(run: Path, name: str, *words: str) -> int:
    return import_module("rfpmss.export").main(
        [str(run), "--no-graphs", "--out", str(run / name), *words]
    )


@pytest.fixture(scope="module")
def cohort(smoke_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that the run of this file was trained on; its content may be changed in a test."""
    folder = tmp_path_factory.mktemp("trust") / "cohort"
    shutil.copytree(smoke_cohort.parent, folder)
    return folder / smoke_cohort.name


@pytest.fixture(scope="module")
def trained(cohort: Path) -> Path:
    folder = cohort.parents[1] / "run"
    assert start(folder, cohort) == 0
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of a run of two steps, with checkpoints after each."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def changed(cohort: Path):
    """Write other rows into the manifest of the run; the old ones come back."""
    before = {path: path.read_bytes() for path in cohort.parent.glob("manifest*")}
    yield lambda change: write(cohort, change(read(cohort)))
    for path, content in before.items():
        path.write_bytes(content)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def edit(folder: Path, name: str, content: bytes) -> None:
    """Change a file of a checkpoint so that its hashes hold."""
    (folder / name).write_bytes(content)
    table = json.loads((folder / "MANIFEST.json").read_text())
    table[name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    (folder / "MANIFEST.json").write_text(json.dumps(table))


def swap(rows):
    """Sixteen training patients become test patients, and all sixteen test patients train."""
    from dataclasses import replace

    train_ids = sorted({row.patient_id for row in rows if row.split == "train"})[:16]
    moved = {"test": "train"} | {"train": "test"}
    return [
        replace(row, split=moved[row.split])
        if row.split == "test" or row.patient_id in train_ids
        else row
        for row in rows
    ]


AFTER = [
    ("evaluate", "--run-dir"),
    ("report", "--run-dir"),
    ("findings", "--run-dir"),
    ("finetune", "--run-dir"),
    ("view", "--run-dir"),
]


def test_a_cohort_whose_splits_changed_is_refused_by_every_command_and_named(
    run: Path, cohort: Path, changed, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(swap)
    before = snapshot(run)
    for words in ((), ("--train.epochs", "9")):
        assert start(run, cohort, "--max-steps", "4", *words) == 1
        error = capsys.readouterr().err
        assert "16 studies changed their split (train to test): " in error
        assert "16 studies changed their split (test to train): " in error
        assert "--allow-config-change" in error
    (run / ERROR).unlink()
    assert snapshot(run) == before
    for verb, option in AFTER:
        assert import_module(f"rfpmss.{verb}").main([option, str(run)]) == 1, verb
        error = capsys.readouterr().err
        assert error.startswith("error: the cohort must be the one that"), verb
        assert "16 studies changed their split (test to train): " in error, verb
    # Naming the manifest does not make training studies into held-out ones.
    assert (
        import_module("rfpmss.evaluate").main(["--run-dir", str(run), "--data", str(cohort)]) == 1
    )
    assert "held-out studies must not have been trained on, got 16" in capsys.readouterr().err
    assert start(run, cohort, "--max-steps", "3", "--allow-config-change") == 0


def renamed(*fields: str):
    """Sixteen training patients, now test patients, under other names."""

    def change(rows):
        other = [{name: f"other-{getattr(row, name)}" for name in fields} for row in rows]
        return swap(
            [row.__class__(**vars(row) | new) for row, new in zip(rows, other, strict=True)]
        )

    return change


@pytest.mark.parametrize("fields", [("study_id",), ("study_id", "patient_id")])
def test_studies_under_other_names_are_known_by_patient_and_images(
    fields, run: Path, cohort: Path, changed, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(renamed(*fields))
    evaluate = import_module("rfpmss.evaluate").main
    assert evaluate(["--run-dir", str(run), "--data", str(cohort)]) == 1
    assert "held-out studies must not have been trained on, got 16" in capsys.readouterr().err
    # Nor may a new run start from weights that know them.
    assert start(run / "next", cohort, "--start", str(run)) == 1
    assert "held-out studies must not have been trained on, got 16" in capsys.readouterr().err


def test_the_runs_that_a_run_started_from_are_asked_too(
    run: Path, cohort: Path, changed, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, second, third = read(cohort), run.with_name("second"), run.with_name("third")
    held = [row.__class__(**vars(row) | {"split": "train"}) for row in rows if row.split == "test"]
    changed(lambda _: held)  # the second run trains on what the first one held out
    assert start(second, cohort, "--start", str(run)) == 0
    changed(lambda _: swap(rows))  # the third would hold out what the first one trained on
    assert start(third, cohort, "--start", str(second)) == 1
    assert f"16 in --data that are training studies of {run.resolve()}" in capsys.readouterr().err
    shutil.rmtree(run)
    assert start(third, cohort, "--start", str(second)) == 1
    assert f"{run.resolve() / 'cohort.json'} is missing, damaged or of" in capsys.readouterr().err


def test_weights_that_a_run_started_from_are_known_again(
    run: Path, cohort: Path, changed, capsys: pytest.CaptureFixture[str]
) -> None:
    second, rows = run.with_name("second"), read(cohort)
    words = ("--start", str(run))
    assert start(second, cohort, *words) == 0
    weights = checkpoint.weights_of(checkpoint.newest(run))
    assert record.read(second)["started_from"] == {  # type: ignore[index]
        **{"step": 2, "weights": weights, "cohort": Fingerprint.of(rows).digest}
    }
    # The first run goes on: its step 2 is still there. Then another one takes its place.
    assert start(run, cohort, "--max-steps", "3") == 0
    capsys.readouterr()
    assert start(second, cohort, *words, "--max-steps", "3") == 0
    assert "started_from" not in capsys.readouterr().err
    shutil.rmtree(run)
    changed(swap)
    assert start(run, cohort, "--seed", "7") == 0
    changed(lambda _: rows)
    assert start(second, cohort, *words, "--max-steps", "4") == 1
    error = capsys.readouterr().err
    assert f"  started_from.weights: {weights} there, " in error
    assert "  started_from.cohort: " in error
    assert start(second, cohort, *words, "--max-steps", "4", "--allow-config-change") == 0
    assert record.read(second)["started_from"]["weights"] == weights  # type: ignore[index]
    # Whom the first one trained on cannot be asked any more.
    third = run.with_name("third")
    assert start(third, cohort, "--start", str(second)) == 1
    assert "or of another run; put it back" in capsys.readouterr().err
    # Weights that saw the held-out studies, on purpose: it is said.
    changed(swap)
    words = ("--start", str(second), "--allow-config-change")
    assert start(third, cohort, *words) == 0
    assert "warning: held-out studies must not have been" in capsys.readouterr().err


@pytest.mark.parametrize("said", ["base", [1], 7])
def test_a_record_that_says_no_start_is_damaged(
    said: object, run: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = yaml.safe_load((run / "config.yaml").read_text()) | {"started_from": said}
    for folder in checkpoint.folders(run):
        edit(folder, "config.yaml", yaml.safe_dump(found).encode())
    assert start(run, cohort, "--max-steps", "3", "--start", str(run)) == 1
    assert "must say of the run it started from step, weights and" in capsys.readouterr().err


def test_fewer_steps_than_are_done_train_nothing_and_say_so(
    run: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(run, cohort, "--max-steps", "1") == 0
    assert f"note: {run} has done 2 steps already, more than the 1" in capsys.readouterr().err


def test_rows_of_the_history_that_are_lost_or_doubled_are_named(
    run: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(run, cohort, "--max-steps", "6") == 0
    path = run / "metrics.jsonl"
    one, two, three, _, _, six = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(one + two + three + two + six)
    capsys.readouterr()
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3, 6]
    assert start(run, cohort, "--max-steps", "7") == 0
    warned = capsys.readouterr().err
    assert "say a step again (line 4) and are set aside in metrics.damaged" in warned
    assert "the rows of the steps 4 to 5 are missing" in warned
    assert path.read_bytes().startswith(one + two + three + six)
    assert (run / "metrics.damaged").read_bytes() == two
    path.unlink()
    assert start(run, cohort, "--max-steps", "8") == 0
    assert "the rows of the steps 1 to 7 are missing" in capsys.readouterr().err


def test_two_cohorts_in_folders_of_one_name_keep_their_scores_apart(
    run: Path, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate, data = import_module("rfpmss.evaluate").main, {}
    for site, lost in (("one", 0), ("two", 1)):
        data[site] = Path(shutil.copytree(cohort.parent, tmp_path / site / "cohort"))
        held = sorted({row.study_id for row in read(cohort) if row.split == "test"})
        rows = [row for row in read(cohort) if row.study_id not in held[:lost]]
        write(data[site] / cohort.name, rows)
    words = ["--run-dir", str(run), "--data"]
    scores = run / "evaluation" / "retrieval-cohort.json"
    assert evaluate([*words, str(data["one"])]) == 0
    before = scores.read_bytes()
    for _ in range(2):  # the same cohort again is no other one
        assert evaluate([*words, str(data["two"])]) == 0
        assert "the scores of another cohort, or an unknown one, are" in capsys.readouterr().err
        assert evaluate([*words, str(data["one"])]) == 0
        assert not capsys.readouterr().err
    assert scores.read_bytes() == before
    digest = Fingerprint.of(read(data["two"] / cohort.name)).digest
    said = json.loads(scores.with_name(f"retrieval-cohort-{digest[:12]}_origin.json").read_text())
    assert (said["cohort"], said["step"]) == (digest, 2)
    assert evaluate([*words, str(data["two"]), "--name", "cohort"]) == 1
    assert "--name must not be that of another cohort's scores" in capsys.readouterr().err
    assert scores.read_bytes() == before


def test_without_the_list_of_studies_another_cohort_is_refused(
    run: Path, cohort: Path, changed, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "cohort.json").write_bytes(b"\xff")
    evaluate = import_module("rfpmss.evaluate").main
    changed(swap)
    assert evaluate(["--run-dir", str(run), "--data", str(cohort)]) == 1
    assert "cohort.json is missing, damaged or of another run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[:-8], "studies are gone"),
        (lambda rows: [r for r in rows if r.modality != "ct"], "changed their images"),
        (lambda rows: [*rows[8:], *rows[:8]], "the order of the studies changed"),
        (
            lambda rows: [r.__class__(**vars(r) | {"labels": "grade=2"}) for r in rows],
            "changed their report, labels or boxes",
        ),
    ],
)
def test_other_changes_of_a_cohort_are_named(
    change, words: str, run: Path, cohort: Path, changed, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(change)
    assert start(run, cohort, "--max-steps", "4") == 1
    assert words in capsys.readouterr().err
    assert checkpoint.step_of(checkpoint.newest(run)) == 2


def test_a_cohort_that_was_moved_is_the_same_cohort(
    run: Path, cohort: Path, tmp_path: Path
) -> None:
    shutil.copytree(cohort.parent, tmp_path / "moved")
    assert start(run, tmp_path / "moved", "--max-steps", "3") == 0  # its folder will do


def recorded(run: Path, **fields: object) -> None:
    """Write other fields into the record in a run folder."""
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | fields))


def test_a_cohort_that_was_moved_again_is_looked_for_where_the_run_was_told(
    run: Path, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "once" / "manifest.csv"
    shutil.copytree(cohort.parent, there.parent)
    for path in run.glob("checkpoints/*/config.yaml"):
        old = yaml.safe_load(path.read_text()) | {"manifest": "/gone/manifest.csv"}
        edit(path.parent, path.name, yaml.safe_dump(old).encode())
    recorded(run, manifest="/gone/manifest.csv")
    with pytest.raises(OpenError, match=r"be where it was, got no file /gone/.*; name with --data"):
        open_run(run, None, "cpu")
    assert start(run, there.parent) == 0  # has done its steps: only the place is new
    assert open_run(run, None, "cpu").manifest == there
    assert "config.yaml names" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["not there", "another cohort"])
def test_a_place_in_the_run_folder_without_its_cohort_is_said_and_not_used(
    kind: str, run: Path, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "another cohort":
        shutil.copytree(cohort.parent, tmp_path / "other")
        write(tmp_path / "other" / "manifest.csv", read(cohort)[8:])
    recorded(run, manifest=str(tmp_path / "other" / "manifest.csv"))
    capsys.readouterr()
    assert open_run(run, None, "cpu").manifest == cohort
    assert f"/other/manifest.csv, which is {kind}; the one that the checkpoint names" in (
        capsys.readouterr().err
    )


def test_a_record_that_contradicts_its_checkpoint_on_the_code_is_said_and_does_not_count(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = record.code()
    recorded(run, code=code | {"release": "9.9"}, ranks=3)
    capsys.readouterr()
    open_run(run, None, "cpu")
    assert capsys.readouterr().err.endswith(
        f"step-2 says, which counts: code.release 9.9 in place of {code['release']}, ranks 3 in "
        f"place of 1\n"
    )


def test_runs_of_before_and_fields_of_since_are_opened(
    run: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (run / "config.yaml", *run.glob("checkpoints/*/config.yaml")):
        old = yaml.safe_load(path.read_text())
        del old["cohort"], old["code"], old["config"]["loss"]["stop_gradient"]
        text = yaml.safe_dump(old).encode()
        path.write_bytes(text)
        if path.parent != run:
            edit(path.parent, path.name, text)
    (run / "cohort.json").unlink()
    assert (
        import_module("rfpmss.export").main([str(run), "--out", str(run / "x"), "--no-graphs"]) == 0
    )
    assert start(run, cohort, "--max-steps", "3") == 0
    assert "started before runs knew their cohort" in capsys.readouterr().err
    assert record.read(run)["cohort"] == Cohort.open(cohort, smoke().data).fingerprint.digest  # type: ignore[index]
    assert start(run, cohort, "--max-steps", "3", "--loss.stop-gradient") == 1
    assert "config.loss.stop_gradient: False there, True requested" in capsys.readouterr().err


def test_another_truth_behind_a_cohort_is_another_cohort(
    run: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {path: path.read_bytes() for path in (cohort.with_name("truth.json"), sum_of(cohort))}
    truth = json.loads(kept[cohort.with_name("truth.json")])
    shown = [entry["latents"] for entry in truth]
    turned = [entry | {"latents": shown[n - 1]} for n, entry in enumerate(truth)]
    try:
        cohort.with_name("truth.json").write_text(json.dumps(turned))
        assert import_module("rfpmss.check").main([str(cohort), "--accept"]) == 0
        assert start(run, cohort) == 1
        assert "its truth.json, which says what counts as found, changed" in capsys.readouterr().err
        assert import_module("rfpmss.evaluate").main(["--run-dir", str(run)]) == 1
        assert "its truth.json" in capsys.readouterr().err
        for path in (run / "config.yaml", *run.glob("checkpoints/*/config.yaml")):
            old = yaml.safe_load(path.read_text())
            del old["truth"]  # as before it was recorded
            text = yaml.safe_dump(old).encode()
            path.write_bytes(text)
            if path.parent != run:
                edit(path.parent, path.name, text)
        assert start(run, cohort) == 0
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


def test_another_release_or_other_sources_are_named(
    run: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = record.code()
    monkeypatch.setattr(record, "code", lambda: now | {"sources": "0123456789abcdef"})
    assert start(run, cohort, "--max-steps", "3") == 1
    assert f"code.sources: {now['sources']} there, 0123456789abcdef requested" in (
        capsys.readouterr().err
    )
    assert export(run, "x") == 0
    assert "was trained with other sources" in capsys.readouterr().err
    monkeypatch.setattr(record, "code", lambda: now | {"release": "9.9"})
    assert export(run, "y") == 1
    assert "the run must be of release 9.9" in capsys.readouterr().err
    assert export(run, "y", "--allow-config-change") == 0


def test_a_checkpoint_of_another_run_is_refused(
    run: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = checkpoint.newest(run)
    other = yaml.safe_load((newest / "config.yaml").read_text())
    other["config"]["train"]["lr"] = 0.25
    edit(newest, "config.yaml", yaml.safe_dump(other).encode())
    assert start(run, cohort, "--max-steps", "3") == 1
    assert "config.train.lr: 0.25 there, 0.003 requested" in capsys.readouterr().err
    assert import_module("rfpmss.evaluate").main(["--run-dir", str(run)]) == 1
    assert "the newest checkpoint must belong to the run" in capsys.readouterr().err


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_ranks_that_were_started_differently_are_refused_before_the_first_step(
    cohort: Path, tmp_path: Path
) -> None:
    port, ranks = str(free_port()), []
    for rank, lr in enumerate(("0.003", "0.5")):
        words = ["--preset", "smoke", "--data", str(cohort), "--run-dir", str(tmp_path / "run")]
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        ranks.append(
            warm.start(
                [sys.executable, "-m", "rfpmss.train", *words, "--no-evaluate", "--train.lr", lr],
                env=os.environ | place | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
                stderr=warm.PIPE,
            )
        )
    said = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [1, 1]
    assert "config.train.lr: 0.003 on rank 0, 0.5 on rank 1" in said[0]
    assert "all ranks must be started with the same" in said[0]
    assert not (tmp_path / "run").exists()


def test_every_kind_of_difference_between_ranks_is_named() -> None:
    one = record.make(smoke(), Path("a.csv"), 2, None, Fingerprint())
    two = record.make(smoke().model_copy(update={"seed": 5}), Path("a.csv"), 2)
    two["code"] = two["code"] | {"torch": "1.0"}
    names = [line.split(":")[0].strip() for line in record.disagreements([one, one, two])]
    assert names == ["code.torch", "cohort", "config.seed"]
    assert record.disagreements([one, record.loads(record.dumps(one))]) == []


LINE = b'{"step": %d, "loss": %d.5}'


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"\xff\xfe", b"\0" * 40, b"7", b"{}", b"[1]", b'{"step": "x"}', b'{"step": true}'],
)
def test_a_damaged_line_of_the_history_costs_that_line(
    damage: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rfpmss.runs.folder import Run

    path = tmp_path / "metrics.jsonl"
    lines = [LINE % (step, step) for step in range(1, 11)]
    path.write_bytes(b"\n".join([*lines[:2], damage, *lines[3:]]) + b"\n" + b'{"step": 11, "lo')
    run = Run(tmp_path, smoke(), tmp_path / "manifest.csv")
    with run.writing(9):
        run.log({"step": 10, "loss": 0.25})
    assert path.read_bytes().split(b"\n") == [
        *lines[:2],
        *lines[3:9],
        b'{"step": 10, "loss": 0.25}',
        b"",
    ]
    assert (tmp_path / "metrics.damaged").read_bytes() == damage + b"\n"
    warned = capsys.readouterr().err
    assert "1 lines of" in warned
    assert "(line 3) and are set aside" in warned
    assert [row["step"] for row in read_metrics(path)] == [1, 2, *range(4, 11)]


@pytest.mark.parametrize("tail", [b"\0" * 4096, LINE % (3, 3) + b"\0" * 9])
def test_what_a_power_cut_leaves_of_the_history_is_set_aside_not_dropped(
    tail: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rfpmss.runs.folder import Run

    path = tmp_path / "metrics.jsonl"
    path.write_bytes(tail)
    with Run(tmp_path, smoke(), tmp_path / "manifest.csv").writing(2):
        assert path.read_bytes() == b""
    assert (tmp_path / "metrics.damaged").read_bytes() == tail + b"\n"
    assert "(line 1) and are set aside" in capsys.readouterr().err


def test_numbers_that_leave_all_bounds_stop_the_run_and_name_the_studies(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--train.lr", "1e12", "--train.clip", "0", "--train.schedule", "exponential")
    assert start(tmp_path / "run", cohort, *words, "--max-steps", "4") == 1
    _, _, error = capsys.readouterr().err.partition("error: ")
    assert "step 2 must have finite losses and gradients" in error
    opened = Cohort.open(cohort, smoke().data)
    plan = Schedule.of(smoke().train, 0, opened.indices("train"))
    batches = [{opened.studies[i].study_id for i in plan.chosen(step)} for step in range(4)]
    assert set(error.strip().rpartition(": ")[2].split(", ")) in batches
    assert (tmp_path / "run" / ERROR).read_text() == error
    with pytest.raises(SystemExit):
        start(tmp_path / "inf", cohort, "--train.lr", "inf")


def test_undefined_weights_are_neither_saved_nor_scored(
    run: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = torch.optim.AdamW.step

    def spoil(self, *rest):  # the loss of the last step is fine, what it makes of the weights not
        usual(self, *rest)
        with torch.no_grad():
            self.param_groups[0]["params"][0].fill_(float("inf"))

    monkeypatch.setattr(torch.optim.AdamW, "step", spoil)
    assert start(run, cohort, "--max-steps", "3") == 1
    error = capsys.readouterr().err
    assert "weights and their averages must be finite" in error
    assert "studies of the last batch: " in error
    assert checkpoint.step_of(checkpoint.newest(run)) == 2
    newest = checkpoint.newest(run)
    held = load_file(newest / "model.safetensors")
    name = next(name for name, value in held.items() if value.is_floating_point())
    save_file(held | {name: torch.full_like(held[name], torch.nan)}, run / "spoilt")
    edit(newest, "model.safetensors", (run / "spoilt").read_bytes())
    for verb, words in (("evaluate", ["--run-dir"]), ("export", ["--out", str(run / "x")])):
        assert import_module(f"rfpmss.{verb}").main([*words, str(run)]) == 1
        assert f"infinite or undefined values in {name}" in capsys.readouterr().err


def test_a_refused_start_changes_nothing_in_the_folder_of_a_living_run(
    run: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)  # the supervisor starts nothing
    with Claim(run) as living:
        living.take()
        (run / "heartbeat").touch()
        before = snapshot(run)
        for words in (
            ("--allow-config-change", "--train.lr", "0.5"),
            ("--max-steps", "9"),
            ("--ranks", "2"),
            ("--max-restarts", "1"),
        ):
            assert start(run, cohort, *words) == 1
            assert "run_dir must not be in use" in capsys.readouterr().err
            assert snapshot(run) == before


@pytest.mark.parametrize(
    "content",
    [b"", b"config: {", b"[1]", b"\xff\xfe", b"a: !!python/object:os.system {}", None, b"a: 1"],
)
def test_a_damaged_configuration_is_taken_from_the_checkpoint(
    content: bytes | None, run: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (run / "config.yaml").read_bytes()
    (run / "config.yaml").unlink() if content is None else (run / "config.yaml").write_bytes(
        content
    )
    assert export(run, "x") == 0
    assert "the copy in" in capsys.readouterr().err
    if content is None:
        assert start(run, cohort) == 0
        assert (run / "config.yaml").read_bytes() == whole
        return
    shutil.rmtree(run / "checkpoints")
    assert start(run, cohort) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {run / 'config.yaml'} must")


FOREIGN = [
    ("tokenizer.json", b"{}"),
    ("tokenizer.json", b"\xff"),
    ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}      "),
    ("model.safetensors", b"no"),
    ("config.yaml", b"[]"),
    ("config.yaml", b"manifest: a\nconfig: {model: {dim: -1}}"),
    ("config.yaml", b"manifest: a\nconfig: {quite: other}"),
]
FOR_TRAINING = [
    ("optimiser.json", b"{}"),
    ("optimiser.json", b'{"state": {"x.y": 1}, "param_groups": []}'),
    ("optimiser.safetensors", b"no"),
    ("bank.safetensors", b"\x08\0\0\0\0\0\0\0{}      "),
]


@pytest.mark.parametrize(("name", "content"), FOREIGN + FOR_TRAINING)
def test_a_whole_checkpoint_that_holds_another_thing_is_one_sentence(
    name: str, content: bytes, run: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(checkpoint.newest(run), name, content)
    assert start(run, cohort, "--max-steps", "3") == 1
    assert "error: " in capsys.readouterr().err
    if (name, content) in FOREIGN:
        assert import_module("rfpmss.evaluate").main(["--run-dir", str(run)]) == 1
        assert capsys.readouterr().err.startswith("error: ")


def words_of(verb: str, run: Path, cohort: Path) -> list[str]:
    """A command that writes into a run folder, or for export into a folder below it."""
    if verb == "train":
        fixed = ["--preset", "smoke", "--no-evaluate", "--max-steps", "3"]
        return [*fixed, "--train.save-every", "1", "--data", str(cohort), "--run-dir", str(run)]
    return [str(run), "--out", str(run / "x")] if verb == "export" else ["--run-dir", str(run)]


@pytest.fixture
def refuse_writes(monkeypatch: pytest.MonkeyPatch):
    """Let every attempt to make or change a file under a folder fail, as a disk or a mount does."""

    def start(folder: Path, number: int) -> None:
        def guard(usual, writes):
            def call(path, *rest, **named):
                below = isinstance(path, str | os.PathLike) and str(path).startswith(str(folder))
                if below and writes(*rest, **named):
                    raise OSError(number, os.strerror(number), str(path))
                return usual(path, *rest, **named)

            return call

        flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        named = guard(open, lambda mode="r", *_, **__: bool(set(mode) & set("wxa+")))
        monkeypatch.setattr("builtins.open", named)
        monkeypatch.setattr("io.open", named)
        monkeypatch.setattr("os.open", guard(os.open, lambda how=0, *_, **__: bool(how & flags)))
        monkeypatch.setattr("os.mkdir", guard(os.mkdir, lambda *_, **__: True))

    return start


REFUSALS = [
    (errno.ENOSPC, 74, "make room and start again"),
    (errno.EDQUOT, 74, "make room and start again"),
    (errno.EROFS, 1, "choose a folder that can be written"),
    (errno.EACCES, 1, "change its permissions"),
    (errno.ENOLCK, 1, "supports locks"),
]


@pytest.mark.parametrize("verb", ["train", "evaluate", "report", "finetune", "export"])
@pytest.mark.parametrize(("number", "status", "words"), REFUSALS)
def test_a_disk_that_takes_nothing_is_one_sentence_from_every_command(
    verb: str,
    number: int,
    status: int,
    words: str,
    run: Path,
    cohort: Path,
    refuse_writes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = snapshot(run)
    refuse_writes(run, number)
    assert import_module(f"rfpmss.{verb}").main(words_of(verb, run, cohort)) == status
    monkeypatch.undo()
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {os.strerror(number)} ({run}")
    assert words in line
    assert snapshot(run) == before


def test_a_file_system_without_locks_is_refused_before_anything_is_written(
    run: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    before = snapshot(run)
    monkeypatch.setattr("fcntl.flock", no_locks)
    assert start(run, cohort, "--max-steps", "3") == 1
    assert "choose a folder on a disk that supports locks" in capsys.readouterr().err
    assert snapshot(run) == before


def stray_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    return path


PLACES = [
    ("a file", lambda base: stray_file(base / "run"), "a file stands where a folder is wanted"),
    ("below a file", lambda base: stray_file(base / "f") / "run", "a file stands where a folder"),
    (
        "checkpoints",
        lambda base: stray_file(base / "run" / "checkpoints").parent,
        "a file stands where a folder is wanted",
    ),
    ("a deep path", lambda base: base / ("y" * 200) / ("x" * 300), "choose a shorter path"),
]


@pytest.mark.parametrize(("name", "place", "words"), PLACES, ids=[place[0] for place in PLACES])
def test_a_place_that_cannot_be_a_run_folder_is_one_sentence(
    name: str,
    place: Callable[[Path], Path],
    words: str,
    cohort: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = place(tmp_path)
    assert start(folder, cohort, "--max-steps", "1") in (1, 74)
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line or name == "checkpoints"
    assert all(path.read_text() == "mine" for path in tmp_path.rglob("*") if path.name == "f")


@pytest.mark.parametrize("verb", ["train", "evaluate", "report", "finetune", "view"])
def test_a_cohort_that_is_not_there_is_one_sentence(
    verb: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for absent in (tmp_path / "nope.csv", tmp_path):
        words = ["--run-dir", str(run), "--data", str(absent)]
        words += ["--preset", "smoke"] if verb == "train" else []
        assert import_module(f"rfpmss.{verb}").main(words) == (2 if verb == "train" else 1)
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert str(absent) in line


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes}, resource.RLIM_INFINITY))
from rfpmss import train
sys.exit(train.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", [2_000, 12_000, 200_000])
def test_a_disk_that_is_full_while_training_is_status_74(
    size: int, cohort: Path, tmp_path: Path
) -> None:
    words = words_of("train", tmp_path / "run", cohort)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(bytes=size), *words], capture_output=True, text=True
    )
    assert done.returncode == 74, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert (tmp_path / "run" / ERROR).exists() or not list(tmp_path.iterdir())  # never begun
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_a_cell_of_the_grid_is_the_same_after_a_field_was_added(tmp_path: Path) -> None:
    from rfpmss.commands.ablate import _same

    config = smoke().model_dump(mode="json")
    assert config["loss"].pop("stop_gradient") is False
    path = tmp_path / "wanted.yaml"
    path.write_text(yaml.safe_dump(config))
    assert _same(path, smoke())
    path.write_text(yaml.safe_dump(config | {"seed": 5}))
    assert not _same(path, smoke())
    path.write_text("[")
    assert not _same(path, smoke())


@pytest.mark.parametrize("verb", ["ablate", "reproduce"])
def test_grids_say_in_one_sentence_that_they_cannot_write(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = stray_file(tmp_path / "f") / "out"
    module = import_module(f"rfpmss.{verb}")
    assert module.main(["--preset", "smoke", "--out", str(out)]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_an_alias_in_a_mapping_file_is_refused(tmp_path: Path) -> None:
    from rfpmss.data.errors import TextError
    from rfpmss.data.identity.mapping import read_mapping as read_words

    (tmp_path / "m.yaml").write_text("patients: &a {x: y}\nsequences: *a\n")
    with pytest.raises(TextError):
        read_words(tmp_path / "m.yaml")


def test_a_pipe_in_place_of_a_file_stops_nobody(
    run: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "checkpoints/step-2/MANIFEST.json"
    (run / name).unlink()
    os.mkfifo(run / name)
    assert start(run, cohort, "--max-steps", "2") == 0
    assert "step-2: MANIFEST.json is missing or unreadable" in capsys.readouterr().err
    for name in ("cohort.json", "metrics.jsonl"):
        (run / name).unlink()
        os.mkfifo(run / name)
        assert start(run, cohort, "--max-steps", "3") == 1
        assert f"error: {run / name} must be a regular file or not" in capsys.readouterr().err
        (run / name).unlink()


@pytest.mark.parametrize("content", [b"[1", b"\xff", b'[{"a": 1}]'])
def test_damaged_scores_are_one_sentence_from_export(
    content: bytes, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "evaluation").mkdir()
    (run / "evaluation" / "retrieval.json").write_bytes(content)
    assert export(run, "out") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: scores must be")
    assert error.count("\n") == 1
    assert "retrieval.json" in error
    assert not (run / "out").exists()


@pytest.mark.parametrize(
    "text", ['{"step": 3, "loss": "x"}', '{"step": 3, "loss": null}', '{"step": true}']
)
def test_a_row_of_the_history_that_holds_no_numbers_is_damaged(text: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1, "loss": 2.0}}\n{text}\n{{"step": 4, "loss": 1.0}}\n')
    assert [row["step"] for row in read_metrics(path)] == [1, 4]


@pytest.mark.parametrize(
    "device", ["tpu", "cuda:99", "cuda:x", "meta", "xla", "mps", "privateuseone", "0"]
)
def test_a_device_that_is_not_there_is_one_sentence(
    device: str, run: Path, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(run, cohort, "--device", device) == 1
    evaluate = import_module("rfpmss.evaluate").main
    assert evaluate(["--run-dir", str(run), "--device", device]) == 1
    wanted = f"error: --device must be a device of this machine, got {device}; there is cpu"
    assert capsys.readouterr().err.count(wanted) == 2


@pytest.mark.parametrize("limit", ["nan", "inf", "-1", "0", "1e300"])
def test_a_timeout_that_is_no_time_is_refused(
    limit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        start(tmp_path / "run", tmp_path, "--timeout", limit)
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())  # lines of a box
    assert "--timeout must be positive and at most 10000000 seconds, got" in said


@pytest.mark.parametrize("names", [("stdout",), ("stdout", "stderr")])
def test_a_run_goes_on_when_nobody_reads_its_output(
    names: tuple[str, ...], run: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in names:
        reader, writer = os.pipe()
        os.close(reader)  # as `train | head -1` does; with PYTHONUNBUFFERED every line fails
        monkeypatch.setattr(sys, name, os.fdopen(writer, "w", buffering=1))
    assert start(run, cohort, "--max-steps", "3") == 0
    for name in names:
        getattr(sys, name).close()
    assert not (run / ERROR).exists()
    assert checkpoint.step_of(checkpoint.latest(run)) == 3


def test_a_log_on_a_full_disk_is_not_taken_for_the_disk_of_the_run(
    run: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for status in (74, 0):
        with open("/dev/full", "w", buffering=1) as full:
            monkeypatch.setattr(sys, "stdout", full)
            assert start(run, cohort, "--max-steps", "3") == status
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")  # a rank that is done is not started again
    line = "error: standard output: No space left on device\n"
    assert capsys.readouterr().err.count(line) == 2
    assert not (run / ERROR).exists()
    assert checkpoint.step_of(checkpoint.latest(run)) == 3


def test_a_terminal_that_goes_away_stops_a_run_saved(
    run: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usual, numbers = torch.optim.AdamW.step, iter(())

    def hang_up(self, *rest):
        os.kill(os.getpid(), next(numbers, signal.SIGHUP))
        return usual(self, *rest)

    monkeypatch.setattr(torch.optim.AdamW, "step", hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:  # under nohup it goes on
        assert start(run, cohort, "--max-steps", "3") == 0
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        numbers = iter([signal.SIGHUP, signal.SIGTERM])  # as when a session ends
        assert start(run, cohort, "--max-steps", "9") == 128 + 1
    finally:
        signal.signal(signal.SIGHUP, before)
    assert "stopped by signal 1 after step 5, which is saved" in capsys.readouterr().out
    assert checkpoint.step_of(checkpoint.latest(run)) == 5  # two signals, one stop


@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_whose_folder_was_moved_away_writes_into_no_other(
    replaced: bool,
    run: Path,
    cohort: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual, other, before = torch.optim.AdamW.step, run.with_name("other"), {}

    def move(self, *rest):
        run.rename(other)
        if replaced:  # the same command, started again under the old name
            shutil.copytree(other, run)
            before.update(snapshot(run))
        return usual(self, *rest)

    monkeypatch.setattr(torch.optim.AdamW, "step", move)
    assert start(run, cohort, "--max-steps", "3") == 1
    assert f"got {run} moved, removed or replaced; move it back" in capsys.readouterr().err
    assert run.exists() == replaced
    assert snapshot(run) == before
    assert checkpoint.step_of(checkpoint.latest(other)) == 2


@pytest.mark.parametrize("moment", ["read_tokenizer", "resume", "step_of"])
def test_a_run_folder_that_moves_while_it_resumes_is_named_not_its_checkpoint(
    moment: str,
    run: Path,
    cohort: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = getattr(checkpoint, moment)

    def move(*given):
        if run.exists():
            run.rename(run.with_name("other"))
        return usual(*given)

    monkeypatch.setattr(checkpoint, moment, move)
    assert start(run, cohort, "--max-steps", "3") == 1
    assert f"got {run} moved, removed or replaced; move it back" in capsys.readouterr().err
    assert not run.exists()


FINETUNE = [
    *("--fractions", "1", "--seeds", "0", "--modes", "linear", "--epochs", "1"),
    *("--baseline-epochs", "1"),
]


def test_weights_that_were_trained_on_held_out_studies_are_no_baseline(
    run: Path, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(cohort.parent, tmp_path / "other")) / cohort.name
    write(other, swap(read(cohort)))
    leaky = tmp_path / "leaky"
    assert start(leaky, other) == 0
    capsys.readouterr()
    finetune = import_module("rfpmss.finetune").main
    words = ["--run-dir", str(run), *FINETUNE, "--baseline", f"leaky={leaky}"]
    assert finetune(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: --baseline leaky: held-out studies must not have been trained")
    assert "got 16" in error
    assert not (run / "evaluation" / "finetune.json").exists()
    (leaky / record.STUDIES).unlink()
    assert finetune(words) == 1
    assert "which cannot be known" in capsys.readouterr().err
    assert finetune([*words, "--allow-config-change"]) == 0
    rows = json.loads((run / "evaluation" / "finetune.json").read_text())["rows"]
    assert [row["start"] for row in rows] == ["this run", "random weights", "leaky"]
    assert finetune(["--run-dir", str(run), *FINETUNE, "--baseline", f"a={tmp_path}"]) == 1
    assert "error: --baseline a must be a run folder with a config.yaml" in capsys.readouterr().err


def test_the_label_baseline_is_taken_again_only_as_what_it_was(
    run: Path, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finetune = import_module("rfpmss.finetune").main
    words = ["--run-dir", str(run), *FINETUNE, "--train-baseline", "labels"]
    assert finetune(words) == 0
    path = run / "baselines" / "labels-1" / "image.safetensors"
    good = path.read_bytes()
    capsys.readouterr()
    other = Path(shutil.copytree(cohort.parent, tmp_path / "other")) / cohort.name
    first = next(row.study_id for row in read(cohort) if row.split == "train")
    write(other, [row for row in read(cohort) if row.study_id != first])
    assert finetune([*words, "--data", str(other)]) == 1
    assert "labels must be of this cohort, configuration and code" in capsys.readouterr().err
    weights = load_file(path)
    name = next(iter(weights))
    undefined = {key: torch.full_like(value, math.nan) for key, value in weights.items()}
    for content, sentence in [
        (b"garbage", "weights must be whole"),
        (b"", "weights must be whole"),
        (good[:-100], "weights must be whole"),
        (save(undefined), "infinite or undefined values"),
        (save({name: weights[name]}), "Missing key"),
        (save({key: value[None] for key, value in weights.items()}), "size mismatch"),
        (save(weights), "a cohort that is not known"),
        (save(weights, {"rfpmss": "{"}), "a cohort that is not known"),
    ]:
        path.write_bytes(content)
        assert finetune(words) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: "), error
        assert sentence in error, error
        assert str(path) in error


def test_a_split_without_studies_and_a_cohort_in_this_folder_are_not_taken_for_the_run_s(
    run: Path,
    cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluate = import_module("rfpmss.evaluate").main
    other = Path(shutil.copytree(cohort.parent, tmp_path / "other")) / cohort.name
    words = ["--run-dir", str(run), "--data"]
    assert evaluate([*words, str(other), "--split", "val"]) == 1
    assert "--split must have at least 2 studies, got 0 in val" in capsys.readouterr().err
    monkeypatch.chdir(other.parent)
    for data in ("manifest.csv", ".", str(other.parent)):
        assert evaluate([*words, data]) == 0
    names = {path.name.partition(".")[0] for path in (run / "evaluation").iterdir()}
    assert {name.partition("_")[0] for name in names} == {"retrieval-other"}


def test_every_module_that_training_reaches_is_said_to_count_or_not() -> None:
    """Another path to a module, or a move, is noticed here; `rfpmss.runs.opened` was forgotten."""
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph("rfpmss", include_external_packages=False)
    after = {"rfpmss.evaluation", "rfpmss.runs.opened"}  # in `rfpmss.commands.train.evaluate` alone
    reached, waiting = set(), ["rfpmss.train"]
    while waiting:
        module = waiting.pop()
        if module not in reached and module not in after:
            reached.add(module)
            waiting += graph.find_modules_directly_imported_by(module)
    assert {name for name in reached - {"rfpmss"} if record.counts(name) is None} == set()
    counted = {name for name in graph.modules if record.counts(name)}
    packages = {name for name in counted if graph.find_children(name)}
    unused = counted - reached - packages
    assert unused <= {"rfpmss.model.stored.graphs"}, unused
    listed = {name for name in (*record.SOURCES, *record.APART) if name != "multisk"}
    assert listed <= graph.modules
    assert not record.counts("rfpmss.runs.opened")
