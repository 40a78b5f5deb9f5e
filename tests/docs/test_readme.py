"""What the README shows is what happens."""

import re
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()


def test_the_readmes_example_does_what_its_comments_say() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    solution, scores = names["solution"], names["scores"]
    torch.testing.assert_close(solution.plan.sum(1), torch.full((5716,), 32.0))
    torch.testing.assert_close(solution.plan.sum(0), torch.full((64,), 2858.0))
    assert ((solution.plan >= 0) & (solution.plan <= 1)).all()
    assert solution.converged
    assert scores.grad.abs().mean() > 0
    assert names["sweeps"].steps == 20


def test_every_path_in_the_readme_exists() -> None:
    named = re.findall(r"`((?:multisk|rfpmss|kernels|docs|tests|benchmarks)/[\w./-]+)`", TEXT)
    linked = [name for name in re.findall(r"\]\(([\w./-]+)\)", TEXT) if ":" not in name]
    assert len(named) + len(linked) > 5
    assert [name for name in (*named, *linked) if not (ROOT / name).exists()] == []


def test_the_readme_names_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z][\w-]*)", TEXT)) <= targets
