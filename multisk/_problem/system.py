"""The one judge of input: scores and a problem become a system of equations, or an error."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int8
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor, peek_interpreter_stack
from torch.autograd import forward_ad
from torch.jit._trace import is_tracing

from multisk._problem.bounds import bounded, bounded_margins
from multisk._problem.collapse import Groups, collapse
from multisk._problem.margins import Even, Margins, assignment_margins, transport_margins
from multisk._problem.problem import MultiAssignment, Transport, has_values, readable
from multisk._problem.sharding import together
from multisk._problem.status import Findings, Status

Strength = float | Float[Tensor, "b 1 1"] | None  # of a KL penalty; None: the margin is exact
FORBID = " (to forbid a pair pass mask=, False there; its score is then not read)"
HUGE = 1e30  # nobody's similarity: torch.finfo(...).min, or -1e38


@dataclass(frozen=True, eq=False)
class System:
    """Find a and b: the link of T = scale * scores + a_i + b_j, Eq. (5), has the given sums.

    The link is sigmoid for an assignment (`groups` set) and exp for a transport; the sums are those
    of `margins`. Eq. (n) is that of docs/multisk/mathematics.md. Everything has
    one leading batch dimension; cells that are not `free` are settled beforehand (forbidden, or
    forced to 1 where `ones`), and the margins hold what is left for the free cells.
    """

    scores: Float[Tensor, "b n k"]
    eps: float | Float[Tensor, "b 1 1"]
    budgets: Margins | Even
    groups: Groups | None
    relax: tuple[Strength, Strength]
    ends: tuple[float, float] | None  # least and largest score where the host may know them
    code: Int8[Tensor, " b"] | None
    batch: torch.Size
    dtype: torch.dtype
    ranks: Any = None  # the process group over which the rows are spread
    levels: Float[Tensor, " c"] | None = None  # the groups' scales where a gradient is wanted
    budget: int | None = None  # the common k of all rows, where it was given as one
    traced: bool = False  # whether a fixed number of sweeps is going to be differentiated

    @property
    def margins(self) -> Margins:
        """The budgets as tensors."""
        return self.budgets if isinstance(self.budgets, Margins) else self._even_margins

    @cached_property
    def _even_margins(self) -> Margins:
        assert isinstance(self.budgets, Even)
        return self.budgets.margins(self.scores)

    @property
    def spread(self) -> float | None:
        """Range of the scores where the host may know it."""
        return None if self.ends is None else self.ends[1] - self.ends[0]

    @property
    def score_factor(self) -> float:
        """Difference of the extreme channel scales: the factor of the scores in the plan."""
        # Eq. (5): 1 - mu for the two levels of an assignment.
        return 1.0 if self.groups is None else self.groups.scales[0] - self.groups.scales[-1]

    @property
    def scale(self) -> float | Float[Tensor, "b 1 1"]:
        """Exponent per unit of score."""
        if self.levels is None:
            return self.score_factor / self.eps

        steep = (self.levels[0] - self.levels[-1]) / self.eps
        return steep.expand(self.scores.shape[0], 1, 1)

    @property
    def learned_factor(self) -> float | Tensor:
        """`score_factor`, differentiable where the scales are."""
        return self.score_factor if self.levels is None else self.levels[0] - self.levels[-1]

    @property
    def group_scales(self) -> tuple[float | Float[Tensor, "#b 1 1"], ...]:
        """Every group's scale over the temperature, differentiable where the scales are."""
        assert self.groups is not None
        if self.levels is None:
            return tuple(scale / self.eps for scale in self.groups.scales)
        return tuple(scale.view(1, 1, 1) / self.eps for scale in self.levels.unbind())

    @property
    def differentiable(self) -> bool:
        """Whether anything that the plan depends on asks for a gradient."""
        if self.scores.requires_grad or self.levels is not None:
            return True
        if any(isinstance(t, Tensor) and t.requires_grad for t in (self.eps, *self.relax)):
            return True

        margins = self.budgets  # an even share of numbers asks for none
        if isinstance(margins, Even):
            return False

        parts = margins.rows, margins.columns, margins.upper, margins.row_upper, margins.mass
        return any(part is not None and part.requires_grad for part in parts)

    @property
    def bounded_rows(self) -> bool:
        """Whether rows are intervals."""
        return isinstance(self.budgets, Margins) and self.budgets.row_upper is not None

    @property
    def shifts(self) -> bool:
        """Whether only sums of row and column potentials matter, so that S 1 = 0 in Eq. (13)."""
        free = not self.bounded_rows or self.margins.mass is not None
        return free and self.relax == (None, None)

    @property
    def two_groups(self) -> bool:
        """Whether the plan is one sigmoid (two channel groups) or one exp."""
        return self.groups is None or len(self.groups.scales) == 2

    def detach(self) -> "System":
        """The same system without gradients, its strengths as numbers where they are."""
        if not self.differentiable and not any(isinstance(x, Tensor) for x in self.relax):
            return self

        eps = self.eps.detach() if isinstance(self.eps, Tensor) else self.eps
        budgets = (
            self.budgets if isinstance(self.budgets, Even) else self.budgets.map(Tensor.detach)
        )
        scores, relax = self.scores.detach(), plain_strengths(self.relax)
        return replace(self, scores=scores, eps=eps, budgets=budgets, levels=None, relax=relax)

    def take(self, index: Tensor) -> "System":
        """The problems at `index` of the batch."""
        eps = self.eps[index] if isinstance(self.eps, Tensor) else self.eps
        budgets = self.budgets
        if isinstance(budgets, Margins):
            budgets = budgets.map(lambda x: x[index])

        first, second = (x[index] if isinstance(x, Tensor) else x for x in self.relax)
        relax = first, second
        return replace(self, scores=self.scores[index], eps=eps, budgets=budgets, relax=relax)


