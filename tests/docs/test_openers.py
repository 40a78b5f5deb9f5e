"""Every file is opened in one place, which refuses pipes and devices; no other line opens one."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("multisk", "rfpmss")
    for path in (ROOT / folder).rglob("*.py")
    if path != ROOT / "rfpmss" / "common" / "files.py"
)

METHODS = {"open", "read_text", "read_bytes", "write_text", "write_bytes"}
"""Of a path; the functions of the same names belong to a module that is named before the dot."""

LIBRARIES = {
    *("load_file", "safe_open", "from_file", "from_filename", "fromfile"),
    *("ZipFile", "TiffFile", "OpenSlide", "SetFileName", "PdfReader", "open_memmap"),
}
"""Calls that take a path and open it by themselves."""

LOADERS = {("np", "load"), ("torch", "load"), ("Image", "open"), ("tarfile", "open")}

OURS = {"files", "Cohort"}
"""What may stand before the dot: `rfpmss.common.files`, and classes with a method of that name."""


def opening(call: ast.Call) -> bool:
    """Whether a call opens a path that nobody has looked at."""
    name = call.func
    if isinstance(name, ast.Name):
        return name.id == "open" or (name.id in LIBRARIES and not looked_at(call))
    if not isinstance(name, ast.Attribute):
        return False
    owner = name.value.id if isinstance(name.value, ast.Name) else ""
    if (owner, name.attr) in LOADERS or name.attr in LIBRARIES:
        return not looked_at(call)
    if owner == "os":
        return name.attr == "open" and "devnull" not in ast.unparse(call)
    return name.attr in METHODS and owner not in OURS


def looked_at(call: ast.Call) -> bool:
    """It is given an open file, what holds one, or the path that `files.regular` gave back."""
    words = [*call.args, *(word.value for word in call.keywords)]
    text = " ".join(map(ast.unparse, words))
    return "regular(" in text or any(ast.unparse(word) in ("file", "held") for word in words)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("open(path)", True),
        ("path.open('rb')", True),
        ("(a / b).read_text()", True),
        ("os.open(path, os.O_RDONLY)", True),
        ("np.load(path)", True),
        ("load_file(a / b)", True),
        ("Image.open(path)", True),
        ("zipfile.ZipFile(path)", True),
        ("files.read_text(path)", False),
        ("load_file(regular(a / b))", False),
        ("np.load(file, allow_pickle=False)", False),
        ("os.open(os.devnull, os.O_WRONLY)", False),
        ("Cohort.open(manifest, config)", False),
    ],
)
def test_the_rule_knows_an_opener(line: str, found: bool) -> None:
    call = ast.parse(line, mode="eval").body
    assert isinstance(call, ast.Call)
    assert opening(call) == found


def test_nothing_opens_a_path_by_itself() -> None:
    assert len(SOURCES) > 100
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)[:80]}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and opening(node)
    ]
    assert not found, "use rfpmss.common.files:\n" + "\n".join(found)
