"""What only a GPU can show; the interpreter rehearses what it can of it, on small problems."""

import pytest
import torch

from tests.kernels.tools import DEVICE, INTERPRET, marks, needs_kernels

needs_kernels()

import multisk  # noqa: E402
from multisk._backends import choose  # noqa: E402
from multisk.kernels.plan import assign  # noqa: E402
from multisk.kernels.sweep import Budgets, sweep  # noqa: E402

pytestmark = marks
cuda_only = pytest.mark.skipif(INTERPRET, reason="needs a CUDA device")
ROWS, WIDTH, BUDGET = (40, 12, 4) if INTERPRET else (5716, 64, 32)
PROBLEM = multisk.MultiAssignment(k=BUDGET)
SOLVERS = {"newton": multisk.Newton(), "sinkhorn": multisk.Sinkhorn(steps=3 if INTERPRET else 20)}
KINDS = [torch.float32, torch.float16, torch.bfloat16]


def draw(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator(DEVICE).manual_seed(seed)
    return torch.randn(shape, generator=generator, device=DEVICE).to(dtype)


def unit_scores(*shape, dtype=torch.float32):
    x = torch.nn.functional.normalize(draw(*shape[:-1], 64), dim=-1)
    anchors = torch.nn.functional.normalize(draw(shape[-1], 64, seed=1), dim=-1)
    return (x @ anchors.T).to(dtype)


def without_kernels(monkeypatch):
    monkeypatch.setattr(choose, "has_triton", lambda: False)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_error_is_at_most_twice_that_of_torch_in_the_same_dtype(solver, dtype, monkeypatch):
    x = unit_scores(2, ROWS, WIDTH, dtype=dtype)
    fused = multisk.solve(x, PROBLEM, SOLVERS[solver]).plan
    without_kernels(monkeypatch)
    plain = multisk.solve(x, PROBLEM, SOLVERS[solver]).plan
    truth = multisk.solve(x.double().cpu(), PROBLEM, SOLVERS[solver]).plan
    ours, theirs = ((p.double().cpu() - truth).abs().max() for p in (fused, plain))
    # A result is stored in its dtype; the interpreter cuts digits off where a GPU rounds.
    unit = torch.finfo(dtype).eps if INTERPRET else 1e-7
    assert ours <= 2 * theirs + unit


@pytest.mark.parametrize("solver", SOLVERS)
def test_gradients_are_at_most_twice_as_wrong_as_those_of_torch(solver, monkeypatch):
    x, grad = unit_scores(2, ROWS // 4, WIDTH), draw(2, ROWS // 4, WIDTH, seed=2)

    def below(device, dtype):
        scores = x.detach().to(device, dtype, copy=True).requires_grad_()
        multisk.solve(scores, PROBLEM, SOLVERS[solver]).plan.backward(grad.to(device, dtype))
        return scores.grad.double().cpu()

    fused = below(DEVICE, torch.float32)
    without_kernels(monkeypatch)
    plain, truth = below(DEVICE, torch.float32), below("cpu", torch.float64)
    ours, theirs = ((g - truth).abs().max() for g in (fused, plain))
    assert ours <= 2 * theirs + 1e-5 * truth.abs().max()


@pytest.mark.parametrize("solver", SOLVERS)
def test_twenty_solves_and_gradients_agree_bit_for_bit(solver):
    batch = 1 if INTERPRET else 3
    x, grad = unit_scores(batch, ROWS, WIDTH).requires_grad_(), draw(batch, ROWS, WIDTH, seed=2)

    def both():
        plan = multisk.solve(x, PROBLEM, SOLVERS[solver]).plan
        return plan.detach(), torch.autograd.grad(plan, x, grad)[0]

    first = both()
    for _ in range(1 if INTERPRET else 20):
        assert all(torch.equal(*pair) for pair in zip(both(), first, strict=True))


def test_rows_beyond_two_to_the_31_values_are_reached():
    rows = 512 + 96 if INTERPRET else (1 << 25) + 96
    if not INTERPRET:
        need = 3 * rows * 64 * 2 + (6 << 30)
        if torch.cuda.mem_get_info()[0] < need:
            pytest.skip(f"needs {need >> 30} GiB of device memory")
    x = torch.empty(rows, 64, dtype=torch.bfloat16, device=DEVICE)
    for part in x.split(1 << 22):
        part.copy_(draw(*part.shape, seed=part.storage_offset() % 1000))
    assert INTERPRET or x.numel() > 1 << 31
    tail = x[None, -64:]
    y = multisk.row_normalize(x[None], log=True)
    assert torch.equal(y[:, -64:], multisk.row_normalize(tail, log=True))
    del y
    one = torch.ones(1, device=DEVICE)
    b = torch.zeros(1, 64, dtype=torch.float64, device=DEVICE)
    whole, part = (assign(cells, one, b, 8 * one)[0] for cells in (x[None], tail))
    torch.testing.assert_close(whole[:, -64:], part, rtol=1e-5, atol=1e-5)
    budgets = Budgets(rows=8 * one, row_cells=64 * one, columns=one, column_cells=2 * one)
    scales = torch.tensor([[2.0, 0.5]], device=DEVICE)
    ends = []
    for cells in (x[None], tail):
        a = torch.empty(cells.shape[:2], device=DEVICE)
        ends.append(sweep(cells, scales, a, b, budgets, first=True)[0][:, -64:])
    assert torch.equal(*ends)


def test_columns_of_a_transposed_table_lie_beyond_two_to_the_31_values():
    rows = 300 if INTERPRET else 1 << 26
    if not INTERPRET and torch.cuda.mem_get_info()[0] < 64 * rows * 2 + (2 << 30):
        pytest.skip(f"needs {64 * rows * 2 + (2 << 30) >> 30} GiB of device memory")
    x = torch.empty(64, rows, dtype=torch.bfloat16, device=DEVICE).mT[None]
    assert INTERPRET or 63 * x.stride(-1) > 1 << 31
    x, one = x[:, -64:], torch.ones(1, device=DEVICE)
    x.copy_(draw(1, 64, 64))
    y = x.contiguous()
    b = torch.zeros(1, 64, dtype=torch.float64, device=DEVICE)
    found = [
        (*assign(cells, one, b, 8 * one)[1].plan, multisk.row_normalize(cells, log=True))
        for cells in (x, y)
    ]
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


@cuda_only
def test_another_stream_is_used_when_it_is_current():
    x = unit_scores(2, ROWS, WIDTH)
    want = multisk.solve(x, PROBLEM).plan
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # a launch on any other stream would come too early
        moved = x + 0.0
        got = multisk.solve(moved, PROBLEM).plan
    stream.synchronize()
    assert torch.equal(got, want)


@cuda_only
@pytest.mark.parametrize("batch", [1, 2])  # one problem stays in registers, two are swept
@pytest.mark.parametrize("solver", ["newton", "sinkhorn"])
def test_a_solve_is_captured_and_replayed_on_new_scores(solver, batch):
    options = {"newton": multisk.Newton(max_steps=8), "sinkhorn": multisk.Sinkhorn(steps=20)}
    held = unit_scores(batch, ROWS, WIDTH)
    other = held.flip(1).contiguous()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            multisk.solve(held, PROBLEM, options[solver])
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        plan = multisk.solve(held, PROBLEM, options[solver]).plan
    held.copy_(other)
    graph.replay()
    torch.cuda.synchronize()
    want = multisk.solve(other, PROBLEM, options[solver]).plan
    torch.testing.assert_close(plan, want, rtol=1e-5, atol=1e-6)
