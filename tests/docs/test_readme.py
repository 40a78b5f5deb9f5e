"""What the README shows is what happens."""

import re
from pathlib import Path

import pytest
import torch

import multisk
from tools import release

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
OWN_SOLVER = ROOT / "docs" / "multisk" / "own_solver.md"
PAGES = ["README.md", "rfpmss/README.md"]


def test_the_readmes_example_does_what_its_comments_say() -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    names: dict = {}
    for code in blocks:
        exec(compile(code, "README.md", "exec"), names)
    assert [len(code.split("\n")) - code.count("\n\n") - 1 for code in blocks[1:]] == [3] * 4
    assert names["experts"].shape == (5716, 2)
    torch.testing.assert_close(names["mixes"].sum(-2), torch.ones(64, 4), rtol=0, atol=1e-6)
    assert names["clusters"].counts_.tolist() == [8] * 8
    loads = torch.full((64,), 5716 / 64)
    torch.testing.assert_close(names["codes"].sum(0), loads, rtol=1e-3, atol=0)
    solution, scores = names["solution"], names["scores"]
    torch.testing.assert_close(solution.plan.sum(1), torch.full((5716,), 32.0))
    torch.testing.assert_close(solution.plan.sum(0), torch.full((64,), 2858.0))
    assert ((solution.plan >= 0) & (solution.plan <= 1)).all()
    assert solution.converged
    assert scores.grad.abs().mean() > 0
    assert names["sweeps"].steps == 20


def test_a_release_runs_all_of_the_readmes_examples() -> None:
    lines = release.first_lines()
    compile(lines, "lines.py", "exec")
    assert all(code in lines for code in re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL))


@pytest.mark.parametrize("page", PAGES)
def test_every_path_in_a_readme_exists(page: str) -> None:
    text, here = (ROOT / page).read_text(), (ROOT / page).parent
    named = re.findall(r"`((?:multisk|rfpmss|kernels|docs|tests|benchmarks)/[\w./-]+)`", text)
    linked = [name for name in re.findall(r"\]\(([\w./-]+)", text) if ":" not in name]
    assert len(named) + len(linked) > 5
    missing = [name for name in named if not (ROOT / name).exists()]
    assert [*missing, *(name for name in linked if not (here / name).exists())] == []


def test_the_first_page_stays_short() -> None:
    """At most 900 words and 40 numbers: figures live in docs and benchmarks."""
    assert len(TEXT.split()) <= 900
    assert len(re.findall(r"(?<![\w.-])\d[\d.,]*", TEXT)) <= 40


def test_the_page_on_solvers_of_ones_own_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", OWN_SOLVER.read_text(), flags=re.DOTALL)
    names: dict = {}
    exec(compile(code, str(OWN_SOLVER), "exec"), names)
    solution, scores = names["solution"], names["scores"]
    assert isinstance(names["Damped"](), multisk.Solver)
    assert (solution.solver, solution.backend) == ("Damped", "torch")
    assert solution.converged
    x = scores.detach().clone().requires_grad_()
    ours = multisk.solve(x, multisk.Transport(eps=0.1), multisk.Newton())
    torch.testing.assert_close(solution.plan, ours.plan, rtol=0, atol=1e-6)
    ours.plan.square().sum().backward()
    torch.testing.assert_close(scores.grad, x.grad, rtol=0, atol=1e-5)


@pytest.mark.parametrize("page", PAGES)
def test_a_readme_names_make_targets_that_exist(page: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = re.findall(r"(?:`|^)make ([a-z][\w-]*)", (ROOT / page).read_text(), flags=re.MULTILINE)
    assert named
    assert set(named) <= targets
