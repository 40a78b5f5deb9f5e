"""What is asked: assignment of several columns to each row, or classical entropic transport."""

import math
import numbers
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor, is_legacy_batchedtensor

from multisk._problem.types import Budget, Capacity, Load, Masses, Number, Relaxed, Temperature


@dataclass(frozen=True, eq=False)
class MultiAssignment:
    """Every row takes `k` distinct columns, every column carries its share of the rows.

    The plan P maximises `(1 - damping) <P, X> + eps H(P)` over `0 <= P <= 1` with row sums `k`
    and column sums `capacity`; H is the binary entropy.
    (Eq. (6) of docs/multisk/mathematics.md; the channels are Eq. (1).)
    It is the sum of the first `k` channels of a K-channel table whose channels have the scales 1
    (the first `k`) and `damping` (the others), balanced over rows, columns and channels.

    Args:
        k: Columns per row: an int, or a tensor (*batch, N) of row budgets between 0 and the
            number of allowed columns. A row with budget 0 takes nothing: this is how ragged
            problems are padded. A pair (lower, upper) of these lets every row take between so
            many; `capacity` then has to say what the columns carry.
        eps: Temperature in the units of the scores, above 0; a float, or a tensor (*batch).
        damping: Scale of the remaining channels in [0, 1]; or a tensor (K,) with the scale of
            every channel, in descending order. 0 is plain entropic k-assignment at `eps`.
        capacity: Column loads. None shares the rows' total evenly among the columns; a tensor
            (*batch, K) asks for exact loads; a pair (lower, upper) of such tensors gives bounds.
            A number stands for the same load in every column: `capacity=(0, 160)`.
        capacity_factor: At least 1, in place of `capacity`: no column carries more than this
            multiple of an even share (N k / K without a mask), and any may carry less.
        mask: Boolean (*batch, N, K); False forbids the pair. Scores there are never read.

    Raises:
        ValueError: When a field breaks its rule. Rules that need the scores are checked by
            `multisk.solve`.

    Example:
        >>> import multisk
        >>> multisk.MultiAssignment(k=2, eps=0.1).damping
        0.25
        >>> problem = multisk.MultiAssignment(k=1, eps=0.1, capacity_factor=1.5)
        >>> multisk.solve(torch.eye(4)[:, :2], problem).plan.sum(0).max() <= 3.001
        tensor(True)
    """

    k: Budget
    eps: Temperature = field(default=0.07, kw_only=True)
    damping: Number | Tensor = field(default=0.25, kw_only=True)
    capacity: Capacity | None = field(default=None, kw_only=True)
    mask: Tensor | None = field(default=None, kw_only=True)
    capacity_factor: Number | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        to_python_numbers(self, "k", "eps", "damping", "capacity", "capacity_factor")
        if isinstance(self.k, tuple | list):
            check_budgets(self.k, self.capacity)
        else:
            check_budget("k", self.k)
        check_temperature(self.eps)
        check_damping(self.damping)
        check_capacity(self.capacity)
        check_factor(self.capacity_factor, self.capacity)
        check_mask(self.mask)


@dataclass(frozen=True, eq=False)
class Transport:
    """Classical entropic transport: every row's mass goes to the columns, no cap on an entry.

    The plan P maximises `<P, X> + eps H(P)` with `H(P) = -sum P (log P - 1)` over `P >= 0` with
    the given row and column sums, Eq. (6); relaxed margins subtract their penalties, Eq. (22), of
    docs/multisk/mathematics.md. This is POT's and
    OTT's objective; with exact margins `-sum P log P` has the same maximiser and a value less by
    eps times the mass.

    Args:
        eps: Temperature in the units of the scores, above 0; a float, or a tensor (*batch).
        rows: Row sums (*batch, N); None means 1 each. A pair (lower, upper) of tensors or numbers
            gives bounds; infinity is no bound.
        columns: Column sums (*batch, K); None shares the rows' total, or the `mass`, evenly. A
            pair gives bounds.
        mass: Sum of the whole plan, a number or a tensor (*batch), where `rows` is a pair: with
            `rows=(0, r), columns=(0, c)` partial transport. None leaves it to the scores: what
            gains by being moved is moved.
        mask: Boolean (*batch, N, K); False forbids the pair. Scores there are never read.
        relax: None keeps both margins exact. A pair (rows, columns) of strengths above 0 replaces
            a margin by the penalty strength * KL(sum of the plan | margin); None inside the pair
            keeps that side exact. A strength is a float or a tensor (*batch), which may require a
            gradient.

    Raises:
        ValueError: When a field breaks its rule.

    Example:
        >>> import multisk
        >>> multisk.Transport(eps=0.1, relax=(1.0, None)).relax
        (1.0, None)
    """

    eps: Temperature = field(kw_only=True)
    rows: Masses | None = field(default=None, kw_only=True)
    columns: Masses | None = field(default=None, kw_only=True)
    mask: Tensor | None = field(default=None, kw_only=True)
    relax: Relaxed | None = field(default=None, kw_only=True)
    mass: Load | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        to_python_numbers(self, "eps", "relax", "rows", "columns", "mass")
        check_temperature(self.eps)
        check_sides(self.rows, self.columns, self.mass)
        check_mask(self.mask)
        check_relax(self.relax)
        if self.relax is not None and any(
            isinstance(side, tuple | list) for side in (self.rows, self.columns)
        ):
            raise ValueError("relax must be None beside bounds on rows or columns, got both")


