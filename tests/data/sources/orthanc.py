"""A real Orthanc with its DICOMweb plugin, on loopback, for as long as a test needs it."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAM = shutil.which("Orthanc")
PLUGIN = next(Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so*"), None)
USER, PASSWORD = "reader", "s3cret-Pa55"


@dataclass(frozen=True)
class Orthanc:
    """A running server."""

    root: str
    url: str
    """Of its DICOMweb service."""

    def send(self, path: Path) -> None:
        """Store one file."""
        self.ask("POST", "/instances", path.read_bytes())

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """One request of Orthanc's own interface."""
        request = urllib.request.Request(self.root + path, body, method=method)
        request.add_header("Authorization", "Basic " + _secret())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()


def _secret() -> str:
    return b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@contextmanager
def orthanc(folder: Path) -> Iterator[Orthanc]:
    """Start it on a free port with everything below ``folder``; end it by its own process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "orthanc.json"
    settings = {
        **{"Name": "test", "HttpPort": port, "RemoteAccessAllowed": False},
        **{"DicomServerEnabled": False, "AuthenticationEnabled": True},
        **{"RegisteredUsers": {USER: PASSWORD}, "SynchronousCMove": True},
        **{"StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db")},
        **{"Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}},
    }
    configuration.write_text(json.dumps(settings))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([str(PROGRAM), str(configuration)], stdout=log, stderr=log)
    server = Orthanc(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}/dicom-web")
    try:
        for _ in range(300):
            try:
                server.ask("GET", "/system")
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)
