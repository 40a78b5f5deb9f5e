"""Every equation of the page on mathematics holds for what multisk finds, and the code names it."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import entr, expit, logsumexp, softmax

import multisk
from multisk import reference
from multisk._backends.numba import flow_arrays
from multisk._backends.torch.response import Tiled
from multisk._problem.status import stop_at
from multisk._problem.system import prepare
from multisk._semidual.anneal import extrapolate
from multisk._semidual.ascent import shifted
from multisk._semidual.interior import Path as CentralPath
from multisk._semidual.interval import best_shift
from multisk._semidual.schur import solve_dense
from multisk._semidual.semidual import direction, visit

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "multisk" / "mathematics.md").read_text(encoding="utf-8")
N, K, EPS, MU = 9, 5, 0.3, 0.25
RNG = np.random.default_rng(3)
X, G = RNG.normal(size=(N, K)), RNG.normal(size=(N, K))
R = RNG.integers(1, K, N).astype(float)
C = R.sum() * (share := 1 + 0.3 * RNG.random(K)) / share.sum()
MASS, LOAD = 0.5 + RNG.random(N), 0.5 + RNG.random(K)


def tensor(x):
    return torch.from_numpy(np.asarray(x, np.float64))


def solved(problem, x=X, solver=None):
    """The scores, the solution and its potentials in NumPy."""
    scores = tensor(x).requires_grad_()
    found = multisk.solve(scores, problem, solver).raise_if_failed()
    a, b = found.row_potential.numpy(), found.column_potential.numpy()
    return scores, found, a, b


def assignment(**more):
    return multisk.MultiAssignment(tensor(R), eps=EPS, damping=MU, capacity=tensor(C), **more)


def binary(p):
    return entr(p) + entr(1 - p)


def answered(z, b, budgets):
    """The rows' roots (16), by bisection."""
    y = z + b
    odds = np.log(budgets / (K - budgets))
    low, high = odds - y.max(1), odds - y.min(1)
    assert (expit(y + low[:, None]).sum(1) <= budgets + 1e-12).all()
    assert (expit(y + high[:, None]).sum(1) >= budgets - 1e-12).all()
    for _ in range(80):
        mid = (low + high) / 2
        over = expit(y + mid[:, None]).sum(1) > budgets
        low, high = np.where(over, low, mid), np.where(over, mid, high)
    return (low + high) / 2


def slopes(f, x, step=1e-5):
    """Central differences of a scalar or vector function."""
    units = step * np.eye(x.size).reshape(-1, *x.shape)
    return np.array([(f(x + u) - f(x - u)) / (2 * step) for u in units])


def dual(z, a, b, rows=R, columns=C):
    """Equation (10), left."""
    t = z + a[:, None] + b
    return np.logaddexp(0, t).sum() - rows @ a - columns @ b


def test_every_equation_is_named_in_the_code_and_every_name_has_one():
    there = re.findall(r"\((\d+)\)$", PAGE, re.MULTILINE)
    assert [int(n) for n in there] == list(range(1, len(there) + 1))
    named = set()
    for path in (ROOT / "multisk").rglob("*.py"):
        for names in re.findall(r"Eq\. (\(\d+\)(?:(?:, | and )\(\d+\))*)", path.read_text("utf-8")):
            named |= set(re.findall(r"\d+", names))
    assert named == set(there)


