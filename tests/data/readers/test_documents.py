"""Reports in Word, PDF, RTF, HTML and XLSX: their words, and no bomb, no deleted word, no scan."""

import contextlib
import re
import sys
import zipfile
from pathlib import Path

import pytest

from rfpmss.data.errors import BombError, DataError, TextError, UnreadableError, UnsupportedError
from rfpmss.data.identity.known import Known
from rfpmss.data.privacy.private import clean, redact
from rfpmss.data.readers.look import look
from rfpmss.data.readers.sniff import kind_of
from rfpmss.data.readers.text.documents import read_document
from rfpmss.data.readers.text.tables import read_sheets, read_table
from rfpmss.data.reports.worksheet import Told, read_reports
from rfpmss.data.sources.hospital import scan, show
from tests.data.files import brain, old_office, write_nifti
from tests.data.growth import is_linear
from tests.data.sources.trees import xlsx

WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def docx(path: Path, body: str) -> Path:
    """A Word file with this body."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(
            "word/document.xml", f"<w:document {WORD}><w:body>{body}</w:body></w:document>"
        )
    return path


def run(text: str, marks: str = "") -> str:
    return f'<w:r><w:rPr>{marks}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def pdf(path: Path, *pages: str) -> Path:
    """A PDF with a line of text on each page."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ]
    for n, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET" if text else ""
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {5 + 2 * n} 0 R"
            "/Resources<</Font<</F1 3 0 R>>>>>>"
        )
        objects.append(f"<</Length {len(stream)}>>stream\n{stream}\nendstream")
    data, places = b"%PDF-1.4\n", []
    for n, body in enumerate(objects, 1):
        places.append(len(data))
        data += f"{n} 0 obj\n{body}\nendobj\n".encode("cp1252")
    start = len(data)
    data += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    data += "".join(f"{place:010d} 00000 n \n" for place in places).encode()
    data += f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF".encode()
    path.write_bytes(data)
    return path


def words(path: Path) -> str:
    return " ".join(read_document(path)[0].split())


def test_word_gives_its_text_in_order_and_nothing_that_was_deleted(tmp_path: Path) -> None:
    body = (
        f"<w:p>{run('Befund: ')}{run('kein', '<w:strike/>')}{run('Ödem links.')}</w:p>"
        f"<w:p><w:del>{run('No ')}</w:del><w:ins>{run('A mass')}</w:ins>{run(' left.')}</w:p>"
        f"<w:tbl><w:tr><w:tc><w:p>{run('Size')}</w:p></w:tc><w:tc><w:p>{run('38 mm')}</w:p></w:tc>"
        f"</w:tr></w:tbl><w:p>{run('左额叶占位')}{run('hidden', '<w:vanish/>')}</w:p>"
    )
    path = docx(tmp_path / "r.docx", body)
    assert words(path) == "Befund: Ödem links. A mass left. Size 38 mm 左额叶占位"
    assert kind_of(path) == "document"


def test_pdf_gives_the_text_of_all_pages(tmp_path: Path) -> None:
    path = pdf(tmp_path / "r.pdf", "Läsion links, 38 mm.", "No hemorrhage, but a mass.")
    assert words(path) == "Läsion links, 38 mm. No hemorrhage, but a mass."
    assert kind_of(path) == "document"


def test_a_scan_says_that_it_holds_no_text(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="OCR"):
        read_document(pdf(tmp_path / "r.pdf", ""))
    with pytest.raises(TextError, match="OCR"):
        read_document(docx(tmp_path / "r.docx", "<w:p><w:r><w:drawing/></w:r></w:p>"))


