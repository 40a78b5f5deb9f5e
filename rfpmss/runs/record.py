"""What a run was started with, and whether a request, a cohort or a rank is another one.

The record is the run's ``config.yaml``; each checkpoint holds a copy. The studies behind the digest
of the cohort stand in ``cohort.json``, so that a change can be named.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rfpmss.common import strict
from rfpmss.common.errors import RfpmssError
from rfpmss.common.files import read_bytes
from rfpmss.common.yaml import YamlError, read_mapping
from rfpmss.config import Config
from rfpmss.data.cohort.fingerprint import Fingerprint
from rfpmss.data.cohort.manifest import TRUTH
from rfpmss.runs.stored import folders, step_of, verify, weights_of

FILE = "config.yaml"
STUDIES = "cohort.json"
LARGEST = 1 << 28
"""Bytes of a ``cohort.json``: a million studies."""

SOURCES = (
    "multisk",
    "rfpmss.commands.train",
    "rfpmss.common.device",
    "rfpmss.common.distributed",
    "rfpmss.common.precision",
    "rfpmss.config",
    "rfpmss.data.batches",
    "rfpmss.data.cohort.manifest",
    "rfpmss.data.cohort.places",
    "rfpmss.data.cohort.shards",
    "rfpmss.data.study",
    "rfpmss.loss",
    "rfpmss.model",
    "rfpmss.runs.checkpoint",
    "rfpmss.runs.content",
    "rfpmss.runs.stored",
    "rfpmss.training",
)
"""Modules and packages whose sources decide what a step of training makes."""

APART = (
    # what a command says, how it ends and how files are written
    "rfpmss.common",
    "rfpmss.train",
    "rfpmss.config.bounds",
    # what makes a cohort and knows it again: its digest is compared, not its makers
    "rfpmss.data",
    # who may write where, and what happens after training
    "rfpmss.evaluation",
    "rfpmss.runs",
)
"""What `rfpmss.train` imports besides, unless `SOURCES` names it more exactly."""

Record = dict[str, Any]
"""``manifest``, ``ranks``, ``start``, ``started_from``, ``published`` (digests of weights),
``cohort`` (its digest), ``truth`` (that of a generated one), ``code`` and ``config``."""

Start = dict[str, Any]
"""Of the run that another one started from: ``step``, ``weights`` (SHA-256) and ``cohort``."""


class RecordError(RfpmssError, ValueError):
    """A run has no readable record."""


def make(
    config: Config,
    manifest: Path,
    ranks: int = 1,
    start: Path | None = None,
    cohort: Fingerprint | None = None,
    started_from: Start | None = None,
    published: dict[str, str] | None = None,
) -> Record:
    """The record of a run that is started now."""
    return {
        "manifest": str(manifest.resolve()),
        "ranks": ranks,
        "start": str(start.resolve()) if start else None,
        "started_from": started_from,
        "published": published,
        "cohort": cohort.digest if cohort else None,
        "truth": cohort.truth if cohort else None,
        "code": code(),
        "config": config.model_dump(mode="json"),
    }


def start_of(start: Path, recorded: Start | None = None) -> Start | None:
    """What stands in the run that another one starts from.

    Args:
        start: its folder.
        recorded: what the other one started from, where it has begun: it is looked for first, and
            is the answer where the folder holds no checkpoint any more.
    """
    wanted = (recorded or {}).get("weights")
    there = [(path, digest) for path in folders(start) if (digest := _digest_of(path))]
    same = next((path for path, digest in there if digest == wanted), None)
    found = same or next((path for path, _ in there if verify(path) is None), None)
    if found is None:
        return recorded

    known = read(start) or {}
    return {"step": step_of(found), "weights": weights_of(found), "cohort": known.get("cohort")}


def _digest_of(folder: Path) -> str:
    try:
        return weights_of(folder)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


@cache
def code() -> dict[str, str]:
    """Release, a digest of the sources that training runs, and the version of torch."""
    import torch  # seconds: a supervisor and `rfpmss check` read records without it

    found = hashlib.sha256()
    for package in ("multisk", "rfpmss"):
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            name = path.relative_to(root.parent).with_suffix("").as_posix()
            if counts(name.replace("/", ".").removesuffix(".__init__")):
                found.update(f"{name}\0".encode())
                found.update(hashlib.sha256(read_bytes(path)).digest())

    return {
        "release": _release(),
        "sources": found.hexdigest()[:16],
        "torch": str(torch.__version__),
    }


def counts(module: str) -> bool | None:
    """Whether a module decides what training makes; None where that was never said.

    Example:
        >>> counts("rfpmss.model.block"), counts("rfpmss.runs.opened"), counts("rfpmss.view")
        (True, False, None)
    """
    parts = module.split(".")
    for length in range(len(parts), 0, -1):  # the most exact name decides
        name = ".".join(parts[:length])
        if name in SOURCES or name in APART:
            return name in SOURCES

    return None


def _release() -> str:
    try:
        return version("multisk")
    except PackageNotFoundError:
        return "unknown"


def read(run_dir: Path) -> Record | None:
    """The record of a run, of its newest good checkpoint where ``config.yaml`` is damaged.

    Returns:
        None if the folder holds no run.

    Raises:
        RecordError: if the record is damaged and no checkpoint holds another.
        OSError: if it cannot be read.
    """
    path = run_dir / FILE
    problem = ""
    if path.is_file():
        try:
            return checked(path)
        except RecordError as error:
            problem = str(error)

    for folder in folders(run_dir):
        if verify(folder) is None:
            found = checked(folder / FILE)
            sys.stderr.write(
                f"warning: {path} is {'damaged' if problem else 'missing'}; "
                f"the copy in {folder} is used\n"
            )
            return found

    if problem:
        raise RecordError(f"{problem}; no checkpoint holds a copy: choose another --run-dir")

    return None


def checked(path: Path) -> Record:
    """The record in a file.

    Raises:
        RecordError: if it holds none; the message is a clause.
    """
    try:
        found = read_mapping(path)
    except YamlError as error:
        raise RecordError(f"{path} {error}") from None

    if not isinstance(found.get("config"), dict) or not isinstance(found.get("manifest"), str):
        raise RecordError(f"{path} must hold manifest and config of a run")
    if not isinstance(found.get("started_from"), dict | None):
        raise RecordError(f"{path} must say of the run it started from step, weights and cohort")
    if not isinstance(found.get("published"), dict | None):
        raise RecordError(f"{path} must say of published weights their digests")

    return found


def studies_of(run_dir: Path, record: Record) -> Fingerprint | None:
    """The studies that the record's digest stands for; None where they are not known any more."""
    try:
        found = Fingerprint.loads(read_bytes(run_dir / STUDIES, LARGEST).decode("utf-8"))
    except (OSError, ValueError):
        return None
    return found if found.digest == record.get("cohort") else None


