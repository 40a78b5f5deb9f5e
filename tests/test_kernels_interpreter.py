"""The interpreter that was made quick gives what the plain one gives, to the bit."""

import pytest
import torch

from tests.kernel_tools import INTERPRET, marks, needs_kernels

needs_kernels()
if not INTERPRET:
    pytest.skip("a GPU needs no interpreter", allow_module_level=True)

from triton.runtime import interpreter  # noqa: E402

from tests.interpreter import QUICKER, quicken  # noqa: E402
from tests.kernel_calls import CALLS, Given, tables  # noqa: E402

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
