"""What a trained model can do, with chance, ceiling and uncertainty beside every number."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rfpmss.evaluation.page.tables import print_table, write_json, write_retrieval
from rfpmss.evaluation.page.write import page
from rfpmss.evaluation.retrieval.embed import embed
from rfpmss.evaluation.retrieval.outline import controls
from rfpmss.evaluation.retrieval.zeroshot import Row, findings_of, queries, rows
from rfpmss.runs.origin import Origin, mark

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.config import Config
    from rfpmss.data.batches.batch import Cohort
    from rfpmss.model.rfpmss import RFPMSS

__all__ = ["Row", "page", "print_table", "run"]


def run(
    model: RFPMSS,
    cohort: Cohort,
    tokenizer: Tokenizer,
    config: Config,
    run_dir: Path,
    split: str = "test",
    name: str = "retrieval",
    origin: Origin | None = None,
) -> list[Row]:
    """Zero-shot retrieval for every ordered pair; writes ``run_dir/evaluation/NAME.*``.

    Args:
        model: trained; left in the mode it came in.
        cohort: holds the studies.
        tokenizer: of the training run.
        config: of the training run.
        run_dir: the run folder.
        split: studies to score; none or a single one give an empty table.
        name: of the files.
        origin: which weights and cohort these are, for ``NAME_origin.json``.
    """
    folder = run_dir / "evaluation"
    indices = np.asarray(cohort.indices(split))
    scored, single = [], []
    if len(indices) > 1:
        embeddings = embed(model, cohort, tokenizer, indices, config.train.batch)
        scored = rows(embeddings, findings_of(cohort, indices), controls(cohort, indices))
        single = queries(embeddings)

    write_json(folder / f"{name}_queries.json", single, private=True)
    write_retrieval(scored, folder, name)
    mark(origin, folder, name, (f"{name}.json", f"{name}_full.json"), split)
    return scored
