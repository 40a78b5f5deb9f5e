"""Processes that start warm: a parent imports the heavy packages once, then forks them.

Most of what a command costs in the suite is the seconds in which Python imports torch and the rest.
What `start` gives is a process of its own, with its number, folder, variables, outputs, signals and
exit status, and runs its words as its main program; Python modules that it starts are forked, too.
What was imported stays imported: variables that count at an import have no effect, the seed of
hashes is the parent's, and nobody proves that the imports work. So what a file tests starts cold
once, too.

Run as a script, this file is the parent.
"""

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import runpy
import selectors
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = (
    *("rfpmss.commands.train", "rfpmss.commands.evaluate", "rfpmss.commands.export", "tyro"),
    *("rfpmss.runs.supervisor", "rfpmss.training.parallel", "multisk._backends.numba.whole"),
    *("torch.distributed.run", "torch.utils.tensorboard", "tensorboard.compat.proto.event_pb2"),
    *("transformers.models.bert.modeling_bert", "sklearn.linear_model", "typeguard", "cffi"),
    *("multisk._backends.numba.batch", "torch.profiler", "einops._torch_specific"),
)
KERNELS = ("multisk", "multisk.kernels.newton", "torch.distributed", "torch._dynamo")
SIZE = 1 << 16  # bytes of a request at most: words and variables
PARENT: list[int] = []  # its number, once it runs
PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL


class Process:
    """A started process: what tests use of `subprocess.Popen`."""

    def __init__(self, words, status, outputs):
        self.args, self.returncode, self._status = words, None, status
        self.stdout, self.stderr = outputs
        self.pid = int(status.readline())

    def poll(self):
        """The exit status, negative after a signal; None while the process runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout=None):
        """Its exit status, at its end."""
        if self.returncode is None:
            if timeout is not None and not readable([self._status], timeout):
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self._status.readline())
            self._status.close()
        return self.returncode

    def communicate(self, timeout=600):
        """What it wrote into its pipes, at its end."""
        end, found = time.monotonic() + timeout, {}
        left = [pipe for pipe in (self.stdout, self.stderr) if pipe]
        while left:
            pipes = readable(left, end - time.monotonic())
            if not pipes:
                raise subprocess.TimeoutExpired(self.args, timeout)
            for pipe in pipes:
                piece = os.read(pipe.fileno(), SIZE)
                found[pipe] = found.get(pipe, b"") + piece
                if not piece:
                    left.remove(pipe)
        with self:
            self.wait(end - time.monotonic())
        return tuple(found[p].decode() if p else None for p in (self.stdout, self.stderr))

    def send_signal(self, number):
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pipe in (self.stdout, self.stderr):
            if pipe:
                pipe.close()
        self.wait()


def readable(files, timeout):
    """Those of some files that can be read, waiting for the first."""
    with selectors.DefaultSelector() as waiting:
        for file in files:
            waiting.register(file, selectors.EVENT_READ)
        return [key.fileobj for key, _ in waiting.select(max(0.0, timeout))]


def start(command, *, stdout=None, stderr=None, env=None, cwd=None, start_new_session=False):
    """Run a command of Python; its outputs are `PIPE`, of text, `DEVNULL`, or this process's.

    It starts cold where the system cannot wait for a process of another's.
    """
    if not hasattr(os, "pidfd_open"):
        options = {"env": env, "cwd": cwd, "start_new_session": start_new_session}
        return subprocess.Popen(command, stdout=stdout, stderr=stderr, text=True, **options)
    request = {
        "words": [str(word) for word in command],
        "env": dict(os.environ if env is None else env),
        "cwd": str(cwd or Path.cwd()),
        "session": start_new_session,
    }
    with contextlib.ExitStack() as given:
        outputs, files = zip(*map(output, (1, 2), (stdout, stderr), (given, given)), strict=True)
        read, status = os.pipe()
        given.callback(os.close, status)
        socket.send_fds(parent(), [json.dumps(request).encode()], [*files, status])
    return Process(command, open(read), outputs)  # noqa: SIM115 (until its end)


def output(number, wanted, given):
    """What is read of an output here, and what is written there."""
    if wanted is None:
        return None, number
    read, write = os.pipe() if wanted == PIPE else (None, os.open(os.devnull, os.O_WRONLY))
    given.callback(os.close, write)
    return read and open(read), write


def run(command, *, check=False, **options):
    """Run a command of Python to its end, its outputs caught."""
    process = start(command, stdout=PIPE, stderr=PIPE, **options)
    outputs = process.communicate()
    done = subprocess.CompletedProcess(command, process.returncode, *outputs)
    if check:
        done.check_returncode()
    return done


@functools.cache
def parent():
    """The connection to the parent of all, started at the first use; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    room = " " * SIZE  # for the words that its children show
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno()), room],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            stdout=DEVNULL,
        )
    PARENT.append(process.pid)
    atexit.register(process.wait)
    atexit.register(ours.close)  # before: what comes last is done first
    return ours


