"""Coverage-guided fuzzing of the readers: `python tests/data/readers/fuzz.py KIND`.

KIND is one of dicom, nifti, slide, table, text, mapping, or all of them one after the other. Starts
from sound files and ends with a traceback at the first input that ends in anything but an image, a
text or a named error. Needs atheris.
"""

import io
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["rfpmss", "pydicom", "nibabel", "tifffile"]):
    import logging

    from rfpmss.data.errors import DataError, UnforeseenError
    from rfpmss.data.identity.mapping import read_mapping
    from rfpmss.data.privacy.private import read_report
    from rfpmss.data.readers.look import look
    from rfpmss.data.study import Source
    from rfpmss.data.views import Choice, read_views

NAMES = {
    "dicom": "x.dcm",
    "nifti": "x.nii",
    "slide": "x.tif",
    "table": "x.csv",
    "text": "x.txt",
    "mapping": "x.yaml",
}
LIMIT = 64 << 20


def read(path: Path, root: Path) -> None:
    """Read one file as prepare does."""
    if path.suffix == ".yaml":
        read_mapping(path)
        return
    for file in look(path, root, LIMIT):
        if file.kind == "text":
            if file.text is None:
                read_report(path)
            continue
        kind = file.kind if file.kind in ("dicom", "nifti", "slide") else "image"
        view = "pathology" if kind in ("slide", "image") else "mri"
        source = Source(kind=kind, paths=(path,))  # type: ignore[arg-type]
        read_views(view, source, Choice(size=16, slide_mpp=1.0, limit=LIMIT))


def seeds(kind: str) -> dict[str, bytes]:
    """Sound files to start from."""
    import nibabel
    import numpy
    import pydicom
    import tifffile

    if kind == "dicom":
        folder = Path(pydicom.__file__).parent / "data" / "test_files"
        names = ("CT_small", "MR_small", "MR_small_RLE", "MR_small_jpeg_ls_lossless", "reportsi")
        return {name: (folder / f"{name}.dcm").read_bytes() for name in names}
    if kind == "nifti":
        folder = Path(nibabel.__file__).parent / "tests" / "data"
        names = ("standard.nii.gz", "anatomical.nii", "example_nifti2.nii.gz")
        return {name: (folder / name).read_bytes() for name in names}
    if kind == "slide":
        image = numpy.random.default_rng(0).integers(0, 255, (64, 64, 3), numpy.uint8)
        scale = {"resolution": (5000, 5000), "resolutionunit": "CENTIMETER"}
        made = {}
        for name, options in {"strips": {}, "tiles": {"tile": (32, 32), "compression": 8}}.items():
            file = io.BytesIO()
            tifffile.imwrite(file, image, photometric="rgb", **scale, **options)
            made[name] = file.getvalue()
        return made
    return {
        "table": {"a": b"patient_id,report,date\n7,Mass,2020-01-01\n"},
        "text": {"a": b"Mass on the left", "b": "左侧额叶".encode("gb18030")},
        "mapping": {
            "a": b"sequences:\n  KM: t1ce\nfiles:\n  '*/x/*': ignore\npatients:\n  a: '7'\n"
        },
    }[kind]


def main() -> int:
    """Fuzz one kind of file, or each in a process of its own."""
    kind = sys.argv.pop(1)
    if kind == "all":
        own = [[sys.executable, __file__, name, *sys.argv[1:]] for name in NAMES]
        return max(subprocess.run(command, check=False).returncode for command in own)
    fuzz(kind)
    return 0


def fuzz(kind: str) -> None:
    """Until the options say stop, or an input ends in a way that nobody foresaw."""
    warnings.simplefilter("ignore")
    for name in ("pydicom", "tifffile", "nibabel", "PIL"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    root = Path(tempfile.mkdtemp(prefix="fuzz-"))
    path = root / NAMES[kind]

    def one(data: bytes) -> None:
        path.write_bytes(data)
        try:
            read(path, root)
        except UnforeseenError:
            raise
        except DataError:
            return

    corpus = root / "corpus"
    corpus.mkdir()
    for name, content in seeds(kind).items():
        (corpus / name).write_bytes(content)
    atheris.Setup([*sys.argv, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