def test_rtf_and_html_give_their_text(tmp_path: Path) -> None:
    (tmp_path / "r.rtf").write_bytes(
        rb"{\rtf1\ansi\ansicpg1252{\fonttbl\f0 Arial;}L\'e4sion links\par \u24038?\u39069? 38 mm}"
    )
    assert words(tmp_path / "r.rtf") == "Läsion links 左额 38 mm"
    page = (
        "<!DOCTYPE html><html><head><meta charset='gb2312'><title>x</title></head><body><p>左额叶"
        "占位</p><script>no()</script><del>no</del><p>A&nbsp;mass<br>left</p><td>38</td></body>"
    )
    (tmp_path / "r.html").write_bytes(page.encode("gb2312"))
    assert words(tmp_path / "r.html") == "左额叶占位 A mass left 38"
    (tmp_path / "w.html").write_bytes(page.replace("gb2312", "iso-2022-kr").encode("utf-8"))
    assert words(tmp_path / "w.html") == "左额叶占位 A mass left 38"


CELLS = [
    ("Name:", "Harold Whitcombe"),
    ("Patientenname", "Hannelore Zwickelbauer"),
    ("Pacjent:", "Zofia Wiśniewska"),
    ("姓名", "诸葛亮才"),
    ("住院号", "ZY20394"),
    ("Fallnummer:", "20394"),
]


@pytest.mark.parametrize(("label", "value"), CELLS)
def test_a_field_whose_value_is_the_next_cell_leaves_the_report(
    label: str, value: str, tmp_path: Path
) -> None:
    """Findings in cells stay, with their labels."""
    rows = [(label, value), ("Findings:", "41 mm mass"), ("Befund", "Kein Hydrozephalus")]
    cell = "<w:tc><w:p>{}</w:p></w:tc>".format
    table = "".join(f"<w:tr>{''.join(cell(run(text)) for text in row)}</w:tr>" for row in rows)
    docx(tmp_path / "r.docx", f"<w:tbl>{table}</w:tbl>")
    lines = ("".join(f"<td>{text}</td>" for text in row) for row in rows)
    page = "".join(f"<tr>{line}</tr>" for line in lines)
    (tmp_path / "r.html").write_text(f"<html><table>{page}</table></html>", "utf-8")
    coded = "".join(
        "".join(c if c.isascii() else rf"\u{ord(c)}?" for c in rf"{a}\cell {b}\cell\row ")
        for a, b in rows
    )
    (tmp_path / "r.rtf").write_text(rf"{{\rtf1\ansi {coded}}}")
    for path in sorted(tmp_path.iterdir()):
        left = redact(clean(read_document(path)[0]), ())
        assert left == "Findings: 41 mm mass Befund Kein Hydrozephalus", path.name


def test_bombs_and_damage_end_in_their_errors_at_once(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b" " * (20 << 20))
    with zipfile.ZipFile(tmp_path / "laughs.docx", "w") as archive:
        archive.writestr("word/document.xml", '<!DOCTYPE x [<!ENTITY a "aa">]><x>&a;</x>')
    deep = "<w:p>" * 5000 + "</w:p>" * 5000
    docx(tmp_path / "deep.docx", deep)
    pdf(tmp_path / "many.pdf", *(["x"] * 60))
    (tmp_path / "torn.pdf").write_bytes(b"%PDF-1.4\nnothing")
    (tmp_path / "torn.docx").write_bytes(b"PK\3\4nothing")
    wanted = {
        "bomb.docx": BombError,
        "laughs.docx": UnreadableError,
        "deep.docx": UnreadableError,
        "many.pdf": BombError,
        "torn.pdf": UnreadableError,
        "torn.docx": UnreadableError,
    }
    for name, kind in wanted.items():
        with pytest.raises(kind):
            read_document(tmp_path / name)


def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(UnsupportedError, match=r"pypdf.*multisk\[rfpmss,reports\]"):
        read_document(pdf(tmp_path / "r.pdf", "A mass"))


