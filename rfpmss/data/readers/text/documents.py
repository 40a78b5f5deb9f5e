"""The text of reports in Word, PDF, RTF and HTML, a paragraph a line; nothing in them is run.

What an author deleted, struck through or hid is left out: it is not what the report says.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from rfpmss.common.files import opened, read_bytes
from rfpmss.data.errors import WEB_PAGE, BombError, TextError, UnreadableError, UnsupportedError
from rfpmss.data.readers.text.encoding import decode_text
from rfpmss.data.readers.text.tables import part
from rfpmss.data.readers.volume import MIB

LARGEST = 32 * MIB
"""A document's file, bytes."""
LONGEST = MIB
"""Letters of a report."""
PAGES = 50
"""Pages of a PDF; a report has a few."""
LARGEST_PAGE = 8 * MIB
"""Bytes of the instructions that draw a page."""
PDF_END = 4096
"""Bytes at the end of a PDF, one of which begins the word before the place of its last table."""
DEPTH = 512
"""Elements or groups inside each other, as many as browsers nest."""
EXTRA = "pip install 'multisk[rfpmss,reports]', or save the report as text"
SCAN = "recognise the text (OCR) and save it as .txt in UTF-8"
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"


def read_document(path: Path) -> tuple[str, str]:
    """The text of a document, and in a sentence what of it is left out; ``""``: nothing.

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

    data, note = read_bytes(path), ""
    if data.startswith(b"PK"):
        text = _word(path)
    elif data.startswith(b"%PDF-"):
        if b"startxref" not in data[-PDF_END:]:  # the reader would make up a table of what is left
            raise UnreadableError("the PDF is damaged")
        text, note = _pdf(path)
    elif data.startswith(b"{\\rtf"):
        text = _rtf(data)
    else:
        text = _html(data)

    if len(text) > LONGEST:
        raise TextError("the text is longer than a report can be")
    if not any(letter.isalpha() for letter in text):
        raise TextError("the document holds no text, perhaps a picture of it", SCAN)

    return text, note


def _word(path: Path) -> str:
    try:
        with opened(path) as file, zipfile.ZipFile(file) as archive:
            root = part(archive, "word/document.xml")
        return "".join(_runs(root))
    except (zipfile.BadZipFile, ElementTree.ParseError, EOFError, OSError, RuntimeError):
        raise UnreadableError("the Word file is damaged") from None


_ENDS = {
    "p": "\n",
    "tc": "\t",
    "tr": "\n",
    "tab": "\t",
    "br": "\n",
    "cr": "\n",
    "noBreakHyphen": "-",
}
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


def _pdf(path: Path) -> tuple[str, str]:
    try:
        from pypdf import PdfReader
    except ImportError:
        raise UnsupportedError("reports in PDF need the library pypdf", EXTRA) from None

    try:
        with opened(path) as file:
            reader = PdfReader(file)
            if reader.is_encrypted and not reader.decrypt(""):
                raise UnsupportedError("the PDF is locked by a password", "save it without one")
            if len(reader.pages) > PAGES:
                raise BombError(f"the PDF has more than {PAGES} pages: no report")
            pages = [_page(page) for page in reader.pages]
            text = "\n".join(pages)
    except (UnsupportedError, BombError):
        raise
    except Exception:
        raise UnreadableError("the PDF is damaged or locked") from None

    strange = sum(not (c.isprintable() or c in "\n\t\r") or c == "\ufffd" for c in text)
    if 50 * strange > len(text) or "(cid:" in text:
        raise TextError("the PDF does not say which letters its fonts show", SCAN)

    empty = sum(not any(letter.isalnum() for letter in page) for page in pages)
    what = "1 page" if empty == 1 else f"{empty} pages"
    note = f"{what} of {len(pages)} without text, blank or a picture, left out" if empty else ""
    return text, note


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
    braces = re.sub(r"\\[{}\\]", "", text)
    if braces.count("{") > braces.count("}"):  # the outermost group ends with the file
        raise UnreadableError("the RTF file is damaged")

    try:
        return rtf_to_text(_shown(text), errors="strict")
    except Exception:
        raise UnreadableError("the RTF file is damaged") from None


_TOKEN = re.compile(
    r"\\([A-Za-z]{1,32})(-?\d{1,10})?[ ]?|\\'[0-9A-Fa-f]{2}|\\[^A-Za-z]|([{}])|[^\\{}]"
)
_OFF = frozenset(["strike", "striked", "deleted", "v"])
"""Words that hide the text behind them, until they come with 0 or the group ends."""

_INSTEAD = {"field": "", "cell": "\\par\\tab ", "nestcell": "\\par\\tab "}
"""What stands for a word: no link is looked for, and cells end as those of Word do."""


def _shown(text: str) -> str:
    """RTF without the letters that are struck through, deleted or hidden; its fonts on lines.

    The library's pattern for fonts then ends at the end of an entry, and that for links, which
    would search whole documents, finds none.
    """
    made: list[str] = []
    hidden: frozenset[str] = frozenset()
    groups: list[tuple[frozenset[str], bool]] = []
    fonts = False
    for found in _TOKEN.finditer(text):
        word, number, brace = found.groups()
        token = _INSTEAD.get(word, found.group())
        if brace == "{":
            groups.append((hidden, fonts))
            if len(groups) > DEPTH:
                raise UnreadableError("the groups of the RTF file are nested too deeply")
        elif brace == "}":
            token = ";}" if fonts else token
            hidden, fonts = groups.pop() if groups else (frozenset[str](), False)
        elif word in _OFF:
            hidden = hidden - {word} if number == "0" else hidden | {word}
        elif word == "plain":
            hidden = frozenset()
        elif word == "fonttbl":
            fonts = True
        elif word == "f" and fonts:
            token = f";\n{token}"
        elif hidden and (word == "u" or not word) and token not in ("\\*", "\n", "\r"):
            token = ""

        made.append(token)

    return "".join(made)


_SERVER = re.compile(
    rb"<(?:title|h1|h2|body|center)[^>]{0,200}>\s{0,99}(?:(?:http|error|fehler|erreur|status):?\s){0,3}"
    rb"(?:(?<=\s)[45]\d\d\s{0,9}<|(?:[45]\d\d\s{0,3}[-:|]?\s{0,3})?"
    rb"(?:service (?:temporarily )?unavailable|bad gateway|bad request|not found|forbidden"
    rb"|unauthori[sz]ed|internal server error|gateway time-?out|request timed? ?out|access denied"
    rb"|too many requests|session (?:has )?expired|(?:please )?(?:log|sign)[ -]?(?:in|on)\b|login))"
    rb"|<input[^>]{0,300}type\s?=\s?[\"']?password",
    re.IGNORECASE,
)
"""What the pages of a web server say that answer in place of a file: an error, or a login."""


def _html(data: bytes) -> str:
    if _SERVER.search(data[:65536]):
        raise UnreadableError(WEB_PAGE)

    declared = re.search(rb"charset\s*=\s*[\"']?([\w-]+)", data[:2048], re.IGNORECASE)
    text = None
    if declared and not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        try:
            text = data.decode(declared[1].decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            text = None

    reader = _Page()
    reader.feed(_closed(text if text is not None else decode_text(data)))
    reader.close()
    return "".join(reader.parts)


def _closed(text: str) -> str:
    """A page without comments and marked sections, and with no tag left open at its end.

    Python's parser would look for their ends from each of their starts to the end of the page
    (CVE-2025-6069).
    """
    made, place = [], 0
    while found := _DECLARED.search(text, place):
        made.append(text[place : found.start()])
        close = "-->" if found.group() == "<!--" else ">"
        end = text.find(close, found.end())
        place = end + len(close) if end >= 0 else len(text)

    made.append(text[place:])
    text = "".join(made)
    last = text.rfind(">") + 1
    return text[:last] + text[last:].replace("<", "&lt;")


_DECLARED = re.compile(r"<!--|<!\[")
_UNSEEN = re.compile(
    r"(?:display\s{0,9}:\s{0,9}none|visibility\s{0,9}:\s{0,9}(?:hidden|collapse))|line-through",
    re.IGNORECASE,
)
_VOID = "area base br col embed hr img input link meta source track wbr"
_GONE_TAGS = "script style head template noscript del s strike title svg"
_INLINE = "b i u em strong span font a sub sup small big mark code ins abbr"
_HEAD = "meta link title style script base noscript template"
_BLOCKS = """
address article aside blockquote center details dialog div dl fieldset figcaption figure footer
form h1 h2 h3 h4 h5 h6 header hr main nav ol p pre section summary table ul
"""


class _Page(HTMLParser):
    """The visible text of a page."""

    VOID = frozenset(_VOID.split())
    GONE = frozenset(_GONE_TAGS.split())
    INLINE = frozenset(_INLINE.split())
    HEAD = frozenset(_HEAD.split())
    ENDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
        **dict.fromkeys(
            _BLOCKS.split(),
            (frozenset(["p"]), frozenset(["td", "th", "table", "caption", "button"])),
        ),
        "li": (frozenset(["li", "p"]), frozenset(["ul", "ol", "table"])),
        **dict.fromkeys(("dt", "dd"), (frozenset(["dt", "dd", "p"]), frozenset(["dl", "table"]))),
        **dict.fromkeys(("td", "th"), (frozenset(["td", "th"]), frozenset(["table", "tr"]))),
        "tr": (frozenset(["tr"]), frozenset(["table"])),
        **dict.fromkeys(
            ("tbody", "thead", "tfoot"),
            (frozenset(["tbody", "thead", "tfoot", "tr"]), frozenset(["table"])),
        ),
    }
    """Elements that a start tag ends where their end tags were left out, and how far out; by the
    HTML standard, section 13.2.6 (tree construction)."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.open: list[tuple[str, bool]] = []
        """Open elements, and whether they are shown."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Start of an element."""
        if tag not in self.INLINE:
            self.parts.append("\n" if tag not in ("td", "th") else "\t")

        if tag not in self.HEAD and self.open and self.open[-1][0] == "head":
            self.open.pop()

        if tag in self.ENDS:
            self._end(*self.ENDS[tag])

        if tag in self.VOID:
            return
        if len(self.open) == DEPTH:
            raise UnreadableError("the elements of the page are nested too deeply")

        said = dict(attrs)
        styled = _UNSEEN.search(said.get("style") or "")
        gone = tag in self.GONE or "hidden" in said or styled is not None
        self.open.append((tag, self.shown and not gone))

    @property
    def shown(self) -> bool:
        """Whether text at this place is."""
        return not self.open or self.open[-1][1]

    def _end(self, tags: frozenset[str], within: frozenset[str]) -> None:
        """End the outermost open element of these tags, up to one of ``within``."""
        last = None
        for place in range(len(self.open) - 1, -1, -1):
            if self.open[place][0] in tags:
                last = place
            elif self.open[place][0] in within:
                break

        if last is not None:
            del self.open[last:]

    def handle_endtag(self, tag: str) -> None:
        """End of an element; those inside that were left open end with it."""
        for place in range(len(self.open) - 1, -1, -1):
            if self.open[place][0] == tag:
                del self.open[place:]
                break

        if tag not in self.INLINE:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        """Text."""
        if self.shown:
            self.parts.append(data)
