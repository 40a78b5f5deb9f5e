"""What the demonstration should reach, read from a run's JSON files, and whether it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rfpmss.evaluation.page.sources import source
from rfpmss.evaluation.page.tables import (
    read_object,
    read_rows,
    trusted,
    write_csv,
    write_json,
    write_latex,
)
from rfpmss.evaluation.statistics import ENOUGH

GAIN = 0.10
"""Area under the ROC curve above random weights that pretraining should give at few labels."""

FEW = 0.1
"""Share of labels at which it should."""

RANDOM = "random weights"
"""Name of the untrained start in ``finetune.json``."""

SIDES_RIGHT = 0.9
"""Share of generated reports that should name the right side."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One figure that a run should reach."""

    name: str
    wanted: str
    """The rule, in words."""
    value: float | None
    """None where the file with the figure is not there."""
    low: float | None = None
    """95 % interval."""
    high: float | None = None
    chance: float | None = None
    ceiling: float | None = None
    """What a reader without error reaches; None where that is not known."""
    met: bool | None = None
    """None where the figure or the ceiling is not known, or says nothing."""
    note: str = ""
    """Why a known figure says nothing."""
    source: str
    """File under ``evaluation`` and the row in it."""
    command: str
    """What writes that file."""


def targets(run_dir: Path) -> list[Target]:
    """The targets of a run in the order in which they are told, known or not.

    There are none on a cohort that was not generated: nobody knows what it allows.

    Args:
        run_dir: with ``evaluation/retrieval_full.json``, ``finetune.json``, ``attention.json`` and
            ``findings.json``, those of them whose command was run, and ``about.json``.
    """
    parts = ("about", "retrieval", "labels", "attention", "findings")
    with trusted(*(run_dir / source(part).file for part in parts)):
        about = read_object(run_dir / source("about").file) or {}
        if not about.get("generated", True):
            return []
        retrieval = {(row["query"], row["gallery"]): row for row in _read(run_dir, "retrieval")}
        tuned = read_object(run_dir / source("labels").file)
        return [
            *_retrieval(retrieval, run_dir),
            _gain([] if tuned is None else tuned["rows"], run_dir),
            _attention(_read(run_dir, "attention"), run_dir),
            _sides(_read(run_dir, "findings"), run_dir),
        ]


def write_targets(run_dir: Path) -> list[Target]:
    """Write ``evaluation/targets.json``, ``.csv`` and ``.tex`` of a run; return what they hold."""
    found, path = targets(run_dir), run_dir / source("targets").file
    rows = [asdict(target) for target in found]
    write_json(path, rows)
    write_csv(path.with_suffix(".csv"), rows)
    write_latex(path.with_suffix(".tex"), [readable(target) for target in found])

    return found


def readable(target: Target) -> dict[str, str]:
    """The cells of a printed table.

    Example:
        >>> known = Target(name="a", wanted="b", value=0.5, met=True, source="", command="")
        >>> readable(known)["Value (95 %)"], readable(known)["Met"]
        ('0.500 (-, -)', 'met')
    """

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    return {
        **{"Target": target.name, "Wanted": target.wanted},
        "Value (95 %)": f"{number(target.value)} ({number(target.low)}, {number(target.high)})",
        **{"Chance or control": number(target.chance), "Ceiling": number(target.ceiling)},
        "Met": {True: "met", False: "missed", None: target.note or "not known"}[target.met],
    }


def _retrieval(rows: Mapping[tuple[str, str], Mapping[str, Any]], run_dir: Path) -> list[Target]:
    found = []
    for query, gallery, k, times, share in (
        ("study", "report", 5, 20.0, 0.5),
        ("pathology", "report", 10, None, 0.8),
        ("mri", "report", 10, None, None),
        ("ct", "mri", 10, None, None),
    ):
        row = rows.get((query, gallery), {})
        value, chance, ceiling = (row.get(f"{name}r{k}") for name in ("", "chance_", "ceiling_"))
        rules, held = [], []
        if times is not None:
            rules.append(f"at least {times:g} x chance")
            held.append(_least(value, chance, times))
        if share is not None:
            rules.append(f"at least {share:g} of the ceiling")
            held.append(_least(value, ceiling, share))
        if not rules:
            rules.append("interval above chance")
            held.append(None if value is None else bool(row[f"r{k}_low"] > row[f"chance_r{k}"]))
        judged, note = _judged(met=_all(held), n=row.get("n"), chance=chance)
        found.append(
            Target(
                name=f"{query} to {gallery}, R@{k}",
                wanted=" and ".join(rules),
                value=value,
                low=row.get(f"r{k}_low"),
                high=row.get(f"r{k}_high"),
                chance=chance,
                ceiling=ceiling,
                met=judged,
                note=note,
                **_told("retrieval", f"{query}, {gallery}, r{k}", run_dir),
            )
        )

    return found


