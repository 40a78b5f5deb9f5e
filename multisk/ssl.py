r"""Targets of self-supervised learning: balanced over the prototypes, at any temperature and dtype.

    Q_ij = \exp(X_ij / T + a_i + b_j) with rows that sum to 1 and even columns;

SwAV's codes, and the Sinkhorn-Knopp centring of DINO, iBOT and CAPI. Three sweeps, as these do,
depend on shifts of the logits that the limit does not know, and exponentials without a shift leave
the number range; here the limit is solved, in the log domain or with potentials near the answer.
All targets are constants: nothing here is differentiated.

Source: Caron et al. 2020 (arXiv 2006.09882), Oquab et al. 2023 (arXiv 2304.07193).
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multisk._problem.problem import (
    Transport,
    check_real_tensor,
    first_bad,
    readable,
)
from multisk._problem.sharding import largest, together, total
from multisk._problem.types import Count, Group, Real, Scores, Temperature, Values
from multisk._solve import solve
from multisk._solvers.newton import Newton
from multisk._solvers.options import check_number, check_steps
from multisk._solvers.sinkhorn import Sinkhorn
from multisk._warning import MultiskWarning

__all__ = ["SinkhornCentering", "positionwise", "targets"]

TOLERANCE = 1e-4  # largest relative error of a column
PRECISE = 500.0  # spread over temperature from which float32 exponents lose the third digit
EASY = 400.0  # spread over temperature up to which sweeps are tried first
SWEEPS = 100
WARM = 16.0  # spread over temperature at which Newton's method converges from anywhere
ROUGH, PASSES = 0.05, 12  # tolerance and limit of a temperature on the way
STAGES = 60  # temperatures tried at most


def targets(
    logits: Scores,
    temperature: Temperature,
    *,
    live: Values | None = None,
    sweeps: Count | None = None,
    weight: Values | None = None,
    start: Values | None = None,
    group: Group | None = None,
) -> Float[Tensor, "*rows k"]:
    """Rows that sum to 1 and load the prototypes evenly.

    Args:
        logits: (*rows, K), any floating dtype: one problem, whatever the leading shape.
        temperature: T, above 0.
        live: Boolean (*rows); what stands in other rows is not read (it may be NaN), and their
            targets are 0.
        sweeps: None solves until no column is off by more than 1e-4, which reads a few numbers
            from a device; an int makes that many sweeps, columns then rows, as SwAV and DINOv2 do
            (they use 3), in the log domain and without reading anything.
        weight: (*rows), at least 0: how much a row counts in its columns. Rows still sum to 1.
        start: A centre to start from, in the units of the logits (K,): `SinkhornCentering.center`.
        group: torch.distributed group over whose ranks the rows are spread; None is this process
            alone, whatever is initialised.

    Returns:
        (*rows, K), float32; float64 for float64 logits.

    Raises:
        ValueError: When an argument breaks its rule, or a live logit on the CPU is not finite.

    Example:
        >>> targets(torch.tensor([[300.0, 0.0], [200.0, 0.0]]), 0.01).sum(0).round(decimals=3)
        tensor([1., 1.])
    """
    asked = together(lambda: prepare(logits, temperature, live, weight, group), logits, group)
    flat = asked.flat()
    return flat.rows_at(potentials(flat, sweeps, start)).view(logits.shape)


def positionwise(
    logits: Scores,
    temperature: Temperature,
    *,
    live: Values | None = None,
    sweeps: Count | None = None,
    weight: Values | None = None,
    group: Group | None = None,
) -> Float[Tensor, "*batch n k"]:
    """`targets` with a problem of its own for every index of the leading dimensions (CAPI).

    Args:
        logits: (*batch, N, K): N rows of each of the problems, as (positions, images, K).
        temperature: As in `targets`.
        live: Boolean (*batch, N).
        sweeps: As in `targets`.
        weight: (*batch, N).
        group: As in `targets`.

    Returns:
        (*batch, N, K), as in `targets`.

    Raises:
        ValueError: As in `targets`.
    """
    asked = together(lambda: prepare(logits, temperature, live, weight, group), logits, group)
    return asked.rows_at(potentials(asked, sweeps, None)).view(logits.shape)


class SinkhornCentering(nn.Module):
    """The teacher's targets in DINOv2's call, with a centre that outlives the batch.

    With `keep=0` the targets of a batch are balanced within it, and equal `targets`. With `keep`
    above 0 they are the softmax at the running centre: balanced over the batches of the last
    1 / (1 - keep) updates, which is what batches smaller than the prototypes want (SwAV has a
    queue for it), and what gradient accumulation wants.

    Args:
        num_prototypes: K.
        sweeps: As in `targets`.
        keep: Share of the old centre that stays after a training batch, in [0, 1).
        group: As in `targets`.

    Attributes:
        center: (K,) float64, in the units of the logits, mean 0: -temperature times the column
            potentials. Saved with `state_dict`; kept in float64 whatever the module is cast to.
        updates: Number of training batches seen.

    Raises:
        ValueError: When an argument breaks its rule.

    Example:
        >>> centering = SinkhornCentering(2)
        >>> centering(torch.tensor([[5.0, 0.0], [4.0, 0.0]]), 0.1).sum(0).round(decimals=3)
        tensor([1., 1.])
    """

    center: Tensor
    updates: Tensor

    def __init__(
        self,
        num_prototypes: Count,
        *,
        sweeps: Count | None = None,
        keep: Real = 0.0,
        group: Group | None = None,
    ) -> None:
        super().__init__()
        check_steps("num_prototypes", num_prototypes)
        if sweeps is not None:
            check_steps("sweeps", sweeps)

        if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 <= keep < 1:
            raise ValueError(f"keep must lie in [0, 1), got {keep!r}")

        self.num_prototypes, self.sweeps = num_prototypes, sweeps
        self.keep, self.group = float(keep), group
        self.register_buffer("center", torch.zeros(num_prototypes, dtype=torch.float64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(
        self,
        teacher_output: Scores,
        teacher_temp: Temperature,
        n_masked_patches_tensor: Values | Count | None = None,
    ) -> Float[Tensor, "*rows k"]:
        """Targets of a batch; the centre moves in training alone. No argument is written to.

        Args:
            teacher_output: Logits (*rows, K).
            teacher_temp: Temperature, above 0.
            n_masked_patches_tensor: How many of the rows count (the first ones, in the order of
                the flattened leading dimensions); None counts all. The rest get targets of 0.

        Raises:
            ValueError: As in `targets`, and when K is not `num_prototypes`.
        """
        check_real_tensor("teacher_output", teacher_output)
        live = None
        if n_masked_patches_tensor is not None:
            live = first_rows(teacher_output, n_masked_patches_tensor)

        group = self.group
        asked = together(
            lambda: prepare(self.checked(teacher_output), teacher_temp, live, None, group),
            teacher_output,
            group,
        ).flat()
        fresh = readable(self.updates) and int(self.updates) == 0
        # A number of sweeps begins where the peers begin, at the logits.
        start = None if fresh or self.sweeps is not None else self.center
        b = potentials(asked, self.sweeps, start)
        if self.keep == 0 and not self.training:
            return asked.rows_at(b).view(teacher_output.shape)

        new = (-asked.temperature * b[0]).to(self.center)
        new = new - new.mean()
        mixed = torch.where(self.updates == 0, new, self.keep * self.center + (1 - self.keep) * new)
        mixed = torch.where(mixed.isfinite(), mixed, self.center)
        if self.training:
            some = asked.alive()
            self.center.copy_(torch.where(some, mixed, self.center))
            self.updates += some

        if self.keep > 0:
            stored = torch.where(self.updates == 0, mixed, self.center)
            b = (-stored / asked.temperature).to(b)[None]

        return asked.rows_at(b).view(teacher_output.shape)

    @torch.no_grad()
    def assign(self, logits: Scores, temperature: Temperature) -> Float[Tensor, "*rows k"]:
        """Softmax at the stored centre: targets of rows without their batch, (*rows, K)."""
        asked = prepare(self.checked(logits), temperature, None, None, None).flat()
        b = (-self.center / asked.temperature).to(asked.x)[None]
        return asked.rows_at(b).view(logits.shape)

    def checked(self, logits: Scores) -> Any:
        """The logits, if they have a column for each prototype."""
        shape = tuple(getattr(logits, "shape", ()))
        if shape[-1:] != (self.num_prototypes,):
            raise ValueError(f"logits must have {self.num_prototypes} columns, got {shape}")
        return logits

    def extra_repr(self) -> str:
        """What `print(module)` shows."""
        return f"{self.num_prototypes}, sweeps={self.sweeps}, keep={self.keep:g}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "SinkhornCentering":  # noqa: FBT001, FBT002
        """Follow the module to its device, but never into a narrower dtype."""
        kept = self.center
        super()._apply(fn, recurse)
        if self.center.dtype != kept.dtype:
            self.center = kept.to(self.center.device)

        return self


@dataclass(frozen=True)
class Asked:
    """Logits (b, n, K) in float32 or float64, 0 in dead rows; mass (b, n), 0 there."""

    x: Tensor
    mass: Tensor
    temperature: float
    group: Any

    def flat(self) -> "Asked":
        """All rows as one problem."""
        return replace(self, x=self.x.flatten(0, 1)[None], mass=self.mass.flatten()[None])

    def rows_at(self, b: Tensor) -> Tensor:
        """Softmax of the rows at column potentials (b, K); 0 in dead rows."""
        y = self.x.to(b) / self.temperature + b[:, None]
        plan = y.softmax(-1).masked_fill((self.mass <= 0)[..., None], 0.0)
        return plan.to(self.x.dtype)

    def alive(self) -> Tensor:
        """Whether any row of any rank counts, ()."""
        return total(self.mass.sum(), self.group) > 0

    def spread(self) -> float:
        """The widest live row, over the temperature; the same on all ranks."""
        wide = (self.x.amax(-1) - self.x.amin(-1)).masked_fill(self.mass <= 0, 0.0)
        widest = wide.max() if wide.numel() else wide.new_zeros(())
        return float(largest(widest, self.group)) / self.temperature


def prepare(logits: Any, temperature: Any, live: Any, weight: Any, group: Any) -> Asked:
    """Check what is given, and clear the rows that do not count."""
    check_real_tensor("logits", logits)
    if not logits.is_floating_point():
        raise ValueError(f"logits must have a floating dtype, got {logits.dtype}")
    if logits.ndim < 2 or logits.shape[-1] < 1:
        raise ValueError(f"logits must have the shape (*rows, K), got {tuple(logits.shape)}")

    if isinstance(temperature, Tensor):
        if temperature.numel() != 1:
            size = tuple(temperature.shape)
            raise ValueError(f"temperature must be one number, got a tensor of the shape {size}")
        temperature = temperature.item()

    check_number("temperature", temperature)
    shape = logits.shape[:-1]
    kind = torch.float64 if logits.dtype == torch.float64 else torch.float32
    x = logits.detach().to(kind)
    mass = torch.ones(shape, dtype=kind, device=x.device)
    if weight is not None:
        check_real_tensor("weight", weight)
        mass = fitting("weight", weight, shape).to(mass)
        if readable(mass) and not bool(((mass >= 0) & mass.isfinite()).all()):
            raise ValueError(
                f"weight must be finite and at least 0, got {first_bad(mass, mass >= 0)}"
            )

    if live is not None:
        if not isinstance(live, Tensor) or live.dtype != torch.bool:
            kind = live.dtype if isinstance(live, Tensor) else type(live).__name__
            raise ValueError(f"live must be a boolean tensor, got {kind}")
        mass = mass.masked_fill(~fitting("live", live, shape), 0.0)

    x = x.masked_fill((mass <= 0)[..., None], 0.0)
    if readable(x) and not bool(x.isfinite().all()):
        raise ValueError(f"logits must be finite in live rows, got {first_bad(x, x.isfinite())}")

    n, k = logits.shape[-2:]
    batch = logits.shape[:-2].numel()
    return Asked(x.reshape(batch, n, k), mass.reshape(batch, n), float(temperature), group)


def fitting(name: str, value: Tensor, shape: Any) -> Tensor:
    """One value a row."""
    if tuple(value.shape) != tuple(shape):
        raise ValueError(f"{name} must have the shape {tuple(shape)}, got {tuple(value.shape)}")
    return value


def first_rows(logits: Tensor, count: Any) -> Tensor:
    """True for the first `count` rows."""
    rows = logits[..., 0].numel()
    n = torch.as_tensor(count, device=logits.device)
    if n.numel() != 1 or n.is_floating_point():
        raise ValueError(f"n_masked_patches_tensor must be one whole number, got {count!r}")
    if readable(n) and not 0 <= int(n) <= rows:
        raise ValueError(
            f"n_masked_patches_tensor must lie between 0 and the {rows} rows, got {int(n)}"
        )

    return (torch.arange(rows, device=logits.device) < n).view(logits.shape[:-1])


@torch.no_grad()
def potentials(asked: Asked, sweeps: Any, start: Any) -> Tensor:
    """Column potentials (b, K)."""
    if start is not None:
        check_real_tensor("start", start)
        if tuple(start.shape) != (asked.x.shape[-1],):
            want, got = (asked.x.shape[-1],), tuple(start.shape)
            raise ValueError(f"start must have the shape {want}, got {got}")
        start = (-start.double() / asked.temperature).expand(asked.x.shape[0], -1)

    if sweeps is not None:
        check_steps("sweeps", sweeps)
        return swept(asked, sweeps, start)

    if not bool(asked.alive()):
        return asked.x.new_zeros(asked.x.shape[0], asked.x.shape[-1])

    return limit(asked, start)


def swept(asked: Asked, sweeps: int, start: Tensor | None) -> Tensor:
    """A number of sweeps, columns then rows, in the log domain; the last row step is `rows_at`."""
    y, mass = asked.x / asked.temperature, asked.mass
    share = (total(mass.sum(-1), asked.group) / y.shape[-1]).log()[:, None]
    a = mass.log()
    if start is not None:
        a = a - (y + start.to(y)[:, None]).logsumexp(-1)

    b = torch.zeros_like(y[:, 0]) if y.shape[1] else y.new_zeros(y.shape[0], y.shape[-1])
    for sweep in range(sweeps):
        if sweep:
            a = mass.log() - (y + b[:, None]).logsumexp(-1)
        t = y + a[..., None]
        top = t.amax(1) if t.shape[1] else torch.full_like(b, -math.inf)
        top = largest(top, asked.group)
        top = torch.where(top.isfinite(), top, 0.0)
        b = share - top - total((t - top[:, None]).exp().sum(1), asked.group).log()

    return b


def limit(asked: Asked, start: Tensor | None) -> Tensor:
    """The potentials at which columns are even: by sweeps, or cooled down step by step."""
    reach = asked.spread()
    if reach > PRECISE:
        asked = replace(asked, x=asked.x.double(), mass=asked.mass.double())

    if (
        reach <= EASY
    ):  # further out a start at the goal does not help: from a warm one it is shorter
        few = Sinkhorn(tolerance=TOLERANCE, max_steps=SWEEPS, gradient="none")
        for solver in (few, newton(TOLERANCE, 3 * PASSES)):
            start, good, _ = at(asked, asked.temperature, solver, start)
            if good:
                return start

    return cooled(asked, reach)


def newton(tolerance: float, most: int) -> Newton:
    """Newton's method, as it is used here."""
    return Newton(tolerance=tolerance, max_steps=most, gradient="none")


