"""Studies per second of preparing and loading, beside MONAI and TorchIO, on the same files.

    OMP_NUM_THREADS=1 taskset -c 1 python -m benchmarks.data

Writes ``benchmarks/results/data.csv``. MONAI and TorchIO are no dependencies: a library that is not
installed is left out and keeps its old rows. The files are generated glioma MRI of the size of
BraTS2021: four sequences and a mask, 240 x 240 x 155 voxels of 16 bits, gzipped.

- *raw*: decode the four sequences of a study and turn them to one orientation;
- *prepare*: decode all five files, standardise, store the slice with most tumour;
- *load*: stored slices to augmented float32 batches (resize to 256, crop 224, flip, rotation of up
  to 10 degrees, brightness and contrast). The peers read the very same slices as float32 .npy
  through their own random transforms and caches. Ours also encodes the reports.

With ``--files 5000`` a folder of so many DICOM files is prepared twice instead, the second time
unchanged; the figures are printed only.
"""

import argparse
import dataclasses
import datetime
import importlib.metadata
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.common import table
from benchmarks.common.record import QUIET, machine
from benchmarks.peers import readers
from rfpmss.config import PhantomConfig
from rfpmss.config.sections import DataConfig
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.data.cohort.manifest import NAME, Row, write
from rfpmss.data.cohort.pieces import write_piece
from rfpmss.data.phantom.files import read_patient, study_id, write_patient
from rfpmss.data.readers.volume import read_nifti
from rfpmss.data.study import CODE_STEP, CODE_ZERO, Study
from rfpmss.data.views import Choice, read_views

FILE = Path(__file__).parent / "results" / "data.csv"
FIELDS = (
    *("case", "provider", "studies_per_s", "cpu_studies_per_s", "ours_is_faster_by"),
    *("mb_per_study", "runs", "load", "disturbed", "date", "machine", "threads", "versions"),
)
BRATS = PhantomConfig(mri_shape=(240, 240, 155), ct_shape=(16, 16, 4), slide_size=128)
CHOICE = Choice(size=240)
DATA = DataConfig(resize=readers.RESIZE, size=readers.CROP)
ROWS = 128
"""Stored slices that the loaders draw from."""


@dataclasses.dataclass(frozen=True)
class Provider:
    """One library at one case."""

    name: str
    work: Callable[[], int]
    """Does a piece of the work; gives its number of studies."""
    disk: Callable[[], float]
    """Bytes per study on disk, asked after the work."""