def test_sweeps_of_potentials_are_those_of_the_whole_table():
    k, steps = 2, 3
    scales = np.where(np.arange(K) < k, 1, MU)[:, None, None]
    table = np.exp(scales * X / EPS)
    u, v = np.zeros((2, N)), np.zeros((2, K))
    rows, columns = np.array([k, K - k]), np.array([k, K - k]) * N / K
    p, q = np.exp(X / EPS), np.exp(MU * X / EPS)  # the first sweep's, in the place of P and 1 - P
    a, b = np.zeros(N), np.zeros(K)
    t = np.stack([X / EPS, MU * X / EPS])
    for _ in range(steps):
        table /= table.sum(2, keepdims=True)  # (3)
        table *= N / K / table.sum(1, keepdims=True)
        table /= table.sum(0, keepdims=True)

        logs = t + u[..., None] + v[:, None]  # (4), from the raw kernel in the first sweep
        logs = logs if not u.any() else logs - logsumexp(logs, 0)
        step = np.log(rows)[:, None] - logsumexp(logs, 2)
        u += step
        v += np.log(columns)[:, None] - logsumexp(logs + step[..., None], 1)

        grow, shrink = k / p.sum(1), (K - k) / q.sum(1)  # (7)
        a += np.log(grow / shrink)
        b += np.log(k * N / K / (grow @ p)) - np.log((K - k) * N / K / (shrink @ q))  # (8)
        p = expit((1 - MU) * X / EPS + a[:, None] + b)  # (5)
        q = 1 - p

    plan = table[:k].sum(0)
    found = multisk.solve(
        tensor(X), multisk.MultiAssignment(k, eps=EPS, damping=MU), multisk.Sinkhorn(steps=steps)
    )
    groups = softmax(t + u[..., None] + v[:, None], 0)
    for other in (p, groups[0], found.plan.numpy(), reference.multi_sk(X, k, EPS, MU, steps)):
        np.testing.assert_allclose(other, plan, rtol=1e-10)


def test_the_limit_its_dual_and_its_schur_complement():
    _, found, a, b = solved(assignment())
    z, plan = (1 - MU) / EPS * X, found.plan.detach().numpy()
    np.testing.assert_allclose(expit(z + a[:, None] + b), plan, atol=1e-10)  # (5)
    np.testing.assert_allclose(plan, reference.multi_assignment(X, R, EPS, MU, C), atol=1e-8)
    value = (1 - MU) * (plan * X).sum() + EPS * binary(plan).sum()  # (6)
    np.testing.assert_allclose(found.value.item(), value)
    np.testing.assert_allclose(EPS * dual(z, a, b), value)  # (10), (36)

    b = b + 0.3 * RNG.normal(size=K)  # away from the optimum, the rows answering

    def at(b):
        return answered(z, b, R)

    p = expit(z + at(b)[:, None] + b)
    w = p * (1 - p)
    pull, schur = p.sum(0) - C, np.diag(w.sum(0)) - w.T @ (w / w.sum(1)[:, None])
    np.testing.assert_allclose(slopes(lambda b: dual(z, at(b), b), b), pull, atol=1e-7)  # (11)
    numeric = slopes(lambda b: expit(z + at(b)[:, None] + b).sum(0), b)
    np.testing.assert_allclose(numeric, schur, atol=1e-7)  # (12)
    np.testing.assert_allclose(schur.sum(0), 0, atol=1e-12)  # (13)
    x = RNG.normal(size=K)
    np.testing.assert_allclose(w.sum(0) * x - w.T @ (w @ x / w.sum(1)), schur @ x)  # (14)

    system = prepare(tensor(X), assignment()).detach()
    room, everyone = torch.empty(1, N, K).double(), torch.ones(1, dtype=torch.bool)
    point = visit(system, tensor(b)[None], None, 1e-14, room, everyone)
    coupling = point.coupling[0].numpy()
    np.testing.assert_allclose(point.pull[0], pull, atol=1e-10)
    np.testing.assert_allclose(np.diag(point.weight[0]) - coupling, schur, atol=1e-10)
    still, gauge = torch.zeros(1, K, dtype=torch.bool), torch.ones(1, 1).double()
    step = solve_dense(point.weight, point.coupling, -point.pull, still, gauge=gauge)[0].numpy()
    filled = schur + w.sum(0).mean() / K
    np.testing.assert_allclose(step, np.linalg.solve(filled, -pull), atol=1e-9)  # (13)


def test_potentials_beyond_the_optimum_are_certified_by_what_margins_miss():
    z, a, b = (1 - MU) / EPS * X, RNG.normal(size=N), RNG.normal(size=K)
    plan = expit(z + a[:, None] + b)
    missed = a @ (plan.sum(1) - R) + b @ (plan.sum(0) - C)  # (36)
    value = (z * plan).sum() + binary(plan).sum()
    np.testing.assert_allclose(dual(z, a, b) - value, missed)
    best = reference.multi_assignment(X, R, EPS, MU, C)
    assert dual(z, a, b) >= (z * best).sum() + binary(best).sum()


