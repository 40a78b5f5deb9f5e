"""NIfTI as programs write it, both versions and byte orders, with nibabel as the oracle."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from rfpmss.data.volume import Volume, read_nifti
from tests.data_tools import brain

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "upenn_gbm_sample"
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