if TYPE_CHECKING:
    Problem = MultiAssignment | Transport
else:
    Problem = Any  # checked below, with a sentence


def check_problem(problem: Any) -> None:
    """Require one of the two problems."""
    if isinstance(problem, MultiAssignment | Transport):
        return

    if problem is MultiAssignment or problem is Transport:
        asked = "MultiAssignment(k=2)" if problem is MultiAssignment else "Transport(eps=0.1)"
        name = problem.__name__
        raise ValueError(f"problem must be an instance, e.g. {asked}, got the class {name}")

    kind = type(problem).__name__
    raise ValueError(f"problem must be a MultiAssignment or a Transport, got {kind}")


def to_python_numbers(options: Any, *names: str) -> None:
    """Replace NumPy's scalars among the fields of a frozen object by Python's numbers."""
    for name in names:
        value = getattr(options, name)
        plain = python_number(value)
        if plain is not value:
            object.__setattr__(options, name, plain)


def python_number(value: Any) -> Any:
    """A Python number for a scalar of NumPy, also inside a pair; anything else as it is."""
    if isinstance(value, tuple | list):
        parts = [python_number(part) for part in value]
        same = all(new is old for new, old in zip(parts, value, strict=True))
        return value if same else type(value)(parts)

    if value is None or isinstance(value, Tensor | bool | int | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)

    return float(value) if isinstance(value, numbers.Real) else value


def check_budget(name: str, k: Any) -> None:
    if isinstance(k, Tensor):
        if k.is_complex() or k.dtype == torch.bool:
            raise ValueError(f"{name} must be an int or a tensor of real numbers, got {k.dtype}")
    elif isinstance(k, bool) or not isinstance(k, int):
        raise ValueError(f"{name} must be an int or a tensor (*batch, N), got {k!r}")
    elif k < 0:
        raise ValueError(f"{name} must be at least 0, got {k}")


def check_budgets(k: Any, capacity: Any) -> None:
    """An interval of budgets, whose total has to come from the columns."""
    if len(k) != 2:
        raise ValueError(f"k must be a pair (lower, upper), got {len(k)} parts")

    for index, part in enumerate(k):
        check_budget(f"k[{index}]", part)

    if capacity is None:
        raise ValueError(
            "capacity must say what the columns carry where k is a pair: loads, or bounds like "
            "(0, 160); got None"
        )


def check_sides(rows: Any, columns: Any, mass: Any) -> None:
    """Masses of a transport: tensors, or pairs of bounds."""
    for name, value in (("rows", rows), ("columns", columns)):
        if isinstance(value, tuple | list):
            if len(value) != 2:
                raise ValueError(f"{name} must be a pair (lower, upper), got {len(value)} parts")
            for index, part in enumerate(value):
                check_load(f"{name}[{index}]", part)
        elif value is not None:
            check_real_tensor(name, value)

    bounded = isinstance(rows, tuple | list)
    if bounded and columns is None and mass is None:
        raise ValueError(
            "columns must be given where rows is a pair: masses, or bounds like (0, 1), or mass= "
            "for an even share; got None"
        )
    if mass is None:
        return
    if not bounded:
        raise ValueError(
            "mass must come with rows=(lower, upper), e.g. (0, 1): exact rows have a sum already"
        )
    check_load("mass", mass)
    if isinstance(mass, int | float) and not 0 < mass < math.inf:
        raise ValueError(f"mass must be finite and above 0, got {mass}")


def check_temperature(eps: Any) -> None:
    if isinstance(eps, Tensor):
        check_real_tensor("eps", eps)
        if readable(eps) and not bool(((eps > 0) & eps.isfinite()).all()):
            raise ValueError(f"eps must be finite and above 0, got {first_bad(eps, eps > 0)}")
    elif isinstance(eps, bool) or not isinstance(eps, int | float):
        raise ValueError(f"eps must be a number or a tensor, got {eps!r}")
    elif not (math.isfinite(eps) and eps > 0):
        raise ValueError(f"eps must be finite and above 0, got {eps}")


