"""Where float32 is kept although the surroundings are cast to bfloat16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor


def precise(x: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """float64 stays; everything else becomes float32."""
    return x if x.dtype == torch.float64 else x.float()


def cast_to(kind: str, x: Tensor) -> AbstractContextManager[object]:
    """Autocast on the device of ``x`` to ``bfloat16``, or none at all for ``float32``."""
    device = x.device.type
    if not torch.amp.is_autocast_available(device):
        return nullcontext()
    if kind == "float32" and not torch.is_autocast_enabled(device):
        return nullcontext()  # nothing to switch off; an exported graph holds no such context

    return torch.autocast(device, dtype=torch.bfloat16, enabled=kind == "bfloat16")
