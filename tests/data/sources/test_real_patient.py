"""A real patient of UPENN-GBM, where its files lie beside the checkout, from files to training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rfpmss import prepare, train
from rfpmss.data.cohort.manifest import read

SAMPLE = Path(__file__).parents[4] / "shared" / "data" / "upenn_gbm_sample"


@pytest.mark.slow
@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the folder upenn_gbm_sample is not there")
def test_a_real_patient_is_one_bundle_and_trains_a_few_steps(tmp_path: Path) -> None:
    src, out = tmp_path / "src", tmp_path / "cohort"
    src.mkdir()
    for path in SAMPLE.glob("*.nii.gz"):
        shutil.copyfile(path, src / path.name)
    (src / "00001.txt").write_text("Ring enhancing mass in the left temporal lobe.")
    assert prepare.main(["hospital", str(src), "--out", str(out), "--workers", "1"]) == 0
    image, text = read(out / "manifest.csv")
    assert image.series.startswith("NIfTI t1 t1ce t2 flair ")
    assert (image.spacing, image.grid) == ("1 1 1", "240 240 155")
    # Of the same four files, without their header extensions, under the names of BraTS2021.
    assert image.digest.startswith("79167e5b")
    assert text.patient_id == image.patient_id
    assert (out / "rejections.csv").read_text() == "path,reason\n"

    given = ["--preset", "smoke", "--data", str(out / "manifest.csv"), "--max-steps", "3"]
    assert train.main([*given, "--run-dir", str(tmp_path / "run")]) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [step["loss"] for line in lines if "loss" in (step := json.loads(line))]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
