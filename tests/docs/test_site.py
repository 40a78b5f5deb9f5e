"""The documentation site: links between files become links between pages."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("mkdocs")
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[2]
FIGURES = ["moe", "birkhoff", "cluster", "ssl", "hard"]


@pytest.fixture(scope="module")
def pages():
    spec = importlib.util.spec_from_file_location("docs_pages", ROOT / "tools" / "docs_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SHOWN = {
    "docs/start.md": [("[a](multisk/moe.md)", "[a](multisk/moe.md)")],
    "rfpmss/README.md": [
        ("[a](../docs/data.md)", "[a](data.md)"),
        ('<img src="../docs/page.png">', '<img src="page.png">'),
    ],
    "docs/multisk/ranks.md": [
        ("[a](../../kernels/README.md)", "[a](../kernels.md)"),
        ("[a](../../examples)", "[a](../examples.md)"),
        ("[a](../../benchmarks/results/cpu.csv)", "[a](../benchmarks/results/cpu.csv)"),
    ],
    "examples/tour.ipynb": [("[a](../docs/multisk/moe.md)", "[a](../multisk/moe.md)")],
    "README.md": [
        ("[a](docs/data.md#x)", "[a](data.md#x)"),
        ("[docs/scale.md](docs/scale.md)", "[How far it scales](scale.md)"),
        ("[how](multisk/moe.py)", "how (`multisk/moe.py`)"),
        ("[a](https://example.org)", "[a](https://example.org)"),
        ("[a](#guides)", "[a](#guides)"),
        ("[the tour](examples/tour.ipynb)", "[the tour](tutorials/tour.md)"),
        ("```\n[a](docs/data.md)\n```", "```\n[a](docs/data.md)\n```"),
    ],
}
"""Text of a file of the repository, and of its page."""


@pytest.mark.parametrize(
    ("here", "text", "shown"), [(here, *pair) for here in SHOWN for pair in SHOWN[here]]
)
def test_a_link_between_files_is_a_link_between_pages(pages, here, text, shown):
    there = pages.PAGES.get(here, here.removeprefix("docs/"))
    assert pages.rewritten(text, here, there) == shown


def test_a_link_to_nothing_stops_the_build(pages):
    with pytest.raises(PluginError, match=r"README.md: docs/absent.md does not exist"):
        pages.rewritten("[a](docs/absent.md)", "README.md", "index.md")


@pytest.mark.parametrize(
    ("page", "fetched"),
    [
        ('<script src="https://cdn.example/x.js">', "https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="http://fonts.example/a.css">', "http://fonts.example/a.css"),
        ('<a href="https://example.org">a link is not fetched</a><script src="x.js">', None),
    ],
)
def test_a_page_that_fetches_from_elsewhere_is_found(pages, page, fetched):
    found = pages.FETCHED.search(page)
    assert (found and (found[1] or found[2])) == fetched


def test_a_notebook_shows_what_its_cells_printed_and_drew(pages):
    shown = [
        pages.shown({"output_type": "stream", "name": "stdout", "text": ["a\n", "b\n"]}),
        pages.shown({"output_type": "stream", "name": "stderr", "text": ["noise"]}),
        pages.shown({"output_type": "display_data", "data": {"image/png": "QUJD\n"}}),
        pages.shown({"output_type": "execute_result", "data": {"text/html": ["<b>x</b>"]}}),
    ]
    assert shown[0] == "```text\na\nb\n```"
    open_end = pages.shown({"output_type": "stream", "name": "stdout", "text": ["a"]})
    assert open_end == "```text\na\n```"
    assert shown[1] == ""
    assert 'src="data:image/png;base64,QUJD"' in shown[2]
    assert "<b>x</b>" in shown[3]


def test_every_recipe_has_a_figure_that_is_there():
    for name in FIGURES:
        page = ROOT / "docs" / "multisk" / f"{name}.md"
        pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
        assert pictures, name
        assert all((page.parent / picture).exists() for picture in pictures), name


def test_the_site_fetches_nothing_and_is_strict():
    text = re.sub(r"!!python\S+", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    site = yaml.safe_load(text)
    assert site["strict"] is True
    assert site["theme"]["font"] is False
    assert set(site["validation"]["links"].values()) == {"warn"}  # which strict makes errors