def prepare(scores: Tensor, problem: MultiAssignment | Transport, group: Any = None) -> System:
    """Check everything that can be checked before solving and write the problem as a `System`.

    Raises:
        ValueError: Names the argument, the rule and the value.
    """
    findings = Findings()
    check_plain("damping", getattr(problem, "damping", None))  # its levels are counted
    if group is not None:
        check_plain("scores", scores)

    x, mask, ends = together(lambda: _cells(scores, problem, findings, group), scores, group)
    batch, k = scores.shape[:-2], x.shape[-1]
    if isinstance(problem, MultiAssignment):
        margins = assignment_margins(x, problem, mask, batch, findings, group)
        groups = _groups(problem, k)
        relax: tuple[Strength, Strength] = (None, None)
    else:
        find = bounded_margins if bounded(problem) else transport_margins
        margins = find(x, problem, mask, batch, findings, group)
        groups = None
        relax = _strengths(problem, batch, x)

    levels = None if groups is None else _levels(problem, groups, x)
    eps = _temperature(problem.eps, batch, x)
    _check_range(ends, eps, groups, x.dtype)
    budget = problem.k if isinstance(problem, MultiAssignment) else 1

    return System(
        x,
        eps,
        margins,
        groups,
        relax,
        ends,
        findings.code,
        batch,
        scores.dtype,
        group,
        levels,
        budget if isinstance(budget, int) else None,
    )


def widen(system: System) -> System:
    """The same system in float64: float32 cannot hold the exponents of a cold problem."""
    if system.scores.dtype == torch.float64:
        return system

    def double(value: Any) -> Any:
        real = isinstance(value, Tensor) and value.is_floating_point()
        return value.double() if real else value

    first, second = map(double, system.relax)
    return replace(
        system,
        scores=system.scores.double(),
        eps=double(system.eps),
        budgets=system.margins.map(double),
        relax=(first, second),
    )


def transpose(system: System) -> System:
    """The same equations with rows and columns exchanged."""
    return replace(
        system,
        scores=system.scores.transpose(1, 2),
        budgets=system.margins.transposed(),
        relax=(system.relax[1], system.relax[0]),
        code=None,
        budget=None,  # of the rows, which are the columns now
    )


def transformed(scores: Any, problem: MultiAssignment | Transport) -> bool:
    """Whether torch.func, or forward-mode autograd, is to see through the solve."""
    if torch.compiler.is_compiling():
        return False

    forward = forward_ad._current_level >= 0  # noqa: SLF001
    if not forward and peek_interpreter_stack() is None:
        return False

    values: list[Any] = [scores]
    for value in vars(problem).values():
        values.extend(value if isinstance(value, tuple | list) else [value])

    return any(
        is_functorch_wrapped_tensor(x)
        or (forward and forward_ad.unpack_dual(x).tangent is not None)
        for x in values
        if isinstance(x, Tensor)
    )


