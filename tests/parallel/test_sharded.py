"""Rows spread over ranks give the same plan, derivative and verdict as one process.

Run as a script, this file is one rank of such a job.
"""

import os
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from multisk import BalancedAssigner, MultiAssignment, Newton, Sinkhorn, Transport, solve
from tests import warm

N, K = 41, 7
SHARDS = {
    "two_uneven": (29, 12),
    "three_one_empty": (11, 0, 30),
}


def scores(batch=()):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(*batch, N, K, generator=generator, dtype=torch.float64)


def per_row(part, low, high):
    generator = torch.Generator().manual_seed(11)
    return torch.randint(low, high + 1, (N,), generator=generator).double()[part]


def mask(part):
    generator = torch.Generator().manual_seed(12)
    free = torch.rand(N, K, generator=generator) > 0.25
    free[:, 2:5] = True
    return free[part]


def loads():
    load = torch.linspace(1.0, 2.0, K, dtype=torch.float64)
    return load * (3 * N / load.sum())


TIGHT = Sinkhorn(tolerance=1e-12, max_steps=4000)
# name: (problem from the rank's rows, solver, batch, take the derivative)
CASES = {
    "newton": (lambda _: MultiAssignment(k=3), Newton(), (), True),
    "newton_cold": (lambda _: MultiAssignment(k=3, eps=0.05), Newton(), (), True),
    "newton_batch": (lambda _: MultiAssignment(k=2), Newton(), (2,), True),
    "sweeps": (lambda _: MultiAssignment(k=3, eps=0.5), Sinkhorn(steps=20), (), True),
    "sweeps_cold": (lambda _: MultiAssignment(k=3, eps=0.01), Sinkhorn(steps=5), (), True),
    "sweeps_other_order": (
        lambda _: MultiAssignment(k=3, eps=0.5),
        Sinkhorn(steps=6, order="column-depth-row"),
        (),
        True,
    ),
    "sweeps_to_tolerance": (lambda _: MultiAssignment(k=3, eps=1.0), TIGHT, (2,), False),
    "many_scales": (
        lambda _: MultiAssignment(
            k=3, eps=0.5, damping=torch.linspace(1.0, 0.1, K, dtype=torch.float64)
        ),
        Sinkhorn(steps=8),
        (),
        True,
    ),
    "row_budgets": (lambda part: MultiAssignment(k=per_row(part, 0, 4)), Newton(), (), True),
    "mask": (lambda part: MultiAssignment(k=2, mask=mask(part)), Newton(), (), True),
    "loads": (lambda _: MultiAssignment(k=3, capacity=loads()), Newton(), (), True),
    "intervals": (
        lambda _: MultiAssignment(k=3, capacity=(0.9 * loads(), 1.1 * loads())),
        Newton(),
        (),
        True,
    ),
    "transport": (lambda _: Transport(eps=0.3), Newton(), (), True),
    "transport_rows": (
        lambda part: Transport(eps=0.3, rows=per_row(part, 1, 3)),
        Newton(),
        (),
        True,
    ),
    "transport_sweeps": (lambda _: Transport(eps=0.5), Sinkhorn(steps=9), (), True),
    "relaxed": (lambda _: Transport(eps=0.3, relax=(1.0, 2.0)), TIGHT, (), True),
}


def answer(name, part, group):
    """Everything a rank knows about one case: rows of its own, and numbers all ranks share."""
    build, solver, batch, derivative = CASES[name]
    x = scores(batch)[..., part, :].clone().requires_grad_(derivative)
    solution = solve(x, build(part), solver, group=group)
    rows = {"plan": solution.plan.detach(), "log_plan": solution.log_plan.detach()}
    if name != "row_budgets":  # a row that takes nothing has no potential of its own
        rows["row_potential"] = solution.row_potential[..., None]
    if name not in {"row_budgets", "transport_rows"}:  # rows of one budget
        rows["topk"] = solution.topk().double()
    if isinstance(build(part), MultiAssignment) and "topk" in rows:
        rows["channels"] = solution.channels()
    if derivative:
        generator = torch.Generator().manual_seed(13)
        cotangent = torch.randn(*batch, N, K, generator=generator, dtype=torch.float64)
        solution.plan.backward(cotangent[..., part, :])
        rows["gradient"] = x.grad
    shared = {
        "column_potential": solution.column_potential,
        "marginal_error": solution.marginal_error,
        "steps": solution.steps.double(),
        "value": solution.value.detach(),
        "gap": solution.gap,
        "status_code": solution.status_code.double(),
    }
    if name in {"newton", "loads", "transport"}:
        shared["assign"] = solution.assign(scores(batch)[..., :5, :])
    return rows, shared


