"""DICOMweb: the bytes of a folder from a real Orthanc, and what a sick server may do."""

import itertools
import json
import logging
import re
import shutil
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pydicom
import pytest

from rfpmss import prepare
from rfpmss.data.errors import IncompleteError
from rfpmss.data.sources import dicomweb
from rfpmss.data.sources.dicomweb import AUTH, Server, ServerError, fetch, find_series
from tests.data.files import PYDICOM, brain, write_series
from tests.data.sources.orthanc import PASSWORD, PLUGIN, PROGRAM, USER, orthanc

needs_orthanc = pytest.mark.skipif(
    not (PROGRAM and PLUGIN), reason="Orthanc is not installed: apt-get install orthanc-dicomweb"
)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory) -> Path:
    """Two patients: a CT, two equal MRI series whose order the folder decides, and a report."""
    src = tmp_path_factory.mktemp("clinic") / "src"
    mri = {"Modality": "MR", "PatientID": "P2", "StudyInstanceUID": "1.2.3.9"}
    for name, values in (("z", brain((4, 16, 16), 1)), ("a", brain((4, 16, 16), 2))):
        write_series(src / "one" / name, values, changes=mri)
    write_series(src / "two" / "ct", brain((5, 16, 16)))
    report = pydicom.dcmread(PYDICOM / "reportsi.dcm")
    for name, value in {"PatientID": "P2", "StudyInstanceUID": "1.2.3.9"}.items():
        setattr(report, name, value)
    report.save_as(src / "one" / "report")
    return src


def files(folder: Path) -> dict[str, bytes]:
    """Everything of a cohort that depends on nothing but the patients."""
    names = ("manifest.csv", "splits.csv", "shards/*")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for name in names
        for path in sorted(folder.glob(name))
    }


def run(*words: object) -> int:
    return prepare.main(["hospital", *map(str, words), "--workers", "1"])


@needs_orthanc
def test_a_server_gives_the_bytes_of_the_folder_also_after_a_kill(
    clinic, tmp_path, monkeypatch, capsys, caplog
):
    salt = tmp_path / "salt"
    salt.write_text("0123456789abcdef")
    assert run(clinic, "--out", tmp_path / "folder", "--salt", salt) == 0
    out, cache = tmp_path / "web", tmp_path / "web.dicomweb"
    monkeypatch.setattr(dicomweb, "PAGE", 3)  # several pages of every list
    capsys.readouterr()
    with orthanc(tmp_path / "orthanc") as server:
        for path in sorted(clinic.rglob("*")):
            if path.is_file():
                server.send(path)
        words = ("--dicomweb", server.url, "--out", out, "--salt", salt)
        assert run(*words) == 1  # no credentials
        assert "HTTP 401" in capsys.readouterr().err
        monkeypatch.setenv(AUTH, f"{USER}:{PASSWORD}")
        assert run(*words, "--dry-run") == 0
        shown = capsys.readouterr().out
        assert "patients: 2\nstudies: 2\nseries: 4 (1 CT, 2 MR, 1 SR)\ninstances: 14" in shown
        assert not cache.exists() or not list(cache.rglob("*.dcm"))

        kept = dicomweb._download
        left = itertools.count()

        def killed(*arguments):
            if next(left) == 6:
                raise KeyboardInterrupt
            kept(*arguments)

        with monkeypatch.context() as patch, caplog.at_level(logging.DEBUG):
            patch.setattr(dicomweb, "_download", killed)
            assert run(*words) == 130  # as a shell counts Ctrl-C
        before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.dcm")}
        assert len(before) == 6
        assert cache.stat().st_mode & 0o077 == 0
        for ending in (".part", ".4711.tmp"):  # killed downloads of older and of this version
            half = next(iter(before)).with_name(f".i-{'0' * 24}.dcm{ending}")
            half.write_bytes(b"half")
        assert run(*words) == 0
        after = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
        assert before.items() <= after.items()
        assert len(after) == 14
        assert files(out) == files(tmp_path / "folder")

        # What is gone from the server is gone from the cohort; filters ask for less.
        assert run(*words[:-4], "--out", tmp_path / "p2", "--dicomweb-patients", "P2") == 0
        assert len(list((tmp_path / "p2.dicomweb").rglob("*.dcm"))) == 9
    shown = "".join(capsys.readouterr()) + caplog.text
    for secret in (PASSWORD, b64encode(f"{USER}:{PASSWORD}".encode()).decode(), "MRN-774411"):
        assert secret not in shown
    assert "1.2.3.9" not in shown


# A server that can do everything wrong


def entry(**values: str) -> dict[str, dict]:
    tags = {"patient": "00100020", "study": "0020000D", "series": "0020000E"}
    tags |= {"instance": "00080018", "modality": "00080060"}
    return {tags[name]: {"vr": "LO", "Value": [value]} for name, value in values.items()}


