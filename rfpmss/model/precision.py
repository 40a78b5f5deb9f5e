"""Where float32 is kept although the surroundings are cast to bfloat16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor


def uncast(x: Float[Tensor, "*s"]) -> AbstractContextManager[object]:
    """A context without autocast on the device of ``x``."""
    kind = x.device.type
    available = torch.amp.is_autocast_available(kind)
    return torch.autocast(kind, enabled=False) if available else nullcontext()