def _gain(rows: Sequence[Mapping[str, Any]], run_dir: Path) -> Target:
    """The better mode of the random start is the one to beat."""
    of_random = [row for row in rows if row["start"] == RANDOM and row["fraction"] == FEW]
    best = max(of_random, key=lambda row: row["auc"], default=None)
    value = None if best is None else best["difference"]
    mode = "any mode" if best is None else best["mode"]

    return Target(
        name="AUC at 10 % labels above random weights",
        wanted=f"at least {GAIN:+.2f}",
        value=value,
        chance=0.0,
        met=None if value is None else value >= GAIN,
        low=None if best is None else best["difference_low"],
        high=None if best is None else best["difference_high"],
        ceiling=None if best is None else 1 - best["auc"],
        **_told("labels", f"{RANDOM}, {mode}, {FEW:g}, difference", run_dir),
    )


def _attention(rows: Sequence[Mapping[str, Any]], run_dir: Path) -> Target:
    """The tuned method that is best on validation patients, against the best control on test."""
    mri = [row for row in rows if row["view"] == "mri"]
    tuned = [row for row in mri if not row["control"] and row["method"].startswith("fine-tuned")]
    chosen = max(tuned, key=lambda row: row["validation_iou"], default=None)
    controls = [row["iou"] for row in mri if row["control"]]
    bar = max(controls, default=None)
    method = "fine-tuned" if chosen is None else chosen["method"]
    above = None if chosen is None or bar is None else bool(chosen["iou"] > bar)
    met, note = _judged(met=above, n=chosen.get("n") if chosen else None)

    return Target(
        name="attention IoU after fine-tuning, MRI",
        wanted="above every control",
        value=chosen["iou"] if chosen else None,
        low=chosen["iou_low"] if chosen else None,
        high=chosen["iou_high"] if chosen else None,
        chance=bar,
        ceiling=chosen.get("ceiling") if chosen else None,
        met=met,
        note=note,
        **_told("attention", f"mri, {method}, iou", run_dir),
    )


def _sides(rows: Sequence[Mapping[str, Any]], run_dir: Path) -> Target:
    row = next((row for row in rows if row["finding"] == "side"), None)
    enough = row["right"] >= SIDES_RIGHT if row else None
    met, note = _judged(met=enough, n=row["n"] if row else None)
    return Target(
        name="side right in generated reports",
        wanted=f"at least {SIDES_RIGHT:g}",
        value=row["right"] if row else None,
        low=row.get("low") if row else None,
        high=row.get("high") if row else None,
        chance=row["majority"] if row else None,
        ceiling=1.0 if row else None,
        met=met,
        note=note,
        **_told("findings", "side, right", run_dir),
    )


def _judged(
    *, met: bool | None, n: int | None, chance: float | None = None
) -> tuple[bool | None, str]:
    """Whether a target is met, and why that says nothing where it does not."""
    if n is not None and n < ENOUGH:
        return None, f"too few patients: {n}"
    if chance is not None and chance >= 1:
        return None, "chance is 1: so small a gallery cannot be missed"

    return met, ""


def _least(value: float | None, other: float | None, times: float) -> bool | None:
    return None if value is None or other is None else value >= times * other


def _all(held: Sequence[bool | None]) -> bool | None:
    if False in held:
        return False
    return None if None in held else True


def _told(part: str, row: str, run_dir: Path) -> dict[str, str]:
    """Where a figure was read, and how to write it again."""
    found = source(part, str(run_dir))
    return {"source": f"{Path(found.file).name}: {row}", "command": found.command}


def _read(run_dir: Path, part: str) -> list[dict[str, Any]]:
    return read_rows(run_dir / source(part).file)