class Fake:
    """A study of one series in memory; ``spoil`` may answer in its place."""

    def __init__(self, folder: Path) -> None:
        self.files = [path.read_bytes() for path in sorted(folder.iterdir())]
        read = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
        self.uids = [str(data.SOPInstanceUID) for data in read]
        self.ids = {
            "patient": str(read[0].PatientID),
            "study": str(read[0].StudyInstanceUID),
            "series": str(read[0].SeriesInstanceUID),
        }
        self.asked: list[str] = []
        self.spoil: Callable[[BaseHTTPRequestHandler, int], bool] = lambda *_: False

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, _, query = handler.path.partition("?")
        self.asked.append(path)
        if self.spoil(handler, len(self.asked)):
            return
        kinds = path.strip("/").split("/")[1:]
        if len(kinds) == 6:
            self.send(handler, multipart(self.files[self.uids.index(kinds[-1])]), MULTIPART)
            return
        offset = int((re.findall(r"offset=(\d+)", query) or [0])[0])
        one = {
            1: [entry(**self.ids)],
            3: [entry(**self.ids, modality="CT")],
            5: [entry(**self.ids, instance=uid) for uid in self.uids],
        }[len(kinds)][offset:]
        self.send(handler, json.dumps(one).encode(), "application/dicom+json")

    @staticmethod
    def send(handler: BaseHTTPRequestHandler, body: bytes, kind: str, status: int = 200) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


MULTIPART = 'multipart/related; type="application/dicom"; boundary=edge'


def multipart(content: bytes) -> bytes:
    return b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--edge--\r\n"


@pytest.fixture
def fake(clinic, monkeypatch) -> Iterator[tuple[Fake, Server]]:
    made = Fake(clinic / "two" / "ct")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            made.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(dicomweb, "PAUSE", 0.0)
    monkeypatch.setattr(dicomweb, "READ", 0.5)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    yield made, Server(url=f"http://127.0.0.1:{server.server_port}/web/")
    server.shutdown()
    server.server_close()


def is_file(handler: BaseHTTPRequestHandler) -> bool:
    return handler.path.count("/") == 7


def test_what_is_downloaded_is_what_the_server_holds(fake, tmp_path):
    made, server = fake
    assert fetch(server, tmp_path / "c") == []
    got = {
        pydicom.dcmread(p).SOPInstanceUID: p.read_bytes() for p in (tmp_path / "c").rglob("*.dcm")
    }
    assert got == dict(zip(made.uids, made.files, strict=True))
    asked = len(made.asked)
    assert fetch(server, tmp_path / "c") == []
    assert not any(path.count("/") == 7 for path in made.asked[asked:])  # nothing twice
    assert [(s.patient, s.modality) for s in find_series(server)] == [("MRN-774411", "CT")]


@pytest.mark.parametrize("fault", ["status", "cut", "short", "wrong", "noise", "large", "html"])
@pytest.mark.parametrize("lasting", [False, True])
def test_one_bad_instance_costs_one_instance_and_a_passing_fault_none(
    fake, fault, lasting, tmp_path
):
    made, server = fake
    bad = made.uids[1]

    def spoil(handler: BaseHTTPRequestHandler, _: int) -> bool:
        if not handler.path.endswith(bad) or (not lasting and made.asked.count(handler.path) > 1):
            return False
        whole = multipart(made.files[1])
        if fault == "status":
            made.send(handler, b"down", "text/plain", 503)
        elif fault == "cut":  # fewer bytes than promised
            handler.send_response(200)
            handler.send_header("Content-Type", MULTIPART)
            handler.send_header("Content-Length", str(len(whole)))
            handler.end_headers()
            handler.wfile.write(whole[:300])
            handler.close_connection = True
        elif fault == "short":  # a proxy that closed the answer early, with a length that fits
            made.send(handler, whole[:-200], MULTIPART)
        else:
            content = {
                "wrong": multipart(made.files[0]),
                "noise": multipart(b"no DICOM" * 100),
                "large": multipart(bytes(3 << 20)),
                "html": b"<html>please log in</html>",
            }[fault]
            made.send(handler, content, "text/html" if fault == "html" else MULTIPART)
        return True

    made.spoil = spoil
    server = Server(url=server.url, limit=1 << 20)
    lost = fetch(server, tmp_path / "c")
    passing = not lasting and fault in ("status", "cut", "short")
    assert len(lost) == (0 if passing else 1)
    assert len(list((tmp_path / "c").rglob("i-*.dcm"))) == len(made.uids) - len(lost)
    assert not [p for p in (tmp_path / "c").rglob(".*") if p.is_file()]
    assert made.asked.count(next(p for p in made.asked if p.endswith(bad))) <= dicomweb.TRIES
    for path, reason in lost:
        assert reason.startswith("UnreadableError: ")
        assert not any(uid in str(path) + reason for uid in (*made.ids.values(), bad))


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("401", "wants credentials"),
        ("403", "refuses the request"),
        ("500", "HTTP 500"),
        ("redirect", "sends us elsewhere"),
        ("slow", "does not answer in time|no connection"),
        ("html", "is no DICOMweb"),
        ("list", "larger than"),
        ("endless", "repeats its list"),
    ],
)
def test_a_server_that_cannot_be_used_is_told_in_one_sentence(
    fake, fault, sentence, tmp_path, monkeypatch
):
    made, server = fake
    wake = threading.Event()
    monkeypatch.setattr(dicomweb, "LARGEST_LIST", 1 << 16)
    monkeypatch.setattr(dicomweb, "MOST", 40)
    numbers = itertools.count()

    def spoil(handler: BaseHTTPRequestHandler, _: int) -> bool:
        if fault in ("401", "403", "500"):
            made.send(handler, b"", "text/plain", int(fault))
        elif fault == "redirect":
            handler.send_response(302)
            handler.send_header("Location", "http://127.0.0.1:1/studies/MRN-774411")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        elif fault == "slow":
            wake.wait(3)
        elif fault == "html":
            made.send(handler, b"<html>", "text/html")
        elif fault == "list":
            made.send(handler, b" " * (1 << 17), "application/dicom+json")
        else:
            page = [entry(patient="P", study=f"1.2.{next(numbers)}") for _ in range(10)]
            made.send(handler, json.dumps(page).encode(), "application/dicom+json")
        return fault != "endless" or handler.path.count("/") == 2

    made.spoil = spoil
    with pytest.raises(ServerError, match=sentence) as told:
        fetch(server, tmp_path / "c")
    wake.set()
    assert "127.0.0.1" not in str(told.value)
    assert "MRN-774411" not in str(told.value)
    assert len(made.asked) <= 60


