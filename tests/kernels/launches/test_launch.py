"""How kernels are launched, asked without a GPU: on which device, when compiled anew, how often."""

import contextlib
import inspect
import sys
import types

import pytest
import torch

pytest.importorskip("triton")
from tests.kernels.tools import INTERPRET  # noqa: E402

if INTERPRET:
    pytest.skip("launches of a process without the interpreter", allow_module_level=True)

import triton  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from multisk._backends import choose  # noqa: E402
from multisk._operators import sweep as operator  # noqa: E402
from multisk._operators.asked import Asked  # noqa: E402
from multisk.kernels import _tile, resident  # noqa: E402
from multisk.kernels.newton import newton_pass  # noqa: E402
from multisk.kernels.resident import resident_sweeps  # noqa: E402
from multisk.kernels.search import search  # noqa: E402
from tests.kernels.launches import launchers  # noqa: E402
from tests.kernels.launches.compile_only import TARGETS, compile_only  # noqa: E402
from tests.kernels.launches.launchers import LAUNCHERS, Inputs, dry_launches  # noqa: E402


@contextlib.contextmanager
def recorded(monkeypatch, target="sm_90", note=lambda kernel, args, options: kernel.fn.__name__):
    """Launches for a GPU that is not there, each as `note` puts it."""
    made = []

    def launcher(kernel, grid):
        return lambda *args, **options: made.append(note(kernel, args, options))

    with compile_only(TARGETS[target]), dry_launches():
        monkeypatch.setattr(triton.KernelInterface, "__getitem__", launcher)
        yield made
        monkeypatch.undo()


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launch_is_made_on_the_device_of_its_tensors(name, monkeypatch):
    current = [0]

    def exchange(index):
        before, current[0] = current[0], index
        return before

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "_exchange_device", exchange)
    monkeypatch.setattr(torch.cuda, "_maybe_exchange_device", exchange)
    monkeypatch.setattr(launchers, "DEVICE", "cuda:1")
    with recorded(monkeypatch, note=lambda *_: current[0]) as made:
        LAUNCHERS[name](Inputs(torch.float32, 64, "aligned"))
    assert set(made) == {1}
    assert current == [0]


def test_no_launch_goes_round_the_one_place_that_picks_the_device():
    for kernel in launchers.kernels_in_source():
        source = inspect.getsource(sys.modules[kernel[0]])
        assert f"{kernel[1]}[" not in source


@pytest.mark.parametrize("width", [64, 50])
@pytest.mark.parametrize("name", LAUNCHERS)
def test_no_number_of_rows_compiles_anew(name, width, monkeypatch):
    if name == "depth":
        pytest.skip("its cells are N K in a row: where that is no multiple of 16 no row is aligned")

    def key(kernel, args, options):
        binder = kernel.device_caches[("fake", "cuda", "90")][-1]
        return kernel.fn.__name__, binder(*args, **options)[1]

    keys = []
    for rows in (5716, 5717, 5728):
        monkeypatch.setattr(launchers, "N", rows)
        with recorded(monkeypatch, note=key) as made:
            given = Inputs if name == "resident" else PerRow
            LAUNCHERS[name](given(torch.float32, width, "aligned"))
        keys.append(made)
    assert keys[0]
    assert keys[0] == keys[1] == keys[2]


class PerRow(Inputs):
    """A budget for every row and column, as solves have."""

    def budgets(self, free=None):
        rows, columns = launchers.fake(launchers.B, launchers.N), self.b
        return launchers.Budgets(
            rows=rows, row_cells=rows, columns=columns, column_cells=columns, free=free
        )


@pytest.mark.parametrize(
    ("target", "dtype", "products"),
    [
        ("sm_90", torch.float32, "tf32x3"),
        ("sm_80", torch.bfloat16, "tf32x3"),
        ("sm_100", torch.float32, "ieee"),
        ("gfx942", torch.float32, "ieee"),
        ("sm_90", torch.float64, "ieee"),
    ],
)
def test_chained_products_stay_off_blackwell(target, dtype, products):
    with compile_only(TARGETS[target]):
        assert _tile.dot_precision(launchers.fake(1, dtype=dtype)) == products


def sweeping(rows=5716):
    t = Inputs(torch.float32, 64, "aligned")
    return resident_sweeps(t.x.narrow(1, 0, rows), t.scales, t.budgets(), 3)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rows", [5716, 40])
def test_programs_that_wait_for_each_other_are_launched_together(target, rows, monkeypatch):
    with recorded(monkeypatch, target, lambda kernel, args, options: options) as made:
        sweeping(rows)
    assert [options.get("launch_cooperative_grid", False) for options in made] == [rows > 40]


@pytest.mark.parametrize("error", [RuntimeError("too many blocks"), AssertionError("no support")])
def test_a_refused_launch_is_taken_by_the_sweeps(error, monkeypatch):
    def note(kernel, args, options):
        if options.get("launch_cooperative_grid"):
            raise error
        return kernel.fn.__name__

    with recorded(monkeypatch, note=note) as made:
        monkeypatch.setattr(operator, "stays_resident", lambda _: True)
        t = Inputs(torch.float32, 64, "aligned")
        with pytest.raises(resident.Refused):
            sweeping()
        full = [launchers.fake(launchers.B, size) for size in (launchers.N, launchers.N, 64, 64)]
        found = operator.in_kernels(Asked(t.x, t.scales, full), [], 2, rows_first=True)
    assert made == ["_sweep", "_column_step"] * 2
    assert [part.shape for part in found] == [(launchers.B, launchers.N), (launchers.B, 64)]


def test_an_error_of_a_lone_program_is_not_taken_for_a_refusal(monkeypatch):
    def note(kernel, args, options):
        raise RuntimeError("out of memory")

    with recorded(monkeypatch, note=note), pytest.raises(RuntimeError, match="out of memory"):
        sweeping(40)


@pytest.mark.parametrize("knobs", [None, ImportError("libcuda is not there")])
def test_a_triton_that_cannot_run_them_leaves_gpu_tensors_to_torch(knobs, monkeypatch):
    """Triton 3.2, which torch 2.6 brings, has no `triton.knobs`; another does not import."""
    old = types.ModuleType("triton")
    old.__spec__ = types.SimpleNamespace(submodule_search_locations=[])
    if knobs is not None:
        old.__getattr__ = lambda name: (_ for _ in ()).throw(knobs)
    monkeypatch.setitem(sys.modules, "triton", old)
    monkeypatch.delitem(sys.modules, "triton.knobs", raising=False)
    choose.has_triton.cache_clear()
    with FakeTensorMode():
        x = launchers.fake(3, 4)
    try:
        with pytest.warns(UserWarning, match="Triton cannot be used .* plain torch"):
            assert not choose.kernels_run(x)
        assert not choose.kernels_run(x)  # and says so once
    finally:
        choose.has_triton.cache_clear()


def test_one_program_leaves_nothing_to_add(monkeypatch):
    with recorded(monkeypatch) as made:
        t = Inputs(torch.float32, 64, "aligned")
        many = launchers.fake(600, 64, 64), launchers.fake(600, 64)
        newton_pass(many[0], t.one, many[1], launchers.fake(600, 64), t.one)
    assert made == ["_pass"]


def test_a_search_over_many_columns_launches_few_rounds(monkeypatch):
    with recorded(monkeypatch) as made:
        t = Inputs(torch.float32, 256, "aligned")
        search(t.x, t.one, None, t.budgets(), passes=6)
    assert made.count("_round") == 24
    assert len(made) <= 100
