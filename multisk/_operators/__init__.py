"""Operators of torch.library: Triton kernels on CUDA, plain torch elsewhere, one meaning.

Every operator has a fake implementation, so that it compiles and exports as one node; those that
stand in a derivative have an autograd formula. Importing this package registers them, but for
`multisk::birkhoff`, which `multisk.birkhoff` does; solvers call them by name
(`multisk._backends.operators`). The kernels are imported by the first call that runs
them (`multisk._backends.triton.kernels`): a process that stays on the CPU never loads Triton.
"""

from multisk._operators.axis import normalize, normalize_backward
from multisk._operators.decide import decide
from multisk._operators.implicit import plan_gradient
from multisk._operators.root import newton
from multisk._operators.rows import assign, assign_backward
from multisk._operators.sweep import sweeps
from multisk._operators.unroll import sweeps_gradient, sweeps_kept
from multisk._operators.whole import solve

__all__ = [
    "assign",
    "assign_backward",
    "decide",
    "newton",
    "normalize",
    "normalize_backward",
    "plan_gradient",
    "solve",
    "sweeps",
    "sweeps_gradient",
    "sweeps_kept",
]
