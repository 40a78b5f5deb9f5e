"""Shared set-up: one thread, shapes checked, reproducible hypothesis, one cohort for all."""

import gc
import importlib.util
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
# A suite in the background is deaf to Ctrl-C, one under nohup to the end of its terminal; what its
# tests start would be deaf too.
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

from hypothesis import HealthCheck, settings  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402


def shaped() -> list[str]:
    """Modules whose signatures give shapes: those are what a check at run time adds to pyright's.

    A check of every call in modules without tensors, which read names and reports word by word,
    took half of their tests' time.
    """
    root = Path(__file__).parents[1]
    files = [file for name in ("multisk", "rfpmss") for file in (root / name).rglob("*.py")]
    return [
        ".".join(file.relative_to(root).with_suffix("").parts)
        for file in files
        if b"jaxtyping" in file.read_bytes()
    ]


if importlib.util.find_spec("beartype"):  # a GPU machine may lack it
    install_import_hook(shaped(), "beartype.beartype")

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=50,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("nightly", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# Files that take longest (tests/tables/seconds.csv, or for their waiting): first, so that no worker
# is left alone with one at the end.
LONG = (
    "parallel/test_ranks",
    "docs/test_notebooks",
    "runs/test_resume",
    "runs/test_trust",
    "solver/test_tracers",
    "benchmarks/test_gpu",
    "training/test_train",
    "commands/test_embed",
    "commands/test_export",
    "parallel/test_distributed",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, all others as they come."""
    turn = {name: at for at, name in enumerate(LONG)}
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        if not item.path.is_relative_to(here):  # the examples of a module
            return len(LONG)
        return turn.get(item.path.relative_to(here).with_suffix("").as_posix(), len(LONG))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What was imported stays: the collector of garbage need not walk it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def warm_workers() -> Iterator[None]:
    """Workers of a preparation are forked from a process that has imported what they need.

    They share no more with the test than spawned ones do. Commands that a test starts spawn theirs.
    """
    usual = multiprocessing.get_context
    multiprocessing.set_forkserver_preload(["rfpmss.data.cohort.build"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "multiprocessing.get_context",
            lambda method=None: usual("forkserver" if method == "spawn" else method),
        )
        yield


@pytest.fixture(scope="session")
def smoke_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of the phantom cohort of preset smoke: real files, generated once for all workers.

    Each worker has a copy: tests write beside the manifest.
    """
    from rfpmss.config import smoke
    from rfpmss.data.phantom import ensure_cohort

    folder = tmp_path_factory.mktemp("cohort")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return ensure_cohort(smoke().phantom, folder)
    made = ensure_cohort(smoke().phantom, tmp_path_factory.getbasetemp().parent / "cohort")
    return Path(shutil.copytree(made.parent, folder / made.parent.name)) / made.name


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line where the tests that need a GPU did not run."""
    import torch

    if not torch.cuda.is_available():
        line = "marked gpu: skipped, no CUDA device (`make gpu` runs them where there is one)"
        terminalreporter.write_line(line)
