"""Balanced targets are finite in every dtype at every temperature, and those of the limit.

Run as a script, this file is one rank of a job of two.
"""

import io
import os
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from multisk._warning import MultiskWarning
from multisk.ssl import SinkhornCentering, positionwise, targets
from tests import warm

F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64


def drawn(n, k, *, seed=0, scale=1.0, offsets=0.0, dtype=F32):
    generator = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(n, k, generator=generator, dtype=F64)
    return (x + offsets * torch.randn(k, generator=generator, dtype=F64)).to(dtype)


def column_error(q):
    q = q.double()
    return float((q.sum(0) * q.shape[1] / q.sum() - 1).abs().max())


def peers(x, temperature, sweeps=3):
    """The usual loop (SwAV, DINO), restated: exp without a shift, the total, columns, rows."""
    q = torch.exp(x.double() / temperature).T
    q = q / q.sum()
    k, b = q.shape
    for _ in range(sweeps):
        q = q / q.sum(1, keepdim=True) / k
        q = q / q.sum(0, keepdim=True) / b
    return (q * b).T


@pytest.mark.parametrize("temperature", [0.01, 0.02, 0.04, 0.07])
@pytest.mark.parametrize(("scale", "offsets"), [(0.3, 0.2), (8.0, 8.0)])
def test_no_dtype_overflows_at_any_temperature(scale, offsets, temperature):
    for dtype in (F16, BF16, F32, F64):
        x = drawn(64, 32, scale=scale, offsets=offsets, dtype=dtype)
        q = targets(x, temperature)
        assert q.dtype == (F64 if dtype == F64 else F32)
        assert q.isfinite().all()
        assert (q.sum(1) - 1).abs().max() <= 1e-6
        assert column_error(q) <= 1e-3
        assert targets(x, temperature, sweeps=3).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.01, 0.04])
def test_cold_logits_without_a_norm_are_solved(temperature):
    """From 8 temperatures on, a solve at this temperature alone ends with an error of 206."""
    q = targets(drawn(2048, 1024, scale=4.0, offsets=4.0), temperature)
    assert column_error(q) <= 1e-3


@pytest.mark.parametrize("temperature", [0.04, 0.1])
def test_three_sweeps_are_those_of_the_peers(temperature):
    x = drawn(60, 17, scale=0.4, offsets=0.2)
    for sweeps in (1, 3, 10):
        want = peers(x, temperature, sweeps).float()
        torch.testing.assert_close(targets(x, temperature, sweeps=sweeps), want, rtol=0, atol=1e-6)


def test_the_limit_is_where_the_peers_arrive():
    x = drawn(60, 17, scale=0.3, offsets=0.2, dtype=F64)
    want = peers(x, 0.1, 3000)
    torch.testing.assert_close(targets(x, 0.1), want, rtol=0, atol=1e-4)


@given(
    seed=st.integers(0, 500),
    n=st.integers(1, 30),
    k=st.integers(1, 12),
    temperature=st.sampled_from([0.03, 0.3, 3.0]),
)
@settings(max_examples=30)
def test_laws(seed, n, k, temperature):
    x = drawn(n, k, seed=seed, dtype=F64)
    generator = torch.Generator().manual_seed(seed)
    down, across = torch.randperm(n, generator=generator), torch.randperm(k, generator=generator)
    q = targets(x, temperature)
    near = {"rtol": 0, "atol": 1e-3}  # columns are met to 1e-4, on either side
    assert column_error(q) <= 2e-4
    torch.testing.assert_close(q.sum(1), torch.ones(n, dtype=F64))
    moved = targets(x[down][:, across], temperature)
    torch.testing.assert_close(moved, q[down][:, across], **near)
    shifts = 5 * drawn(n, 1, seed=seed + 1, dtype=F64) + 5 * drawn(1, k, seed=seed + 2, dtype=F64)
    torch.testing.assert_close(targets(x + shifts, temperature), q, **near)
    torch.testing.assert_close(targets(7 * x, 7 * temperature), q, **near)
    again = targets(torch.cat([x, x]), temperature)
    torch.testing.assert_close(again, torch.cat([q, q]), **near)


def test_a_shift_of_a_row_moves_no_target_and_three_sweeps_do():
    x = drawn(96, 64, scale=0.6, offsets=0.3)
    shifted = x - x.amax(1, keepdim=True)
    near = targets(x, 0.04) - targets(shifted, 0.04)
    assert near.abs().max() <= 1e-5
    far = targets(x, 0.04, sweeps=3) - targets(shifted, 0.04, sweeps=3)
    assert 0.5 * far.abs().sum(1).mean() > 0.05
    assert (targets(x, 0.04) - targets(x + 100, 0.04)).abs().max() <= 1e-3  # x + 100 is rounded