def test_a_workbook_is_a_table_with_days_and_numbers_of_spreadsheets(tmp_path: Path) -> None:
    rows = [
        ["Klinik", "", "", ""],
        ["Pat-ID", "Datum", "Befund", "Site"],
        ["7.0", "44259.0", "No hemorrhage, but a mass", ""],
        ["12", "44260", "Masse links", "x"],
    ]
    xlsx(tmp_path / "t.xlsx", rows)
    assert kind_of(tmp_path / "t.xlsx") == "table"
    day = 737853  # 2021-03-04
    known = Known.of(
        [("a", "id", "007"), ("b", "id", "012")], {"a": frozenset({day}), "b": frozenset({day + 1})}
    )
    _, told = read_reports(tmp_path / "t.xlsx", None, known)
    assert [(one.owner, one.text, one.date) for one in told] == [
        ("a", "No hemorrhage, but a mass", day),
        ("b", "Masse links", day + 1),
    ]


def test_manuals_of_viewers_and_old_documents_are_no_reports(tmp_path: Path) -> None:
    (tmp_path / "P1" / "VIEWER").mkdir(parents=True)
    (tmp_path / "P1" / "VIEWER" / "guide.html").write_text("<html>How to view a mass</html>")
    (tmp_path / "P1" / "report.doc").write_bytes(old_office())
    write_nifti(tmp_path / "P1" / "t1.nii", brain())
    for path in (tmp_path / "P1" / "VIEWER" / "guide.html", tmp_path / "P1" / "report.doc"):
        with pytest.raises(UnsupportedError):
            look(path, tmp_path)
    docx(tmp_path / "P1" / "report.docx", f"<w:p>{run('A mass')}</w:p>")
    (file,) = look(tmp_path / "P1" / "report.docx", tmp_path)
    assert (file.kind, (file.text or "").strip()) == ("text", "A mass")
    (tmp_path / "~$r.docx").write_bytes(b"lock")
    with pytest.raises(DataError):
        look(tmp_path / "~$r.docx", tmp_path)


# A page, and what a browser shows of it.
PAGES = {
    "<body><p hidden>no<p>A mass</body>": "A mass",
    "<div><p hidden>no</div>A mass": "A mass",
    "<ul><li hidden>no<li>A mass</ul>left": "A mass left",
    "<table><tr><td hidden>no<td>A mass<tr><td>left</table>38": "A mass left 38",
    "<table><tr hidden><td>no<tr><td>A mass</table>": "A mass",
    "<dl><dt hidden>no<dd>A mass</dl>": "A mass",
    "<head><title>no</title><p>A mass": "A mass",
    "<div hidden>no<p>no</p>no</div>A mass": "A mass",
    "<p hidden>no<span>no</p>A mass": "A mass",
    "<div hidden><ul><li>no<li>no</ul></div>A mass": "A mass",
    "<p>A mass<p style='display: none'>no<h2>left</h2>": "A mass left",
    "<b>A <i>mass</b></i> left": "A mass left",
    "A mass</p></div></td> left": "A mass left",
    "<input hidden>A mass": "A mass",
    "<span style='DISPLAY:NONE'>no</span>A <i style='visibility : hidden'>no</i>mass": "A mass",
    "<SPAN STYLE='text-decoration:Line-Through'>no</SPAN>A mass": "A mass",
    "A <!-- no > no --><?x no?><!-- no -- no -->mass": "A mass",
    "A mass <!-- no": "A mass",
    "A mass 3 < 4": "A mass 3 < 4",
}


@pytest.mark.parametrize("page", PAGES)
def test_an_element_that_is_not_closed_hides_no_more_than_in_a_browser(
    page: str, tmp_path: Path
) -> None:
    (tmp_path / "r.html").write_text(f"<html>{page}")
    assert words(tmp_path / "r.html") == PAGES[page]


RTF = {
    r"A {\strike no }mass": "A mass",
    r"A \strike no \strike0 mass": "A mass",
    r"A {\deleted\revauthdel1 no }{\revised\revauth1 mass}": "A mass",
    r"A {\striked1 no}{\v no\'e4\u24038?}{\b mass}": "A mass",
    r"A \strike no \plain mass": "A mass",
    r"A {\strike0 mass}": "A mass",
    r"{\strike no{\strike0 A} no} mass": "A mass",
    r'A {\field{\*\fldinst{HYPERLINK "http://x"}}{\fldrslt{mass}}}': "A mass",
    r"A {\*\generator no;}mass": "A mass",
}


