"""Dry run of a release: build, check, install the wheel afresh, run the README's lines.

Usage: python tools/release.py        (by `make release-check`; publishes nothing)

The build is that of the committed tree, so that no file of this machine slips in. Leaves the two
archives in dist/.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import multisk

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"


def main() -> int:
    """Every step in order; the first that fails ends it."""
    if problems := versions():
        print("\n".join(f"error: {problem}" for problem in problems), file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder) / "tree")
        run("-m", "twine", "check", "--strict", *map(str, sorted(DIST.iterdir())))
        python = environment(Path(folder) / "venv", wheel)
        lines = Path(folder) / "lines.py"
        lines.write_text(first_lines(), encoding="utf-8")
        # Isolated (-I), from another folder: the installed package, not the sources.
        subprocess.run([str(python), "-I", str(lines)], check=True, cwd=folder)
    print(
        f"multisk {multisk.__version__}: {', '.join(path.name for path in sorted(DIST.iterdir()))}"
    )
    return 0


def versions() -> list[str]:
    """Where the version is not the one of `multisk.__version__`."""
    version = multisk.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[?([^\]\s]+)", changelog, flags=re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    problems = []
    if not {version, "Unreleased"} & set(headings[:1]):
        problems.append(f"CHANGELOG.md must begin with {version} or Unreleased, got {headings[:1]}")
    if f"\nversion: {version}\n" not in citation:
        problems.append(f"CITATION.cff must have the version {version}")
    return problems


def build(tree: Path) -> Path:
    """Source archive, and the wheel made from it, of the commit that is checked out."""
    shutil.rmtree(DIST, ignore_errors=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True)
    tree.mkdir()
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    run("-m", "build", "--no-isolation", "--outdir", str(DIST), str(tree))
    return next(DIST.glob("*.whl"))


def environment(folder: Path, wheel: Path) -> Path:
    """A new environment with the wheel, and what it needs at the pinned versions."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    # With the sources on PYTHONPATH pip takes the project for installed and leaves the wheel out.
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # tools/install.py knows how to get torch without gigabytes.
    torch = [sys.executable, str(ROOT / "tools" / "install.py"), str(folder), "--torch"]
    subprocess.run(torch, check=True, env=alone)
    pins = str(ROOT / "constraints.txt")
    install = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "-c", pins]
    subprocess.run([str(python), *install, str(wheel)], check=True, env=alone)
    return python


def first_lines() -> str:
    """The README's examples behind each other, and that they ran in the installed package."""
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    check = (
        "assert solution.converged.all() and 'site-packages' in multisk.__file__\nprint(solution)"
    )
    return "\n".join([*code, check, ""])


def run(*words: str) -> None:
    """A module of this environment."""
    subprocess.run([sys.executable, *words], check=True, cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
