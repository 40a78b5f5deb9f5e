"""A trained run opened for looking at: what every command after training starts with."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

from rfpmss.common.device import require
from rfpmss.common.errors import RfpmssError
from rfpmss.common.files import require_writable, sentence
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.cohort.manifest import manifest_of
from rfpmss.data.cohort.verify import fingerprint_of
from rfpmss.runs import checkpoint, record
from rfpmss.runs.checkpoint import CheckpointError, Loaded
from rfpmss.runs.folder import manifest_given, require_files
from rfpmss.runs.origin import Origin

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.config import Config
    from rfpmss.model.rfpmss import RFPMSS

SAME = ("config", "cohort", "truth")
"""Of what is recorded: what a checkpoint and the folder of its run must say alike."""

BESIDE = ("code", "ranks")
"""Of what else is recorded: how a checkpoint was made, which it alone knows."""

ELSEWHERE = "elsewhere"
"""Of a run folder: what was made of other cohorts, each with a folder of its own."""

ALLOW = "or pass --allow-config-change to go on with it"


class OpenError(CheckpointError):
    """A run cannot be looked at; the message is one sentence."""


@dataclass(frozen=True)
class Opened:
    """A run ready to be looked at."""

    model: RFPMSS
    cohort: Cohort
    tokenizer: Tokenizer
    config: Config
    manifest: Path = Path("manifest.csv")
    """Of the cohort."""
    origin: Origin | None = None
    """Which weights and which cohort these are."""
    place: Path = Path()
    """Where files go that are called alike for every cohort: the run folder, or for another cohort
    than the run's own a folder inside it."""


@runtime_checkable
class Asked(Protocol):
    """The arguments of a command that opens a run."""

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        ...

    @property
    def data(self) -> Path | None:
        """Manifest or folder of a cohort; None: that of the run."""
        ...

    @property
    def device(self) -> str:
        """Where the model computes."""
        ...

    @property
    def allow_config_change(self) -> bool:
        """Go on although cohort, configuration or release are not those of the run."""
        ...


def open_to_write(asked: Asked) -> Opened:
    """Open a run for a command that computes something of it and writes it into its folder.

    Raises:
        OpenError: as `open_run`.
        RunError: if a folder stands in place of a file.
        OSError: if the folder takes no file.
    """
    require_run(asked.run_dir)
    require_writable(asked.run_dir / "evaluation")
    require_files(asked.run_dir, asked.run_dir / "evaluation")
    allow = asked.allow_config_change
    opened = open_run(asked.run_dir, asked.data, asked.device, allow_change=allow)
    require_files(opened.place, opened.place / "evaluation")

    return opened


def open_run(
    run_dir: Path, data: Path | None, device: str, *, allow_change: bool = False
) -> Opened:
    """Model, cohort, tokenizer and configuration of a run.

    Args:
        run_dir: of rfpmss.train.
        data: manifest or folder of a prepared cohort; None: the one that the run was trained on.
        device: cpu, cuda, cuda:1, ...
        allow_change: go on although cohort, configuration or release are not those of the run.

    Raises:
        OpenError: if the folder, its checkpoints or the cohort cannot be read, or are others than
            those of the run.
    """
    try:
        return _open(run_dir, data, device, allow_change=allow_change)
    except OpenError:
        raise
    except RfpmssError as error:
        raise OpenError(str(error)) from None
    except OSError as error:
        raise OpenError(sentence(error, run_dir)) from None


def _open(run_dir: Path, data: Path | None, device: str, *, allow_change: bool) -> Opened:
    require_run(run_dir)
    require(device)
    loaded = checkpoint.load(run_dir, device)
    known = stored(run_dir, loaded, allow_change=allow_change)
    torch.set_num_threads(loaded.config.train.threads)
    manifest = manifest_given(data) if data else _own_manifest(run_dir, known)
    cohort = Cohort.open(manifest, loaded.config.data)
    if not allow_change:
        _refuse_cohort(run_dir, known, cohort, given=data is not None)

    origin = origin_of(loaded, cohort)
    own = data is None or known.get("cohort") == cohort.fingerprint.digest
    place = run_dir if own else elsewhere(run_dir, manifest, cohort)
    return Opened(loaded.model, cohort, loaded.tokenizer, loaded.config, manifest, origin, place)


def _own_manifest(run_dir: Path, known: record.Record) -> Path:
    """The manifest of a run's own cohort: where the run folder says, or else its checkpoint.

    A run that was told with ``train --data`` where its cohort lies now has that place in its
    folder, while its checkpoints keep the place of their time.

    Raises:
        OpenError: if there is none any more.
    """
    told = _told(run_dir).get("manifest")
    here, there = (
        manifest_of(Path(name)) for name in (told or known["manifest"], known["manifest"])
    )
    if here == there or not there.is_file():
        right = here
    else:
        right = here if _is_of(here, known) else there
        if right == there:
            why = "another cohort" if here.is_file() else "not there"
            sys.stderr.write(
                f"note: {run_dir / record.FILE} names the cohort {here}, which is {why}; the one "
                f"that the checkpoint names is taken, {there}\n"
            )

    if not right.is_file():
        raise OpenError(
            f"the cohort of {run_dir} must be where it was, got no file {right}; name with --data "
            f"where it is now"
        )
    return right


def _told(run_dir: Path) -> record.Record:
    """What stands in the run folder itself; empty where that cannot be read."""
    try:
        return record.checked(run_dir / record.FILE)
    except (RfpmssError, OSError):
        return {}


