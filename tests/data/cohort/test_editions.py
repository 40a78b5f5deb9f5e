"""The two editions of the generated cohort: the first as it ever was, the laws of the second."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest
import tifffile

from rfpmss.config import PRESETS
from rfpmss.config.sections import PhantomConfig
from rfpmss.data.phantom.cohort import folder_name
from rfpmss.data.phantom.files import study_id, write_patient
from tests.data.files import SMALL

HARD = {
    "missing": 0.2,
    "hospital": "held-out",
    "isointense": 0.5,
    "label_noise": 0.3,
    "duplicate_reports": 0.4,
    "language": "mixed",
}


def content(path: Path) -> bytes:
    """What a file holds, whatever library compressed it."""
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".tiff":
        return tifffile.imread(path).tobytes()
    return path.read_bytes()


def digest(folder: Path, config: PhantomConfig) -> str:
    """Of all files of the first six patients, made anew."""
    found = hashlib.sha256()
    for index in range(6):
        write_patient(folder / study_id(index), index, config)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(str(path.relative_to(folder)).encode())
            found.update(content(path))
    return found.hexdigest()[:16]


@pytest.mark.parametrize(
    ("options", "name", "known"),
    [
        ({}, "phantom-761dba6773b0", "396b76980110e466"),
        (HARD, "phantom-7a0be420dcd6", "3d6bcac7693703af"),
    ],
)
def test_the_first_edition_keeps_its_bytes_and_its_name(
    options: dict, name: str, known: str, tmp_path: Path
) -> None:
    # Digests and names as they were before there was a second edition.
    config = SMALL.model_copy(update=options)
    assert folder_name(config) == name
    assert digest(tmp_path, config) == known


def test_presets_keep_the_names_of_their_cohorts() -> None:
    assert {name: folder_name(make().phantom) for name, make in PRESETS.items()} == {
        "smoke": "phantom-a3ca723ad299",
        "tiny": "phantom-0661f95a85dc",
        "small": "phantom-cd3c9ae01057",
        "paper": "phantom-bda0011372bc",
        "paper-standardised": "phantom-bda0011372bc",
    }
