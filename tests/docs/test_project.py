"""What outsiders expect of a project, and that it agrees with itself."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import multisk

ROOT = Path(__file__).parents[2]
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(scope="module")
def jobs():
    assert WORKFLOWS
    return {
        name: job
        for path in WORKFLOWS
        for name, job in yaml.safe_load(path.read_text())["jobs"].items()
    }


def test_workflows_run_make_and_nothing_else(jobs):
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert "make test" in runs
    for line in runs:
        verb, target = line.split()
        assert verb == "make"
        assert target in TARGETS


def test_the_suite_runs_on_every_python_that_is_promised(jobs):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tried = jobs["suite"]["strategy"]["matrix"]["python"]
    assert tried == ["3.11", "3.12", "3.13"]
    assert all(version in SpecifierSet(project["requires-python"]) for version in tried)
    named = [text.rpartition(" ")[2] for text in project["classifiers"] if "Python :: 3." in text]
    assert named == tried


def test_hooks_before_a_commit_are_those_of_make_lint():
    text = (ROOT / "Makefile").read_text()
    (recipe,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", text, flags=re.MULTILINE)
    linted = set(re.findall(r"^\t\$\(VENV\)/bin/([\w-]+)", recipe, flags=re.MULTILINE))
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    assert {re.match(r"\.venv/bin/([\w-]+)", entry)[1] for entry in hooks} == linted


def test_issue_forms_can_be_read_and_ask_for_no_patient():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    read = {path.stem: yaml.safe_load(path.read_text()) for path in forms}
    assert {"bug", "idea", "config"} <= read.keys()
    assert all({"name", "description", "body"} <= read[name].keys() for name in ("bug", "idea"))
    assert "patients" in forms[0].read_text()


def test_the_citation_has_this_version_and_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == multisk.__version__
    assert citation["license"] == "Apache-2.0"
    assert {"cff-version", "title", "message", "authors"} <= citation.keys()


def test_the_changelog_keeps_its_form():
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings
    assert all(re.fullmatch(r"\[Unreleased\]|\[[\d.]+\] - \d{4}-\d\d-\d\d", h) for h in headings)
    kinds = "Added|Changed|Deprecated|Removed|Fixed|Security"
    parts = re.findall(r"^### (.*)$", text, flags=re.MULTILINE)
    assert all(re.match(kinds, part) for part in parts)


def test_a_release_with_a_forgotten_version_is_refused(monkeypatch):
    spec = importlib.util.spec_from_file_location("release", ROOT / "tools" / "release.py")
    release = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(release)
    assert release.versions() == []
    monkeypatch.setattr(multisk, "__version__", "9.9.9")
    assert release.versions() == ["CITATION.cff must have the version 9.9.9"]
