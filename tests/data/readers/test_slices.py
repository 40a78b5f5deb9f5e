"""Slices whose series identifiers, or whose neighbours, are gone: grouped, or said to lack some."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid

from rfpmss.data.readers.assembly import load
from rfpmss.data.sources.hospital import Found, scan
from rfpmss.data.study import Source
from tests.data.files import write_series

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


@pytest.mark.parametrize("frame", [False, True])
def test_slices_all_of_whose_identifiers_were_replaced_are_one_series(
    frame: bool, tmp_path: Path
) -> None:
    for patient in ("P1", "P2"):
        new = {"StudyInstanceUID": lambda k, p=patient: generate_uid(entropy_srcs=[f"{p} st {k}"])}
        own = lambda k, p=patient: generate_uid(entropy_srcs=[f"{p} se {k}"])  # noqa: E731
        new |= {"FrameOfReferenceUID": own} if frame else {}
        new |= {"PatientID": patient, "SOPInstanceUID": own}
        write_series(tmp_path / patient, stored(), changes={**OWN, "SeriesInstanceUID": own, **new})
    sources, _, found = look(tmp_path)
    assert [len(source.paths) for source in sources] == [COUNT, COUNT]
    assert len({study.patient_id for study in found.studies}) == 2


def test_a_series_whose_dates_were_shifted_file_by_file_is_one_visit(tmp_path: Path) -> None:
    write_series(tmp_path, stored(), changes={"StudyDate": lambda k: f"20210{k + 1}04"})
    sources, _, _ = look(tmp_path)
    assert [len(source.paths) for source in sources] == [COUNT]


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
        ({"StudyInstanceUID": lambda k: f"1.2.{k // 2 + 1}"}, None),
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


# Slices that are missing at equal distances.


def wreck(path: Path, how: str) -> None:
    """Destroy the header of a file."""
    content = path.read_bytes()
    if how == "zeros":
        path.write_bytes(bytes(600) + content[600:])
    elif how == "cut":
        path.write_bytes(content[: content.index(b"PatientID") if b"PatientID" in content else 420])
    elif how == "noise":
        path.write_bytes(content[:132] + bytes(range(256)) * 3 + content[900:])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()


def every_second(folder: Path, how: str, changes: dict | None = None, ending: str = "") -> Path:
    """Seven slices of which the second, fourth and sixth are destroyed."""
    changes = {"InstanceNumber": lambda k: str(k + 1), **(changes or {})}
    write_series(folder, stored(count=7), changes=changes)
    order = np.random.default_rng(0).permutation(7)
    for k in range(7):
        path = folder / f"{order[k]:03d}"
        if k % 2:
            wreck(path, how)
        if path.exists():
            path.rename(folder / f"IM{k}{ending}")
    return folder


@pytest.mark.parametrize("how", ["zeros", "cut", "noise", "empty"])
@pytest.mark.parametrize("ending", ["", ".dcm"])
@pytest.mark.parametrize("numbered", [True, False])
def test_every_second_header_destroyed_is_no_coarser_volume(
    how: str, ending: str, numbered: bool, tmp_path: Path
) -> None:
    changes = {} if numbered else {"InstanceNumber": ""}
    every_second(tmp_path / "P1", how, changes, ending)
    sources, said, _ = look(tmp_path)
    assert sources == []
    assert len(said) == 7
    refused = [said[f"IM{k}{ending}"] for k in range(0, 7, 2)]
    assert all("3 files beside the series cannot be read" in reason for reason in refused)
    assert all("5.00 mm apart" in reason for reason in refused)
    for k in range(1, 7, 2):  # the advised cure
        (tmp_path / "P1" / f"IM{k}{ending}").unlink()
    [source], said, _ = look(tmp_path)
    assert load(source).volumes[0].array.shape[0] == 4
    assert [r.startswith("Notice: the instance numbers") for r in said.values()] == [
        True
    ] * numbered


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SpacingBetweenSlices": "2.5"}, "slices lie 5.00 mm apart and SpacingBetweenSlices says"),
        ({"SpacingBetweenSlices": "1.25", "InstanceNumber": ""}, "SpacingBetweenSlices says 1.25"),
        ({}, "instance numbers of the images go up by 2"),
    ],
)
def test_slices_that_are_not_there_and_that_the_headers_speak_of_are_noted(
    changes: dict, words: str, tmp_path: Path
) -> None:
    every_second(tmp_path / "P1", "gone", changes)
    [source], said, _ = look(tmp_path)
    [reason] = said.values()
    assert reason.startswith("Notice: ")
    assert words in reason
    np.testing.assert_array_equal(load(source).volumes[0].array, stored(count=7)[::2] - 1024.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"SpacingBetweenSlices": "2.5", "SliceThickness": "1"},  # 2-D MR, thin slices with gaps
        {"SpacingBetweenSlices": "0.5", "SliceThickness": "2"},  # a program wrote the gap
        {"SliceThickness": "1"},  # CT of the lung, 1 mm every 10 mm
        {"InstanceNumber": lambda k: str(2 * k % 7 + 1)},  # numbered in the order of acquisition
        {"InstanceNumber": "1"},
        {"InstanceNumber": lambda k: str(101 + k)},
        {"SpacingBetweenSlices": "0"},
        {"SpacingBetweenSlices": "2", "SliceThickness": "2"},  # no whole number of times
    ],
)
def test_a_whole_series_is_not_suspected_whatever_lies_beside_it(
    changes: dict, tmp_path: Path
) -> None:
    changes = {"InstanceNumber": lambda k: str(k + 1), **changes}
    folder = write_series(tmp_path / "P1", stored(count=7), changes=changes)
    assert not look(tmp_path)[1]
    for k in range(9):
        (folder / f"thumbnail{k}.jpg").write_bytes(b"no picture")
    (folder / "cut").write_bytes(next(folder.glob("00*")).read_bytes()[:300])
    [source], said, _ = look(tmp_path)
    assert len(source.paths) == 7
    assert len(said) == 10


def test_a_damaged_series_in_the_same_folder_costs_the_numbered_one_nothing(
    tmp_path: Path,
) -> None:
    number = {"InstanceNumber": lambda k: str(k + 1)}
    good = write_series(tmp_path / "P1", stored(), changes=number)
    bad = write_series(tmp_path / "made", stored())
    for path in bad.iterdir():
        wreck(path, "zeros")
        path.rename(good / f"bad{path.name}")
    bad.rmdir()
    [source], said, _ = look(tmp_path)
    assert len(source.paths) == COUNT
    assert len(said) == COUNT


def test_two_echoes_of_one_series_number_their_images_in_turn(tmp_path: Path) -> None:
    """Each echo has every second number; together they have all."""
    for echo in (0, 1):
        changes = {
            "Modality": "MR",
            "SeriesInstanceUID": "1.2.3",
            "EchoTime": ("8", "96")[echo],
            "InstanceNumber": lambda k, echo=echo: str(2 * k + echo + 1),
        }
        write_series(tmp_path / "P1" / str(echo), stored(echo), changes=changes)
    assert not look(tmp_path)[1]