@pytest.mark.parametrize("body", RTF)
def test_rtf_gives_nothing_that_was_struck_deleted_or_hidden(body: str, tmp_path: Path) -> None:
    fonts = r"{\fonttbl{\f0\froman\fcharset0 Times{\*\falt X};}{\f1\fcharset134 SimSun;}}"
    (tmp_path / "r.rtf").write_text(rf"{{\rtf1\ansi\ansicpg1252{fonts}\f0 {body}\f1\'d7\'f3}}")
    assert words(tmp_path / "r.rtf").replace(" ", "") == RTF[body].replace(" ", "") + "左"


def test_no_part_of_an_office_file_expands_entities(tmp_path: Path) -> None:
    laughs = '<?xml version="1.0" encoding="{}"?><!DOCTYPE x [<!ENTITY a "mass">]><x>&a;</x>'
    parts = {
        "utf-8": laughs.format("utf-8").encode(),
        "utf-16": laughs.format("utf-16").encode("utf-16"),
        "utf-16-be": laughs.format("utf-16").encode("utf-16-be"),
        "behind": laughs.replace("<!DOC", f"<!--{'x' * 9000}--><!DOC").format("utf-8").encode(),
    }
    for name, data in parts.items():
        for part in ("word/document.xml", "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"):
            with zipfile.ZipFile(tmp_path / "x", "w") as archive:
                archive.writestr(part, data)
            with pytest.raises(UnreadableError):
                read_document(tmp_path / "x") if "word" in part else list(
                    read_sheets(tmp_path / "x")
                )
            assert name


CELLS = {
    "<f>1+1</f><v>2</v>": ("", "2 mass"),
    "<f>A1</f>": ("", None),
    "<f>A1</f><v></v>": ("", None),
    "<f>A1</f><v>A mass</v>": ("str", "A mass"),
    "<f>A1</f><v/>": ("str", ""),
    "<v>#REF!</v>": ("e", None),
}


@pytest.mark.parametrize("cell", CELLS)
def test_a_formula_without_a_stored_value_is_refused_and_not_empty(
    cell: str, tmp_path: Path
) -> None:
    kind, wanted = CELLS[cell]
    xlsx(tmp_path / "t.xlsx", [["id", "report", "impression"], ["1", "x", ""], ["2", "left", ""]])
    with zipfile.ZipFile(tmp_path / "t.xlsx") as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"]
    made = f'<c r="B2" t="{kind}">{cell}</c>' + ('<c r="C2" t="inlineStr"><is><t>mass</t></is></c>')
    sheet = re.sub(r'<c r="B2".*?</c>', made, sheet)
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as archive:
        for name, text in (parts | {"xl/worksheets/sheet1.xml": sheet}).items():
            archive.writestr(name, text)
    known = Known.of([("a", "id", "1"), ("b", "id", "2")])
    _, (one, two) = sorted_rows(read_reports(tmp_path / "t.xlsx", None, known))
    assert (two.owner, two.text) == ("b", "left")
    if wanted is None:
        assert (one.row, one.owner, one.text) == (2, None, "")
        assert "formula without a value" in str(one.error)
        with pytest.raises(TextError, match="formula"):
            read_table(tmp_path / "t.xlsx")
    else:
        assert set(one.text.split()) == set(f"{wanted} mass".split())


def sorted_rows(found: tuple[object, list[Told]]) -> tuple[object, list[Told]]:
    return found[0], sorted(found[1], key=lambda one: one.row)


