"""What says who goes, what says the finding stays: sentences, names of any encoding, warnings."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from rfpmss.data.privacy.deidentify import deidentify
from rfpmss.data.privacy.private import clean, redact
from rfpmss.data.readers.dicom import volumes as dicom
from rfpmss.data.readers.dicom.structured import report_text
from rfpmss.data.sources.hospital import scan
from tests.data.files import PYDICOM, write_series

with (Path(__file__).parents[2] / "tables" / "privacy_sentences.csv").open(
    newline="", encoding="utf-8"
) as file:
    SENTENCES = list(csv.DictReader(file))
with (Path(__file__).parents[2] / "tables" / "headed_fields.csv").open(
    newline="", encoding="utf-8"
) as file:
    HEADED = list(csv.DictReader(file))


def squeeze(text: str) -> str:
    return " ".join(text.replace("___", " ").split())


def test_a_sentence_keeps_its_findings_and_loses_its_names() -> None:
    wrong = []
    for row in SENTENCES:
        left = redact(row["text"], filter(None, row["header"].split(";")))
        stays = row["stays"].replace(" ", "") in squeeze(left).replace(" ", "")
        if not stays or any(word in left for word in filter(None, row["goes"].split(";"))):
            wrong.append((row["text"], left))
    assert wrong == []
    assert len(SENTENCES) > 890


def test_a_value_below_its_label_goes_and_other_columns_stay() -> None:
    wrong = []
    for row in HEADED:
        text = row["text"].replace("{tab}", "\t").replace("{line}", "\n")
        left = redact(text, [])
        told = any(word in row["stays"] for word in filter(None, row["goes"].split(";")))
        if left != row["stays"] or told:
            wrong.append((text, left))
    assert wrong == []
    assert len(HEADED) > 20


def test_marks_that_only_a_printer_sees_hide_no_name_and_part_no_word() -> None:
    text = clean("Kontrast\u00admittel bei Sm\u200bith, Odile\ufeff.")
    assert redact(text, ["Smith^Odile"]) == "Kontrastmittel bei ___."


NAMES = [
    # Bytes of PatientName, SpecificCharacterSet, what a report must not hold.
    ("张^三丰".encode("gb18030"), None, "张三丰"),
    ("张^三丰".encode("gb18030"), "ISO_IR 100", "张三丰"),
    ("张^三丰".encode("gb18030"), "ISO_IR 192", "张三丰"),
    ("张^三丰".encode(), None, "张三丰"),
    ("张^三丰".encode(), "ISO_IR 100", "张 三丰"),
    ("張^三豐".encode("big5"), None, "張三豐"),
    ("張^三豐".encode("big5"), "ISO_IR 100", "三豐張"),
    ("山田^太郎".encode("cp932"), None, "山田太郎"),
    ("山田^太郎".encode("euc_jp"), "ISO_IR 100", "山田太郎"),
    ("김^희중".encode("cp949"), None, "김희중"),
    ("Müller^Jörg".encode("cp1252"), None, "Müller, Jörg"),
    ("Müller^Jörg".encode(), "ISO_IR 100", "Jörg Müller"),
    ("王小明".encode("gb18030"), "GB18030", "小明"),
    ("王小明".encode("gb18030"), None, "小明"),
    ("OuyangXuemei=欧阳雪梅".encode("gb18030"), "GB18030", "雪梅"),
    # PS3.5 Annexes H, I and K: IR 87, IR 149, IR 58.
    (b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=", "\\ISO 2022 IR 87", "山田太郎"),
    (b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=", None, "山田太郎"),
    (b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=", "\\ISO 2022 IR 149", "洪吉洞"),
    (b"Zhang^San=\x1b$)A\xd5\xc5^\x1b$)A\xc8\xfd=", "\\ISO 2022 IR 58", "张三"),
    (b"Zhang^San=\x1b$)A\xd5\xc5^\x1b$)A\xc8\xfd=", None, "San Zhang"),
]


def with_name(folder: Path, name: bytes, charset: str | None, words: str) -> None:
    """A series and a report that uses the name; the bytes stand in the headers as they are."""
    values = np.random.default_rng(0).integers(0, 99, (3, 8, 8))
    place = "N" * (len(name) + len(name) % 2)
    write_series(folder / "ct", values, changes={"PatientName": place, "PatientID": "K1"})
    for path in (folder / "ct").iterdir():
        data = pydicom.dcmread(path)
        if charset:
            data.SpecificCharacterSet = charset.split("\\")
        data.save_as(path)
        content = path.read_bytes()
        assert content.count(place.encode()) == 1
        path.write_bytes(content.replace(place.encode(), name.ljust(len(place))))
    (folder / "report.txt").write_text(f"{words} has a mass on the left, {words}.", "utf-8")


@pytest.mark.parametrize(("name", "charset", "words"), NAMES)
def test_a_name_in_any_encoding_is_in_no_output(
    name: bytes, charset: str | None, words: str, tmp_path: Path
) -> None:
    with_name(tmp_path / "src", name, charset, words)
    (study,) = scan(tmp_path / "src", b"0123456789abcdef").studies
    assert study.report == "___ has a mass on the left, ___."
    if name.startswith("张".encode("gb18030")):
        copy = deidentify(
            pydicom.dcmread(next((tmp_path / "src" / "ct").iterdir())), b"s" * 16, "p"
        )
        assert name not in copy.to_json().encode("utf-8", "surrogateescape")


def test_a_structured_report_without_a_character_set_is_read_in_its_own(tmp_path: Path) -> None:
    for code, text in (
        ("gb18030", "左侧额叶占位"),
        ("utf-8", "左侧额叶占位"),
        ("cp1252", "Läsion"),
    ):
        for charset in (None, "ISO_IR 100", "ISO_IR 192"):
            raw = f"{text} {'x' * 40}".encode(code)
            data = pydicom.dcmread(PYDICOM / "reportsi.dcm")
            item = Dataset()
            item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
            item.TextValue = "y" * (len(raw) + len(raw) % 2)
            data.ContentSequence = Sequence([item])
            del data.SpecificCharacterSet
            if charset:
                data.SpecificCharacterSet = charset
            data.save_as(tmp_path / "sr.dcm")
            content = (tmp_path / "sr.dcm").read_bytes()
            (tmp_path / "sr.dcm").write_bytes(
                content.replace(item.TextValue.encode(), raw.ljust(len(item.TextValue)))
            )
            assert report_text(dicom.read_file(tmp_path / "sr.dcm")).startswith(text)


def test_no_warning_of_a_library_is_shown_by_a_command(tmp_path: Path) -> None:
    """pydicom warns with the value of a UID whose component begins with 0."""
    secret = "1.2.276.0.00774411.9999"
    values = np.random.default_rng(0).integers(0, 99, (3, 8, 8))
    write_series(tmp_path / "src" / "ct", values, changes={"PatientName": "Quimby^Zebulon"})
    for path in (tmp_path / "src" / "ct").iterdir():
        data = pydicom.dcmread(path)
        place = str(data.StudyInstanceUID)
        content = path.read_bytes()
        path.write_bytes(content.replace(place.encode(), secret.ljust(len(place), "1").encode()))
    command = [sys.executable, "-W", "always", "-m", "rfpmss.prepare", "hospital"]
    command += [str(tmp_path / "src"), "--out", str(tmp_path / "out"), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert secret not in done.stdout + done.stderr
    assert "Warning" not in done.stderr
