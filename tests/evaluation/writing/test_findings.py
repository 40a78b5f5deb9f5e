"""Findings are read back from every wording the generated reports use."""

import re

import numpy as np
import pytest

from rfpmss.data.phantom.latents import draw, millimetres
from rfpmss.data.phantom.text import write_report
from rfpmss.evaluation.page.examples import compare, finding_accuracy
from rfpmss.evaluation.writing.findings import agree, read_findings


def written(seed, language="english"):
    rng = np.random.default_rng([9, seed])
    latents = draw(rng)
    return latents, write_report(latents, rng, language)


@pytest.mark.parametrize("language", ["english", "chinese"])
def test_every_stated_finding_is_read_as_it_was_meant(language):
    seen = set()
    for seed in range(400):
        latents, text = written(seed, language)
        truth = dict(latents.labels()) | {"size": str(millimetres(latents.size))}
        found = read_findings(text)
        assert found == {name: truth[name] for name in found}, text
        assert {
            "side",
            "lobe",
            "size",
            "enhancement",
            "necrosis",
            "edema",
            "density",
            "grade",
        } <= set(found)
        seen |= set(found)
    assert seen == {
        *("side", "lobe", "size", "enhancement", "necrosis", "edema"),
        *("hemorrhage", "calcification", "density", "proliferation", "grade"),
    }


def test_what_a_text_does_not_say_is_not_made_up():
    assert read_findings("The patient came by train.") == {}
    assert read_findings("患者乘火车来院。") == {}


@pytest.mark.parametrize("seed", range(5))
def test_blanks_that_a_tokenizer_leaves_between_characters_change_nothing(seed):
    _, text = written(seed, "chinese")
    spaced = re.sub(r"(?<=[\u4e00-\u9fff])(?=[\u4e00-\u9fff])", " ", text)
    assert spaced != text
    assert read_findings(spaced) == read_findings(text)


@pytest.mark.parametrize(("told", "right"), [("20", True), ("24", True), ("25", False)])
def test_sizes_count_as_right_within_four_millimetres(told, right):
    assert agree("size", told, "20") is right


def test_the_wrong_side_is_found_though_one_word_differs():
    wrong = compare(
        "A 20 mm mass in the left frontal lobe.", "A 20 mm mass in the right frontal lobe."
    )
    assert {item.name: item.right for item in wrong} == {"side": False, "lobe": True, "size": True}


def test_accuracy_is_counted_over_the_originals_that_state_a_finding():
    originals = [
        "Left frontal lesion.",
        "Right frontal lesion.",
        "Right frontal lesion.",
        "Nothing.",
    ]
    texts = ["Left frontal lesion.", "Left frontal lesion.", "", "Left frontal lesion."]
    table = {row["finding"]: row for row in finding_accuracy(texts, originals)}
    assert table["side"] == {
        **{"finding": "side", "n": 3, "told": 2, "missed": 1, "contradicted": 1},
        **{"right": pytest.approx(1 / 3), "majority": pytest.approx(2 / 3)},
        **{"low": 0.0, "high": 1.0},
    }
    assert table["lobe"]["majority"] == 1.0


def test_copies_of_a_patient_s_reports_do_not_narrow_the_interval():
    originals = ["Left frontal lesion."] * 12
    texts = [f"{side} frontal lesion." for side in ("Left", "Right") for _ in range(6)]
    alone = finding_accuracy(texts[::3], originals[::3])[0]
    patients = [f"p{place // 3}" for place in range(12)]
    copied = finding_accuracy(texts, originals, patients)[0]
    assert (copied["low"], copied["high"]) == (alone["low"], alone["high"])
    assert copied["right"] == alone["right"] == 0.5
