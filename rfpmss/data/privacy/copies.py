"""A de-identified copy of the files that a scan found: DICOM, NIfTI and reports."""

from __future__ import annotations

import gzip
import io
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from rfpmss.common.files import whole, write_text
from rfpmss.common.progress import progress
from rfpmss.data.cohort.shards import series
from rfpmss.data.errors import DataError, UnforeseenError, UnsupportedError, describe
from rfpmss.data.privacy.deidentify import Options, deidentify
from rfpmss.data.readers.dicom import volumes as dicom
from rfpmss.data.readers.formats import format_of, read_volume, starting
from rfpmss.data.readers.look import date_of
from rfpmss.data.readers.volume import MAX_BYTES, Volume, header_of, read_bytes
from rfpmss.data.sources.hospital import Found
from rfpmss.data.study import Source, Study


@dataclass(frozen=True, kw_only=True)
class Copied:
    """What a copy holds."""

    files: int
    refused: tuple[tuple[str, int], ...]
    """Why files were left out, and how many."""


def write_copy(
    found: Found, out: Path, salt: bytes, options: Options | None = None, limit: int = MAX_BYTES
) -> Copied:
    """Write ``out/<salted patient>/visit<n>/...`` with every image and report of ``found``.

    Folders and files are named by what they are and by numbers; patients by the ids of the cohort.
    A file that exists already is written anew, the same bytes for the same input.

    Args:
        found: of `rfpmss.data.sources.hospital.scan`.
        out: folder of the copy.
        salt: secret of the replacements.
        options: what to keep beyond the Basic Profile.
        limit: largest file, bytes.
    """
    files, refused = 0, Counter[str]()
    patients: dict[str, list[Study]] = defaultdict(list)
    for study in found.studies:
        patients[study.patient_id].append(study)

    with progress("copying without identifiers", total=len(found.studies), unit="studies") as go:
        for patient, mine in sorted(patients.items()):
            for number, study in enumerate(sorted(mine, key=_first_day), start=1):
                folder = out / patient / f"visit{number}"
                for job in _jobs(study, folder):
                    try:
                        job(patient, salt, options, limit)
                        files += 1
                    except DataError as error:
                        refused[describe(error)] += 1
                    except OSError:
                        raise
                    except Exception:
                        error = UnforeseenError("the file could not be written anew")
                        refused[describe(error)] += 1

                files += _report(study, folder)
                go()

    return Copied(files=files, refused=tuple(refused.most_common()))


def _first_day(study: Study) -> tuple[int, str]:
    """For the order of visits: the first date in the DICOM headers, undated studies last."""
    days = [
        date_of(dicom.read_file(source.paths[0], pixels=False))
        for source in series(study).values()
        if source.kind == "dicom"
    ]
    return min((day for day in days if day is not None), default=1 << 30), study.study_id


@dataclass(frozen=True)
class _Job:
    """One file to be copied."""

    kind: str
    source: Path
    target: Path

    def __call__(self, patient: str, salt: bytes, options: Options | None, limit: int) -> None:
        if self.kind == "dicom":
            content = _dicom(self.source, patient, salt, options, limit)
        elif self.kind == "nifti":
            content = _nifti(self.source, limit)
        else:
            raise UnsupportedError("slides and pictures may show names and are not copied")

        self.target.parent.mkdir(parents=True, exist_ok=True)
        with whole(self.target) as file:
            file.write(content)


def _jobs(study: Study, folder: Path) -> Iterator[_Job]:
    for number, (name, source) in enumerate(series(study).items(), start=1):
        view = name.partition(".")[0]
        for target, path in _targets(source, folder / f"{view}-{number}"):
            yield _Job(source.kind, path, target)


def _targets(source: Source, folder: Path) -> Iterator[tuple[Path, Path]]:
    if source.kind == "dicom":
        for number, path in enumerate(source.paths, start=1):
            yield folder / f"{number:05d}.dcm", path
        return

    view = folder.name.partition("-")[0]
    names = source.channels or (view,) * len(source.paths)
    for name, path in zip(names, source.paths, strict=True):
        yield folder / f"{name}.nii.gz", path

    if source.mask:
        yield folder / "seg.nii.gz", source.mask


def _dicom(path: Path, patient: str, salt: bytes, options: Options | None, limit: int) -> bytes:
    made = deidentify(dicom.read_file(path, limit), salt, patient, options)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(file, enforce_file_format=True)

    return file.getvalue()


def _nifti(path: Path, limit: int) -> bytes:
    """Header without free text and extensions, the same voxels."""
    image = read_volume(path, limit, 0)  # refuses what is no image
    if format_of(path.name.lower(), starting(path)) != "nifti":
        return _written(image)

    data = read_bytes(path, limit)
    header = header_of(data)
    start = int(header["vox_offset"])

    for field in ("data_type", "db_name", "descrip", "aux_file", "intent_name"):
        if field in header.keys():  # noqa: SIM118 - a header is no dictionary
            header[field] = b""

    head = header.sizeof_hdr + 4
    header["vox_offset"] = head
    size = header.get_data_dtype().itemsize
    for n in header.get_data_shape():
        size *= int(n)

    block = header.binaryblock
    voxels = data[start : start + size]  # nothing that hides behind them
    return gzip.compress(block + b"\0" * (head - len(block)) + voxels, mtime=0)


def _written(image: Volume) -> bytes:
    """A volume of another format as NIfTI, the first of several."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    kind = image.array.dtype
    array = image.array if kind.itemsize < 8 or kind.kind == "f" else image.array.astype(np.int32)
    made = nib.Nifti1Image(array.transpose(2, 1, 0), affine)

    return gzip.compress(made.to_bytes(), mtime=0)


def _report(study: Study, folder: Path) -> int:
    if study.report is None:
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "report.txt", study.report + "\n")
    return 1