def used():
    """Processor seconds of the parent and of what it started, once that has ended."""
    fields = [Path(f"/proc/{n}/stat").read_text().rpartition(")")[2].split() for n in PARENT]
    return sum(int(ticks) for place in fields for ticks in place[11:15]) / os.sysconf("SC_CLK_TCK")


def heat():
    """Import what is heavy and load the compiled loops; no random number is drawn."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"  # a suite of its own, of multisk alone
    for name in KERNELS if interpreted else HEAVY:
        with contextlib.suppress(ImportError):  # multisk alone has fewer packages
            importlib.import_module(name)
    import torch

    import multisk  # only here, in the parent

    multisk.solve(torch.eye(8, 4), multisk.MultiAssignment(k=2), multisk.Newton())
    gc.collect()
    gc.freeze()  # what all share is walked by no child's collector of garbage


def serve(requests):
    """Fork a process for every request and tell how it ended, until nobody is left to ask."""
    children = {}
    with selectors.DefaultSelector() as waiting:
        waiting.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is requests:
                    text, files, _, _ = socket.recv_fds(requests, SIZE, 3)
                    if not text:
                        os._exit(0)
                    *outputs, status = files
                    child = os.fork()
                    if not child:
                        become(json.loads(text), outputs)
                    place = os.pidfd_open(child)
                    children[place] = child, status
                    waiting.register(place, selectors.EVENT_READ)
                    said = f"{child}\n"
                else:
                    outputs, (child, status) = [key.fd], children.pop(key.fd)
                    waiting.unregister(key.fd)
                    outputs += [status]
                    said = f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n"
                with contextlib.suppress(BrokenPipeError):
                    os.write(status, said.encode())
                for file in outputs:
                    os.close(file)


def become(request, outputs):
    """Make a forked process what was asked for, and end it."""
    if request["session"]:
        os.setsid()
    for number, file in enumerate(outputs, start=1):
        os.dup2(file, number)
    os.chdir(request["cwd"])
    subprocess.Popen.__init__ = forked
    program(request["words"], request["env"])


def forked(self, args, *rest, **options):
    """`subprocess.Popen.__init__` that forks this process where Python would run a module."""
    if args[0] == sys.executable and "-m" in args[1:3]:
        env = options.get("env")
        options["preexec_fn"] = lambda: program(args, dict(os.environ if env is None else env))
    cold(self, args, *rest, **options)


cold = subprocess.Popen.__init__


def program(command, env):
    """Run what Python would run in a process just forked, and end it."""
    os.closerange(3, 1024)
    os.environ.clear()
    os.environ.update(env)
    show([*command, *(f"{name}={env[name]}" for name in ("RANK",) if name in env)])
    status = 1
    try:
        execute([word for word in command[1:] if word != "-u"])
        status = 0
    except SystemExit as leave:
        status = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def execute(words):
    if words[0] == "-m":
        sys.path[0], sys.argv = str(Path.cwd()), words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.path[0], sys.argv = "", ["-c", *words[2:]]
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), vars(sys.modules["__main__"]))
    else:
        sys.path[0], sys.argv = str(Path(words[0]).parent), words
        runpy.run_path(words[0], run_name="__main__")


def show(words):
    """Put words in place of the parent's, for who looks for a process by them."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    first, last = int(fields[45]), int(fields[46])
    shown = "\0".join(words).encode()[: last - first - 1]
    ctypes.memset(first, 0, last - first)
    ctypes.memmove(first, shown, len(shown))


if __name__ == "__main__":
    heat()
    serve(socket.socket(fileno=int(sys.argv[1])))
