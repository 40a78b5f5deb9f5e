"""NIfTI as programs write it, both versions and byte orders, with nibabel as the oracle."""

from __future__ import annotations

import gzip
from pathlib import Path, PurePosixPath

import nibabel as nib
import numpy as np
import pytest

from rfpmss.data.errors import GeometryError, Notice, ValuesError
from rfpmss.data.readers.assembly import load
from rfpmss.data.readers.nifti import bundles
from rfpmss.data.readers.sequences import sequence_of
from rfpmss.data.readers.volume import Volume, read_nifti
from rfpmss.data.study import Source
from tests.data.files import brain

REAL = Path(__file__).parents[3].parent / "shared" / "data" / "upenn_gbm_sample"
TURNED = np.array(
    [[0, -1.2, 0, 30], [0.9, 0, 0, -20], [0, 0, 3.0, 7], [0, 0, 0, 1]]  # Right, Anterior, Superior
)


def same_as_nibabel(ours: Volume, path: Path) -> None:
    """Voxels and their places, as nibabel has them, in our order of axes."""
    theirs = nib.load(path)
    wanted = nib.orientations.apply_orientation(
        np.asanyarray(theirs.dataobj),
        nib.orientations.ornt_transform(
            nib.orientations.io_orientation(theirs.affine),
            nib.orientations.axcodes2ornt(("L", "P", "S")),
        ),
    )
    np.testing.assert_array_equal(ours.array, wanted.transpose(2, 1, 0))
    picked = np.random.default_rng(0).integers(0, theirs.shape, (500, 3))
    places = nib.affines.apply_affine(np.diag([-1.0, -1.0, 1.0, 1.0]) @ theirs.affine, picked)
    back = nib.affines.apply_affine(np.linalg.inv(ours.affine), places)
    np.testing.assert_allclose(back, np.round(back), atol=1e-3)
    x, y, z = np.round(back).astype(int).T
    np.testing.assert_array_equal(ours.array[z, y, x], np.asanyarray(theirs.dataobj)[*picked.T])


def with_extension(path: Path, size: int, kind: type = nib.Nifti1Image, order: str = "<") -> Path:
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    noise = np.random.default_rng(0).integers(32, 127, size, np.uint8).tobytes()
    if size:
        header.extensions.append(nib.nifti1.Nifti1Extension("afni", noise))
    nib.save(kind(brain(), TURNED, header), path)
    return path


@pytest.mark.parametrize("size", [0, 640, 2_500, 65_536, 300_000])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_extensions_of_any_length_lie_between_header_and_voxels(
    size: int, kind: type, order: str, ending: str, tmp_path: Path
) -> None:
    path = with_extension(tmp_path / f"x.{ending}", size, kind, order)
    same_as_nibabel(read_nifti(path), path)


def test_voxels_begin_where_the_header_says(tmp_path: Path) -> None:
    plain = with_extension(tmp_path / "plain.nii", 0).read_bytes()
    moved = bytearray(plain[:352] + bytes(1000) + plain[352:])
    moved[108:112] = np.float32(1352).tobytes()
    path = tmp_path / "moved.nii.gz"
    path.write_bytes(gzip.compress(bytes(moved)))
    same_as_nibabel(read_nifti(path), tmp_path / "plain.nii")


@pytest.mark.skipif(not REAL.is_dir(), reason="shared/data/upenn_gbm_sample is not there")
@pytest.mark.parametrize("name", ["t1c", "t1n", "t2f", "t2w"])
def test_the_real_patient_of_upenn_gbm_reads_as_nibabel_reads_it(name: str) -> None:
    path = REAL / f"00001_{name}.nii.gz"
    volume = read_nifti(path)
    assert volume.array.shape == (155, 240, 240)
    same_as_nibabel(volume, path)


def placed(path: Path, sform: tuple, qform: tuple) -> Path:
    image = nib.Nifti1Image(brain(), TURNED)
    image.set_sform(*sform)
    image.set_qform(*qform)
    nib.save(image, path)
    return path


