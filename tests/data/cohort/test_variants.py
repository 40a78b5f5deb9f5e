"""The harder cohorts: what each option changes, what it leaves alone, and their ceilings."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from scipy.ndimage import uniform_filter

from rfpmss import prepare
from rfpmss.config import smoke
from rfpmss.config.sections import DataConfig, PhantomConfig
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import swap_sides
from rfpmss.data.cohort.manifest import read
from rfpmss.data.phantom import draw, ensure_cohort, visible
from rfpmss.data.phantom.cohort import LATER, folder_name
from rfpmss.data.phantom.files import read_patient, seeded, study_id, write_patient
from rfpmss.data.phantom.pose import FIELD, HEIGHT
from rfpmss.data.phantom.text import CHINESE, LANGUAGES, write_report
from rfpmss.data.phantom.variants import labels, variant
from rfpmss.evaluation.retrieval.ceiling import agreement, label_ceiling
from rfpmss.evaluation.retrieval.ranks import rank
from tests.data.files import SMALL

HARD = {
    "missing": 0.2,
    "hospital": "held-out",
    "isointense": 0.5,
    "label_noise": 0.3,
    "duplicate_reports": 0.4,
    "language": "mixed",
}
SHARP = SMALL.model_copy(update={"mri_shape": (64, 64, 16), "ct_shape": (64, 64, 12)})


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of the small cohort without any option."""
    return ensure_cohort(SMALL, tmp_path_factory.mktemp("plain"))


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


BOXES = {"depth": 8, "side": 24, "spacing": (4.0, 4.0, 4.0)}


def made(root: Path, index: int, config: PhantomConfig = SMALL, **options: object) -> Path:
    folder = root / "-".join(map(str, options.values())) / study_id(index)
    write_patient(folder, index, config.model_copy(update=options))
    return folder


def truth(folder: Path) -> dict:
    return json.loads((folder / "truth.json").read_text())


def volume(folder: Path, part: str) -> np.ndarray:
    image = nib.load(folder / f"{folder.name}_{part}.nii.gz")
    return np.asarray(image.dataobj, np.float64)


def test_the_plain_cohort_keeps_its_name_and_every_option_makes_another() -> None:
    assert folder_name(smoke().phantom) == "phantom-a3ca723ad299"
    assert (set(HARD) - {"missing"}) | {"edition", "level", "masks", *BOXES} == LATER
    options = {**HARD, **BOXES, "level": "off", "masks": "boxes"}
    names = {folder_name(SMALL.model_copy(update={name: options[name]})) for name in options}
    assert len(names | {folder_name(SMALL)}) == len(options) + 1


def test_a_hard_patient_made_alone_equals_the_same_one_of_the_cohort(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={**HARD, "train": 6})
    manifest = ensure_cohort(config, tmp_path / "whole")
    for index in range(8):
        write_patient(tmp_path / study_id(index), index, config)
        whole = content(manifest.parent / "patients" / study_id(index))
        assert content(tmp_path / study_id(index)) == whole
    cohort = Cohort.open(manifest, DataConfig(resize=32, size=28))
    assert [study.study_id for study in cohort.studies] == [study_id(i) for i in range(8)]


def test_one_patient_can_be_made_by_command(tmp_path: Path) -> None:
    command = ["phantom", "--preset", "smoke", "--patient", "3", "--phantom.language", "chinese"]
    assert prepare.main([*command, "--out", str(tmp_path)]) == 0
    told = (tmp_path / study_id(3) / "report.txt").read_text(encoding="utf-8")
    assert any(word in told for word in ("左", "右"))
    volume = nib.load(tmp_path / study_id(3) / f"{study_id(3)}_t1.nii.gz")
    assert volume.shape == (48, 48, 16)  # of the preset smoke


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"language": "chinese"}, {"report.txt"}),
        ({"label_noise": 0.9}, {"truth.json"}),
        ({"hospital": "other"}, {"slide.tiff", "nii.gz", "dcm"}),
        ({"isointense": 1.0}, {"nii.gz", "dcm"}),
    ],
)
def test_an_option_changes_its_own_files_and_no_others(
    options: dict, changed: set[str], tmp_path: Path
) -> None:
    plain, hard = content(made(tmp_path, 2)), content(made(tmp_path, 2, **options))
    assert plain.keys() == hard.keys()
    different = {name for name in plain if plain[name] != hard[name]}
    assert {next(c for c in changed if name.endswith(c)) for name in different} == changed


