"""A generated patient as real files: NIfTI, DICOM, pyramidal TIFF, text, truth."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import tifffile
from jaxtyping import Int16, UInt8
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from rfpmss.common.files import fill, read_text
from rfpmss.config import VIEWS, PhantomConfig
from rfpmss.data.phantom import anatomy, slide
from rfpmss.data.phantom.latents import Latents, draw, smaller
from rfpmss.data.phantom.narrative import narrate
from rfpmss.data.phantom.pose import HEIGHT
from rfpmss.data.phantom.scanner import HOME, OTHER
from rfpmss.data.phantom.text import write_report
from rfpmss.data.phantom.variants import Second, Variant, labels, second, variant, words
from rfpmss.data.readers.sequences import FOUR
from rfpmss.data.study import Source, Study

if TYPE_CHECKING:
    from pydicom import Dataset

TILE = 128
SMALLEST_LEVEL = 128
OF_CT = "_ct_seg.nii.gz"
"""End of the name of a mask that lies upon CT."""


def study_id(index: int) -> str:
    """Name of patient ``index``."""
    return f"Phantom_{index:05d}"


def seeded(config: PhantomConfig, index: int) -> np.random.Generator:
    """The generator of patient ``index``, independent of all other patients."""
    return np.random.default_rng([config.seed, index])


def write_patient(folder: Path, index: int, config: PhantomConfig) -> None:
    """Write all files of patient ``index`` into ``folder``, which appears only when complete.

    The same configuration and index give the same bytes, whatever else is generated.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")  # see `cohort._being_written`
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    special = variant(config, index)
    rng = seeded(config, index)
    latents, shown, head, report = _draw(config, rng, None)
    if special.origin != index:
        found, _, _, copied = _draw(config, seeded(config, special.origin), None)
        rng = seeded(config, index)
        latents, shown, head, report = *_draw(config, rng, found)[:3], copied

    own = second(config, index, latents)
    if own.stated is not None:
        report = narrate(latents, own.stated, own.words, special.language)
    elif special.language != "english":
        report = write_report(latents, words(config, special.origin), special.language)

    _write_images(temporary, index, config, _Drawn(head, shown, special, own, rng))
    fill(temporary / "report.txt", report + "\n")
    truth = _truth(config, index, latents, shown, own)
    fill(temporary / "truth.json", json.dumps(truth, indent=1) + "\n")

    try:
        temporary.rename(folder)
    except OSError:  # another process finished the same patient first: the same bytes
        shutil.rmtree(temporary, ignore_errors=True)


@dataclass(frozen=True)
class _Drawn:
    """What the images of a patient are made from."""

    head: anatomy.Head
    shown: tuple[str, ...]
    special: Variant
    own: Second
    rng: np.random.Generator


def _write_images(folder: Path, index: int, config: PhantomConfig, drawn: _Drawn) -> None:
    """MRI with its mask, CT and the slide, those of them that the patient has, in this order."""
    name, head, own, rng = study_id(index), drawn.head, drawn.own, drawn.rng
    scanner, faint = (OTHER if drawn.special.other else HOME), drawn.special.isointense
    if "mri" in drawn.shown:
        pose = own.poses["mri"]
        label = anatomy.tissue(head, config.mri_shape, pushed=faint, pose=pose)
        marks = own.marks("mri", head, label)
        volumes = anatomy.mri(label, rng, scanner, head if faint else None, pose=pose, marks=marks)
        for sequence, volume in volumes.items():
            _write_nifti(folder / f"{name}_{sequence}.nii.gz", volume, pose.field)
        _write_nifti(folder / f"{name}_seg.nii.gz", anatomy.segmentation(label), pose.field)

    if "ct" in drawn.shown:
        pose = own.poses["ct"]
        label = anatomy.tissue(head, config.ct_shape, pushed=faint, pose=pose)
        marks = own.marks("ct", head, label)
        volume = anatomy.ct(label, head, rng, scanner, faint=faint, pose=pose, marks=marks)
        _write_ct(folder / "ct", volume, pose.field, (config.seed, index), rng)
        if config.edition > 1:  # in a pose of its own: the mask of MRI does not lie upon it
            _write_nifti(folder / f"{name}{OF_CT}", anatomy.segmentation(label), pose.field)

    if "pathology" in drawn.shown:
        latents = head.latents
        image = slide.paint(latents, config.slide_size, rng, scanner, own.deposits())
        _write_slide(folder / "slide.tiff", image)