def test_rows_that_do_not_count_are_never_read():
    x = drawn(40, 8, dtype=F64)
    live = torch.arange(40) % 3 != 0
    x[~live] = torch.nan
    for sweeps in (None, 3):
        q = targets(x, 0.2, live=live, sweeps=sweeps)
        assert not q[~live].any()
        torch.testing.assert_close(q[live], targets(x[live], 0.2, sweeps=sweeps), rtol=0, atol=1e-6)
    assert not targets(x, 0.2, live=torch.zeros(40, dtype=torch.bool)).any()


def test_a_weight_counts_a_row_as_often():
    x = drawn(20, 6, dtype=F64)
    times = torch.randint(0, 4, (20,), generator=torch.Generator().manual_seed(0))
    for sweeps in (None, 3):
        q = targets(x, 0.2, weight=times.double(), sweeps=sweeps)
        want = targets(x.repeat_interleave(times, 0), 0.2, sweeps=sweeps)
        torch.testing.assert_close(q.repeat_interleave(times, 0), want, rtol=0, atol=1e-4)


def test_leading_shapes_are_one_problem_and_positions_are_many():
    x = drawn(24, 5, dtype=F64).view(4, 6, 5)
    for sweeps in (None, 3):
        whole = targets(x.flatten(0, 1), 0.2, sweeps=sweeps)
        assert torch.equal(targets(x, 0.2, sweeps=sweeps), whole.view(4, 6, 5))
        q = positionwise(x, 0.2, sweeps=sweeps)
        for part, one in zip(q, x, strict=True):
            torch.testing.assert_close(part, targets(one, 0.2, sweeps=sweeps), rtol=0, atol=2e-4)


def test_the_call_of_dinov2_writes_to_no_argument_and_ignores_padding():
    x = drawn(30, 8)
    count = torch.tensor([21])
    for sweeps in (None, 3):
        centering = SinkhornCentering(8, sweeps=sweeps).eval()
        given, number = x.clone(), count.clone()
        given[21:] = torch.nan
        kept = given.clone()
        q = centering(given, 0.1, n_masked_patches_tensor=number)
        assert torch.equal(given[:21], kept[:21])
        assert torch.equal(number, count)
        want = targets(x[:21], 0.1, sweeps=sweeps)
        torch.testing.assert_close(q[:21], want, rtol=0, atol=1e-4)
        assert not q[21:].any()
        assert not q.requires_grad


def test_the_centre_is_that_of_the_plan_and_moves_in_training_alone():
    centering, x = SinkhornCentering(8), drawn(50, 8).requires_grad_()
    q = centering(x, 0.1)
    assert int(centering.updates) == 1
    torch.testing.assert_close(centering.assign(x, 0.1), q, rtol=0, atol=1e-6)
    assert abs(float(centering.center.mean())) <= 1e-12
    # Another temperature warms the start: the centre has the units of the logits.
    torch.testing.assert_close(centering(x, 0.05), targets(x, 0.05), rtol=0, atol=1e-3)
    kept = centering.center.clone()
    centering.eval()
    centering(drawn(50, 8, seed=5), 0.1)
    assert torch.equal(centering.center, kept)
    assert int(centering.updates) == 2


def test_the_state_is_saved_and_never_narrowed():
    centering = SinkhornCentering(8, keep=0.5)
    centering(drawn(50, 8), 0.1)
    stream = io.BytesIO()
    torch.save(centering.state_dict(), stream)
    stream.seek(0)
    other = SinkhornCentering(8, keep=0.5).bfloat16()
    other.load_state_dict(torch.load(stream))
    assert other.center.dtype == F64
    assert torch.equal(other.bfloat16().center, centering.center)
    assert int(other.updates) == 1
    x = drawn(50, 8, seed=1)
    assert torch.equal(other(x, 0.1), centering(x, 0.1))


def test_a_batch_without_rows_leaves_the_centre_alone():
    centering = SinkhornCentering(4, keep=0.5)
    centering(drawn(20, 4), 0.1)
    kept = centering.center.clone()
    for sweeps in (None, 3):
        centering.sweeps = sweeps
        assert not centering(drawn(20, 4, seed=1), 0.1, torch.tensor([0])).any()
        assert centering(torch.zeros(0, 4), 0.1).shape == (0, 4)
        assert torch.equal(centering.center, kept)
        assert int(centering.updates) == 1


