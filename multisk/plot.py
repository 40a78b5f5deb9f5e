"""Pictures of an answer: loads of the columns, the plan, and how solvers get there.

Needs matplotlib (extra `plot`), which is imported when a picture is drawn. Every function draws
into `ax`, or into a figure of its own, and returns the axes.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from multisk._hard import Hard
from multisk._problem.problem import Problem
from multisk._solution.solution import Solution
from multisk._solve import solve
from multisk._solvers.base import Solver
from multisk._solvers.newton import Newton
from multisk._solvers.sinkhorn import Sinkhorn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Found = Solution | Hard
else:
    Axes = Any  # matplotlib is not imported before something is drawn
    Found = Any  # checked below, with a sentence

__all__ = ["convergence", "loads", "plan"]

LEAST = 1e-17  # drawn for an error of 0, which a logarithmic axis has no place for

SOLVERS: Mapping[str, Callable[[int], Solver]] = {
    "Sinkhorn": lambda steps: Sinkhorn(steps=steps),
    "Newton": lambda steps: Newton(max_steps=steps),
}
"""A name, and the solver that makes so many steps."""


def loads(solution: Found, *, index: int = 0, ax: Axes | None = None) -> Axes:
    """What every column carries, as bars, with the mean as a line.

    Args:
        solution: From `multisk.solve` or `multisk.hard`.
        index: Which problem of a batch, counted over all leading dimensions.
        ax: Where to draw; None is a figure of its own.

    Raises:
        ImportError: Without matplotlib.
        ValueError: When `index` names no problem of the batch.

    Example:
        >>> import torch, multisk, multisk.plot
        >>> solution = multisk.solve(torch.eye(4)[:, :2], multisk.MultiAssignment(k=1))
        >>> len(multisk.plot.loads(solution).patches)  # one bar a column
        2
    """
    carried = one_plan(solution, index).sum(0)
    ax = axes(ax)
    ax.bar(range(len(carried)), carried.tolist())
    ax.axhline(float(carried.mean()), color="black", linewidth=0.8, linestyle="--")
    ax.set(xlabel="column", ylabel="load", title=quality(solution, index))

    return ax


def plan(solution: Found, *, index: int = 0, ordered: bool = True, ax: Axes | None = None) -> Axes:
    """The plan as an image, rows from top to bottom.

    Args:
        solution: From `multisk.solve` or `multisk.hard`.
        index: Which problem of a batch, counted over all leading dimensions.
        ordered: Whether rows are sorted by the column that they take most of.
        ax: Where to draw; None is a figure of its own.

    Raises:
        ImportError: Without matplotlib.
        ValueError: When `index` names no problem of the batch.

    Example:
        >>> import torch, multisk, multisk.plot
        >>> found = multisk.hard(torch.eye(3), multisk.MultiAssignment(k=1))
        >>> multisk.plot.plan(found).images[0].get_array().shape
        (3, 3)
    """
    table = one_plan(solution, index)
    if ordered and table.numel():
        table = table[table.argmax(1).argsort(stable=True)]

    ax = axes(ax)
    image = ax.imshow(table.numpy(), aspect="auto", interpolation="nearest", cmap="Blues", vmin=0)
    ax.figure.colorbar(image, ax=ax)
    by = "rows, by their first column" if ordered else "rows"
    ax.set(xlabel="column", ylabel=by, title=quality(solution, index))

    return ax


def convergence(
    scores: Shaped[Tensor, "..."],
    problem: Problem,
    *,
    steps: Iterable[int] = (1, 2, 4, 8, 16, 32, 64),
    solvers: Mapping[str, Callable[[int], Solver]] = SOLVERS,
    ax: Axes | None = None,
) -> Axes:
    """The worst marginal error that each solver leaves after so many steps.

    Every point is a solve of its own, so this costs the sum of all steps.

    Args:
        scores: (*batch, N, K), as in `multisk.solve`.
        problem: What is asked.
        steps: Numbers of steps to try.
        solvers: Names, and functions from a number of steps to a solver; by default sweeps and
            Newton passes. Intervals are not for sweeps: leave `Sinkhorn` out.
        ax: Where to draw; None is a figure of its own.

    Raises:
        ImportError: Without matplotlib.
        ValueError: As in `multisk.solve`.

    Example:
        >>> import torch, multisk, multisk.plot
        >>> x = torch.rand(30, 4, generator=torch.Generator().manual_seed(0))
        >>> ax = multisk.plot.convergence(x, multisk.MultiAssignment(k=1), steps=(1, 4))
        >>> [line.get_label() for line in ax.lines]
        ['Sinkhorn', 'Newton']
    """
    counts = list(steps)
    ax = axes(ax)
    for name, solver in solvers.items():
        errors = [solve(scores, problem, solver(count)).marginal_error.max() for count in counts]
        ax.plot(counts, [max(float(error), LEAST) for error in errors], "o-", label=name)

    ax.set(xlabel="steps", ylabel="worst marginal error", xscale="log", yscale="log")
    ax.set_xticks(counts, list(map(str, counts)), minor=False)
    ax.minorticks_off()
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)

    return ax


def one_plan(solution: Found, index: int) -> Float[Tensor, "n k"]:
    """The plan of one problem, in float64 on the CPU."""
    if not isinstance(solution, Solution | Hard):
        kind = type(solution).__name__
        raise ValueError(f"solution must be a Solution or a Hard, got {kind}")

    flat = solution.plan.detach().flatten(0, -3) if solution.plan.ndim > 2 else solution.plan[None]
    if not 0 <= index < len(flat):
        raise ValueError(f"index must lie in [0, {len(flat)}), got {index}")

    return flat[index].detach().to("cpu", torch.float64)


def quality(solution: Found, index: int) -> str:
    """How good the answer is, in a few words."""
    if isinstance(solution, Hard):
        return f"value {float(solution.value.detach().flatten()[index]):.6g}"
    return f"marginal error {float(solution.marginal_error.flatten()[index]):.1e}"


def axes(given: Axes | None) -> Axes:
    """The axes to draw into."""
    try:
        import matplotlib.pyplot as plt  # here: an extra, and slow to import
    except ImportError as error:
        raise ImportError("matplotlib must be installed to draw: pip install matplotlib") from error
    return plt.subplots()[1] if given is None else given
