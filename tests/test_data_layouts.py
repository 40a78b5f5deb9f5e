"""Real and invented layouts of folders: every patient stays one patient, every visit one visit."""

from __future__ import annotations

import pytest

from tests.layout_tools import Case, cases, same, scan, told

CASES = list(cases())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_layouts_of_the_table_are_read_right_or_refused(case: Case) -> None:
    found = scan(case.paths)
    if case.refused:
        assert "--patient-level" in found.doubt
        return
    assert found.doubt == ""
    mine = told(found)
    assert same(
        {path: patient for path, (patient, _) in mine.items()},
        {path: person for path, (person, _) in case.paths.items()},
    )
    assert same({path: study for path, (_, study) in mine.items()}, case.paths)
