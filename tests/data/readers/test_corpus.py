"""A corpus of damaged and tricky files: each is read as it is, or refused once, by name."""

import csv
import gzip
import logging
import warnings
from collections import Counter
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfpmss.data import errors
from rfpmss.data.cohort.build import build
from rfpmss.data.cohort.shards import series
from rfpmss.data.errors import DataError, UnforeseenError
from rfpmss.data.privacy.aliases import PRIVATE
from rfpmss.data.readers.assembly import load
from rfpmss.data.readers.look import look
from rfpmss.data.sources.hospital import Found, scan
from rfpmss.data.study import Source
from rfpmss.data.views import Choice, read_views
from tests.data.files import NIBABEL, PYDICOM, brain, write_series
from tests.data.readers.test_damaged import BOMBS, CT, DICOM, NIFTI, TIFF, picture
from tests.data.readers.test_series import PLANES

SALT = b"0123456789abcdef"
LARGEST = 400_000
EXTRA = {
    "a.csv": b"patient_id,report\n7,Mass on the left\n",
    "b.csv": b"a,b\n1,2\n",
    "c.csv": b"patient_id,report\n\"7,Mass",
    "d.csv": b"patient_id,report\n\xff\xff\xff\xff,\x81",
    "e.txt": b"",
    "f.txt": b"\0\0\0",
    "g.zip": b"PK\3\4nothing",
    "h.mrxs": b"\xff\xd8\xff\xe0 no slide",
    "i.dcm": b"named only",
    "j.json": b"{}",
    "k.pkl": b"\x80\x04K\x01.",
    "l.npy": b"\x93NUMPY\x01\0v\0{'descr': '|O'}",
    "m.svs": b"II*\0\x08\0\0\0\xff\xff",
    "n.nii.gz": gzip.compress(b"short", mtime=0),
    "o.exe": b"MZ\x90",
    "p.yaml": b"!!python/object/apply:os.system ['true']",
}  # fmt: skip


