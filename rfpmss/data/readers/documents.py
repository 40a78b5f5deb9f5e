"""The text of reports in Word, PDF, RTF and HTML, a paragraph a line; nothing in them is run.

What an author deleted, struck through or hid is left out: it is not what the report says.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from rfpmss.data.errors import BombError, TextError, UnreadableError, UnsupportedError
from rfpmss.data.readers.encoding import decode_text
from rfpmss.data.tables import part
from rfpmss.data.volume import MIB

LARGEST = 32 * MIB
"""A document's file, bytes."""
LONGEST = MIB
"""Letters of a report."""
PAGES = 50
"""Pages of a PDF; a report has a few."""
LARGEST_PAGE = 8 * MIB
"""Bytes of the instructions that draw a page."""
EXTRA = "pip install 'multisk[rfpmss,reports]', or save the report as text"
SCAN = "recognise the text (OCR) and save it as .txt in UTF-8"
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"


def document_text(path: Path) -> str:
    """The text of a document.

    Args:
        path: a file that starts as DOCX, PDF or RTF does, or an HTML file.

    Raises:
        TextError: if it holds no text, as a scan does, or its letters cannot be known.
        UnreadableError: if it is damaged.
        UnsupportedError: if a library is missing, or it is locked by a password.
        BombError: if it is implausibly large.
    """
    if path.stat().st_size > LARGEST:
        raise BombError("the document is larger than a report can be")
    data = path.read_bytes()
    if data.startswith(b"PK"):
        text = _word(path)
    elif data.startswith(b"%PDF-"):
        text = _pdf(path)
    elif data.startswith(b"{\\rtf"):
        text = _rtf(data)
    else:
        text = _html(data)
    if len(text) > LONGEST:
        raise TextError("the text is longer than a report can be")
    if not any(letter.isalpha() for letter in text):
        raise TextError("the document holds no text, perhaps a picture of it", SCAN)
    return text


def _word(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            root = part(archive, "word/document.xml")
        return "".join(_runs(root))
    except (zipfile.BadZipFile, ElementTree.ParseError, EOFError, OSError, RuntimeError):
        raise UnreadableError("the Word file is damaged") from None


_ENDS = {"p": "\n", "tc": "\t", "tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_GONE = ("del", "moveFrom", "rPr", "pPr", "Fallback")


def _runs(element: ElementTree.Element) -> Iterator[str]:
    """Texts in reading order, those of tables and text boxes as well."""
    for child in element:
        name = child.tag.rpartition("}")[2]
        if name in _GONE or (name == "r" and _hidden(child)):
            continue
        if name == "t":
            yield child.text or ""
        yield from _runs(child)
        yield _ENDS.get(name, "")


def _hidden(run: ElementTree.Element) -> bool:
    """Struck through, or not shown."""
    return any(
        (mark := run.find(f"{_W}rPr/{_W}{name}")) is not None
        and mark.get(f"{_W}val", "1") not in ("0", "false", "off")
        for name in ("strike", "dstrike", "vanish")
    )


def _pdf(path: Path) -> str:
    try:
        from pypdf import PdfReader
    except ImportError:
        raise UnsupportedError("reports in PDF need the library pypdf", EXTRA) from None
    try:
        with path.open("rb") as file:
            reader = PdfReader(file)
            if reader.is_encrypted and not reader.decrypt(""):
                raise UnsupportedError("the PDF is locked by a password", "save it without one")
            if len(reader.pages) > PAGES:
                raise BombError(f"the PDF has more than {PAGES} pages: no report")
            text = "\n".join(_page(page) for page in reader.pages)
    except (UnsupportedError, BombError):
        raise
    except Exception:
        raise UnreadableError("the PDF is damaged or locked") from None
    strange = sum(not (c.isprintable() or c in "\n\t\r") or c == "\ufffd" for c in text)
    if 50 * strange > len(text) or "(cid:" in text:
        raise TextError("the PDF does not say which letters its fonts show", SCAN)
    return text


def _page(page: object) -> str:
    contents = page.get_contents()  # type: ignore[attr-defined]
    if contents is not None and len(contents.get_data()) > LARGEST_PAGE:
        raise BombError("a page of the PDF is larger than that of a report can be")
    return page.extract_text()  # type: ignore[attr-defined]


def _rtf(data: bytes) -> str:
    try:
        from striprtf.striprtf import rtf_to_text
    except ImportError:
        raise UnsupportedError("reports in RTF need the library striprtf", EXTRA) from None
    text = decode_text(data)
    try:
        return rtf_to_text(text, errors="strict")
    except Exception:
        raise UnreadableError("the RTF file is damaged") from None


def _html(data: bytes) -> str:
    declared = re.search(rb"charset\s*=\s*[\"']?([\w-]+)", data[:2048], re.IGNORECASE)
    text = None
    if declared and not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        try:
            text = data.decode(declared[1].decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            text = None
    reader = _Page()
    reader.feed(text if text is not None else decode_text(data))
    reader.close()
    return "".join(reader.parts)


class _Page(HTMLParser):
    """The visible text of a page."""

    VOID = frozenset(
        [
            "area",
            "base",
            "br",
            "col",
            "embed",
            "hr",
            "img",
            "input",
            "link",
            "meta",
            "source",
            "track",
            "wbr",
        ]
    )
    GONE = frozenset(
        ["script", "style", "head", "template", "noscript", "del", "s", "strike", "title", "svg"]
    )
    INLINE = frozenset(
        [
            "b",
            "i",
            "u",
            "em",
            "strong",
            "span",
            "font",
            "a",
            "sub",
            "sup",
            "small",
            "big",
            "mark",
            "code",
            "ins",
            "abbr",
        ]
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.hidden: list[str] = []
        """Open elements since the first that is not shown."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Start of an element."""
        if tag not in self.INLINE:
            self.parts.append("\n" if tag not in ("td", "th") else "\t")
        if tag in self.VOID:
            return
        said = dict(attrs)
        styled = re.search(r"display\s*:\s*none|line-through", said.get("style") or "")
        if self.hidden or tag in self.GONE or "hidden" in said or styled:
            self.hidden.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """End of an element; those inside that were left open end with it."""
        if tag in self.hidden:
            while self.hidden.pop() != tag:
                pass
        if tag not in self.INLINE:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        """Text."""
        if not self.hidden:
            self.parts.append(data)
