"""Memory, messages and time of a step on many GPUs, by formula: the tables of docs/scale.md.

    python -m benchmarks.gpu.scale            print the tables
    python -m benchmarks.gpu.scale --write    put them into docs/scale.md

Nothing here is measured. tests/parallel/test_scale.py checks `traffic` on two and four ranks.
"""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

from rfpmss.config import MODALITIES, VIEWS, Config, paper
from rfpmss.loss.contrast import PAPER_PAIRS

DOCUMENT = Path(__file__).parents[2] / "docs" / "scale.md"
FIGURES = Path(__file__).parents[1] / "results" / "training.csv"
FLOAT, DOUBLE = 4, 8
"""Bytes of a feature or gradient, and of the sums that an assignment exchanges."""
M, PROBLEMS = len(MODALITIES), len(MODALITIES) * (len(MODALITIES) + 1)


@dataclass(frozen=True)
class Machine:
    """What a GPU is taken to do; the data sheet of an H200 in nodes of eight."""

    tflops: float = 989.0
    mfu: float = 0.4
    memory_gb: float = 141.0
    inside_gbs: float = 450.0
    """GB/s that a GPU sends to others of its node."""
    between_gbs: float = 50.0
    """GB/s that a GPU sends to other nodes (400 Gbit/s each)."""
    node: int = 8
    hidden: float = 0.8
    """Share of the gradients' messages that travel while the backward pass computes."""

    def gbs(self, ranks: int) -> float:
        """The slowest link of a ring over ``ranks``."""
        return self.inside_gbs if ranks <= self.node else self.between_gbs


@dataclass(frozen=True)
class Traffic:
    """Bytes that one rank hands to its collectives in one step, by what they are for."""

    gathered: int
    """Features of Eq. 7-9 that every rank gets from all (all-gather, size of the result)."""
    returned: int
    """Their gradients on the way back (all-reduce)."""
    bank: int
    """Rows that every rank writes into its copy of the bank (all-gather)."""
    assignment: int
    """Sums of one visit to all rows: K + K^2 of Newton's method and K of a bound, 20 problems."""
    visits: int
    """Times an assignment looks at its rows."""
    gradients: int
    """All parameters that learn (all-reduce)."""

    def wire(self, ranks: int) -> float:
        """Bytes that a rank sends, in rings: (R-1)/R of a result, twice that for a sum."""
        once = self.gathered + self.bank
        twice = self.returned + self.assignment * self.visits + self.gradients
        return (once + 2 * twice) * (ranks - 1) / ranks


def traffic(config: Config, batch: int, ranks: int, parameters: int, visits: int = 8) -> Traffic:
    """The messages of a step in which every modality is present.

    Args:
        config: of the run.
        batch: studies of a rank.
        ranks: number of ranks.
        parameters: that learn, in float32.
        visits: to the rows by Newton's method, the first and the last included.
    """
    model, rows = config.model, batch * ranks
    readings = 1 if model.fusion != "none" else len(VIEWS)
    study = model.dim if model.fusion == "none" else len(VIEWS) * model.dim
    pairs = len(PAPER_PAIRS) if config.loss.pairs == "paper" else M * (M - 1) // 2
    one_way, both = readings * study, 2 * readings * study
    joint = 2 * pairs * model.joint_dim
    flags = readings + pairs
    back = both if config.loss.symmetric else one_way
    return Traffic(
        gathered=rows * ((both + joint) * FLOAT + flags),
        returned=rows * (back + joint) * FLOAT,
        bank=rows * M * ((model.token_dim + model.joint_dim) * FLOAT + 1),
        assignment=PROBLEMS * (model.anchors**2 + 2 * model.anchors) * DOUBLE,
        visits=visits,
        gradients=parameters * FLOAT,
    )


@dataclass(frozen=True)
class Step:
    """A step of the preset paper, predicted."""

    ranks: int
    batch: int
    compute_s: float
    exposed_s: float
    memory_gb: float

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return self.compute_s + self.exposed_s

    @property
    def studies(self) -> float:
        """Studies a second over all ranks."""
        return self.ranks * self.batch / self.seconds


def step(ranks: int, batch: int, machine: Machine, *, sharded: bool) -> Step:
    """Time and memory of one rank."""
    config, figures = paper(), predicted()
    number, reference = int(figures["parameters"]), int(figures["batch"])
    messages = traffic(config, batch, ranks, number)
    tflop = float(figures["tflop"]) * batch / reference
    wire = messages.wire(ranks) / 1e9 / machine.gbs(ranks)
    share = 2 * messages.gradients * (ranks - 1) / ranks / 1e9 / machine.gbs(ranks)
    if sharded:
        wire, share = wire + share / 2, 1.5 * share  # parameters gathered twice, sums scattered
    parts = ranks if sharded else 1
    bank = config.assignment.bank * M * (config.model.token_dim + config.model.joint_dim) * FLOAT
    activations = activation_bytes(figures) * batch / reference
    memory = (16 / parts + 2) * number + bank + activations + messages.gathered
    compute = tflop / machine.tflops / machine.mfu + optimiser_seconds(figures) / parts
    return Step(ranks, batch, compute, wire - machine.hidden * share, memory / 1e9)