def check_scores(scores: Any) -> None:
    """Raise unless `scores` is a real floating-point tensor (*batch, N, K)."""
    if not isinstance(scores, Tensor):
        raise ValueError(f"scores must be a tensor, got {type(scores).__name__}")
    if not torch.compiler.is_compiling() and is_tracing():
        raise ValueError(
            "scores must not be recorded by torch.jit.trace, got a call inside it, which would "
            "freeze this answer into the graph (use torch.export or torch.compile)"
        )
    if not scores.is_floating_point() or scores.layout != torch.strided:
        raise ValueError(
            f"scores must be a dense floating-point tensor, got {scores.dtype}, {scores.layout}"
        )
    if scores.dtype.itemsize < 2:
        raise ValueError(f"scores must have at least 16 bits, got {scores.dtype}")
    if scores.ndim < 2:
        raise ValueError(f"scores must have the shape (*batch, N, K), got {tuple(scores.shape)}")


def check_plain(name: str, value: Any) -> None:
    """Refuse tensors inside torch.func transforms where values are read."""
    if not isinstance(value, Tensor) or torch.compiler.is_compiling():
        return
    if is_functorch_wrapped_tensor(value):
        raise ValueError(
            f"{name} must not be wrapped by torch.func (vmap, grad, jvp), got a transformed "
            "tensor (batch dimensions are taken as they are; torch.autograd differentiates)"
        )


def _cells(
    scores: Any, problem: MultiAssignment | Transport, findings: Findings, group: Any
) -> tuple[Tensor, Bool[Tensor, "b n k"] | None, tuple[float, float] | None]:
    """The scores in the solver's precision and one batch dimension, their mask and their ends."""
    check_scores(scores)
    x = scores if scores.dtype == torch.float64 else scores.to(torch.float32)
    x = x.reshape(flat(scores)).contiguous()  # the same bits for any layout
    mask = _mask(problem.mask, scores)
    if mask is not None:
        x = x.masked_fill(~mask, 0.0)

    return x, mask, _check_finite(x, findings, scores.shape, group)


def flat(scores: Tensor) -> tuple[int, int, int]:
    """The shape with one batch dimension; spelled out because a size may be 0."""
    return math.prod(scores.shape[:-2]), scores.shape[-2], scores.shape[-1]


def _mask(mask: Tensor | None, scores: Tensor) -> Bool[Tensor, "b n k"] | None:
    if mask is None:
        return None
    if mask.device != scores.device:
        raise ValueError(f"mask must be on {scores.device} like the scores, got {mask.device}")

    try:
        return mask.broadcast_to(scores.shape).reshape(flat(scores))
    except RuntimeError:
        raise ValueError(
            f"mask must fit the scores' shape {tuple(scores.shape)}, got {tuple(mask.shape)}"
        ) from None


def _check_finite(
    x: Tensor, findings: Findings, shape: torch.Size, group: Any
) -> tuple[float, float] | None:
    """Require finite scores; return the least and the largest where that costs no host sync."""
    if x.numel() == 0:
        return None if group is not None else (0.0, 0.0)

    data = x.detach() if x.requires_grad else x
    if not readable(data):
        bad = ~data.isfinite().flatten(1).all(1)
        findings.require(bad, Status.NONFINITE_SCORES, lambda _: "scores must be finite")
        return None

    low, high = torch.aminmax(data)
    ends = float(low), float(high)
    spread = ends[1] - ends[0]
    if not spread < float("inf"):
        bad = ~data.isfinite()
        if not bool(bad.any()):
            hint = forbidding(ends[0])
            raise ValueError(
                f"scores must span less than the range of {x.dtype}, got {spread}{hint}"
            )

        first = int(bad.flatten().nonzero()[0, 0])
        where = tuple(int(i) for i in torch.unravel_index(torch.tensor(first), shape))
        hint = FORBID if bool((data == -torch.inf).any()) else ""
        raise ValueError(
            f"scores must be finite, got {data.flatten()[first].item()} at {where}{hint}"
        )

    return None if group is not None else ends


def _groups(problem: MultiAssignment, columns: int) -> Groups:
    damping = problem.damping
    if isinstance(damping, Tensor):
        if not has_values(damping):
            raise ValueError(
                "damping must be a number inside torch.compile, got a tensor of scales"
            )
        if damping.shape[0] != columns:
            raise ValueError(
                f"damping must have one scale a column ({columns}), got {damping.shape[0]}"
            )
        if isinstance(problem.k, Tensor | tuple | list):
            kind = "a tensor" if isinstance(problem.k, Tensor) else "a pair"
            raise ValueError(f"damping must be a number when k is {kind}, got a vector of scales")
        if columns:
            return collapse(int(problem.k), columns, damping)
        damping = 0.0

    # With a tensor k the counts only have to be two: the sweeps use the groups' margins, Eq. (2).
    k = 1 if isinstance(problem.k, Tensor | tuple | list) else int(problem.k)
    return collapse(k, columns, damping)