def test_bounds_are_felt_on_the_side_of_the_potential():
    low, high = np.full(K, 1.6), np.full(K, 2.2)
    load = low, high
    problem = multisk.MultiAssignment(1, eps=EPS, capacity=tuple(map(tensor, load)))
    _, found, _, b = solved(problem, X + np.linspace(0, 1, K))
    sums = found.plan.sum(0).detach().numpy()
    want = np.where(b > 0, low, np.where(b < 0, high, np.clip(sums, low, high)))  # (18)
    np.testing.assert_allclose(sums, want, atol=1e-6)
    assert (b < 0).any()
    assert (b > 0).any()

    mass, far = float(sums.sum()), RNG.normal(size=K)
    t = float(best_shift(*(tensor(x)[None] for x in (far, low, high)), tensor([[mass]])))

    def along(t):  # the terms of the dual that a shift changes: (17)
        return mass * t - low @ np.maximum(far + t, 0) - high @ np.minimum(far + t, 0)

    slope = mass - low[far + 0.4 > 0].sum() - high[far + 0.4 < 0].sum()  # (20)
    np.testing.assert_allclose(slopes(along, np.array(0.4))[0], slope, atol=1e-8)
    assert min(along(t + x) for x in np.linspace(-3, 3, 601)) >= along(t) - 1e-9


def test_a_newton_step_within_bounds_solves_its_model():
    low, high = np.full(K, 1.6), np.full(K, 2.2)
    problem = multisk.MultiAssignment(1, eps=EPS, capacity=(tensor(low), tensor(high)))
    system = prepare(tensor(X + np.linspace(0, 1, K)), problem).detach()
    b, room = tensor(RNG.normal(size=K))[None], torch.empty(1, N, K).double()
    point = visit(system, b, None, 1e-14, room, torch.ones(1, dtype=torch.bool))
    d = direction(system, point, torch.full((1, 1), torch.inf).double())[0].numpy()
    schur = np.diag(point.weight[0]) - point.coupling[0].numpy()
    load, y = point.sums[0].numpy() + schur @ d, b[0].numpy() + d
    rest = np.abs(y) < 1e-9
    assert 0 < rest.sum() < K
    np.testing.assert_allclose(load[~rest], np.where(y > 0, low, high)[~rest], rtol=1e-7)
    assert ((load[rest] >= low[rest] - 1e-7) & (load[rest] <= high[rest] + 1e-7)).all()  # (19)


def test_rows_within_bounds_and_a_given_mass():
    mass, tops = 0.6 * MASS.sum(), (tensor(MASS), tensor(LOAD * MASS.sum() / LOAD.sum()))
    problem = multisk.Transport(eps=EPS, rows=(0, tops[0]), columns=(0, tops[1]), mass=mass)
    _, found, a, b = solved(problem)
    logs = logsumexp(X / EPS + b, 1)
    level = a[a < np.log(MASS) - logs - 1e-6]
    assert level.size > 1
    np.testing.assert_allclose(level, level[0], atol=1e-6)
    np.testing.assert_allclose(a, np.minimum(level[0], np.log(MASS) - logs), atol=1e-6)  # (21)
    total = np.minimum(np.exp(level[0] + logs), MASS).sum()
    np.testing.assert_allclose([total, found.plan.sum().item()], mass, rtol=1e-6)


