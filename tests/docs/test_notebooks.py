"""The tutorials run from top to bottom in a kernel, and are stored as they ran."""

import importlib.util
import json
from pathlib import Path

import pytest

pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
NOTEBOOKS = [*TUTORIALS, ROOT / "examples" / "tour.ipynb"]


def load_tool():
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "tools" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_three_tutorials_are_there():
    assert [path.stem for path in TUTORIALS] == ["assignment", "hospital", "router"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the Jupyter packages
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_tutorial_runs_and_shows_what_it_did(path, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    cells = [cell for cell in load_tool().run(path).cells if cell.cell_type == "code"]
    stored = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    for cell, kept in zip(cells, stored, strict=True):
        kinds = [out.output_type for out in cell.outputs if out.get("name") != "stderr"]
        assert bool(kinds) == bool(kept["outputs"]), cell.source  # a picture, a table, a text
    drawn = [out for cell in cells for out in cell.outputs if "image/png" in out.get("data", {})]
    assert drawn


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_is_stored_as_it_ran(path):
    """From top to bottom, without an error or a path of the machine."""
    text = path.read_text(encoding="utf-8")
    code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not [out for cell in code for out in cell["outputs"] if out["output_type"] == "error"]
    assert not [word for word in ("/home/", "/tmp/", "/work", "/root") if word in text]
