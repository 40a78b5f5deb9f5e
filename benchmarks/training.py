"""Where a training step spends its time, against the published loop, and at the paper's size.

    OMP_NUM_THREADS=1 python -m benchmarks.training [breakdown dense paper predict]

    breakdown   data, encoders, heads, Multi-SK, losses, backward, optimiser: tiny and small
    dense       the same step with 20 separate dense assignments, time and memory side by side
    paper       one real optimisation step of the preset paper in float32: needs 16 GB and a minute
    predict     what `paper` should do on one H200; nothing is run

Each case runs in a process of its own, so that peaks of memory do not mix. Rows go to
results/training.csv.
"""

import datetime
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import record, steps, table

FILE = Path(__file__).parent / "results" / "training.csv"
FIELDS = [
    *("case", "provider", "batch", "bank", "steps", "step_s", "wall_s", "first_s", "drawing_s"),
    *(f"{name.replace(' ', '_')}_s" for name in steps.PARTS),
    *("multisk_share", "data_wait_share", "extra_mb", "peak_mb", "parameters", "building_s"),
    *("tflop", "studies_per_s", "mfu", "note", "load", "disturbed", "date", "machine", "versions"),
]
H200_TFLOPS, H200_TBS, H200_GB = 989.0, 4.8, 141.0
"""Dense bfloat16 operations, memory traffic and memory of one H200, by its data sheet."""
SHARES = ("multisk", "data_wait")
MFU = 0.4
"""Share of the peak that the matrix products are taken to reach."""


def breakdown() -> None:
    """Shares of the step for tiny and small."""
    for preset in steps.STEPS:
        keep(f"step, {preset}", "multisk, batched", apart("measure", preset, "multisk"))


def dense() -> None:
    """The same steps with the published loop."""
    for preset in steps.STEPS:
        keep(f"step, {preset}", "published dense loop, 20 calls", apart("measure", preset, "dense"))


def paper() -> None:
    """One real step of the preset paper, and one more."""
    keep("step, paper, batch 2", "float32, gradients applied as they appear", apart("real"))


def predict() -> None:
    """What the preset should do on one H200."""
    keep("step, paper, batch 64", "predicted for one H200, not measured", apart("predicted"))


def real() -> dict[str, Any]:
    """Two optimisation steps at the paper's size, every gradient used and freed as it appears.

    Weights, Adam's two moments and the bank stay in float32; what is never held is the set of all
    gradients, a quarter of the rest. Adam in the order of the backward pass is Adam.
    """
    import torch

    from rfpmss.config import paper as preset
    from rfpmss.model.rfpmss import RFPMSS, count
    from rfpmss.training.bank import Bank
    from rfpmss.training.step import step
    from tests.model.small import random_batch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = preset()
    network = config.model.model_copy(update={"recompute": True})
    began = time.perf_counter()
    model = RFPMSS(network, config.data, config.data.vocabulary).train()
    bank = Bank(config.assignment.bank, config.model)
    steps.fill(bank)
    made = time.perf_counter() - began
    apply_at_once(model, config.train.lr)
    losses, seconds = [], []
    before = model.project.of["mri"].joint.gate.weight[:3, :3].detach().clone()
    for seed in range(2):
        batch = random_batch(config, size=2, seed=seed)
        batch.tokens %= config.data.vocabulary
        began = time.perf_counter()
        found = step(model, bank, batch, config)
        total = found.total(config.loss)
        total.backward()
        seconds.append(time.perf_counter() - began)
        losses.append(float(total.detach()))
    moved = (model.project.of["mri"].joint.gate.weight[:3, :3] - before).abs().max()
    assert all(torch.isfinite(torch.tensor(losses)))
    assert moved > 0
    return {
        "batch": 2,
        "bank": len(bank),
        "steps": 2,
        "step_s": seconds[1],
        "first_s": seconds[0],
        "building_s": made,
        "parameters": count(model)["total"],
        "peak_mb": record.resident("VmHWM") / 1024,
        "note": "losses " + " and ".join(f"{value:.4g}" for value in losses),
    }


