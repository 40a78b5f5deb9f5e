"""Every recipe runs, and what it claims holds (the recipes assert it themselves)."""

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "examples").glob("*.py"))


def test_all_recipes_are_there():
    assert [path.stem for path in RECIPES] == [
        "birkhoff",
        "cluster",
        "moe",
        "raking",
        "simota",
        "soft_topk",
        "ssl_targets",
        "superglue",
    ]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs_and_says_what_it_found(path, capsys):
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    assert re.search(r"\d", printed)  # the figure that convinces


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_states_and_asserts_what_it_shows(path):
    tree = ast.parse(path.read_text())
    assert "Shows" in (ast.get_docstring(tree) or "")
    assert sum(isinstance(node, ast.Assert) for node in ast.walk(tree)) >= 3


@pytest.mark.parametrize(
    "page",
    [ROOT / "docs" / "start.md", *sorted((ROOT / "docs" / "multisk").glob("*.md"))],
    ids=lambda page: page.stem,
)
def test_the_code_of_a_page_runs(page, capsys):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    assert blocks
    names = {"__name__": page.stem}  # later blocks of a page may use what earlier ones made
    for block in blocks:
        exec(compile(block, page.name, "exec"), names)
    assert capsys.readouterr().out
