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

from rfpmss.arguments import TrainArguments, parse

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn
    from torch.optim.swa_utils import AveragedModel

    from rfpmss.config import Config
    from rfpmss.content import State
    from rfpmss.data.batch import Batch, Cohort
    from rfpmss.distributed import Peers
    from rfpmss.parallel import Spine
    from rfpmss.run import Bystander, Run
    from rfpmss.schedule import Schedule

DISK = 74
"""Exit status when the disk takes no checkpoint (EX_IOERR)."""

LOOK_FIRST = 10.0
"""Seconds that ranks wait longer than their supervisor, who sees which one hangs."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = parse(TrainArguments, argv, prog="python -m rfpmss.train", about=__doc__)
    if arguments.supervised and "TORCHELASTIC_RUN_ID" not in os.environ:
        from rfpmss.supervisor import supervise

        return supervise(arguments, sys.argv[1:] if argv is None else argv)
    from rfpmss.checkpoint import CheckpointError, DiskError
    from rfpmss.data.errors import DataError
    from rfpmss.distributed import PeerError, job
    from rfpmss.figures import NotFiniteError
    from rfpmss.run import ERROR, RunError, replace_text
    from rfpmss.trackers import TrackerError

    first = os.environ.get("RANK", "0") == "0"
    try:
        with job(arguments.timeout + (LOOK_FIRST if arguments.supervised else 0.0)) as peers:
            status = train(arguments, peers)
        wanted = arguments.evaluate and first and not status
        return evaluate(arguments) if wanted else status
    except PeerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (CheckpointError, DataError, NotFiniteError, RunError, TrackerError) as error:
        if first:
            print(f"error: {error}", file=sys.stderr)
            replace_text(arguments.folder / ERROR, f"{error}\n")
        return DISK if isinstance(error, DiskError) else 1


def train(arguments: TrainArguments, peers: Peers) -> int:
    """Pretrain as asked; return 0, or 128 + the number of the signal that stopped it."""
    import torch

    from rfpmss import checkpoint, content, parallel
    from rfpmss.build import build, parts
    from rfpmss.data.batch import Cohort
    from rfpmss.data.phantom import ensure_cohort
    from rfpmss.data.report import train_tokenizer
    from rfpmss.schedule import Schedule

    config, folder = arguments.config, arguments.folder
    torch.set_num_threads(config.train.threads)
    manifest = arguments.data or ensure_cohort(config.phantom)
    cohort = Cohort.open(manifest, config.data)
    schedule = Schedule.of(config.train, config.seed, cohort.indices("train"), peers.size)
    run, done = _open(arguments, manifest, peers)

    found = checkpoint.at(folder, done) if done else None
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
        content.restore(found, state)
    if not peers.rank:
        print(parts(spine.model))
        print(cohort.told("train"))
        print(f"resuming {folder} after step {done} of {steps}" if found else f"run: {folder}")
    split = peers.size > 1 and config.train.parallel == "replicate"
    net = parallel.replicate(spine, peers) if split else spine
    job = Job(config, cohort, schedule, peers, folder, run, arguments.workers)
    with run.writing(done, arguments.track):
        return _loop(range(done, steps), job, state, spine, net)


def evaluate(arguments: TrainArguments) -> int:
    """Score what a run has saved on the held-out patients and write its page."""
    from rfpmss import evaluation
    from rfpmss.checkpoint import load_model
    from rfpmss.evaluation.opened import open_run

    folder, device = arguments.folder, _device(arguments.device)
    opened = open_run(folder, None, device)
    rest = opened.cohort, opened.tokenizer, opened.config
    if opened.config.train.ema:
        average, _, _ = load_model(folder, device, "averaged")
        evaluation.run(average, *rest, folder, name="retrieval_averaged")
    rows = evaluation.run(opened.model, *rest, folder)
    page = evaluation.page(folder, opened.model, *rest)
    evaluation.print_table(rows)
    print(f"page: {page.resolve()}")
    return 0


def _open(arguments: TrainArguments, manifest: Path, peers: Peers) -> tuple[Run | Bystander, int]:
    """The run folder and the step to go on after, on all ranks."""
    from rfpmss import checkpoint
    from rfpmss.run import Bystander, Run

    opened: list[Run] = []

    def open_folder() -> int:
        run = Run(
            arguments.folder,
            arguments.config,
            manifest,
            ranks=peers.size,
            start=arguments.start,
            allow_change=arguments.allow_config_change,
        )
        opened.append(run)
        found = checkpoint.latest(run.folder)
        return checkpoint.step_of(found) if found else 0

    done = peers.first(open_folder)
    return (opened[0] if opened else Bystander()), done


def _device(asked: str | None) -> str:
    import torch

    place = int(os.environ.get("LOCAL_RANK", "0"))
    device = asked or (f"cuda:{place}" if torch.cuda.is_available() else "cpu")
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

    from rfpmss import checkpoint
    from rfpmss.figures import figures, refuse_not_finite
    from rfpmss.interrupt import Stop
    from rfpmss.loading import ahead, timed
    from rfpmss.model.stages import train_mode
    from rfpmss.progress import memory, progress
    from rfpmss.validate import validate

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
            refuse_not_finite(row, (job.cohort.studies[i].study_id for i in schedule.chosen(step)))
            state.optimiser.step()
            _follow(state, spine)
            seconds = time.monotonic() - began
            row |= {"lr": schedule.rate(step), "seconds": seconds, "waited": waited}

            save = leave or step + 1 == steps.stop or not (step + 1) % settings.save_every
            if save:
                job.run.pause()
            score = validate(spine, job.cohort, state.tokenizer) if save and not leave else None
            row |= {"validation": score} if score is not None else {}
            job.run.log(row)
            rate = f"{schedule.batch / (seconds + waited):.0f}/s"
            advance(loss=f"{row['loss']:.3f}", studies=rate, memory=memory(device))
            if save:
                checkpoint.save(job.folder, step + 1, state, settings.keep, peers, score)
            if leave:
                return _leave(stop.signal, job, step + 1)
            job.run.beat()
    return 0


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
