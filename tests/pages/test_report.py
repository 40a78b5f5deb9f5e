"""The page is whole, escaped, offline and navigable, for a run as train.py leaves it."""

import base64
import hashlib
import html
import importlib
import json
import re
import shlex
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import tyro

from rfpmss import evaluation
from rfpmss.config import MODALITIES, smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.evaluation.page import write
from rfpmss.evaluation.page.sources import PARTS
from rfpmss.evaluation.page.write import render
from rfpmss.evaluation.prompted.table import Cases, by_group, figures, gap, rule
from rfpmss.evaluation.retrieval.embed import embed
from rfpmss.evaluation.structure import anchors
from rfpmss.model.rfpmss import RFPMSS

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'}}{{ 7*7 }}"

GRID = {
    **{"title": "ours", "table": "4a", "query": "study", "gallery": "report", "seeds": 3},
    **{"r5": 0.5123, "r5_low": 0.4, "r5_high": 0.6, "r5_sd": 0.02},
    **{"r10": 0.7, "r10_low": 0.6, "r10_high": 0.8, "difference_r5": None, "p_holm": None},
}
FEWER = {"title": "K / 4, K' / 4", "table": "4b", "r5": 0.4321, "r10": 0.6543}
PAIRED = {"difference_r5": -0.0456, "p_holm": 0.0321}
TUNED = {
    **{"start": "random weights", "mode": "full", "fraction": 0.1, "auc": 0.7123},
    **{"auc_low": 0.6, "auc_high": 0.8, "auc_sd": 0.02, "difference": 0.1234},
    **{"difference_low": 0.05, "difference_high": 0.2},
    **{"p_delong": 0.01, "p_bootstrap": 0.02, "p_holm": 0.03},
}
EXPORTED = ("targets", "cohort", "findings", "attention", "structure", "anchors")
PLAN = {"label": "grade", "positive": ["4"], "views": ["ct", "mri"], "seeds": [0, 1, 2]}
BEAM = {
    **{"search": "beam 4", "finding": "side", "n": 16, "right": 0.7654},
    **{"low": 0.5, "high": 0.9, "majority": 0.6},
}


class Elements(HTMLParser):
    """Every start tag with its attributes, and the texts of script and style."""

    def __init__(self):
        super().__init__()
        self.found, self.texts, self.open = [], {"script": [], "style": []}, None

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.open = tag

    def handle_data(self, data):
        if self.open in self.texts:
            self.texts[self.open].append(data)
            self.open = None


class Captions(HTMLParser):
    """The caption of every table, and the captions a figure stands under, its own the last."""

    def __init__(self):
        super().__init__()
        self.tables, self.figures, self.open, self.inside = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        if tag == "figure":
            self.open.append([tag, ""])
        elif tag in ("caption", "figcaption"):
            self.inside = tag
            self.tables += [""] if tag == "caption" else []
        elif tag == "img" and self.open:  # a picture of a patient, without a figure of its own
            self.open[-1][0] = tag

    def handle_endtag(self, tag):
        if tag == self.inside:
            self.inside = ""
        elif tag == "figure":
            kind = self.open[-1][0]
            self.figures += [" ".join(text for _, text in self.open)] if kind == tag else []
            self.open.pop()

    def handle_data(self, data):
        if self.inside == "caption":
            self.tables[-1] += data
        elif self.inside == "figcaption":
            self.open[-1][1] += data


class Cells(HTMLParser):
    """The caption and the texts of the data cells of every table."""

    def __init__(self):
        super().__init__()
        self.tables, self.inside = [], ""

    def handle_starttag(self, tag, attrs):
        if tag in ("caption", "td"):
            self.inside = tag
            self.tables += [["", []]] if tag == "caption" else []
        if tag == "td":
            self.tables[-1][1].append("")

    def handle_endtag(self, tag):
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data):
        if self.inside == "caption":
            self.tables[-1][0] += data
        elif self.inside == "td":
            self.tables[-1][1][-1] += data


def prompted():
    """What ``rfpmss findings`` writes: one finding scored, and one of too few patients."""
    rng = np.random.default_rng(0)
    cases = Cases(rng.normal(size=60), np.arange(60) % 2 == 0, np.arange(60))
    few = cases.take(np.arange(60) < 19)
    name = {"finding": ATTACK, "language": "english"}
    chosen = rule(cases)
    values = np.repeat(["a", ATTACK], 30)
    groups = list(by_group(cases, chosen, "scanner", values))
    own = [figures(cases, chosen), figures(few, chosen), figures(cases, rule(few))]
    return {
        **{"validation": ATTACK, "findings": [name | {"truth": "labels"} | row for row in own]},
        **{"groups": [name | row for row, _ in groups], "gaps": [name | (gap(groups) or {})]},
    }


NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")


def leaves(content):
    """Every number and text of a JSON file."""
    if isinstance(content, dict | list):
        inner = content.values() if isinstance(content, dict) else content
        return [leaf for part in inner for leaf in leaves(part)]
    return [content]


def untold(cells, found):
    """Numbers of cells that no entry gives: as it is, rounded, in percent, or within a text."""
    told = {word for leaf in found if isinstance(leaf, str) for word in NUMBER.findall(leaf)}
    for value in (abs(leaf) for leaf in found if isinstance(leaf, int | float)):
        for scaled in (value, 100 * value):
            told |= {f"{scaled:.{digits}f}" for digits in range(4)}
            told |= {f"{scaled:g}", f"{scaled:.2g}"}
    said = [word for cell in cells for word in NUMBER.findall(cell.replace(",", ""))]
    return [word for word in said if word not in told]


@pytest.fixture(scope="module")
def parts(smoke_cohort):
    config = smoke()
    torch.manual_seed(0)
    cohort = Cohort.open(smoke_cohort, config.data)
    tokenizer = train_tokenizer(cohort.reports("train"), config.data.vocabulary)
    return RFPMSS(config.model, config.data, tokenizer.get_vocab_size()), cohort, tokenizer, config


@pytest.fixture(scope="module")
def content():
    """What the page of `written` was filled with."""
    return {}


