"""Files and folders that appear whole or not at all, and what to say when a disk refuses."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

DISK = 74
"""Exit status when the disk takes no more (EX_IOERR)."""

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Errors of a disk that takes no more: full, over quota, file too large, broken."""

ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Those of them where less would have been written."""

PART = 4
"""A file that is read at once has at most this part of the memory; its content takes some more."""

NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""Errors of a file system without locks."""

PRIVATE, SHARED = 0o600, 0o666
"""Modes of a new file before the umask takes its part."""


@contextmanager
def whole(path: Path, *, private: bool = False, swept: bool = True) -> Iterator[BinaryIO]:
    """Write a file that appears, synced to the disk, when the body has ended without an error.

    A reader sees the old file or the new one. What a killed writer left behind is removed. The
    folder is made.

    Args:
        path: the file.
        private: readable by its owner alone.
        swept: remove what killed writers of it left behind.

    Raises:
        OSError: with ``path`` as its file name where the system names none.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if swept:
            clear_leftovers(path)
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


@contextmanager
def new(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """Write a file that must not exist yet; it is removed again if the body fails.

    Raises:
        OSError: with ``path`` as its file name; FileExistsError if there is one.
    """
    how = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    number = os.open(path, how, PRIVATE if private else SHARED)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


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
    clear_leftovers(path)
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
        _appear(temporary, path)
        sync(path.parent)
    finally:
        os.close(number)
        with suppress(OSError):
            remove(temporary)


def _appear(temporary: Path, path: Path) -> None:
    """Give a finished folder its name; raises OSError where another one has been filled there."""
    try:
        if path.is_dir():
            path.rmdir()
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def opened(path: Path) -> io.BufferedReader:
    """Open a regular file for reading; of a pipe or a device the reader would wait for ever.

    Every file is opened here or in `opened_text` and `appended`, or is asked for by `regular`.

    Raises:
        OSError: if it is none, or cannot be read.
    """
    return os.fdopen(descriptor(path), "rb")


def opened_text(
    path: Path, encoding: str = "utf-8", newline: str | None = None
) -> io.TextIOWrapper:
    """Open a regular text file for reading; see `opened`."""
    return io.TextIOWrapper(opened(path), encoding=encoding, newline=newline)


def appended(path: Path) -> io.BufferedWriter:
    """Open a regular file for writing at its end, a new one if there is none; see `opened`."""
    return os.fdopen(descriptor(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")


def fill(path: Path, content: str | bytes) -> None:
    """Write a file of a folder that nobody sees yet, as that of `whole_folder`; not synced."""
    with os.fdopen(descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


def regular(path: Path) -> Path:
    """The path, for a library that opens it by itself.

    Raises:
        OSError: if no regular file is there, or it cannot be read.
    """
    os.close(descriptor(path))
    return path


def descriptor(path: Path, how: int = os.O_RDONLY) -> int:
    """Open a regular file as the system does; see `opened`."""
    number = os.open(path, how | os.O_NONBLOCK, SHARED)  # opening a pipe waits, too
    mode = os.fstat(number).st_mode
    if stat.S_ISREG(mode):
        return number

    os.close(number)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))

    raise OSError(errno.ENXIO, "Not a regular file", str(path))


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file.

    Args:
        path: the file.
        most: bytes that it may have; by default a part of the machine's memory.

    Raises:
        OSError: if it is none, has more, or cannot be read.
    """
    with opened(path) as file:
        _require_size(file, path, most)
        return file.read()


def read_text(
    path: Path, encoding: str = "utf-8", errors: str = "strict", most: int | None = None
) -> str:
    """The text of a regular file, its line ends as one newline; see `read_bytes`."""
    with opened(path) as file:
        _require_size(file, path, most)
        with io.TextIOWrapper(file, encoding=encoding, errors=errors) as text:
            return text.read()


def _require_size(file: io.BufferedReader, path: Path, most: int | None) -> None:
    """Refuse a file, which may be a hole without an end, before memory is taken for it."""
    most = memory() // PART if most is None else most
    if os.fstat(file.fileno()).st_size > most:
        raise OSError(errno.EOVERFLOW, f"Larger than {most:,} bytes", str(path))


def memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def mark(number: int) -> None:
    """Mark an open temporary file or folder as being written, as long as this process lives."""
    with suppress(OSError):  # without locks nothing is ever taken for left behind
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)


def clear_leftovers(path: Path) -> None:
    """Remove temporary files and folders of ``path`` whose writer has died.

    Theirs are the names ``.NAME.NUMBER.tmp``, every letter of NAME meaning itself; other names are
    somebody else's.
    """
    ours = re.compile(rf"\.{re.escape(path.name)}\.[0-9]+\.tmp")
    for found in path.parent.iterdir():
        if ours.fullmatch(found.name):
            clear_dead(found)


def clear_dead(path: Path) -> None:
    """Remove a file or folder unless a living process is writing it."""
    with suppress(OSError):  # gone already, not ours, or being written
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
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
    """Refuse a folder that takes no file, before anything is computed for it; nothing stays.

    Raises:
        OSError: what the system says.
    """
    probe = folder / f".probe.{os.getpid()}"
    new = absent(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
        remove_empty(new)


def absent(folder: Path) -> list[Path]:
    """A folder and those above it that are not there yet, the deepest first."""
    return [path for path in (folder, *folder.parents) if not os.path.lexists(path)]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, the deepest first, that hold nothing."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def told(error: Exception, path: Path) -> OSError:
    """What a library that writes a file by itself said of the disk, as the system says it.

    safetensors writes ``I/O error: No space left on device (os error 28)``. What names no error of
    the system is told in the library's words, as number 0.
    """
    if found := re.search(r"os error ([0-9]+)", str(error)):
        return OSError(int(found[1]), os.strerror(int(found[1])), str(path))

    return OSError(0, (str(error).splitlines() or [type(error).__name__])[0], str(path))


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
    where = f" ({path})" if path and error.errno not in (errno.EMFILE, errno.ENFILE) else ""
    way = way_of(error.errno)
    if error.errno == errno.EEXIST and path and path.is_symlink() and not path.exists():
        way = "a link that leads nowhere stands there: remove it, or choose another path"
    if error.errno in FULL - _WAYS.keys():
        return f"{reason}{where}{_free(path)}; {way} and start again"

    return f"{reason}{where}; {way}" if way else f"{reason}{where}"


def way_of(number: int | None) -> str:
    """What to do about an error of the file system; empty where that is not known."""
    return _WAYS.get(number or 0, "make room" if number in FULL else "")


_WAYS = {
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), or choose another disk",
    errno.EIO: "the disk fails: make sure of what is on it, or choose another one",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a folder that you may write, or change its permissions",
    errno.EPERM: "choose a folder that you may write, or change its permissions",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a file stands where a folder is wanted: choose another path",
    errno.EEXIST: "a file stands where a folder is wanted: choose another path",
    errno.ENOTEMPTY: "another process has just filled that folder: choose another path",
    errno.EOVERFLOW: "that is no file of ours: remove it, or choose another path",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "end other programs: this machine has no more open files to give",
    errno.EISDIR: "a folder stands where a file is wanted: choose another path",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ENXIO: "remove it, or choose another path",
    errno.ELOOP: "the links lead in a circle: choose another path",
} | dict.fromkeys(NO_LOCKS, "choose a folder on a disk that supports locks")


def _free(path: Path | None) -> str:
    """Bytes that are free on the disk of a path, where that can be known."""
    for folder in (path, *path.parents) if path else ():
        with suppress(OSError):
            return f": {shutil.disk_usage(folder).free:,} bytes free"
    return ""