def at(
    asked: Asked, temperature: float, solver: Any, start: Tensor | None
) -> tuple[Tensor, bool, float]:
    """Column potentials at a temperature, whether they are good, and their error."""
    problem = Transport(eps=temperature, rows=asked.mass)
    found = solve(asked.x, problem, solver, init=start, group=asked.group)
    error = float(found.marginal_error.nan_to_num(math.inf, math.inf).max())
    return found.column_potential, bool(found.converged.all()), error


def cooled(asked: Asked, reach: float) -> Tensor:
    """From a warm temperature down; a step that fails is halved, and the best end is kept."""
    goal = asked.temperature
    here = goal * max(1.0, reach / WARM)
    solver = newton(TOLERANCE if here == goal else ROUGH, 3 * PASSES)
    b, _, error = at(asked, here, solver, None)
    best, least = (b * (here / goal), error if here == goal else math.inf)
    ratio = 2.0
    for _ in range(STAGES):
        if here <= goal:
            break
        ahead = max(goal, here / ratio)
        last = ahead == goal
        solver = newton(TOLERANCE, 3 * PASSES) if last else newton(ROUGH, PASSES)
        found, good, error = at(asked, ahead, solver, b * (here / ahead))
        if last and error < least:
            best, least = found, error
        if good:
            b, here, ratio = found, ahead, min(2.0, ratio * 1.2)
        elif ratio < 1.02:
            break
        else:
            ratio = math.sqrt(ratio)

    if not least <= TOLERANCE:
        warnings.warn(
            f"the prototypes' loads are off by up to {least:.1e} (tolerance {TOLERANCE:.0e}); rows "
            "sum to 1. Use a warmer temperature, logits of a smaller scale, or sweeps=3",
            MultiskWarning,
            stacklevel=2,
        )

    return best