@pytest.fixture(scope="module")
def written(parts, content, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    terms = ("loss", "language", "contrast", "nce", "consistency")
    lines = [
        json.dumps({"step": i + 1, "seconds": 0.1, "lr": 0.1} | dict.fromkeys(terms, 5 / (i + 1)))
        for i in range(20)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    model, cohort, tokenizer, config = parts
    rows = evaluation.run(model, cohort, tokenizer, config, folder)
    tables = folder / "evaluation"
    shutil.copy(tables / "retrieval_full.json", tables / "retrieval-abroad_full.json")
    (tables / "ablation.json").write_text(
        json.dumps([GRID, GRID | FEWER, GRID | {"title": ATTACK} | PAIRED])
    )
    (tables / "finetune.json").write_text(json.dumps({"plan": PLAN, "rows": [TUNED]}))
    (tables / "zeroshot_findings.json").write_text(json.dumps(prompted()))
    (tables / "writing.json").write_text(json.dumps({"findings": [BEAM], "wording": []}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "render", lambda found: content.update(found) or render(found))
        return folder, rows, evaluation.page(folder, model, cohort, tokenizer, config).read_text()


@pytest.fixture(scope="module")
def elements(written):
    parser = Elements()
    parser.feed(written[2])
    return parser


def test_the_page_holds_the_grid_and_the_other_cohort(written):
    folder, rows, text = written
    part = text[text.index('id="ablation"') :].split("</section>")[0]
    cells = ("<small>40.0–60.0</small>", ">51.2 ", ">-4.6<", ">0.032<")
    assert all(cell in part for cell in cells)
    assert "<script>alert" not in part
    told = html.unescape(part[part.index("Numbers of anchors") :])
    assert "K / 4, K' / 4: R@5 43.2, R@10 65.4; ours: R@5 51.2, R@10 70.0" in told
    assert ATTACK not in told
    abroad = text[text.index('id="elsewhere-1"') :].split("</section>")[0]
    assert abroad.count('<th scope="row">') == len(rows)
    assert "retrieval-abroad_full.json" in abroad


SOURCE = re.compile(r"From (evaluation/\S+), written by (python -m rfpmss\.[^.]+)\.")


def test_every_table_and_figure_tells_its_file_and_command(written):
    folder, _, text = written
    captions = Captions()
    captions.feed(text)
    assert len(captions.tables) > 10
    assert len(captions.figures) > 20
    for caption in (*captions.tables, *captions.figures):
        assert SOURCE.search(" ".join(caption.split())), caption
    told = {}
    for section in re.findall(r"<section id=.*?</section>", text, flags=re.DOTALL):
        plain = html.unescape(" ".join(re.sub(r"<[^>]*>", "", section).split()))
        found = dict(SOURCE.findall(plain))
        assert found, plain[:40]
        told |= found
    named = {file.format(name="abroad") for file, _ in PARTS.values()}
    assert {file.removeprefix("evaluation/") for file in told} == named
    for file, command in told.items():
        assert (folder / file).is_file()
        module, *words = shlex.split(command)[2:]
        tyro.cli(importlib.import_module(module).Arguments, args=words)


def test_every_number_of_every_table_stands_in_the_file_that_its_caption_names(written):
    folder, _, text = written
    parser = Cells()
    parser.feed(text)
    checked = set()
    for caption, cells in parser.tables:
        file, _ = SOURCE.search(" ".join(caption.split())).groups()
        found = leaves(json.loads((folder / file).read_text()))
        assert not untold(cells, found), caption
        # The same cells beside other figures would be noticed.
        other = [0.77 * leaf + 0.0123 if isinstance(leaf, float) else leaf for leaf in found]
        if "about.json" not in file and any("." in cell for cell in cells):
            assert untold(cells, other), caption
            checked.add(file.removeprefix("evaluation/"))
    assert checked >= {
        *("retrieval_full.json", "retrieval-abroad_full.json", "ablation.json", "writing.json"),
        *("findings.json", "finetune.json", "attention.json", "structure.json", "anchors.json"),
        "targets.json",
    }


def test_the_page_tells_which_targets_are_met(written):
    folder, _, text = written
    part = html.unescape(text[text.index('id="targets"') :].split("</section>")[0])
    rows = json.loads((folder / "evaluation" / "targets.json").read_text())
    lines = re.findall(r'<tr><th scope="row">.*?</tr>', part)
    assert len(lines) == len(rows) == 7
    words = {True: "✓ met", False: "✗ missed", None: "not known"}
    for line, row in zip(lines, rows, strict=True):
        assert words[row["met"]] in line
        assert all(f">{row[name]}<" in line for name in ("name", "wanted", "source", "command"))
        for name in ("value", "chance", "ceiling"):
            assert ("–" if row[name] is None else f"{row[name]:.3f}") in line
    told = {row["name"]: row["met"] for row in rows}
    assert told["AUC at 10 % labels above random weights"] is True
    assert told["side right in generated reports"] is False
    assert told["attention IoU after fine-tuning, MRI"] is None


def test_what_the_page_shows_of_single_patients_stands_in_its_files(written):
    folder, _, text = written

    def read(name):
        return json.loads((folder / "evaluation" / name).read_text())

    for row, single in zip(read("attention.json"), read("attention_studies.json"), strict=True):
        assert [row[name] for name in ("view", "method", "n")] == [
            *(single["view"], single["method"], len(single["studies"]))
        ]
        assert row["iou"] == pytest.approx(np.mean(single["iou"]))
        assert row["pointing"] == pytest.approx(np.mean(single["pointing"]))
        assert row["pointing_low"] <= row["pointing"] <= row["pointing_high"]
    for example in read("examples.json"):
        assert f"at place {example['rank']:g} of {example['gallery']}" in text
        assert all(f"{hit['similarity']:.3f}" in text for hit in example["hits"])
    for pair in read("anchors.json")["comparisons"]:
        first, second = np.array(pair["assigned"])
        assert (pair["shared"], pair["differing"]) == (
            *((first & second).sum(), (first ^ second).sum()),
        )
        assert f"on the anchors of {pair['anchors']}: {pair['shared']} of" in text
    curves = read("curves.json")
    assert curves["step"] == list(range(1, 21))
    assert curves["loss"][3] == 5 / 4
    about = read("about.json")
    assert f"{about['parameters']:,}" in text
    assert {row["split"]: row["studies"] for row in about["counts"]} == {"train": 48, "test": 16}


def test_findings_by_sentences_are_shown_with_groups_and_the_worst(written, content):
    text = section(written[2], "prompted")
    assert text.count("not scored: 10 patients with it, 9 without") == 1
    assert text.count("no threshold and temperature: of validation 10 patients with it") == 1
    assert "interval that holds 0" in text
    assert "Findings by sentences" not in render(content | {"prompted": None})
    first = content["prompted"]["findings"][0]
    assert f"{first['auc']:.3f} {first['auc_low']:.3f}–{first['auc_high']:.3f}" in text


def section(text, name):
    part = text[text.index(f'id="{name}"') :].split("</section>")[0]
    return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", part).split()))


@pytest.mark.parametrize("n", [1, 9, 10, 128])
def test_few_patients_are_called_too_few(written, content, n):
    rows = [row | {"n": n} for row in content["rows"]]
    text = render(content | {"rows": rows})
    few = n < 10
    assert ("Too few patients to tell." in section(text, "retrieval")) == few
    assert section(text, "retrieval").count("too few") == len(rows) * few
    summary = section(text, "summary")
    assert ("too few patients to tell" in summary) == few
    assert (" % 95 % interval" in summary) != few


def test_a_score_above_its_ceiling_is_explained_where_it_stands(written, content):
    said = "a ceiling is an expectation, not a bound"
    below = [row | {"r5": 0.5, "ceiling_r5": 0.5} for row in content["rows"]]
    above = [below[0] | {"r5": 0.6}, *below[1:]]
    for rows, known in ((below, False), (above, True)):
        text = render(content | {"rows": rows, "targets": [], "elsewhere": []})
        assert (said in section(text, "retrieval")) == known
        assert section(text, "retrieval").count("below the score") == known
    study = [row | {"r5": 0.6} for row in below if row["query"] == "study"]
    assert said in section(render(content | {"rows": study}), "summary")
    target = {**content["targets"][0].__dict__, "value": 0.57, "ceiling": 0.531}
    text = section(render(content | {"targets": [target]}), "targets")
    assert "0.570 above its ceiling" in text
    assert said in text


def test_a_cohort_without_targets_or_held_out_reports_says_so(written, content):
    warned = "none of the 6 reports is held out"
    text = render(content | {"targets": [], "rows": [], "unscored": warned})
    assert "There are none for this cohort" in section(text, "targets")
    assert "missed" not in section(text, "targets")
    assert "None of the 6 reports is held out." in section(text, "summary")
    assert "cannot be scored" in section(text, "summary")
    assert warned not in section(written[2], "summary").lower()


def test_every_picture_of_a_scan_says_where_right_and_left_are(written):
    text = written[2]
    scans = re.findall(r'<div class="image">(.*?)</div>', text, re.DOTALL)
    assert len(scans) > 60
    for scan in scans:
        slide = "Slide" in re.search(r'(?:alt|aria-label)="([^"]*)"', scan)[1]
        assert ("the patient’s right at the left" in scan) != slide
        assert re.findall(r'class="edge \w+"[^>]*>(\w)<', scan) == ([] if slide else ["R", "L"])
    assert text.count("<img") + text.count('role="img" aria-label="MRI') == len(scans)


def test_all_pairs_are_scored_with_a_ceiling(written):
    folder, rows, _ = written
    table = json.loads((folder / "evaluation" / "retrieval.json").read_text())
    assert len(table) == len(rows) == 20
    assert all(entry["ceiling_r5"] >= entry["chance_r5"] - 1e-12 for entry in table)
    assert {entry["n"] for entry in table} == {16}


def test_the_page_can_reach_no_network(elements, written):
    text = written[2]
    assert not re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text, flags=re.IGNORECASE)
    for tag, attributes in elements.found:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("data:image/" if tag == "image" else "#")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


def test_the_policy_allows_exactly_the_style_and_script_of_the_page(elements):
    policy = next(a["content"] for t, a in elements.found if a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for kind in ("style", "script"):
        (text,) = elements.texts[kind]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_a_reader_without_eyes_finds_the_way(elements):
    tags = [tag for tag, _ in elements.found]
    assert tags.count("h1") == tags.count("main") == 1
    assert dict(elements.found)["html"]["lang"] == "en"
    assert all(a.get("alt") for t, a in elements.found if t == "img")
    assert all(
        a.get("aria-label") or a.get("aria-hidden") or a.get("class")
        for t, a in elements.found
        if t == "svg"
    )
    assert tags.count("table") == tags.count("caption")
    ids = [a["id"] for _, a in elements.found if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for t, a in elements.found if t == "a"}
    targets |= {a["aria-labelledby"] for _, a in elements.found if "aria-labelledby" in a}
    assert targets <= set(ids)


def test_every_section_is_filled(written):
    folder, _, text = written
    assert "not for clinical use" in text
    maps = len(json.loads((folder / "evaluation" / "structure.json").read_text())["maps"])
    # Losses, maps, what anchors carry, and one direction of the grid by numbers of anchors.
    assert text.count('class="chart"') == 5 + 2 * maps + 4 + 1
    assert maps == (2 if find_spec("umap") is None else 3)
    assert text.count("pip install 'multisk[umap]'") == 3 - maps
    assert text.count('class="reference-box"') == 8
    assert text.count('class="example"') == 4
    assert text.count('class="written"') == 6
    assert text.count('class="assignment"') == 5
    assert len(text) < 15e6
    patients = ["examples", "reports", "anchors", "structure", "retrieval_queries"]
    private = [folder / "evaluation" / f"{name}.json" for name in patients]
    assert {p.stat().st_mode & 0o777 for p in (*private, folder / "report.html")} == {0o600}
    assert {p.name for p in (folder / "evaluation").iterdir()} >= {
        *("retrieval.json", "retrieval_full.json", "retrieval.csv", "retrieval.tex"),
        *("findings.json", "reports.json", "anchors.json", "structure.json"),
        *("attention.json", "wording.json", "retrieval_queries.json"),
        *(f"{name}.{end}" for name in EXPORTED for end in ("csv", "tex")),
    }


def test_hostile_reports_and_names_stay_text(parts, tmp_path):
    model, cohort, tokenizer, config = parts
    studies = tuple(
        type(study)(**{**vars(study), "report": ATTACK, "study_id": ATTACK + str(i)})
        for i, study in enumerate(cohort.studies)
    )
    hostile = Cohort(studies, cohort.places, cohort.config, cohort.records)
    evaluation.run(model, hostile, tokenizer, config, tmp_path)
    text = evaluation.page(tmp_path, model, hostile, tokenizer, config).read_text()
    parser = Elements()
    parser.feed(text)
    assert [t for t, _ in parser.found].count("script") == 1
    assert all(a["src"].startswith("data:") for t, a in parser.found if t == "img")
    assert "{{ 7*7 }}" in text


def test_without_held_out_studies_there_is_still_a_page(parts, tmp_path, capsys):
    model, cohort, tokenizer, config = parts
    studies = tuple(type(s)(**{**vars(s), "split": "train"}) for s in cohort.studies)
    only = Cohort(studies, cohort.places, cohort.config, cohort.records)
    rows = evaluation.run(model, only, tokenizer, config, tmp_path)
    assert rows == []
    evaluation.print_table(rows)
    assert "no retrieval table" in capsys.readouterr().out
    assert (
        "nothing to retrieve"
        in evaluation.page(tmp_path, model, only, tokenizer, config).read_text()
    )


def test_an_assignment_takes_k_anchors_of_every_present_feature(parts):
    model, cohort, tokenizer, config = parts
    embeddings = embed(model, cohort, tokenizer, cohort.indices("test"), 5)
    embeddings.present[3, 1] = False
    assigned = anchors.assignments(model, embeddings, config.assignment)
    counts = assigned.sum(axis=-1)
    for a in range(len(MODALITIES)):
        assert (counts[embeddings.present[:, a], a] == config.assignment.k).all()
    assert not assigned[3, 1].any()
    table = anchors.overlap(assigned, embeddings.present, config.assignment.k)
    assert len(table) == 12
    entry = next(row for row in table if (row["first"], row["second"]) == ("ct", "report"))
    same = [np.logical_and(assigned[i, 0, 3], assigned[i, 3, 3]).sum() for i in range(16)]
    assert entry["same"] == pytest.approx(np.mean(same) / config.assignment.k)


def test_the_size_of_the_evaluation_batch_changes_nothing(parts):
    model, cohort, tokenizer, _ = parts
    one, many = (embed(model, cohort, tokenizer, cohort.indices("test"), n) for n in (3, 16))
    assert np.allclose(one.joint, many.joint, atol=1e-5)
    assert np.allclose(one.study, many.study, atol=1e-5)
    assert one.patient.tolist() == many.patient.tolist()


BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_real_browser_runs_the_script_and_refuses_nothing(written, tmp_path):
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--v=0",
    ]
    run = subprocess.run(
        [
            BROWSER,
            *options,
            f"--user-data-dir={tmp_path}",
            "--dump-dom",
            written[0] / "report.html",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in run.stderr, run.stderr
    seen = Elements()
    seen.feed(run.stdout)
    sortable = [a for t, a in seen.found if t == "th" and "aria-sort" in a]
    buttons = [a for t, a in seen.found if t == "button"]
    assert len(buttons) == len(sortable) + 2  # the light, and the reset of the window
    assert not [a for a in buttons if "hidden" in a]
