"""The two editions of the generated cohort: the first as it ever was, the laws of the second."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch

from rfpmss.config import PRESETS, second_edition, smoke, tiny
from rfpmss.config.arguments import TrainArguments, parse
from rfpmss.config.sections import PhantomConfig
from rfpmss.data.batches.tokens import cut, train_tokenizer
from rfpmss.data.phantom.anatomy import EDEMA, ENHANCING, NECROSIS, TUMOUR, Head, tissue
from rfpmss.data.phantom.cohort import folder_name
from rfpmss.data.phantom.command import command as prepare_phantom
from rfpmss.data.phantom.files import read_patient, study_id, write_patient
from rfpmss.data.phantom.latents import Latents, draw
from rfpmss.data.phantom.narrative import LONGEST, SHORTEST, Stated, narrate
from rfpmss.data.phantom.narrative import words as words_of
from rfpmss.data.phantom.untold import SHOWN_BY, Untold
from rfpmss.data.phantom.variants import second as second_of
from rfpmss.evaluation.retrieval.outline import aligned, masks, overlap
from rfpmss.evaluation.retrieval.ranks import rank
from rfpmss.evaluation.writing.findings import read_findings
from tests.data.files import SMALL

EDITION_2 = PhantomConfig.model_validate(SMALL.model_dump() | {"edition": 2, "missing": 0.25})
Z = draw(np.random.default_rng(1))

HARD = {
    "missing": 0.2,
    "hospital": "held-out",
    "isointense": 0.5,
    "label_noise": 0.3,
    "duplicate_reports": 0.4,
    "language": "mixed",
}


def content(path: Path) -> bytes:
    """What a file holds, whatever library compressed it."""
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".tiff":
        return tifffile.imread(path).tobytes()
    return path.read_bytes()


def digest(folder: Path, config: PhantomConfig) -> str:
    """Of all files of the first six patients, made anew."""
    found = hashlib.sha256()
    for index in range(6):
        write_patient(folder / study_id(index), index, config)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.update(str(path.relative_to(folder)).encode())
            found.update(content(path))
    return found.hexdigest()[:16]


@pytest.mark.parametrize(
    ("options", "name", "known"),
    [
        ({}, "phantom-761dba6773b0", "396b76980110e466"),
        (HARD, "phantom-7a0be420dcd6", "3d6bcac7693703af"),
    ],
)
def test_the_first_edition_keeps_its_bytes_and_its_name(
    options: dict, name: str, known: str, tmp_path: Path
) -> None:
    # Digests and names as they were before there was a second edition.
    config = SMALL.model_copy(update=options)
    assert folder_name(config) == name
    assert digest(tmp_path, config) == known


def test_presets_keep_the_names_of_their_cohorts() -> None:
    assert {name: folder_name(make().phantom) for name, make in PRESETS.items()} == {
        "smoke": "phantom-a3ca723ad299",
        "tiny": "phantom-0661f95a85dc",
        "tiny3d": "phantom-182074d4c8d5",
        "small": "phantom-cd3c9ae01057",
        "paper": "phantom-bda0011372bc",
        "paper-standardised": "phantom-bda0011372bc",
    }


BANNED = (
    *("infarct", "stroke", "isch", "shunt", "catheter", "drain", "microbleed", "microhem"),
    *("susceptib", "white matter", "leuko", "periventric", "siderin", "pigment", "lymphocyt"),
    *("inflamm", "梗", "分流", "引流", "微出血", "白质", "含铁", "色素", "淋巴", "炎"),
)


@pytest.fixture(scope="module")
def reports() -> list[tuple[Latents, Stated, str, str]]:
    """Findings, what is stated, and the report in both languages."""
    made = []
    for index in range(1200):
        rng = np.random.default_rng([3, index])
        latents = draw(rng)
        stated = Stated.draw(latents, rng, away=index % 6 == 0)
        said = [narrate(latents, stated, rng, name) for name in ("english", "chinese")]
        made.append((latents, stated, said[0], said[1]))
    return made


def test_long_reports_have_150_to_240_words_and_name_no_untold_finding(
    reports: list[tuple[Latents, Stated, str, str]],
) -> None:
    for _, _, *texts in reports:
        for text in texts:
            assert SHORTEST <= words_of(text) <= LONGEST
            assert not [word for word in BANNED if word in text.lower()]


def test_long_reports_say_what_is_stated(reports: list[tuple[Latents, Stated, str, str]]) -> None:
    for latents, stated, *texts in reports:
        other = {"left": "right", "right": "left"}[stated.side]
        assert other not in texts[0].lower()
        for text in texts:
            found = read_findings(text)
            size = stated.millimetres
            assert found.get("size") == (None if size is None else str(size))
            assert found["side"] == stated.side
            assert found["grade"] == str(latents.grade)
            for name in ("lobe", "enhancement", "edema", "density"):
                assert found[name] == getattr(latents, name)
            for name in ("necrosis", "hemorrhage", "calcification", "proliferation"):
                assert found.get(name, "no") == ("yes" if getattr(latents, name) else "no")


def test_sides_are_wrong_in_a_hundredth_and_sizes_absent_in_a_third() -> None:
    many = []
    for index in range(6000):
        rng = np.random.default_rng([4, index])
        latents = draw(rng)
        many.append((latents, Stated.draw(latents, rng, away=False)))
    wrong = sum(stated.side != latents.side for latents, stated in many)
    assert 30 <= wrong <= 95  # 60 are expected, 4.5 deviations
    sizes = [(z.size, s.millimetres) for z, s in many if s.millimetres is not None]
    assert len(sizes) / len(many) == pytest.approx(2 / 3, abs=0.03)
    errors = np.array([said - true for true, said in sizes])
    assert np.abs(errors).max() <= 3.5  # the error and a rounding
    assert errors.std() == pytest.approx(np.sqrt(3.0 + 1 / 12), rel=0.05)  # uniform, rounded
    assert Counter(s.hospital for _, s in many).keys() == set("ABCD")


def test_hospitals_write_in_styles_of_their_own_and_repeat_themselves(
    reports: list[tuple[Latents, Stated, str, str]],
) -> None:
    first = {s.hospital: text.split()[0] for _, s, text, _ in reports if s.hospital != "D"}
    assert len(set(first.values())) == len(first) == 4
    repeated = Counter(line for _, _, text, _ in reports for line in set(text.split(". ")))
    lengthy = [n for line, n in repeated.items() if len(line.split()) >= 10]
    assert max(lengthy) > 100


def test_the_second_edition_starts_from_its_own_values_on_the_command_line() -> None:
    given = parse(TrainArguments, ["--phantom.edition", "2"], "train", None).config
    assert given == second_edition(tiny())
    assert (given.phantom.missing, given.phantom.isointense) == (0.25, 0.25)
    assert given.phantom.test >= 512
    chosen = ["--preset=smoke", "--phantom.edition=2", "--phantom.missing=0.1"]
    other = parse(TrainArguments, chosen, "train", None).config
    assert (other.phantom.missing, other.phantom.test) == (0.1, smoke().phantom.test)
    assert parse(TrainArguments, [], "train", None).config == tiny()
    made = prepare_phantom(["--preset", "smoke", "--phantom.edition", "2"])(Path("o"))
    assert made.config == second_edition(smoke()).phantom
    assert PhantomConfig.model_validate({"edition": 2}).missing == 0.25


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few patients of the second edition, by number."""
    root = tmp_path_factory.mktemp("second")
    for index in range(10):
        write_patient(root / study_id(index), index, EDITION_2)
    return root


