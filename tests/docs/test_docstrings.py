"""Every example in a docstring of the two packages runs and prints what stands below it."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("multisk", "rfpmss")


def with_examples():
    """Modules whose own docstrings hold an example; the kernels' are a link to another folder."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if ">>> " in path.read_text(encoding="utf-8"):
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


MODULES = list(with_examples())


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_print_what_they_say(name, capsys):
    module = importlib.import_module(name)
    found = doctest.testmod(module, report=False)
    assert not found.failed, capsys.readouterr().out


@pytest.mark.parametrize("name", MODULES)
def test_no_example_hides_where_it_is_not_run(name):
    path = ROOT / Path(*name.split(".")).with_suffix(".py")
    nodes = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]
    written = sum((ast.get_docstring(node) or "").count(">>> ") for node in nodes)
    finder = doctest.DocTestFinder(exclude_empty=True)
    run = sum(len(test.examples) for test in finder.find(importlib.import_module(name)))
    assert run == written