def test_margins_that_yield():
    rho = 0.7, 2.0
    problem = multisk.Transport(eps=EPS, rows=tensor(MASS), columns=tensor(LOAD), relax=rho)
    _, found, a, b = solved(problem)
    plan, tau = found.plan.detach().numpy(), (EPS / rho[0], EPS / rho[1])
    sums = plan.sum(1), plan.sum(0)
    yielded = MASS * np.exp(-tau[0] * a), LOAD * np.exp(-tau[1] * b)
    np.testing.assert_allclose(np.concatenate(sums), np.concatenate(yielded), rtol=1e-6)  # (23)
    step = (np.log(MASS) - logsumexp(X / EPS + b, 1)) / (1 + tau[0])
    np.testing.assert_allclose(a, step, atol=1e-6)

    def kl(p, q):
        return (p * np.log(p / q) - p + q).sum()

    value = (plan * X).sum() - EPS * (plan * (np.log(plan) - 1)).sum()
    value -= rho[0] * kl(sums[0], MASS) + rho[1] * kl(sums[1], LOAD)  # (6) and (22)
    np.testing.assert_allclose(found.value.item(), value)

    def relaxed(a, b):
        rest = (MASS @ np.expm1(-tau[0] * a)) / tau[0] + (LOAD @ np.expm1(-tau[1] * b)) / tau[1]
        return np.exp(X / EPS + a[:, None] + b).sum() + rest

    np.testing.assert_allclose(EPS * relaxed(a, b), value, rtol=1e-8)
    system = prepare(tensor(X), problem).detach()
    far = RNG.normal(size=K), RNG.normal(size=N)
    new_b, new_a = (x[0].numpy() for x in shifted(system, *(tensor(x)[None] for x in far)))
    t = np.log(MASS @ np.exp(-tau[0] * far[1])) - np.log(LOAD @ np.exp(-tau[1] * far[0]))
    t /= sum(tau)  # (25)
    np.testing.assert_allclose([*new_a, *new_b], [*(far[1] + t), *(far[0] - t)])
    best = relaxed(new_a, new_b)
    assert min(relaxed(new_a + s, new_b - s) for s in (-1e-3, 1e-3)) > best

    def sweep(b):
        a = (np.log(MASS) - logsumexp(X / EPS + b, 1)) / (1 + tau[0])
        return (np.log(LOAD) - logsumexp(X / EPS + a[:, None], 0)) / (1 + tau[1])

    here = far[0]
    for _ in range(5):
        after = sweep(here)
        bound = np.abs(here - b).max() / ((1 + tau[0]) * (1 + tau[1]))  # (26)
        assert np.abs(after - b).max() <= bound + 1e-9
        here = after


def test_prices_of_a_colder_temperature_lie_on_the_line_through_the_last_two():
    before, here = (SimpleNamespace(a=tensor(RNG.normal(size=N)), b=tensor(LOAD)) for _ in "ab")
    b, a = extrapolate((4.0, before), 2.0, here, 1.5)  # pyright: ignore[reportArgumentType]
    for new, now, old in ((b, here.b, before.b), (a, here.a, before.a)):
        line = 2.0 * now + (2.0 * now - 4.0 * old) * (2.0 - 1.5) / (4.0 - 2.0)  # (27)
        np.testing.assert_allclose(1.5 * new, line)


def test_the_central_path_keeps_its_equations():
    path = CentralPath(prepare(tensor(X), assignment()).detach())
    for _ in range(12):
        path.advance(torch.ones(1, dtype=torch.bool))
    t = path.gain + path.a[..., None] + path.b[:, None]
    np.testing.assert_allclose(path.high - path.low, t, atol=1e-9)  # (28)
    assert not bool(path.gaps() | path.misses())
    p, level = 0.3, 0.1  # T as a function of P on the path, and its slope
    steep = slopes(lambda p: level / (1 - p) - level / p, np.array(p))[0]
    np.testing.assert_allclose(1 / steep, 1 / (level / p / p + level / (1 - p) ** 2), rtol=1e-6)


