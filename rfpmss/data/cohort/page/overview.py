"""The cohort page: one self-contained HTML file on what a prepared folder holds.

It shows counts, gaps, sizes and thumbnails. It shows no report, no path, no label that only a few
patients share and no word that fewer than `counts.SHARED` patients' reports hold.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from rfpmss.common.files import read_text, write_text
from rfpmss.config import MODALITIES, VIEWS
from rfpmss.data.cohort import duplicates
from rfpmss.data.cohort.counts import charts, rejected, table, visits
from rfpmss.data.cohort.manifest import NAME, Row, jail, read
from rfpmss.data.cohort.shards import open_shard
from rfpmss.data.identity import reading

PAGE = "cohort.html"
REJECTIONS = "rejections.csv"
THUMBNAILS = 8
SIDE = 128
"""Side of a thumbnail, pixels."""
_CHANNEL = {"ct": 0, "mri": 3}
"""Shown of the grey views: the brain window and FLAIR."""


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
    rows = read(folder / NAME)
    here = Path(__file__).parent
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(read_text(here / "cohort.html"))
    style = read_text(here / "cohort.css") + _lengths()
    page = template.render(
        style=style,
        policy=Markup(_policy(style)),  # noqa: S704 - ours, not data
        studies=len({row.study_id for row in rows}),
        patients=len({row.patient_id for row in rows}),
        table=table(rows),
        visits=visits(rows),
        reading=reading.read(folder),
        doubles=duplicates.read(folder),
        modalities=MODALITIES,
        derived=sum(row.derived == "yes" for row in rows),
        rejected=rejected(folder / REJECTIONS),
        charts=charts(rows, folder),
        pictures=_pictures(rows, folder),
    )
    path = folder / PAGE
    write_text(path, page + "\n")
    return path


def _lengths() -> str:
    """A class for each per cent of a share and of a bar: the policy allows no style attributes."""
    rules = [
        f".s{n} {{ --share: {n / 100}; }} .w{n} {{ width: {0.7 * n:.1f}%; }}" for n in range(101)
    ]
    return "\n".join(rules) + "\n"


def _policy(style: str) -> str:
    """Nothing but images in the page and this style, known by its hash."""
    known = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src 'sha256-{known}'"
    )


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
    shown = image[_CHANNEL[view]] if view in _CHANNEL else image[:3].transpose(1, 2, 0)
    if view == "mri" and np.ptp(shown) == 0:  # no FLAIR: the first sequence that there is
        shown = next((channel for channel in image if np.ptp(channel)), shown)
    picture = Image.fromarray(np.ascontiguousarray(shown))
    picture.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    picture.save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