def test_small_batches_are_balanced_by_what_is_kept():
    """Fresh rows at the centre of 32-row batches of 256 prototypes: half the error, or less."""
    generator = torch.Generator().manual_seed(0)
    prototypes = torch.nn.functional.normalize(torch.randn(256, 32, generator=generator), dim=1)

    def batch(n):
        features = torch.nn.functional.normalize(torch.randn(n, 32, generator=generator) + 0.3)
        return features @ prototypes.T

    found = {}
    for keep in (0.0, 0.9):
        centering = SinkhornCentering(256, keep=keep)
        for _ in range(40):
            centering(batch(32), 0.05)
        load = centering.assign(batch(8000), 0.05).sum(0) * 256 / 8000
        found[keep] = float((load - 1).abs().mean())
    assert found[0.9] <= 0.5 * found[0.0]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"logits": torch.tensor([[0.0, torch.nan]])},
            r"logits must be finite in live rows, got nan",
        ),
        ({"logits": torch.zeros(3)}, r"logits must have the shape \(\*rows, K\), got \(3,\)"),
        ({"logits": torch.zeros(2, 3).int()}, "logits must have a floating dtype, got torch.int32"),
        ({"logits": [[0.0]]}, "logits must be a tensor, got list"),
        ({"temperature": 0.0}, "temperature must be finite and above 0, got 0.0"),
        ({"temperature": torch.ones(2)}, r"temperature must be one number, got a tensor"),
        ({"sweeps": 0}, "sweeps must be an int of at least 1, got 0"),
        ({"live": torch.ones(3, dtype=torch.bool)}, r"live must have the shape \(2,\), got \(3,\)"),
        ({"live": torch.ones(2)}, "live must be a boolean tensor, got torch.float32"),
        ({"weight": torch.tensor([1.0, -1.0])}, r"weight must be finite and at least 0, got -1.0"),
        ({"start": torch.zeros(2)}, r"start must have the shape \(3,\), got \(2,\)"),
    ],
    ids=str,
)
def test_what_has_no_answer_is_refused_in_one_sentence(given, sentence):
    arguments = {"logits": torch.zeros(2, 3), "temperature": 0.1} | given
    with pytest.raises(ValueError, match=sentence):
        targets(**arguments)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: SinkhornCentering(0), "num_prototypes must be an int of at least 1, got 0"),
        (lambda: SinkhornCentering(3, keep=1.0), r"keep must lie in \[0, 1\), got 1.0"),
        (
            lambda: SinkhornCentering(3)(torch.zeros(2, 4), 0.1),
            r"logits must have 3 columns, got \(2, 4\)",
        ),
        (
            lambda: SinkhornCentering(3)(torch.zeros(2, 3), 0.1, torch.tensor([5])),
            "n_masked_patches_tensor must lie between 0 and the 2 rows, got 5",
        ),
    ],
)
def test_the_module_refuses_likewise(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_loads_that_are_not_reached_are_reported(monkeypatch):
    monkeypatch.setattr("multisk.ssl.STAGES", 0)
    with pytest.warns(MultiskWarning, match="prototypes' loads are off by up to"):
        q = targets(drawn(30, 8, scale=50.0), 0.01)
    assert (q.sum(1) - 1).abs().max() <= 1e-6


def two_ranks():
    """Results of either split of the rows, or of all of them."""
    x, live = drawn(41, 7, scale=0.5, offsets=0.3, dtype=F64), torch.arange(41) % 5 != 0
    rank, alone = int(os.environ.get("RANK", "0")), "RANK" not in os.environ
    part = slice(0, 41) if alone else (slice(0, 29), slice(29, 41))[rank]
    group = None if alone else dist.group.WORLD
    centering = SinkhornCentering(7, keep=0.5, group=group)
    given = {"live": live[part], "group": group}
    found = [targets(x[part], 0.1, **given), targets(x[part], 0.1, sweeps=3, **given)]
    found += [
        targets(80 * x[part], 0.02, **given),
        centering(x[part], 0.1),
        centering(2 * x[part], 0.1),
    ]
    empty = x[part] if alone or rank == 0 else x[:0]
    there = x[:29] if alone else empty
    found.append(targets(there, 0.1, sweeps=3, group=group))
    found.append(targets(there, 0.1, group=group))
    return found, centering.center


def test_two_ranks_are_one(tmp_path):
    here = Path(__file__)
    ranks = [
        warm.start(
            [sys.executable, here, tmp_path],
            env=os.environ | {"RANK": str(rank), "PYTHONPATH": str(here.parents[2])},
            stderr=warm.PIPE,
        )
        for rank in range(2)
    ]
    ends = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], ends
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    found, center = two_ranks()
    for at, want in enumerate(found):
        together = torch.cat([part[0][at] for part in parts])
        torch.testing.assert_close(together, want, rtol=0, atol=1e-6)
    for part in parts:
        torch.testing.assert_close(part[1], center, rtol=0, atol=1e-6)
    assert torch.equal(parts[0][1], parts[1][1])


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    rank = int(os.environ["RANK"])
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    torch.save(two_ranks(), folder / f"{rank}.pt")
    dist.destroy_process_group()
