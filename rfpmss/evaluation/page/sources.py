"""Which file every part of the page is read from, and the command that writes it: one table."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

REPORT = "report --run-dir {run}"


ADAPTED = "-adapted"
"""How the name of scores ends whose vectors were standardised by the cohort's own figures."""


@dataclass(frozen=True)
class Source:
    """Where the numbers of one part stand."""

    file: str
    """Under the run folder."""
    command: str
    """What writes the file."""


PARTS = {
    "targets": ("targets.json", REPORT),
    "about": ("about.json", REPORT),
    "curves": ("curves.json", REPORT),
    "retrieval": ("retrieval_full.json", "evaluate --run-dir {run}"),
    "elsewhere": (
        "retrieval-{name}_full.json",
        "evaluate --run-dir {run} --data MANIFEST --name {name}",
    ),
    "ablation": ("ablation.json", "ablate --out OUT"),
    "examples": ("examples.json", REPORT),
    "findings": ("findings.json", REPORT),
    "wording": ("wording.json", REPORT),
    "searches": ("writing.json", "evaluate --run-dir {run} --beams 1 4"),
    "written": ("reports.json", REPORT),
    "prompted": ("zeroshot_findings.json", "findings --run-dir {run}"),
    "labels": ("finetune.json", "finetune --run-dir {run}"),
    "attention": ("attention.json", REPORT),
    "overlays": ("attention_studies.json", REPORT),
    "structure": ("structure.json", REPORT),
    "anchors": ("anchors.json", REPORT),
}
"""Part of the page -> file under ``evaluation``, and the words after ``python -m rfpmss.``."""


def source(part: str, run: str = "RUN", name: str = "NAME") -> Source:
    """The file and the command of a part.

    Args:
        part: of ``PARTS``.
        run: the run folder.
        name: what another cohort is called; of the part ``elsewhere`` alone.

    Example:
        >>> source("labels").file, source("labels", "runs/a b").command
        ('evaluation/finetune.json', "python -m rfpmss.finetune --run-dir 'runs/a b'")
    """
    file, words = PARTS[part]
    if name.endswith(ADAPTED):
        words = words.replace("--name {name}", "--adapt --name {name}")

    stem = name.removesuffix(ADAPTED)
    command = words.format(run=shlex.quote(run), name=shlex.quote(stem))
    return Source(f"evaluation/{file.format(name=name)}", f"python -m rfpmss.{command}")
