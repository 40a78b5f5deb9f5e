"""Generated reports scored: findings first, then words, for greedy search and for beams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from rfpmss.evaluation.page.examples import finding_accuracy, write_reports
from rfpmss.evaluation.page.tables import percent, rounded, write_csv, write_json, write_latex
from rfpmss.evaluation.writing.wording import scores

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.data.batches.batch import Cohort
    from rfpmss.model.rfpmss import RFPMSS
    from rfpmss.runs.origin import Origin


@dataclass(frozen=True)
class Scored:
    """How well the reports of each search say what the originals say."""

    findings: list[dict[str, Any]]
    """A row per search and finding; see `finding_accuracy`."""
    wording: list[dict[str, Any]]
    """A row per search; see `rfpmss.evaluation.writing.wording.scores`."""


def score(
    model: RFPMSS,
    cohort: Cohort,
    tokenizer: Tokenizer,
    indices: Int[np.ndarray, " n"],
    size: int,
    widths: Sequence[int],
) -> Scored:
    """Write the reports of studies that have an original with every width, and score them.

    Args:
        model: trained; in evaluation mode.
        cohort: holds the studies.
        tokenizer: of the training run.
        indices: studies.
        size: studies at a time.
        widths: reports kept by the search; 1 is greedy.
    """
    told = np.array([i for i in indices if cohort.studies[i].report], np.int64)
    findings: list[dict[str, Any]] = []
    wording: list[dict[str, Any]] = []
    originals = [cohort.studies[i].report or "" for i in told]
    patients = [cohort.studies[i].patient_id for i in told]
    for width in widths if len(told) else ():
        name = {"search": "greedy" if width == 1 else f"beam {width}"}
        texts = write_reports(model, cohort, tokenizer, told, size, width=width)
        findings += [name | row for row in finding_accuracy(texts, originals, patients)]
        wording.append(name | scores(texts, originals))

    return Scored(findings, wording)


def write(
    scored: Scored, folder: Path, name: str = "writing", origin: Origin | None = None
) -> None:
    """Write ``NAME.json``, and the findings and the words each as .csv and .tex."""
    said = {"findings": scored.findings, "wording": scored.wording}
    write_json(folder / f"{name}.json", said | ({"origin": asdict(origin)} if origin else {}))
    write_csv(folder / f"{name}_findings.csv", scored.findings)
    write_csv(folder / f"{name}_words.csv", scored.wording)
    write_latex(folder / f"{name}_findings.tex", [_readable(row) for row in scored.findings])
    write_latex(folder / f"{name}_words.tex", [rounded(row) for row in scored.wording])


def _readable(row: dict[str, Any]) -> dict[str, object]:
    return {
        **{"Search": row["search"], "Finding": row["finding"], "n": row["n"]},
        "Right (95 %)": f"{percent(row['right'])} ({percent(row['low'])}, {percent(row['high'])})",
        "Commonest value": percent(row["majority"]),
    }
