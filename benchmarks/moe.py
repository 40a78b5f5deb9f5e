"""Balanced routing beside Quantile Balancing, loss-free balancing and plain top-k.

    export OMP_NUM_THREADS=1 MALLOC_TRIM_THRESHOLD_=4000000000 MALLOC_MMAP_THRESHOLD_=2000000000
    python -m benchmarks.moe [stream] [time] [--experts 64 256 896]

The allocator's thresholds keep freed memory in the process, as training does; without them the
pages that the system clears for each new table are most of what a router adds to top-k.

`stream` routes every batch of a drifting stream of sigmoid scores by what each rule learnt from the
batches before: violation (largest load over the mean, minus 1) and value lost (of the sum of scores
that plain top-k has) over the last half of the updates, and processor time of an update. `time`
measures one update in units of a step of Quantile Balancing, exact counts, and the forward pass
beside plain top-k. `train` trains the model of `benchmarks.common.experts` on three seeds by each
of four rules. Rows go to `moe_stream.csv`, `moe_time.csv` and `moe_train.csv` of the results, one
thread, processor time; the bars are printed with what was found.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.common.experts import CHOSEN, EXPERTS, Run, trained
from benchmarks.common.table import upsert
from benchmarks.peers.routing import Histogram, LossFree, Plain, Quantile, quantile_step
from multisk import moe

RESULTS = Path(__file__).parent / "results"
# Experts: tokens of a batch, experts of a token, updates, and drifts of the logits a batch.
DRIFTS = (0.0, 0.003, 0.01, 0.03)
STREAMS = {
    64: (4096, 8, 120, DRIFTS),
    256: (4096, 8, 40, DRIFTS),
    896: (4096, 16, 24, (0.0, 0.03)),
}
TIMED = {64: (8192, 8), 256: (8192, 8), 896: (4096, 16)}
ENDS = (0.0, 0.03)  # drifts at which ten steps, the slowest rule, take part
KEEPS = (0.0, 0.5, 0.9)
TRUTH = 16  # batches whose common prices stand for those of the distribution
SEEDS, LENGTH, EARLY, LATE = (0, 1, 2), 350, 20, 50  # of `train`: steps, left out, the last ones
TRAINED: dict[str, Callable[[], Any] | None] = {
    "plain top-k": lambda: Plain(EXPERTS, CHOSEN),
    "loss-free, rate .001": lambda: LossFree(EXPERTS, CHOSEN, 1e-3),
    "Quantile Balancing, histogram": lambda: Histogram(EXPERTS, CHOSEN),
    "multisk, auto": None,
}
STUDENT = 4.303  # two-sided 95 % quantile of t with 2 degrees of freedom, three seeds
OURS, FLOOR, EXACT = "multisk, auto", "prices of the distribution", "exact counts (not causal)"
Row = dict[str, Any]


class Stream:
    """Batches of sigmoid scores whose experts' mean logits walk at random."""

    def __init__(self, rows: int, experts: int, drift: float) -> None:
        self.random = torch.Generator().manual_seed(1)
        self.rows, self.drift = rows, drift
        self.offsets = 0.5 * self.draw(experts)

    def draw(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(*shape, generator=self.random)

    def next(self) -> Tensor:
        """Logits of the next batch."""
        self.offsets = self.offsets + self.drift * self.draw(len(self.offsets))
        return self.draw(self.rows, len(self.offsets)) + self.offsets


class Ours:
    """A `BalancedRouter` as training uses it."""

    def __init__(self, experts: int, k: int, keep: float | Literal["auto"] = "auto") -> None:
        self.router = moe.BalancedRouter(experts, k, keep=keep)

    @property
    def bias(self) -> Tensor:
        """What is added to the scores."""
        return self.router.bias

    def update(self, scores: Tensor) -> None:
        """Observe a batch as the forward pass does, then update."""
        nobody = torch.zeros(len(scores), 1, dtype=torch.int64)  # loads are not asked for
        self.router.observe(scores, nobody, None)
        self.router.update()


def rules(experts: int, k: int, *, many: bool = True) -> dict[str, Any]:
    """Who takes part, the rule of many steps where asked."""
    ten = {"Quantile Balancing, 10 steps": Quantile(experts, k, steps=10)} if many else {}
    return {
        "plain top-k": Plain(experts, k),
        "loss-free, rate .001": LossFree(experts, k, 1e-3),
        "loss-free, rate .01": LossFree(experts, k, 1e-2),
        "Quantile Balancing": Quantile(experts, k),
        **ten,
        "Quantile Balancing, average .9": Quantile(experts, k, keep=0.9),
        "Quantile Balancing, histogram": Histogram(experts, k),
        OURS: Ours(experts, k),
        **{f"multisk, keep {keep:g}": Ours(experts, k, keep) for keep in KEEPS},
    }


def routed(scores: Tensor, bias: Tensor, k: int) -> tuple[float, float]:
    """Violation, and the value of the routes."""
    routes = (scores + bias).topk(k, 1).indices
    loads = routes.flatten().bincount(minlength=len(bias))
    return float(moe.violation(loads)), float(scores.gather(1, routes).sum(dtype=torch.float64))


def truth(stream: Stream, k: int) -> Tensor:
    """Bias that evens the loads of the distribution: dual steps on many batches at once."""
    many = Stream(TRUTH * stream.rows, len(stream.offsets), 0.0)
    scores, bias = torch.sigmoid(many.next()), torch.zeros(len(stream.offsets))
    for _ in range(12):
        bias = quantile_step(scores, k, bias)
    return bias


def streamed(experts: int, drift: float) -> Iterator[Row]:
    """A row for each rule."""
    rows, k, updates, _ = STREAMS[experts]
    stream, sides = Stream(rows, experts, drift), rules(experts, k, many=drift in ENDS)
    fixed = {FLOOR: truth(stream, k)} if drift == 0 else {}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (*sides, *fixed, EXACT)}
    spent = dict.fromkeys(found, 0.0)
    for step in range(updates):
        scores = torch.sigmoid(stream.next())
        if step >= updates // 2:
            best = float(scores.topk(k, 1).values.sum(dtype=torch.float64))
            biases = {name: side.bias for name, side in sides.items()} | fixed
            for name, bias in biases.items():
                vio, value = routed(scores, bias, k)
                found[name].append((vio, 1 - value / best))
            if step >= updates - 2:  # the same in every batch
                began = time.process_time()
                routes = moe.balance(scores, k, start=-sides[OURS].bias)
                spent[EXACT] += (time.process_time() - began) * updates / 2
                value = float(scores.gather(1, routes.indices).sum(dtype=torch.float64))
                found[EXACT].append((float(moe.violation(routes.loads)), 1 - value / best))
        for name, side in sides.items():
            began = time.process_time()
            side.update(scores)
            spent[name] += time.process_time() - began
    for name, pairs in found.items():
        vio, lost = torch.tensor(pairs, dtype=torch.float64).unbind(1)
        yield {
            "experts": experts,
            "tokens": rows,
            "k": k,
            "drift": drift,
            "rule": name,
            "updates": updates,
            "violation": f"{float(vio.mean()):.4f}",
            "worst": f"{float(vio.max()):.4f}",
            "value_lost": f"{float(lost.mean()):.5f}",
            "update_ms": f"{1e3 * spent[name] / updates:.1f}",
        }


