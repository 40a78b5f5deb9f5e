"""A run of two steps that tests of this folder copy."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def trained(smoke_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of preset smoke, with a checkpoint after each; never written into."""
    from rfpmss import train

    folder = tmp_path_factory.mktemp("trained") / "run"
    words = ["--preset", "smoke", "--run-dir", str(folder), "--no-evaluate", "--train.batch", "4"]
    words += ["--train.save-every", "1", "--max-steps", "2", "--data", str(smoke_cohort)]
    assert train.main(words) == 0
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(trained, tmp_path / "run"))
