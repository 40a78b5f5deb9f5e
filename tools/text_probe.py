"""What a run's report vectors tell of the findings that reports state, by few labels.

Usage: python tools/text_probe.py RUN... --out text_tower.csv

A line a run and finding: the area under the ROC curve of a linear probe with 10 % of the training
patients' labels on held-out patients, mean of three draws, from the report vectors that Eq. 7
compares; no image is read. Beside it, where they stand in RUN/evaluation, the run's retrieval
(retrieval_full.json) and what sentences tell of its images (zeroshot_findings.json).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from rfpmss.data.batches.tokens import encode
from rfpmss.evaluation.labels.probe import linear_probe, task
from rfpmss.evaluation.page.tables import read_object, read_rows, write_csv
from rfpmss.evaluation.prompted.prompts import SHIPPED, read_prompts
from rfpmss.evaluation.statistics import delong
from rfpmss.runs.opened import open_run

if TYPE_CHECKING:
    from rfpmss.runs.opened import Opened

FRACTION, DRAWS, SIZE = 0.1, (0, 1, 2), 32
PAIRS = (("study", "report"), ("mri", "report"), ("ct", "report"), ("ct", "mri"))


@torch.no_grad()
def vectors(run: Opened) -> np.ndarray:
    """The report vector of every study."""
    found = []
    texts = [study.report or "" for study in run.cohort.studies]
    for start in range(0, len(texts), SIZE):
        tokens = encode(run.tokenizer, texts[start : start + SIZE], run.config.data.tokens)
        present = torch.ones(len(tokens), dtype=torch.bool)
        read = run.model.report(tokens, present)
        found.append(run.model.report.compared(read.vectors, present).numpy())

    return np.concatenate(found)


def rows(folder: Path) -> list[dict[str, object]]:
    """The figures of one run."""
    run = open_run(folder, None, "cpu", allow_change=True)
    about = {"run": folder.name, "seed": run.config.seed, "text": bool(run.config.model.text)}
    features, table = vectors(run), []
    for prompt in read_prompts(SHIPPED):
        problems = [task(run.cohort, prompt.label, prompt.values, seed) for seed in DRAWS]
        positive = problems[0].positive[problems[0].test]
        scores = np.stack([linear_probe(features, problem, FRACTION) for problem in problems])
        area = float(delong(positive, scores).auc.mean())
        table.append(about | {"figure": f"probe of {prompt.name}, AUC", "value": area})

    for row in read_rows(folder / "evaluation" / "retrieval_full.json"):
        if (row["query"], row["gallery"]) in PAIRS:
            name = f"{row['query']} to {row['gallery']}"
            table += [
                about | {"figure": f"{name}, {what}", "value": row[key]}
                for what, key in (("R@5", "r5"), ("mean rank", "meanr"))
            ]

    told = read_object(folder / "evaluation" / "zeroshot_findings.json") or {"findings": []}
    table += [
        about | {"figure": f"sentences, {row['finding']}, AUC", "value": row["auc"]}
        for row in told["findings"]
    ]
    return table


def main() -> int:
    """Write the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    found = [row for folder in asked.runs for row in rows(folder)]
    write_csv(asked.out, found)
    for row in found:
        print(f"{row['run']}  {row['figure']}  {row['value']:.3f}")

    return 0


if __name__ == "__main__":
    sys.exit(main())