def test_three_scales_are_a_softmax_with_a_convex_dual():
    levels, k = np.array([1.0, 1.0, 0.6, 0.2, 0.2]), 2
    problem = multisk.MultiAssignment(k, eps=EPS, damping=tensor(levels))
    _, found, u, v = solved(problem)
    scales, counts = np.array([1.0, 0.6, 0.2]), np.array([2, 1, 2])
    t = scales[:, None, None] * X / EPS + u[..., None] + v[:, None]
    q = softmax(t, 0)
    np.testing.assert_allclose(q[0], found.plan.detach().numpy(), atol=1e-6)  # (4)
    np.testing.assert_allclose(q.sum(2), np.broadcast_to(counts[:, None], (3, N)), rtol=1e-6)  # (2)
    np.testing.assert_allclose(q.sum(1), np.broadcast_to(counts[:, None] * N / K, (3, K)), 1e-6)
    bound = logsumexp(t - 0.2 * X / EPS, 0).sum() - (u.T @ counts).sum()
    bound -= (v.T @ counts).sum() * N / K  # (29), less what every channel has
    np.testing.assert_allclose(EPS * bound, found.value.item(), rtol=1e-6)

    change = RNG.normal(size=(3, N))
    table = Tiled(prepare(tensor(X), problem).detach(), tensor(u)[None], tensor(v)[None])
    by_row, _ = table.answer(tensor(change)[None], torch.zeros(1, 3, K).double())
    d = np.broadcast_to(change[..., None], q.shape)
    np.testing.assert_allclose(by_row[0], (q * (d - (q * d).sum(0))).sum(2), atol=1e-12)  # (30)


@pytest.mark.parametrize("relax", [None, (0.7, None)])
def test_the_implicit_derivative(relax):
    rows, columns = tensor(MASS).requires_grad_(), tensor(LOAD * MASS.sum() / LOAD.sum())
    strength = None if relax is None else (tensor(relax[0]).requires_grad_(), None)
    problem = multisk.Transport(eps=EPS, rows=rows, columns=columns, relax=strength)
    scores, found, a, _ = solved(problem)
    (found.plan * tensor(G)).sum().backward()
    w, tau = found.plan.detach().numpy(), 0.0 if relax is None else EPS / relax[0]
    top, right = w.sum(1) * (1 + tau), np.concatenate([(w * G).sum(1), (w * G).sum(0)])
    whole = np.block([[np.diag(top), w], [w.T, np.diag(w.sum(0))]])
    both = np.linalg.lstsq(whole, right, rcond=None)[0]  # (31), (24)
    alpha, beta = both[:N], both[N:]
    np.testing.assert_allclose(scores.grad * EPS, w * (G - alpha[:, None] - beta), atol=1e-8)
    factor = np.exp(-tau * a)
    got, want = rows.grad.numpy(), alpha * factor  # (32)
    if strength is None:  # alpha is known up to a shift that beta takes
        got, want = got - got.mean(), want - want.mean()
    else:
        by_tau = -(alpha * a * MASS * factor).sum()
        by_strength = -by_tau * EPS / relax[0] ** 2
        np.testing.assert_allclose(strength[0].grad.item(), by_strength, rtol=1e-6)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_newton_steps_at_the_solution_carry_its_derivative():
    scores, found, *_ = solved(assignment())
    (direct,) = torch.autograd.grad((found.plan * tensor(G)).sum(), scores)
    logs = found.log_plan  # made by (33)
    (carried,) = torch.autograd.grad((logs.exp() * tensor(G)).sum(), scores)
    np.testing.assert_allclose(carried, direct, atol=1e-7)


def test_one_sweep_backwards():
    a_bar, b_bar, a, b = (RNG.normal(size=n) for n in (N, K, N, K))
    start = (1 - MU) * X / EPS + a[:, None] + b

    def sweep(t):
        p = expit(t)
        g, s = R / p.sum(1), (K - R) / (1 - p).sum(1)
        return p, g, s, g @ p, s @ (1 - p)

    def loss(t):
        _, g, s, above, below = sweep(t)
        return a_bar @ np.log(g / s) + b_bar @ (np.log(C / above) - np.log((N - C) / below))

    p, g, s, above, below = sweep(start)
    gamma, delta = -b_bar / above, b_bar / below
    g_bar, s_bar = p @ gamma + a_bar / g, (1 - p) @ delta - a_bar / s
    level = -g_bar * g / p.sum(1) + s_bar * s / (1 - p).sum(1)
    bent = p * (1 - p) * (np.outer(g, gamma) - np.outer(s, delta) + level[:, None])  # (34)
    np.testing.assert_allclose(bent, slopes(loss, start).reshape(N, K), atol=1e-8)


