"""Forms of names in a text: what is looked for first loses none of them."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfpmss.data.privacy.inflections import blanked, inflected
from rfpmss.data.privacy.names import pattern
from rfpmss.data.privacy.vocabulary import common, ordinary

NAMES = (
    "Ebert^Mia",
    "Li^Wei",
    "Müller-Strauß^Jörg",
    "Kowalska^Anna Maria",
    "Vandenbergh^Jo",
    "O'Neill^Aoife",
    "Saeed^Aaron",
    "ΓΕΩΡΓΙΟΣ^Νίκος",
    "欧阳雪梅",
    "Wang^Li=王^丽",
    "김희중",
    "Иванова^Ольга",
    "MRN-4711",
    "d'Æth^Q",
)
WORDS = st.sampled_from(
    (
        *(
            "Ebert",
            "Eberts",
            "Mia",
            "Wei",
            "Li",
            "W. Li",
            "Dr. Li",
            "Strauss",
            "Mueller",
            "JMüller",
        ),
        *("STRAUSS", "Kowalskiej", "Kowalską", "Annas", "van den Bergh", "Van-Denbergh", "JMüller"),
        *(
            "O’Neill",
            "ONEILL",
            "Aoifes",
            "Såeed",
            "saeeds",
            "Aaron's",
            "Γεώργιος",
            "γεωργιοσ",
            "Νίκος",
        ),
        *("Ivanova", "Иванову", "欧阳", "雪 梅", "王丽", "김 희중", "희중", "mrn-4711", "4711"),
        *("D’Aeth", "DAETH", "Q. d'Aeth", "left", "mass", "links", "a", "ea", "s", "nova"),
    )
)
SIGNS = st.sampled_from((" ", ", ", ".", "-", "", "\n", " a ", "_"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(WORDS, SIGNS), max_size=8), st.sets(st.sampled_from(NAMES), max_size=3))
def test_names_that_seem_far_from_a_text_have_no_form_in_it(
    pieces: list[tuple[str, str]], names: set[str]
) -> None:
    text = wanted = "".join(word + sign for word, sign in pieces)
    if found := pattern(names):
        wanted = found.sub("___", wanted)
    if found := inflected(names):
        wanted = found.sub(lambda match: "___" if is_form(match) else match[0], wanted)
    assert blanked(text, names, "___") == wanted


def is_form(match: re.Match[str]) -> bool:
    known = ordinary(match[0]) or common(match[0])
    return not known and (match[0][0].isupper() or match["free"] is None)


@pytest.mark.parametrize(
    ("text", "name"),
    [("Bei Mia Eberts Tumor", "Ebert^Zoe"), ("das Ssemaganda’s Ödem", "Ssemaganda^Zoe")],
)
def test_a_letter_before_a_name_hides_no_form_of_it(text: str, name: str) -> None:
    """Two letters that may be one, `ae` or `ss`, may also belong to two words."""
    assert name.partition("^")[0] not in blanked(text, [name], "___")
