"""The inner loop: lint what changed and run the tests that import it directly.

Usage: python tools/check.py [REVISION]      what differs from REVISION, by default HEAD

The whole takes at most a minute and a half: of the tests those come first that lie nearest to what
changed, as far as their processor seconds (tests/tables/seconds.csv) allow.
"""

import ast
import csv
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUDGET = 60.0  # processor seconds of tests; the rest goes to lint, imports and collection
UNKNOWN = 5.0  # those of a file that the table does not name


def main() -> int:
    """Lint, then test; the first exit status that is not 0."""
    since = sys.argv[1] if len(sys.argv) > 1 else "HEAD"
    changed = changed_files(since)
    sources = [name for name in changed if name.endswith(".py")]
    print(f"{len(changed)} files changed since {since}")
    if not sources:
        return 0
    tests, left = affordable(tests_of(sources))
    python = [sys.executable, "-m"]
    commands = [
        [*python, "ruff", "check", *sources],
        [*python, "ruff", "format", "--check", *sources],
        [str(Path(sys.executable).with_name("lint-imports"))],
        *([[*python, "pytest", "-q", "-x", *tests]] if tests else []),
    ]
    for command in commands:
        print("$", *command)
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        if status:
            return status
    if left:
        print("left out for lack of time, `make test` runs them:", *left)
    return 0


def affordable(tests: list[str]) -> tuple[list[str], list[str]]:
    """What of some test files the budget allows, the first ones before the last; and the rest."""
    with (ROOT / "tests" / "tables" / "seconds.csv").open(newline="", encoding="utf-8") as file:
        seconds = {row["file"]: float(row["seconds"]) for row in csv.DictReader(file)}
    chosen, left, spent = [], [], 0.0
    for name in tests:
        cost = seconds.get(name, UNKNOWN)
        (chosen if spent + cost <= BUDGET else left).append(name)
        spent += cost if spent + cost <= BUDGET else 0.0
    return chosen, left


def changed_files(since: str) -> list[str]:
    """Files that differ from a revision and still exist, new ones too."""
    differ = git("diff", "--name-only", "--diff-filter=d", since)
    return sorted({*differ, *git("ls-files", "--others", "--exclude-standard")})


def git(*words: str) -> list[str]:
    """The lines that git answers."""
    found = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return found.stdout.split()


def tests_of(sources: list[str]) -> list[str]:
    """Changed test files, then those that import a changed module, nearest first."""
    modules = {module_of(name) for name in sources if not name.startswith("tests/")}
    own = [name for name in sources if Path(name).name.startswith("test_")]
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        hits = len(modules & imported(path))
        name = str(path.relative_to(ROOT))
        if hits and name not in own:
            found.append((-hits, name))
    return [*own, *(name for _, name in sorted(found))]


def module_of(name: str) -> str:
    """The module that a file is imported as."""
    parts = Path(name).with_suffix("").parts
    if parts[:2] == ("kernels", "sinkhorn"):
        parts = ("multisk", "kernels", *parts[2:])
    return ".".join(parts).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    """Modules that a file imports, as modules or for names in them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


if __name__ == "__main__":
    raise SystemExit(main())