def test_where_the_sform_is_all_zero_the_qform_is_taken(tmp_path: Path) -> None:
    path = placed(tmp_path / "x.nii", (TURNED, 1), (TURNED, 1))
    data = bytearray(path.read_bytes())
    data[280:328] = bytes(48)  # srow_x, srow_y, srow_z; the code stays 1
    path.write_bytes(data)
    good = read_nifti(placed(tmp_path / "y.nii", (TURNED, 1), (TURNED, 1)))
    volume = read_nifti(path)
    np.testing.assert_allclose(volume.affine, good.affine, atol=1e-5)
    np.testing.assert_array_equal(volume.array, good.array)
    assert "unusable" in volume.notes[0]
    assert not good.notes


def test_sform_and_qform_that_differ_are_told_and_mirror_images_refused(tmp_path: Path) -> None:
    moved = TURNED + np.eye(4)[:, :1] @ [[0, 0, 0, 40.0]]
    path = placed(tmp_path / "x.nii", (moved, 2), (TURNED, 1))
    volume = read_nifti(path)
    same_as_nibabel(volume, path)
    assert "the sform is taken" in volume.notes[0]
    mirrored = np.diag([-1.0, 1, 1, 1]) @ TURNED
    with pytest.raises(GeometryError, match="mirror images"):
        read_nifti(placed(tmp_path / "y.nii", (mirrored, 1), (TURNED, 1)))
    for code in (0, 1):
        near = TURNED + np.eye(4)[:, :1] @ [[0, 0, 0, 0.3]]
        assert not read_nifti(placed(tmp_path / "z.nii", (near, 1), (TURNED, code))).notes


def test_an_image_that_does_not_say_how_it_lies_is_read_with_a_notice(tmp_path: Path) -> None:
    path = placed(tmp_path / "x.nii", (TURNED, 0), (TURNED, 0))
    volume = read_nifti(path)
    same_as_nibabel(volume, path)
    assert "does not say how the image lies" in volume.notes[0]
    source = Source(kind="nifti", paths=(path,))
    [(named, notice)] = load(source).unused
    assert (named, type(notice)) == (path, Notice)


def nan_image(path: Path, where: object, value: float = np.nan) -> Path:
    array = brain((12, 12, 8)).astype(np.float32) + 7
    array[where] = value  # type: ignore[call-overload]
    nib.save(nib.Nifti1Image(array, TURNED), path)
    return path


def test_a_background_that_is_not_a_number_is_filled_and_holes_are_refused(tmp_path: Path) -> None:
    around = np.ones((12, 12, 8), bool)
    around[3:9, 3:9, 2:6] = False
    path = nan_image(tmp_path / "x.nii.gz", around)
    volume = read_nifti(path)
    kept = nib.load(path).get_fdata()[~around]
    assert volume.array.min() == kept.min()
    assert (volume.array == kept.min()).mean() >= around.mean()
    assert sorted(volume.array.ravel())[-kept.size :] == sorted(kept)
    assert "88%" in volume.notes[0]
    hole = around.copy()
    hole[5, 5, 4] = True
    for name, where, value in (
        *(("hole", hole, np.nan), ("point", (5, 5, 4), np.nan)),
        *(("infinite", around, np.inf), ("all", slice(None), np.nan)),
    ):
        with pytest.raises(ValuesError, match="not finite"):
            read_nifti(nan_image(tmp_path / f"{name}.nii", where, value))


BUNDLE = ("t1", "t1ce", "t2", "flair")


def spoiled(path: Path, how: str) -> None:
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-300])
    elif how == "hole":
        nan_image(path, (5, 5, 4))
    elif how == "grid":
        nib.save(nib.Nifti1Image(brain((12, 12, 9)), TURNED), path)
    elif how == "shift":
        moved = TURNED + np.eye(4)[:, :1] @ [[0, 0, 0, 3.0]]
        nib.save(nib.Nifti1Image(brain((12, 12, 8)), moved), path)


