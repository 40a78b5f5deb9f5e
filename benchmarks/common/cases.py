"""What is measured: problems by name, shared by `compare.py` and `test_cpu.py`."""

from dataclasses import dataclass

import torch
from torch import Tensor

import multisk

REACHED = 1e-5  # the marginal error at which transports are compared, in float32


@dataclass(frozen=True)
class Case:
    """Scores of a shape, and what is asked of them."""

    shape: tuple[int, ...]
    budget: int = 0  # columns a row; 0 is a classical transport
    eps: float = 0.07

    @property
    def cells(self) -> int:
        """Numbers in the scores."""
        return int(torch.Size(self.shape).numel())

    @property
    def problem(self) -> multisk.MultiAssignment | multisk.Transport:
        """The question."""
        if self.budget:
            return multisk.MultiAssignment(k=self.budget, eps=self.eps)
        return multisk.Transport(eps=self.eps)

    def scores(self) -> Tensor:
        """The same for everybody."""
        return cosines(*self.shape)


CASES = {
    "small": Case((64, 8), 3),
    "paper": Case((5716, 64), 32),
    "paper, eps 0.02": Case((5716, 64), 32, 0.02),
    "paper, eps 0.005": Case((5716, 64), 32, 0.005),
    "paper, eps 0.002": Case((5716, 64), 32, 0.002),
    "step": Case((20, 5716, 64), 32),
    "rows 2^12": Case((1 << 12, 64), 32),
    "rows 2^14": Case((1 << 14, 64), 32),
    "rows 2^16": Case((1 << 16, 64), 32),
    "rows 2^18": Case((1 << 18, 64), 32),
    "tall": Case((1 << 20, 64), 32),
    "large": Case((65536, 256), 64),
    "wide": Case((16384, 1024), 64),
    "many": Case((4096, 64, 64), 32),
    "transport": Case((5716, 64), eps=0.02),
    "square transport": Case((2048, 2048), eps=0.02),
    "transports": Case((64, 512, 512), eps=0.02),
}


def cosines(*shape: int, width: int = 128, seed: int = 0) -> Tensor:
    """Scores as an encoder gives them: cosines of random unit vectors."""
    rows, columns = points(*shape, width=width, seed=seed)
    return rows @ columns.mT


def points(*shape: int, width: int = 128, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The unit vectors (..., N, width) and (..., K, width) behind `cosines`."""
    generator = torch.Generator().manual_seed(seed)
    *batch, n, k = shape
    normal = torch.nn.functional.normalize
    rows = normal(torch.randn(*batch, n, width, generator=generator), dim=-1)
    columns = normal(torch.randn(*batch, k, width, generator=generator), dim=-1)
    return rows, columns
