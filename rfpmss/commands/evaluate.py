"""What ``rfpmss evaluate`` does."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rfpmss import evaluation
from rfpmss.common.errors import RfpmssError
from rfpmss.evaluation.adapt import adapt
from rfpmss.evaluation.writing.scores import score, write
from rfpmss.options.evaluate import Arguments
from rfpmss.runs import origin
from rfpmss.runs.opened import called, open_to_write

if TYPE_CHECKING:
    from rfpmss.runs.opened import Opened

LEAST = 2
"""Studies of a split that can be told from each other."""


def evaluate(arguments: Arguments) -> int:
    """Score, write and print the tables; return 0."""
    opened = open_to_write(arguments)
    count = len(opened.cohort.indices(arguments.split))
    if count < LEAST:
        splits = Counter(study.split for study in opened.cohort.studies)
        there = ", ".join(f"{number} in {split}" for split, number in sorted(splits.items()))
        raise RfpmssError(
            f"--split must have at least {LEAST} studies, got {count} in {arguments.split}; the "
            f"cohort has {there}"
        )

    name = _called(arguments, opened)
    if arguments.adapt:
        size = opened.config.train.batch
        for note in adapt(opened.model, opened.cohort, opened.tokenizer, size):
            print(f"note: {note}", file=sys.stderr)

    rows = evaluation.run(
        opened.model,
        opened.cohort,
        opened.tokenizer,
        opened.config,
        arguments.run_dir,
        split=arguments.split,
        name=_of_split(name, arguments),
        origin=opened.origin,
    )
    evaluation.print_table(rows)
    if arguments.beams:
        _reports(arguments, opened, name.replace("retrieval", "writing"))

    print(f"tables: {(arguments.run_dir / 'evaluation').resolve()}")
    return 0


def _called(arguments: Arguments, opened: Opened) -> str:
    """What the files are called: those of one cohort never as those of another.

    Raises:
        RfpmssError: if --name is that of another cohort's files.
    """
    adapted = "-adapted" if arguments.adapt else ""
    if arguments.name is None and arguments.data is None:
        return f"retrieval{adapted}"

    folder, digest = arguments.run_dir / "evaluation", opened.cohort.fingerprint.digest
    name = f"retrieval-{arguments.name or called(opened.manifest)}{adapted}"
    if not _foreign(folder, _of_split(name, arguments), digest):
        return name
    if arguments.name:
        raise RfpmssError(
            f"--name must not be that of another cohort's scores, got {arguments.name}, which "
            f"stands in {folder} for another cohort or an unknown one; choose another name, or "
            f"remove {name}*"
        )

    longer = f"{name}-{digest[:12]}"
    print(
        f"note: the scores of another cohort, or an unknown one, are called {name}; these are "
        f"called {longer}",
        file=sys.stderr,
    )
    return longer


def _of_split(name: str, arguments: Arguments) -> str:
    return name if arguments.split == "test" else f"{name}-{arguments.split}"


def _foreign(folder: Path, name: str, cohort: str) -> bool:
    """Whether scores that stand there are those of another cohort, or of one that is not known."""
    files = [f"{name}.json", f"{name}_full.json"]
    there = [file for file in files if (folder / file).exists()]
    known = [origin.of(folder, name, file) for file in there]
    return any(said is None or said.get("cohort") != cohort for said in known)


def _reports(arguments: Arguments, opened: Opened, name: str) -> None:
    indices = np.asarray(opened.cohort.indices(arguments.split))
    opened.model.eval()
    size = opened.config.train.batch
    scored = score(opened.model, opened.cohort, opened.tokenizer, indices, size, arguments.beams)
    folder = arguments.run_dir / "evaluation"
    write(scored, folder, _of_split(name, arguments), opened.origin)

    for row in scored.findings:
        print(
            f"{row['search']}  {row['finding']}  {100 * row['right']:.1f} % right "
            f"({100 * row['low']:.1f}-{100 * row['high']:.1f}), "
            f"commonest value {100 * row['majority']:.1f} %"
        )
