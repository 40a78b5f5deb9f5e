"""Coverage-guided fuzzing of the readers: `python tests/fuzz_readers.py KIND [libFuzzer options]`.

KIND is one of dicom, nifti, slide, table, text, mapping. Ends with a traceback at the first input
that ends in anything but an image, a text or a named error.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["rfpmss", "pydicom", "nibabel", "tifffile"]):
    import logging

    from rfpmss.data.errors import DataError, UnforeseenError
    from rfpmss.data.look import look
    from rfpmss.data.mapping import read_mapping
    from rfpmss.data.private import read_report
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


def main() -> None:
    """Fuzz one kind of file."""
    kind = sys.argv.pop(1)
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

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
