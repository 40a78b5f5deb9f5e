"""Reports of several searches, scored on the same studies, by the command too."""

import json

import numpy as np
import pytest
import torch

from rfpmss import evaluate
from rfpmss.commands import evaluate as body
from rfpmss.config import smoke
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import train_tokenizer
from rfpmss.evaluation.labels.transfer import random_start
from rfpmss.evaluation.page import examples
from rfpmss.evaluation.writing import scores as writing
from rfpmss.evaluation.writing.wording import scores
from rfpmss.runs import opened


@pytest.fixture(scope="module")
def parts(smoke_cohort):
    config = smoke()
    cohort = Cohort.open(smoke_cohort, config.data)
    tokenizer = train_tokenizer(cohort.reports("train"), config.data.vocabulary)
    return random_start(config, tokenizer.get_vocab_size()), cohort, tokenizer


def test_every_search_is_scored_on_the_texts_that_it_writes(parts):
    model, cohort, tokenizer = parts
    indices = cohort.indices("test")
    originals = [cohort.studies[i].report for i in indices]
    scored = writing.score(model, cohort, tokenizer, indices, 5, (1, 2))
    assert [row["search"] for row in scored.wording] == ["greedy", "beam 2"]
    for width, name in ((1, "greedy"), (2, "beam 2")):
        texts = examples.write_reports(model, cohort, tokenizer, indices, 16, width=width)
        rows = [row for row in scored.findings if row["search"] == name]
        assert rows == [
            {"search": name} | row for row in examples.finding_accuracy(texts, originals)
        ]
        assert scored.wording[width - 1] == {"search": name} | scores(texts, originals)


def test_texts_that_say_what_the_originals_say_score_full(parts, monkeypatch, tmp_path):
    model, cohort, tokenizer = parts

    def copied(_model, _cohort, _tokenizer, indices, _size, *, width):
        assert width in (1, 4)
        return [cohort.studies[i].report for i in indices]

    monkeypatch.setattr(writing, "write_reports", copied)
    scored = writing.score(model, cohort, tokenizer, cohort.indices("test"), 8, (1, 4))
    assert {row["right"] for row in scored.findings} == {1.0}
    assert {row["bleu4"] for row in scored.wording} == {1.0}
    writing.write(scored, tmp_path)
    assert json.loads((tmp_path / "writing.json").read_text())["findings"] == scored.findings
    assert (tmp_path / "writing_findings.tex").read_text().count("100.0 (100.0, 100.0)") == len(
        scored.findings
    )
    assert len((tmp_path / "writing_words.csv").read_text().splitlines()) == 3


def test_without_originals_there_is_nothing_to_score(parts):
    model, cohort, tokenizer = parts
    empty = writing.score(model, cohort, tokenizer, np.array([], np.int64), 8, (1,))
    assert empty == writing.Scored([], [])


def test_the_command_scores_reports_when_asked(parts, tmp_path, monkeypatch, capsys):
    model, cohort, tokenizer = parts
    found = opened.Opened(model, cohort, tokenizer, smoke())
    monkeypatch.setattr(body, "open_to_write", lambda _: found)
    state = torch.get_rng_state()
    assert evaluate.main(["--run-dir", str(tmp_path), "--beams", "1"]) == 0
    assert torch.equal(state, torch.get_rng_state())
    assert "greedy  side" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "evaluation").iterdir()}
    assert {"writing.json", "writing_findings.csv", "writing_words.tex", "retrieval.tex"} <= names
    assert evaluate.main(["--run-dir", str(tmp_path), "--name", "away"]) == 0
    assert (tmp_path / "evaluation" / "retrieval-away.json").is_file()
    with pytest.raises(SystemExit):
        evaluate.main(["--run-dir", str(tmp_path), "--beams", "0"])
    assert "--beams must be at least 1, got 0" in capsys.readouterr().err