def assigned(part, group):
    """Three batches through an assigner."""
    assigner = BalancedAssigner(K, MultiAssignment(k=3), momentum=0.5, group=group)
    for batch in range(3):
        assigner(scores()[part] * (1 + 0.05 * batch))
    return {"assigned": assigner.assign(scores()[part])}, {"b": assigner.column_potential}


def rank_main(folder, name, rank):
    """One rank: solve every case for the rows of this rank and save the answers."""
    heights = SHARDS[name]
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=len(heights)
    )
    part = slice(sum(heights[:rank]), sum(heights[: rank + 1]))
    found = {case: answer(case, part, dist.group.WORLD) for case in CASES}
    found["assigner"] = assigned(part, dist.group.WORLD)
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def launch(folder, *words):
    """Start one process a rank, wait for all, return their exit codes and error output."""
    command = [sys.executable, __file__, str(folder), *words]
    processes = [
        warm.start([*command, str(rank)], stderr=warm.PIPE)
        for rank in range(len(SHARDS[words[-1]]))
    ]
    outputs = [process.communicate(timeout=300)[1] for process in processes]
    return [process.returncode for process in processes], outputs


@pytest.fixture(scope="module", params=list(SHARDS))
def spread(request, tmp_path_factory):
    """The saved answers of all ranks, for every way to spread the rows."""
    folder = tmp_path_factory.mktemp("ranks")
    codes, outputs = launch(folder, "solve", request.param)
    assert not any(codes), outputs
    return [torch.load(folder / f"{rank}.pt") for rank in range(len(codes))]


def check(ranks, whole, case):
    rows, shared = whole
    for key, want in rows.items():
        dimension = want.ndim - 2
        got = torch.cat([rank[case][0][key] for rank in ranks], dimension)
        finite = want.isfinite()
        assert torch.equal(got.isfinite(), finite), key
        scale = want[finite].abs().max().clamp_min(1.0)
        assert (got - want)[finite].abs().max() <= 1e-12 * scale, key
    for key, want in shared.items():
        for rank in ranks:
            got = rank[case][1][key]
            assert (got - want).abs().max() <= 1e-12 * want.abs().max().clamp_min(1.0), key


@pytest.mark.parametrize("case", list(CASES))
def test_spread_rows_give_the_answer_of_one_process(spread, case):
    check(spread, answer(case, slice(None), None), case)


def test_an_assigner_on_every_rank_remembers_the_same(spread):
    check(spread, assigned(slice(None), None), "assigner")


def refuse_main(folder, name, rank):
    """One rank holds a NaN; no rank may hang or return a plan."""
    heights = SHARDS[name]
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=len(heights)
    )
    x = scores()[sum(heights[:rank]) : sum(heights[: rank + 1])].clone()
    if rank == 0:
        x[0, 0] = float("nan")
    try:
        solve(x, MultiAssignment(k=3), group=dist.group.WORLD)
    except ValueError as error:
        sys.stderr.write(str(error))
        sys.stderr.flush()
        os._exit(3)  # the group's threads may abort while a peer is already gone


def test_bad_rows_on_one_rank_are_refused_on_all(tmp_path):
    codes, outputs = launch(tmp_path, "refuse", "two_uneven")
    assert codes == [3, 3]
    assert "scores must be finite, got nan at (0, 0)" in outputs[0]
    assert "scores must be accepted on every rank" in outputs[1]


if __name__ == "__main__":
    {"solve": rank_main, "refuse": refuse_main}[sys.argv[2]](
        sys.argv[1], sys.argv[3], int(sys.argv[4])
    )
