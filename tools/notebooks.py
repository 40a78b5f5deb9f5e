"""Run the tutorials from top to bottom in kernels of their own and store what they print and draw.

Usage: python tools/notebooks.py [NOTEBOOK ...]     (without names: docs/tutorials and the tour)
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
OWN = re.compile(rf"\x1b\[[\d;]*m|{re.escape(tempfile.gettempdir())}/tmp\w+/")
"""Colours of a terminal, and the temporary folder that a tutorial works in."""

LONGEST = 600  # seconds that one cell may take
PRIVATE = Config({"ConnectionFileMixin": {"transport": "ipc"}})
"""The kernel listens on sockets of the file system, not on the network."""


def main() -> int:
    """Run and store each notebook."""
    tutorials = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
    stored = [*tutorials, ROOT / "examples" / "tour.ipynb"]
    paths = list(map(Path, sys.argv[1:])) or stored
    for path in paths:
        start = time.perf_counter()
        notebook = run(path)
        for cell in notebook.cells:
            cell.metadata = {}
            if cell.cell_type == "code":
                cell.outputs = tidied(cell.outputs)
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s, {path.stat().st_size >> 10} KB")
    return 0


def tidied(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """What the reader needs: one piece of text, no warnings, colours or folders of this machine."""
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            output.text = OWN.sub("", output.text)
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text
                continue
        kept.append(output)
    return [output for output in kept if output.get("text", "x").strip()]


def run(path: Path) -> nbformat.NotebookNode:
    """The notebook with new outputs; a cell that raises ends it.

    Commands of this environment come first, so that `!rfpmss` is the one beside this Python.
    """
    notebook = nbformat.read(path, as_version=4)
    commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {
        "PATH": commands,
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    client = NotebookClient(notebook, timeout=LONGEST, kernel_name="python3", config=PRIVATE)
    client.execute(env=environment)
    return notebook


if __name__ == "__main__":
    sys.exit(main())
