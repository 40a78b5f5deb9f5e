"""Whether numba is there and works; without it the same passes run on whole arrays."""

import contextlib
import functools
import importlib
import importlib.util
import threading
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from multisk._backends.numba import arrays as whole_arrays
from multisk._warning import MultiskWarning

UNUSABLE = threading.Event()  # set once numba has failed in this process

ENVIRONMENT = "Environment variable"
"""How numba begins to say that a variable of the environment is none of its kind."""


def kernels() -> ModuleType | None:
    """The compiled loops; without a numba that works the same passes on whole arrays."""
    loops = None if UNUSABLE.is_set() else whole_loops()
    return arrays() if loops is None else loops


@functools.cache
def whole_loops() -> ModuleType | None:
    """The compiled loops; None without numba, or with one that does not import."""
    return imported("whole")


def matrices() -> ModuleType | None:
    """The compiled loops over many small matrices; None without a numba that works."""
    return None if UNUSABLE.is_set() else matrix_loops()


@functools.cache
def matrix_loops() -> ModuleType | None:
    """As `whole_loops`."""
    return imported("birkhoff")


def unrolling() -> ModuleType | None:
    """The compiled derivative of sweeps; None without a numba that works."""
    return None if UNUSABLE.is_set() else unrolling_loops()


@functools.cache
def unrolling_loops() -> ModuleType | None:
    """As `whole_loops`."""
    return imported("unroll")


def imported(name: str) -> ModuleType | None:
    """One module of compiled loops."""
    try:
        if importlib.util.find_spec("numba") is None:
            return None
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = importlib.import_module(f"{__package__}.{name}")
    except Exception as error:  # not the NumPy or LLVM that it was built for, a broken package
        give_up(error)
        return None

    _pass_on(said)
    return found


def _pass_on(said: list[warnings.WarningMessage]) -> None:
    """Repeat the warnings of an import; of those on NUMBA_... variables one line."""
    odd = [str(one.message).partition("\n")[0] for one in said if ENVIRONMENT in str(one.message)]
    if odd:
        text = " ".join(dict.fromkeys(odd))
        warnings.warn(f"numba takes its default: {text}", MultiskWarning, stacklevel=3)

    for one in said:
        if ENVIRONMENT not in str(one.message):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def arrays() -> ModuleType:
    """The passes without numba."""
    return whole_arrays


def compiled(kernels: Any) -> bool:
    """Whether one call solves many problems."""
    return hasattr(kernels, "newton_batch")


def name_of(kernels: Any) -> str:
    """The backend's name."""
    return "numba" if compiled(kernels) else "numpy"


def give_up(error: Exception) -> None:
    """Say once that numba does not work here."""
    if not UNUSABLE.is_set():
        UNUSABLE.set()
        first = str(error).strip().partition("\n")[0]
        warnings.warn(
            f"numba is installed but cannot be used ({type(error).__name__}: {first}); CPU solves "
            "take whole-array passes, which are slower. Install a numba that fits this NumPy, or "
            "none",
            MultiskWarning,
            stacklevel=2,
        )


@contextlib.contextmanager
def arrays_only() -> Iterator[None]:
    """Within it numba is left alone."""
    UNUSABLE.set()
    try:
        yield
    finally:
        UNUSABLE.clear()
