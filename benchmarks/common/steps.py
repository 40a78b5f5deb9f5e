"""Training steps whose parts are timed one by one."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common import record

STUDIES = {"tiny": 64, "small": 160}
"""Patients generated for a case; a bank of the preset's size is filled beforehand."""
STEPS = {"tiny": 12, "small": 2}
"""Steps that are timed, after one that is not."""
PARTS = ("data wait", "encoders", "heads", "multisk", "losses", "bank", "backward", "optimiser")


@dataclass
class Clock:
    """Seconds of each part; what a part calls inside is taken off its own account.

    Processor time of the thread that steps, which other jobs on the machine distort least; waiting
    for data takes none and is timed by the wall clock.
    """

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    inside: list[float] = field(default_factory=list)

    @contextmanager
    def part(self, name: str, now: Callable[[], float] = time.thread_time) -> Iterator[None]:
        """Charge the body to ``name``."""
        self.inside.append(0.0)
        began = now()
        try:
            yield
        finally:
            taken = now() - began
            self.seconds[name] += taken - self.inside.pop()
            if self.inside:
                self.inside[-1] += taken

    def charge(self, name: str, work: Callable) -> Callable:
        """The same function, charged to ``name``."""

        def run(*args: Any, **options: Any) -> Any:
            with self.part(name):
                return work(*args, **options)

        return run


@dataclass
class Job:
    """A model, its bank and batches, ready to take steps."""

    config: Any
    model: Any
    bank: Any
    optimiser: Any
    draw: Callable[[int], Any]


def prepared(preset: str) -> Job:
    """The preset on its phantom cohort, with a full bank of random features."""
    import torch

    from rfpmss.config import PRESETS
    from rfpmss.data.batches.batch import Cohort
    from rfpmss.data.batches.tokens import train_tokenizer
    from rfpmss.data.phantom import ensure_cohort
    from rfpmss.model.rfpmss import RFPMSS
    from rfpmss.training.bank import Bank

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = PRESETS[preset]()
    phantom = config.phantom.model_copy(update={"train": STUDIES[preset], "test": 1})
    cohort = Cohort.open(ensure_cohort(phantom), config.data)
    tokenizer = train_tokenizer(cohort.reports("train"), config.data.vocabulary)
    model = RFPMSS(config.model, config.data, tokenizer.get_vocab_size()).train()
    bank = Bank(config.assignment.bank, config.model)
    fill(bank)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.train.lr, fused=True)
    chosen = cohort.indices("train")

    def draw(step: int) -> Any:
        order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(step))
        index = chosen[order[: config.train.batch].numpy()]
        return cohort.batch(index, tokenizer, augment=(0, step))

    return Job(config, model, bank, optimiser, draw)


def fill(bank: Any) -> None:
    """Random features in every row, as after many steps."""
    import torch

    bank.inputs.normal_()
    bank.joint.normal_().div_(bank.joint.norm(dim=-1, keepdim=True))
    bank.present.fill_(value=True)
    bank.filled.fill_(len(bank))
    torch.manual_seed(1)


def taken(job: Job, count: int, clock: Clock) -> list[dict[str, float]]:
    """Seconds of each part in ``count`` steps after a first; batches are drawn in a thread."""
    import torch

    from rfpmss.training import step as spine

    instrument(job.model, spine, clock)
    job.bank.push = clock.charge("bank", job.bank.push)
    rows = []
    with ThreadPoolExecutor(1) as loader:
        waiting = loader.submit(job.draw, 0)
        for number in range(count + 1):
            clock.seconds.clear()
            began = time.perf_counter()
            with clock.part("data wait", time.perf_counter):
                batch = waiting.result()
            waiting = loader.submit(job.draw, number + 1)
            with clock.part("losses"):
                losses = spine.step(job.model, job.bank, batch, job.config)
                total = losses.total(job.config.loss)
            with clock.part("backward"):
                job.optimiser.zero_grad(set_to_none=True)
                total.backward()
            with clock.part("optimiser"):
                torch.nn.utils.clip_grad_norm_(job.model.parameters(), 1.0)
                job.optimiser.step()
            rows.append({**clock.seconds, "wall": time.perf_counter() - began})
    return rows[1:]


def instrument(model: Any, spine: Any, clock: Clock) -> None:
    """Charge the network's parts and the assignment to the clock."""
    for name in ("image", "report"):
        part = getattr(model, name)
        part.forward = clock.charge("encoders", part.forward)
    for name in ("fuse", "decoder", "project", "anchors"):
        part = getattr(model, name)
        part.forward = clock.charge("heads", part.forward)
    spine.targets = clock.charge("multisk", spine.targets)


def published(scores: Any, rows: Any, config: Any, _peers: Any = None) -> Any:
    """The assignments one after the other, each on the full table of channels."""
    from benchmarks.peers.dense import as_published

    plan = scores.clone()
    for place, (problem, exist) in enumerate(zip(scores, rows, strict=True)):
        found = as_published(problem[exist], config.k, config.eps, config.damping, config.steps)
        plan[place, exist] = found
    return plan


def measure(preset: str, loop: str) -> dict[str, Any]:
    """Median seconds of each part, and what the steps add to the resident memory."""
    from rfpmss.loss import consistency

    job, clock = prepared(preset), Clock()
    if loop == "dense":
        consistency.assign = published
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = record.resident("VmRSS")
    rows = taken(job, STEPS[preset], clock)
    drawn = time.thread_time()
    job.draw(99)
    parts = {name: statistics.median(row.get(name, 0.0) for row in rows) for name in PARTS}
    return {
        "batch": job.config.train.batch,
        "bank": len(job.bank),
        "steps": len(rows),
        "step_s": sum(parts.values()),
        "wall_s": statistics.median(row["wall"] for row in rows),
        "drawing_s": time.thread_time() - drawn,
        **{f"{name.replace(' ', '_')}_s": value for name, value in parts.items()},
        "extra_mb": (record.resident("VmHWM") - before) / 1024,
    }
