"""Pretrain: parse, build, loop, save, evaluate. Read this first.

    python -m rfpmss.train                       the phantom cohort, preset tiny, one HTML page
    python -m rfpmss.train --data manifest.csv   your own prepared cohort

Starting again with the same --run-dir resumes from the newest good checkpoint.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rfpmss.arguments import TrainArguments, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch.optim.swa_utils import AveragedModel

    from rfpmss.bank import Bank
    from rfpmss.checkpoint import State
    from rfpmss.config import Config
    from rfpmss.data.batch import Batch, Cohort
    from rfpmss.model.rfpmss import RFPMSS
    from rfpmss.run import Run
    from rfpmss.schedule import Schedule


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = parse(TrainArguments, argv, prog="python -m rfpmss.train", about=__doc__)
    from rfpmss.checkpoint import CheckpointError
    from rfpmss.data.errors import DataError
    from rfpmss.run import RunError

    try:
        return train(arguments)
    except (CheckpointError, DataError, NotFiniteError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def train(arguments: TrainArguments) -> int:
    """Pretrain as asked; return 0, or 128 + the number of the signal that stopped it."""
    import torch

    from rfpmss import checkpoint, evaluation
    from rfpmss.build import build
    from rfpmss.data.batch import Cohort
    from rfpmss.data.phantom import ensure_cohort
    from rfpmss.data.report import train_tokenizer
    from rfpmss.run import Run, RunError
    from rfpmss.schedule import Schedule

    config = arguments.config
    torch.set_num_threads(config.train.threads)
    torch.manual_seed(config.seed)
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    manifest = arguments.data or ensure_cohort(config.phantom)
    folder = arguments.run_dir or Path("runs") / f"{config.preset}-{config.seed}"
    run = Run(folder, config, manifest, allow_change=arguments.allow_config_change)

    cohort = Cohort.open(manifest, config.data)
    if not len(cohort.indices("train")):
        raise RunError(f"data must hold studies with split 'train', got none in {manifest}")
    schedule = Schedule.of(config.train, config.seed, cohort.indices("train"))
    found = checkpoint.latest(folder)
    if found:
        tokenizer = checkpoint.read_tokenizer(found)
    else:
        tokenizer = train_tokenizer(cohort.reports("train"), config.data.vocabulary)
    state = build(config, tokenizer, len(schedule.studies), device, fresh=not found)

    steps = arguments.max_steps or schedule.steps
    done = 0
    if found:
        done = checkpoint.restore(found, state)
        print(f"resuming {folder} after step {done} of {steps}")
    run.rewind(done)
    status = _loop(range(done, steps), state, cohort, schedule, run, config)
    if status:
        return status

    model = cast("RFPMSS", state.modules["model"]).eval()
    if config.train.ema:
        average = cast("RFPMSS", state.modules["average"].module)
        evaluation.run(average, cohort, tokenizer, config, folder, name="retrieval_averaged")
    rows = evaluation.run(model, cohort, tokenizer, config, folder)
    page = evaluation.page(folder, model, cohort, tokenizer, config)
    evaluation.print_table(rows)
    print(f"page: {page.resolve()}")
    return 0


def _loop(
    steps: range, state: State, cohort: Cohort, schedule: Schedule, run: Run, config: Config
) -> int:
    import torch

    from rfpmss import checkpoint
    from rfpmss.progress import progress
    from rfpmss.step import step as losses_of

    model = cast("RFPMSS", state.modules["model"])
    bank, optimiser = cast("Bank", state.modules["bank"]), state.optimiser
    average = cast("AveragedModel | None", state.modules.get("average"))
    device = next(model.parameters()).device

    def draw(step: int) -> Batch:
        augment = (config.seed, schedule.epoch(step))
        return cohort.batch(schedule.chosen(step), state.tokenizer, augment=augment)

    stop = _Stop()
    model.train()
    with progress("pretraining", steps.stop, steps.start, "steps") as advance:
        for step, batch in zip(steps, _ahead(draw, steps), strict=True):
            began = time.monotonic()
            batch = batch.to(device)
            torch.manual_seed(schedule.noise(step))
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate(step)
            losses = losses_of(model, bank, batch, config)
            total = losses.total(config.loss)
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.train.clip or math.inf)
            row = {"step": step + 1, "loss": total.item(), "gradient": norm.item()}
            row |= {name: term.item() for name, term in vars(losses).items()}
            if not all(math.isfinite(value) for value in row.values()):
                names = ", ".join(cohort.studies[i].study_id for i in batch.index.tolist())
                raise NotFiniteError(
                    f"step {step + 1} must have finite losses and gradients, got {row}; the "
                    f"parameters were not touched; studies of the batch: {names}"
                )
            optimiser.step()
            if average is not None:
                average.update_parameters(model)
            row |= {"lr": schedule.rate(step), "seconds": time.monotonic() - began}
            run.log(row)
            advance(loss=f"{row['loss']:.3f}", speed=f"{schedule.batch / row['seconds']:.0f}/s")
            if stop.signal or (step + 1) % config.train.save_every == 0 or step + 1 == steps.stop:
                checkpoint.save(run.folder, step + 1, state, config.train.keep)
            if stop.signal:
                print(
                    f"stopped by signal {stop.signal} after step {step + 1}, which is saved; "
                    f"start again with --run-dir {run.folder} to resume"
                )
                return 128 + stop.signal
    return 0


def _ahead(draw: Callable[[int], Batch], steps: range) -> Iterator[Batch]:
    """Each step's batch, the next one being drawn in a thread meanwhile."""
    with ThreadPoolExecutor(1) as loader:
        waiting = None
        for step in steps:
            batch = waiting.result() if waiting else draw(step)
            waiting = loader.submit(draw, step + 1) if step + 1 in steps else None
            yield batch


class NotFiniteError(RuntimeError):
    """A loss or gradient was infinite or not a number."""


class _Stop:
    """Remembers SIGTERM or SIGINT until the step is done; a second one ends at once."""

    def __init__(self) -> None:
        self.signal = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: object) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number


if __name__ == "__main__":
    sys.exit(main())