def _truth(
    config: PhantomConfig, index: int, latents: Latents, shown: tuple[str, ...], own: Second
) -> dict[str, Any]:
    """The record of a patient, with the labels where they are not simply the findings."""
    name = study_id(index)
    truth: dict[str, Any] = {"study_id": name, "latents": latents.as_dict(), "shown": list(shown)}
    given = dict(labels(latents, config, index)) if config.label_noise else {}
    if own.stated is not None and own.untold is not None:
        truth |= {"stated": own.stated.as_dict(), "untold": own.untold.as_dict()}
        given = (given or dict(latents.labels())) | dict(own.untold.labels(shown))

    return truth | ({"labels": given} if given else {})


def read_patient(folder: Path, split: str, *, masked: bool = True) -> Study:
    """The study whose files lie in ``folder``, with its masks or without."""
    name = folder.name
    mask = folder / f"{name}_seg.nii.gz"
    sources: dict[str, Source | None] = dict.fromkeys(VIEWS)
    if mask.exists():
        paths = tuple(folder / f"{name}_{sequence}.nii.gz" for sequence in FOUR)
        sources["mri"] = Source(
            kind="nifti",
            paths=paths,
            channels=FOUR,
            series="+".join(FOUR),
            mask=mask if masked else None,
        )

    if (folder / "ct").is_dir():
        paths = tuple(sorted((folder / "ct").iterdir()))
        own = folder / f"{name}{OF_CT}"
        fitting = next((path for path in (own, mask) if masked and path.exists()), None)
        sources["ct"] = Source(kind="dicom", paths=paths, series="head", mask=fitting)

    if (folder / "slide.tiff").exists():
        sources["pathology"] = Source(kind="slide", paths=(folder / "slide.tiff",), series="H&E")

    truth = json.loads(read_text(folder / "truth.json"))
    return Study(
        study_id=name,
        patient_id=name,
        split=split,
        views=tuple(sources[view] for view in VIEWS),
        report=read_text(folder / "report.txt").strip(),
        labels=tuple(truth.get("labels", {}).items())
        or Latents.from_dict(truth["latents"]).labels(),
    )


def _draw(
    config: PhantomConfig, rng: np.random.Generator, found: Latents | None
) -> tuple[Latents, tuple[str, ...], anatomy.Head, str]:
    """Findings, unless they are given, modalities, head and report, in this order."""
    off = config.level == "off"
    drawn = smaller(draw(rng)) if off else draw(rng)
    latents = drawn if found is None else found
    shown = _shown(config.missing, rng)
    head = anatomy.Head.draw(latents, rng, off=off)

    return latents, shown, head, write_report(latents, rng)


def _shown(missing: float, rng: np.random.Generator) -> tuple[str, ...]:
    """The imaging modalities that this patient has: never none."""
    keep = rng.random(len(VIEWS)) >= missing
    if not keep.any():
        keep[rng.integers(len(VIEWS))] = True
    return tuple(view for view, kept in zip(VIEWS, keep, strict=True) if kept)