def differences(
    old: Record, new: Record, before: Fingerprint | None = None, now: Fingerprint | None = None
) -> list[str]:
    """What differs between the record of a run and a request, a line each.

    A field that a record lacks counts as having its default. More epochs are no other run.

    Args:
        old: record of the run.
        new: record of the request.
        before: the run's studies, where they are known.
        now: those of the request.
    """
    left, right = dict(leaves(old)), dict(leaves(new))
    defaults = {f"config.{name}": value for name, value in leaves(_defaults())}
    left, right = defaults | left, defaults | right
    moved = None not in (old.get("cohort"), new.get("cohort"))
    ignored = {"cohort", "truth"} | ({"manifest"} if moved else set())
    if None not in (left.get("started_from.weights"), right.get("started_from.weights")):
        ignored.add("start")  # the weights are compared, wherever they lie

    lines = cohort_lines(old, new, before, now)
    for name in sorted(left.keys() | right.keys()):
        known = name.startswith("config.") or name in left
        if name in ignored or not known or left.get(name) == right.get(name):
            continue
        if name == "config.train.epochs" and _grows(left.get(name), right.get(name)):
            continue
        lines.append(f"  {name}: {left.get(name)} there, {right.get(name)} requested")

    return lines


def cohort_lines(
    old: Record, new: Record, before: Fingerprint | None, now: Fingerprint | None
) -> list[str]:
    """How the cohort of a request differs from that of a run, a line each."""
    one, two = old.get("cohort"), new.get("cohort")
    if one is None or two is None:
        return []

    if one == two:
        other = "truth" in old and "truth" in new and old["truth"] != new["truth"]
        return [f"  cohort: its {TRUTH}, which says what counts as found, changed"] if other else []

    named = before.changes(now) if before is not None and now is not None else []
    return [f"  cohort: {line}" for line in named] or [f"  cohort: {one} there, {two} requested"]


