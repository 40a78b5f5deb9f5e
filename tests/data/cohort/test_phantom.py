"""The generated cohort: real files that other libraries read, the same whatever is around them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import tifffile

from rfpmss.config.sections import VIEWS, DataConfig
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.phantom import VISIBLE, Latents, draw, ensure_cohort, visible
from rfpmss.data.phantom import cohort as cohorts
from rfpmss.data.phantom.files import read_patient, study_id, write_patient
from rfpmss.data.phantom.pose import FIELD, HEIGHT
from rfpmss.data.phantom.text import write_report
from rfpmss.data.phantom.worker import choice
from rfpmss.data.views import read_views
from tests.data.files import SMALL

DATA = DataConfig(resize=32, size=28)
ENSURE = (
    "import sys, pathlib; from rfpmss.config.sections import PhantomConfig as C; "
    "from rfpmss.data.phantom import ensure_cohort; "
    "print(ensure_cohort(C.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2])))"
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_cohort(SMALL, tmp_path_factory.mktemp("phantom"))


@pytest.fixture(scope="module")
def patient(cohort: Path) -> Path:
    return cohort.parent / "patients" / study_id(1)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    }


def start(root: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", ENSURE, SMALL.model_dump_json(), str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def test_nibabel_reads_four_sequences_and_a_mask_on_one_grid(patient: Path) -> None:
    images = {
        part: nib.load(patient / f"{patient.name}_{part}.nii.gz")
        for part in ("t1", "t1ce", "t2", "flair", "seg")
    }
    for image in images.values():
        assert image.shape == SMALL.mri_shape
        np.testing.assert_allclose(
            image.header.get_zooms(), [FIELD / 32, FIELD / 32, HEIGHT / 8], rtol=1e-6
        )
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        centre = image.affine @ (*((np.array(image.shape) - 1) / 2), 1)
        np.testing.assert_allclose(centre[:3], 0, atol=1e-4)
    assert set(np.unique(images["seg"].get_fdata())) <= {0, 1, 2, 4}


def test_pydicom_reads_a_ct_with_scale_shuffled_numbers_and_one_localizer(patient: Path) -> None:
    data = [pydicom.dcmread(file) for file in sorted((patient / "ct").iterdir())]
    slices = [d for d in data if "LOCALIZER" not in d.ImageType]
    assert len(slices) == SMALL.ct_shape[2] == len(data) - 1
    slices.sort(key=lambda d: d.ImagePositionPatient[2])
    numbers = [int(d.InstanceNumber) for d in slices]
    assert numbers not in (sorted(numbers), sorted(numbers)[::-1])
    steps = np.diff([float(d.ImagePositionPatient[2]) for d in slices])
    np.testing.assert_allclose(steps, HEIGHT / SMALL.ct_shape[2], atol=1e-5)
    values = np.stack([d.pixel_array * d.RescaleSlope + d.RescaleIntercept for d in slices])
    assert values.min() < -900
    assert values.max() > 600
    assert len({d.SeriesInstanceUID for d in data}) == 2


def test_tifffile_reads_a_tiled_pyramid_with_its_microns_and_blank_glass(patient: Path) -> None:
    with tifffile.TiffFile(patient / "slide.tiff") as file:
        first = file.pages[0]
        assert first.is_tiled
        assert first.shape == (SMALL.slide_size, SMALL.slide_size, 3)
        numerator, denominator = first.tags["XResolution"].value
        assert 1e4 * denominator / numerator == pytest.approx(1024 / SMALL.slide_size, rel=1e-3)
        image = first.asarray()
    assert image[:4, :4].min() > 220
    assert image[60:68, 60:68].min() < 220


def test_side_is_visible_where_the_radiological_convention_puts_it(cohort: Path) -> None:
    opened = Cohort.open(cohort, DATA)
    sides = 0
    for index in range(len(opened)):
        truth = opened.truth(index)
        for view in ("ct", "mri"):
            box = opened.box(index, view)
            if truth and box and abs((box[0] + box[2]) / 2 - DATA.size / 2) > 1.5:
                assert (box[0] + box[2] > DATA.size) == (truth.side == "left")
                sides += 1
    assert sides >= 6


def test_the_report_says_what_the_latents_say() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        z = draw(rng)
        text = write_report(z, rng).lower()
        assert f"{z.side} {z.lobe}" in text
        assert f"{round(z.size / 2) * 2:.0f} mm" in text
        assert f"grade {z.grade}" in text
        assert z.edema in text
        other = {"left": "right", "right": "left"}[z.side]
        assert other not in text


def test_one_patient_made_alone_equals_the_same_one_of_the_cohort(
    cohort: Path, tmp_path: Path
) -> None:
    for index in (0, 5):
        folder = tmp_path / study_id(index)
        write_patient(folder, index, SMALL)
        assert content(folder) == content(cohort.parent / "patients" / study_id(index))


def test_a_larger_cohort_begins_with_the_same_patients(tmp_path: Path) -> None:
    larger = SMALL.model_copy(update={"train": 50})
    write_patient(tmp_path / "a" / study_id(2), 2, SMALL)
    write_patient(tmp_path / "b" / study_id(2), 2, larger)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_prepared_images_equal_a_fresh_decoding_of_the_files(cohort: Path) -> None:
    opened = Cohort.open(cohort, DATA)
    for index, study in enumerate(opened.studies):
        fresh = read_patient(cohort.parent / "patients" / study.study_id, "")
        for number, view in enumerate(VIEWS):
            place, source = opened.places[index][number], fresh.views[number]
            assert place is not None
            assert source is not None
            views = read_views(view, source, choice(SMALL))
            np.testing.assert_array_equal(place.shard[place.row], views.images)


def test_missing_views_are_missing_as_often_as_asked_and_never_all(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"missing": 0.6})
    shown = []
    for index in range(12):
        write_patient(tmp_path / study_id(index), index, config)
        shown.append(json.loads((tmp_path / study_id(index) / "truth.json").read_text())["shown"])
        study = read_patient(tmp_path / study_id(index), "")
        present = [v for v, s in zip(VIEWS, study.views, strict=True) if s is not None]
        assert sorted(present) == sorted(shown[-1])
    assert all(shown)
    assert 8 <= sum(map(len, shown)) <= 26


def test_what_a_modality_shows_is_named_and_survives_its_record() -> None:
    z = draw(np.random.default_rng(3))
    assert Latents.from_dict(z.as_dict()) == z
    for modality in VISIBLE:
        assert tuple(name for name, _ in visible(z, modality)) == VISIBLE[modality]
    assert set(visible(z, "mri")) <= set(visible(z, "study"))
    with pytest.raises(ValueError, match="modality must be one of"):
        visible(z, "smell")


def test_a_run_killed_half_way_is_resumed_to_the_same_bytes(cohort: Path, tmp_path: Path) -> None:
    process = start(tmp_path)
    while not list(tmp_path.glob(".*.partial/pieces/*.npz")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not list(tmp_path.glob("phantom-*")), "a half cohort stands under the final name"
    assert content(ensure_cohort(SMALL, tmp_path).parent) == content(cohort.parent)


def test_an_unfinished_patient_is_removed_unless_its_worker_lives(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    work = tmp_path / "work"
    for number in (os.getpid(), ended.pid):
        (work / "patients" / f".Phantom_00003.{number}").mkdir(parents=True)
    cohorts._generate(work, SMALL.model_copy(update={"train": 0, "test": 0}), 1)
    assert [path.name for path in (work / "patients").iterdir()] == [
        f".Phantom_00003.{os.getpid()}"
    ]


def test_two_processes_at_once_make_one_cohort(cohort: Path, tmp_path: Path) -> None:
    both = [start(tmp_path), start(tmp_path)]
    said = [process.communicate(timeout=120)[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    assert content(Path(said[0].decode()).parent) == content(cohort.parent)
