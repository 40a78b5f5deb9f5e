"""What ranks really send is what docs/scale.md says. Run as a script, this file is one rank."""

import json
import os
import sys
import traceback
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from benchmarks.gpu.scale import (
    DOCUMENT,
    DOUBLE,
    PROBLEMS,
    M,
    Machine,
    filled,
    predicted,
    step,
    traffic,
)
from rfpmss.common.distributed import Peers
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.training.bank import Bank
from rfpmss.training.parallel import Spine, replicate
from tests import warm
from tests.model.small import WORDS, random_batch, small_config

BATCH, CASES = 3, ("together", "apart")


def configuration(case):
    config = small_config(fusion="none" if case == "apart" else "view")
    # Far from degenerate, so that Newton's method takes its usual way.
    assignment = config.assignment.model_copy(update={"eps": 0.5})
    loss = config.loss
    if case == "apart":
        loss = loss.model_copy(update={"symmetric": True, "pairs": "all"})
    return config.model_copy(update={"assignment": assignment, "loss": loss})


def purpose(stack):
    """Who asked for a message: a loss, the bank, an assignment, or the backward pass."""
    for frame in reversed(stack):
        folder, name = os.path.split(frame.filename)
        if name in ("_sharded.py", "distributed.py"):
            continue
        if name == "bank.py":
            return "bank"
        if "multisk" in folder or name == "consistency.py":
            return "assignment"
        if "rfpmss" in folder:
            return "features"
    return "backward"


def count(rank, size, case):
    """Bytes of every collective of one step, by purpose and kind."""
    sent, visits = Counter(), Counter()
    reduce, gather = dist.all_reduce, dist.all_gather

    def all_reduce(x, *args, **options):
        who = purpose(traceback.extract_stack()[:-1])
        sent[f"{who} reduce"] += x.nbytes
        if who == "assignment":
            visits[f"{tuple(x.shape)}"] += 1
        return reduce(x, *args, **options)

    def all_gather(parts, x, *args, **options):
        sent[f"{purpose(traceback.extract_stack()[:-1])} gather"] += x.nbytes * len(parts)
        return gather(parts, x, *args, **options)

    def hook(_, bucket):
        sent["gradients"] += bucket.buffer().nbytes
        work = reduce(bucket.buffer(), group=peers.gradients, async_op=True)
        return work.get_future().then(lambda done: done.value()[0] / size)

    torch.manual_seed(0)
    config = configuration(case)
    peers = Peers(dist.group.WORLD, dist.new_group())
    model = RFPMSS(config.model, config.data, WORDS)
    spine = Spine(model, Bank(8, config.model), config, peers)
    replicated = replicate(spine, peers)
    replicated.register_comm_hook(None, hook)
    try:
        dist.all_reduce, dist.all_gather = all_reduce, all_gather
        total, _ = replicated(random_batch(config, size=BATCH, seed=rank))
        total.backward()
    finally:
        dist.all_reduce, dist.all_gather = reduce, gather
    parameters = sum(p.numel() for p in replicated.parameters())
    return {**sent, "visits": dict(visits), "parameters": parameters}


def main(rank, size, folder):
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meet"
    dist.init_process_group("gloo", meeting, rank=int(rank), world_size=int(size))
    found = {case: count(int(rank), int(size), case) for case in CASES}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_send_what_the_formula_says(size, tmp_path):
    words = [sys.executable, __file__]
    jobs = [warm.start([*words, str(r), str(size), str(tmp_path)]) for r in range(size)]
    assert [job.wait(timeout=600) for job in jobs] == [0] * size
    for rank in range(size):
        counted = json.loads((tmp_path / f"{rank}.json").read_text())
        for case, found in counted.items():
            compare(configuration(case), size, found)


def compare(config, size, found):
    expected, anchors = traffic(config, BATCH, size, found["parameters"]), config.model.anchors
    assert found["features gather"] == expected.gathered
    assert found["backward reduce"] == expected.returned
    assert found["bank gather"] == expected.bank
    assert found["gradients"] == expected.gradients
    # At most 32 counts of what exists, and five tables of modality pairs: Eq. 5-6 and its bounds.
    assert found["features reduce"] <= (32 + 5 * M**2) * DOUBLE
    visits = found["visits"][f"{(PROBLEMS, anchors**2 + 2 * anchors)}"]
    assert 2 <= visits <= expected.visits
    rest = found["assignment reduce"] - visits * expected.assignment
    assert 0 <= rest <= 16 * PROBLEMS * anchors * 8  # passes that sum K numbers, and scalars
    assert found["assignment reduce"] <= expected.visits * expected.assignment  # the page's column


def test_the_document_shows_the_tables_of_the_formulas():
    text = DOCUMENT.read_text()
    assert filled(text, Machine()) == text


def test_a_gpu_alone_takes_the_step_that_the_table_of_benchmarks_predicts():
    row = predicted()
    alone = step(1, int(row["batch"]), Machine(), sharded=False)
    assert alone.seconds == pytest.approx(float(row["step_s"]), rel=1e-12)
    assert alone.studies == pytest.approx(float(row["studies_per_s"]), rel=1e-3)  # four digits
    parts = [step(8, 64, Machine(), sharded=sharded).compute_s for sharded in (False, True)]
    adam = float(row["parameters"]) * 28 / 4.8e12
    assert parts[0] - parts[1] == pytest.approx(adam * 7 / 8, rel=0.02)


def test_a_ring_sends_less_than_it_is_handed_twice_and_nothing_alone():
    t = traffic(small_config(), 3, 4, 100)
    once, twice = t.gathered + t.bank, t.returned + t.assignment * t.visits + t.gradients
    assert t.wire(1) == 0
    assert t.wire(2) == 0.5 * once + twice
    assert t.wire(10**9) == pytest.approx(once + 2 * twice)


def test_more_ranks_never_take_longer_than_one_for_the_same_studies():
    for sharded in (False, True):
        rates = [step(ranks, 64, Machine(), sharded=sharded).studies for ranks in (1, 8, 64, 512)]
        assert rates == sorted(rates)


if __name__ == "__main__":
    main(*sys.argv[1:])
