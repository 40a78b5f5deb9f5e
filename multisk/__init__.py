"""Assignment by optimal transport: each row takes exactly k columns, each column its share."""

from importlib import import_module

from multisk import _operators as _operators  # registers the operators that solvers call by name
from multisk import reference
from multisk._backends.choose import use_backend
from multisk._backends.torch.normalize import column_normalize, depth_normalize, row_normalize
from multisk._hard import Hard, hard
from multisk._problem.problem import MultiAssignment, Transport
from multisk._problem.status import Status
from multisk._solution.solution import Solution
from multisk._solve import solve
from multisk._solvers.base import Solver
from multisk._solvers.exact import Exact
from multisk._solvers.newton import Newton
from multisk._solvers.sinkhorn import Sinkhorn
from multisk.assigner import BalancedAssigner

__version__ = "0.1.0"

__all__ = [
    "Exact",
    "BalancedAssigner",
    "Hard",
    "MultiAssignment",
    "Newton",
    "Sinkhorn",
    "Solution",
    "Solver",
    "Status",
    "Transport",
    "column_normalize",
    "depth_normalize",
    "hard",
    "reference",
    "row_normalize",
    "solve",
    "use_backend",
]


def __getattr__(name: str) -> object:
    """`multisk.kernels`, `benchmark` and `plot` without an import of their own."""
    if name in {"benchmark", "kernels", "plot"}:
        return import_module(f"multisk.{name}")
    raise AttributeError(f"module 'multisk' has no attribute {name!r}")