def apply_at_once(model: Any, rate: float) -> None:
    """Let every parameter take its Adam step as soon as its gradient is there, and drop that."""
    import torch

    def hook(optimiser: Any) -> Callable:
        def apply(parameter: Any) -> None:
            optimiser.step()
            parameter.grad = None

        return apply

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(hook(torch.optim.Adam([parameter], lr=rate)))


def predicted() -> dict[str, Any]:
    """Operations counted on shapes; time from the peak, memory from what autograd keeps."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from rfpmss.config import paper as preset
    from rfpmss.model.rfpmss import RFPMSS, count
    from rfpmss.training.bank import Bank
    from rfpmss.training.step import step
    from tests.model.small import random_batch

    config, size, kept = preset(), 64, {}

    def keep_size(x: Any) -> Any:
        kept[x.untyped_storage()._cdata] = x.untyped_storage().nbytes()
        return x

    with torch.device("meta"):
        network = config.model.model_copy(update={"recompute": True})
        model = RFPMSS(network, config.data, config.data.vocabulary)
        bank = Bank(config.assignment.bank, config.model)
        batch = random_batch(config, size=size)
        batch.tokens, batch.present = batch.tokens.to("meta"), batch.present.to("meta")
        batch.images = tuple(view.to("meta") for view in batch.images)
        weights = {p.untyped_storage()._cdata for p in model.parameters()}
        hooks = torch.autograd.graph.saved_tensors_hooks(keep_size, lambda x: x)
        with FlopCounterMode(display=False) as counter, hooks:
            losses = step(model, bank, batch, config)
            losses.total(config.loss).backward()
    number = count(model)["total"]
    activations = sum(n for where, n in kept.items() if where not in weights) / 2  # bfloat16
    products = counter.get_total_flops() / 1e12 / H200_TFLOPS / MFU
    passes = number * 28 / H200_TBS / 1e12  # Adam reads 16 and writes 12 bytes a parameter
    seconds = products + passes
    resident = number * 18 + activations + sum(b.nbytes for b in bank.buffers())
    return {
        "batch": size,
        "bank": len(bank),
        "step_s": seconds,
        "parameters": number,
        "peak_mb": resident / 2**20,
        "tflop": counter.get_total_flops() / 1e12,
        "studies_per_s": size / seconds,
        "mfu": products * MFU / seconds,
        "note": f"matrix products at {MFU:.0%} of {H200_TFLOPS:g} TFLOP/s, recomputed activations",
    }


def apart(work: str, *words: str) -> dict[str, Any]:
    """The row that a function gives in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training", f"--{work}", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def keep(case: str, provider: str, row: dict[str, Any]) -> None:
    """Insert or replace a row of training.csv."""
    if "multisk_s" in row:
        shares = {f"{name}_share": row[f"{name}_s"] / row["step_s"] for name in SHARES}
        row = row | shares
    load = os.getloadavg()[0]
    shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
    full = {
        **{"case": case, "provider": provider, **shown, "load": f"{load:.1f}"},
        "disturbed": "yes" if load > record.QUIET else "no",
        "date": datetime.date.today().isoformat(),
        "machine": record.machine(),
        "versions": ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("torch", "numba")),
    }
    rows = {(old["case"], old["provider"]): old for old in table.read(FILE)}
    rows[case, provider] = full
    table.write(FILE, rows.values(), FIELDS)
    print(*(f"{name}={full[name]}" for name in FIELDS if full.get(name)), flush=True)


CASES = {f.__name__: f for f in (breakdown, dense, paper, predict)}
INSIDE = {"--measure": steps.measure, "--real": real, "--predicted": predicted}

if __name__ == "__main__":
    words = sys.argv[1:]
    if words and words[0] in INSIDE:
        print(json.dumps(INSIDE[words[0]](*words[1:])))
    else:
        for name in words or CASES:
            CASES[name]()
