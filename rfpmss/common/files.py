"""Files and folders that appear whole or not at all, and what to say when a disk refuses."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

DISK = 74
"""Exit status when the disk takes no more (EX_IOERR)."""

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Errors of a disk that takes no more: full, over quota, file too large, broken."""

NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""Errors of a file system without locks."""

PRIVATE, SHARED = 0o600, 0o666
"""Modes of a new file before the umask takes its part."""


@contextmanager
def whole(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """Write a file that appears, synced to the disk, when the body has ended without an error.

    A reader sees the old file or the new one. What a killed writer left behind is removed. The
    folder is made.

    Args:
        path: the file.
        private: readable by its owner alone.

    Raises:
        OSError: with ``path`` as its file name where the system names none.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, f".{path.name}.*.tmp")
        number = os.open(
            temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, PRIVATE if private else SHARED
        )
        try:
            with os.fdopen(number, "w+b") as file:
                mark(file.fileno())
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)
    except OSError as error:
        if error.filename is not None and str(error.filename) != str(temporary):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write a text file whole or not at all; see `whole`."""
    with whole(path, private=private) as file:
        file.write(text.encode("utf-8"))


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill a folder that appears under ``path``, new or empty, when the body has ended.

    What killed writers of the same folder left behind is removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, f".{path.name}.*.tmp")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    remove(temporary)
    temporary.mkdir()
    number = os.open(temporary, os.O_RDONLY)
    try:
        mark(number)
        yield temporary
        for file in temporary.iterdir():
            sync(file)
        sync(temporary)
        if path.is_dir():
            path.rmdir()
        temporary.replace(path)
        sync(path.parent)
    finally:
        os.close(number)
        with suppress(OSError):
            remove(temporary)


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file; of a pipe or a device the reader would wait for ever.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        OSError: if it is none, has more, or cannot be read.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe waits, too
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.ENXIO, "Not a regular file", str(path))
    with os.fdopen(number, "rb") as file:
        if most is not None and os.fstat(number).st_size > most:
            raise OSError(errno.EFBIG, f"Larger than {most:,} bytes", str(path))
        return file.read()


def mark(number: int) -> None:
    """Mark an open temporary file or folder as being written, as long as this process lives."""
    with suppress(OSError):  # without locks nothing is ever taken for left behind
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sweep(folder: Path, pattern: str) -> None:
    """Remove temporary files and folders whose writer has died."""
    for path in folder.glob(pattern):
        with suppress(OSError):  # gone already, not ours, or being written
            number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(path)
            finally:
                os.close(number)


def remove(path: Path) -> None:
    """Remove a file, a folder with all it holds, or a link (never what it leads to)."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make a written file, or the names in a folder, survive a power cut."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders
            raise
    finally:
        os.close(number)


def require_writable(folder: Path) -> None:
    """Refuse a folder that takes no file, before anything is computed for it.

    Raises:
        OSError: what the system says.
    """
    probe = folder / f".probe.{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        probe.touch()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def status_of(error: OSError) -> int:
    """Exit status of a command that the error ends."""
    return DISK if error.errno in FULL else 1


def sentence(error: OSError, place: Path | None = None) -> str:
    """One sentence about an error of the file system, with the way out.

    Args:
        error: what the system raised.
        place: file or folder meant where the error names none.
    """
    path = Path(os.fsdecode(error.filename)) if error.filename is not None else place
    reason = error.strerror or str(error) or type(error).__name__
    where = f" ({path})" if path else ""
    if error.errno in FULL:
        return f"{reason}{where}{_free(path)}; make room and start again"
    return f"{reason}{where}{_WAYS.get(error.errno or 0, '')}"


_WAYS = {
    errno.EROFS: "; choose a folder that can be written",
    errno.EACCES: "; choose a folder that you may write, or change its permissions",
    errno.EPERM: "; choose a folder that you may write, or change its permissions",
    errno.ENOENT: "; check the path",
    errno.ENOTDIR: "; a file stands where a folder is wanted: choose another path",
    errno.EEXIST: "; a file stands where a folder is wanted: choose another path",
    errno.EISDIR: "; a folder stands where a file is wanted: choose another path",
    errno.ENAMETOOLONG: "; choose a shorter path",
    errno.ENXIO: "; remove it, or choose another path",
    errno.ELOOP: "; the links lead in a circle: choose another path",
} | dict.fromkeys(NO_LOCKS, "; choose a folder on a disk that supports locks")


def _free(path: Path | None) -> str:
    """Bytes that are free on the disk of a path, where that can be known."""
    for folder in (path, *path.parents) if path else ():
        with suppress(OSError):
            return f": {shutil.disk_usage(folder).free:,} bytes free"
    return ""