def code_lines(old: Record, new: Record) -> list[str]:
    """How the code of a request differs from that of a run, a line each."""
    left, right = (dict(leaves({"code": each.get("code") or {}})) for each in (old, new))
    return [
        f"  {name}: {left[name]} there, {right.get(name)} requested"
        for name in sorted(left)
        if left[name] != right.get(name)
    ]


def trained_on(run_dir: Path, known: Record, now: Fingerprint) -> str:
    """Why held-out studies of a cohort may not be scored by a run; empty where they may.

    Args:
        run_dir: the run folder.
        known: its record.
        now: the studies of the cohort.
    """
    problems = (_trained_on(folder, each, now) for folder, each in _line(run_dir, known))
    return next(filter(None, problems), "")


def _line(run_dir: Path, known: Record) -> Iterator[tuple[Path, Record | None]]:
    """A run, the run whose weights it started from, and so on; each with its record."""
    seen: set[Path] = set()
    here, each = run_dir, known
    while here not in seen:
        yield here, each
        seen.add(here)
        if not each or not isinstance(each.get("start"), str):
            return
        here, said = Path(each["start"]), each.get("started_from")
        each = read(here)
        if each and isinstance(said, dict) and each.get("cohort") != said.get("cohort"):
            each = None  # another run stands there now


def _trained_on(run_dir: Path, known: Record | None, now: Fingerprint) -> str:
    if known is not None and known.get("cohort") in (None, now.digest):
        return ""

    before = studies_of(run_dir, known) if known else None
    if before is None:
        return (
            f"held-out studies must not have been trained on, which cannot be known: "
            f"{run_dir / STUDIES} is missing, damaged or of another run; put it back"
        )

    seen = [name for split in ("val", "test") for name in before.trained(now, split)]
    if not seen:
        return ""

    return (
        f"held-out studies must not have been trained on, got {len(seen)} in --data that are "
        f"training studies of {run_dir}, or of the same patients: {', '.join(seen[:5])}; give them "
        f"the split train"
    )


def disagreements(records: Sequence[Record]) -> list[str]:
    """What ranks were started with and differs from rank 0, a line each."""
    first = dict(leaves(records[0]))
    lines = []
    for rank, record in enumerate(records[1:], start=1):
        own = dict(leaves(record))
        lines += [
            f"  {name}: {first.get(name)} on rank 0, {own.get(name)} on rank {rank}"
            for name in sorted(first.keys() | own.keys())
            if first.get(name) != own.get(name)
        ]

    return lines


def leaves(tree: dict, prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted names and values of nested mappings."""
    found = []
    for name, value in tree.items():
        if isinstance(value, dict):
            found += leaves(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))

    return found


def loads(text: str) -> Record:
    """A record that `dumps` made."""
    return strict.loads(text)


def dumps(record: Record) -> str:
    """A record as JSON."""
    return json.dumps(record, sort_keys=True)


def _grows(old: object, new: object) -> bool:
    return strict.whole(old) and strict.whole(new) and new >= old


@cache
def _defaults() -> dict[str, Any]:
    return Config().model_dump(mode="json")
