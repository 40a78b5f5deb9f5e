"""Hooks of the documentation site: what stands outside of docs/ becomes a page, and links follow.

READMEs, the changelog, the examples and the notebooks stay where they are and are read where they
are; a link from one file of the repository to another is a link between their pages on the site.
A link to a file that is neither a page nor an asset is printed as code: the reader has it in the
repository. See https://www.mkdocs.org/user-guide/configuration/#hooks.
"""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
TOUR = "examples/tour.ipynb"
PAGES = {
    "README.md": "index.md",
    "rfpmss/README.md": "pipeline.md",
    "kernels/README.md": "kernels.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    TOUR: "tutorials/tour.md",
    "examples": "examples.md",
    "benchmarks": "benchmarks.md",
}
"""Paths of the repository, and the pages that show them; the first that fits counts."""

ASSETS = (".png", ".csv", ".svg")
LINK = re.compile(
    r"(?P<open>!?\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\()(?P<target>[^)\s]+)"
    r"(?P<close>[^)]*\))"
)
IMAGE = re.compile(r'(?P<open><img [^>]*src=")(?P<target>[^"]+)(?P<close>")')
FENCE = re.compile(r"^```.*?^```", re.S | re.M)

FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc="(https?:[^"]*)"|<link\b[^>]*\bhref="(https?:[^"]*)"""
)
"""What a browser asks for by itself, at another address."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and the assets that other folders hold."""
    for source, name in PAGES.items():
        if source.endswith(".md") and (ROOT / source).exists():
            text = (ROOT / source).read_text(encoding="utf-8")
            files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, "examples.md", content=examples()))
    for path in [*sorted((ROOT / "docs").rglob("*.ipynb")), ROOT / TOUR]:
        source = path.relative_to(ROOT).as_posix()
        name = shown_at(source) or ""
        files.append(File.generated(config, name, content=notebook(source, name)))
    there = PAGES[TOUR].replace(".md", ".ipynb")
    files.append(File.generated(config, there, abs_src_path=str(ROOT / TOUR)))
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.*")):
        if path.suffix in ASSETS:
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    here = origin(page.file.src_uri)
    if page.file.src_uri == "index.md":
        page.meta["hide"] = ["navigation"]
    return markdown if here is None else rewritten(markdown, here, page.file.src_uri)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a page that would fetch anything from elsewhere."""
    for path in sorted(Path(config.site_dir).rglob("*.html")):
        if found := FETCHED.search(path.read_text(encoding="utf-8")):
            raise PluginError(f"{path.name} fetches {found[1] or found[2]}")


def rewritten(markdown: str, here: str, there: str) -> str:
    """The text of the repository's file `here` as that of the page `there`; code stays as it is."""

    def link(found: re.Match[str]) -> str:
        target, _, anchor = found["target"].partition("#")
        if not target or ":" in target:
            return found[0]
        path = os.path.normpath(PurePosixPath(here).parent / target)
        if not (ROOT / path).exists():
            raise PluginError(f"{here}: {target} does not exist")
        text = found.groupdict().get("text") or ""
        name = shown_at(path)
        if name is None:  # a source file
            return f"`{path}`" if text.strip("`") in (path, target) else f"{text} (`{path}`)"
        opening = found["open"]
        if text.strip("`") in (path, target) and path.endswith(".md"):
            opening = f"[{title(path)}]("
        address = os.path.relpath(name, PurePosixPath(there).parent)
        return opening + address + (f"#{anchor}" if anchor else "") + found["close"]

    parts, last = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [IMAGE.sub(link, LINK.sub(link, markdown[last : fence.start()])), fence[0]]
        last = fence.end()
    return "".join([*parts, IMAGE.sub(link, LINK.sub(link, markdown[last:]))])


def title(path: str) -> str:
    """The first heading of a file."""
    found = re.search(r"^# (.*)$", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return found[1] if found else path


def origin(name: str) -> str | None:
    """The path in the repository of a page's text; None for text that was made here."""
    for source, made in PAGES.items():
        if made == name and source.endswith(".md"):
            return source
    path = f"docs/{name}"
    return path if (ROOT / path).exists() else None


def shown_at(path: str) -> str | None:
    """The page or asset that shows a path of the repository."""
    for source, name in PAGES.items():
        if path == source or (source == "examples" and path.startswith("examples/")):
            return name
    if path.startswith("docs/"):
        return path.removeprefix("docs/").replace(".ipynb", ".md")
    if path.startswith("benchmarks/results/") and path.endswith(ASSETS):
        return path
    return None


def examples() -> str:
    """One page of the scripts in examples/: what each shows, and its source."""
    parts = [
        "# Examples\n\nEach is a script of a minute's reading in `examples/`; the suite runs them, "
        "and what they claim they assert.\n"
    ]
    for path in sorted((ROOT / "examples").glob("*.py")):
        source = path.read_text(encoding="utf-8")
        title, _, text = (ast.get_docstring(ast.parse(source)) or "").partition("\n")
        figure = ROOT / "docs" / "assets" / f"example-{path.stem}.png"
        parts.append(f"## `{path.stem}.py`: {title}\n{text}\n")
        if figure.exists():
            parts.append(f"![{title}](assets/{figure.name})\n")
        body = "\n".join(f"    {line}".rstrip() for line in source.splitlines())
        parts.append(f'??? example "examples/{path.name}"\n\n    ```python\n{body}\n    ```\n')
    return "\n".join(parts)


def notebook(path: str, name: str) -> str:
    """The repository's notebook `path` with its outputs, as the Markdown of the page `name`."""
    cells = json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(rewritten(source, path, name))
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [text for output in cell["outputs"] if (text := shown(output))]
    file = PurePosixPath(path).name
    note = f"*A notebook: [{file}]({file}) runs on your machine as it stands.*"
    title, _, rest = "\n\n".join(parts).partition("\n")
    return f"{title}\n\n{note}\n{rest}\n"


def shown(output: dict[str, Any]) -> str:
    """One output of a cell: a picture, a table, or text."""
    if output["output_type"] == "stream":
        text = "".join(output["text"]).rstrip("\n")
        return f"```text\n{text}\n```" if output["name"] == "stdout" else ""
    data = output.get("data", {})
    if "image/png" in data:
        picture = data["image/png"].strip()
        return f'<img alt="what the cell draws" src="data:image/png;base64,{picture}">'
    if "text/html" in data:
        return f'<div class="output">{"".join(data["text/html"])}</div>'
    text = "".join(data.get("text/plain", ""))
    return f"```text\n{text}\n```" if text else ""
