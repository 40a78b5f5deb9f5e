"""From the trees of BraTS2021 and UPENN-GBM to a training run, by the commands a group types."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from rfpmss.data.cohort.manifest import read
from tests.data.sources.trees import both_trees

PATIENTS, SHARED = 20, 6


def run(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *words], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_both_trees_are_refused_unmapped_then_merged_split_shown_and_trained_on(
    tmp_path: Path,
) -> None:
    mapping = both_trees(tmp_path, PATIENTS, SHARED)
    out = tmp_path / "cohort"
    prepare = ["public", "--brats2021", str(tmp_path / "brats")]
    prepare += ["--upenn-gbm", str(tmp_path / "upenn"), "--derive-reports", "--out", str(out)]

    refused = run("rfpmss.prepare", *prepare)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("error: 447 cases of BraTS2021 are patients")
    assert not (out / "manifest.csv").exists()

    made = run("rfpmss.prepare", *prepare, "--mapping", str(mapping))
    assert made.returncode == 0, made.stderr
    assert f"studies: {2 * PATIENTS - SHARED} " in made.stdout
    count = 2 * PATIENTS - SHARED
    assert f"reports: {count} ({count} derived from masks or tables)" in made.stdout
    rows = read(out / "manifest.csv")
    kinds = Counter(row.study_id.partition("_")[0] for row in rows if row.modality == "mri")
    assert kinds == {"UPENN-GBM-" + f"{n + 1:05d}": 1 for n in (*range(SHARED), *range(20, 34))} | {
        "BraTS2021": PATIENTS - SHARED
    }
    with (out / "splits.csv").open(newline="") as file:
        splits = Counter(row["split"] for row in csv.DictReader(file))
    assert splits.keys() == {"train", "val", "test"}
    assert splits.total() == 2 * PATIENTS - SHARED
    merged = [row for row in rows if row.study_id == "UPENN-GBM-00002_11"]
    assert "mgmt=methylated" in merged[0].labels  # which only the other collection knows
    assert {row.derived for row in rows if row.modality == "report"} == {"yes"}
    with (out / "rejections.csv").open(newline="") as file:
        reasons = Counter(row["reason"].partition(":")[0] for row in csv.DictReader(file))
    assert reasons == {"DuplicateError": SHARED}
    page = (out / "cohort.html").read_text(encoding="utf-8")
    assert f"{2 * PATIENTS - SHARED} reports are derived from masks or tables" in page
    assert "40 × 40 × 14" in page

    trained = run(
        *("rfpmss.train", "--preset", "smoke", "--data", str(out / "manifest.csv")),
        *("--max-steps", "4", "--run-dir", str(tmp_path / "run")),
    )
    assert trained.returncode == 0, trained.stderr
    steps = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert max(json.loads(line).get("step", 0) for line in steps) == 4
    training = splits["train"]
    assert f"{training} of them derived from masks or tables" in trained.stdout
    shown = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert re.search(rf">train<.*<td[^>]*>{training}</td></tr>", shown)  # column: Derived


@pytest.mark.slow
def test_the_walk_of_the_guide_goes_from_generated_files_to_a_run(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    block = guide.partition("Never done this before?")[2].split("```")[1]
    commands = [line.partition("#")[0] for line in block.strip().splitlines()]
    assert len(commands) == 3
    small = ("--phantom.train", "12", "--phantom.test", "4")
    for line, extra in zip(commands, (small, (), ("--max-steps", "4")), strict=True):
        words = shlex.split(line)
        assert words[:2] == ["python", "-m"]
        found = [w for word in words[3:] for w in sorted(map(str, tmp_path.glob(word))) or [word]]
        done = subprocess.run(
            [sys.executable, "-m", words[2], *found, *extra],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    for name in ("COHORT/cohort.html", "COHORT/manifest.csv", "RUN/report.html"):
        assert (tmp_path / name).is_file()
