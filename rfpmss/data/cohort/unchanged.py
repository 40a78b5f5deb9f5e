"""Whether a cohort is that of the same files, options and program: then nothing is read again.

The rule is that of git: a file is the same if its path, size, time of modification, time of change
and inode are. The kernel sets the time of change with every write, also where a program sets the
time of modification back, so that a file that was changed in place is noticed on every file system
that keeps it (FAT does not). Where a file was changed less than two seconds before it was read, or
in the future, nothing is remembered. What is remembered is one salted digest, which names no file.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rfpmss.common.files import read_bytes, read_text, write_text

RECORD = ".unchanged.json"
RACY = 2_000_000_000
"""Nanoseconds: the coarsest clock of a file system in use."""


@dataclass(frozen=True)
class Stamp:
    """A source folder with everything that its cohort depends on."""

    digest: str
    settled: bool
    """No file is so new that it could change without a trace."""

    @classmethod
    def of(
        cls, root: Path, out: Path, salt: bytes, options: object, files: Sequence[Path] = ()
    ) -> Stamp:
        """Look at all files below ``root`` without opening one.

        Args:
            root: the source folder.
            out: the cohort; where it lies in ``root`` it is not looked at.
            salt: secret of the digest.
            options: everything else that the cohort depends on, as plain values.
            files: further files, by content.
        """
        began = time.time_ns()
        digest = hmac.new(salt, digestmod=hashlib.sha256)
        digest.update(json.dumps([str(root), str(out), options], default=str).encode())
        digest.update(_program().encode())

        for path in files:
            digest.update(hashlib.sha256(read_bytes(path)).digest())

        newest = 0
        for path in _everything(root, out):
            try:
                about = path.lstat()
            except OSError:  # gone since it was listed
                return cls("", settled=False)
            name = os.fsencode(path.relative_to(root))
            times = (about.st_mtime_ns, about.st_ctime_ns)
            digest.update(b"%b\0%r\n" % (name, (about.st_mode, about.st_size, about.st_ino, times)))
            newest = max(newest, about.st_ctime_ns)

        return cls(digest.hexdigest(), settled=newest < began - RACY)

    def holds(self, out: Path) -> bool:
        """Whether ``out`` is the cohort of this stamp, and nobody changed it."""
        try:
            found = json.loads(read_text(out / RECORD))
            return self.settled and found == {"digest": self.digest, "outputs": _outputs(out)}
        except (OSError, ValueError):
            return False

    def keep(self, out: Path) -> None:
        """Remember that ``out`` is the cohort of this stamp."""
        path = out / RECORD
        path.unlink(missing_ok=True)
        if not self.settled:
            return

        text = json.dumps({"digest": self.digest, "outputs": _outputs(out)})
        write_text(path, text, private=True)


def forget(out: Path) -> None:
    """Whatever is remembered of ``out`` is no longer true."""
    (out / RECORD).unlink(missing_ok=True)


def _everything(root: Path, out: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if here / name != out)
        yield from (here / name for name in sorted(names))
        yield from (here / name for name in folders)


def _outputs(out: Path) -> dict[str, list[int]]:
    """Size and times of every file of the cohort but the record itself and the lock."""
    result = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and not path.name.startswith((RECORD, ".lock")):
            about = path.stat()
            result[str(path.relative_to(out))] = [about.st_size, about.st_mtime_ns, about.st_ino]

    return result


def _program() -> str:
    """The code of this package and the versions of all others."""
    digest = hashlib.sha256(platform.python_version().encode())
    package = Path(__file__).parents[2]
    for path in sorted(package.rglob("*.py")):
        digest.update(read_bytes(path))

    installed = ((d.name, d.version) for d in importlib.metadata.distributions())
    digest.update(repr(sorted(installed)).encode())
    return digest.hexdigest()
