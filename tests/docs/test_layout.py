"""What a linter cannot see: light imports, whole packages."""

import ast
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections import Counter
from graphlib import TopologicalSorter
from importlib import metadata
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError
from packaging.requirements import Requirement

from rfpmss.loss.consistency import spread

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("multisk", "kernels", "rfpmss")
    for path in (ROOT / folder).rglob("*.py")
    if not path.is_relative_to(ROOT / "multisk" / "kernels")
]
DATA = [  # whatever lies beside our sources: templates, style sheets, tables, and what is to come
    path
    for folder in ("multisk", "rfpmss")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix not in {".py", ".md"} and path.parent.name != "__pycache__"
    if not path.is_relative_to(ROOT / "multisk" / "kernels")
]


def python(*words: str | Path) -> str:
    run = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return run.stdout


def shipped_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix().replace("kernels/sinkhorn", "multisk/kernels")


def test_sources_were_found() -> None:
    assert len(SOURCES) > 30
    assert {"py.typed", "page.html", "page.css", "cohort.html", "names.csv"} <= {
        path.name for path in DATA
    }


def test_the_kernels_folder_cannot_shadow_another_package() -> None:
    assert not (ROOT / "kernels" / "__init__.py").exists()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    tree = tmp_path_factory.mktemp("tree")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.split("\0")
    for name in filter(None, listed):
        source, target = ROOT / name, tree / name
        if not source.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        else:
            target.write_bytes(source.read_bytes())
    python("-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", folder, tree)
    return folder


def test_the_wheel_holds_every_source(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {shipped_name(path) for path in (*SOURCES, *DATA)} <= names
    assert not [name for name in names if name.startswith(("tests/", "kernels/", "benchmarks/"))]


def test_the_source_archive_holds_every_source(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.split("/", 1)[-1] for name in opened.getnames()}
    for path in (*SOURCES, *DATA):
        assert {shipped_name(path), path.relative_to(ROOT).as_posix()} & names, path
    # What README's and CONTRIBUTING's commands name, and the whole suite, not its modules alone.
    assert {"constraints.txt", "requirements.lock", "Makefile", "tools/install.py"} <= names
    assert {path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/**/*.csv")} <= names
    assert not [name for name in names if "__pycache__" in name]


def test_the_build_follows_the_pins() -> None:
    [wanted] = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    pins = re.findall(r"^setuptools==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    bounds = Requirement(wanted).specifier
    assert pins[0] in bounds
    assert "999" not in bounds, "a release that nobody has tried must not build this"


def test_nothing_pulls_torchvision_or_a_package_without_a_pin() -> None:
    pinned = {
        line.split("==")[0].lower().replace("_", "-").replace(".", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    own = metadata.requires("multisk") or []
    waiting = [Requirement(text) for text in own]
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = requirement.name.lower().replace("_", "-").replace(".", "-")
        marker = requirement.marker
        wanted = marker is None or any(
            marker.evaluate({"extra": extra})
            for extra in ("", "rfpmss", "cpu", *requirement.extras)
        )
        if not wanted or name in seen or name == "multisk":
            continue
        seen.add(name)
        try:
            inner = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # another platform's
        assert name in pinned, name
        waiting += [
            r
            for r in map(Requirement, inner)
            if r.marker is None or r.marker.evaluate({"extra": ""})
        ]
    assert "torchvision" not in seen
    assert {"torch", "numpy", "transformers"} <= seen


def test_the_lock_has_each_pin_but_torch_with_its_hashes() -> None:
    def pins(text: str) -> set[str]:
        return set(re.findall(r"^[^\s#]+==[^\s;]+", text, re.MULTILINE))

    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert pins(lock) == {pin for pin in pinned if not pin.startswith("torch==")}
    for entry in re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", lock, flags=re.MULTILINE)):
        first, *rest = entry.rstrip().split(" \\\n")
        assert "==" in first
        assert rest
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", line) for line in rest), first


def test_few_imports_hide_in_functions() -> None:
    """One delays a heavy package until it is needed; the kernels have one place that does so."""
    hidden = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert 0 < len(hidden) <= 80, sorted(hidden)
    assert not [place for place in hidden if place.startswith("multisk/_operators")]


def test_no_folder_holds_more_than_one_looks_through() -> None:
    """Sixteen files at most, in the sources, the tests and what surrounds them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split("\0")
    count = Counter(Path(name).parent.as_posix() for name in filter(None, listed))
    assert not {folder: files for folder, files in count.items() if files > 16}


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports inside functions and for types counted; import-linter sees only orders of layers."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in ("multisk", "rfpmss")
        for path in sorted((ROOT / package).rglob("*.py"))
    }
    below: dict[str, set[str]] = {}
    for name, path in modules.items():
        found = below.setdefault(name, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names} & modules.keys()
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    found.add(whole if whole in modules else node.module)
    order = TopologicalSorter({name: found & modules.keys() for name, found in below.items()})
    order.prepare()  # CycleError names the circle
    assert len(modules) > 200


def test_shapes_in_signatures_are_checked_in_the_tests() -> None:
    """The hook of tests/conftest.py is in place: one m in both arguments."""
    with pytest.raises(TypeCheckError, match="present"):
        spread(torch.zeros(2, 3, 4), torch.ones(2, 4, dtype=torch.bool))
