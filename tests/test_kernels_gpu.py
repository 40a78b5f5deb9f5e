"""What only a GPU can show; skipped, in one line, elsewhere."""

import shutil
import subprocess
import sys

import pytest
import torch

if not torch.cuda.is_available():
    pytest.skip("needs a CUDA device", allow_module_level=True)

import multisk  # noqa: E402
from multisk import _ops  # noqa: E402

pytestmark = pytest.mark.gpu
PROBLEM = multisk.MultiAssignment(k=32)
SOLVERS = {"newton": multisk.Newton(), "sinkhorn": multisk.Sinkhorn(steps=20)}


def draw(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator("cuda").manual_seed(seed)
    return torch.randn(shape, generator=generator, device="cuda", dtype=torch.float32).to(dtype)


def unit_scores(*shape, dtype=torch.float32):
    x = torch.nn.functional.normalize(draw(*shape[:-1], 64), dim=-1)
    anchors = torch.nn.functional.normalize(draw(shape[-1], 64, seed=1), dim=-1)
    return (x @ anchors.T).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_error_is_at_most_twice_that_of_torch_in_the_same_dtype(solver, dtype, monkeypatch):
    x = unit_scores(2, 5716, 64, dtype=dtype)
    truth = multisk.solve(x.double().cpu(), PROBLEM, SOLVERS[solver]).plan
    fused = multisk.solve(x, PROBLEM, SOLVERS[solver]).plan
    monkeypatch.setattr(_ops, "kernels_run", lambda _: False)
    plain = multisk.solve(x, PROBLEM, SOLVERS[solver]).plan
    ours, theirs = ((p.double().cpu() - truth).abs().max() for p in (fused, plain))
    assert ours <= 2 * theirs + 1e-7


@pytest.mark.parametrize("solver", SOLVERS)
def test_twenty_solves_agree_bit_for_bit(solver):
    x = unit_scores(3, 5716, 64)
    first = multisk.solve(x, PROBLEM, SOLVERS[solver]).plan
    for _ in range(20):
        assert torch.equal(multisk.solve(x, PROBLEM, SOLVERS[solver]).plan, first)


def test_gradients_agree_with_the_processor():
    x, grad = unit_scores(2, 700, 64), draw(2, 700, 64, seed=2)
    results = []
    for device, dtype in (("cuda", torch.float32), ("cpu", torch.float64)):
        scores = x.to(device, dtype).requires_grad_()
        multisk.solve(scores, PROBLEM).plan.backward(grad.to(device, dtype))
        results.append(scores.grad.double().cpu())
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-4 * results[1].abs().max().item())


def test_addresses_beyond_two_to_the_31_are_reached():
    rows = (1 << 25) + 96
    need = rows * 65 * 2 * 2 + (2 << 30)
    if torch.cuda.mem_get_info()[0] < need:
        pytest.skip(f"needs {need >> 30} GiB of device memory")
    x = draw(rows, 64, dtype=torch.bfloat16)
    assert x.numel() > 1 << 31
    y = multisk.row_normalize(x.unsqueeze(0), log=True)
    tail = multisk.row_normalize(x[-64:].unsqueeze(0), log=True)
    assert torch.equal(y[0, -64:], tail[0])


def test_another_stream_is_used_when_it_is_current():
    x = unit_scores(2, 5716, 64)
    want = multisk.solve(x, PROBLEM).plan
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        moved = x + 0.0
        got = multisk.solve(moved, PROBLEM).plan
    stream.synchronize()
    assert torch.equal(got, want)


@pytest.mark.parametrize("solver", ["newton", "sinkhorn"])
def test_a_solve_is_captured_and_replayed_on_new_scores(solver):
    x = unit_scores(2, 5716, 64)
    options = {"newton": multisk.Newton(max_steps=8), "sinkhorn": multisk.Sinkhorn(steps=20)}
    held = x.clone()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            multisk.solve(held, PROBLEM, options[solver])
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        plan = multisk.solve(held, PROBLEM, options[solver]).plan
    other = unit_scores(2, 5716, 64).flip(1).contiguous()
    held.copy_(other)
    graph.replay()
    torch.cuda.synchronize()
    want = multisk.solve(other, PROBLEM, options[solver]).plan
    torch.testing.assert_close(plan, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_the_sanitizer_finds_nothing_in_the_resident_kernel(tool):
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not installed")
    code = (
        "import torch, multisk\n"
        "x = torch.randn(1, 700, 64, device='cuda')\n"
        "p = multisk.MultiAssignment(k=8)\n"
        "multisk.solve(x, p, multisk.Sinkhorn(steps=4))\n"
        "torch.cuda.synchronize()\n"
    )
    run = subprocess.run(
        [sanitizer, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
