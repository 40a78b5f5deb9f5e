"""What a solve in the interpreter does: its torch operations on tables of scores, its launches."""

import contextlib
import math

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from triton.runtime.interpreter import InterpretedFunction

B, N, K = 2, 11, 5
# What prepares scores and a mask, copies, and scales a finished cotangent; no visit of a solver.
HARMLESS = {
    *("empty", "empty_like", "new_empty", "zeros", "clone", "copy_", "_to_copy", "detach"),
    *("view", "_unsafe_view", "reshape", "expand", "transpose", "slice", "select", "index"),
    *("permute", "as_strided", "unsqueeze", "alias", "set_", "t", "is_same_size"),
    *("aminmax", "isfinite", "masked_fill", "bitwise_not", "mul", "div", "ones_like"),
    *("zeros_like", "full_like", "fill_", "unbind", "_local_scalar_dense"),
    *("new_full", "new_ones", "new_zeros", "randn"),  # made beside a table, not from it
}
# The budgets of a mask are counted once, before any solver; no scores are read.
COUNTS = {"sum", "all", "any", "bitwise_and", "bitwise_and_", "bitwise_or_", "bitwise_or", "eq"}


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def mask():
    free = draw(B, N, K, seed=1) > -1.0
    free[..., 1:4] = True
    return free


class Watch(TorchDispatchMode):
    """Writes down torch operations on tables of scores' size, the files launched from, kernels."""

    def __init__(self):
        super().__init__()
        self.operations, self.launched, self.kernels, self.inside = set(), set(), set(), False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if not self.inside:
            tables = [x for x in (*args, found) if isinstance(x, torch.Tensor) and is_table(x)]
            if tables and function.namespace == "aten":
                name = function.overloadpacket.__name__
                counted = all(x.dtype == torch.bool for x in args if isinstance(x, torch.Tensor))
                if not (name in HARMLESS or (name in COUNTS and counted)):
                    self.operations.add(name)
        return found


def is_table(x):
    return x.ndim >= 2 and sorted(x.shape[-2:]) == sorted((N, K)) and math.prod(x.shape) >= N * K


@contextlib.contextmanager
def watching(monkeypatch):
    watch, plain = Watch(), InterpretedFunction.run

    def run(self, *args, **options):
        file = self.fn.__module__.rpartition(".")[2]
        watch.launched.add(file)
        watch.kernels.add(f"{file}.{self.fn.__name__}")
        watch.inside, before = True, watch.inside
        try:
            return plain(self, *args, **options)
        finally:
            watch.inside = before

    with monkeypatch.context() as patch, watch:
        patch.setattr(InterpretedFunction, "run", run)
        yield watch
