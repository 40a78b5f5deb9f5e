"""What a radiologist relies on: sides, windows, sequences, misses, figures that say too little."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from dataclasses import replace
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rfpmss.commands import view
from rfpmss.config import MODALITIES, smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.cohort.splits import unscored
from rfpmss.data.study import Source, Study
from rfpmss.data.views import Choice, encode, read_views
from rfpmss.evaluation.attention.slices import Mark, Stack, channels
from rfpmss.evaluation.page.examples import compare, finding_accuracy
from rfpmss.evaluation.page.patient import Around, Looker, Patient
from rfpmss.evaluation.page.pictures import channels_of
from rfpmss.evaluation.page.targets import targets
from rfpmss.evaluation.page.write import fill
from rfpmss.runs.opened import Opened

PATIENT = Patient(
    study_id="S1",
    split="test",
    labels=(),
    around=Around(["S1"]),
    stacks=[],
    report="",
    generated="",
    compared=[],
    words=[],
    first=[],
    nearest=[],
)


def drawn(patient):
    return fill("patient.html", {"patient": patient, "studies": ["S1"]})


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def stack(view, codes, absent=()):
    """What the page shows of stored grey values."""
    images = (codes.astype(np.float32) - 128) / 32
    marks = (Mark("", None, None),) * len(codes)
    return Stack(view, codes.shape[-1], channels(view, images), marks, absent)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_a_mark_in_the_left_brain_lies_at_the_l_of_the_page_whatever_the_file_s_order(
    axes, tmp_path
):
    """All 48 orders and directions of axes; the place of the mark is told by the affine alone."""
    for signs in product((-1.0, 1.0), repeat=3):
        affine = np.eye(4)
        affine[:3, :3] = 0
        affine[list(axes), range(3)] = signs
        places = np.stack(np.meshgrid(*[np.arange(24.0)] * 3, indexing="ij"), -1)
        world = (places - 11.5) @ affine[:3, :3].T  # millimetres to the right, front and head
        array = np.random.default_rng(0).normal(30, 2, (24, 24, 24)).astype(np.float32)
        array[(world[..., 0] < -6) & (world[..., 1] > 6)] = 70.0  # left, at the front
        path = tmp_path / "scan.nii"
        nib.save(nib.Nifti1Image(array, affine), path)
        made = read_views("ct", Source(kind="nifti", paths=(path,)), Choice(size=24))
        page = drawn(replace(PATIENT, stacks=[stack("ct", made.images)]))
        image = pixels(re.search(r'<image href="(data:image/png[^"]*)"', page)[1]).astype(int)
        x, y = (np.argwhere(image > (image.min() + image.max()) / 2).mean(0))[::-1]
        first, last = re.search(
            r'class="edge first"[^>]*>(\w)<.*?class="edge last"[^>]*>(\w)<', page
        ).groups()
        assert (last if x > 11.5 else first) == "L"
        assert y < 11.5  # the front is at the top
    assert "Radiological convention" in page


def test_every_sequence_is_shown_as_it_is_stored_and_absent_ones_are_said():
    codes = np.random.default_rng(0).integers(0, 256, (2, 4, 8, 8)).astype(np.uint8)
    codes[:, 2] = 128  # no T2
    images = (codes.astype(np.float32) - 128) / 32
    assert np.array_equal(encode(images), codes)
    assert channels_of("mri", images).absent == ("T2",)
    made = stack("mri", codes, channels_of("mri", images).absent)
    assert [one.caption for one in made.channels] == ["T1", "T1 Gd", "FLAIR"]
    for one, place in zip(made.channels, (0, 1, 3), strict=True):
        for uri, stored in zip(one.uris, codes[:, place], strict=True):
            assert np.array_equal(pixels(uri), stored)
    assert "Not in this study: T2." in drawn(replace(PATIENT, stacks=[made]))
    same = np.repeat(codes[:, :1], 4, axis=1)
    assert [one.caption for one in stack("mri", same).channels] == ["sequence not known"]
    assert [one.caption for one in stack("ct", codes[:, :3]).channels] == [
        *("brain window", "subdural window", "bone window")
    ]


def test_the_window_of_a_page_shows_its_ends_as_black_and_white():
    codes = np.random.default_rng(0).integers(90, 160, (1, 4, 16, 16)).astype(np.uint8)
    made = stack("mri", codes)
    page = drawn(replace(PATIENT, stacks=[made]))
    found = re.findall(r'slope="([\d.]+)" intercept="(-?[\d.]+)"', page)
    assert len(found) == 3 * 4
    ends = np.percentile(codes, [0.5, 99.5])
    assert all(one.window == pytest.approx(ends) for one in made.channels)  # one for all
    for slope, start in found:
        assert float(slope) * ends / 255 + float(start) == pytest.approx([0, 1], abs=1e-4)
    assert len(re.findall(r"<image [^>]*filter=", page)) == 4
    blank = stack("mri", np.full((1, 4, 4, 4), 128, np.uint8))
    assert blank.channels[0].window[0] < blank.channels[0].window[1]


def test_attention_is_off_until_it_is_asked_for():
    codes = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8)).astype(np.uint8)
    marked = replace(
        stack("ct", codes), marks=(Mark("data:,", (1.0, 1.0, 2.0, 2.0), (2.0, 2.0, 3.0, 3.0)),)
    )
    page = drawn(replace(PATIENT, stacks=[marked]))
    assert 'id="attention-switch">' in page  # and not checked
    assert page.count('<use class="heat"') == 3
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert ".heat, .predicted-box { display: none; }" in style
    shown = ":root:has(#attention-switch:checked) :is(.heat, .predicted-box) { display: inline; }"
    assert shown in style


SENTENCES = {
    "side": {"left": "A mass on the left.", "right": "A mass on the right."},
    "lobe": {"frontal": "It is frontal.", "temporal": "It is temporal."},
    "size": {"20": "It measures 20 mm.", "40": "It measures 40 mm."},
    "necrosis": {"yes": "Necrosis.", "no": "No necrosis."},
    "calcification": {"yes": "Calcified foci.", "no": "No calcification."},
    "enhancement": {"ring": "Ring enhancement.", "none": "No enhancement."},
}
STATED = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(sorted(values)) for name, values in SENTENCES.items()}
)


def written(findings):
    return " ".join(SENTENCES[name][value] for name, value in findings.items())


@given(told=STATED, true=STATED)
def test_what_a_generated_report_misses_or_contradicts_is_counted_by_sets(told, true):
    there = {(name, value) for name, value in true.items() if value not in ("no", "none")}
    said = {(name, value) for name, value in told.items() if value not in ("no", "none")}
    wanted = Counter(
        missed=sum(name not in told for name, _ in there),
        added=sum(name not in true for name, _ in said),
        agrees=len(told.items() & true.items()),
        contradicted=len(told.keys() & true.keys()) - len(told.items() & true.items()),
    )
    found = compare(written(told), written(true))
    kinds = Counter(item.kind for item in found)
    assert {item.name for item in found} == told.keys() | true.keys()
    assert +Counter({name: n for name, n in kinds.items() if name != "unsaid"}) == +wanted
    order = ["missed", "contradicted", "added", "agrees", "unsaid"]
    assert [item.kind for item in found] == sorted(
        (item.kind for item in found), key=order.index
    )  # a miss matters most
    page = drawn(replace(PATIENT, compared=found))
    for kind in order:
        assert page.count(f'<li class="{kind}">') == kinds[kind]
    assert (f"Findings: {wanted['missed']} missed" in page) == bool(found)
    for row in finding_accuracy([written(told)], [written(true)]):
        assert row["missed"] == int(row["finding"] not in told)
        assert row["missed"] + row["contradicted"] + round(row["right"] * row["n"]) == row["n"]


def several_visits():
    """Three patients of four studies, the second with two visits, of all splits."""
    about = (("a", "A", "train"), ("b1", "B", "test"), ("b2", "B", "test"), ("c", "C", "val"))
    views = (Source(kind="shard", paths=()), None, None)
    return tuple(
        Study(
            study_id=study, patient_id=patient, split=split, views=views, report=("x", None)[n % 2]
        )
        for n, (study, patient, split) in enumerate(about)
    )


def test_the_list_and_the_ways_to_the_patients_before_and_after(tmp_path):
    cohort = Cohort(several_visits(), ((None,) * 3,) * 4, smoke().data, (None,) * 4)
    looker = Looker(Opened(torch.nn.Identity(), cohort, None, smoke()), tmp_path)
    assert looker.studies() == ["b1", "b2", "c", "a"]
    ways = {name: looker._around(looker.index(name)) for name in looker.studies()}
    assert ways == {
        "b1": Around(["b1", "b2"], "", "c"),
        "b2": Around(["b1", "b2"], "", "c"),
        "c": Around(["c"], "b1", "a"),
        "a": Around(["a"], "c", ""),
    }
    pytest.importorskip("flask")
    client = view.application(looker).test_client()
    text = client.get("/", headers={"Host": "localhost"}).text
    lines = re.findall(r"<tr><th scope=\"row\"><a [^>]*>(\w+)</a></th>(.*?)</tr>", text)
    cells = {name: re.findall(r"<td>(.*?)</td>", rest) for name, rest in lines}
    assert cells["b1"] == ["test", "ct", "–", "–", "–"]
    assert cells["a"][-1] == "report"
    assert [cells[name][0] for name in looker.studies()] == ["test", "test", "val", "train"]
    assert all(f">{name}</th>" in text for name in MODALITIES)
    assert 'id="filter"' in text
    missing = client.get("/elsewhere", headers={"Host": "localhost"})
    assert (missing.status_code, missing.text) == (
        404,
        "there is no such page; / lists the studies\n",
    )
    page = drawn(replace(PATIENT, around=ways["c"]))
    assert re.search(r'rel="prev" href="/study/b1"', page)
    assert re.search(r'rel="next" href="/study/a"', page)
    assert 'rel="next"' not in drawn(replace(PATIENT, around=ways["a"]))
    assert "Visits of this patient: <b" in drawn(replace(PATIENT, around=ways["b1"], study_id="b1"))


@pytest.mark.parametrize(
    ("reports", "said"),
    [
        ({}, ""),
        ({"train": 5, "val": 1}, "none of the 6 reports is held out"),
        ({"train": 5, "test": 1}, "one of the 6 reports is held out"),
        ({"train": 5, "test": 2}, ""),
        ({"test": 2}, ""),
    ],
)
def test_too_few_held_out_reports_are_said(reports, said):
    assert unscored(reports).startswith(said)
    assert bool(unscored(reports)) == bool(said)


def test_there_are_no_targets_for_patients_that_nobody_generated(tmp_path):
    (tmp_path / "evaluation").mkdir()
    about = tmp_path / "evaluation" / "about.json"
    about.write_text('{"generated": false}')
    assert targets(tmp_path) == []
    about.write_text('{"generated": true}')
    assert len(targets(tmp_path)) == 7


@pytest.mark.parametrize(
    ("n", "chance", "met", "note"),
    [
        (9, 0.5, None, "too few patients: 9"),
        (10, 1.0, None, "chance is 1"),
        (10, 0.5, True, ""),
    ],
)
def test_a_target_is_neither_met_nor_missed_where_the_figure_says_nothing(
    n, chance, met, note, tmp_path
):
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "retrieval_full.json").write_text(
        f'[{{"query": "ct", "gallery": "mri", "n": {n}, "r10": 1.0, "r10_low": 0.9, '
        f'"r10_high": 1.0, "chance_r10": {chance}, "ceiling_r10": 1.0}}]'
    )
    [found] = [one for one in targets(tmp_path) if one.name == "ct to mri, R@10"]
    assert found.met is met
    assert found.note.startswith(note)