def judge_stream(rows: list[Row]) -> Iterator[str]:
    """The bars of one stream."""
    by = {row["rule"]: float(row["violation"]) for row in rows}
    limits = {
        "Quantile Balancing": by["Quantile Balancing"],
        "1.05 x the best fixed keep": 1.05 * min(by[f"multisk, keep {keep:g}"] for keep in KEEPS),
    }
    if FLOOR in by:
        limits[f"1.1 x {FLOOR}"] = 1.1 * by[FLOOR]
    yield from (judged(OURS, by[OURS], name, limit) for name, limit in limits.items())


def judged(what: str, value: float, name: str, limit: float) -> str:
    verdict = "met" if value <= limit else "MISSED"
    return f"  bar: {what} {value:.4g} <= {name} {limit:.4g}: {verdict}"


def seconds(function: Callable[[], Any], repeats: int = 5) -> float:
    """Least processor time of some calls after one that is not timed."""
    function()
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        function()
        taken.append(time.process_time() - began)
    return min(taken)


def plain_forward(logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """What a router does without prices."""
    scores = torch.sigmoid(logits)
    weights, indices = scores.topk(k, -1)
    return weights / (weights.sum(-1, keepdim=True) + 1e-20), indices, scores


def timed(experts: int) -> Iterator[Row]:
    """Times at one number of experts, in a stream that drifts by .01 a batch."""
    rows, k = TIMED[experts]
    stream, router = Stream(rows, experts, 0.01), moe.BalancedRouter(experts, k)
    updates = []
    for _ in range(8):
        router(stream.next())
        began = time.process_time()
        router.update()
        updates.append(time.process_time() - began)
    logits = stream.next()
    scores = torch.sigmoid(logits)
    step = seconds(lambda: quantile_step(scores, k, router.bias))

    def observed() -> None:
        router.forget()
        router(logits)

    plain = seconds(lambda: plain_forward(logits, k), 20)
    with_rows = seconds(observed, 20)
    router.eval()
    found = {
        "step of Quantile Balancing": (step, step),
        "update, from no prices": (updates[0], step),
        "update, median of the next 7": (sorted(updates[1:])[3], step),
        "exact counts": (seconds(lambda: moe.balance(scores, k), 1), step),
        "exact counts, warm": (
            seconds(lambda: moe.balance(scores, k, start=router.prices), 3),
            step,
        ),
        "plain forward": (plain, plain),
        "forward, evaluation": (seconds(lambda: router(logits), 20), plain),
        "forward, training": (with_rows, plain),
    }
    for what, (taken, unit) in found.items():
        row = {"experts": experts, "tokens": rows, "k": k, "what": what}
        yield row | {"cpu_ms": f"{1e3 * taken:.2f}", "ratio": f"{taken / unit:.2f}"}


def judge_time(rows: list[Row]) -> Iterator[str]:
    """The bars of time."""
    by = {row["what"]: float(row["ratio"]) for row in rows}
    for what, limit in (
        ("update, median of the next 7", 5.0),
        ("forward, evaluation", 1.1),
        ("forward, training", 1.1),
    ):
        yield judged(f"{what}, ratio", by[what], "limit", limit)


def training() -> Iterator[Row]:
    """A row for each rule and seed."""
    for name, rule in TRAINED.items():
        for seed in SEEDS:
            run: Run = trained(rule, seed, LENGTH)
            late = run.violations[:, EARLY:]
            yield {
                "rule": name,
                "seed": seed,
                "parameters": run.parameters,
                "steps": LENGTH,
                "held_out": f"{run.held_out:.4f}",
                "violation": f"{float(late.mean()):.3f}",
                "violation_last": f"{float(run.violations[:, -LATE:].mean()):.3f}",
                "violation_worst": f"{float(late.max()):.2f}",
                "cpu_s": f"{run.seconds:.2f}",
                "balancing_s": f"{run.balancing:.2f}",
            }


def judge_train(rows: list[Row]) -> Iterator[str]:
    """The bars of training, and the differences of held-out loss with their intervals."""

    def of(rule: str, column: str) -> Tensor:
        return torch.tensor([float(row[column]) for row in rows if row["rule"] == rule]).double()

    peer = "Quantile Balancing, histogram"
    found = {rule: float(of(rule, "held_out").mean()) for rule in TRAINED}
    yield judged(f"{OURS}, held-out", found[OURS], f"{peer} + .005", found[peer] + 0.005)
    last = {rule: float(of(rule, "violation_last").mean()) for rule in TRAINED}
    yield judged(f"{OURS}, violation of the last {LATE}", last[OURS], peer, last[peer])
    worst = float(of(OURS, "violation_worst").max())
    yield judged(f"{OURS}, worst after step {EARLY}", worst, "limit", 3.0)
    seconds = float(of(OURS, "cpu_s").sum())
    yield judged(f"{OURS}, seconds of {len(SEEDS)} runs", seconds, "limit", 180.0)
    for rule in TRAINED:
        if rule != OURS:
            apart = of(OURS, "held_out") - of(rule, "held_out")
            half = STUDENT * float(apart.std()) / len(SEEDS) ** 0.5
            yield f"  held-out, {OURS} - {rule}: {float(apart.mean()):+.4f} +- {half:.4f} (95 %)"


def show(file: Path, rows: list[Row], key: tuple[str, ...], bars: Iterator[str]) -> None:
    """Print rows and bars, keep the rows."""
    for row in rows:
        print(" ".join(f"{name}={value}" for name, value in row.items()))
    print(*bars, sep="\n", flush=True)
    upsert(file, rows, key)


def warm_up() -> None:
    """Load, or compile, the loops."""
    scores, side = torch.rand(64, 8), Ours(8, 2)
    side.update(scores)
    side.update(scores)
    moe.balance(scores, 2)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", default=[], metavar="stream|time|train")
    parser.add_argument("--experts", nargs="+", type=int, choices=[*STREAMS], default=[*STREAMS])
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - {"stream", "time", "train"}:
        parser.error(f"parts must be 'stream', 'time' or 'train', got {unknown.pop()!r}")
    torch.set_num_threads(1)
    warm_up()
    for experts in asked.experts:
        if not asked.parts or "stream" in asked.parts:
            for drift in STREAMS[experts][-1]:
                rows = list(streamed(experts, drift))
                key = ("experts", "drift", "rule")
                show(RESULTS / "moe_stream.csv", rows, key, judge_stream(rows))
        if not asked.parts or "time" in asked.parts:
            rows = list(timed(experts))
            show(RESULTS / "moe_time.csv", rows, ("experts", "what"), judge_time(rows))
    if not asked.parts or "train" in asked.parts:
        rows = list(training())
        show(RESULTS / "moe_train.csv", rows, ("rule", "seed"), judge_train(rows))


if __name__ == "__main__":
    main()