def test_only_held_out_patients_come_from_the_other_hospital(tmp_path: Path) -> None:
    for index in (3, 4):  # the first held-out patient is number 4
        plain = content(made(tmp_path, index))
        shifted = content(made(tmp_path, index, hospital="held-out"))
        assert (plain == shifted) == (index == 3)


def test_the_other_hospital_shows_the_same_patient_differently(tmp_path: Path) -> None:
    home, other = (made(tmp_path, 2, SHARP, hospital=name) for name in ("home", "other"))
    assert truth(home) == truth(other)
    assert np.array_equal(volume(home, "seg"), volume(other, "seg"))
    inside = volume(home, "t2") > 30
    for part in ("t1", "t2", "flair"):
        ratio = volume(other, part)[inside] / np.maximum(volume(home, part)[inside], 1)
        assert ratio.std() > 0.1  # no mere gain, which standardising would undo
    slides = [tifffile.imread(folder / "slide.tiff").astype(float) for folder in (home, other)]
    middle = [slide[40:88, 40:88].mean(axis=(0, 1)) for slide in slides]
    assert middle[1][0] < middle[0][0] - 5  # less red
    assert middle[1][2] > middle[0][2]  # more blue


def best_overlap(image: np.ndarray, mask: np.ndarray, where: np.ndarray) -> float:
    """Of the mask with what is above, or below, the best of all thresholds."""
    values, true = image[where], mask[where]
    levels = np.quantile(values, np.linspace(0.02, 0.99, 40))
    found = [part for level in levels for part in (values > level, values < level)]
    return max((part & true).sum() / (part | true).sum() for part in found)


def test_no_threshold_finds_a_faint_tumour_but_its_grain_and_its_push_do(tmp_path: Path) -> None:
    bright, faint, grain, moved = [], [], [], []
    for index in range(8):
        plain = made(tmp_path, index, SHARP, isointense=0.0)
        hard = made(tmp_path, index, SHARP, isointense=1.0)
        mask = volume(plain, "seg") > 0
        assert np.array_equal(mask, volume(hard, "seg") > 0)
        head = volume(plain, "t2") > 20
        bright.append(best_overlap(volume(plain, "flair"), mask, head))
        faint.append(
            max(best_overlap(volume(hard, p), mask, head) for p in ("t1", "t1ce", "t2", "flair"))
        )
        image = volume(hard, "flair")
        mean = uniform_filter(image, (3, 3, 1))
        texture = uniform_filter(image**2, (3, 3, 1)) - mean**2
        core = np.isin(volume(hard, "seg"), (1, 4))
        mirrored = core[::-1] & ~mask & (mean > 30)  # the same place on the other side
        grain.append(texture[core].mean() > 1.5 * texture[mirrored].mean())
        moved.append(away(volume(plain, "flair"), volume(hard, "flair"), mask))
    assert np.mean(bright) > 0.6
    assert np.mean(faint) < 0.2
    assert np.mean(grain) >= 0.75
    assert np.mean(moved) > 0.5


def away(plain: np.ndarray, pushed: np.ndarray, mask: np.ndarray) -> float:
    """How many millimetres further from the tumour the ventricles lie."""
    step = np.array([FIELD, FIELD, HEIGHT]) / mask.shape
    tumour = np.array([axis.mean() for axis in np.nonzero(mask)])
    near = np.zeros(mask.shape, bool)
    near[tuple(slice(int(n * 0.3), int(n * 0.7)) for n in mask.shape)] = True
    centres = []
    for image in (plain, pushed):
        dark = near & (uniform_filter(image, (3, 3, 1)) < 28) & ~mask
        if dark.sum() < 10:
            return 0.0
        centres.append(np.array([axis.mean() for axis in np.nonzero(dark)]))
    distance = [np.linalg.norm((centre - tumour) * step) for centre in centres]
    return float(distance[1] - distance[0])