def test_a_server_whose_instances_all_fail_ends_the_download(fake, tmp_path, monkeypatch):
    made, server = fake
    monkeypatch.setattr(dicomweb, "FAILED", 2)
    made.spoil = lambda handler, _: is_file(handler) and not made.send(handler, b"", "x", 404)
    with pytest.raises(ServerError, match="3 of 5 instances cannot be had: .*HTTP 404"):
        fetch(server, tmp_path / "c")


def test_nothing_on_the_server_and_studies_without_a_patient_are_told(fake, tmp_path):
    made, server = fake
    with pytest.raises(IncompleteError, match="holds no image .*--dicomweb-patients"):
        fetch(Server(url=server.url, patients=("nobody",)), tmp_path / "c")
    made.ids["patient"] = ""
    with pytest.raises(IncompleteError):
        fetch(server, tmp_path / "c")


def test_the_cache_mirrors_the_server_and_touches_nothing_else(fake, tmp_path):
    made, server = fake
    fetch(server, tmp_path / "c")
    mine = tmp_path / "c" / "notes.md"
    mine.write_text("mine")
    made.uids.pop()
    fetch(server, tmp_path / "c")
    assert len(list((tmp_path / "c").rglob("i-*.dcm"))) == 4
    assert mine.read_text() == "mine"


def test_tokens_travel_in_the_header_and_passwords_never_in_the_address(fake, tmp_path):
    made, server = fake
    seen = []
    made.spoil = lambda handler, _: bool(seen.append(handler.headers.get("Authorization")))
    fetch(Server(url=server.url, auth="Bearer abc.def"), tmp_path / "c")
    assert set(seen) == {"Bearer abc.def"}
    assert "abc.def" not in repr(Server(url=server.url, auth="Bearer abc.def"))


def test_a_netrc_file_gives_the_credentials(fake, tmp_path, monkeypatch):
    made, server = fake
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen = []
    made.spoil = lambda handler, _: bool(seen.append(handler.headers.get("Authorization")))
    fetch(server, tmp_path / "c")
    assert set(seen) == {"Basic " + b64encode(b"a:b").decode()}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--dicomweb", "file:///etc"), "http:// or https://"),
        (("--dicomweb", "http://u:pw@x/dicom-web"), AUTH),
        (("--dicomweb", "http://x/y?token=1"), AUTH),
        (("--dicomweb", "http://x", "--dicomweb-dates", "2021"), "YYYYMMDD-YYYYMMDD"),
        (("--dicomweb", "http://x", "--dicomweb-patients", "*"), "without wildcards"),
        (("--dicomweb-patients", "P1"), "one of SRC and --dicomweb"),
        (("src", "--dicomweb-patients", "P1"), "need --dicomweb"),
        (("src", "--dicomweb", "http://x"), "one of SRC and --dicomweb"),
        ((), "one of SRC and --dicomweb"),
    ],
)
def test_wrong_requests_are_refused_before_anything_is_asked(words, sentence, tmp_path, capsys):
    assert run(*words, "--out", tmp_path / "out") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert sentence in told
    assert "pw" not in told
    assert not (tmp_path / "out").exists()


def test_the_order_of_folders_does_not_matter_to_a_cohort_of_dicom(clinic, tmp_path):
    """The law behind `same bytes`: names of folders and files are not looked at."""
    salt = tmp_path / "salt"
    salt.write_text("0123456789abcdef")
    draw, moved = np.random.default_rng(0), tmp_path / "moved"
    for patient in ("one", "two"):
        for number, path in enumerate(draw.permutation(sorted((clinic / patient).rglob("*")))):
            if path.is_file():
                (moved / patient).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, moved / patient / f"IM{number:04d}")
    for name, src in (("a", clinic), ("b", moved)):
        assert run(src, "--out", tmp_path / name, "--salt", salt) == 0
    assert files(tmp_path / "a") == files(tmp_path / "b")