def test_a_patient_of_the_second_edition_is_a_function_of_seed_and_number(
    second: Path, tmp_path: Path
) -> None:
    larger = EDITION_2.model_copy(update={"train": 99})
    write_patient(tmp_path / study_id(3), 3, larger)
    for path in sorted(tmp_path.rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (second / path.relative_to(tmp_path)).read_bytes()
    other = EDITION_2.model_copy(update={"seed": 8})
    write_patient(tmp_path / "other" / study_id(3), 3, other)
    assert (tmp_path / "other" / study_id(3) / "report.txt").read_bytes() != (
        second / study_id(3) / "report.txt"
    ).read_bytes()


def test_ct_and_mri_have_poses_of_their_own_and_masks_that_fit(second: Path) -> None:
    centres = []
    for index in range(10):
        study = read_patient(second / study_id(index), "train")
        both = []
        for place in (0, 1):
            source = study.views[place]
            if source is None:
                continue
            assert source.mask is not None
            image = nib.load(source.mask)
            assert image.shape == (EDITION_2.ct_shape, EDITION_2.mri_shape)[place]
            voxels = np.argwhere(np.asarray(image.dataobj) > 0).mean(axis=0)
            both.append(image.affine[:3, :3] @ voxels + image.affine[:3, 3])
        if len(both) == 2:
            centres.append(both[0] - both[1])
    apart = np.abs(np.array(centres))
    assert len(centres) >= 3
    assert apart.max(axis=0).min() > 1.0  # along every axis
    assert apart.max() < 45.0


def test_poses_of_modalities_are_independent_and_within_bounds() -> None:
    found = [second_of(EDITION_2, index, Z).poses for index in range(400)]
    rows = np.array(
        [[[*one[m].shift, *one[m].angles, one[m].field] for m in ("ct", "mri")] for one in found]
    )
    assert np.abs(rows[:, :, :6]).max() <= 8.0
    assert np.abs(rows[:, :, :6]).max(axis=(0, 1)).min() > 7.5
    between = np.corrcoef(rows[:, 0].T, rows[:, 1].T)[:7, 7:]
    assert np.abs(between).max() < 0.2  # 400 patients: one deviation is 0.05


def test_untold_findings_are_labels_of_what_is_there_and_show_in_one_series_only(
    second: Path,
) -> None:
    for index in range(10):
        folder = second / study_id(index)
        truth = json.loads((folder / "truth.json").read_text())
        labels = dict(read_patient(folder, "train").labels)
        for name, modality in SHOWN_BY.items():
            told = {True: "yes", False: "no"}[truth["untold"][name]]
            assert labels.get(name) == (told if modality in truth["shown"] else None)
        assert labels["grade"] == str(truth["latents"]["grade"])
    drawn = [second_of(EDITION_2, index, Z).untold for index in range(600)]
    flags = np.array([list(one.as_dict().values()) for one in drawn if one])
    np.testing.assert_allclose(flags.mean(axis=0), 0.4, atol=0.09)
    assert np.abs(np.corrcoef(flags.T) - np.eye(6)).max() < 0.2


def test_each_untold_finding_changes_its_own_images_and_no_others(tmp_path: Path) -> None:
    config = EDITION_2.model_copy(update={"missing": 0.0, "isointense": 0.0})
    own = second_of(config, 1, Z)
    head = Head.draw(Z, np.random.default_rng(0))
    for modality, shape in (("ct", (64, 64, 12)), ("mri", (64, 64, 12))):
        label = tissue(head, shape, pose=own.poses[modality])
        for name, shown_by in SHOWN_BY.items():
            one = Untold(**{other: other == name for other in SHOWN_BY})
            marks = replace(own, untold=one).marks(modality, head, label)
            where = {series: mask for series, found in marks.items() for mask, _ in found}
            assert bool(where) == (shown_by == modality)
            if where:
                assert len(where) == 1  # one sequence
                mask = next(iter(where.values()))
                assert mask.sum() > 8
                assert not (mask & np.isin(label, (EDEMA, TUMOUR, NECROSIS, ENHANCING))).any() or (
                    name == "shunt"
                )


def test_what_is_cut_of_long_reports_is_counted_word_by_word() -> None:
    texts = ["one two three four five", "one two", "左侧额叶", ""]
    tokenizer = train_tokenizer(texts, 200)
    for length in range(2, 9):
        found = cut(tokenizer, texts, length)
        seen = [tokenizer.encode(text, add_special_tokens=False).tokens for text in texts]
        assert [len(tokens) for tokens in seen] == [5, 2, 4, 0]  # every word is one token
        assert found.lost == sum(max(len(tokens) - (length - 2), 0) for tokens in seen)
        assert found.long == sum(len(tokens) > length - 2 for tokens in seen)
        assert (found.reports, found.words, found.longest) == (4, 11, 7)
        assert (str(found.lost) in found.sentence) == bool(found.lost)


def heads(config: PhantomConfig) -> tuple[np.ndarray, np.ndarray]:
    """The outlines of CT and MRI of some patients, without files."""
    both: tuple[list, list] = ([], [])
    for index in range(40):
        head = Head.draw(Z, np.random.default_rng([6, index]))
        poses = second_of(config, index, Z).poses
        for modality, found in zip(("ct", "mri"), both, strict=True):
            label = tissue(head, (64, 64, 9), pose=poses[modality])
            found.append(label[4] > 0)
    return np.array(both[0]), np.array(both[1])


def test_the_outline_of_the_head_finds_the_mri_of_a_ct_in_the_first_edition_only() -> None:
    who = np.arange(40)
    for config, low, high in ((SMALL, 0.9, 1.0), (EDITION_2, 0.0, 0.35)):
        ct, mri = heads(config)
        reached = rank(overlap(ct, mri), who, who).hits(5).mean()
        assert low <= reached <= high  # chance 0.125


def ellipse(x0: float, y0: float, scale: float, tilt: float) -> np.ndarray:
    y, x = np.mgrid[:64, :64] - 31.5
    u = (x - x0) * np.cos(tilt) + (y - y0) * np.sin(tilt)
    v = (y - y0) * np.cos(tilt) - (x - x0) * np.sin(tilt)
    return (u / (17 * scale)) ** 2 + (v / (23 * scale)) ** 2 < 1


def test_alignment_takes_place_tilt_and_size_away_and_leaves_the_shape() -> None:
    straight = ellipse(0, 0, 1, 0)[None]
    moved = np.stack([ellipse(3, -2, 1.15, 0.14), ellipse(-4, 1, 0.9, -0.1)])
    assert overlap(straight, moved).max() < 0.85
    assert overlap(aligned(straight), aligned(moved)).min() > 0.93
    narrow = straight & (np.abs(np.arange(64) - 31.5) < 11)
    assert overlap(aligned(straight), aligned(narrow)).max() < 0.9
    assert not aligned(np.zeros((1, 64, 64), bool)).any()


def test_masks_are_the_head_and_an_absent_image_has_none() -> None:
    image = torch.zeros(2, 4, 32, 32)
    image[0, :, 8:24, 8:24] = 1.0
    found = masks(image, "mri")
    assert found[0].sum() == 32**2
    assert found[0, 16:48, 16:48].all()
    assert not found[1].any()