SERIES = {
    **{name: {"row": row, "column": column} for name, (row, column) in PLANES.items()},
    "slices apart by half a percent": {"places": [0.0, 2.5, 5.01, 7.51, 10.0]},
    "another slope in each slice": {"changes": {"RescaleSlope": lambda k: f"{1 + k / 4}"}},
    "dark is bright": {"changes": {"PhotometricInterpretation": "MONOCHROME1"}},
    "a gap": {"places": [0.0, 2.5, 5.0, 10.0, 12.5]},
    "a tilt": {"tilt": 0.2},
    "one place twice": {"places": [0.0, 2.5, 2.5, 5.0, 7.5]},
    "all in one place": {"places": [0.0] * 5},
    "two pixel spacings": {"changes": {"PixelSpacing": lambda k: ["0.7", f"{0.9 + k // 4}"]}},
    "two heights": {"changes": {"Rows": lambda k: 6 - k // 4}},
    "axes askew": {"changes": {"ImageOrientationPatient": [1, 0, 0, 0.5, 1, 0]}},
    "planning": {"changes": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}},
    "no places": {"changes": {"ImagePositionPatient": ["", "", ""]}},
}
"""Series of five slices, by what is odd about them."""


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file in a folder of its own, so that none hides another."""
    root = tmp_path_factory.mktemp("corpus")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = [
            *(
                (f"nifti/{n}/x{'.nii.gz' if c[:2] == NII_GZ else '.nii'}", c)
                for n, (c, _) in NIFTI.items()
            ),
            *((f"dicom/{n}/x.dcm", make()) for n, (make, _) in DICOM.items()),
            *((f"tiff/{n}/x.tif", make()) for n, (make, _) in TIFF.items()),
            *((f"bomb/{n}/x", make()) for n, (make, _) in BOMBS.items()),
            *((f"extra/{n[0]}/{n}", content) for n, content in EXTRA.items()),
            ("picture/cut/x.png", picture("PNG")[:2000]),
            ("picture/jpeg/x.jpg", picture("JPEG")[:900]),
            ("picture/grey/x.png", picture("PNG", "L")),
        ]
    for name, content in made:
        write(root / name, content)
    for n, (name, options) in enumerate(SERIES.items()):
        voxels = np.random.default_rng(n).integers(0, 3000, (5, 6, 7))
        write_series(root / "series" / name, voxels, **options)
    for source in (PYDICOM, NIBABEL):
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            if path.stat().st_size < LARGEST and path.suffix not in (".py", ".mnc", ".hdr"):
                name = path.relative_to(source)
                write(root / source.parent.parent.name / f"{name}.d" / path.name, path.read_bytes())
    return root


NII_GZ = b"\x1f\x8b"


@pytest.fixture(scope="module")
def prepared(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Path]:
    out = tmp_path_factory.mktemp("out")
    for name in ("pydicom", "tifffile", "nibabel", "PIL"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = scan(corpus, SALT)
        build(found, corpus, out, Choice(size=32, slide_mpp=1.0))
    return found, out


def refused(out: Path) -> dict[str, str]:
    with (out / PRIVATE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["path"] for row in rows}) == len(rows)  # each file once
    return {row["path"]: row["reason"] for row in rows}


def test_each_of_more_than_a_hundred_files_is_used_or_refused_once_in_one_pass(
    corpus: Path, prepared: tuple[Found, Path]
) -> None:
    found, out = prepared
    reasons = refused(out)
    used = {
        path.relative_to(corpus).as_posix()
        for study in found.studies
        for source in series(study).values()
        for path in (*source.paths, *filter(None, (source.mask,)))
    } - set(reasons)
    everything = {p.relative_to(corpus).as_posix() for p in corpus.rglob("*") if p.is_file()}
    texts = {p.relative_to(corpus).as_posix() for f in found.reports.values() for p in f}
    assert everything == used | set(reasons) | texts
    shipped = ("pydicom/", "nibabel/")  # the wheel of highdicom holds no image
    assert sum(not name.startswith(shipped) for name in reasons) >= 100
    assert sum(name.startswith(shipped) for name in reasons) >= 100
    assert len(used) >= 60


def test_each_reason_is_one_known_class_with_a_reason_and_a_way_out(
    prepared: tuple[Found, Path],
) -> None:
    kinds = {kind.__name__: kind for kind in errors.DataError.__subclasses__()}
    seen: Counter[str] = Counter()
    for path, reason in refused(prepared[1]).items():
        name, _, text = reason.partition(": ")
        assert name in kinds, path
        own, _, cure = text.rpartition("; ")
        assert cure in (kinds[name].cure.rpartition("; ")[2], *errors.CURES), path
        assert len(own) > 10, path
        assert "/" not in own.replace("and/or", ""), path
        seen[name] += 1
    assert "UnforeseenError" not in seen
    assert len(seen) >= 9, seen


def test_the_shared_list_has_a_line_for_every_refused_file(prepared: tuple[Found, Path]) -> None:
    with (prepared[1] / "rejections.csv").open(newline="") as file:
        shared = Counter(row["reason"] for row in csv.DictReader(file))
    assert shared == Counter(refused(prepared[1]).values())


@pytest.mark.filterwarnings("ignore")
def test_what_is_read_of_dicom_lies_where_highdicom_places_it(
    corpus: Path, prepared: tuple[Found, Path]
) -> None:
    reasons = refused(prepared[1])
    compared = set()
    for study in prepared[0].studies:
        for source in series(study).values():
            names = [path.relative_to(corpus).as_posix() for path in source.paths]
            files = [corpus / name for name in names if name not in reasons]
            if source.kind != "dicom" or not files:
                continue
            ours = load(source).volumes[0]
            read = [pydicom.dcmread(path, force=True) for path in files]
            unit = read[0].Modality == "CT"  # Hounsfield units are not turned for display
            try:
                theirs = highdicom.get_volume_from_series(read, apply_presentation_lut=not unit)
            except ValueError as error:
                assert str(error) == "Dataset should exist in the patient coordinate_system."  # noqa: PT017
                assert len(files) == 1  # a single picture without a place
                continue
            back = np.linalg.inv(ours.affine) @ theirs.affine
            corner = back @ np.array([0, 0, 0, 1.0])
            assert np.allclose(corner, np.round(corner), atol=1e-2)
            lengths = np.abs(back[:3, :3]).sum(axis=0)
            exact = np.isclose(lengths, 1, atol=1e-3)
            # The distance of slices may vary by 1 %; a single slice has none.
            assert exact.sum() >= 2
            assert np.isclose(lengths[~exact], 1, atol=0.01).all() or min(ours.array.shape) == 1
            assert sorted(ours.array.shape) == sorted(theirs.spatial_shape)
            np.testing.assert_allclose(
                np.sort(ours.array, axis=None), np.sort(theirs.array, axis=None), atol=1e-2
            )
            compared.add(names[0])
    assert sum(name.startswith("series/") for name in compared) >= 8
    assert len(compared) >= 15


@pytest.mark.filterwarnings("ignore")
def test_what_is_read_of_nifti_lies_where_nibabel_places_it(prepared: tuple[Found, Path]) -> None:
    compared = 0
    for study in prepared[0].studies:
        for source in series(study).values():
            if source.kind != "nifti" or source.paths[0].read_bytes()[1:4] == b"HDF":
                continue  # MINC 2, for which nibabel needs h5py
            try:
                ours = load(source).volumes[0]
            except DataError:
                continue
            theirs = nib.as_closest_canonical(nib.load(source.paths[0]))
            data = np.asarray(theirs.dataobj)
            data = data.reshape(*data.shape[:2], -1)[:, :, : len(ours.array)]
            if np.isnan(data).any():  # a background, filled with the smallest value
                data = np.where(np.isnan(data), np.nanmin(data), data)
            np.testing.assert_allclose(
                ours.array[:, ::-1, ::-1].transpose(2, 1, 0), data, rtol=1e-5, atol=1e-4
            )
            lengths = np.linalg.norm(theirs.affine[:3, :3], axis=0)
            np.testing.assert_allclose(ours.spacing, lengths, rtol=1e-4)
            compared += 1
    assert compared >= 3


def read_any(path: Path, root: Path) -> None:
    """All that prepare does with a file, ending in nothing or in a named error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in look(path, root):
            if file.kind in ("text", "table"):
                continue
            kind = {"dicom": "dicom", "nifti": "nifti", "slide": "slide"}.get(file.kind, "image")
            view = "pathology" if kind in ("slide", "image") else "mri"
            source = Source(kind=kind, paths=(path,))  # type: ignore[arg-type]
            read_views(view, source, Choice(size=16, slide_mpp=1.0))


def seeds() -> dict[str, bytes]:
    small = nib.Nifti1Image(brain((6, 6, 3)), np.eye(4)).to_bytes()
    return {
        "ct.dcm": CT[:4000] + CT[-600:],
        "nifti.nii": small,
        "packed.nii.gz": gzip.compress(small, mtime=0),
        "slide.tif": TIFF["blank glass"][0](),
        "sr.dcm": (PYDICOM / "reportsi.dcm").read_bytes(),
        "jpeg.dcm": (PYDICOM / "MR_small_jpeg_ls_lossless.dcm").read_bytes(),
        "picture.png": picture("PNG"),
        "table.csv": b"patient_id,report,date\n7,Mass,2020-01-01\n",
    }


SEEDS = seeds()


@settings(max_examples=150)
@given(
    name=st.sampled_from(sorted(SEEDS)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    cut=st.floats(0, 1),
)
def test_files_with_changed_bytes_end_in_a_named_error_or_an_image(
    name: str, changes: list[tuple[float, int]], cut: float
) -> None:
    import tempfile

    content = bytearray(SEEDS[name])
    for place, value in changes:
        # Most of what matters stands at the start of a file.
        content[int(place**3 * (len(content) - 1))] = value
    content = content[: max(int(len(content) * min(2 * cut, 1)), 1)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            read_any(path, Path(folder))
        except UnforeseenError:
            raise AssertionError("no error class was foreseen for this file") from None
        except DataError as error:
            said = str(error)
        else:
            return
    assert "; " in said
    assert folder not in said


def test_the_seeds_of_volumes_and_tables_are_read(tmp_path: Path) -> None:
    for name in ("nifti.nii", "packed.nii.gz", "jpeg.dcm", "table.csv", "sr.dcm"):
        write(tmp_path / name, SEEDS[name])
        read_any(tmp_path / name, tmp_path)
