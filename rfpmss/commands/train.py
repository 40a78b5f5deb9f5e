"""What ``rfpmss train`` does: build, loop, save, evaluate. Read this first."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rfpmss import evaluation
from rfpmss.common.device import require as device_of
from rfpmss.common.distributed import PeerError, job
from rfpmss.common.errors import RfpmssError
from rfpmss.common.files import sentence
from rfpmss.common.ranks import local
from rfpmss.config.arguments import TrainArguments
from rfpmss.data.batches.batch import Cohort
from rfpmss.data.batches.tokens import cut, take_words, train_tokenizer
from rfpmss.data.phantom import ensure_cohort
from rfpmss.evaluation.structure.learned import learned
from rfpmss.model.stored.published import digests
from rfpmss.model.stored.tower import SIZES, TowerError, read_tower
from rfpmss.runs import checkpoint, record
from rfpmss.runs.checkpoint import load
from rfpmss.runs.folder import (
    Bystander,
    Claim,
    Run,
    RunError,
    begin_again,
    manifest_given,
    read_metrics,
    refuse_another,
)
from rfpmss.runs.opened import open_run, origin_of
from rfpmss.runs.stored import sha256
from rfpmss.training import parallel
from rfpmss.training.arithmetic import arithmetic
from rfpmss.training.build import build, parts
from rfpmss.training.loop import Job, loop
from rfpmss.training.schedule import Schedule

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.common.distributed import Peers
    from rfpmss.config import Config
    from rfpmss.runs.record import Start

LOOK_FIRST = 10.0
"""Seconds that ranks wait longer than their supervisor, who sees which one hangs."""


def run(arguments: TrainArguments) -> int:
    """Train and evaluate as the only process that writes into the run folder."""
    if arguments.data is not None:
        manifest_given(arguments.data)

    arguments = _sized(arguments)
    with Claim(arguments.folder, supervised=arguments.supervised) as claim:
        try:
            with job(arguments.timeout + (LOOK_FIRST if arguments.supervised else 0.0)) as peers:
                status = train(arguments, peers, claim)
            wanted = arguments.evaluate and claim.held and not status
            return evaluate(arguments) if wanted else status
        except PeerError:
            raise
        except (RfpmssError, OSError) as error:
            if claim.held:  # a folder that was moved away breaks whatever reads or writes it
                claim.require()
            claim.note(error)
            raise


def train(arguments: TrainArguments, peers: Peers, claim: Claim) -> int:
    """Pretrain as asked; return 0, or 128 + the number of the signal that stopped it."""
    config, folder = arguments.config, arguments.folder
    torch.set_num_threads(config.train.threads)
    peers.first(claim.take)
    manifest = manifest_given(arguments.data) if arguments.data else _phantom(config)
    one = not local()  # of a machine, whose ranks share its disk
    cohort = Cohort.open(manifest, config.data, verified=one)
    schedule = Schedule.of(config.train, config.seed, cohort.indices("train"), peers.size)
    _agree(arguments, manifest, cohort, peers)
    done = peers.first(lambda: _done(arguments, manifest, cohort, peers))

    found = _stored(folder, done, peers)
    start = checkpoint.newest(arguments.start) if arguments.start and not found else None
    if source := found or start:
        tokenizer = checkpoint.read_tokenizer(source)
    else:
        tokenizer = _words(config, cohort, peers)

    torch.manual_seed(config.seed)
    device = _device(arguments.device)
    studies = len(schedule.studies)
    state, spine = build(config, tokenizer, studies, device, peers, start, fresh=not found)
    steps = arguments.max_steps or schedule.steps

    if found:
        checkpoint.resume(found, state, config, cohort.fingerprint.digest)

    own = arithmetic(device)
    if not peers.rank:
        print(parts(spine.model))
        print(cohort.told("train"))
        print(cut(tokenizer, cohort.reports("train"), config.data.tokens).sentence)
        if lacking := cohort.unscored():
            print(f"note: {lacking}", file=sys.stderr)
        print(f"resuming {folder} after step {done} of {steps}" if found else f"run: {folder}")
        if found and done < steps:
            _note_arithmetic(found, own)
        if done > steps:
            print(
                f"note: {folder} has done {done} steps already, more than the {steps} that are "
                f"asked for: nothing is trained; its weights are those of step {done}",
                file=sys.stderr,
            )

    split = peers.size > 1 and config.train.parallel == "replicate"
    net = parallel.replicate(spine, peers) if split else spine
    run = Bystander() if peers.rank else _run(arguments, manifest, cohort, peers, claim, found)
    job = Job(config, cohort, schedule, peers, folder, run, arguments.workers, own)
    with run.writing(done, arguments.track):
        return loop(range(done, steps), job, state, spine, net)


def evaluate(arguments: TrainArguments) -> int:
    """Score what a run has saved on the held-out patients and write its page."""
    folder, device = arguments.folder, _device(arguments.device)
    opened = open_run(folder, None, device)
    rest = opened.cohort, opened.tokenizer, opened.config
    if opened.config.train.ema:
        average = load(folder, device, "averaged")
        origin = origin_of(average, opened.cohort)
        evaluation.run(average.model, *rest, folder, name="retrieval_averaged", origin=origin)

    rows = evaluation.run(opened.model, *rest, folder, origin=opened.origin)
    page = evaluation.page(folder, opened.model, *rest, origin=opened.origin)
    evaluation.print_table(rows)

    if opened.config.loss.consistency and (end := learned(read_metrics(folder / "metrics.jsonl"))):
        print(end.sentence)

    print(f"page: {page.resolve()}")
    return 0


def _sized(arguments: TrainArguments) -> TrainArguments:
    """The arguments with the sizes of the text encoder that is named.

    A run that has begun has the sizes in its record, and goes on where the folder is gone.

    Raises:
        RunError: if the folder holds no such model.
    """
    config = arguments.config
    if config.model.text is None:
        return arguments

    known = record.read(arguments.folder)
    began = known["config"]["model"] if known else {}
    if not Path(config.model.text).is_dir() and began.get("text") == config.model.text:
        sizes = {name: began[name] for name in SIZES}
    else:
        try:
            sizes = read_tower(config.model.text).sizes
        except TowerError as error:
            raise RunError(str(error)) from None

    model = config.model.model_copy(update=sizes)
    return replace(arguments, config=config.model_copy(update={"model": model}))


def _words(config: Config, cohort: Cohort, peers: Peers) -> Tokenizer:
    """The words of a new run: those of its text encoder, or learned from the reports."""
    reports, most = cohort.reports("train"), config.data.vocabulary
    if config.model.text is None:
        return train_tokenizer(reports, most)

    tower = read_tower(config.model.text)
    made = take_words(tower.words, reports, most, cased=tower.cased)
    if not peers.rank:
        print(
            f"words: {made.get_vocab_size():,} of the {len(tower.words):,} of "
            f"{config.model.text} (data.vocabulary={most:,})"
        )
    return made


def _phantom(config: Config) -> Path:
    """The generated cohort of the preset."""
    try:
        return ensure_cohort(config.phantom)
    except OSError as error:
        raise RunError(
            f"the phantom cohort could not be written: {sentence(error)}; or set XDG_CACHE_HOME to "
            f"another folder, or pass --data"
        ) from None


def _agree(arguments: TrainArguments, manifest: Path, cohort: Cohort, peers: Peers) -> None:
    """Refuse to train when a rank was started with another configuration, cohort or code."""
    own = record.make(arguments.config, manifest, peers.size, None, cohort.fingerprint)
    own["published"] = digests(arguments.config.model)
    del own["manifest"]  # machines may keep the cohort in different places
    # What a run may change and its ranks may not: no part of its record.
    own["max_steps"] = arguments.max_steps
    own["start"] = arguments.start is not None
    said = [record.loads(text) for text in peers.texts(record.dumps(own))]
    if lines := record.disagreements(said):
        raise RunError(
            "all ranks must be started with the same configuration, cohort and code, got\n"
            + "\n".join(lines)
        )


def _done(arguments: TrainArguments, manifest: Path, cohort: Cohort, peers: Peers) -> int:
    """The step to go on after; nothing is written before the request is known to fit."""
    folder = arguments.folder
    found = checkpoint.latest(folder)
    asked = (
        *(arguments.config, manifest, peers.size, arguments.start, cohort.fingerprint),
        _started_from(arguments, found),
        digests(arguments.config.model, _recorded(found, "published")),
    )
    known = [record.read(folder), found and record.checked(found / record.FILE)]
    for stored in known if not arguments.allow_config_change else ():
        if stored:
            refuse_another(folder, stored, record.make(*asked), cohort.fingerprint)

    if found and known[0] and known[0].get("cohort") is None:
        print(
            f"note: {folder} was started before runs knew their cohort; whether it is the same "
            f"cannot be checked",
            file=sys.stderr,
        )

    if not found:
        _refuse_start(arguments, cohort)
        begin_again(folder, arguments.config.train.save_every)

    return checkpoint.step_of(found) if found else 0


def _refuse_start(arguments: TrainArguments, cohort: Cohort) -> None:
    """Refuse weights that were trained on studies which this cohort holds out."""
    start = arguments.start
    known = record.read(start) if start else None
    if not start or not known:
        return

    if problem := record.trained_on(start, known, cohort.fingerprint):
        if not arguments.allow_config_change:
            raise RunError(f"{problem}, or pass --allow-config-change to go on with it")
        print(f"warning: {problem}; scores of these studies are not held-out", file=sys.stderr)


def _stored(folder: Path, done: int, peers: Peers) -> Path | None:
    """The checkpoint to go on from, which rank 0 has verified, on every rank.

    Raises:
        RunError: on all ranks, if one has none of that step, or one of another content.
    """
    if not done:
        return None

    there = [path for path in checkpoint.folders(folder) if checkpoint.step_of(path) == done]
    if len(there) > 1:
        there = [path for path in there if checkpoint.verify(path) is None]

    said = peers.texts(sha256(there[0] / checkpoint.MANIFEST) if there else "")
    if "" in said:
        raise RunError(
            f"run_dir must hold the checkpoint of step {done} on every machine, got {folder} "
            f"without it on rank {said.index('')}"
        )
    if len(set(said)) > 1:
        raise RunError(
            f"run_dir must hold the same checkpoint on every machine, got files of different "
            f"content under {there[0]}; copy the run folder of one machine to all others"
        )

    return there[0]


def _run(
    arguments: TrainArguments,
    manifest: Path,
    cohort: Cohort,
    peers: Peers,
    claim: Claim,
    found: Path | None,
) -> Run:
    """The run folder, with the record of what has been found to fit."""
    return Run(
        arguments.folder,
        arguments.config,
        manifest,
        ranks=peers.size,
        start=arguments.start,
        allow_change=True,
        cohort=cohort.fingerprint,
        claim=claim,
        started_from=_recorded(found, "started_from") if found else _started_from(arguments, None),
        published=_recorded(found, "published") if found else digests(arguments.config.model),
    )


def _recorded(found: Path | None, name: str) -> dict[str, Any] | None:
    """What a run that goes on once started from, whatever stands there now."""
    return record.checked(found / record.FILE).get(name) if found else None


def _started_from(arguments: TrainArguments, found: Path | None) -> Start | None:
    """What stands in --start: the weights that a checkpoint once came from, if they are there."""
    if arguments.start is None:
        return None
    return record.start_of(arguments.start, _recorded(found, "started_from"))


def _note_arithmetic(found: Path, own: dict[str, str]) -> None:
    """Say where a run goes on with other arithmetic than that of its checkpoint."""
    before = checkpoint.arithmetic_of(found)
    odd = [name for name in own if name in before and before[name] != own[name]]
    if odd:
        told = ", ".join(f"{name} {before[name]} there, {own[name]} here" for name in odd)
        print(
            f"note: the run goes on from the weights of {found}, but is not equal to one that was "
            f"never stopped to the bit: {told}",
            file=sys.stderr,
        )


def _device(asked: str | None) -> str:
    device = device_of(asked or (f"cuda:{local()}" if torch.cuda.is_available() else "cpu"))
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    return device
