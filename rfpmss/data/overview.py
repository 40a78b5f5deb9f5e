"""The cohort page: one self-contained HTML file on what a prepared folder holds.

It shows counts, gaps, sizes and thumbnails. It shows no report, no path, no label that only a few
patients share and no word that fewer than `SHARED` patients' reports hold.
"""

from __future__ import annotations

import base64
import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from rfpmss.config import MODALITIES, VIEWS
from rfpmss.data.manifest import NAME, Row, jail, read, unpack_labels
from rfpmss.data.shards import open_shard

PAGE = "cohort.html"
REJECTIONS = "rejections.csv"
SHARED = 3
"""Fewest patients that must share a word or a label's value before it is shown."""
THUMBNAILS = 8
SIDE = 128
"""Side of a thumbnail, pixels."""
_CHANNEL = {"ct": 0, "mri": 3}
"""Shown of the grey views: the brain window and FLAIR."""


@dataclass(frozen=True)
class Bar:
    """One bar of a chart."""

    name: str
    count: int
    share: float


@dataclass(frozen=True)
class Chart:
    """A titled list of bars."""

    title: str
    bars: tuple[Bar, ...]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A thumbnail."""

    study: str
    view: str
    split: str
    uri: str


def write_page(folder: Path) -> Path:
    """Write ``cohort.html`` beside a manifest.

    Args:
        folder: what ``rfpmss.prepare`` wrote; ``rejections.csv`` may be absent.

    Returns:
        Path of the page.
    """
    from jinja2 import Environment, StrictUndefined

    rows = read(folder / NAME)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page = environment.from_string(TEMPLATE).render(
        style=STYLE,
        studies=len({row.study_id for row in rows}),
        patients=len({row.patient_id for row in rows}),
        table=_table(rows),
        modalities=MODALITIES,
        derived=sum(row.derived == "yes" for row in rows),
        charts=_charts(rows, folder),
        pictures=_pictures(rows, folder),
    )
    path = folder / PAGE
    temporary = path.with_suffix(".tmp")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)
    return path


def _table(rows: Sequence[Row]) -> list[tuple[str, int, int, list[int]]]:
    """For each split: patients, studies, and studies with each modality."""
    result = []
    for split in sorted({row.split for row in rows}):
        mine = [row for row in rows if row.split == split]
        has = [len({r.study_id for r in mine if r.modality == m}) for m in MODALITIES]
        patients, studies = ({getattr(r, n) for r in mine} for n in ("patient_id", "study_id"))
        result.append((split or "not split", len(patients), len(studies), has))
    return result


def _charts(rows: Sequence[Row], folder: Path) -> list[Chart]:
    shards = _shapes(rows, folder)
    charts = [
        _chart("What studies have", _together(rows)),
        _chart("Side of the prepared images, pixels", shards),
        _chart("Words in a report", _lengths(rows), ordered=True),
        _chart(
            "Words of the reports",
            _words(rows),
            note=f"reports of each word; words of fewer than {SHARED} patients are not shown",
            most=30,
        ),
        *_labels(rows),
        _chart("Files left out, by reason", _rejected(folder / REJECTIONS)),
    ]
    return [chart for chart in charts if chart.bars]


def _chart(
    title: str, counts: Counter[str], note: str = "", most: int = 16, *, ordered: bool = False
) -> Chart:
    """Bars by size, or in the order given."""
    shown = list(counts.items()) if ordered else counts.most_common(most)
    top = max((count for _, count in shown), default=1)
    if len(counts) > len(shown):
        note = f"{note}; " * bool(note) + f"the {most} most frequent of {len(counts)}"
    return Chart(title, tuple(Bar(name, count, count / top) for name, count in shown), note)


def _together(rows: Sequence[Row]) -> Counter[str]:
    has: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        has[row.study_id].add(row.modality)
    return Counter(
        " + ".join(m for m in MODALITIES if m in modalities) for modalities in has.values()
    )


def _shapes(rows: Sequence[Row], folder: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, number in Counter(row.path.rpartition("#")[0] for row in rows if row.path).items():
        shard = open_shard(jail(folder, name))
        view = Path(name).name.partition("-")[0]
        counts[f"{view}: {shard.shape[-1]} ({shard.shape[1]} per study)"] += number
    return counts


def _lengths(rows: Sequence[Row]) -> Counter[str]:
    lengths = [len(_split(row.report)) for row in rows if row.report]
    if not lengths:
        return Counter()
    width = max(1, (max(lengths) - min(lengths)) // 10)
    counts = Counter((length // width) * width for length in lengths)
    return Counter({f"{low}-{low + width - 1}": counts[low] for low in sorted(counts)})


def _words(rows: Sequence[Row]) -> Counter[str]:
    patients: dict[str, set[str]] = defaultdict(set)
    reports: Counter[str] = Counter()
    for row in rows:
        for word in sorted(set(_split(row.report))):
            patients[word].add(row.patient_id)
            reports[word] += 1
    return Counter({w: n for w, n in reports.items() if len(patients[w]) >= SHARED})


def _split(text: str) -> list[str]:
    """Words of letters: no numbers, which may be dates or identifiers."""
    return re.findall(r"[^\W\d_]+", text.lower())


def _labels(rows: Sequence[Row]) -> Iterable[Chart]:
    patients: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        for name, value in unpack_labels(row.labels):
            patients[name][value].add(row.patient_id)
    for name, values in sorted(patients.items()):
        shared = {value: len(who) for value, who in values.items() if len(who) >= SHARED}
        hidden = len(values) - len(shared)
        if shared and len(shared) <= 16:
            note = f"patients; {hidden} values of fewer than {SHARED} are not shown" * bool(hidden)
            yield _chart(f"Label {name}", Counter(shared), note)


def _rejected(path: Path) -> Counter[str]:
    """Reasons without the paths, which may hold names."""
    if not path.is_file():
        return Counter()
    with path.open(newline="", encoding="utf-8") as file:
        return Counter(row.get("reason") or "" for row in csv.DictReader(file))


def _pictures(rows: Sequence[Row], folder: Path) -> list[Picture]:
    """The first image of some studies of each view, spread over the cohort."""
    result = []
    for view in VIEWS:
        mine = [row for row in rows if row.modality == view and row.path]
        for place in np.unique(np.linspace(0, len(mine) - 1, min(THUMBNAILS, len(mine))).round()):
            row = mine[int(place)]
            name, _, number = row.path.rpartition("#")
            image = open_shard(jail(folder, name))[int(number), 0]
            result.append(Picture(row.study_id, view, row.split, _png(view, image)))
    return result


def _png(view: str, image: UInt8[np.ndarray, "c h w"]) -> str:
    from PIL import Image

    shown = image[_CHANNEL[view]] if view in _CHANNEL else image[:3].transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(shown))
    picture.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    picture.save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #59636e; --paper: #fff;
  --line: #d1d9e0; --bar: #2f6fb7; --note: #fff3d6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --quiet: #9198a1; --paper: #0d1117;
  --line: #3d444d; --bar: #6ba6e8; --note: #33290d; } }
body { margin: 0 auto; max-width: 70rem; padding: 1rem 1.5rem 3rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .6rem; }
.warning { background: var(--note); padding: .6rem .9rem; border-radius: .4rem; }
.quiet { color: var(--quiet); font-size: .9rem; margin: .2rem 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child { text-align: left; } td { font-variant-numeric: tabular-nums; }
.charts { columns: 20rem; column-gap: 3rem; }
.charts section { break-inside: avoid; display: inline-block; width: 100%; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .15rem .8rem;
  margin: 0; font-size: .9rem; } dt { max-width: 22rem; overflow-wrap: anywhere; }
dd { margin: 0; display: flex; align-items: center; gap: .5rem; min-width: 6rem; }
.bar { height: .8rem; background: var(--bar); border-radius: .15rem; min-width: 2px; }
.thumbs { display: flex; flex-wrap: wrap; gap: .8rem; list-style: none; padding: 0; }
figure { margin: 0; width: 8rem; } figcaption { font-size: .75rem; overflow-wrap: anywhere; }
figure img { width: 8rem; height: 8rem; object-fit: contain; background: #000; display: block; }
.sides { display: flex; justify-content: space-between; font-size: .75rem; color: var(--quiet); }
"""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Prepared cohort</title>
<style>{{ style|safe }}</style>
</head>
<body>
<header>
<h1>Prepared cohort</h1>
<p>{{ studies }} studies of {{ patients }} patients.
{% if derived %}<strong>{{ derived }} reports are derived from masks or tables,</strong>
not written by a person.{% endif %}</p>
<p class="warning" role="note"><strong>Research software, not for clinical use.</strong>
The page holds images of patients: treat it with the same care as the data.</p>
</header>
<main>
<section aria-labelledby="splits">
<h2 id="splits">Splits</h2>
<div class="wide" tabindex="0" role="region" aria-labelledby="splits"><table>
<thead><tr><th scope="col">split</th><th scope="col">patients</th><th scope="col">studies</th>
{% for name in modalities %}<th scope="col">with {{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for split, who, count, has in table %}<tr><th scope="row">{{ split }}</th>
<td>{{ who }}</td><td>{{ count }}</td>{% for n in has %}<td>{{ n }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
</section>
<div class="charts">
{% for chart in charts %}
<section><h2>{{ chart.title }}</h2>
{% if chart.note %}<p class="quiet">{{ chart.note }}</p>{% endif %}
<dl>{% for bar in chart.bars %}<dt>{{ bar.name }}</dt>
<dd><span class="bar" style="width:{{ '%.1f' % (bar.share * 70) }}%"></span>{{ bar.count }}</dd>
{% endfor %}</dl></section>
{% endfor %}
</div>
<section aria-labelledby="images">
<h2 id="images">Images</h2>
<p class="quiet">As training sees them: CT in the brain window, MRI as FLAIR, a tile of the slide.
Axial slices show the patient's right (R) on the left.</p>
<ul class="thumbs" role="list">
{% for picture in pictures %}
<li><figure><img src="{{ picture.uri }}" alt="{{ picture.view }} of {{ picture.study }}">
<div class="sides" aria-hidden="true">{% if picture.view != 'pathology' %}<span>R</span>
<span>L</span>{% else %}&nbsp;{% endif %}</div>
<figcaption>{{ picture.view }}, {{ picture.study }} ({{ picture.split or 'not split' }})
</figcaption></figure></li>
{% endfor %}
</ul>
</section>
</main>
</body>
</html>
"""
