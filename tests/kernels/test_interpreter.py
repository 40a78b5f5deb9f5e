"""The interpreter that was made quick gives what the plain one gives, to the bit; its order."""

import pytest
import torch

from tests.kernels.tools import INTERPRET, marks, needs_kernels

needs_kernels()
if not INTERPRET:
    pytest.skip("a GPU needs no interpreter", allow_module_level=True)

import triton  # noqa: E402
import triton.language as tl  # noqa: E402
from triton.runtime import interpreter  # noqa: E402

from tests.kernels.calls import CALLS, Given, tables  # noqa: E402
from tests.kernels.interpreter import QUICKER, permute_programs, quicken  # noqa: E402

pytestmark = marks


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("newton", torch.bfloat16), ("unroll", torch.float64), ("groups", torch.float16)],
)
def test_the_quick_interpreter_gives_what_the_plain_one_gives(name, dtype, monkeypatch):
    given = tables(2, 9, 5, dtype)
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    quick = list(CALLS[name](Given(2, 9, 5, kind), *given))
    for part in QUICKER:
        monkeypatch.setattr(interpreter, part, getattr(interpreter, part).plain)
    plain = list(CALLS[name](Given(2, 9, 5, kind), *given))
    for one, two in zip(quick, plain, strict=True):
        assert (one is None and two is None) or torch.equal(one, two)


def test_it_is_made_quick_once():
    before = [getattr(interpreter, part) for part in QUICKER]
    quicken()
    assert [getattr(interpreter, part) for part in QUICKER] == before


@triton.jit
def chained(x, SKIP: tl.constexpr):
    """What no kernel here may do: each program adds one to what its neighbour has written."""
    at = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    before = tl.load(x + at - SKIP, mask=at >= SKIP, other=0.0)
    tl.store(x + at, before + 1.0)


def launched(skip):
    permute_programs()
    x = torch.zeros(12)
    chained[(4, 3)](x, SKIP=skip)
    return x


def test_every_program_runs_once_in_any_order():
    assert torch.equal(launched(skip=0), torch.ones(12))


def test_a_program_that_needs_an_earlier_one_is_found_out(monkeypatch):
    assert not torch.equal(launched(skip=1), torch.arange(1.0, 13.0))
    dim, place = interpreter.InterpreterBuilder.in_turn
    monkeypatch.setattr(interpreter.InterpreterBuilder, "set_grid_dim", dim)
    monkeypatch.setattr(interpreter.InterpreterBuilder, "set_grid_idx", place)
    assert torch.equal(launched(skip=1), torch.arange(1.0, 13.0))
