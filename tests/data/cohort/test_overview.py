"""The cohort page: what it counts, what it hides, that it is alone in the world."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfpmss.data.cohort import counts
from rfpmss.data.cohort.manifest import Row, read, write
from rfpmss.data.cohort.page.overview import write_page


@pytest.fixture
def folder(tmp_path):
    """Four patients: one without CT, one with a telling report, two series left out."""
    (tmp_path / "shards").mkdir()
    rng = np.random.default_rng(0)
    for view, channels, count in (("ct", 3, 3), ("mri", 4, 4)):
        images = rng.integers(0, 255, (count, 1, channels, 16, 16)).astype(np.uint8)
        np.save(tmp_path / "shards" / f"{view}-00000.npy", images)
    rows = []
    for n in range(4):
        about = {
            "patient_id": f"p-{n}",
            "study_id": f"s-{n}",
            "split": "train" if n < 3 else "test",
            "labels": f"grade={4 if n < 3 else 2};side=left",
        }
        if n < 3:
            geometry = {"spacing": f"0.5 0.5 {(1, 1, 5)[n]}", "grid": "512 512 40"}
            rows.append(Row(**about, **geometry, modality="ct", path=f"shards/ct-00000.npy#{n}"))
        rows.append(Row(**about, modality="mri", path=f"shards/mri-00000.npy#{n}"))
        report = (
            "A left mass, 20190102." if n else "A left mass of Mrs Quiltwright <script>x</script>"
        )
        rows.append(Row(**about, modality="report", report=report, derived="yes" * (n == 1)))
    write(tmp_path / "manifest.csv", rows)
    (tmp_path / "rejections.csv").write_text(
        "path,reason\nwing/Quiltwright_Ada/1.dcm,<b>LocalizerError</b>: a localizer\n"
        "wing/2.dcm,<b>LocalizerError</b>: a localizer\n"
    )
    return tmp_path


def bars(page: str, title: str) -> dict[str, int]:
    section = re.search(rf"<h2[^>]*>{title}</h2>(.*?)</section>", page, re.DOTALL)
    assert section, title
    found = re.findall(r"<dt>(.*?)</dt>\s*<dd><span.*?></span>(\d+)", section.group(1), re.DOTALL)
    return {name: int(count) for name, count in found}


def test_the_page_counts_where_published_reports_are_from(folder):
    rows = read(folder / "manifest.csv")
    assert "Origin of the reports" not in write_page(folder).read_text()
    told = [replace(row, origin="TextBraTS" if row.patient_id == "p-1" else "") for row in rows]
    write(folder / "manifest.csv", told)
    page = write_page(folder).read_text()
    assert bars(page, "Origin of the reports") == {"the source itself": 3, "TextBraTS": 1}


def test_the_page_counts_what_the_folder_holds(folder):
    page = write_page(folder).read_text()
    assert "4 studies of 4 patients" in page
    assert "1 reports are derived" in page
    assert bars(page, "What studies have") == {"ct + mri + report": 3, "mri + report": 1}
    assert re.findall(r"<tr><td>(\d+)</td>\s*<th scope=\"row\">(.*?)</th>", page) == [
        ("2", "&lt;b&gt;LocalizerError&lt;/b&gt;: a localizer")
    ]
    line = (
        r"<th scope=\"row\">{}</th><td>(\d)</td><td>(\d)</td>\s*<td>(\d)</td>\s*<td[^>]*>\s*(\d+) %"
    )
    assert re.findall(line.format("train"), page) == [("3", "3", "3", "0")]
    assert re.findall(line.format("test"), page) == [("1", "1", "0", "100")]
    assert re.findall(line.format("all"), page) == [("4", "4", "3", "25")]
    assert page.index(">train</th>") < page.index(">test</th>") < page.index(">all</th>")
    assert bars(page, "Side of the prepared images, pixels") == {
        "mri: 16 (1 per study)": 4,
        "ct: 16 (1 per study)": 3,
    }
    assert page.count("data:image/png;base64,") == 7


def test_reasons_that_differ_in_numbers_alone_are_counted_together(tmp_path):
    """447 cases of BraTS2021 are merged into scans of UPENN-GBM: no 447 lines on the page."""
    path = tmp_path / "rejections.csv"
    lines = [f"x{n},DuplicateError: the case is the scan {n}; keep one" for n in range(447)]
    lines += ["y,GapError: 3 mm; z"] * 9 + ["y,GapError: 5 mm; z"] * 2
    path.write_text("\n".join(["path,reason", *lines]) + "\n")
    shown = dict(counts.rejected(path))
    assert sum(shown.values()) == 447 + 11
    assert shown.pop("DuplicateError: 443 further reasons of this class") == 443
    assert shown.pop("GapError: 3 mm; z") == 9
    assert shown.pop("GapError: 5 mm; z") == 2
    assert len(shown) == counts.TOLD
    assert all("the case is the scan" in reason for reason in shown)


def test_the_page_shows_spacing_and_size_of_the_sources_and_the_length_of_reports(folder):
    page = write_page(folder).read_text()
    assert bars(page, "ct: spacing in the plane, mm") == {"0.5": 3}
    assert bars(page, "ct: distance of slices, mm") == {"1": 2, "5": 1}
    assert bars(page, "ct: voxels") == {"512 × 512 × 40": 3}
    assert bars(page, "Words in a report") == {"3": 3, "9": 1}


@given(values=st.lists(st.floats(0.05, 3000).map(lambda v: round(v, 2)), min_size=1, max_size=80))
def test_a_histogram_counts_every_value_once_in_few_bars(values):
    chart = counts._histogram("x", values)
    assert sum(bar.count for bar in chart.bars) == len(values)
    assert len(chart.bars) <= counts.BINS + 1
    assert max(bar.share for bar in chart.bars) == 1


def test_a_histogram_puts_values_where_its_bars_say():
    values = [1.0, 2.5, 9.9, 10.0, 12.5, 19.9, 31.0, 33.0, 37.5, 39.9]
    shown = {bar.name: bar.count for bar in counts._histogram("x", values).bars}
    assert shown == {
        **{"0 to 5": 2, "5 to 10": 1, "10 to 15": 2, "15 to 20": 1, "20 to 25": 0},
        **{"25 to 30": 0, "30 to 35": 2, "35 to 40": 2},
    }


def test_chinese_characters_count_one_by_one_and_numbers_not_at_all():
    assert counts._split("左侧额叶 24 mm, WHO 4级") == ["左", "侧", "额", "叶", "mm", "who", "级"]


def test_the_page_hides_paths_reports_and_what_few_patients_share(folder):
    page = write_page(folder).read_text()
    for secret in ("Quiltwright", "quiltwright", "wing/", "20190102", "<script", "grade=2"):
        assert secret not in page
    assert bars(page, "Reports with a word") == {"a": 4, "left": 4, "mass": 4}
    assert bars(page, "Label grade") == {"4": 3}


def test_the_page_needs_nothing_from_outside(folder):
    page = write_page(folder).read_text()
    assert "default-src 'none'" in page
    assert not re.findall(r"https?:|//[a-z]|url\(|@import|<link|<iframe", page)


def test_a_folder_without_reports_or_rejections_has_a_page_too(folder):
    (folder / "rejections.csv").unlink()
    row = Row(patient_id="p", study_id="s", modality="ct", path="shards/ct-00000.npy#0")
    write(folder / "manifest.csv", [row])
    page = write_page(folder).read_text()
    assert "not split" in page
    assert "Words" not in page


def test_the_policy_of_the_page_allows_its_own_style_and_nothing_else(folder):
    import base64
    import hashlib
    import html

    text = html.unescape(write_page(folder).read_text())
    style = text.partition("<style>")[2].partition("</style>")[0]
    policy = text.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0]
    known = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src 'sha256-{known}'"
    )
    assert "unsafe" not in policy
    assert not re.search(r"\sstyle=", text)
    used = set(re.findall(r'class="(?:share|bar) ([sw]\d+)"', text))
    assert used
    assert all(f".{name} {{" in style for name in used)


def test_the_images_of_a_patient_stand_together_with_their_sides(folder):
    page = write_page(folder).read_text()
    studies = re.findall(r"<li><h3>(s-\d) .*?</h3>(.*?)</li>", page, re.DOTALL)
    views = {name: re.findall(r"<figcaption>(\w+)<", rest) for name, rest in studies}
    assert views == {**dict.fromkeys(("s-0", "s-1", "s-2"), ["ct", "mri"]), "s-3": ["mri"]}
    assert page.count('class="edge first" aria-hidden="true">R<') == 7
    assert page.count('class="edge last" aria-hidden="true">L<') == 7
    assert "Radiological convention" in page


def test_the_page_warns_where_no_held_out_report_is_left_to_score(folder):
    assert "is held out" in write_page(folder).read_text()  # one of four
    rows = read(folder / "manifest.csv")
    write(folder / "manifest.csv", [replace(row, split="train") for row in rows])
    page = write_page(folder).read_text()
    assert "None of the 4 reports is held out (split test): no retrieval" in page
    assert "--splits" in page
    halves = [replace(row, split="test" if row.study_id > "s-1" else "train") for row in rows]
    write(folder / "manifest.csv", halves)
    assert "is held out" not in write_page(folder).read_text()