def optimiser_seconds(figures: dict[str, str]) -> float:
    """What `benchmarks.training predict` counted beyond matrix products: Adam's memory traffic."""
    machine = Machine()
    return float(figures["step_s"]) - float(figures["tflop"]) / machine.tflops / machine.mfu


def activation_bytes(figures: dict[str, str]) -> float:
    """What `benchmarks.training predict` counted beyond parameters, moments and bank."""
    config, number = paper(), int(figures["parameters"])
    width = config.model.token_dim + config.model.joint_dim
    bank = config.assignment.bank * M * (width * FLOAT + 1)
    return float(figures["peak_mb"]) * 2**20 - 18 * number - bank


def predicted() -> dict[str, str]:
    """The row of benchmarks/results/training.csv that counted a step on shapes."""
    with FIGURES.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["provider"].startswith("predicted")]
    return rows[0]


def tables(machine: Machine) -> dict[str, str]:
    """The tables of docs/scale.md by the names of their marks."""
    return {
        "traffic": _traffic_table(),
        "memory": _memory_table(machine),
        "time": _time_table(machine),
        "size": _size_table(),
    }


RANKS, BATCH = (1, 8, 64, 512), 64
STUDIES = (10**4, 10**5, 10**6, 10**7)


def _traffic_table() -> str:
    number = int(predicted()["parameters"])
    lines = [
        "| GPUs | features out | features back | bank | 8 visits | gradients | sent by a GPU |"
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for ranks in RANKS[1:]:
        t = traffic(paper(), BATCH, ranks, number)
        cells = (t.gathered, t.returned, t.bank, t.assignment * t.visits, t.gradients)
        shown = " | ".join(_size(cell) for cell in (*cells, t.wire(ranks)))
        lines.append(f"| {ranks} | {shown} |")
    return "\n".join(lines)


def _memory_table(machine: Machine) -> str:
    lines = ["| GPUs | studies a GPU | every GPU holds all (DDP) | parameters shared out (FSDP2) |"]
    lines.append("|---|---|---|---|")
    for ranks in RANKS:
        for batch in (16, 64):
            whole, part = (step(ranks, batch, machine, sharded=s) for s in (False, True))
            lines.append(
                f"| {ranks} | {batch} | {whole.memory_gb:.1f} GB | {part.memory_gb:.1f} GB |"
            )
    return "\n".join(lines)


def _time_table(machine: Machine) -> str:
    lines = ["| GPUs | step, ms | of it waiting | studies/s |"]
    lines[0] += "".join(f" {_power(n)} studies |" for n in STUDIES)
    lines.append("|---|---|---|---|" + "---|" * len(STUDIES))
    epochs = paper().train.epochs
    for ranks in RANKS:
        one = step(ranks, BATCH, machine, sharded=False)
        hours = (epochs * n / one.studies / 3600 for n in STUDIES)
        lines.append(
            f"| {ranks} | {1e3 * one.seconds:.0f} | {one.exposed_s / one.seconds:.0%} | "
            f"{one.studies:,.0f} | " + " | ".join(_duration(h) for h in hours) + " |"
        )
    return "\n".join(lines)


def _size_table() -> str:
    data = paper().data
    study = (3 + 4 + 3) * data.resize**2 * data.slices + 1000
    lines = ["| studies | shards on disk | read by 8 GPUs at the rate above |", "|---|---|---|"]
    rate = step(8, BATCH, Machine(), sharded=False).studies * study
    lines += [f"| {_power(n)} | {_size(n * study)} | {_size(rate)}/s |" for n in STUDIES]
    return "\n".join(lines)


def _size(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.3g} {unit}"


def _power(n: int) -> str:
    return f"10^{len(str(n)) - 1}"


def _duration(hours: float) -> str:
    if hours < 1:
        return f"{60 * hours:.2g} min" if hours > 1 / 60 else f"{3600 * hours:.2g} s"
    return f"{hours:,.3g} h"


def filled(text: str, machine: Machine) -> str:
    """A document with its tables between ``<!-- name -->`` and ``<!-- end -->`` made anew."""
    for name, table in tables(machine).items():
        before, mark, rest = text.partition(f"<!-- {name} -->\n")
        assert mark, f"docs/scale.md lacks the mark {name}"
        text = before + mark + table + "\n" + rest[rest.index("<!-- end -->") :]
    return text


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        DOCUMENT.write_text(filled(DOCUMENT.read_text(), Machine()))
    else:
        for title, shown in tables(Machine()).items():
            print(f"{title}\n\n{shown}\n")
