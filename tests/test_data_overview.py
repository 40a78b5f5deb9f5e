"""The cohort page: what it counts, what it hides, that it is alone in the world."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rfpmss.data.manifest import Row, write
from rfpmss.data.overview import write_page


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
            rows.append(Row(**about, modality="ct", path=f"shards/ct-00000.npy#{n}"))
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
    section = re.search(rf"<h2>{title}</h2>(.*?)</section>", page, re.DOTALL)
    assert section, title
    found = re.findall(r"<dt>(.*?)</dt>\s*<dd><span.*?></span>(\d+)", section.group(1), re.DOTALL)
    return {name: int(count) for name, count in found}


def test_the_page_counts_what_the_folder_holds(folder):
    page = write_page(folder).read_text()
    assert "4 studies of 4 patients" in page
    assert "1 reports are derived" in page
    assert bars(page, "What studies have") == {"ct + mri + report": 3, "mri + report": 1}
    assert bars(page, "Files left out, by reason") == {
        "&lt;b&gt;LocalizerError&lt;/b&gt;: a localizer": 2
    }
    assert bars(page, "Side of the prepared images, pixels") == {
        "mri: 16 (1 per study)": 4,
        "ct: 16 (1 per study)": 3,
    }
    assert page.count("data:image/png;base64,") == 7


def test_the_page_hides_paths_reports_and_what_few_patients_share(folder):
    page = write_page(folder).read_text()
    for secret in ("Quiltwright", "quiltwright", "wing/", "20190102", "<script", "grade=2"):
        assert secret not in page
    assert bars(page, "Words of the reports") == {"a": 4, "left": 4, "mass": 4}
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
