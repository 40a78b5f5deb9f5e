"""Pretrain: parse, build, loop, save, evaluate. Read this first.

    python -m rfpmss.train                       the phantom cohort, preset tiny, one HTML page
    python -m rfpmss.train --data manifest.csv   your own prepared cohort
    python -m rfpmss.train --ranks 2 --max-restarts 3          two processes, started again if lost
    torchrun --nproc-per-node 2 -m rfpmss.train                the same under your own torchrun

Starting again with the same --run-dir resumes from the newest good checkpoint.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from rfpmss.common.command import guarded
from rfpmss.common.device import require as device_of
from rfpmss.common.files import sentence
from rfpmss.config.arguments import TrainArguments, parse, program
from rfpmss.data.cohort.manifest import manifest_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn
    from torch.optim.swa_utils import AveragedModel

    from rfpmss.common.distributed import Peers
    from rfpmss.config import Config
    from rfpmss.data.batches.batch import Batch, Cohort
    from rfpmss.runs.content import State
    from rfpmss.runs.folder import Bystander, Claim, Run
    from rfpmss.runs.record import Start
    from rfpmss.training.parallel import Spine
    from rfpmss.training.schedule import Schedule

LOOK_FIRST = 10.0
"""Seconds that ranks wait longer than their supervisor, who sees which one hangs."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = parse(TrainArguments, argv, prog=program("train"), about=__doc__)
    if arguments.supervised and "TORCHELASTIC_RUN_ID" not in os.environ:
        from rfpmss.runs.supervisor import supervise

        words = sys.argv[1:] if argv is None else argv
        return guarded(lambda: supervise(arguments, words), arguments.folder)
    speaks = os.environ.get("LOCAL_RANK", "0") == "0"  # one on each machine
    return guarded(
        lambda: _claimed(arguments),
        arguments.folder,
        shown=lambda error: speaks or getattr(error, "everywhere", False),
    )


def _claimed(arguments: TrainArguments) -> int:
    """Train and evaluate as the only process that writes into the run folder."""
    from rfpmss.common.distributed import PeerError, job
    from rfpmss.common.errors import RfpmssError
    from rfpmss.runs.folder import ArgumentError, Claim

    data = None if arguments.data is None else manifest_of(arguments.data)
    if data is not None and not data.is_file():
        raise ArgumentError(
            f"--data must be the manifest of a prepared cohort, or its folder, got {data}; write "
            f"one with `python -m rfpmss.prepare hospital SRC --out DIR`"
        )
    with Claim(arguments.folder) as claim:
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
    import torch

    from rfpmss.data.batches.batch import Cohort
    from rfpmss.data.batches.tokens import train_tokenizer
    from rfpmss.runs import checkpoint
    from rfpmss.runs.folder import Bystander
    from rfpmss.training import parallel
    from rfpmss.training.build import build, parts
    from rfpmss.training.schedule import Schedule

    config, folder = arguments.config, arguments.folder
    torch.set_num_threads(config.train.threads)
    peers.first(claim.take)
    manifest = manifest_of(arguments.data) if arguments.data else _phantom(config)
    one = os.environ.get("LOCAL_RANK", "0") == "0"  # of a machine, whose ranks share its disk
    cohort = Cohort.open(manifest, config.data, verified=one)
    schedule = Schedule.of(config.train, config.seed, cohort.indices("train"), peers.size)
    _agree(arguments, manifest, cohort, peers)
    done = peers.first(lambda: _done(arguments, manifest, cohort, peers))

    found = _stored(folder, done)
    start = checkpoint.newest(arguments.start) if arguments.start and not found else None
    if source := found or start:
        tokenizer = checkpoint.read_tokenizer(source)
    else:
        tokenizer = train_tokenizer(cohort.reports("train"), config.data.vocabulary)
    torch.manual_seed(config.seed)
    device = _device(arguments.device)
    studies = len(schedule.studies)
    state, spine = build(config, tokenizer, studies, device, peers, start, fresh=not found)
    steps = arguments.max_steps or schedule.steps
    if found:
        checkpoint.resume(found, state)
    if not peers.rank:
        print(parts(spine.model))
        print(cohort.told("train"))
        print(f"resuming {folder} after step {done} of {steps}" if found else f"run: {folder}")
        if done > steps:
            print(
                f"note: {folder} has done {done} steps already, more than the {steps} that are "
                f"asked for: nothing is trained; its weights are those of step {done}",
                file=sys.stderr,
            )
    split = peers.size > 1 and config.train.parallel == "replicate"
    net = parallel.replicate(spine, peers) if split else spine
    run = Bystander() if peers.rank else _run(arguments, manifest, cohort, peers, claim, found)
    job = Job(config, cohort, schedule, peers, folder, run, arguments.workers)
    with run.writing(done, arguments.track):
        return _loop(range(done, steps), job, state, spine, net)


