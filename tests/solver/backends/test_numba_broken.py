"""A numba that is installed and does not work costs speed and one warning, never a solve."""

import contextlib
import importlib
import inspect
import os
import pickle
import pkgutil
import sys
import types
import warnings

import numpy as np
import pytest
import torch

import multisk
from multisk._backends.numba import available
from multisk._backends.numba import solve as _cpu
from multisk._warning import MultiskWarning

PACKAGE = "multisk._backends.numba"
PLAIN = {"arrays", "available", "batch", "solve"}
LOOPS = {
    one.name for one in pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__)
} - PLAIN
"""Modules that are compiled, or hold what another has compiled."""
X = torch.rand(60, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SOLVERS = [multisk.Newton(), multisk.Sinkhorn(steps=7), multisk.Sinkhorn()]


def plans():
    return [multisk.solve(X, multisk.MultiAssignment(k=2), solver).plan for solver in SOLVERS]


@pytest.fixture
def truth(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(available, "kernels", lambda: None)
        return plans()


@pytest.fixture
def fresh(monkeypatch):
    """As in a process that has not yet asked for the loops; all is as before afterwards."""
    for name in LOOPS:
        monkeypatch.delitem(sys.modules, f"{PACKAGE}.{name}", raising=False)
        monkeypatch.delattr(sys.modules[PACKAGE], name, raising=False)
    available.whole_loops.cache_clear()
    yield
    for name in LOOPS:
        sys.modules.pop(f"{PACKAGE}.{name}", None)
        vars(sys.modules[PACKAGE]).pop(name, None)
    monkeypatch.undo()
    available.whole_loops.cache_clear()
    available.UNUSABLE.clear()


def solved_with_one_warning(match):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = plans() + plans()
    assert len(seen) == 1, [str(one.message) for one in seen]
    assert match in str(seen[0].message)
    assert "\n" not in str(seen[0].message)
    return found


def assert_right(found, truth):
    for one, two in zip(found, truth + truth, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-7)


def numba_of(njit):
    """A package `numba` with that decorator, beside the real compiler's classes."""
    importlib.import_module("numba.core.compiler")
    fake = types.ModuleType("numba")
    fake.__spec__ = importlib.machinery.ModuleSpec("numba", None)
    if isinstance(njit, Exception):

        def missing(name):
            raise njit if name == "njit" else AttributeError(name)

        fake.__getattr__ = missing
    else:
        fake.njit = njit
    return fake


class Broken:
    """A function whose compiler fails when it is called."""

    def __init__(self, function):
        self.__wrapped__ = function

    def __call__(self, *given):
        raise AttributeError("_garbageconstructor\nand more lines")


@pytest.mark.parametrize(
    "njit",
    [
        ImportError("Numba needs NumPy 2.3 or less. Got NumPy 2.5."),
        SystemError("initialization of _internal failed\nwithout raising an exception"),
        AttributeError("module 'numba' has no attribute 'njit'"),
        lambda **options: Broken,
    ],
    ids=["wrong NumPy", "broken extension", "another numba", "broken compiler"],
)
def test_a_numba_that_does_not_work_leaves_solves_to_arrays(njit, fresh, truth, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", numba_of(njit))
    assert_right(solved_with_one_warning("numba is installed but cannot be used"), truth)


def test_an_error_that_is_not_numbas_is_not_blamed_on_it(fresh, monkeypatch):
    monkeypatch.setattr(_cpu.Batch, "gather", lambda *_: (_ for _ in ()).throw(MemoryError("full")))
    with pytest.raises(MemoryError, match="full"):
        plans()
    assert not available.UNUSABLE.is_set()


class Cache:
    """A function's cache as numba has it, with something wrong."""

    def __init__(self, wrong, log):
        self.wrong, self.log, self.cache_path = wrong, log, "/cache"

    def load_overload(self, sig, target):
        if isinstance(self.wrong, Exception) and not self.log:
            raise self.wrong
        return

    def save_overload(self, sig, data):
        if self.wrong == "full":
            raise OSError(28, "No space left on device")

    def flush(self):
        self.log.append("flushed")


class Compiled:
    """A dispatcher: asks the cache, runs the function, keeps what it compiled."""

    def __init__(self, function, cache):
        self.function, self._cache = function, cache

    def __call__(self, *given, **named):
        if self._cache is not None and self._cache.load_overload("sig", "cpu") is None:
            self._cache.save_overload("sig", "machine code")
        return self.function(*given, **named)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (EOFError("Ran out of input"), "cannot be read"),
        (pickle.UnpicklingError("invalid load key"), "cannot be read"),
        (AttributeError("Can't get attribute '_garbage'"), "cannot be read"),
        ("full", "cannot be written"),
        ("no place", "cannot be written"),
    ],
    ids=["empty", "cut", "changed", "full disk", "read-only"],
)
def test_a_cache_that_fails_is_done_without(wrong, said, fresh, truth, monkeypatch):
    log = []

    def njit(*, cache=False, **options):
        if cache and wrong == "no place":
            return lambda f: (_ for _ in ()).throw(RuntimeError("cannot cache: no locator"))
        return lambda f: Compiled(inspect.unwrap(f), Cache(wrong, log) if cache else None)

    monkeypatch.setitem(sys.modules, "numba", numba_of(njit))
    with np.errstate(all="ignore"):
        found = solved_with_one_warning(said)
    assert_right(found, truth)
    assert bool(log) == isinstance(wrong, Exception)  # what is damaged is damaged once


def test_a_damaged_file_of_the_real_cache_is_forgotten_and_written_anew(tmp_path, monkeypatch):
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    from multisk._backends.numba import loops as _cpu_kernels

    path = tmp_path / "double.py"
    path.write_text("def double(x):\n    return x + x\n")
    monkeypatch.syspath_prepend(tmp_path)
    double = importlib.import_module("double").double
    assert _cpu_kernels.jit(double)(2.0) == 4.0
    (index,) = tmp_path.rglob("*.nbi")
    whole = index.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2]):
        index.write_bytes(damaged)
        _cpu_kernels.compiled_anew.cache_clear()
        with pytest.warns(UserWarning, match="cannot be read"):
            assert _cpu_kernels.jit(double)(2.0) == 4.0
        assert len(index.read_bytes()) == len(whole)
        loop = _cpu_kernels.jit(double)
        assert loop(2.0) == 4.0
        assert sum(loop.stats.cache_hits.values()) == 1
    index.unlink()
    os.mkfifo(index)
    _cpu_kernels.compiled_anew.cache_clear()
    with pytest.warns(UserWarning, match="cannot be read"):
        assert _cpu_kernels.jit(double)(2.0) == 4.0
    assert index.is_file()
    _cpu_kernels.compiled_anew.cache_clear()
    with contextlib.suppress(KeyError):
        del sys.modules["double"]


