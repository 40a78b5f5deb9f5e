"""The bound of `dot_precision` on three TF32 products: by emulation, and in what is compiled."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("kernels compile in a process without the interpreter", allow_module_level=True)

BOUND = 1.25 * 2.0**-20  # relative, of a sum of products of non-negative numbers


def rounded(x):
    """The nearest TF32 number (10 bits after the point), halves away from zero: cvt.rna.tf32."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(1 << 12)) & ~np.uint32((1 << 13) - 1)).view(np.float32)


def cut(x):
    """What a tensor core reads of a float32: the low 13 bits are ignored."""
    bits = x.astype(np.float32).view(np.uint32)
    return (bits & ~np.uint32((1 << 13) - 1)).view(np.float32)


def three_products(a, b):
    """a^T b as three products of TF32 parts, added exactly."""
    big = rounded(a), rounded(b)
    small = cut(a - big[0]), cut(b - big[1])
    one, two = (x.astype(np.float64) for x in big), (x.astype(np.float64) for x in small)
    (a1, b1), (a2, b2) = one, two
    return a1.T @ b1 + a1.T @ b2 + a2.T @ b1


@pytest.mark.parametrize("kind", ["slopes", "cold", "adversarial"])
def test_each_sum_of_products_is_within_the_bound(kind):
    generator = np.random.default_rng(0)
    p = generator.uniform(0, 1, (400, 64))
    if kind == "cold":
        p = 1 / (1 + np.exp(-40 * generator.standard_normal((400, 64))))
    w = (p * (1 - p)).astype(np.float32)
    if kind == "adversarial":  # just above a half of the last bit that a part keeps
        last = generator.integers(0, 4, (1, 64)) + (1 << 12) + (1 << 2) - 1
        w = (np.float32(0.125).view(np.uint32) + last.astype(np.uint32)).view(np.float32)
        w = np.repeat(w, 3, 0)
    h = w.sum(1, dtype=np.float32)
    lean = (w / np.where(h > 0, h, 1)[:, None]).astype(np.float32)
    exact = w.astype(np.float64).T @ lean.astype(np.float64)
    got = three_products(w, lean)
    live = exact > 1e-30  # below, the parts themselves leave the range of normal numbers
    error = np.abs(got - exact)[live] / exact[live]
    assert error.max() <= BOUND
    assert error.max() > 1e-9  # it is no plain product either
    single = np.abs(rounded(w).T.astype(np.float64) @ rounded(lean) - exact)[live] / exact[live]
    if kind != "slopes":
        assert single.max() > 10 * BOUND  # one TF32 product would break the bound


def test_compiled_products_are_made_of_parts_that_were_rounded_like_that(tmp_path, monkeypatch):
    import torch

    from multisk.kernels.newton import newton_pass
    from tests.kernels.launches.compile_only import TARGETS, compile_only
    from tests.kernels.launches.launchers import Inputs

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    with compile_only(TARGETS["sm_80"]) as found:
        t = Inputs(torch.float32, 64, "aligned")
        newton_pass(t.x, t.one, t.b_own, t.a, t.one)
    files = next(record["files"] for record in found if record["kernel"] == "_pass")
    code = Path(next(path for path in files.values() if path.endswith(".ptx"))).read_text()
    products = re.findall(r"mma\.sync\S*tf32\.tf32\.f32", code)
    assert products
    assert len(products) % 3 == 0
    assert "cvt.rna.tf32.f32" in code
