"""What a prepared cohort holds, in numbers: the table and the charts of its page."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rfpmss.common.files import opened_text
from rfpmss.config import MODALITIES, VIEWS
from rfpmss.data import errors
from rfpmss.data.cohort.manifest import Row, jail, unpack_labels
from rfpmss.data.cohort.shards import open_shard
from rfpmss.data.cohort.splits import SPLITS

SHARED = 3
"""Fewest patients that must share a word or a label's value before it is shown."""
BINS = 8
"""Bars of a histogram."""
MOST = 12
"""Bars of a chart of names."""
REASONS = 8
"""Reasons that a summary in the terminal shows."""
TOLD = 4
"""Reasons of one class of rejections that are told in full."""


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
class Line:
    """One split in the table."""

    split: str
    patients: int
    studies: int
    has: tuple[int, ...]
    """Studies with each of MODALITIES."""


def table(rows: Sequence[Row]) -> list[Line]:
    """Patients, studies and modalities of each split, and of all if there are several."""
    names = sorted({row.split for row in rows}, key=lambda s: (SPLITS.index(s) if s else 9, s))
    lines = [_line(s or "not split", [row for row in rows if row.split == s]) for s in names]
    return lines if len(lines) == 1 else [*lines, _line("all", rows)]


def _line(name: str, rows: Sequence[Row]) -> Line:
    return Line(
        name,
        len({row.patient_id for row in rows}),
        len({row.study_id for row in rows}),
        tuple(len({r.study_id for r in rows if r.modality == m}) for m in MODALITIES),
    )


def visits(rows: Sequence[Row]) -> list[Line]:
    """Patients by how many visits they have, and the modalities of those visits."""
    studies: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        studies[row.patient_id].add(row.study_id)

    by_count: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_count[len(studies[row.patient_id])].append(row)

    return [
        _line(f"{count} {'visit' if count == 1 else 'visits'}", mine)
        for count, mine in sorted(by_count.items())
    ]


def charts(rows: Sequence[Row], folder: Path) -> list[Chart]:
    """All charts that have something to show."""
    made = [
        _names("What studies have", _together(rows)),
        *_geometry(rows),
        _names("Side of the prepared images, pixels", _sides(rows, folder)),
        _histogram("Words in a report", [len(_split(row.report)) for row in rows if row.report]),
        _names("Origin of the reports", _origins(rows)),
        _vocabulary(rows),
        *_labels(rows),
    ]
    return [chart for chart in made if chart.bars]


def _origins(rows: Sequence[Row]) -> Counter[str]:
    """Of each report where it is from, if any is from a published set."""
    origins = [row.origin for row in rows if row.report]
    return Counter(origin or "the source itself" for origin in origins if any(origins))


def rejected(path: Path) -> list[tuple[str, int]]:
    """Reasons, the most frequent first, without the paths, which may hold names.

    Many reasons hold numbers and are told once each: of every class the most frequent stand for
    themselves and the others are counted together, so that the list stays short.
    """
    if not path.is_file():
        return []

    with opened_text(path, newline="") as file:
        counts = Counter(row.get("reason") or "" for row in csv.DictReader(file))

    shown: Counter[str] = Counter()
    further: dict[str, list[int]] = defaultdict(list)
    for reason, count in counts.most_common():
        kind = reason.partition(":")[0]
        if sum(other.partition(":")[0] == kind for other in shown) < TOLD:
            shown[reason] = count
        else:
            further[kind].append(count)

    for kind, rest in further.items():
        shown[f"{kind}: {len(rest)} further reasons of this class"] = sum(rest)

    return shown.most_common()


def reasons(texts: Iterable[str], most: int = REASONS) -> list[tuple[str, int]]:
    """Why files were left out, in words and how often; rare reasons are counted together.

    Args:
        texts: class, reason and cure, of `rfpmss.data.errors.describe`; they name nobody.
        most: lines to give.

    Example:
        >>> reasons(["TextError: the file is empty; correct the text and save it as UTF-8"])
        [('the file is empty', 1)]
    """
    counts = Counter(map(_reason, texts)).most_common()
    rest = sum(count for _, count in counts[most:])
    return [*counts[:most], *([("for other reasons", rest)] if rest else [])]


