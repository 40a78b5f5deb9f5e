"""Volumes in other formats than NIfTI lie where nibabel and SimpleITK place them."""

from __future__ import annotations

import builtins
import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread

from rfpmss import prepare
from rfpmss.data.cohort.manifest import read
from rfpmss.data.errors import (
    BombError,
    ChoiceError,
    CodecError,
    DataError,
    IncompleteError,
    PathError,
    UnreadableError,
    UnsupportedError,
    UnusedError,
)
from rfpmss.data.readers import sniff
from rfpmss.data.readers.dicom import volumes as dicom
from rfpmss.data.readers.formats import head_of, read_volume
from rfpmss.data.readers.sniff import kind_of
from rfpmss.data.readers.volume import Volume
from tests.data.files import NIBABEL, PYDICOM, brain, write_nifti

sitk.ProcessObject.SetGlobalWarningDisplay(False)
TURNED = np.array(
    [[0.1, -1.2, 0, 30], [0.9, 0.12, 0, -20], [0, 0, 3.0, 7], [0, 0, 0, 1]]
)  # Right, Anterior, Superior
TURNED[:3, :3] = np.linalg.qr(TURNED[:3, :3])[0] @ np.diag([0.9, 1.2, 3.0])


def same(ours: Volume, array: np.ndarray, affine: np.ndarray, atol: float = 1e-3) -> None:
    """Voxels [i, j, k] with their affine to Right, Anterior, Superior are found in ours."""
    index = np.indices(array.shape).reshape(3, -1).T
    places = nib.affines.apply_affine(np.diag([-1.0, -1, 1, 1]) @ affine, index)
    back = nib.affines.apply_affine(np.linalg.inv(ours.affine), places)
    np.testing.assert_allclose(back, np.round(back), atol=0.01)
    x, y, z = np.round(back).astype(int).T
    np.testing.assert_allclose(ours.array[z, y, x], array.reshape(-1), atol=atol)
    assert ours.array.size == array.size
    assert (np.diag(ours.affine)[:3] > 0).all()


def by_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.load(path)
    array = np.asarray(image.dataobj)
    return array, image.affine


def by_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1.0, -1, 1, 1]) @ affine


def itk_image(kind: type = np.int16) -> sitk.Image:
    """The same voxels as an image of SimpleITK, placed by `TURNED`."""
    image = sitk.GetImageFromArray(brain().astype(kind).T)
    lps = np.diag([-1.0, -1, 1, 1]) @ TURNED
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # nibabel's own
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((nib.Nifti1Pair, "x.hdr"), (nib.Nifti2Pair, "x.hdr"), (nib.Nifti1Pair, "x.img.gz")),
        *((nib.Spm2AnalyzeImage, "x.hdr"), (nib.MGHImage, "x.mgh"), (nib.MGHImage, "x.mgz")),
    ],
)
def test_what_nibabel_writes_is_read_as_nibabel_reads_it(
    kind: type, name: str, tmp_path: Path
) -> None:
    image = kind(brain(), TURNED if kind is not nib.Spm2AnalyzeImage else np.diag([-2, 1, 3, 1.0]))
    nib.save(image, tmp_path / name)
    path = tmp_path / name.replace(".img", ".hdr")
    assert kind_of(path) == "nifti"
    array, affine = by_nibabel(path)
    volume = read_volume(path)
    same(volume, array, affine)
    head = head_of(path)
    assert head is not None
    assert head.shape == array.shape
    np.testing.assert_allclose(head.affine, affine, atol=1e-4)
    for other in tmp_path.glob("x.img*"):
        with pytest.raises(UnusedError, match="beside it"):
            kind_of(other)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_pair_of_either_byte_order_with_a_scale_is_read(order: str, tmp_path: Path) -> None:
    header = nib.Nifti1Pair.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Pair(brain().astype(float) / 7, TURNED, header)
    nib.save(image, tmp_path / "x.hdr")
    array, affine = by_nibabel(tmp_path / "x.hdr")
    same(read_volume(tmp_path / "x.hdr"), array, affine)