def main() -> int:
    """Measure what is asked for and rewrite those rows of the table."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--keep", type=Path, help="folder for the generated files")
    parser.add_argument("--only", choices=CASES, help="one case")
    parser.add_argument("--files", type=int, help="only prepare a folder of so many DICOM files")
    arguments = parser.parse_args()
    if arguments.files:
        return folder_of_dicom(arguments.files)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    folder = arguments.keep or Path(tempfile.mkdtemp())
    studies = generate(folder / "raw", arguments.studies)
    for case in [arguments.only] if arguments.only else CASES:
        rows = []
        for provider in CASES[case](studies, folder, arguments.batch):
            try:
                rows.append(measure(case, provider, arguments.seconds))
            except ImportError as error:
                print(f"left out: {provider.name} ({error})", file=sys.stderr)
        keep(rows)
    if arguments.keep is None:
        shutil.rmtree(folder)
    return 0


def generate(root: Path, count: int) -> list[Study]:
    """Patients with MRI alone, as real files."""
    studies = []
    for index in range(count):
        folder = root / study_id(index)
        if not folder.exists():
            print(f"generating study {index + 1} of {count}", file=sys.stderr)
            write_patient(folder, index, BRATS)
        study = read_patient(folder, "train")
        studies.append(dataclasses.replace(study, views=(None, study.views[1], None)))
    return studies


def raw(studies: list[Study], folder: Path, batch: int) -> list[Provider]:  # noqa: ARG001
    """Decode and orient four sequences."""
    files = [[path for name, path in images(s).items() if name != "seg"] for s in studies]
    disk = size_of(*(path for paths in files for path in paths)) / len(files)

    def ours(paths: list[Path]) -> None:
        for path in paths:
            read_nifti(path).array.max()

    return [
        Provider(name, one_by_one(work, files), lambda: disk)
        for name, work in (
            *(("rfpmss", ours), ("MONAI", readers.monai_raw)),
            ("TorchIO", readers.torchio_raw),
        )
    ]


def prepare(studies: list[Study], folder: Path, batch: int) -> list[Provider]:  # noqa: ARG001
    """Five files to one stored slice."""
    out = folder / "prepared"

    def ours(study: Study) -> None:
        write_piece(out / "rfpmss", study, CHOICE)

    def theirs(name: str, work: Callable[[readers.Files, Path], None]) -> Callable[[Study], None]:
        def one(study: Study) -> None:
            (out / name).mkdir(parents=True, exist_ok=True)
            work(images(study), out / name / f"{study.study_id}.pt")

        return one

    jobs = {
        "rfpmss": ours,
        "MONAI": theirs("MONAI", readers.monai_prepare),
        "TorchIO": theirs("TorchIO", readers.torchio_prepare),
    }
    return [
        Provider(name, one_by_one(work, studies), lambda n=name: size_of(out / n) / len(studies))
        for name, work in jobs.items()
    ]


def load(studies: list[Study], folder: Path, batch: int) -> list[Provider]:
    """Stored slices to augmented batches."""
    manifest, slices = store(studies, folder / "cohort")
    cohort = Cohort.open(manifest, DATA)
    tokenizer = train_tokenizer(cohort.reports("train"), 400)
    order = np.random.default_rng(0).permutation(len(cohort))
    step = iter(range(10**9))

    def ours() -> int:
        n = next(step)
        chosen = np.roll(order, -n * batch)[:batch]
        cohort.batch(chosen, tokenizer, augment=(0, n))
        return batch

    makers = {
        "MONAI PersistentDataset": lambda: readers.monai_loader(
            slices, batch, folder / "persistent", cached=False
        ),
        "MONAI CacheDataset": lambda: readers.monai_loader(slices, batch, folder, cached=True),
        "TorchIO, in memory": lambda: readers.torchio_loader(slices, batch),
    }
    places = {"MONAI PersistentDataset": folder / "persistent"}
    return [
        Provider("rfpmss", ours, lambda: size_of(manifest.parent / "shards") / ROWS),
        *(
            Provider(
                name, later(maker), lambda n=name: size_of(places.get(n, slices[0].parent)) / ROWS
            )
            for name, maker in makers.items()
        ),
    ]


def folder_of_dicom(count: int) -> int:
    """Processor time and peak memory of preparing ``count`` small DICOM files, twice."""
    with tempfile.TemporaryDirectory() as work:
        src, out = Path(work) / "src", Path(work) / "out"
        for patient in range(max(1, count // SLICES)):
            write_slices(src / f"patient{patient:04d}" / "ct", f"1.2.826.{patient + 1}")
        time.sleep(2.5)  # younger files are never taken for unchanged
        words = ["hospital", str(src), "--out", str(out), "--workers", "1", "--size", "64"]
        for run in ("first run", "unchanged"):
            print(f"{run}:", *measured([sys.executable, "-m", "rfpmss.prepare", *words]))
    return 0


SLICES = 50


def write_slices(folder: Path, uid: str) -> None:
    """A CT series of 16 x 16 pixels."""
    import pydicom
    from pydicom.data import get_testdata_file

    folder.mkdir(parents=True)
    data = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    data.Rows = data.Columns = 16
    noise = np.random.default_rng(int(uid.rpartition(".")[2]))
    data.PatientID, data.StudyInstanceUID = uid, f"{uid}.1"
    data.SeriesInstanceUID = f"{uid}.2"
    for number in range(SLICES):
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{uid}.3.{number + 1}"
        data.ImagePositionPatient = [0, 0, 2.5 * number]
        data.PixelData = noise.integers(0, 2000, (16, 16)).astype("<i2").tobytes()
        data.save_as(folder / f"{number:03d}.dcm", enforce_file_format=True)


def measured(command: list[str]) -> tuple[str, str]:
    """Processor time and peak memory of a command."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
        "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(u.ru_utime + u.ru_stime, u.ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=True
    )
    seconds, kib = map(float, done.stdout.split())
    return f"{seconds:.1f} s of processor time,", f"{kib / 1024:.0f} MiB at most"


CASES = {"raw": raw, "prepare": prepare, "load": load}


