"""The same image under two patients never parts them over two splits."""

import csv
from pathlib import Path

import numpy as np
import pytest

from rfpmss.data.cohort.manifest import Row, read, write
from rfpmss.data.cohort.splits import split
from rfpmss.data.errors import LeakageError
from rfpmss.data.study import Study
from tests.data.files import brain, write_nifti
from tests.data.prepared import prepared


def test_patients_that_share_an_image_get_one_split_and_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(8):
        write_nifti(tmp_path / "src" / f"P{number}" / "t1.nii", brain((16, 16, 6), number % 4))
    rows = prepared(tmp_path / "src", tmp_path / "out")
    by_image: dict[str, set[str]] = {}
    for row in rows:
        by_image.setdefault(row.digest, set()).add(row.split)
    assert len(by_image) == 4
    assert all(len(splits) == 1 for splits in by_image.values())
    assert len({row.split for row in rows}) > 1
    assert "4 pairs of patients share an image" in capsys.readouterr().out
    with (tmp_path / "out" / "duplicates.csv").open() as file:
        assert [row["kind"] for row in csv.DictReader(file)].count("same") == 4


def test_an_image_that_is_only_alike_is_told_and_unlike_ones_are_not(tmp_path: Path) -> None:
    image = brain((32, 32, 6)).astype(np.float32)
    write_nifti(tmp_path / "src" / "P1" / "t1.nii", image)
    write_nifti(
        tmp_path / "src" / "P2" / "t1.nii", image * 1.02 + 3 + (np.indices(image.shape)[0] == 3)
    )
    write_nifti(tmp_path / "src" / "P3" / "t1.nii", brain((32, 32, 6), seed=9))
    prepared(tmp_path / "src", tmp_path / "out")
    with (tmp_path / "out" / "duplicates.csv").open() as file:
        assert [row["kind"] for row in csv.DictReader(file)] == ["alike"]


def test_a_manifest_with_one_image_in_two_splits_is_refused(tmp_path: Path) -> None:
    rows = [
        Row(patient_id=p, study_id=p, modality="ct", split=s, digest="d")
        for p, s in (("a", "train"), ("b", "test"))
    ]
    write(tmp_path / "manifest.csv", rows)
    with pytest.raises(LeakageError, match="same image stands in the splits"):
        read(tmp_path / "manifest.csv")


def test_patients_who_share_an_image_never_part_whatever_the_seed() -> None:
    people = [Study(study_id=str(p), patient_id=str(p), report="x") for p in range(20)]
    together = {"3": "2", "2": "2", "7": "2"}
    for seed in range(20):
        dealt = split(people, (0.6, 0.2, 0.2), seed, together=together)
        assert dealt["2"] == dealt["3"] == dealt["7"]
        assert len(dealt) == 20
    with pytest.raises(LeakageError, match=r"splits\.csv"):
        split(people, (0.6, 0.2, 0.2), 0, {"2": "train", "3": "test"}, together)
