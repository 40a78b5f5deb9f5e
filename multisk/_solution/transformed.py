"""A solve that torch.func and forward-mode autograd can see through.

The solver itself runs on plain tensors, as one step without derivative; what it found is then
carried by plain operations (`composed`, Eq. (33), or the sweeps themselves), which every transform
knows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multisk._backends.base import Raw
from multisk._problem.frame import Frame, taken_apart
from multisk._problem.system import System
from multisk._solution import composed
from multisk._solution.unroll import Replay

Run = Callable[[System, Tensor | None], Raw]
MANY = (
    "damping must have at most two levels for a derivative inside torch.func and forward mode, "
    "got more (torch.autograd differentiates the plan once)"
)


def solve_transformed(
    system: System, run: Run, start: Tensor | None, solver: Any, mode: str
) -> tuple[Raw, Tensor]:
    """The answer, and the plan with the derivative of that mode.

    Raises:
        ValueError: For what has no derivative inside transforms, by name.
    """
    frame, tensors = taken_apart(system, start)
    plan, a, b, error, steps, good, code, by_row, by_column, rest = Apart.apply(
        Inside(frame, run), *tensors
    )  # pyright: ignore[reportGeneralTypeIssues]
    raw = Raw(plan, a, b, error, steps, good, code, miss=(by_row, by_column))
    if mode == "none":
        return raw, plan

    if mode == "unroll":
        if solver.steps is None or start is not None:
            raise ValueError(
                "gradient must be 'implicit' or 'none' inside torch.func and forward mode where "
                "steps are not fixed or init is given, got 'unroll'"
            )

        replay = Replay(solver.order, solver.steps, steps, None, uneven=False)
        raw.replay = replay.log_plan
        return raw, replay.plan(system)

    if not system.two_groups:
        return raw, Refusing.apply(system.scores, plan, MANY)  # pyright: ignore[reportReturnType]

    t = composed.exponents(system, composed.Solved(a, b, raw.miss))
    return raw, (composed.linked(system, t)[0] + rest).to(system.scores.dtype)


@dataclass(frozen=True)
class Inside:
    """How the answer is found once the tensors are plain."""

    frame: Frame
    run: Run


class Apart(torch.autograd.Function):
    """The solver's run as a function without derivative, whose batch may be vmapped."""

    @staticmethod
    def forward(inside: Inside, *tensors: Tensor | None) -> tuple[Tensor, ...]:  # pyright: ignore
        """Everything that was found; what the sums miss; the plan minus the link's."""
        plain = [None if x is None else x.detach() for x in tensors]
        system, start = inside.frame.system(plain)
        raw = inside.run(system, start)
        a, b = raw.row_potential, raw.column_potential
        verdict = raw.error, raw.steps, raw.converged, raw.code
        found = (raw.plan, a, b, *verdict)
        if not system.two_groups or raw.channels is not None:
            none = torch.zeros_like(raw.error)
            return *(x.clone() for x in found), none, none.clone(), none.clone()

        rest = (
            raw.plan - composed.linked(system, composed.raised(system, a.double(), b.double()))[0]
        )
        return *(x.clone() for x in found), *composed.missed(system, a, b), rest

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, ...]) -> None:
        """Nothing is kept."""
        ctx.mark_non_differentiable(*output)
        ctx.count = len(inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[None, ...]:  # pyright: ignore
        """No derivative."""
        return (None,) * ctx.count

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[None, ...]:  # pyright: ignore
        """No derivative."""
        return (None,) * 10

    @staticmethod
    def vmap(info: Any, in_dims: Any, inside: Inside, *tensors: Tensor | None) -> Any:  # pyright: ignore
        """The transform's dimension becomes part of the batch."""
        size = info.batch_size

        def flat(x: Tensor | None, at: int | None) -> Tensor | None:
            if x is None:
                return None
            x = x.expand(size, *x.shape) if at is None else x.movedim(at, 0)
            return x.reshape(-1, *x.shape[2:])

        parts = [flat(x, at) for x, at in zip(tensors, in_dims[1:], strict=True)]
        found = Apart.apply(inside, *parts)
        assert isinstance(found, tuple)
        return tuple(x.view(size, x.shape[0] // size, *x.shape[1:]) for x in found), (0,) * len(
            found
        )


class Refusing(torch.autograd.Function):
    """A value whose derivative is refused by a sentence."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, value: Tensor, sentence: str) -> Tensor:  # pyright: ignore
        """Hand the value out."""
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        """Remember the sentence."""
        ctx.sentence = inputs[2]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:  # pyright: ignore
        """Refuse."""
        raise NotImplementedError(ctx.sentence)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Any:  # pyright: ignore
        """Refuse."""
        raise NotImplementedError(ctx.sentence)
