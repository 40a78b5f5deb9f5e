"""Geometry of the page's charts; the template draws it as SVG in the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

WIDTH, HEIGHT = 320.0, 170.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 10.0, 10.0, 26.0
MOST_POINTS = 400


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Curve:
    """One quantity over the steps of a run."""

    name: str
    raw: str
    """Path data of the logged values."""
    smooth: str
    """Path data of their running mean."""
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    references: tuple[Tick, ...]
    """Dashed lines that lie in the picture."""
    first: str
    last: str


def curve(
    name: str,
    steps: Sequence[int],
    values: Sequence[float],
    references: Mapping[str, float] | None = None,
) -> Curve:
    """Lay out a line chart of finite values.

    Args:
        name: of the quantity.
        steps: x values, rising.
        values: y values.
        references: values to compare with by what they are, drawn if they are in the range shown.
    """
    x, y = np.asarray(steps, float), np.asarray(values, float)
    if not len(x) or len(x) != len(y):
        raise ValueError(f"steps and values must be as long, not empty, got {len(x)}, {len(y)}")

    smooth = running_mean(y, max(1, len(y) // 40))
    low, high = float(y.min()), float(y.max())
    for reference in (references or {}).values():
        if 2 * low - high < reference < 2 * high - low:
            low, high = min(low, reference), max(high, reference)

    ticks = nice(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    at_x = _scale(x[0], x[-1], LEFT, WIDTH - RIGHT)
    at_y = _scale(low, high, HEIGHT - BOTTOM, TOP)
    chosen = np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).astype(int))
    marks = sorted({int(x[0]), int(x[len(x) // 2]), int(x[-1])})
    inside = {name: at for name, at in (references or {}).items() if low <= at <= high}

    return Curve(
        name=name,
        raw=_path(at_x(x[chosen]), at_y(y[chosen])),
        smooth=_path(at_x(x[chosen]), at_y(smooth[chosen])),
        x=tuple(Tick(float(at_x(np.array(m))), f"{m:,}") for m in marks),
        y=tuple(Tick(float(at_y(np.array(t))), f"{t:g}") for t in ticks),
        references=tuple(Tick(float(at_y(np.array(at))), name) for name, at in inside.items()),
        first=f"{y[0]:.3g}",
        last=f"{smooth[-1]:.3g}",
    )


def nice(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers from below ``low`` to above ``high``, about ``count`` steps.

    Example:
        >>> nice(0.3, 3.8)
        [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power * count >= span * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)

    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def running_mean(values: Float[np.ndarray, " n"], width: int) -> Float[np.ndarray, " n"]:
    """Mean over the last ``width`` values, fewer at the start."""
    total = np.concatenate([[0.0], values.cumsum()])
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - width, 0)
    return (total[end] - total[start]) / (end - start)


def _scale(low: float, high: float, first: float, last: float):  # noqa: ANN202
    span = high - low or 1.0
    return lambda value: first + (value - low) / span * (last - first)


def _path(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> str:
    return "M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