def test_a_twin_has_the_findings_and_the_words_of_an_earlier_patient(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"duplicate_reports": 0.6})
    origins = [variant(config, index).origin for index in range(12)]
    twins = [index for index in range(12) if origins[index] != index]
    assert 3 <= len(twins) <= 10
    for index in twins[:3]:
        origin = origins[index]
        assert origin < index
        assert origins[origin] == origin  # the first of them is a copy of nobody
        mine, first = (made(tmp_path, i, duplicate_reports=0.6) for i in (index, origin))
        assert truth(mine)["latents"] == truth(first)["latents"]
        assert (mine / "report.txt").read_bytes() == (first / "report.txt").read_bytes()
        assert not np.array_equal(volume(mine, "t1"), volume(first, "t1"))


def test_the_ceiling_of_retrieval_falls_where_patients_are_twins() -> None:
    config = PhantomConfig(duplicate_reports=0.5)
    origins = [variant(config, index).origin for index in range(200)]
    found = [draw(seeded(config, origin)) for origin in origins]
    told = [dict(visible(latents, "report")) for latents in found]
    ceiling = rank(agreement(told, told), np.arange(200), np.arange(200)).hits(1).mean()
    groups = Counter(json.dumps(row, sort_keys=True) for row in told)
    assert ceiling == pytest.approx(len(groups) / 200)
    assert ceiling < 0.6


def test_wrong_labels_are_as_frequent_as_asked_and_the_truth_stays(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"label_noise": 0.3})
    drawn = [draw(np.random.default_rng([9, i])) for i in range(400)]
    given = [dict(labels(latents, config, i)) for i, latents in enumerate(drawn)]
    true = [dict(latents.labels()) for latents in drawn]
    ceiling = label_ceiling(given, true)
    assert set(ceiling) == set(true[0])
    assert np.mean(list(ceiling.values())) == pytest.approx(0.7, abs=0.02)
    wrong = Counter(g["grade"] for g, t in zip(given, true, strict=True) if g["grade"] != "2")
    assert min(wrong.values()) > 20  # every other value occurs
    folder = made(tmp_path, 1, label_noise=0.3)
    assert truth(folder)["latents"] == truth(made(tmp_path, 1))["latents"]
    assert read_patient(folder, "").labels == tuple(truth(folder)["labels"].items())


def test_without_noise_the_labels_are_the_truth_and_their_ceiling_is_one(plain: Path) -> None:
    opened = Cohort.open(plain, DataConfig(resize=32, size=28))
    given = [dict(study.labels) for study in opened.studies]
    true = [dict(z.labels()) for i in range(len(opened)) if (z := opened.truth(i))]
    assert set(label_ceiling(given, true).values()) == {1.0}


def test_chinese_reports_say_every_finding_and_survive_the_swap_of_sides() -> None:
    words = CHINESE.words
    for seed in range(40):
        latents = draw(np.random.default_rng(seed))
        text = write_report(latents, np.random.default_rng(seed), "chinese")
        assert words[latents.side] in text
        assert words[{"left": "right", "right": "left"}[latents.side]] not in text
        assert words[latents.lobe] in text
        assert words[latents.edema] in text
        assert f"{round(latents.size / 2) * 2:.0f} mm" in text
        assert f"{latents.grade}级" in text
        assert ("无" in text or "未见" in text) or latents.necrosis
        mirrored = swap_sides(text)
        assert mirrored.count("左") == text.count("右")
        assert swap_sides(mirrored) == text


def test_both_languages_have_wordings_for_the_same_findings() -> None:
    english, chinese = LANGUAGES["english"], LANGUAGES["chinese"]
    for name in ("enhancement", "necrosis", "hemorrhage", "proliferation", "palisades"):
        assert getattr(english, name).keys() == getattr(chinese, name).keys()


def test_a_mixed_cohort_has_reports_in_both_languages() -> None:
    config = PhantomConfig(language="mixed")
    spoken = Counter(variant(config, index).language for index in range(200))
    assert 70 < spoken["chinese"] < 130


def test_the_manifest_names_the_source_s_spacing_and_grid(plain: Path) -> None:
    rows = read(plain)
    mri = next(row for row in rows if row.modality == "mri")
    assert mri.grid == "32 32 8"
    np.testing.assert_allclose([float(v) for v in mri.spacing.split()], [5, 5, 13.75], atol=0.01)
    slide = next(row for row in rows if row.modality == "pathology")
    assert (slide.grid, float(slide.spacing)) == ("128 128", 8.0)
