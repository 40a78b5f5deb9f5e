"""What the kernel tests share: where they run, NaN-filled allocations, red zones, error bounds."""

import contextlib
import os

import pytest
import torch

from tests.kernels.interpreter import permute_programs, quicken

INTERPRET = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRET else "cuda"
RED = 4096  # values of red zone on either side of a guarded tensor
quiet = [  # for every module whose tests run the interpreter
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # NumPy speaks up where a GPU does not
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim"),  # Triton 3.6, NumPy 2.3
]
marks = [pytest.mark.interpret, pytest.mark.gpu, *quiet]


def needs_kernels():
    """Skip a module, in one line, where kernels cannot run; set the interpreter up."""
    pytest.importorskip("triton")
    if INTERPRET:
        quicken()
        if os.environ.get("PROGRAM_ORDER") != "ascending":
            permute_programs()
    elif not torch.cuda.is_available():
        pytest.skip(
            "kernels run under TRITON_INTERPRET=1 or on a CUDA device", allow_module_level=True
        )


def tolerance(dtype):
    """Relative error allowed: rounding of the result, one unit more for the interpreter's bf16."""
    return {
        torch.float64: 1e-12,
        torch.float32: 1e-5,
        torch.float16: 2e-3,
        torch.bfloat16: 1.6e-2,
    }[dtype]


def assert_near(got, want, dtype=None, scale=1.0):
    """Compare in float64: relative to each value, and to the largest as the floor."""
    rtol = scale * tolerance(dtype or got.dtype)
    floor = rtol * max(1e-30, want.double().nan_to_num(0, 0, 0).abs().max().item())
    torch.testing.assert_close(got.double(), want.double(), rtol=rtol, atol=floor)


def guarded(value):
    """A copy in the middle of a NaN arena, and a check that nothing was written around it."""
    arena = torch.full((value.numel() + 2 * RED,), float("nan"), dtype=value.dtype, device=DEVICE)
    inner = arena[RED : RED + value.numel()].view(value.shape)
    inner.copy_(value)

    def check():
        assert arena[:RED].isnan().all(), "written before the tensor"
        assert arena[RED + value.numel() :].isnan().all(), "written after the tensor"

    return inner, check


@contextlib.contextmanager
def nan_arenas():
    """Let every float ``torch.empty`` be NaN inside a red zone; check the zones at the end."""
    plain, arenas = torch.empty, []

    def empty(*size, **options):
        made = plain(*size, **options)
        if not made.is_floating_point():
            return made.fill_(-1)
        arena = plain(made.numel() + 2 * RED, dtype=made.dtype, device=made.device)
        arena.fill_(float("nan"))
        arenas.append((arena, made.numel()))
        return arena[RED : RED + made.numel()].view(made.shape)

    torch.empty = empty
    try:
        yield
    finally:
        torch.empty = plain
    for arena, length in arenas:
        assert arena[:RED].isnan().all(), "written before an output"
        assert arena[RED + length :].isnan().all(), "written after an output"
