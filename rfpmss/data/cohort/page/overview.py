"""The cohort page: one self-contained HTML file on what a prepared folder holds.

It shows counts, gaps, sizes and thumbnails. It shows no report, no path, no label that only a few
patients share and no word that fewer than `counts.SHARED` patients' reports hold.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections import Counter
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
from rfpmss.data.cohort.splits import RAISE, unscored
from rfpmss.data.identity import reading
from rfpmss.data.privacy.unlabelled import rare
from rfpmss.data.study import SIDES

PAGE = "cohort.html"
REJECTIONS = "rejections.csv"
THUMBNAILS = 8
"""Studies shown."""
SIDE = 128
"""Side of a thumbnail, pixels."""
_CHANNEL = {"ct": 0, "mri": 3}
"""Shown of the grey views: the brain window and FLAIR."""


@dataclass(frozen=True)
class Picture:
    """A thumbnail."""

    view: str
    uri: str
    sides: tuple[str, str] | None
    """Of the patient, at the left and the right edge."""


@dataclass(frozen=True)
class Shown:
    """A study whose images are shown."""

    name: str
    split: str
    pictures: list[Picture]


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
    words = rare.reports(folder)
    page = template.render(
        style=style,
        policy=Markup(_policy(style)),  # noqa: S704 - ours, not data
        studies=len({row.study_id for row in rows}),
        patients=len({row.patient_id for row in rows}),
        table=table(rows),
        visits=visits(rows),
        reading=reading.read(folder),
        doubles=duplicates.read(folder),
        rare=words[0],
        blanked=words[1],
        modalities=MODALITIES,
        derived=sum(row.derived == "yes" for row in rows),
        rejected=rejected(folder / REJECTIONS),
        charts=charts(rows, folder),
        pictures=_shown(rows, folder),
        unscored=unscored(Counter(row.split for row in rows if row.report)),
        way_out=RAISE,
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


def _shown(rows: Sequence[Row], folder: Path) -> list[Shown]:
    """Some studies spread over the cohort, with the first image of each view.

    Those with the most views come first, so that one patient's images can be compared.
    """
    images: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.path and row.modality in VIEWS:
            images.setdefault(row.study_id, {}).setdefault(row.modality, row)

    most = max(map(len, images.values()), default=0)
    full = [name for name, views in images.items() if len(views) == most]
    rest = [name for name in images if name not in set(full)]
    chosen = _spread(full, THUMBNAILS)
    chosen += _spread(rest, THUMBNAILS - len(chosen))
    missing = {view for view in VIEWS if not any(view in images[name] for name in chosen)}
    for view in sorted(missing):  # no view of the cohort stays unseen
        chosen += _spread([name for name in rest if view in images[name]], 1)

    return [
        Shown(
            name,
            next(iter(images[name].values())).split,
            [_picture(view, images[name][view], folder) for view in VIEWS if view in images[name]],
        )
        for name in chosen
    ]


def _spread(names: list[str], count: int) -> list[str]:
    """``count`` of the names, or all, at even distances."""
    places = np.linspace(0, len(names) - 1, max(min(count, len(names)), 0)).round().astype(int)
    return [names[place] for place in places]


def _picture(view: str, row: Row, folder: Path) -> Picture:
    name, _, number = row.path.rpartition("#")
    shard = open_shard(jail(folder, name))
    image = shard[int(number), shard.shape[1] // 2 if row.voxel else 0]
    return Picture(view, _png(view, image), None if view == "pathology" else SIDES)


def _png(view: str, image: UInt8[np.ndarray, "c h w"]) -> str:
    channel = min(_CHANNEL.get(view, 0), len(image) - 1)  # a box of MRI has one
    shown = image[channel] if view in _CHANNEL else image[:3].transpose(1, 2, 0)
    if view == "mri" and np.ptp(shown) == 0:  # no FLAIR: the first sequence that there is
        shown = next((channel for channel in image if np.ptp(channel)), shown)

    picture = Image.fromarray(np.ascontiguousarray(shown))
    picture.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    picture.save(data, "PNG", optimize=True)

    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