def _is_of(manifest: Path, known: record.Record) -> bool:
    """Whether a manifest is that of the cohort with which a checkpoint was made."""
    try:
        return fingerprint_of(manifest).digest == known.get("cohort")
    except (RfpmssError, OSError):
        return False


def elsewhere(run_dir: Path, manifest: Path, cohort: Cohort) -> Path:
    """The folder of what a run makes of a cohort that is not its own."""
    name = called(manifest)[:64]
    return run_dir / ELSEWHERE / f"{name}-{cohort.fingerprint.digest[:12]}"


def called(manifest: Path) -> str:
    """What a cohort is called in names of files: as its folder."""
    return manifest.resolve().parent.name or "data"


def origin_of(loaded: Loaded, cohort: Cohort) -> Origin:
    """What scores of a checkpoint on a cohort are of."""
    step = checkpoint.step_of(loaded.folder)
    return Origin(step, loaded.weights, cohort.fingerprint.digest)


def load_other(
    run_dir: Path, device: str, cohort: Cohort, name: str, *, allow_change: bool = False
) -> Loaded:
    """The weights of another run, to be compared on the held-out studies of a cohort.

    Args:
        run_dir: of rfpmss.train.
        device: cpu, cuda, cuda:1, ...
        cohort: what it is to be compared on.
        name: of the argument that names it.
        allow_change: take it although it was trained on these studies.

    Raises:
        OpenError: if the folder or its checkpoints cannot be read, or held-out studies of the
            cohort were trained on.
    """
    require_run(run_dir, name)
    try:
        loaded = checkpoint.load(run_dir, device)
        known = stored(run_dir, loaded, allow_change=allow_change)
        if allow_change:
            return loaded
        if known.get("cohort") is None:
            _note_unknown(run_dir)
        if problem := record.trained_on(run_dir, known, cohort.fingerprint):
            raise OpenError(f"{name}: {problem}, {ALLOW}")
    except OpenError:
        raise
    except RfpmssError as error:
        raise OpenError(f"{name}: {error}") from None
    except OSError as error:
        raise OpenError(f"{name}: {sentence(error, run_dir)}") from None

    return loaded


def _note_unknown(run_dir: Path) -> None:
    sys.stderr.write(
        f"note: {run_dir} was trained before runs knew their cohort; whether it is the same "
        f"cannot be checked\n"
    )


def require_run(run_dir: Path, name: str = "run_dir") -> None:
    """Refuse a folder that holds no run.

    Args:
        run_dir: the folder.
        name: of the argument that names it.

    Raises:
        OpenError: names the folder.
    """
    if not (run_dir / record.FILE).is_file() and not checkpoint.folders(run_dir):
        raise OpenError(f"{name} must be a run folder with a {record.FILE}, got {run_dir}")


def stored(run_dir: Path, loaded: Loaded, *, allow_change: bool) -> record.Record:
    """The record that a checkpoint was written with, if it is that of the run folder.

    Raises:
        OpenError: if configuration or cohort of the two differ, or the release is another one.
    """
    known = record.checked(loaded.folder / record.FILE)
    mine, code = record.read(run_dir), record.code()
    if mine is None or allow_change:
        return known

    before = record.studies_of(run_dir, mine)
    lines = record.differences(
        {name: known[name] for name in SAME if name in known},
        {name: mine[name] for name in SAME if name in mine},
        before,
    )
    if lines:
        raise OpenError(
            f"the newest checkpoint must belong to the run, got {loaded.folder} beside a "
            f"{record.FILE} with\n"
            + "\n".join(lines)
            + f"\ntrain on to the next checkpoint, {ALLOW}"
        )

    _note_contradictions(run_dir, loaded.folder, known, mine)
    trained = known.get("code") or code
    if trained.get("release") != code["release"]:
        raise OpenError(
            f"the run must be of release {code['release']}, got {run_dir} of "
            f"{trained.get('release')}; use that release, {ALLOW}"
        )

    if trained != code:
        sys.stderr.write(
            f"note: {run_dir} was trained with other sources or another torch "
            f"({trained.get('sources')}, {trained.get('torch')}) than this "
            f"({code['sources']}, {code['torch']})\n"
        )

    return known


def _note_contradictions(
    run_dir: Path, folder: Path, known: record.Record, mine: record.Record
) -> None:
    """Say where the run folder tells of its code and its ranks what its checkpoint does not."""
    one, two = (dict(record.leaves({n: r[n] for n in BESIDE if n in r})) for r in (known, mine))
    odd = [name for name in sorted(one.keys() | two.keys()) if one.get(name) != two.get(name)]
    if odd:
        told = ", ".join(f"{name} {two.get(name)} in place of {one.get(name)}" for name in odd)
        sys.stderr.write(
            f"note: {run_dir / record.FILE} does not say what {folder} says, which counts: {told}\n"
        )


def _refuse_cohort(run_dir: Path, known: record.Record, cohort: Cohort, *, given: bool) -> None:
    """Refuse a cohort that has changed since training, and one that was trained on."""
    before, now = record.studies_of(run_dir, known), cohort.fingerprint
    if known.get("cohort") is None:
        _note_unknown(run_dir)
        return

    if not given:
        lines = record.cohort_lines(known, {"cohort": now.digest, "truth": now.truth}, before, now)
        if lines:
            raise OpenError(
                f"the cohort must be the one that {run_dir} was trained on, got changes:\n"
                + "\n".join(lines)
                + f"\nname another cohort with --data, {ALLOW}"
            )

        return

    if problem := record.trained_on(run_dir, known, now):
        raise OpenError(f"{problem}, {ALLOW}")
