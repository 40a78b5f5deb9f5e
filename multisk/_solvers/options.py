"""Rules of the solvers' own options."""

import math
from typing import Any


def check_steps(name: str, value: Any) -> None:
    """Require an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an int of at least 1, got {value!r}")


def check_number(name: str, value: Any) -> None:
    """Require a finite number above 0."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be finite and above 0, got {value!r}")


def check_gradient(value: Any, allowed: tuple[str | None, ...]) -> None:
    """Require one of the derivative modes."""
    if value not in allowed:
        names = ", ".join(repr(name) for name in allowed)
        raise ValueError(f"gradient must be one of {names}, got {value!r}")