def later(maker: Callable[[], Callable[[], int]]) -> Callable[[], int]:
    """The work that ``maker`` gives, made at the first call."""
    made: list[Callable[[], int]] = []

    def work() -> int:
        if not made:
            made.append(maker())
        return made[0]()

    return work


def one_by_one(work: Callable, items: list) -> Callable[[], int]:
    """One item a call, in turn."""
    step = iter(range(10**9))

    def one() -> int:
        work(items[next(step) % len(items)])
        return 1

    return one


def images(study: Study) -> readers.Files:
    """The files of a study by sequence, and its mask."""
    source = study.views[1]
    assert source is not None
    assert source.mask is not None
    return {**dict(zip(source.channels, source.paths, strict=True)), "seg": source.mask}


def store(studies: list[Study], out: Path) -> tuple[Path, list[Path]]:
    """A cohort of `ROWS` slices, the given studies' again and again; also as single files."""
    slices = [out / "single" / f"{n}.npy" for n in range(ROWS)]
    if not (out / NAME).exists():
        for name in ("shards", "single"):
            (out / name).mkdir(parents=True, exist_ok=True)
        made = [read_views("mri", study.views[1], CHOICE).images for study in studies]
        stack = np.stack([made[n % len(made)] for n in range(ROWS)])
        np.save(out / "shards" / "mri-00000.npy", stack)
        for path, image in zip(slices, stack, strict=True):
            np.save(path, (image[0].astype(np.float32) - CODE_ZERO) / CODE_STEP)
        rows = []
        for n in range(ROWS):
            about = {"patient_id": f"p{n}", "study_id": f"s{n}", "split": "train"}
            rows.append(Row(**about, modality="mri", path=f"shards/mri-00000.npy#{n}"))
            text = studies[n % len(studies)].report or ""
            rows.append(Row(**about, modality="report", report=text))
        write(out / NAME, rows)
    return out / NAME, slices


def size_of(*paths: Path) -> float:
    """Bytes of all files."""
    files = [f for path in paths for f in ([path] if path.is_file() else path.rglob("*"))]
    return float(sum(f.stat().st_size for f in files if f.is_file()))


def measure(case: str, provider: Provider, seconds: float) -> dict[str, object]:
    """Medians of wall and processor time per study, after two calls to warm up."""
    provider.work(), provider.work()
    walls: list[float] = []
    processor: list[float] = []
    stop = time.perf_counter() + seconds
    while len(walls) < 3 or time.perf_counter() < stop:
        wall, cpu = time.perf_counter(), time.process_time()
        done = provider.work()
        walls.append((time.perf_counter() - wall) / done)
        processor.append((time.process_time() - cpu) / done)
    row = {
        **{"case": case, "provider": provider.name, "runs": len(walls)},
        "studies_per_s": f"{1 / statistics.median(walls):.4g}",
        "cpu_studies_per_s": f"{1 / statistics.median(processor):.4g}",
        "mb_per_study": f"{provider.disk() / 1e6:.4g}",
    }
    print(*(f"{key}={value}" for key, value in row.items()), flush=True)
    return row


def keep(rows: list[dict[str, object]]) -> None:
    """Insert or replace the rows; how much faster ours is goes by processor time."""
    import torch

    load_now = os.getloadavg()[0]
    versions = [
        f"{name} {importlib.metadata.version(name)}"
        for name in ("torch", "numpy", "nibabel", "monai", "torchio")
        if found(name)
    ]
    about = {
        **{"load": f"{load_now:.1f}", "disturbed": "yes" if load_now > QUIET else "no"},
        **{"date": datetime.date.today().isoformat(), "machine": machine()},
        **{"threads": torch.get_num_threads(), "versions": ", ".join(versions)},
    }
    kept: dict[tuple[object, object], dict[str, object]] = {
        (row["case"], row["provider"]): dict(row) for row in table.read(FILE)
    }
    for row in rows:
        ours = next((r for r in rows if r["provider"] == "rfpmss"), row)
        faster = float(str(ours["cpu_studies_per_s"])) / float(str(row["cpu_studies_per_s"]))
        kept[row["case"], row["provider"]] = {
            **row,
            **about,
            "ours_is_faster_by": f"{faster:.3g}",
        }
    table.write(FILE, kept.values(), FIELDS)


def found(name: str) -> bool:
    """Whether a package is installed."""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
