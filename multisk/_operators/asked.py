"""What the operators of a solve are given, as one value made in their first line."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multisk._backends.triton import kernels
from multisk._problem.collapse import Groups
from multisk._problem.margins import Margins
from multisk._problem.system import Strength, System


@dataclass(frozen=True)
class Asked:
    """Scores and what their plan has to meet.

    Attributes:
        scores: (B, N, K).
        scale: (B,), or (B, 2) for both channel groups.
        margins: rows (B, N), row_cells (B, N), columns (B, K), column_cells (B, K).
        free: (B, N, K), False where a cell takes no part.
        yields: None for cells capped at 1; (B, 2) for exp: eps / strength of rows and columns.
    """

    scores: Tensor
    scale: Tensor
    margins: list[Tensor]
    free: Tensor | None = None
    yields: Tensor | None = None

    @property
    def factor(self) -> Tensor:
        """The scale as it multiplies the scores, (B, 1, 1)."""
        return self.scale.to(self.scores.dtype).view(-1, 1, 1)

    @property
    def row_yields(self) -> Tensor | None:
        """The rows' yields (B,)."""
        return None if self.yields is None else self.yields[:, 0]

    @property
    def budgets(self) -> Any:
        """The margins as `multisk.kernels.sweep.Budgets`."""
        rows, row_cells, columns, column_cells = self.margins
        return kernels.sweep.Budgets(
            rows=rows,
            row_cells=row_cells,
            columns=columns,
            column_cells=column_cells,
            free=self.free,
        )

    def turned(self) -> "Asked":
        """The same with rows and columns exchanged."""
        free = None if self.free is None else self.free.mT
        yields = None if self.yields is None else self.yields.flip(1)
        margins = [*self.margins[2:], *self.margins[:2]]
        return Asked(self.scores.mT, self.scale, margins, free, yields)

    def take(self, index: Tensor) -> "Asked":
        """The problems at `index` of the batch."""
        return Asked(
            self.scores[index],
            self.scale[index],
            [margin[index] for margin in self.margins],
            None if self.free is None else self.free[index],
            None if self.yields is None else self.yields[index],
        )

    def at(self, a: Tensor, b: Tensor) -> Any:
        """The scores with potentials, as `multisk.kernels.wide.At`."""
        return kernels.wide.At(
            scores=self.scores,
            scale=self.scale,
            row_potential=a.contiguous(),
            column_potential=b.contiguous(),
            free=self.free,
            yields=self.row_yields,
        )

    def system(self, margins: list[Tensor] | None = None) -> System:
        """The system that this stands for, with other `margins` where they are given."""
        rows, row_cells, columns, column_cells = margins or self.margins
        units = (torch.where(rows > 0, rows, 1.0), torch.where(columns > 0, columns, 1.0))
        eps = (1 / self.scale.to(self.scores.dtype)).view(-1, 1, 1)
        relax: list[Strength] = [None, None]
        if self.yields is not None and bool((self.yields > 0).any()):
            relax = [strength_of(eps, self.yields[:, side]) for side in (0, 1)]

        return System(
            self.scores,
            eps,
            Margins(rows, columns, None, *units, row_cells, column_cells, self.free),
            Groups((1.0, 0.0), (1, 1), 1) if self.yields is None else None,
            (relax[0], relax[1]),
            None,
            None,
            self.scores.shape[:1],
            self.scores.dtype,
        )


def strength_of(eps: Tensor, tau: Tensor) -> Strength:
    """The KL strength eps / tau of a margin, a number where all are equal; None where exact."""
    first = float(tau[0])
    if not first > 0:
        return None

    each = eps.reshape(-1) / tau.to(eps)
    close = (each / each[0] - 1).abs() <= 8 * torch.finfo(eps.dtype).eps
    return float(eps[0]) / first if bool(close.all()) else each.view(-1, 1, 1)


def being_captured(x: Tensor) -> bool:
    """Whether a CUDA graph is recorded, so that the host must not look at values."""
    return x.is_cuda and torch.cuda.is_current_stream_capturing()