HOSTILE = {
    "r.html": [
        b"<p hidden>",
        b"<b>",
        b"</i>",
        b"<",
        b"<!--",
        b"<a ",
        b"&",
        b"<td>",
        b"<p><b>",
        b"<?x",
        b"</x",
        b"<a b='",
        b'<a b="<a>',
    ],
    "r.rtf": [rb"\f1", rb"\fcharset0", rb"{\field{\*\fldinst{", b"{", b"}", b"\\", rb"\'e4", b"x"],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_time_to_read_a_document_grows_as_its_length(name: str, tmp_path: Path) -> None:
    start = rb"{\rtf1{\fonttbl" if name.endswith("rtf") else b"<html>"

    def read(text: bytes) -> None:
        (tmp_path / name).write_bytes(text)
        with contextlib.suppress(DataError):
            read_document(tmp_path / name)

    for unit in HOSTILE[name]:
        assert is_linear(read, lambda n, u=unit: start + u * (n // len(u)), 4_000), unit


def test_pages_of_a_pdf_without_text_are_said_and_the_report_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "src" / "sub-01"
    folder.mkdir(parents=True)
    write_nifti(folder / "t1.nii", brain((8, 8, 4)))
    pdf(folder / "report.pdf", "A mass on the left.", "", "")
    found = scan(tmp_path / "src", b"0123456789abcdef")
    assert [study.report for study in found.studies] == ["A mass on the left."]
    (said,) = [reason for path, reason in found.rejections if path.name == "report.pdf"]
    assert "2 pages of 3 without text" in said
    assert "OCR" in said
    assert "reports: 1 found, 1 kept" in show(found)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95, 0.995])
@pytest.mark.parametrize(
    ("name", "what"),
    [("r.xlsx", "Excel"), ("r.xlsm", "Excel"), ("r.docx", "Word"), ("r.ods", "OpenDocument")]
    + [("r.rtf", "RTF"), ("r.pdf", "PDF")],
)
def test_a_cut_document_is_called_damaged(
    name: str, what: str, share: float, tmp_path: Path
) -> None:
    path = tmp_path / name
    if what == "RTF":
        data = (r"{\rtf1\ansi " + "A mass of 10 mm. " * 40 + r"{\b left}\par}").encode()
    elif what == "PDF":
        data = pdf(path, "A mass of 10 mm").read_bytes()
    else:
        data = docx(path, f"<w:p>{run('A mass')}</w:p>").read_bytes()
    path.write_bytes(data[: int(len(data) * share) - 10 * (what == "PDF")])
    with pytest.raises(UnreadableError, match=f"the {what} (?:file )?is damaged; copy the file"):
        look(path, tmp_path)


@pytest.mark.parametrize(
    "page",
    [
        "<html><title>503 Service Unavailable</title><h1>Error</h1></html>",
        "<!DOCTYPE html><h1>Error 404</h1>The study was not found.",
        "<!DOCTYPE html><html><body>503 Service Unavailable</body></html>",
        "<html><title>HTTP Status 401 - Unauthorized</title><body>no</body></html>",
        "<html><title>PACS</title><form><input name=p type='password'></form></html>",
        "<html><body><h2>Session expired</h2>Please log in again.</body></html>",
        "<html><head><title>Login</title></head><body>Viewer</body></html>",
    ],
)
def test_a_page_of_a_web_server_is_no_report(page: str, tmp_path: Path) -> None:
    (tmp_path / "IM000001").write_text(page)
    with pytest.raises(UnreadableError, match="page of a web server"):
        words(tmp_path / "IM000001")


@pytest.mark.parametrize(
    "page",
    [
        "<html><title>452 MRI head</title><body>No mass was found.</body></html>",
        "<html><h1>Anmeldung zur MRT</h1><p>Raumforderung links frontal.</p></html>",
        "<html><title>Report</title><h1>404</h1><p>Glioma, not found before.</p></html>",
    ],
)
def test_a_report_with_numbers_in_its_heading_stays(page: str, tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text(page)
    assert words(tmp_path / "r.html")