def test_the_value_moves_as_if_the_plan_stood_still():
    eps, rho = tensor(EPS).requires_grad_(), tensor(0.7).requires_grad_()
    rows, columns = tensor(MASS).requires_grad_(), tensor(LOAD)
    problem = multisk.Transport(eps=eps, rows=rows, columns=columns, relax=(rho, None))
    scores, found, a, b = solved(problem)
    found.value.backward()
    plan = found.plan.detach().numpy()
    sums, spread = plan.sum(1), -(plan * (np.log(plan) - 1)).sum()
    missed = (sums * np.log(sums / MASS) - sums + MASS).sum()
    for got, want in (  # (35)
        (scores.grad, plan),
        (eps.grad, spread),
        (rows.grad, 0.7 * np.expm1(-EPS / 0.7 * a)),
        (rho.grad, -missed),
    ):
        np.testing.assert_allclose(got, want, atol=1e-6)
    loads = tensor(LOAD * N / LOAD.sum()).requires_grad_()
    _, found, _, b = solved(multisk.Transport(eps=EPS, columns=loads))
    found.value.backward()
    got, want = loads.grad.numpy(), -EPS * b
    np.testing.assert_allclose(got - got.mean(), want - want.mean(), atol=1e-6)


def test_zero_temperature_is_proved_by_prices():
    low, high = np.ones(K), np.array([3.0, 2, 4, 4, 4])
    found = multisk.hard(
        tensor(X), multisk.MultiAssignment(1, capacity=(tensor(low), tensor(high)))
    )
    plan, p = found.plan.numpy(), found.prices.numpy()
    bound = (X - p).max(1).sum() + high @ np.maximum(p, 0) + low @ np.minimum(p, 0)
    np.testing.assert_allclose(bound, (plan * X).sum())  # (37), (38)
    costs = X[plan][:, None] - X - (p[plan.argmax(1)][:, None] - p)
    assert costs.min() >= -1e-12  # (39)
    even = multisk.MultiAssignment(3, eps=1e-3, damping=MU)
    limit, cold = multisk.hard(tensor(X), even), multisk.solve(tensor(X), even)
    prices = -1e-3 / (1 - MU) * cold.column_potential  # at them each row's best are the limit's own
    best = (tensor(X) - prices).topk(3).indices
    kept = torch.zeros_like(limit.plan).scatter_(1, best, torch.ones(N, K, dtype=torch.bool))
    sure = (cold.plan > 0.99) | (cold.plan < 0.01)
    assert bool((kept == limit.plan)[sure].all())


def test_a_column_fits_at_the_price_that_its_rows_would_pay():
    price, budgets = RNG.normal(size=K), np.full(N, 2)
    chosen, last, out = flow_arrays.best_columns(X, budgets, price)
    pays = X[:, 0] - np.where(chosen[:, 0], out, last)  # (40)
    for goal in range(1, N):
        price[0] = flow_arrays.between(pays, goal, 0.0)
        assert flow_arrays.best_columns(X, budgets, price)[0][:, 0].sum() == goal


def test_small_matrices_have_the_laplacian_of_their_columns():
    _, found, *_ = solved(multisk.Transport(eps=EPS, rows=tensor(MASS)))
    p = found.plan.detach().numpy()
    weights = p.T @ (p / p.sum(1)[:, None])
    schur = np.diag(p.sum(0)) - weights
    np.testing.assert_allclose(np.diag(weights.sum(0)) - weights, schur, atol=1e-12)  # (41)


def test_a_solve_ends_by_the_error_of_its_plan():
    _, found, *_ = solved(assignment())
    plan = found.plan.detach().numpy()
    worst = max((np.abs(plan.sum(1) - R) / R).max(), (np.abs(plan.sum(0) - C) / C).max())
    np.testing.assert_allclose(found.marginal_error.item(), worst, atol=1e-14)  # (42)
    assert stop_at(1e-6, torch.float32) == pytest.approx(0.8e-6)  # (43)
    assert stop_at(1e-3, torch.float32) == pytest.approx(1e-3 - 8 * 2**-23)
