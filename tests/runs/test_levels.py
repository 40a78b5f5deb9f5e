"""A run on slices of all levels: stopped and resumed, of before, exported, adapted, shown."""

import json
import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from benchmarks.controls.levels import Changed, elsewhere, shuffled
from benchmarks.controls.levels import inner as inner_slices
from rfpmss import train
from rfpmss.config import VIEWS, levels, smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.data.phantom import ensure_cohort
from rfpmss.evaluation.adapt import adapt
from rfpmss.evaluation.page.patient import Looker
from rfpmss.evaluation.page.pictures import CHANNELS, data_uri, shown_pixels, thumbnails
from rfpmss.evaluation.page.write import fill
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.runs import checkpoint
from rfpmss.runs.opened import open_run
from tests.runs.test_trust import edit

SIZES = {"train": 8, "test": 4, "mri_shape": (32, 32, 22), "ct_shape": (32, 32, 11)}
COMMON = ["--preset", "smoke", "--train.batch", "4", "--no-evaluate", "--data.order", "levels"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    phantom = levels(smoke()).phantom.model_copy(update={**SIZES, "slide_size": 128, "views": 5})
    return ensure_cohort(phantom, tmp_path_factory.mktemp("levels"), workers=1)


def start(folder: Path, data: Path, steps: int, *words: str) -> int:
    given = ["--run-dir", str(folder), "--data", str(data), "--max-steps", str(steps)]
    return train.main([*COMMON, *given, *words])


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert start(folder, data, 2) == 0
    return folder


def test_a_run_that_stopped_ends_with_the_weights_of_one_that_did_not(
    run: Path, data: Path, tmp_path: Path
) -> None:
    for steps in (1, 2):
        assert start(tmp_path / "run", data, steps) == 0
    left, right = (checkpoint.newest(folder) for folder in (run, tmp_path / "run"))
    for name in ("model.safetensors", "optimiser.safetensors"):
        assert (left / name).read_bytes() == (right / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--data.order", "best"], "data.order"),
        (["--data.slices", "2"], "data.slices"),
        (["--train.stem-fan-in", "100"], "train.stem_fan_in"),
    ],
)
def test_what_shapes_the_heights_or_the_groups_cannot_change(
    words: list[str],
    name: str,
    run: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    assert start(copy, data, 3, "--allow-config-change", *words) == 1
    said = capsys.readouterr().err
    assert f"config.{name}: " in said
    assert "cannot change when a run goes on" in said


NEW = {
    "phantom": ("level", "masks"),
    "data": ("order",),
    "train": ("stem_fan_in",),
}
"""Fields that came with levels; a run of before them has none."""


def test_a_run_of_before_levels_goes_on_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    plain = ["--data.order", "best", "--model.slice-pooling", "mean"]
    assert start(tmp_path / "new", data, 1, *plain) == 0
    old = Path(shutil.copytree(tmp_path / "new", tmp_path / "old"))
    for path in (old / "config.yaml", *old.glob("checkpoints/*/config.yaml")):
        settings = yaml.safe_load(path.read_text())
        for section, names in NEW.items():
            for name in names:
                del settings["config"][section][name]
        text = yaml.safe_dump(settings).encode()
        path.write_bytes(text)
        if path.parent != old:
            edit(path.parent, path.name, text)
    for name in ("new", "old"):
        assert start(tmp_path / name, data, 2, *plain) == 0
    left, right = (checkpoint.newest(tmp_path / name) for name in ("new", "old"))
    for name in ("model.safetensors", "optimiser.safetensors"):
        assert (left / name).read_bytes() == (right / name).read_bytes()


def test_an_exported_run_keeps_its_heights_and_embeds_as_it_did(run: Path, tmp_path: Path) -> None:
    words = [str(run), "--out", str(tmp_path / "m"), "--no-graphs"]
    assert import_module("rfpmss.export").main(words) == 0
    opened = open_run(run, None, "cpu")
    model = RFPMSS.from_pretrained(str(tmp_path / "m")).eval()
    assert torch.equal(model.image.heights, opened.model.image.heights)
    assert model.data.order == "levels"
    batch = opened.cohort.batch(range(12), opened.tokenizer, augment=None)
    assert {pixels.shape[1] for pixels in batch.images} == {4}
    with torch.no_grad():
        mine, wanted = (
            m.encode(batch.images, batch.present, batch.tokens) for m in (model, opened.model)
        )
    assert torch.equal(mine.joint, wanted.joint)
    assert torch.equal(mine.study, wanted.study)


def test_vectors_of_several_slices_are_adapted_to_the_cohorts_own_figures(data: Path) -> None:
    preset = levels(smoke())
    one = Cohort.open(data, preset.data)
    cohort = replace(one, **{n: getattr(one, n) * 3 for n in ("studies", "places", "records")})
    tokenizer = train_tokenizer(cohort.reports("train"), 300)
    torch.manual_seed(0)
    model = RFPMSS(preset.model, preset.data, tokenizer.get_vocab_size()).eval()
    batch = cohort.batch(range(36), tokenizer, augment=None)
    given = (batch.images, batch.present, batch.tokens)
    assert adapt(model, cohort, tokenizer, 16) == []
    with torch.no_grad():
        found, raw = model.encode(*given).study.double(), model.read(*given).study.double()
    wanted = (raw - raw.mean(0)) / (raw.var(0) + 1e-5).sqrt()
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_several_slices_are_evaluated(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate = import_module("rfpmss.evaluate").main
    assert evaluate(["--run-dir", str(run), "--beams", "1"]) == 0
    rows = json.loads((run / "evaluation" / "retrieval.json").read_text())
    assert {(row["query"], row["gallery"]) for row in rows} >= {("study", "report"), ("ct", "mri")}
    assert all(np.isfinite(row["r5"]) for row in rows)
    assert "side" in capsys.readouterr().out


def test_the_viewer_shows_every_stored_slice_at_its_height_and_first_the_largest_box(
    run: Path,
) -> None:
    opened = open_run(run, None, "cpu")
    looker = Looker(opened, run / "evaluation")
    (study, *_) = looker.studies()
    index, patient = looker.index(study), looker.look(study)
    for stack in patient.stacks:
        place = opened.cohort.places[index][VIEWS.index(stack.view)]
        assert place is not None
        assert len(stack.marks) == 5
        assert stack.heights == place.heights
        assert len(stack.heights) == (0 if stack.view == "pathology" else 5)
    shown = {picture.uri for picture in patient.first if picture.view == "mri"}
    for name, channel in thumbnails("mri", CHANNELS["mri"]):
        image = opened.cohort.images([index], VIEWS.index("mri"))[0].numpy()
        assert data_uri(shown_pixels(image, channel)) in shown, name
    text = fill("patient.html", {"patient": patient, "studies": looker.studies()})
    for height in next(s.heights for s in patient.stacks if s.view == "mri"):
        assert f"{height:+.0f} mm" in text


def test_controls_change_the_order_the_slices_or_the_patient_and_nothing_else(run: Path) -> None:
    opened = open_run(run, None, "cpu")
    plain = opened.cohort.batch(range(6), opened.tokenizer, augment=None)
    turned, inner, other = (
        Changed(**vars(opened.cohort), change=change).batch(range(6), opened.tokenizer, None)
        for change in (shuffled, inner_slices, elsewhere)
    )
    for view in (0, 1):
        for row in range(6):
            before, after = plain.images[view][row], turned.images[view][row]
            where = [[torch.equal(a, b) for b in before].index(True) for a in after]
            assert sorted(where) == [0, 1, 2, 3]
            assert all(at != k for k, at in enumerate(where))
            assert torch.equal(inner.images[view][row], before[[1, 1, 2, 2]])
            assert torch.equal(other.images[view][row], plain.images[view][row - 1])
    for changed in (turned, inner):
        assert torch.equal(changed.images[2], plain.images[2])
        assert torch.equal(changed.tokens, plain.tokens)
