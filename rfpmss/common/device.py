"""Where a model computes, checked before anything is read for it."""

from __future__ import annotations

import torch

from rfpmss.common.errors import RfpmssError


class DeviceError(RfpmssError, ValueError):
    """This machine has no such device."""


def require(name: str) -> str:
    """The name of a device of this machine.

    Raises:
        DeviceError: if it has none of that name.
    """
    try:
        works = float((torch.ones((), device=name) + 1).cpu()) == 2.0  # "meta" gives no number back
    except Exception:  # each backend of torch refuses in its own way
        works = False

    if not works:
        there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise DeviceError(
            f"--device must be a device of this machine, got {name}; there is {there}"
        )

    return name
