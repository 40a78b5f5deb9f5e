"""A run on boxes of any sequences: stopped and resumed, scored, exported, embedding a folder."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from benchmarks.controls.boxes import CHANGES, shifted
from benchmarks.controls.levels import Changed
from rfpmss import embed, evaluate, export, train
from rfpmss.config import VIEWS, tiny3d
from rfpmss.data.phantom import ensure_cohort
from rfpmss.evaluation.attention.slices import stack_of
from rfpmss.runs import checkpoint
from rfpmss.runs.opened import open_run

SIZES = {"train": 8, "test": 4, "mri_shape": (48, 48, 24), "ct_shape": (48, 48, 16)}
SMALL = {"slide_size": 256, "depth": 10, "side": 18, "spacing": (9.0, 9.0, 9.0), "views": 2}
COMMON = [
    *("--preset", "tiny3d", "--train.batch", "4", "--no-evaluate", "--data.depth", "8"),
    *("--data.resize", "18", "--data.size", "12", "--data.spacing", "9", "9", "9"),
    *("--model.thick", "4", "--data.slices", "2"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    phantom = tiny3d().phantom.model_copy(update=SIZES | SMALL)
    return ensure_cohort(phantom, tmp_path_factory.mktemp("boxes"), workers=1)


def start(folder: Path, data: Path, steps: int, *words: str) -> int:
    given = ["--run-dir", str(folder), "--data", str(data), "--max-steps", str(steps)]
    return train.main([*COMMON, *given, *words])


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert start(folder, data, 2) == 0
    return folder


def test_a_run_on_boxes_that_stopped_ends_with_the_weights_of_one_that_did_not(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for steps in (1, 2):
        assert start(tmp_path / "run", data, steps) == 0
    left, right = (checkpoint.newest(folder) for folder in (run, tmp_path / "run"))
    for name in ("model.safetensors", "optimiser.safetensors"):
        assert (left / name).read_bytes() == (right / name).read_bytes()
    given = ["--allow-config-change", "--data.depth", "4"]
    assert start(tmp_path / "run", data, 3, *given) == 1
    assert "config.data.depth: 8 there, 4 requested" in capsys.readouterr().err


def test_parts_of_a_batch_give_the_step_of_the_whole(run: Path, data: Path, tmp_path: Path) -> None:
    """Dropout is off in tiny3d, so that only sums differ."""
    assert start(tmp_path / "parts", data, 1, "--train.accumulate", "2") == 0
    lines = [(at / "metrics.jsonl").read_text().splitlines() for at in (run, tmp_path / "parts")]
    first = [json.loads(mine[0])["loss"] for mine in lines]
    assert first[0] == pytest.approx(first[1], rel=1e-4)


def test_a_viewer_shows_each_slice_at_its_height_with_its_box(run: Path, data: Path) -> None:
    opened = open_run(run, data, "cpu")
    index = int(opened.cohort.indices("test")[0])
    found = (stack_of(opened.model, opened.cohort, opened.tokenizer, index, v) for v in VIEWS)
    stacks = {stack.view: stack for stack in found if stack}
    place = opened.cohort.places[index][VIEWS.index("mri")]
    assert [channel.caption for channel in stacks["mri"].channels] == ["T1", "T1 Gd", "T2", "FLAIR"]
    for view in ("ct", "mri"):
        assert stacks[view].heights == pytest.approx([9.0 * (k - 3.5) for k in range(8)])
        assert len(stacks[view].marks) == 8
        assert stacks[view].marks[0].heat == stacks[view].marks[3].heat  # one slab
    boxed = [mark.reference is not None for mark in stacks["mri"].marks]
    assert boxed == [opened.cohort.box(index, "mri", k) is not None for k in range(1, 9)]
    assert place is not None
    assert any(place.boxes)


def test_changes_of_sequences_change_what_they_say(run: Path, data: Path) -> None:
    opened = open_run(run, data, "cpu")
    indices, words = opened.cohort.indices("test"), opened.tokenizer
    plain = opened.cohort.batch(indices, words, None)
    assert plain.shown is not None
    made = {
        name: Changed(**vars(opened.cohort), change=change).batch(indices, words, None)
        for name, change in CHANGES.items()
    }
    shown = {name: one.shown for name, one in made.items() if one.shown is not None}
    assert (shown["without T1 Gd"] == torch.tensor([0, -1, 2, 3])).all()
    assert (shown["FLAIR alone"] == torch.tensor([-1, -1, -1, 3])).all()
    assert shown["twelve sequences"].shape == (4, 12)
    assert set(shown["names never seen"].flatten().tolist()) == {10}
    turned, many = made["another order"], made["each twice"]
    model = opened.model

    def vectors(batch):
        with torch.no_grad():
            return model.encode(batch.images, batch.present, batch.tokens, batch.shown).study

    assert (vectors(turned) - vectors(plain)).abs().max() < 1e-6
    assert (vectors(many) - vectors(plain)).abs().max() < 1e-6
    moved = shifted(plain, 2, seed=0)
    for study in range(4):
        for slot in range(4):
            mine, there = plain.images[1][study, :, slot], moved.images[1][study, :, slot]
            assert not torch.equal(mine, there)
            inner, outer = mine[2:-2, 2:-2, 2:-2], there
            found = [
                torch.equal(inner, outer[2 + a : 6 + a, 2 + b : 10 + b, 2 + c : 10 + c])
                for a in (-2, 0, 2) for b in (-2, 0, 2) for c in (-2, 0, 2)
            ]  # fmt: skip
            assert any(found)


@pytest.mark.slow
def test_a_run_on_boxes_is_scored_exported_and_embeds_a_folder_of_files(
    run: Path, data: Path, tmp_path: Path
) -> None:
    assert evaluate.main(["--run-dir", str(run), "--beams", "1"]) == 0
    assert (run / "evaluation" / "retrieval.json").is_file()
    assert export.main([str(run), "--out", str(tmp_path / "model"), "--no-graphs"]) == 0
    src = tmp_path / "src"
    for folder in sorted((data.parent / "patients").iterdir())[:2]:
        shutil.copytree(folder, src / folder.name, ignore=shutil.ignore_patterns("truth.json"))
    out = tmp_path / "vectors.parquet"
    given = [str(src), "--model", str(tmp_path / "model"), "--out", str(out), "--workers", "1"]
    assert embed.main(given) == 0
    assert pq.read_table(out).num_rows == 2
