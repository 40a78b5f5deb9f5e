"""Algorithm 1 on merged channels, Eq. (4): the K-channel sweeps at the cost of a few matrices."""

from dataclasses import dataclass

import torch
from torch import Tensor

from multisk._backends import operators
from multisk._backends.base import Raw
from multisk._backends.choose import (
    doubles,
    kernels_serve,
    one_operator,
    operator_unrolls,
    retriable,
)
from multisk._backends.numba import solve as cpu
from multisk._backends.torch import dense
from multisk._backends.torch.sweeps import ORDERS, Sweeps, sweeps_of
from multisk._backends.torch.tiles import violation
from multisk._backends.triton.sweeps import kernel_sweeps, sweep_until
from multisk._problem.problem import to_python_numbers
from multisk._problem.start import centred, settled, tame
from multisk._problem.status import stop_at, verdict
from multisk._problem.system import System
from multisk._problem.types import Number, Whole
from multisk._solvers.options import check_gradient, check_number, check_steps
from multisk._solvers.precise import precisely, retried, with_verdict


@dataclass(frozen=True, kw_only=True)
class Sinkhorn:
    """Alternate normalisation: rows, columns, depths (or columns, depths, rows).

    Channels of one scale stay equal at every sweep, so the K x N x K table is carried as one
    potential a row and column and group; the iterates are those of the full table.

    Args:
        steps: Exactly that many sweeps, no stopping test and no host sync; None sweeps until
            `tolerance`.
        tolerance: Largest relative violation of a row or column sum that counts as converged.
        max_steps: Limit when `steps` is None.
        order: "row-column-depth" (the paper) or "column-depth-row" (its published code; the plan
            is then read after the row step). A transport has no depth.
        dense: Materialise all K channels, for checking: K times the memory and work.
            It never stops early: all `max_steps` are made where `steps` is None.
        gradient: "implicit" differentiates the limit, "unroll" the sweeps themselves, "none"
            detaches. None means "unroll" when `steps` is given, "implicit" otherwise.

    Example:
        >>> import torch, multisk
        >>> problem = multisk.MultiAssignment(k=1)
        >>> multisk.solve(torch.zeros(4, 2), problem, Sinkhorn(steps=1)).plan[0]
        tensor([0.5000, 0.5000])
    """

    steps: Whole | None = None
    tolerance: Number = 1e-6
    max_steps: Whole = 1000
    order: str = "row-column-depth"
    dense: bool = False
    gradient: str | None = None

    def __post_init__(self) -> None:
        to_python_numbers(self, "steps", "tolerance", "max_steps")
        if self.steps is not None:
            check_steps("steps", self.steps)

        check_steps("max_steps", self.max_steps)
        check_number("tolerance", self.tolerance)
        check_gradient(self.gradient, ("implicit", "unroll", "none", None))
        if self.order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {self.order!r}")

    def run(self, system: System, init: Tensor | None) -> Raw:
        """Sweep every problem of the batch."""
        if system.bounded_rows or system.margins.upper is not None:
            name = "rows" if system.groups is None else "k" if system.bounded_rows else "capacity"
            name = "columns" if name == "rows" and not system.bounded_rows else name
            raise ValueError(f"{name} must be exact for Sinkhorn, got an interval (use Newton)")

        init = settled(system, init)
        if self.dense:
            return dense.run(system, self.steps or self.max_steps, self.order, self.tolerance)

        if self.order == ORDERS[0] and tame(init):
            if doubles(system):
                return self.judge(precisely(system, init, self.run))
            limits = {"tolerance": float(self.tolerance), "most": self.max_steps}
            fast = cpu.sweep(system, init, self.run_in_torch, steps=self.steps, **limits)
            if fast is not None:
                return self.settle(fast, system, init)

        return self.settle(self.run_in_torch(system, init), system, init)

    def settle(self, raw: Raw, system: System, init: Tensor | None) -> Raw:
        """Sweep in float64 what rounding kept from the tolerance in float32."""
        if self.steps is not None or not retriable(system):
            return raw
        return self.judge(retried(raw, system, init, self.run, self.max_steps))

    def judge(self, raw: Raw) -> Raw:
        """The verdict that belongs to the error."""
        return with_verdict(raw, self.tolerance, None if self.steps is not None else self.max_steps)

    def run_in_torch(self, system: System, init: Tensor | None) -> Raw:
        """The same in plain torch or by the operators, on any device."""
        on_device = kernels_serve(system)
        sweeps = (kernel_sweeps if on_device else sweeps_of)(system, self.order)
        kept = None
        if self.steps is not None:
            if system.groups is not None and one_operator(system):
                a, b, kept = self.sweep_whole(system, sweeps, init, self.steps)
            else:
                a, b = sweep_times(sweeps, self.steps, init)
            steps = torch.full(a.shape[:1], self.steps, dtype=torch.int64, device=a.device)
        elif on_device:
            limits = stop_at(float(self.tolerance), system.scores.dtype), self.max_steps
            a, b, steps = sweep_until(system, sweeps, init, *limits, self.order)
        else:
            a, b, steps = self.until_tolerance(sweeps, init)

        raw = self.wrap(system, sweeps, a, b, steps)
        raw.kept = kept
        return raw

    def sweep_whole(
        self, system: System, sweeps: Sweeps, init: Tensor | None, steps: int
    ) -> tuple[Tensor, Tensor, operators.Three | None]:
        """All sweeps by one operator, and what they leave where the derivative will ask for it."""
        first = self.order == ORDERS[0]
        if system.traced and operator_unrolls(system, steps, init):
            kept = operators.sweep_kept(system, steps, rows_first=first)
            return kept[0][-1].clone(), kept[1][-1].clone(), kept

        start = None if init is None else sweeps.warm(init)
        return *operators.sweep_exactly(system, steps, start, rows_first=first), None

    def until_tolerance(self, sweeps: Sweeps, init: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Sweep until every problem meets the tolerance; finished problems stand still."""
        a, b = sweeps.first() if init is None else sweeps.warm(init)
        # Eq. (43)
        goal = stop_at(float(self.tolerance), a.dtype)
        done = torch.zeros(a.shape[0], dtype=torch.bool, device=a.device)
        steps = torch.full_like(done, self.max_steps, dtype=torch.int64)
        for sweep in range(0 if init is not None else 1, self.max_steps):
            if init is not None:
                a, b = centred(sweeps.system, a, b)
            new_a, new_b, error = sweeps.next(a, b, measure=True)
            reached = (error <= goal) & ~done
            steps = torch.where(reached, sweep, steps)
            here = reached.view(-1, *[1] * (a.ndim - 1))
            a = torch.where(here, sweeps.measured(a, new_a), a)
            done = done | reached
            if bool(done.all()):
                break
            still = done.view(-1, *[1] * (a.ndim - 1))
            a, b = torch.where(still, a, new_a), torch.where(still, b, new_b)

        return a, b, steps

    def wrap(self, system: System, sweeps: Sweeps, a: Tensor, b: Tensor, steps: Tensor) -> Raw:
        """Compute the plan after the last sweep and measure it."""
        plan, row_sums, column_sums, scale = sweeps.finish(a, b)
        error = violation(system, row_sums, column_sums, a, b)
        most = None if self.steps is not None else self.max_steps
        ended = verdict(error, steps, self.tolerance, most)

        return Raw(plan, a, b, error, steps, *ended, scale)


def sweep_times(sweeps: Sweeps, steps: int, init: Tensor | None) -> tuple[Tensor, Tensor]:
    """`steps` sweeps, the potentials after them; differentiable, and free of host syncs."""
    a, b = sweeps.first() if init is None else sweeps.warm(init)
    for _ in range(steps - (init is None)):
        if init is not None:
            a, b = centred(sweeps.system, a, b)
        a, b, _ = sweeps.next(a, b, measure=False)

    return a, b