def test_odd_variables_of_numba_are_one_warning_of_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(name):
        for variable in ("NUMBA_NUM_THREADS", "NUMBA_OPT"):
            text = f"Environment variable {variable!r} could not be parsed.\nTraceback (most recent"
            warnings.warn(text, RuntimeWarning, stacklevel=1)
        return types.ModuleType(name)

    monkeypatch.setattr(available.importlib, "import_module", load)
    with pytest.warns(MultiskWarning, match="NUMBA_NUM_THREADS.*NUMBA_OPT") as told:
        assert available.imported("whole") is not None
    [one] = told
    assert "Traceback" not in str(one.message)
    assert "\n" not in str(one.message)


def test_a_changed_module_compiles_the_others_anew(tmp_path, monkeypatch):
    """Numba looks at a function's own file only, not at those of the functions that it calls."""
    loops = importlib.import_module(f"{PACKAGE}.loops")
    (tmp_path / "doubling.py").write_text("def twice(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    twice = importlib.import_module("doubling").twice

    def hits():
        loop = loops.jit(twice)
        assert loop(1.5) == 3.0
        return sum(loop.stats.cache_hits.values())

    assert [hits(), hits()] == [0, 1]
    before = loops.stamp_of(str(tmp_path))
    (tmp_path / "beside.py").write_text("FACTOR = 3\n")
    loops.stamp_of.cache_clear()
    assert loops.stamp_of(str(tmp_path)) != before

    monkeypatch.setattr(loops, "stamp_of", lambda _: "of changed modules")
    assert [hits(), hits()] == [0, 1]