@pytest.mark.parametrize(
    "name", ["tiny.mnc", "small.mnc", "minc1_1_scale.mnc", "minc2_1_scale.mnc"]
)
def test_minc_is_read_as_nibabel_or_simpleitk_reads_it(name: str) -> None:
    path = NIBABEL / name
    assert kind_of(path) == "nifti"
    array, affine = by_itk(path) if path.read_bytes()[1:4] == b"HDF" else by_nibabel(path)
    same(read_volume(path), array, affine, atol=0.01)


def test_the_shipped_mgz_has_four_volumes(tmp_path: Path) -> None:
    path = NIBABEL / "test.mgz"
    with pytest.raises(ChoiceError, match="--volume"):
        read_volume(path)
    array, affine = by_nibabel(path)
    for frame in range(array.shape[3]):  # the cure helps
        same(read_volume(path, frame=frame), array[..., frame], affine)


@pytest.mark.parametrize("name", ["x.nrrd", "x.nhdr", "x.mha", "x.mhd"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [np.int16, np.float32, np.uint8])
def test_what_simpleitk_writes_lies_where_nifti_of_the_same_lies(
    name: str, packed: bool, kind: type, tmp_path: Path
) -> None:
    path = tmp_path / name
    sitk.WriteImage(itk_image(kind), str(path), packed)
    assert kind_of(path) == "nifti"
    volume = read_volume(path)
    same(volume, brain().astype(kind), TURNED)
    same(volume, *by_itk(path))
    assert not volume.notes
    nib.save(nib.Nifti1Image(brain().astype(kind), TURNED), tmp_path / "n.nii")
    nifti = read_volume(tmp_path / "n.nii")
    np.testing.assert_array_equal(volume.array, nifti.array)
    np.testing.assert_allclose(volume.affine, nifti.affine, atol=1e-4)
    head = head_of(path)
    assert head is not None
    assert (head.shape, head.dtype) == (brain().shape, np.dtype(kind))
    for other in set(tmp_path.glob("x.*")) - {path}:
        with pytest.raises(UnusedError):
            kind_of(other)


NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nspace: {space}\nsizes: 4 3 2\n"
    "space directions: (1,0,0) (0,2,0) (0,0,3)\nendian: little\nencoding: {encoding}\n"
    "space origin: (10,20,30)\n{more}\n"
)


def nrrd(path: Path, space: str = "left-posterior-superior", encoding: str = "raw",
         more: str = "", data: bytes | None = None) -> Path:  # fmt: skip
    values = np.arange(24, dtype="<i2").tobytes()
    head = NRRD.format(space=space, encoding=encoding, more=more)
    path.write_bytes(head.encode() + (values if data is None else data))
    return path


def test_the_space_of_nrrd_says_which_way_is_right(tmp_path: Path) -> None:
    array = np.arange(24).reshape(2, 3, 4).T
    lps = np.array([[1, 0, 0, 10], [0, 2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1.0]])
    same(read_volume(nrrd(tmp_path / "a.nrrd")), array, np.diag([-1.0, -1, 1, 1]) @ lps)
    same(read_volume(nrrd(tmp_path / "b.nrrd", "right-anterior-superior")), array, lps)


def test_layers_of_a_segmentation_of_slicer_are_one_mask(tmp_path: Path) -> None:
    layers = np.zeros((2, *brain().shape), np.uint8)
    layers[0, 2:5, 2:5, 2:4] = 1
    layers[1, 4:8, 4:8, 3:5] = 1
    image = sitk.GetImageFromArray(np.moveaxis(layers, 0, -1).transpose(2, 1, 0, 3), isVector=True)
    image.SetMetaData("Segment0_Name", "Necrosis")
    path = tmp_path / "x.seg.nrrd"
    sitk.WriteImage(image, str(path))
    assert (read_volume(path).array > 0).sum() == (layers.max(axis=0) > 0).sum()


