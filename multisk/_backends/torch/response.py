"""How the margins of three and more channel groups answer to their potentials, tile by tile.

In every cell the groups' masses are q = softmax over c of s_c X / eps + u_ci + v_cj; a change d of
the exponents moves them by q (d - sum_c q_c d_c), Eq. (30) of docs/multisk/mathematics.md. Nothing
of the size C x N x K is kept: the masses are made again in every visit.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from multisk._backends.torch.groups import GroupSweeps
from multisk._backends.torch.passes import log_shares
from multisk._problem.sharding import total
from multisk._problem.system import System

TILE = 1 << 18  # numbers of a tile's masses on the CPU
Pair = tuple[Tensor, Tensor]  # something for rows (b, c, n) and for columns (b, c, k)


@runtime_checkable
class Response(Protocol):
    """A point's second-order information; sums over columns are those of this rank's rows."""

    def curvature(self) -> Pair:
        """The diagonal of the answer."""
        ...

    def answer(self, alpha: Tensor, beta: Tensor) -> Pair:
        """Row and column sums of the masses' response to a change of potentials."""
        ...


class Tiled:
    """The response at potentials a (b, c, n) and b (b, c, k), in plain torch."""

    def __init__(self, system: System, a: Tensor, b: Tensor) -> None:
        assert system.groups is not None
        self.system, self.a, self.b = system, a, b
        self.top, self.count = system.groups.top, len(system.groups.scales)
        self.over = GroupSweeps(system, "row-column-depth").scales
        x = system.scores
        self.scales = torch.tensor(system.groups.scales, dtype=x.dtype, device=x.device)

    def shares(self) -> Iterator[tuple[slice, Tensor]]:
        """Row ranges and their masses (b, c, m, k)."""
        x, free = self.system.scores, self.system.margins.free
        size, n, k = x.shape
        limit = TILE if x.device.type == "cpu" else TILE << 6
        height = max(1, limit // max(1, size * k * self.count))
        for start in range(0, n, height):
            part = slice(start, min(start + height, n))
            cells = None if free is None else free[:, part]
            a = self.a[:, :, part]
            yield part, log_shares(x[:, part], self.over, a, self.b, cells).exp()

    def collect(self, change: Callable[[slice, Tensor], Tensor]) -> Pair:
        """Row and column sums of something per cell and group."""
        rows = torch.zeros_like(self.a, dtype=torch.float64)
        columns = torch.zeros_like(self.b, dtype=torch.float64)
        for part, q in self.shares():
            moved = change(part, q)
            rows[:, :, part] = moved.sum(-1)
            columns += moved.sum(-2)

        return rows, columns

    def sums(self) -> Pair:
        """Row and column sums of every group."""
        return self.collect(lambda _, q: q)

    def curvature(self) -> Pair:
        """The diagonal of the answer, by Eq. (30) for a change of one group alone."""
        return self.collect(lambda _, q: q * (1 - q))

    def answer(self, alpha: Tensor, beta: Tensor) -> Pair:
        """Row and column sums of the masses' response to a change of potentials."""
        return self.collect(lambda part, q: slope(q, self.change(part, q, alpha, beta)))

    def pull(self, grad: Tensor) -> Pair:
        """Row and column sums of what the plan's cotangent asks for."""
        return self.collect(lambda part, q: slope(q, self.wish(grad[:, part], q)))

    def scores(self, grad: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """Cotangents of scores / eps, (b, n, k), and of scales / eps, (b, c)."""
        x = self.system.scores
        found, scales = torch.empty_like(x), x.new_zeros((x.shape[0], self.count)).double()
        for part, q in self.shares():
            change = self.change(part, q, alpha, beta)
            # Eq. (31) with the softmax's slope in the place of W.
            bent = slope(q, self.wish(grad[:, part], q) - change)
            found[:, part] = torch.einsum("c,bcnk->bnk", self.scales, bent)
            scales += torch.einsum("bnk,bcnk->bc", x[:, part], bent)

        return found, scales

    def change(self, part: slice, q: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        """Change of the exponents in a tile."""
        return alpha[:, :, part, None].to(q) + beta.to(q)[..., None, :]

    def wish(self, grad: Tensor, q: Tensor) -> Tensor:
        """The plan's cotangent for every group: only the first groups are in the plan."""
        inside = (torch.arange(self.count, device=q.device) < self.top).to(q.dtype)
        return grad[:, None] * inside[:, None, None]


def slope(q: Tensor, d: Tensor) -> Tensor:
    """The softmax's derivative in every cell, Eq. (30): q_c (d_c - sum_c q_c d_c)."""
    mass = q.sum(1, keepdim=True)
    mean = (q * d).sum(1, keepdim=True) / mass.masked_fill(mass == 0, 1.0)
    return q * (d - mean)


def balance(
    table: Response,
    right: Pair,
    group: Any,
    *,
    damping: float | Tensor = 0.0,
    tolerance: float = 1e-12,
    most: int = 2000,
) -> Pair:
    """Potentials whose response has the given row and column sums, by conjugate gradients (1952).

    The operator is singular along shifts that change no plan; `right` has no part there, and the
    iterates never get one.

    Args:
        table: The response; its column sums are added up over ranks here.
        right: Row sums (b, c, n) of this rank, column sums (b, c, k) of all.
        group: The ranks.
        damping: (b, 1, 1), added to the operator's diagonal.
        tolerance: Relative residual to stop at, measured by the preconditioner.
        most: Limit on visits.
    """
    by_row, by_column = table.curvature()
    row_diagonal = by_row.double().clamp_min(1e-300) + damping
    column_diagonal = total(by_column.double(), group).clamp_min(1e-300) + damping

    def dot(x: Pair, y: Pair) -> Tensor:
        row_part = total((x[0] * y[0]).flatten(1).sum(-1), group)
        return (row_part + (x[1] * y[1]).flatten(1).sum(-1))[:, None, None]

    residual = right[0].double(), right[1].double()
    x = torch.zeros_like(residual[0]), torch.zeros_like(residual[1])
    z = residual[0] / row_diagonal, residual[1] / column_diagonal
    move, norm = z, dot(residual, z)
    stop = tolerance**2 * norm
    for _ in range(most):
        if not bool((norm > stop).any()):
            break

        # Eq. (30) summed over rows and columns: one visit to the scores.
        rows, columns = table.answer(*move)
        applied = rows + damping * move[0], total(columns.double(), group) + damping * move[1]
        curve = dot(move, applied)
        good = (norm > stop) & (curve > 0)
        if not bool(good.any()):
            break

        # The minimum along `move`, and then a direction conjugate to it.
        length = torch.where(good, norm / curve.masked_fill(~good, 1.0), 0.0)
        x = x[0] + length * move[0], x[1] + length * move[1]
        residual = residual[0] - length * applied[0], residual[1] - length * applied[1]
        z = residual[0] / row_diagonal, residual[1] / column_diagonal
        new = dot(residual, z)
        ratio = torch.where(good, new / norm.masked_fill(~good, 1.0), 0.0)
        move, norm = (z[0] + ratio * move[0], z[1] + ratio * move[1]), new

    return x
