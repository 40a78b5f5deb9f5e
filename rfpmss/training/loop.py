"""The loop over optimisation steps: draw, step, log, save, leave."""

from __future__ import annotations

import math
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from rfpmss.common.progress import memory, progress
from rfpmss.data.batches.batch import Cohort
from rfpmss.model.stages import train_mode
from rfpmss.runs import checkpoint
from rfpmss.runs.folder import Bystander, Run
from rfpmss.runs.interrupt import Stop
from rfpmss.training.figures import NotFiniteError, figures, refuse_not_finite, refuse_score
from rfpmss.training.loading import ahead, timed
from rfpmss.training.schedule import Schedule
from rfpmss.training.validate import validate

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn
    from torch.optim.swa_utils import AveragedModel

    from rfpmss.common.distributed import Peers
    from rfpmss.config import Config
    from rfpmss.data.batches.batch import Batch
    from rfpmss.runs.content import State
    from rfpmss.training.parallel import Spine


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
    arithmetic: dict[str, str]
    """Who computes; checkpoints keep it."""


def loop(steps: range, job: Job, state: State, spine: Spine, net: nn.Module) -> int:
    """Take the steps, log and save; return 0, or 128 + the number of the signal that stopped it."""
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
    try:
        keep = job.config.train.keep
        checkpoint.save(job.folder, step + 1, state, keep, job.peers, score, job.arithmetic)
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
