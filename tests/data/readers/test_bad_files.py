"""One bad file costs one file: what is left of a series, and which sentence each file gets."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless

from rfpmss import prepare
from rfpmss.data.cohort.manifest import read
from rfpmss.data.errors import (
    DataError,
    GeometryError,
    ShortError,
    UnreadableError,
    UnsupportedError,
    UnusedError,
)
from rfpmss.data.readers.assembly import read_series
from tests.data.files import write_series

COUNT = 6


def stored(count: int = COUNT, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3000, (count, 6, 7))


def ordered(folder: Path) -> list[Path]:
    """The files by their place along z."""
    return sorted(folder.iterdir(), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])


def change(path: Path, **values: object) -> None:
    data = pydicom.dcmread(path)
    for name, value in values.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.save_as(path)


def raw_data(path: Path) -> None:
    change(
        path, SOPClassUID="1.2.840.10008.5.1.4.1.1.66", PixelData=None, ImagePositionPatient=None
    )


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def headless(path: Path) -> None:
    change(path, PixelData=None)


def other_syntax(path: Path) -> None:
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    data.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51 no codestream"])
    data.save_as(path)


def colour(path: Path) -> None:
    change(path, SamplesPerPixel=3, PixelData=bytes(6 * 7 * 3 * 2), PlanarConfiguration=0)


BAD: dict[str, tuple[Callable[[Path], None], type[DataError], str]] = {
    "raw data": (raw_data, UnsupportedError, "raw data"),
    "cut": (cut, UnreadableError, "end too early"),
    "no pixels": (headless, UnreadableError, "ends before its pixels"),
    "other syntax": (other_syntax, UnreadableError, ""),
    "colour": (colour, UnsupportedError, "colour"),
    "no place": (lambda p: change(p, ImagePositionPatient=None), GeometryError, "where it lies"),
    "no spacing": (lambda p: change(p, PixelSpacing=None), GeometryError, "how large its pixels"),
    "no dicom": (lambda p: p.write_bytes(b"nothing" * 99), UnreadableError, "no DICOM file"),
    "not finite": (lambda p: change(p, RescaleSlope="1e300"), DataError, ""),
    "scout": (lambda p: change(p, ImageType=["ORIGINAL", "LOCALIZER"]), DataError, "localizer"),
    "mosaic": (lambda p: change(p, ImageType=["ORIGINAL", "MOSAIC"]), UnsupportedError, "mosaic"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_at_the_end_of_a_stack_costs_itself_alone(name: str, tmp_path: Path) -> None:
    values = stored()
    paths = ordered(write_series(tmp_path / "s", values))
    spoil, kind, words = BAD[name]
    spoil(paths[-1])
    volume, left = read_series(paths, fewest=3)
    [(path, error)] = left
    assert path == paths[-1]
    assert isinstance(error, kind)
    assert words in error.reason
    np.testing.assert_array_equal(volume.array, values[:-1] - 1024.0)
    assert volume.spacing == pytest.approx((0.9, 0.7, 2.5))


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_inside_of_a_stack_is_a_gap_that_is_never_hidden(
    name: str, tmp_path: Path
) -> None:
    values = stored()
    paths = ordered(write_series(tmp_path / "s", values))
    spoil, kind, _ = BAD[name]
    spoil(paths[2])
    with pytest.raises(GeometryError, match="gap") as caught:
        read_series(paths, fewest=3)
    reasons = dict(caught.value.each(paths))
    assert isinstance(reasons[paths[2]], kind)
    assert "gap" not in reasons[paths[2]].reason
    assert all(reasons[path] is caught.value for path in paths if path != paths[2])
    assert "--gaps resample" in caught.value.cure
    volume, _ = read_series(paths, "resample", fewest=3)
    np.testing.assert_allclose(volume.array[2], values[[1, 3]].mean(axis=0) - 1024, atol=1e-3)
    np.testing.assert_array_equal(volume.array[[1, 3]], values[[1, 3]] - 1024.0)


@pytest.mark.parametrize("spoil", [cut, headless, other_syntax])
@pytest.mark.parametrize("lost", [(1,), (1, 3)])
def test_slices_that_are_lost_evenly_do_not_make_a_coarser_volume(
    spoil: Callable[[Path], None], lost: tuple[int, ...], tmp_path: Path
) -> None:
    paths = ordered(write_series(tmp_path / "s", stored(2 * len(lost) + 1)))
    for number in lost:
        spoil(paths[number])
    with pytest.raises(GeometryError, match="leave a gap"):
        read_series(paths)
    volume, left = read_series(paths, "resample")
    assert volume.array.shape[0] == 2 * len(lost) + 1
    assert volume.spacing[2] == pytest.approx(2.5)
    assert {path for path, _ in left} == {paths[number] for number in lost}


def test_files_without_any_header_that_may_stand_between_are_not_overlooked(
    tmp_path: Path,
) -> None:
    paths = ordered(write_series(tmp_path / "s", stored(3)))
    paths[1].write_bytes(b"no header at all")
    with pytest.raises(GeometryError, match="missing between"):
        read_series(paths)


def test_a_deflated_file_that_is_damaged_costs_itself_alone(tmp_path: Path) -> None:
    paths = ordered(write_series(tmp_path / "s", stored()))
    data = pydicom.dcmread(paths[0])
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(paths[0])
    read, left = read_series(paths)
    assert (read.array.shape[0], left) == (COUNT, [])
    content = bytearray(paths[0].read_bytes())
    content[-30:] = b"\xff" * 30
    paths[0].write_bytes(content)
    read, left = read_series(paths)
    assert read.array.shape[0] == COUNT - 1
    assert [path for path, _ in left] == [paths[0]]


def test_where_all_files_are_bad_each_has_its_own_reason(tmp_path: Path) -> None:
    paths = ordered(write_series(tmp_path / "s", stored(3)))
    cut(paths[0])
    colour(paths[1])
    raw_data(paths[2])
    with pytest.raises(DataError) as caught:
        read_series(paths)
    reasons = [error.reason for _, error in caught.value.each(paths)]
    assert len(set(reasons)) == 3
    good = ordered(write_series(tmp_path / "t", stored(2), places=[2.5, 5.0]))
    with pytest.raises(ShortError, match="only 2 slices") as short:
        read_series([*paths[:2], *good], fewest=3)
    reasons = {path: error.reason for path, error in short.value.each([*paths[:2], *good])}
    assert "colour" in reasons[paths[1]]
    assert "end too early" in reasons[paths[0]]


def test_a_damaged_copy_of_a_sound_slice_costs_nothing(tmp_path: Path) -> None:
    one = ordered(write_series(tmp_path / "a", stored()))
    two = ordered(write_series(tmp_path / "b", stored()))
    cut(one[2])
    cut(two[4])
    read, left = read_series([*one, *two])
    np.testing.assert_array_equal(read.array, stored() - 1024.0)
    assert {p for p, error in left if "end too early" in error.reason} == {one[2], two[4]}


# Angles of stacks that lean, and the words for it.


@pytest.mark.parametrize("degrees", [5.0, 18.5, 28.0])
@pytest.mark.parametrize("places", [None, [0.0, 2, 4, 11, 18, 25]])
def test_the_tilt_is_the_angle_between_the_stack_and_its_normal(
    degrees: float, places: list[float] | None, tmp_path: Path
) -> None:
    tilt = float(np.tan(np.radians(degrees)))
    folder = write_series(tmp_path / "s", stored(), tilt=tilt, places=places)
    with pytest.raises(
        GeometryError, match=rf"gantry is tilted by {degrees:.1f} degrees"
    ) as caught:
        read_series(list(folder.iterdir()))
    assert "--gaps resample" in caught.value.cure
    assert read_series(list(folder.iterdir()), "resample")[0].array.ndim == 3


def test_only_ct_has_a_gantry_and_what_leans_too_far_gets_no_advice_that_does_not_help(
    tmp_path: Path,
) -> None:
    folder = write_series(tmp_path / "s", stored(), tilt=0.3, changes={"Modality": "MR"})
    with pytest.raises(GeometryError, match="stack is sheared"):
        read_series(list(folder.iterdir()))
    steep = write_series(tmp_path / "t", stored(), tilt=1.5)
    for gaps in ("refuse", "resample"):
        with pytest.raises(GeometryError, match=r"tilted by 56\.3") as caught:
            read_series(list(steep.iterdir()), gaps)  # type: ignore[arg-type]
        assert "--gaps" not in str(caught.value)


def test_one_slice_that_is_shifted_sideways_is_seen(tmp_path: Path) -> None:
    paths = ordered(write_series(tmp_path / "s", stored()))
    change(paths[2], ImagePositionPatient=["-10", "-16", "35"])
    with pytest.raises(GeometryError, match=r"shifted against each other by up to 4\.00 mm"):
        read_series(paths)
    assert read_series(paths, "resample")[0].array.ndim == 3


@pytest.mark.parametrize(
    ("step", "digits", "regular"),
    [(0.625, 2, True), (0.488281, 2, True), (5.0, 1, True), (1.25, 1, False), (0.625, 1, False)],
)
def test_positions_may_be_rounded_to_a_hundredth_of_a_millimetre(
    step: float, digits: int, regular: bool, tmp_path: Path
) -> None:
    changes = {"ImagePositionPatient": lambda k: ["-10", "-20", f"{30.003 + step * k:.{digits}f}"]}
    paths = list(write_series(tmp_path / "s", stored(), changes=changes).iterdir())
    if regular:
        volume, left = read_series(paths)
        assert volume.spacing[2] == pytest.approx(step, abs=0.005)
        assert not left
    else:
        with pytest.raises(GeometryError, match="one gap is"):
            read_series(paths)


# Several images at one place.


def two(tmp_path: Path, count: int = COUNT, **keys: tuple[object, object]) -> list[list[Path]]:
    """Two volumes at the same places in one series, which differ in these attributes."""
    result = []
    for n in (1, 0):  # written in the wrong order
        changes: dict[str, object] = {name: values[n] for name, values in keys.items()}
        changes |= {"SeriesInstanceUID": "1.2.3", "Modality": "MR", "InstanceNumber": None}
        folder = write_series(tmp_path / f"v{n}", stored(count, n), changes=changes)
        result.append(ordered(folder))
    return result[::-1]


@pytest.mark.parametrize(
    "keys",
    [
        {"EchoTime": ("8", "96")},
        {"EchoNumbers": ("1", "2")},
        {"AcquisitionNumber": ("9", "10")},
        {"TriggerTime": ("0", "40.5")},
        {"TemporalPositionIdentifier": ("2", "10")},
        {"ConvolutionKernel": ("H30s", "H60s")},
        {"ImageType": (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"])},
        {"DiffusionBValue": (0.0, 1000.0)},
        {"InversionTime": ("400", "2500")},
        {"AcquisitionTime": ("101500", "101730")},
    ],
    ids=lambda keys: next(iter(keys)),
)
def test_volumes_at_the_same_places_are_told_apart_and_the_first_or_the_named_one_is_read(
    keys: dict, tmp_path: Path
) -> None:
    first, second = two(tmp_path, 3, **keys)
    for volume, wanted, others in ((None, 0, second), (0, 0, second), (1, 1, first)):
        read, left = read_series([*second, *first], volume=volume)
        np.testing.assert_array_equal(read.array, stored(3, wanted) - 1024.0)
        assert {path for path, _ in left} == set(others)
        assert all("differ in" in str(error) and "--volume" in str(error) for _, error in left)
    with pytest.raises(DataError, match="holds 2 volumes, not volume 2"):
        read_series([*first, *second], volume=2)


def test_volumes_are_told_apart_by_two_attributes_together(tmp_path: Path) -> None:
    a = two(tmp_path / "a", EchoTime=("8", "96"), TemporalPositionIdentifier=("1", "1"))
    b = two(tmp_path / "b", EchoTime=("8", "96"), TemporalPositionIdentifier=("2", "2"))
    read, left = read_series([path for part in (*a, *b) for path in part])
    assert read.array.shape[0] == COUNT
    assert len(left) == 3 * COUNT


@pytest.mark.parametrize("interleaved", [False, True])
def test_volumes_without_any_telling_attribute_follow_the_instance_numbers(
    interleaved: bool, tmp_path: Path
) -> None:
    first, second = two(tmp_path)
    for n, paths in enumerate((first, second)):
        for k, path in enumerate(paths):
            change(path, InstanceNumber=2 * k + n if interleaved else COUNT * n + k)
    read, left = read_series([*second, *first])
    np.testing.assert_array_equal(read.array, stored(COUNT, 0) - 1024.0)
    assert len(left) == COUNT


def test_the_key_that_gives_the_fewest_largest_stacks_wins(tmp_path: Path) -> None:
    first, second = two(tmp_path, 8, EchoTime=("8", "96"))
    for n, path in enumerate([*first, *second]):
        change(path, AcquisitionNumber=n // 2)
    read, _ = read_series([*second, *first])
    np.testing.assert_array_equal(read.array, stored(8, 0) - 1024.0)


@pytest.mark.parametrize("same", [True, False])
def test_one_slice_that_was_taken_twice_costs_only_itself(same: bool, tmp_path: Path) -> None:
    paths = ordered(write_series(tmp_path / "s", stored(12), changes={"InstanceNumber": None}))
    for k, path in enumerate(paths):
        change(path, AcquisitionNumber=k // 2, InstanceNumber=k)
    again = tmp_path / "again"
    again.write_bytes(paths[7].read_bytes())
    change(again, AcquisitionNumber=6, InstanceNumber=12, SOPInstanceUID="1.2.3.4")
    if not same:
        change(again, PixelData=bytes(6 * 7 * 2))
    read, left = read_series([again, *paths])
    np.testing.assert_array_equal(read.array, stored(12) - 1024.0)
    [(path, error)] = left
    assert isinstance(error, UnusedError)
    assert path == again or same


def test_a_series_that_was_exported_twice_is_read_once(tmp_path: Path) -> None:
    one = ordered(write_series(tmp_path / "a", stored()))
    two = ordered(write_series(tmp_path / "b", stored()))  # other instance UIDs
    read, left = read_series([*one, *two])
    np.testing.assert_array_equal(read.array, stored() - 1024.0)
    assert len(left) == COUNT
    assert all("same image" in str(error) for _, error in left)


def test_images_at_one_place_that_nothing_tells_apart_are_refused_without_false_advice(
    tmp_path: Path,
) -> None:
    first, second = two(tmp_path)
    for path in (*first, *second):
        change(path, InstanceNumber=1)
    for gaps in ("refuse", "resample"):
        with pytest.raises(GeometryError, match="same position") as caught:
            read_series([*first, *second], gaps)  # type: ignore[arg-type]
        assert "--gaps" not in str(caught.value)


def test_a_gap_is_not_explained_away_by_what_tells_echoes_apart(tmp_path: Path) -> None:
    first, second = two(tmp_path, EchoTime=("8", "96"))
    with pytest.raises(GeometryError, match="one gap is 5.00"):
        read_series([*first[:3], *first[4:], *second[:3], *second[4:]])


def test_a_multi_frame_file_of_two_echoes_is_used_in_part_and_says_so(tmp_path: Path) -> None:
    path = next(write_series(tmp_path / "s", stored(1)).iterdir())
    data = pydicom.dcmread(path)
    data.NumberOfFrames = "6"
    values = stored(6)
    data.PixelData = values.astype("<u2").tobytes()
    frames = []
    for k in range(6):
        frame, position, echo = (pydicom.Dataset() for _ in range(3))
        position.ImagePositionPatient = ["-10", "-20", str(30 + 3 * (k // 2))]
        echo.EffectiveEchoTime = 96.0 - 88 * (k % 2)
        frame.PlanePositionSequence = pydicom.Sequence([position])
        frame.MREchoSequence = pydicom.Sequence([echo])
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = pydicom.Sequence(frames)
    data.save_as(path)
    read, left = read_series([path])
    np.testing.assert_array_equal(read.array, values[1::2] - 1024.0)
    [(noted, error)] = left
    assert noted == path
    assert str(error).startswith("in part: the series holds volumes that differ in echo time")
    np.testing.assert_array_equal(read_series([path], volume=1)[0].array, values[::2] - 1024.0)


def found(src: Path, out: Path, *options: str) -> tuple[list, dict[str, str]]:
    assert prepare.main(["hospital", str(src), "--out", str(out), "--workers", "1", *options]) == 0
    with (out / "rejections.private.csv").open(newline="") as file:
        reasons = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    return read(out / "manifest.csv"), reasons


def test_slices_that_share_one_instance_identifier_are_not_copies(tmp_path: Path) -> None:
    same = {"SOPInstanceUID": "1.2.3"}
    write_series(tmp_path / "src" / "P1", stored(), changes=same)
    rows, reasons = found(tmp_path / "src", tmp_path / "out")
    assert [row.grid for row in rows] == ["7 6 6"]
    assert not reasons
    one = next((tmp_path / "src" / "P1").iterdir())
    (tmp_path / "src" / "P1" / "copy").write_bytes(one.read_bytes())
    _, reasons = found(tmp_path / "src", tmp_path / "two")
    assert [reason.partition(":")[0] for reason in reasons.values()] == ["DuplicateError"]


def test_the_one_file_of_twelve_that_is_cut_is_named_and_the_advised_option_helps(
    tmp_path: Path,
) -> None:
    paths = ordered(write_series(tmp_path / "src" / "P1" / "a", stored(12)))
    ordered(write_series(tmp_path / "src" / "P1" / "b", stored(5)))
    cut(paths[4])
    rows, reasons = found(tmp_path / "src", tmp_path / "out")
    assert len(rows) == 1
    named = {p: r for p, r in reasons.items() if "end too early" in r}
    assert list(named) == [paths[4].relative_to(tmp_path / "src").as_posix()]
    assert len(reasons) == 12
    assert sum("--gaps resample" in reason for reason in reasons.values()) == 11
    rows, reasons = found(tmp_path / "src", tmp_path / "two", "--gaps", "resample")
    assert sorted(row.grid for row in rows) == ["7 6 12", "7 6 5"]
    assert list(reasons) == list(named)


def test_slices_that_do_not_say_where_they_lie_may_be_missing_in_between(tmp_path: Path) -> None:
    paths = ordered(write_series(tmp_path / "s", stored(5)))
    for path in paths[1::2]:
        change(path, ImagePositionPatient=None)
    with pytest.raises(GeometryError, match="missing between"):
        read_series(paths)
