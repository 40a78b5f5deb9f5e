import ast
import re
from pathlib import Path

import pytest

from rfpmss.config import Config
from rfpmss.evaluation.grid import VARIANTS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "paper_to_code.md").read_text(encoding="utf-8")
PLACES = sorted(set(re.findall(r"`((?:rfpmss|multisk)/[\w/]+\.py)(?::(\w+))?`", TEXT)))
SECTIONS = "data|model|assignment|loss|train"
FIELDS = sorted(set(re.findall(rf"`({SECTIONS})\.(\w+)(?:=[\w.-]+)?[`:]", TEXT)))


@pytest.mark.parametrize(("path", "name"), PLACES)
def test_every_place_the_document_names_exists(path, name):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    defined = {node.name for node in tree.body if isinstance(node, kinds)}
    assert not name or name in defined


def test_every_field_the_document_names_exists():
    assert len(FIELDS) > 20
    for section, field in FIELDS:
        assert field in type(getattr(Config(), section)).model_fields, f"{section}.{field}"


@pytest.mark.parametrize("section", SECTIONS.split("|"))
def test_every_field_of_a_section_is_on_the_page(section):
    named = {field for part, field in FIELDS if part == section}
    assert named == set(type(getattr(Config(), section)).model_fields)


def test_every_ablation_row_changes_fields_of_the_page():
    for variant in VARIANTS.values():
        for path in (*variant.changes, *(variant.scale or {})):
            section, field = path.split(".")
            assert section == "phantom" or (section, field) in FIELDS


def test_every_equation_table_and_figure_is_mapped():
    for number in range(1, 10):
        covered = re.findall(r"Eq\. (\d)(?:-(\d))?", TEXT)
        assert any(int(a) <= number <= int(b or a) for a, b in covered), number
    for name in ("Algorithm 1", *(f"Table {i}" for i in (2, 5)), "Tables 1 and 3", "Table 4a"):
        assert name in TEXT
    for figure in (4, 5, 6, 7):
        assert f"Fig. {figure}" in TEXT
