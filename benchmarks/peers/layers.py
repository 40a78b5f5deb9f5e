"""Fixed sweeps as layers use them today, written from the published formulas.

mHC: arXiv 2512.24880, Eq. 9. SwAV: arXiv 2006.09882. DINOv2: arXiv 2304.07193.
"""

import torch
from torch import Tensor


def birkhoff_sweeps(logits: Tensor, sweeps: int = 20, eps: float = 1e-6) -> Tensor:
    """Softmax, then columns and rows in turn; columns last."""
    p = torch.softmax(logits, -1) + eps
    p = p / (p.sum(-2, keepdim=True) + eps)
    for _ in range(sweeps - 1):
        p = p / (p.sum(-1, keepdim=True) + eps)
        p = p / (p.sum(-2, keepdim=True) + eps)
    return p


def centred_sweeps(teacher: Tensor, temperature: float, sweeps: int = 3) -> Tensor:
    """Exp without a shift in the dtype of the logits, the total, prototypes and samples in turn."""
    q = torch.exp(teacher / temperature).T
    k, b = q.shape
    q = q / q.sum()
    for _ in range(sweeps):
        q = q / q.sum(1, keepdim=True) / k
        q = q / q.sum(0, keepdim=True) / b
    return (q * b).T
