"""Short medical sentences in the encodings of hospitals: their own letters, or a refusal."""

import contextlib
import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfpmss.data.errors import TextError
from rfpmss.data.readers.text.encoding import decode_text
from rfpmss.data.readers.text.letters import SIMPLIFIED

with (Path(__file__).parents[2] / "tables" / "encodings.csv").open(
    newline="", encoding="utf-8"
) as file:
    SENTENCES = [(row["encoding"], row["text"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("code", sorted({code for code, _ in SENTENCES}))
def test_a_sentence_is_read_in_the_letters_it_was_written_in(code: str) -> None:
    texts = [text for name, text in SENTENCES if name == code]
    assert [decode_text(text.encode(code)) for text in texts] == texts


def test_marks_are_believed() -> None:
    texts = {text for _, text in SENTENCES}
    for code in ("utf-16", "utf-8-sig", "utf-32"):
        assert {decode_text(text.encode(code)) for text in texts} == texts


@pytest.mark.parametrize("code", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_known_without_a_mark(code: str) -> None:
    texts = [f"{text}\nT2 high, 38 mm\n" for _, text in SENTENCES[:30]]
    assert [decode_text(text.encode(code)) for text in texts] == texts


# What was written, in what encoding, and as what it was misread before it was saved as UTF-8.
MISREAD = [
    *(("Läsion links, Ödem", "utf-8", "cp1252"), ("左侧额叶占位", "utf-8", "latin-1")),
    *(("左侧额叶占位", "gb18030", "latin-1"), ("左侧额叶占位", "utf-8", "gb18030")),
    *(("左側額葉占位", "big5", "latin-1"), ("좌측 전두엽에 종괴", "cp949", "latin-1")),
    *(("Левая лобная доля", "cp1251", "cp1252"), ("Düşük dereceli, sağ", "cp1254", "cp1250")),
    *(("Αριστερά εξεργασία", "cp1253", "cp1252"), ("גוש באונה משמאל", "cp1255", "cp1252")),
]


@pytest.mark.parametrize(("text", "code", "wrong"), MISREAD)
def test_text_that_was_converted_wrongly_before_is_refused(
    text: str, code: str, wrong: str
) -> None:
    with pytest.raises(TextError, match="converted"):
        decode_text(text.encode(code).decode(wrong, "ignore").encode())


@pytest.mark.parametrize(
    "data",
    [
        b"left\0mass",
        b"\x81\x8d\x8f",
        "lost \ufffd letters".encode(),
        "烫锟斤拷".encode(),
        b"\xff" * 9,
    ],
)
def test_bytes_that_are_no_text_are_refused(data: bytes) -> None:
    with pytest.raises(TextError):
        decode_text(data)


@pytest.mark.parametrize("text", ["groß", "große Masse", "Größe"])
def test_the_letters_of_dos_are_refused_or_right(text: str) -> None:
    with contextlib.suppress(TextError):
        assert decode_text(text.encode("cp850")) == text


@given(st.text(SIMPLIFIED[:400], min_size=4, max_size=40))
def test_common_characters_are_never_read_as_others(text: str) -> None:
    for code in ("gb18030", "utf-8"):
        with contextlib.suppress(TextError):
            assert decode_text(text.encode(code)) == text


@pytest.mark.parametrize("code", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_never_read_as_ascii(code: str) -> None:
    """The bytes of 正常 are `ck8^`."""
    for text in ("正常", "占位"):
        assert decode_text(text.encode(code)) == text
    usual = [c for c in SIMPLIFIED[:100] if c.encode(code).isascii()]
    for one, two in zip(usual, usual[1:], strict=False):
        with contextlib.suppress(TextError):
            assert decode_text((one + two).encode(code)) == one + two


def test_ascii_stays_ascii() -> None:
    for text in (
        "GBM",
        "mass",
        "No mass.",
        "Normal",
        "LGG?",
        "WHO 4",
        "T2 38",
        "stable",
        "edema\n",
    ):
        assert decode_text(text.encode()) == text
    with pytest.raises(TextError, match="two encodings"):
        decode_text(b"upon")