def evaluate(arguments: TrainArguments) -> int:
    """Score what a run has saved on the held-out patients and write its page."""
    from rfpmss import evaluation
    from rfpmss.evaluation.structure.learned import learned
    from rfpmss.runs.checkpoint import load
    from rfpmss.runs.folder import read_metrics
    from rfpmss.runs.opened import open_run, origin_of

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


def _phantom(config: Config) -> Path:
    """The generated cohort of the preset."""
    from rfpmss.data.phantom import ensure_cohort
    from rfpmss.runs.folder import RunError

    try:
        return ensure_cohort(config.phantom)
    except OSError as error:
        raise RunError(
            f"the phantom cohort could not be written: {sentence(error)}; or set XDG_CACHE_HOME to "
            f"another folder, or pass --data"
        ) from None


def _agree(arguments: TrainArguments, manifest: Path, cohort: Cohort, peers: Peers) -> None:
    """Refuse to train when a rank was started with another configuration, cohort or code."""
    from rfpmss.runs import record
    from rfpmss.runs.folder import RunError

    own = record.make(arguments.config, manifest, peers.size, None, cohort.fingerprint)
    del own["manifest"]  # machines may keep the cohort in different places
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
    from rfpmss.runs import checkpoint, record
    from rfpmss.runs.folder import refuse_another

    folder = arguments.folder
    found = checkpoint.latest(folder)
    asked = (
        *(arguments.config, manifest, peers.size, arguments.start, cohort.fingerprint),
        _started_from(arguments, found),
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
    return checkpoint.step_of(found) if found else 0


def _refuse_start(arguments: TrainArguments, cohort: Cohort) -> None:
    """Refuse weights that were trained on studies which this cohort holds out."""
    from rfpmss.runs import record
    from rfpmss.runs.folder import RunError

    start = arguments.start
    known = record.read(start) if start else None
    if not start or not known:
        return
    if problem := record.trained_on(start, known, cohort.fingerprint):
        if not arguments.allow_config_change:
            raise RunError(f"{problem}, or pass --allow-config-change to go on with it")
        print(f"warning: {problem}; scores of these studies are not held-out", file=sys.stderr)


def _stored(folder: Path, done: int) -> Path | None:
    """The checkpoint to go on from, which rank 0 has verified, on every rank."""
    from rfpmss.runs import checkpoint
    from rfpmss.runs.folder import RunError

    there = [path for path in checkpoint.folders(folder) if checkpoint.step_of(path) == done]
    if len(there) > 1:
        there = [path for path in there if checkpoint.verify(path) is None]
    if done and not there:
        raise RunError(
            f"run_dir must hold the checkpoint of step {done} on every machine, got {folder} "
            f"without it"
        )
    return there[0] if done else None


def _run(
    arguments: TrainArguments,
    manifest: Path,
    cohort: Cohort,
    peers: Peers,
    claim: Claim,
    found: Path | None,
) -> Run:
    """The run folder, with the record of what has been found to fit."""
    from rfpmss.runs.folder import Run

    return Run(
        arguments.folder,
        arguments.config,
        manifest,
        ranks=peers.size,
        start=arguments.start,
        allow_change=True,
        cohort=cohort.fingerprint,
        claim=claim,
        started_from=_recorded(found) if found else _started_from(arguments, None),
    )


def _recorded(found: Path) -> Start | None:
    """What a run that goes on once started from, whatever stands there now."""
    from rfpmss.runs import record

    return record.checked(found / record.FILE).get("started_from")


def _started_from(arguments: TrainArguments, found: Path | None) -> Start | None:
    """What stands in --start: the weights that a checkpoint once came from, if they are there."""
    from rfpmss.runs import record

    if arguments.start is None:
        return None
    return record.start_of(arguments.start, _recorded(found) if found else None)


def _device(asked: str | None) -> str:
    import torch

    place = int(os.environ.get("LOCAL_RANK", "0"))
    device = device_of(asked or (f"cuda:{place}" if torch.cuda.is_available() else "cpu"))
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    return device


@dataclass(frozen=True)
class Job:
    """What stays the same from step to step."""

    config: Config
    cohort: Cohort
    schedule: Schedule
    peers: Peers
    folder: Path
    run: Run | Bystander
    """Writes into the folder on rank 0."""
    workers: int
    """Threads that draw batches."""


def _loop(steps: range, job: Job, state: State, spine: Spine, net: nn.Module) -> int:
    import torch

    from rfpmss.common.progress import memory, progress
    from rfpmss.model.stages import train_mode
    from rfpmss.runs.interrupt import Stop
    from rfpmss.training.figures import figures, refuse_not_finite, refuse_score
    from rfpmss.training.loading import ahead, timed
    from rfpmss.training.validate import validate

    settings, schedule, peers = job.config.train, job.schedule, job.peers
    parameters = [p for group in state.optimiser.param_groups for p in group["params"]]
    device = spine.bank.pointer.device

    def draw(step: int) -> Batch:
        augment = (job.config.seed, schedule.epoch(step))
        share = schedule.share(step, peers.rank, peers.size)
        return job.cohort.batch(share, state.tokenizer, augment=augment)

    train_mode(spine.model)
    peers.first(lambda: 0)  # all are ready: from here on they answer in time
    bar = progress("pretraining", steps.stop, steps.start, "steps", quiet=bool(peers.rank))
    with Stop() as stop, bar as advance:
        batches = timed(ahead(draw, steps, job.workers))
        for step, (batch, waited) in zip(steps, batches, strict=True):
            began = time.monotonic()
            torch.manual_seed(schedule.noise(step, peers.rank))
            for group in state.optimiser.param_groups:
                group["lr"] = schedule.rate(step) * group.get("rate", 1.0)
            total, losses = net(batch.to(device))
            state.optimiser.zero_grad(set_to_none=True)
            total.backward()
            norm = torch.nn.utils.clip_grad_norm_(parameters, settings.clip or math.inf)
            row, leave = figures(step + 1, total, losses, norm, stop.signal, peers)
            refuse_not_finite(row, _names(job, step))
            state.optimiser.step()
            _follow(state, spine)
            seconds = time.monotonic() - began
            row |= {"lr": schedule.rate(step), "seconds": seconds, "waited": waited}

            save = leave or step + 1 == steps.stop or not (step + 1) % settings.save_every
            if save:
                job.run.pause()
            score = validate(spine, job.cohort, state.tokenizer) if save and not leave else None
            row |= {"validation": score} if score is not None else {}
            refuse_score(step + 1, score)
            job.run.log(row)
            rate = f"{schedule.batch / (seconds + waited):.0f}/s"
            advance(loss=f"{row['loss']:.3f}", studies=rate, memory=memory(device))
            if save:
                _save(job, step, state, score)
            if leave:
                return _leave(stop.signal, job, step + 1)
            job.run.beat()
    return 0


def _names(job: Job, step: int) -> list[str]:
    """The studies of a step, as the cohort calls them."""
    return [job.cohort.studies[i].study_id for i in job.schedule.chosen(step)]


def _save(job: Job, step: int, state: State, score: float | None) -> None:
    from rfpmss.runs import checkpoint
    from rfpmss.training.figures import NotFiniteError

    try:
        keep = job.config.train.keep
        checkpoint.save(job.folder, step + 1, state, keep, job.peers, score)
    except checkpoint.UndefinedError as error:
        names = ", ".join(_names(job, step))
        raise NotFiniteError(f"{error}; studies of the last batch: {names}") from None


def _follow(state: State, spine: Spine) -> None:
    average = cast("AveragedModel | None", state.modules.get("average"))
    if average is not None:
        average.update_parameters(spine.model)


def _leave(number: int, job: Job, step: int) -> int:
    number = number or signal.SIGTERM  # another rank was asked
    if not job.peers.rank:
        print(
            f"stopped by signal {number} after step {step}, which is saved; "
            f"start again with --run-dir {job.folder} to resume"
        )
    return 128 + number


if __name__ == "__main__":
    sys.exit(main())