OUTSIDE = [
    *("../secret.raw", "/etc/hostname", "sub/x.raw", "C:\\x.raw", "..", "x\\..\\y.raw"),
    *("LIST", "img%03d.raw 1 2 1"),
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("ending", ["nhdr", "mhd"])
def test_voxels_outside_of_the_folder_are_never_opened(
    name: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    for place in (tmp_path / "secret.raw", home / "sub" / "x.raw", home / "LIST"):
        place.write_bytes(bytes(48))
    path = home / f"x.{ending}"
    if ending == "nhdr":
        nrrd(path, more=f"data file: {name}\n", data=b"")
    else:
        path.write_text(
            "ObjectType = Image\nNDims = 3\nDimSize = 4 3 2\nElementType = MET_SHORT\n"
            f"ElementDataFile = {name}\n"
        )
    opened = []
    monkeypatch.setattr(sitk.ImageFileReader, "Execute", lambda self: opened.append(self))
    with pytest.raises((PathError, UnsupportedError)):
        read_volume(path)
    assert not opened
    assert head_of(path) is None


def test_voxels_through_a_link_are_never_opened(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "secret").write_bytes(bytes(48))
    (tmp_path / "home" / "x.raw").symlink_to(tmp_path / "secret")
    path = nrrd(tmp_path / "home" / "x.nhdr", more="data file: x.raw\n", data=b"")
    with pytest.raises(PathError):
        read_volume(path)


def test_a_header_that_hides_where_its_voxels_are_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mha"
    path.write_bytes(
        b"NDims = 3\n" + b"Comment = x\n" * 100_000 + b"ElementDataFile = /etc/passwd\n"
    )
    with pytest.raises(UnreadableError):
        read_volume(path)
    twice = nrrd(tmp_path / "x.nhdr", more="data file: a.raw\ndatafile: /etc/passwd\n", data=b"")
    with pytest.raises(UnreadableError, match="twice"):
        read_volume(twice)


def bad(folder: Path) -> dict[str, tuple[Path, type[DataError]]]:
    nib.save(nib.Nifti1Pair(brain(), TURNED), folder / "alone.hdr")
    (folder / "alone.img").unlink()
    nib.save(nib.Nifti1Pair(brain(), TURNED), folder / "cut.hdr")
    (folder / "cut.img").write_bytes((folder / "cut.img").read_bytes()[:-9])
    nib.save(nib.MGHImage(brain(), TURNED), folder / "cut.mgz")
    (folder / "cut.mgz").write_bytes((folder / "cut.mgz").read_bytes()[:-900])
    bomb = bytearray(nib.MGHImage(brain(), TURNED).to_bytes())
    bomb[4:16] = np.array([2000, 2000, 200], ">i4").tobytes()
    (folder / "bomb.mgz").write_bytes(gzip.compress(bytes(bomb)))
    sitk.WriteImage(itk_image(), str(folder / "cut.mha"))
    (folder / "cut.mha").write_bytes((folder / "cut.mha").read_bytes()[:-99])
    huge = (
        (folder / "cut.mha").read_bytes().replace(b"DimSize = 20 20 8", b"DimSize = 4000 4000 40")
    )
    (folder / "bomb.mha").write_bytes(huge)
    huge = nrrd(folder / "bomb.nrrd", encoding="gzip").read_bytes()
    (folder / "bomb.nrrd").write_bytes(huge.replace(b"sizes: 4 3 2", b"sizes: 4000 3000 90"))
    nrrd(folder / "gone.nhdr", more="data file: gone.raw\n", data=b"")
    (folder / "none.mnc").write_bytes(b"CDF\1" + bytes(80))
    return {
        **{"alone.hdr": (folder / "alone.hdr", IncompleteError)},
        **{name: (folder / name, UnreadableError) for name in ("cut.hdr", "cut.mgz", "cut.mha")},
        **{name: (folder / name, BombError) for name in ("bomb.mgz", "bomb.mha", "bomb.nrrd")},
        **{"gone.nhdr": (folder / "gone.nhdr", IncompleteError)},
        **{"none.mnc": (folder / "none.mnc", UnreadableError)},
    }


def test_damaged_and_hostile_files_end_in_their_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, (path, kind) in bad(tmp_path).items():
        with pytest.raises(kind) as caught:
            read_volume(path)
        assert str(tmp_path) not in str(caught.value), name
    assert capfd.readouterr() == ("", "")  # no library speaks for itself


def test_without_the_extra_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = nrrd(tmp_path / "x.nrrd")
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name == "SimpleITK":
            raise ImportError(name)
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CodecError, match=r"rfpmss,formats"):
        read_volume(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.PAR", b"# === DATA DESCRIPTION FILE", "Philips PAR and REC"),
        ("x.zip", b"PK\3\4" + bytes(99), "archive"),
        ("x.BRIK.gz", gzip.compress(b"x" * 999, mtime=0), "AFNI"),
        ("x.mgz", gzip.compress(b"x" * 999, mtime=0), "is none"),
        ("x.img", bytes(999), "lacks its header"),
    ],
)
def test_what_is_not_read_is_named_for_what_it_is(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        kind_of(tmp_path / name)


def test_packed_dicom_is_read_as_it_is_unpacked(tmp_path: Path) -> None:
    content = (PYDICOM / "CT_small.dcm").read_bytes()
    path = tmp_path / "x.dcm.gz"
    path.write_bytes(gzip.compress(content))
    assert kind_of(path) == "dicom"
    (plane,) = dicom.frames(dicom.read_file(path))
    np.testing.assert_array_equal(
        plane.data.pixel_array, dcmread(PYDICOM / "CT_small.dcm").pixel_array
    )
    path.write_bytes(gzip.compress(content)[:-500])
    with pytest.raises(UnreadableError):
        dicom.read_file(path)
    path.write_bytes(gzip.compress(content + bytes(80 << 20)))
    with pytest.raises(BombError):
        dicom.read_file(path)


def test_a_folder_of_other_formats_is_prepared_with_its_mask(tmp_path: Path) -> None:
    home = tmp_path / "src" / "P1"
    home.mkdir(parents=True)
    for name in ("t1", "t2"):
        sitk.WriteImage(itk_image(), str(home / f"p1_{name}.nrrd"))
    mask = itk_image(np.uint8) * 0
    mask[5:9, 5:9, 2:5] = 1
    sitk.WriteImage(mask, str(home / "p1_seg.seg.nrrd"))
    nib.save(nib.Nifti1Pair(brain(), TURNED), tmp_path / "src" / "P1" / "p1_flair.hdr")
    write_nifti(tmp_path / "src" / "P2" / "t1.nii.gz", brain())
    command = ["hospital", str(tmp_path / "src"), "--out", str(tmp_path / "out"), "--workers", "1"]
    copy = ["--deidentify", str(tmp_path / "copy")]
    assert prepare.main([*command, *copy]) == 0
    rows = read(tmp_path / "out" / "manifest.csv")
    boxed = [row for row in rows if row.boxes]
    assert len(rows) == 2
    assert len(boxed) == 1
    assert "t1 t2 flair" in boxed[0].series
    again = ["hospital", str(tmp_path / "copy"), "--out", str(tmp_path / "two"), "--workers", "1"]
    assert prepare.main(again) == 0
    digests = {row.digest for row in read(tmp_path / "two" / "manifest.csv")}
    assert digests == {row.digest for row in rows}


def test_every_ending_that_is_read_is_known_where_tables_name_files() -> None:
    named = [name for key, names in vars(sniff).items() if key.endswith("_NAMES") for name in names]
    for ending in (*named, ".ndpi", ".PAR", ".HEAD", ".nii.GZ"):
        assert sniff.without_ending(f"ID-7{ending}") == "ID-7"
