"""Whether the structure loss learned anything is said on the page, in the log and at the end."""

import json

import pytest
import torch

from rfpmss.common.distributed import ALONE
from rfpmss.config import smoke
from rfpmss.evaluation.page.sources import source
from rfpmss.evaluation.page.write import _columns, _curves, _structure
from rfpmss.evaluation.structure.learned import LAST, Learned, learned
from rfpmss.training.figures import figures
from tests.training.test_step import build, random_batch, step


def log(values):
    """Rows of a log in which knowing nothing gives 11 and knowing all 9."""
    rest = dict.fromkeys(("loss", "language", "contrast", "nce"), 1.0)
    bounds = {"consistency_trivial": 11.0, "consistency_floor": 9.0}
    return [{"step": i, **rest, "consistency": v, **bounds} for i, v in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("end", "share", "words"),
    [
        (10.5, 0.25, "structure loss 10.5: 25 % of the way from 11"),
        (11.0, 0.0, "structure loss 11 is above 11, what knowing nothing"),
        (11.75, -0.375, "structure loss 11.75 is above 11, what knowing nothing"),
        (9.0, 1.0, "structure loss 9: 100 % of the way"),
    ],
)
def test_the_end_of_a_run_is_told_beside_nothing_and_everything(end, share, words):
    found = learned(log([30.0] * 5 + [end] * LAST))
    assert found == Learned(end, 11.0, 9.0)
    assert found.share == pytest.approx(share)
    assert found.sentence.startswith(words)


def test_a_run_that_was_logged_without_bounds_is_not_judged():
    rows = log([10.0] * LAST)
    old = [{k: v for k, v in row.items() if k != "consistency_floor"} for row in rows]
    assert learned([]) is learned(old) is _structure(old) is None
    assert "consistency_floor" not in _columns(old)


def test_the_page_draws_both_and_its_numbers_stand_in_files():
    rows = log([12.0 - i / 20 for i in range(40)])
    (drawn,) = [c for c in _curves(rows, smoke(), 50) if c.name == "consistency"]
    assert [line.label for line in drawn.references] == ["nothing known of anybody", "all known"]
    top, bottom = (line.at for line in drawn.references)
    assert top < bottom  # up is less in a picture
    assert _columns(rows)["consistency_trivial"] == [11.0] * 40
    found = _structure(rows)
    assert json.loads(json.dumps(found)) == found
    assert found["value"] == pytest.approx(sum(12.0 - i / 20 for i in range(24, 40)) / 16)


def test_a_step_logs_both_beside_the_losses():
    config, model, bank = build()
    losses = step(model, bank, random_batch(config, dtype=torch.float64), config)
    row, _ = figures(1, losses.total(config.loss), losses, torch.ones(()), 0, ALONE)
    assert 0 < row["consistency_floor"] < row["consistency_trivial"]
    assert row["consistency"] > row["consistency_floor"]


def test_scores_by_a_cohorts_own_figures_name_the_command_that_made_them():
    found = source("elsewhere", "runs/a", "b-adapted")
    assert found.file == "evaluation/retrieval-b-adapted_full.json"
    assert found.command.endswith("--data MANIFEST --adapt --name b")
