"""Write requirements.lock: the pins of constraints.txt with the SHA-256 of every file of a version.

Usage: python tools/lock.py         (with a pip; asks the package index that pip is configured with)

torch stays out: which build of it is right depends on the machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
JSON = "application/vnd.pypi.simple.v1+json"  # the JSON form of the simple API, PEP 691
LARGEST = 1 << 26
HEAD = """\
# constraints.txt without torch, with the SHA-256 of every file of each version on the index.
# By tools/lock.py. After torch:  pip install --require-hashes --no-deps -r requirements.lock
"""
LINUX = {"atheris", "jeepney", "secretstorage", "triton"}
"""Packages for Linux alone."""


def main() -> int:
    """Write the file; return the exit status."""
    lines = []
    index = _index()
    for name, version in _pins():
        found = _hashes(index, name, version)
        if not found:
            print(f"error: the index has no file of {name}=={version}", file=sys.stderr)
            return 1
        marker = ' ; sys_platform == "linux"' if name.lower() in LINUX else ""
        lines.append(" \\\n    --hash=sha256:".join([f"{name}=={version}{marker}", *found]))
    LOCK.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{LOCK.name}: {len(lines)} packages")
    return 0


def _pins() -> list[tuple[str, str]]:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pairs = [line.split("==") for line in text.split() if "==" in line]
    return [(name, version) for name, version in pairs if name != "torch"]


def _index() -> str:
    """The index that pip is configured with, or its default."""
    for key in (":env:.index-url", "global.index-url"):
        ask = [sys.executable, "-m", "pip", "config", "get", key]
        run = subprocess.run(ask, capture_output=True, text=True)
        if run.returncode == 0:
            return run.stdout.strip()
    from pip._internal.models.index import PyPI

    return PyPI.simple_url


def _hashes(index: str, name: str, version: str) -> list[str]:
    """Digests of the files of a version that were not withdrawn, sorted."""
    address = f"{index.rstrip('/')}/{canonicalize_name(name)}/"
    request = urllib.request.Request(address, headers={"Accept": JSON})
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.loads(answer.read(LARGEST))["files"]
    return sorted(
        file["hashes"]["sha256"]
        for file in files
        if _version(file["filename"]) == Version(version) and not file.get("yanked")
    )


def _version(filename: str) -> Version | None:
    parse = parse_wheel_filename if filename.endswith(".whl") else parse_sdist_filename
    try:
        return parse(filename)[1]
    except (InvalidSdistFilename, InvalidWheelFilename):
        return None  # an egg, an installer


if __name__ == "__main__":
    sys.exit(main())