def _reason(text: str) -> str:
    name, _, said = text.partition(": ")
    cure = getattr(getattr(errors, name, None), "cure", None)
    return said.removesuffix(f"; {cure}") if cure else said.rpartition("; ")[0] or said


def _bars(counts: Iterable[tuple[str, int]]) -> tuple[Bar, ...]:
    shown = list(counts)
    top = max((count for _, count in shown), default=1)
    return tuple(Bar(name, count, count / top) for name, count in shown)


def _names(title: str, counts: Counter[str], note: str = "", most: int = MOST) -> Chart:
    """The most frequent first."""
    if len(counts) > most:
        note = f"{note}; " * bool(note) + f"the {most} most frequent of {len(counts)}"
    return Chart(title, _bars(counts.most_common(most)), note)


def _histogram(title: str, values: Sequence[float | int]) -> Chart:
    """Values in their order: each one where they are few, else in bins of a round width."""
    counts = Counter(values)
    if len(counts) <= BINS:
        return Chart(title, _bars((f"{value:g}", counts[value]) for value in sorted(counts)))

    width = _round_width((max(values) - min(values)) / BINS)
    places = Counter(int(value / width + 1e-9) for value in values)
    return Chart(
        title,
        _bars(
            (f"{place * width:g} to {(place + 1) * width:g}", places[place])
            for place in range(min(places), max(places) + 1)
        ),
        "the upper end of a bar belongs to the next one",
    )


def _round_width(width: float) -> float:
    """The next 1, 2 or 5 times a power of ten.

    Example:
        >>> [_round_width(w) for w in (0.13, 3.0, 7.0)]
        [0.2, 5.0, 10.0]
    """
    power = 10.0 ** (len(str(int(width))) - 1) if width >= 1 else 1.0
    while width < power:
        power /= 10

    step = next(step for step in (1, 2, 5, 10) if width <= step * power * (1 + 1e-9))
    return float(f"{step * power:.6g}")


def _together(rows: Sequence[Row]) -> Counter[str]:
    has: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        has[row.study_id].add(row.modality)
    return Counter(
        " + ".join(m for m in MODALITIES if m in modalities) for modalities in has.values()
    )


def _geometry(rows: Sequence[Row]) -> Iterable[Chart]:
    """Spacing and size of the images as they came."""
    for view in VIEWS:
        mine = [row for row in rows if row.modality == view]
        spacing = [[float(v) for v in row.spacing.split()] for row in mine if row.spacing]
        grids = Counter(" × ".join(row.grid.split()) for row in mine if row.grid)
        if view == "pathology":
            yield _histogram("pathology: microns per pixel", [s[0] for s in spacing])
            yield _names("pathology: pixels of the slide", grids)
            continue
        yield _histogram(f"{view}: spacing in the plane, mm", [round(s[0], 2) for s in spacing])
        depth = [round(s[2], 2) for s in spacing if len(s) == 3]
        yield _histogram(f"{view}: distance of slices, mm", depth)
        yield _names(f"{view}: voxels", grids)


def _sides(rows: Sequence[Row], folder: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, number in Counter(row.path.rpartition("#")[0] for row in rows if row.path).items():
        shard = open_shard(jail(folder, name))
        view = Path(name).name.partition("-")[0]
        counts[f"{view}: {shard.shape[-1]} ({shard.shape[1]} per study)"] += number

    return counts


def _vocabulary(rows: Sequence[Row]) -> Chart:
    patients: dict[str, set[str]] = defaultdict(set)
    reports: Counter[str] = Counter()
    for row in rows:
        for word in sorted(set(_split(row.report))):
            patients[word].add(row.patient_id)
            reports[word] += 1

    shown = Counter({w: n for w, n in reports.items() if len(patients[w]) >= SHARED})
    note = f"of {len(reports)} words in all; those of fewer than {SHARED} patients are not shown"
    return Chart("Reports with a word", _bars(shown.most_common(2 * MOST)), note)


def _split(text: str) -> list[str]:
    """Words of letters, Chinese characters one by one; no numbers, which may be dates or ids."""
    return re.findall(r"[\u3400-\u9fff]|[^\W\d_\u3400-\u9fff]+", text.lower())


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
            yield _names(f"Label {name}", Counter(shared), note, most=16)
