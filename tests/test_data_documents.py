"""Reports in Word, PDF, RTF, HTML and XLSX: their words, and no bomb, no deleted word, no scan."""

import sys
import zipfile
from pathlib import Path

import pytest

from rfpmss.data.cohort.known import Known
from rfpmss.data.errors import BombError, DataError, TextError, UnreadableError, UnsupportedError
from rfpmss.data.look import look
from rfpmss.data.readers.documents import document_text
from rfpmss.data.sniff import kind_of
from rfpmss.data.worksheet import read_reports
from tests.data_tools import brain, write_nifti
from tests.public_tools import xlsx

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
    return " ".join(document_text(path).split())


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
        document_text(pdf(tmp_path / "r.pdf", ""))
    with pytest.raises(TextError, match="OCR"):
        document_text(docx(tmp_path / "r.docx", "<w:p><w:r><w:drawing/></w:r></w:p>"))


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
            document_text(tmp_path / name)


def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(UnsupportedError, match=r"pypdf.*multisk\[rfpmss,reports\]"):
        document_text(pdf(tmp_path / "r.pdf", "A mass"))


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
    (tmp_path / "P1" / "report.doc").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"x" * 600)
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
