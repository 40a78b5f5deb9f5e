"""Balancing rules of routers as training frameworks use them, written from the published formulas.

Quantile Balancing: Su 2025, kexue.fm/archives/11619; with a histogram as in the Kimi K3 report.
Loss-free balancing: Wang et al. 2024, arXiv:2408.15664. `bias` is what is added to the scores.
"""

import torch
from torch import Tensor


def quantile_step(scores: Tensor, k: int, bias: Tensor) -> Tensor:
    """One dual coordinate step: the bias at which each expert would just get its share."""
    rows, experts = scores.shape
    threshold = (scores + bias).topk(k + 1, 1).values[:, -1:]
    new = -(scores - threshold).topk(rows * k // experts + 1, 0).values[-1]
    return new - new.mean()


class Plain:
    """Top-k without balancing."""

    def __init__(self, experts: int, k: int) -> None:
        self.bias, self.k = torch.zeros(experts), k

    def update(self, scores: Tensor) -> None:
        """Nothing moves."""


class Quantile(Plain):
    """Quantile Balancing: some dual steps a batch, and a moving average of what they give."""

    def __init__(self, experts: int, k: int, steps: int = 1, keep: float = 0.0) -> None:
        super().__init__(experts, k)
        self.steps, self.keep = steps, keep

    def update(self, scores: Tensor) -> None:
        """Steps on one batch, from the bias of the last."""
        new = self.bias
        for _ in range(self.steps):
            new = quantile_step(scores, self.k, new)
        self.bias = self.keep * self.bias + (1 - self.keep) * new


class Histogram(Plain):
    """Quantile Balancing from counts in uniform bins, as ranks can sum them."""

    def __init__(self, experts: int, k: int, bins: int = 1000) -> None:
        super().__init__(experts, k)
        self.bins = bins

    def update(self, scores: Tensor) -> None:
        """The quantile of every expert's required bias, linear within its bin."""
        experts = len(self.bias)
        threshold = (scores + self.bias).topk(self.k + 1, 1).values[:, -1:]
        low, high = self.bias.min() - 1, self.bias.max() + 1
        place = (threshold - scores - low) / (high - low) * self.bins
        place = place.long().clamp_(0, self.bins - 1) + self.bins * torch.arange(experts)
        count = place.flatten().bincount(minlength=experts * self.bins).view(experts, -1).double()
        below, share = count.cumsum(1), scores.shape[0] * self.k / experts
        at = (below < share).sum(1, keepdim=True).clamp_max(self.bins - 1)
        inside = count.gather(1, at)
        part = (share - below.gather(1, at) + inside) / inside.clamp_min(1)
        new = low + ((at + part) * (high - low) / self.bins)[:, 0].float()
        self.bias = new - new.mean()


class LossFree(Plain):
    """Loss-free balancing: the sign of each expert's shortfall, times a rate."""

    def __init__(self, experts: int, k: int, rate: float = 1e-3) -> None:
        super().__init__(experts, k)
        self.rate = rate

    def update(self, scores: Tensor) -> None:
        """One step of every expert."""
        routes = (scores + self.bias).topk(self.k, 1).indices
        loads = routes.flatten().bincount(minlength=len(self.bias)).float()
        self.bias = self.bias + self.rate * (loads.mean() - loads).sign()
