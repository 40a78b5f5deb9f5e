"""A loss in at most five places, a public data set in at most four: both added and used.

The additions are made as docs/architecture.md says, in a copy of the package; the copy then
prepares the new data set and trains on it with the new loss.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

LENGTH = '''"""Squared length of the joint-space features."""

from jaxtyping import Bool, Float
from torch import Tensor


def length(joint: Float[Tensor, "b m e"], present: Bool[Tensor, "b m"]) -> Float[Tensor, ""]:
    """Mean over the modalities that are there."""
    return joint[present].square().sum(-1).mean()
'''

CLINIC = '''"""One folder a patient, with t1ce.nii.gz."""

from pathlib import Path

from rfpmss.data.sources.public import Listing
from rfpmss.data.study import Source, Study


def find(root: Path) -> Listing:
    """All patients of the folder."""
    studies = []
    for path in sorted(root.glob("*/t1ce.nii.gz")):
        mri = Source(kind="nifti", paths=(path,), channels=("t1ce",), series="t1ce")
        name = path.parent.name
        report = "A mass enhances on the left."
        study = Study(study_id=name, patient_id=name, views=(None, mri, None), report=report)
        studies.append(study)
    return Listing(tuple(studies), ())
'''

Edits = list[tuple[str, str]]

LOSS: dict[str, str | Edits] = {
    "rfpmss/loss/length.py": LENGTH,
    "rfpmss/config/sections.py": [
        ('"nce", "consistency"]\nTERMS', '"nce", "consistency", "length"]\nTERMS'),
        (
            "    temperature: Positive = 0.1\n",
            "    length: float = Field(default=0.5, ge=0.0)\n    temperature: Positive = 0.1\n",
        ),
    ],
    "rfpmss/loss/total.py": [
        (
            '    """Eq. 6."""\n    trivial',
            '    """Eq. 6."""\n    length: Float[Tensor, ""]\n    trivial',
        )
    ],
    "rfpmss/training/step.py": [
        ("from rfpmss.loss.total", "from rfpmss.loss.length import length\nfrom rfpmss.loss.total"),
        (
            "        **_structure",
            "        length=length(features.joint, features.present),\n        **_structure",
        ),
    ],
    "rfpmss/evaluation/page/write.py": [
        ("MEANING = {\n", 'MEANING = {\n    "length": "squared length in the joint space",\n')
    ],
}
"""Its file, its name and weight, its place among the losses, its value, its caption."""

SOURCE: dict[str, str | Edits] = {
    "rfpmss/data/sources/clinic.py": CLINIC,
    "rfpmss/data/sources/options.py": [
        ("    mr_rate: Path", "    clinic: Path | None = None\n    mr_rate: Path"),
        ('"bids", "mr_rate")', '"bids", "mr_rate", "clinic")'),
    ],
    "rfpmss/data/sources/cohorts.py": [
        ("import bids, brats,", "import bids, brats, clinic,"),
        (
            "    if wanted.mr_rate:\n",
            "    if wanted.clinic:\n"
            "        root = wanted.clinic.resolve()\n"
            "        others = _both(others, _absolute(clinic.find(root), root))\n"
            "    if wanted.mr_rate:\n",
        ),
    ],
}
"""Its file, its option, where it is looked for."""

USE = """
import sys
from rfpmss.cli import main

src, out, run = sys.argv[1:]
words = ["--out", out, "--workers", "1", "--size", "36", "--splits", "1", "0", "0"]
assert main(["prepare", "public", "--clinic", src, *words]) == 0
words = ["--run-dir", run, "--max-steps", "2", "--train.batch", "2", "--no-evaluate"]
assert main(["train", "--preset", "smoke", "--data", out, *words]) == 0

from rfpmss.evaluation.page.write import CURVES, MEANING

assert "length" in set(CURVES) <= set(MEANING)
"""


def add(tree: Path, change: dict[str, str | Edits]) -> None:
    for name, edits in change.items():
        if isinstance(edits, str):
            assert not (tree / name).exists()
            (tree / name).write_text(edits)
            continue
        text = (tree / name).read_text()
        for old, new in edits:
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        (tree / name).write_text(text)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared cohort ``out`` and the run ``run`` of the package with both additions."""
    folder = tmp_path_factory.mktemp("used")
    tree = folder / "tree"
    left = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "rfpmss", tree / "rfpmss", ignore=left)
    (tree / "multisk").symlink_to(ROOT / "multisk")
    add(tree, LOSS)
    add(tree, SOURCE)

    rng = np.random.default_rng(0)
    for name in "abcd":
        path = folder / "src" / name / "t1ce.nii.gz"
        path.parent.mkdir(parents=True)
        grey = rng.integers(0, 900, (36, 36, 3)).astype(np.int16)
        nib.save(nib.Nifti1Image(grey, np.diag([1.0, 1.0, 3.0, 1.0])), path)

    done = subprocess.run(
        [sys.executable, "-c", USE, *(folder / name for name in ("src", "out", "run"))],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tree)},
        cwd=tree,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_a_loss_is_added_in_five_places_and_minimised(used: Path) -> None:
    assert len(LOSS) <= 5
    lines = (used / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 2
    for row in rows:
        assert row["length"] == pytest.approx(1, abs=1e-5)  # unit vectors
        rest = sum(row[name] for name in ("language", "contrast", "nce", "consistency"))
        assert row["loss"] == pytest.approx(rest + 0.5 * row["length"], rel=1e-5)


def test_a_public_data_set_is_added_in_four_places_and_prepared(used: Path) -> None:
    assert len(SOURCE) <= 4
    with (used / "out" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["patient_id"] for row in rows} == set("abcd")
    assert {row["modality"] for row in rows} == {"mri", "report"}
    reports = {row["report"] for row in rows if row["modality"] == "report"}
    assert reports == {"A mass enhances on the left."}
