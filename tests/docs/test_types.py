"""Public arguments have types that an editor shows and a type checker compares."""

from pathlib import Path

import pytest

griffe = pytest.importorskip("griffe")

ROOT = Path(__file__).parents[2]
MODULES = ("birkhoff", "moe", "plot", "ssl")
FREE = {"swap(options)", "from_pretrained(kwargs)"}
"""What is handed on as it is."""


def public():
    """What `import multisk` and its modules offer: functions, constructors and methods."""
    package = griffe.load("multisk", search_paths=[ROOT])
    offered = [package[str(name).strip("'\"")] for name in package.exports]
    for name in MODULES:
        module = package[name]
        offered += [module[str(part).strip("'\"")] for part in module.exports or ()]
        if not module.exports:
            offered += [f for f in module.functions.values() if f.is_public and not f.is_imported]
    for item in offered:
        item = item.final_target if item.is_alias else item
        if item.is_function:
            yield item
        elif item.is_class:
            yield from (f for f in item.functions.values() if f.is_public or f.name == "__init__")


FUNCTIONS = list(public())


def test_the_public_functions_were_found():
    names = {function.path for function in FUNCTIONS}
    assert {"multisk._solve.solve", "multisk.ssl.targets", "multisk.moe.prices"} <= names
    assert "multisk._problem.problem.MultiAssignment.__init__" in names


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.path)
def test_no_public_argument_is_anything(function):
    vague = [
        argument.name
        for argument in function.parameters
        if argument.name not in ("self", "cls")
        and f"{function.name}({argument.name})" not in FREE
        and str(argument.annotation) in ("Any", "None")
    ]
    assert not vague