def _levels(problem: Any, groups: Groups, x: Tensor) -> Float[Tensor, " c"] | None:
    """The groups' scales with their gradient: a group's is shared evenly by its channels."""
    damping = problem.damping
    if not (isinstance(damping, Tensor) and damping.requires_grad and sum(groups.counts)):
        return None

    parts = damping.to(x).split(list(groups.counts))
    return torch.stack([part.mean() for part in parts])


def _strengths(problem: Transport, batch: torch.Size, x: Tensor) -> tuple[Strength, Strength]:
    if problem.relax is None:
        return (None, None)

    first, second = (_strength(given, batch, x) for given in problem.relax)
    return first, second


def _strength(given: float | Tensor | None, batch: torch.Size, x: Tensor) -> Strength:
    """None for an infinite strength: the margin is exact."""
    if isinstance(given, Tensor):
        return per_problem("relax", given, batch, x)

    return None if given is None or given == float("inf") else float(given)


def plain_strengths(relax: tuple[Strength, Strength]) -> tuple[Strength, Strength]:
    """The strengths without gradients; what the host sees to be one number is a number."""
    found: list[Strength] = []
    for strength in relax:
        if isinstance(strength, Tensor):
            strength = strength.detach()
            if readable(strength) and strength.numel() and bool((strength == strength[0]).all()):
                strength = float(strength[0])
        found.append(strength)

    return found[0], found[1]


def _temperature(
    eps: float | int | Tensor, batch: torch.Size, x: Tensor
) -> float | Float[Tensor, "b 1 1"]:
    return per_problem("eps", eps, batch, x) if isinstance(eps, Tensor) else float(eps)


def per_problem(name: str, value: Tensor, batch: torch.Size, x: Tensor) -> Float[Tensor, "b 1 1"]:
    """One number a problem, in the solver's precision."""
    if value.device != x.device:
        raise ValueError(f"{name} must be on {x.device} like the scores, got {value.device}")

    try:
        return value.to(x.dtype).broadcast_to(batch).reshape(-1, 1, 1)
    except RuntimeError:
        raise ValueError(
            f"{name} must fit the batch shape {tuple(batch)}, got {tuple(value.shape)}"
        ) from None


def _check_range(
    ends: tuple[float, float] | None,
    eps: float | Tensor,
    groups: Groups | None,
    dtype: torch.dtype,
) -> None:
    """Exponents must stay finite; eps far below the scores' resolution is a question for Exact."""
    if ends is None or isinstance(eps, Tensor) and not readable(eps):
        return

    spread = ends[1] - ends[0]
    coldest = float(eps.detach().min()) if isinstance(eps, Tensor) and eps.numel() else eps
    if isinstance(coldest, Tensor):
        return

    scales = (1.0,) if groups is None else groups.scales
    widest = spread * max(map(abs, scales)) / coldest
    # Sums and differences of exponents stay finite.
    if not widest < 0.01 * torch.finfo(dtype).max:
        raise ValueError(
            f"eps must be large enough to divide scores that span {spread:g}, got {coldest:g}"
            f"{forbidding(ends[0])}"
        )


def forbidding(least: float) -> str:
    """The way out where the least score looks as if it should forbid a pair."""
    return FORBID if least <= -HUGE else ""


def column(value: float | Tensor) -> float | Tensor:
    """A temperature or strength beside potentials: (b, 1, 1) as (b, 1)."""
    return value.squeeze(-1) if isinstance(value, Tensor) else value


def yielding(system: System, side: int) -> float | Tensor:
    """How fast a margin yields, tau = eps / strength, Eq. (23): a number or (b, 1); 0 if exact."""
    strength = system.relax[side]
    return 0.0 if strength is None else column(system.eps) / column(strength)


def power(system: System, side: int) -> float | Tensor:
    """Eq. (23)'s 1 / (1 + tau), exponent of a relaxed margin's update; 1 for an exact one."""
    strength = system.relax[side]
    if strength is None:
        return 1.0
    return column(strength) / (column(strength) + column(system.eps))
