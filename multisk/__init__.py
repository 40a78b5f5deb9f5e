"""Assignment by optimal transport: each row takes exactly k columns, each column its share."""

from multisk import reference
from multisk._normalize import column_normalize, depth_normalize, row_normalize
from multisk._problem import MultiAssignment, Transport
from multisk._solution import Solution
from multisk._solve import solve
from multisk._solver.exact import Exact
from multisk._solver.newton import Newton
from multisk._solver.sinkhorn import Sinkhorn
from multisk._status import Status
from multisk.assigner import BalancedAssigner

__all__ = [
    "Exact",
    "BalancedAssigner",
    "MultiAssignment",
    "Newton",
    "Sinkhorn",
    "Solution",
    "Status",
    "Transport",
    "column_normalize",
    "depth_normalize",
    "reference",
    "row_normalize",
    "solve",
]