@pytest.mark.parametrize("how", ["cut", "hole", "grid", "shift"])
@pytest.mark.parametrize("which", range(4))
def test_one_bad_sequence_of_four_costs_itself_alone(how: str, which: int, tmp_path: Path) -> None:
    paths = []
    for n, name in enumerate(BUNDLE):
        paths.append(tmp_path / f"p_{name}.nii.gz")
        nib.save(nib.Nifti1Image(brain((12, 12, 8), n), TURNED), paths[-1])
    spoiled(paths[which], how)
    loaded = load(Source(kind="nifti", paths=tuple(paths), channels=BUNDLE))
    assert loaded.names == tuple(name for n, name in enumerate(BUNDLE) if n != which)
    [(path, error)] = loaded.unused
    assert path == paths[which]
    if how in ("grid", "shift"):
        assert f"sequence {BUNDLE[which]} lies on another grid than the others" in str(error)
        wider = load(Source(kind="nifti", paths=tuple(paths), channels=BUNDLE), "resample")
        assert wider.names == BUNDLE  # what the sentence advises helps


@pytest.mark.parametrize("shift", [0.011, 0.02])
def test_grids_that_differ_by_rounding_are_one_grid(shift: float, tmp_path: Path) -> None:
    moved = TURNED + np.eye(4)[:, :1] @ [[0, 0, 0, shift]]
    for name, affine in (("t1", TURNED), ("t2", moved)):
        nib.save(nib.Nifti1Image(brain((12, 12, 8)), affine), tmp_path / f"{name}.nii")
    paths = (tmp_path / "t1.nii", tmp_path / "t2.nii")
    assert load(Source(kind="nifti", paths=paths, channels=("t1", "t2"))).names == ("t1", "t2")


def test_a_turn_that_moves_far_corners_makes_another_grid(tmp_path: Path) -> None:
    turned = np.diag([1.0, 1.0, 1.0, 1.0])
    turned[0, 1] = 0.009  # 2 mm at the far corner of 240 voxels
    for name, affine in (("t1", np.eye(4)), ("t2", turned)):
        nib.save(nib.Nifti1Image(brain((8, 240, 4)), affine), tmp_path / f"{name}.nii")
    paths = (tmp_path / "t1.nii", tmp_path / "t2.nii")
    assert load(Source(kind="nifti", paths=paths, channels=("t1", "t2"))).names == ("t1",)


def test_a_bad_mask_costs_the_boxes_and_not_the_image(tmp_path: Path) -> None:
    image = with_extension(tmp_path / "t1.nii", 0)
    mask = tmp_path / "seg.nii"
    mask.write_bytes(image.read_bytes()[:-9])
    loaded = load(Source(kind="nifti", paths=(image,), mask=mask))
    assert loaded.mask is None
    assert [path for path, _ in loaded.unused] == [mask]


VARIANTS = {
    "UCSF": ("U_{}.nii.gz", "U_{}_bias.nii.gz"),
    "processed first in the alphabet": ("{}.nii.gz", "brain_{}.nii.gz"),
    "FeTS": ("{}_to_SRI.nii.gz", "{}_to_SRI_brain.nii.gz"),
    "registered": ("{}.nii.gz", "{}_reg.nii.gz"),
}


@pytest.mark.parametrize("missing", ["", "T1", "T1c", "T2", "FLAIR"])
@pytest.mark.parametrize("case", VARIANTS)
def test_raw_and_processed_images_of_a_folder_are_never_channels_of_one(
    case: str, missing: str
) -> None:
    names = [
        form.format(sequence)
        for n, form in enumerate(VARIANTS[case])
        for sequence in ("T1", "T1c", "T2", "FLAIR")
        if n or sequence != missing
    ]
    names.sort()
    files = [(PurePosixPath("p", n), "mri", sequence_of(n.split(".")[0])) for n in names]
    found = [{names[n] for n in bundle.members} for bundle in bundles(files)]
    long = VARIANTS[case][1].partition("{}")
    processed = {n for n in names if n.startswith(long[0]) and n.endswith(long[2])}
    assert sorted(map(len, found)) == [4 - bool(missing), 4]
    assert processed in found
