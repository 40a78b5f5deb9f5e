"""Files that appear whole or not at all, and errors of the disk as sentences."""

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

from rfpmss.common import files
from rfpmss.common.command import guarded
from rfpmss.common.errors import RfpmssError
from rfpmss.common.signals import SOON
from rfpmss.common.yaml import YamlError, read_mapping
from tests.data.odd import not_a_file


def test_a_file_is_the_old_one_until_it_is_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "name"
    files.write_text(path, "old")
    with suppress(ZeroDivisionError), files.whole(path) as file:
        file.write(b"half")
        assert path.read_text() == "old"
        raise ZeroDivisionError
    assert [p.name for p in path.parent.iterdir()] == ["name"]
    assert path.read_text() == "old"
    files.write_text(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize(("umask", "shared"), [(0o022, 0o644), (0o027, 0o640)])
def test_private_files_are_the_owners_and_others_follow_the_umask(
    tmp_path: Path, umask: int, shared: int
) -> None:
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "a", "")
        files.write_text(tmp_path / "b", "", private=True)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"]
    assert modes == [shared, 0o600]


KILLED = """
import os, signal
from pathlib import Path
from rfpmss.common import files
with files.{verb}(Path({path!r})) as opened:
    (opened / "weights").write_bytes(b"half") if {verb!r} == "whole_folder" else opened.write(b"h")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("verb", ["whole", "whole_folder"])
def test_what_a_killed_writer_left_is_removed_and_a_living_ones_is_not(
    tmp_path: Path, verb: str
) -> None:
    path = tmp_path / "out"
    code = KILLED.format(verb=verb, path=str(path))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    [left] = tmp_path.iterdir()
    assert left.name.startswith(".out.")
    with getattr(files, verb)(path):
        assert not left.exists()
        [living] = tmp_path.iterdir()
        files.clear_leftovers(path)
        assert living.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["Z*", "[ab]", "?", "X[1]", ".", "a\\d+", "{x}"])
@pytest.mark.parametrize("verb", ["whole", "whole_folder"])
def test_only_what_a_writer_of_this_very_name_left_is_removed(
    tmp_path: Path, verb: str, name: str
) -> None:
    path = tmp_path / f"out{name}"
    others = [".outZ.77.tmp", ".outa.7.tmp", ".outX1.7.tmp", ".out.7.tmp", ".outZ.any.tmp"]
    others += [f".{path.name}.notes.tmp", f".{path.name}.7.8.tmp", f".{path.name}.7.tmp.x"]
    for other in others:
        (tmp_path / other).write_text("somebody's")
    (tmp_path / f".{path.name}.99999999.tmp").write_text("half")
    with getattr(files, verb)(path):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, path.name])


FAULTS = [
    (errno.ENOSPC, 74, "bytes free; make room and start again"),
    (errno.EDQUOT, 74, "bytes free; make room and start again"),
    (errno.EIO, 74, "the disk fails"),
    (errno.EFBIG, 74, "ulimit -f"),
    (errno.EROFS, 1, "choose a folder that can be written"),
    (errno.EACCES, 1, "change its permissions"),
    (errno.ENAMETOOLONG, 1, "choose a shorter path"),
    (errno.ENOTDIR, 1, "a file stands where a folder is wanted"),
    (errno.ENOLCK, 1, "a disk that supports locks"),
    (errno.ESTALE, 1, "Stale file handle"),
]


def test_a_link_that_leads_nowhere_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "evaluation").symlink_to(tmp_path / "gone")
    with pytest.raises(FileExistsError) as caught:
        (tmp_path / "evaluation").mkdir(parents=True, exist_ok=True)
    assert "a link that leads nowhere stands there" in files.sentence(caught.value)


@pytest.mark.parametrize(("number", "status", "words"), FAULTS)
def test_an_error_of_the_disk_is_one_sentence_and_a_status(
    number: int, status: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> int:
        raise OSError(number, os.strerror(number))  # as a failed write: no file is named

    assert guarded(body, tmp_path / "run") == status
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {os.strerror(number)} ({tmp_path / 'run'})")
    assert words in line


def test_expected_errors_have_their_status_and_faults_of_ours_their_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Full(RfpmssError):
        status = 74

    def refuse() -> int:
        raise Full("so it is")

    assert guarded(refuse) == 74
    assert capsys.readouterr().err == "error: so it is\n"
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{c}: &{c} [{','.join([f'*{b}'] * 9)}]\n" for b, c in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BOMB.encode(), "aliases"),
        (b"a: " + b"[" * 5000, "nested so deeply"),
        (b"", "mapping"),
        (b"[1, 2]", "mapping"),
        (b"1: 2", "mapping"),
        (b"a: !!python/object/apply:os.system [true]", "must be YAML"),
        (b"a: \xff\xfe", "UTF-8"),
        (b"a: {", "must be YAML"),
        (b"a: !!timestamp abc", "must be YAML"),
        (b"a: !!timestamp 2026-01-01", "must be YAML"),
        (b"a: !!bool abc", "must be YAML"),
        (b"a: !!binary QQ==", "must be YAML"),
        (b"!!set {a, b}", "must be YAML"),
        (b"!!null {a: b}", "must"),
        (
            b"train:\n  lr: 1\n  batch: 2\n  lr: 3\n",
            "must name each key once, but 'lr' stands again in line 4",
        ),
        (b"{seed: 1, 'seed': 2}", "'seed' stands again in line 1"),
        (b"#" * (1 << 20) + b"##", "at most 1,048,576 bytes"),
    ],
)
def test_a_hostile_yaml_file_is_refused_with_a_reason(
    content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(YamlError, match=words):
        read_mapping(tmp_path / "c.yaml")


def test_a_date_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("a: 2026-99-99\nb: 2026-01-02\nc: 2026-01-02 10:11:12\n")
    assert list(read_mapping(tmp_path / "c.yaml").values()) == [
        "2026-99-99",
        "2026-01-02",
        "2026-01-02 10:11:12",
    ]


SHORTAGES = [
    MemoryError(),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    RuntimeError("can't start new thread"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB\nand more"),
    SystemError("<function f> returned NULL without setting an exception"),
]


@pytest.mark.parametrize("error", SHORTAGES)
def test_too_little_memory_is_one_sentence(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> int:
        raise error

    assert guarded(body) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: the machine must have memory and threads left")
    assert told.count("\n") == 1
    with pytest.raises(ImportError):  # a fault of ours keeps its traceback
        guarded(lambda: int(bool(import_module("no_such_module"))))


def test_a_limit_of_memory_is_one_sentence(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    code = START.format(root=str(root)) + (
        "import resource; from rfpmss.evaluate import main;"
        "resource.setrlimit(resource.RLIMIT_AS, (300_000_000, 300_000_000));"
        f"sys.exit(main(['--run-dir', {str(tmp_path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the machine must have memory and threads left")


def test_an_output_of_few_letters_shows_the_others_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "log").open("w", encoding="ascii") as log:
        monkeypatch.setattr("sys.stdout", log)
        assert guarded(lambda: sys.stdout.write("an Ödem in \udcff\n") and 0) == 0
    assert (tmp_path / "log").read_text() == "an \\xd6dem in \\udcff\n"


START = "import os, sys; os.chdir({root!r}); sys.argv = ['-m']; import rfpmss, signal, time;"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_in_one_line_while_it_is_loaded_and_while_it_works(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(Path(__file__).parents[2])
    code = START.format(root=root) + f"os.kill(os.getpid(), {int(number)}); time.sleep(9)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, cwd=root)
    assert done.returncode == 128 + number
    assert done.stderr == f"stopped by signal {int(number)}\n".encode()

    def body() -> int:
        os.kill(os.getpid(), number)
        return pytest.fail("it went on")

    before = signal.getsignal(number)
    assert guarded(body) == 128 + number
    assert capsys.readouterr().err == f"stopped by signal {int(number)}\n"
    assert signal.getsignal(number) == before


class Dying:
    """Is sent a signal while it is removed, where Python swallows what is raised."""

    def __init__(self, number: int, deaths: list[int]) -> None:
        self.number, self.deaths = number, deaths

    def __del__(self) -> None:
        self.deaths.append(self.number)
        os.kill(os.getpid(), self.number)
        time.sleep(0.001)


@pytest.mark.parametrize(("times", "soon"), [(1, SOON), (3, SOON), (3, 0.0)])
def test_a_signal_that_comes_in_a_destructor_ends_the_command(
    times: int,
    soon: float,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a busy machine what is sent again comes before the hook that sent it has ended."""
    monkeypatch.setattr("rfpmss.common.signals.SOON", soon)
    deaths: list[int] = []

    def body() -> int:
        for _ in range(times):
            Dying(signal.SIGTERM, deaths)
        time.sleep(9)
        return pytest.fail("it went on")

    assert guarded(body) == 128 + signal.SIGTERM
    assert deaths
    assert capsys.readouterr().err == f"stopped by signal {int(signal.SIGTERM)}\n"

    def short() -> int:
        Dying(signal.SIGTERM, deaths)
        return 0

    assert guarded(short) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == f"stopped by signal {int(signal.SIGTERM)}\n"


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
@pytest.mark.parametrize(
    "use", [files.opened, files.opened_text, files.appended, files.regular, files.read_text]
)
def test_what_is_no_file_is_not_opened(tmp_path: Path, kind: str, use) -> None:
    not_a_file(tmp_path / "x", kind)
    with pytest.raises(OSError, match=r"regular|No such device|directory"):
        use(tmp_path / "x")


def test_a_new_file_that_cannot_be_written_is_not_left_empty(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), files.new(tmp_path / "salt"):
        raise OSError(errno.ENOSPC, "full")
    assert not list(tmp_path.iterdir())
