"""No text, however hostile, takes more time to read than its length calls for."""

import contextlib
import importlib
import re
from collections.abc import Callable, Iterator
from re import _constants as code  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]

import pytest

from rfpmss.data.errors import TextError
from rfpmss.data.privacy.inflections import inflected
from rfpmss.data.privacy.names import pattern
from rfpmss.data.privacy.private import NAMED, redact
from rfpmss.data.readers.text.encoding import decode_text
from rfpmss.data.reports.headings import date_order, rank, text_order
from tests.data.growth import is_linear

_REPEATS = (code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT)


def unbounded(items: object, depth: int = 0) -> Iterator[tuple[int, object]]:
    """Repetitions without an upper bound, with how deep they stand."""
    for item in items if isinstance(items, list | tuple | parser.SubPattern) else ():
        repeats = isinstance(item, tuple) and item and item[0] in _REPEATS
        if repeats and item[1][1] is code.MAXREPEAT:
            yield depth, item
        yield from unbounded(item, depth + 1)


def patterns() -> Iterator[tuple[str, re.Pattern[str]]]:
    for name in (
        f"privacy.{part}" for part in ("private", "names", "inflections", "persons", "sentences")
    ):
        module = importlib.import_module(f"rfpmss.data.{name}")
        for key, value in vars(module).items():
            if isinstance(value, re.Pattern):
                yield f"{name}.{key}", value
    for names in (["Doe^John^A", "张^三", "欧阳^修=x"], ["O'Neil-Smith, Ann"]):
        for found in (pattern(names), inflected(names)):
            if found is not None:
                yield "names", found


def test_no_pattern_over_reports_repeats_without_a_bound() -> None:
    """So each match costs at most a constant; a repetition that is the whole pattern is allowed."""
    seen = 0
    for name, found in patterns():
        tree = parser.parse(found.pattern, found.flags)
        whole = len(tree) == 1 and len(list(unbounded(tree))) == 1
        assert whole or not list(unbounded(tree)), name
        seen += 1
    assert seen > 20


def repeated(unit: str) -> Callable[[int], str]:
    return lambda n: f"a{unit * (n // len(unit))}b"


HOSTILE = [
    *(" ", "\n", " \n", "\u3000", "患者", "姓名 ", "检查", "额叶见占位", "张·", "王", "a", "A"),
    *("1", ".", "-", "a-", "a@", "@", "Dr ", "Dr. A ", ",", "patient ", "name ", "de ", "+1", "("),
    *("1.1.", "a@b.", "1/", "mail: a@", "hospital: ", ", MD", "www.", "1 Mai ", "signed by "),
    *("no: a-", "~{", "name - ", "医师－", "patient -", "tel - 1 "),
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_the_time_to_redact_grows_as_the_text(unit: str) -> None:
    assert is_linear(lambda text: redact(text, ["Doe^John", "张^三"]), repeated(unit), 1_500)


@pytest.mark.parametrize("unit", [b"~{", b"~{x", b"~{xx", b"x~{", b"\x1b$", b"\xc3\xa9", b"a\0"])
def test_the_time_to_decode_grows_as_the_text(unit: bytes) -> None:
    def decode(text: bytes) -> None:
        with contextlib.suppress(TextError):
            decode_text(text)

    assert is_linear(decode, lambda n: unit * (n // len(unit)) + b"z", 4_000)


def test_a_text_that_names_many_persons_is_no_report() -> None:
    """Each name is looked for in the whole text; a list of patients is refused."""
    names = [f"Name: Q{a}{b}zik\n" for a in "abcdefgh" for b in "ijklmnopqr"]
    assert len(names) > NAMED
    with pytest.raises(TextError, match="file of its own"):
        redact("".join(names) + "Left mass.", [])
    assert redact("".join(names[:1] * 500) + "Left mass.", []) == "Left mass."


def test_lines_and_blanks_cost_no_finding_and_no_name() -> None:
    text = (
        "Name:\u3000 John   Doe \n\n \n Mass   left,\n\n 38  mm. Tel: 0551  123456.\n\t\tDoe  well."
    )
    assert redact(text, []) == "Mass left, 38 mm. ___ well."
    assert redact("x" * 300 + f" mail to {'q' * 30}@example.org " + "7" * 500, []).endswith(
        "mail to ___ ___"
    )


@pytest.mark.parametrize(
    "unit", ["mr", "ct", "影像", "影像学", "检查报告", "radiologic", "name", "date"]
)
def test_the_time_to_read_a_heading_grows_as_its_length(unit: str) -> None:
    """`mr` could be read as three words, so that 40 of them took 2^40 steps."""

    def read(text: str) -> None:
        for known in (rank, text_order, date_order):
            known(text)

    assert is_linear(read, lambda n: unit * (n // len(unit)) + "x", 1_500)
