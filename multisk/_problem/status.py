"""How a solve ended: whole sentences, one number each so that a device can report them."""

import enum
import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int8
from torch import Tensor

from multisk._problem.problem import readable


class Status(enum.Enum):
    """How one problem of the batch ended; `value` is a sentence for people."""

    CONVERGED = "The marginals are met within the tolerance."
    STEPS_DONE = (
        "The requested sweeps are done, but the marginals are not met within the tolerance."
    )
    MAX_STEPS = "The step limit was reached before the marginals were met."
    STALLED = "Rounding or a degenerate problem stopped progress before the marginals were met."
    NONFINITE_SCORES = "The scores hold NaN or an infinity at an allowed pair."
    INFEASIBLE = "No plan can meet these budgets, capacities and masks."
    NONFINITE_PLAN = "The iteration left the range of the floating-point format."

    @property
    def code(self) -> int:
        """The number that stands for this status in `Solution.status_code`."""
        return _codes()[self]


@functools.cache
def _codes() -> dict[Status, int]:
    return {status: number for number, status in enumerate(Status)}


ROUNDINGS = 8  # relative errors of the number format by which a plan's own error is larger
LEAST = 0.8  # of the tolerance: torch's float32 sweeps circle just below 1e-6
TENTH = 0.1  # of the tolerance, which a part of an error may have and not count


def stop_at(tolerance: float, dtype: torch.dtype) -> float:
    """The error at which sweeps stop, Eq. (43), so that the plan handed out is within `tolerance`.

    The plan is rounded, and summed, once more than the sums that a sweep sees. Of 84 float32 plans
    that stopped at 0.8e-6 the worst was off by 0.89e-6.
    """
    return max(LEAST * tolerance, tolerance - ROUNDINGS * torch.finfo(dtype).eps)


def inner(tolerance: float) -> float:
    """The error of what a pass solves on its way (rows' roots), or before its plan is rounded."""
    return TENTH * tolerance


def verdict(
    error: Tensor, steps: Tensor, tolerance: float, most: int | None
) -> tuple[Bool[Tensor, " b"], Int8[Tensor, " b"]]:
    """Which problems converged, Eq. (43), and the code of every problem's status.

    Args:
        error: (b,) worst relative violation.
        steps: (b,) steps made.
        tolerance: Largest error that counts as converged.
        most: Limit of the steps; None after a fixed number of sweeps.
    """
    good = error <= tolerance
    if most is None:
        missed: Tensor | int = Status.STEPS_DONE.code
    else:
        missed = torch.where(steps >= most, Status.MAX_STEPS.code, Status.STALLED.code)

    return good, torch.where(good, Status.CONVERGED.code, missed).to(torch.int8)


@dataclass
class Findings:
    """What the checks of the values found, per problem of the batch.

    Where the values can be read for free (CPU) a finding raises at once. Elsewhere it is kept as
    a code on the device and comes back as the status of that problem, without a host sync.
    """

    kept: list[tuple[Bool[Tensor, " b"], Status]] = field(default_factory=list)

    @property
    def code(self) -> Int8[Tensor, " b"] | None:
        """The code of each problem's first finding, 0 where there is none; None where none is kept.

        Made from the last to the first, so that each finding is used once: Inductor writes a value
        out again at every use, and seven in a row that name the one before twice never end.
        """
        if not self.kept:
            return None
        code = torch.zeros_like(self.kept[0][0], dtype=torch.int8)
        for bad, status in reversed(self.kept):
            code = torch.where(bad, status.code, code)

        return code

    def require(
        self, bad: Bool[Tensor, " b"], status: Status, message: Callable[[int], str]
    ) -> None:
        """Raise `message(problem)` for the first bad problem, or remember `status` on a device."""
        if readable(bad):
            if bool(bad.any()):
                raise ValueError(message(int(bad.nonzero()[0, 0])))
            return

        self.kept.append((bad, status))