def _write_nifti(
    path: Path, volume: Int16[np.ndarray, "z y x"] | UInt8[np.ndarray, "z y x"], field: float
) -> None:
    """Voxels run to Left, Posterior, Superior, as in BraTS and UPENN-GBM."""
    array = volume.transpose(2, 1, 0)
    step = np.array([field, field, HEIGHT]) / array.shape
    origin = (np.array(array.shape) - 1) / 2 * step
    affine = np.diag([-step[0], -step[1], step[2], 1.0])
    affine[:3, 3] = origin * (1, 1, -1)
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    # gzip without a time stamp: the same volume gives the same bytes.
    fill(path, gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def _write_ct(
    folder: Path,
    volume: Int16[np.ndarray, "z y x"],
    field: float,
    entropy: tuple[int, int],
    rng: np.random.Generator,
) -> None:
    """One file a slice in shuffled order, shuffled InstanceNumber, and a localizer."""
    folder.mkdir()
    slices, rows, columns = volume.shape
    step = (field / columns, field / rows, HEIGHT / slices)
    corner = [-(n - 1) / 2 * s for n, s in zip((columns, rows, slices), step, strict=True)]
    uid = [generate_uid(entropy_srcs=[f"{entropy}-{name}"]) for name in ("study", "ct", "scout")]
    slope, intercept = ((1.0, -1024.0), (0.5, -1024.0))[rng.integers(2)]
    data = _header(entropy, uid[0], uid[1], (rows, columns))
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [f"{step[1]:.6f}", f"{step[0]:.6f}"]
    data.SliceThickness = f"{step[2]:.6f}"
    data.RescaleSlope, data.RescaleIntercept = str(slope), str(intercept)
    stored = np.clip(np.round((volume - intercept) / slope), 0, 65535).astype("<u2")
    numbers = rng.permutation(slices + 1)
    for k in range(slices):
        data.ImagePositionPatient = [
            f"{corner[0]:.6f}",
            f"{corner[1]:.6f}",
            f"{corner[2] + k * step[2]:.6f}",
        ]
        _save(data, folder, uid[1], int(numbers[k]), stored[k])

    data.SeriesInstanceUID = uid[2]
    data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    data.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    data.ImagePositionPatient = [f"{corner[0]:.6f}", "0", f"{-corner[2]:.6f}"]
    scout = np.zeros((rows, columns), "<u2")
    scout[:slices] = stored[::-1, rows // 2]
    _save(data, folder, uid[2], int(numbers[slices]), scout)


def _header(entropy: tuple[int, int], study: str, series: str, size: tuple[int, int]) -> Dataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = CTImageStorage
    data.Modality = "CT"
    data.PatientName = f"Phantom^{entropy[1]:05d}"
    data.PatientID = study_id(entropy[1])
    data.StudyInstanceUID, data.SeriesInstanceUID = study, series
    data.FrameOfReferenceUID = generate_uid(entropy_srcs=[f"{entropy}-frame"])
    data.StudyDate = data.SeriesDate = "20200101"
    data.SeriesDescription = "HEAD"
    data.SeriesNumber, data.AcquisitionNumber = "2", "1"
    data.Rows, data.Columns = size
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = 0

    return data


def _save(data: Dataset, folder: Path, series: str, number: int, pixels: np.ndarray) -> None:
    data.SOPInstanceUID = f"{series[:56]}.{number + 1}"
    data.file_meta.MediaStorageSOPInstanceUID = UID(data.SOPInstanceUID)
    data.InstanceNumber = str(number + 1)
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW"
    data.save_as(folder / f"IM{number:04d}.dcm", enforce_file_format=True)


def _write_slide(path: Path, image: UInt8[np.ndarray, "size size 3"]) -> None:
    """Tiled, deflated, with a pyramid in SubIFDs-free pages and the resolution of each level."""
    levels = [image]
    while min(levels[-1].shape[:2]) >= 2 * SMALLEST_LEVEL:
        level = levels[-1].astype(np.uint16)
        mean = level[::2, ::2] + level[1::2, ::2] + level[::2, 1::2] + level[1::2, 1::2]
        levels.append(((mean + 2) // 4).astype(np.uint8))

    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(levels):
            micron = slide.EXTENT / level.shape[0]
            writer.write(
                level,
                photometric="rgb",
                tile=(TILE, TILE),
                compression="zlib",
                compressionargs={"level": 1},
                resolution=(1e4 / micron, 1e4 / micron),
                resolutionunit="CENTIMETER",
                subfiletype=0 if number == 0 else 1,
                software="rfpmss phantom",
                metadata=None,
            )
