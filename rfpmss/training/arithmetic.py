"""What the last bits of a training depend on besides its code, configuration and cohort."""

from __future__ import annotations

import torch

import multisk


def arithmetic(device: str) -> dict[str, str]:
    """Who computes on a device: its kind, the processor, and who solves assignments there.

    numba's loops and the passes on whole arrays add up in different orders, and so do processors
    of other instructions; a run goes on with either, but then not to the bit.
    """
    where = torch.device(device)
    if where.type == "cuda":
        name = torch.cuda.get_device_name(where)
    else:
        name = torch.backends.cpu.get_cpu_capability()

    solved = multisk.solve(torch.eye(2, device=where), multisk.MultiAssignment(k=1))
    return {"device": where.type, "processor": name, "assignment": solved.backend}
