"""Where a model computes, checked before anything is read for it."""

from __future__ import annotations

from rfpmss.common.errors import RfpmssError


class DeviceError(RfpmssError, ValueError):
    """This machine has no such device."""


def require(name: str) -> str:
    """The name of a device of this machine.

    Raises:
        DeviceError: if it has none of that name.
    """
    import torch

    try:
        torch.empty(0, device=name)
    except (AssertionError, NotImplementedError, RuntimeError):
        there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise DeviceError(
            f"--device must be a device of this machine, got {name}; there is {there}"
        ) from None
    return name
