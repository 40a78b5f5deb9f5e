"""What multisk.plot draws is what the solution says."""

import sys

import matplotlib as mpl
import numpy as np
import pytest
import torch

import multisk
import multisk.plot

mpl.use("Agg")
import matplotlib.pyplot as plt

X = torch.rand(3, 24, 6, generator=torch.Generator().manual_seed(0))
PROBLEM = multisk.MultiAssignment(k=2, eps=0.1)


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


@pytest.mark.parametrize("solver", [multisk.solve, multisk.hard])
def test_bars_and_image_are_the_plan_of_that_problem(ax, solver):
    found = solver(X.clone().requires_grad_(), PROBLEM)
    drawn = multisk.plot.loads(found, index=2, ax=ax)
    assert drawn is ax
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, found.plan[2].detach().double().sum(0), rtol=1e-12)

    multisk.plot.plan(found, index=2, ordered=False, ax=ax)
    np.testing.assert_array_equal(ax.images[0].get_array(), found.plan[2].detach().double())
    multisk.plot.plan(found, index=2, ax=ax)
    first = np.asarray(ax.images[1].get_array()).argmax(1)
    assert (np.diff(first) >= 0).all()


def test_convergence_shows_the_errors_of_these_steps(ax):
    multisk.plot.convergence(X, PROBLEM, steps=(1, 3), ax=ax)
    sweeps, newton = (line.get_ydata() for line in ax.lines)
    for count, error in zip((1, 3), sweeps, strict=True):
        solution = multisk.solve(X, PROBLEM, multisk.Sinkhorn(steps=count))
        assert error == float(solution.marginal_error.max())
    assert newton[1] <= 1e-6 < newton[0]


@pytest.mark.parametrize("index", [-1, 3])
def test_a_problem_that_is_not_there_is_refused(index):
    with pytest.raises(ValueError, match=r"^index must lie in \[0, 3\), got "):
        multisk.plot.loads(multisk.solve(X, PROBLEM), index=index)


def test_a_table_is_no_solution():
    with pytest.raises(ValueError, match="^solution must be a Solution or a Hard, got Tensor$"):
        multisk.plot.plan(X)


def test_without_matplotlib_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="^matplotlib must be installed to draw: pip install"):
        multisk.plot.loads(multisk.solve(X, PROBLEM))
