"""Slices whose series identifiers, or whose neighbours, are gone: grouped, or said to lack some."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid

from rfpmss.data.hospital import Found, scan
from rfpmss.data.sources import load
from rfpmss.data.study import Source
from tests.data_tools import write_series

COUNT = 5
OWN = {
    "SeriesInstanceUID": lambda k: generate_uid(entropy_srcs=[f"slice {k}"]),
    "SeriesNumber": "4",
    "SeriesDescription": "Head 5.0",
}


def stored(seed: int = 1, count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3000, (count, 6, 7))


def look(folder: Path) -> tuple[list[Source], dict[str, str], Found]:
    """The series of all studies, and what is said of files by their names."""
    found = scan(folder, b"salt" * 8)
    sources = [source for study in found.studies for source in study.views if source]
    sources += [source for study in found.studies for _, source in study.others]
    return sources, {path.name: reason for path, reason in found.rejections}, found


# A series identifier for every slice.


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_slices_with_a_series_identifier_each_are_the_volume_that_one_identifier_gives(
    modality: str, tmp_path: Path
) -> None:
    values = stored()
    kind = {"Modality": modality, "AcquisitionNumber": lambda k: str(k // 2), "EchoTime": "90"}
    write_series(tmp_path / "own" / "P1", values, changes={**OWN, **kind})
    write_series(tmp_path / "one" / "P1", values, changes=kind)
    [source], said, _ = look(tmp_path / "own")
    [whole], nothing, _ = look(tmp_path / "one")
    mine, theirs = load(source).volumes[0], load(whole).volumes[0]
    np.testing.assert_array_equal(mine.array, theirs.array)
    np.testing.assert_array_equal(mine.array, values - 1024.0)
    np.testing.assert_allclose(mine.affine, theirs.affine)
    assert not nothing
    [reason] = said.values()
    assert reason.startswith("Notice: 5 images with a series identifier each are one series")


def test_where_the_slices_lie_and_what_they_are_called_changes_nothing(tmp_path: Path) -> None:
    made = write_series(tmp_path / "made", stored(), changes=OWN)
    for number, path in enumerate(sorted(made.iterdir())):
        for tree, folder in (("a", "P1"), ("b", f"P1/series {9 - number}")):
            (tmp_path / tree / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / tree / folder / path.name).write_bytes(path.read_bytes())
    [one], said, _ = look(tmp_path / "a")
    [other], also, _ = look(tmp_path / "b")
    assert [path.name for path in one.paths] == [path.name for path in other.paths]
    assert (one.series, said) == (other.series, also)


def test_interleaved_series_that_their_headers_tell_apart_are_not_mixed(tmp_path: Path) -> None:
    """Two echoes whose slices lie between each other would make one regular stack."""
    echo = {"Modality": "MR", "EchoTime": lambda k: ("8", "96")[k % 2]}
    values = stored(count=6)
    write_series(tmp_path / "P1", values, changes={**OWN, **echo})
    sources, said, _ = look(tmp_path)
    assert sorted(len(source.paths) for source in sources) == [3, 3]
    assert len(said) == 2
    arrays = [load(source).volumes[0].array for source in sources]
    first, second = sorted(arrays, key=lambda array: array[0, 0, 0] != values[0, 0, 0] - 1024)
    np.testing.assert_array_equal(first, values[::2] - 1024.0)
    np.testing.assert_array_equal(second, values[1::2] - 1024.0)


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"SeriesNumber": lambda k: str(k)}, None),
        ({"SeriesNumber": "", "SeriesDescription": ""}, None),
        ({"FrameOfReferenceUID": lambda k: f"1.2.{k + 1}"}, None),
        ({"StudyInstanceUID": lambda k: f"1.2.{k + 1}"}, None),
        ({"ImageType": lambda k: ["DERIVED", "PRIMARY", f"STEP{k}"]}, None),
        ({"ConvolutionKernel": lambda k: ("H30s", "H60s", "H20f")[k % 3]}, None),
        ({}, [0.0, 2.5, 2.5, 5.0, 7.5]),
        ({}, [0.0, 2.5, 5.0, 10.0, 12.5]),
    ],
    ids=["number", "no name", "frame", "study", "type", "kernel", "repeated", "uneven"],
)
def test_slices_that_differ_or_make_no_regular_stack_stay_series_of_their_own(
    changes: dict, places: list[float] | None, tmp_path: Path
) -> None:
    write_series(tmp_path / "P1", stored(), changes={**OWN, **changes}, places=places)
    sources, said, _ = look(tmp_path)
    assert [len(source.paths) for source in sources] == [1] * COUNT
    assert not said


def test_patients_who_share_all_identifiers_stay_apart(tmp_path: Path) -> None:
    for name in ("P1", "P2"):
        write_series(tmp_path / name, stored(), changes={**OWN, "PatientID": name})
    sources, _, found = look(tmp_path)
    assert [len(source.paths) for source in sources] == [COUNT, COUNT]
    assert [len({path.parent for path in source.paths}) for source in sources] == [1, 1]
    assert len(found.rejections) == 2