def check_damping(damping: Any) -> None:
    if isinstance(damping, Tensor):
        check_real_tensor("damping", damping)
        if damping.ndim != 1:
            shape = tuple(damping.shape)
            raise ValueError(f"damping must be a number or have the shape (K,), got {shape}")
        if not readable(damping):
            return
        if not bool(damping.isfinite().all()):
            raise ValueError("damping must be finite, got a value that is not")
        if bool((damping.diff() > 0).any()):
            raise ValueError(f"damping must be in descending order, got {damping.tolist()}")
    elif isinstance(damping, bool) or not isinstance(damping, int | float):
        raise ValueError(f"damping must be a number or a tensor (K,), got {damping!r}")
    elif not 0 <= damping <= 1:
        raise ValueError(f"damping must lie between 0 and 1, got {damping}")


def check_capacity(capacity: Any) -> None:
    if capacity is None:
        return

    if isinstance(capacity, tuple | list):
        if len(capacity) != 2:
            raise ValueError(f"capacity must be a pair (lower, upper), got {len(capacity)} parts")
        for name, part in zip(("capacity[0]", "capacity[1]"), capacity, strict=True):
            check_load(name, part)
    else:
        check_load("capacity", capacity)


def check_load(name: str, load: Any) -> None:
    if isinstance(load, int | float) and not isinstance(load, bool):
        if not load >= 0:
            raise ValueError(f"{name} must be at least 0, got {load}")
    elif not isinstance(load, Tensor):
        kind = type(load).__name__
        raise ValueError(f"{name} must be a number or a tensor (*batch, K), got {kind}")
    else:
        check_real_tensor(name, load)


def check_factor(factor: Any, capacity: Any) -> None:
    if factor is None:
        return

    number = isinstance(factor, int | float) and not isinstance(factor, bool)
    if not (number and math.isfinite(factor) and factor >= 1):
        raise ValueError(f"capacity_factor must be a finite number of at least 1, got {factor!r}")
    if capacity is not None:
        raise ValueError("capacity_factor must stand alone, got a capacity beside it")


def check_mask(mask: Any) -> None:
    if mask is not None and not (isinstance(mask, Tensor) and mask.dtype == torch.bool):
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"mask must be a boolean tensor, got {kind}")


def check_relax(relax: Any) -> None:
    if relax is None:
        return
    if not isinstance(relax, tuple | list) or len(relax) != 2:
        raise ValueError(f"relax must be None or a pair (rows, columns), got {relax!r}")

    for strength in relax:
        if isinstance(strength, Tensor):
            check_real_tensor("relax", strength)
            if readable(strength) and not bool(((strength > 0) & strength.isfinite()).all()):
                bad = first_bad(strength, strength > 0)
                raise ValueError(f"relax must hold tensors that are finite and above 0, got {bad}")
            continue

        number = isinstance(strength, int | float) and not isinstance(strength, bool)
        if strength is not None and not (number and strength > 0):
            raise ValueError(f"relax must hold strengths above 0 or None, got {relax!r}")


def check_real_tensor(name: str, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(value).__name__}")
    if value.is_complex() or value.dtype == torch.bool:
        raise ValueError(f"{name} must hold real numbers, got {value.dtype}")


def readable(value: Tensor) -> bool:
    """Whether reading the values costs no device synchronisation and breaks no graph."""
    return value.device.type == "cpu" and has_values(value)


def check_values(name: str, value: Tensor) -> None:
    """Refuse what the host cannot read."""
    if not has_values(value):
        raise ValueError(
            f"{name} must have values that the host can read, got a tensor on the meta device, or "
            "inside torch.compile or torch.func"
        )


def has_values(value: Tensor) -> bool:
    """Whether the host can read the values at all: not of meta tensors, nor inside a transform."""
    if torch.compiler.is_compiling() or value.device.type == "meta":
        return False

    kind = type(value)
    if kind is not Tensor and kind.__name__ == "FakeTensor":
        return False

    return not wrapped(value)


def wrapped(value: Tensor) -> bool:
    """Whether torch.func, or a batch of cotangents, has wrapped the tensor."""
    if torch.compiler.is_compiling():
        return False
    return is_functorch_wrapped_tensor(value) or is_legacy_batchedtensor(value)


def first_bad(value: Tensor, good: Tensor) -> str:
    """The first value that breaks its rule, and where."""
    bad = ~(good & value.isfinite())
    where = bad.nonzero()[0].tolist()
    number = value[tuple(where)].item()
    return f"{number} at index {tuple(where)}" if where else f"{number}"
