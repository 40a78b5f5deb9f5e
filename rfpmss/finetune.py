"""Finetune: how much pretraining helps when labels are few (Table 2).

    python -m rfpmss.finetune --run-dir runs/tiny-0
    python -m rfpmss.finetune --run-dir runs/tiny-0 --baseline no-consistency=runs/other
    python -m rfpmss.finetune --run-dir runs/tiny-0 --train-baseline labels contrast resnet

A linear probe and full tuning at 1, 10 and 100 % of the labelled training patients, each against
the same encoder with random weights, against other ways to pretrain it under the same budget, and
against the encoders of other runs. By default the grade is told from CT and MRI, as before surgery:
the slide shows it to an encoder of random weights already. Writes
RUN/evaluation/finetune.json, .csv, .tex, the test scores, and the tuned encoder.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from rfpmss.arguments import program

if TYPE_CHECKING:
    from rfpmss.evaluation.opened import Opened
    from rfpmss.model.rfpmss import RFPMSS

RANDOM = "random weights"
PRETRAINED = "this run"


@dataclass(frozen=True)
class Arguments:
    """What ``python -m rfpmss.finetune`` takes."""

    run_dir: Path
    """Run folder of rfpmss.train."""
    data: Path | None = None
    """Manifest with labels; by default the one the run was trained on."""
    baseline: tuple[str, ...] = ()
    """Other starts, each NAME=RUN_DIR, with the same image size."""
    train_baseline: tuple[Literal["labels", "contrast", "reconstruction", "resnet"], ...] = ()
    """Other ways to pretrain, done now in RUN/baselines: on the findings in the training reports,
    by study-report contrast alone, by reconstruction, with a ResNet-101 trunk."""
    baseline_epochs: int | None = None
    """Passes of those; by default the run's own number."""
    image_weights: Path | None = None
    """A local copy of published ViT weights (ImageNet) to start from as well."""
    label: str = "grade"
    """Label of the manifest."""
    positive: tuple[str, ...] = ("4",)
    """Values of the label that count as positive."""
    fractions: tuple[float, ...] = (0.01, 0.1, 1.0)
    """Shares of the labelled training patients, each holding the smaller ones."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of subset, head and order."""
    views: tuple[Literal["ct", "mri", "pathology"], ...] = ("ct", "mri")
    """Imaging modalities that are looked at; the others are treated as absent."""
    modes: tuple[Literal["linear", "full"], ...] = ("linear", "full")
    """linear: fixed encoder; full: everything is tuned."""
    epochs: int = 15
    """Most passes of full tuning; it stops early on validation patients."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""

    def __post_init__(self) -> None:
        if not all(0 < fraction <= 1 for fraction in self.fractions):
            raise ValueError(f"--fractions must be in (0, 1], got {self.fractions}")
        if not self.seeds or not self.modes or not self.fractions or not self.positive:
            raise ValueError("--seeds, --modes, --fractions and --positive must not be empty")
        if self.baseline_epochs is not None and self.baseline_epochs < 1:
            raise ValueError(f"--baseline-epochs must be at least 1, got {self.baseline_epochs}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    try:
        arguments = tyro.cli(Arguments, args=argv, prog=program("finetune"), description=__doc__)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from rfpmss.evaluation.opened import open_or_tell

    opened = open_or_tell(arguments.run_dir, arguments.data, arguments.device)
    if opened is None:
        return 1
    try:
        return finetune(arguments, opened)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def finetune(arguments: Arguments, opened: Opened) -> int:
    """Tune every start, compare, write; return 0."""
    from safetensors.torch import save_file

    from rfpmss.evaluation.probe import Tuning
    from rfpmss.evaluation.tables import write_csv, write_json, write_latex
    from rfpmss.evaluation.transfer import Plan, table, transfer
    from rfpmss.progress import progress

    starts = _starts(arguments, opened)
    plan = Plan(
        label=arguments.label,
        positive=arguments.positive,
        fractions=tuple(sorted(arguments.fractions)),
        seeds=arguments.seeds,
        views=arguments.views,
        modes=arguments.modes,
        tuning=Tuning(epochs=arguments.epochs),
    )
    began = time.monotonic()
    cells = len(starts) * len(plan.modes) * len(plan.fractions) * len(plan.seeds)
    with progress("tuning", cells, unit="cells") as advance:
        outcome = transfer(starts, opened.cohort, opened.tokenizer, plan, advance)
    rows = table(outcome, PRETRAINED)
    folder = arguments.run_dir / "evaluation"
    write_json(
        folder / "finetune.json",
        {"plan": asdict(plan), "seconds": time.monotonic() - began, "rows": rows},
    )
    write_csv(folder / "finetune.csv", rows)
    write_latex(folder / "finetune.tex", [_readable(row) for row in rows])
    write_json(
        folder / "finetune_scores.json",
        [
            {"start": key[0], "mode": key[1], "fraction": key[2], "scores": scores.tolist()}
            for key, scores in outcome.scores.items()
        ],
    )
    if outcome.classifier is not None:
        target = arguments.run_dir / "finetuned.safetensors"
        state = outcome.classifier.state_dict()
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in state.items()}, target
        )
    for row in rows:
        print("  ".join(str(cell) for cell in _readable(row).values()))
    print(f"tables: {folder.resolve()}")
    return 0


def _starts(arguments: Arguments, opened: Opened) -> dict[str, RFPMSS]:
    from rfpmss import checkpoint
    from rfpmss.evaluation.transfer import random_start

    vocabulary = opened.tokenizer.get_vocab_size()
    starts = {
        PRETRAINED: opened.model,
        RANDOM: random_start(opened.config, vocabulary).to(arguments.device),
    }
    for entry in arguments.baseline:
        name, found, folder = entry.partition("=")
        if not found or not name or name in starts:
            raise ValueError(f"--baseline must be NAME=RUN_DIR with a new name, got {entry}")
        try:
            model, _, config = checkpoint.load_model(Path(folder), arguments.device)
        except checkpoint.CheckpointError as error:
            raise ValueError(str(error)) from None
        if config.data.size != opened.config.data.size:
            raise ValueError(
                f"--baseline must have images of {opened.config.data.size} pixels, "
                f"got {config.data.size} in {name}"
            )
        starts[name] = model
    return starts | _trained(arguments, opened) | _published(arguments, opened)


def _trained(arguments: Arguments, opened: Opened) -> dict[str, RFPMSS]:
    """The baselines that are pretrained now, or stand in the run's folder from before."""
    import yaml
    from safetensors.torch import load_file, save_file

    from rfpmss import checkpoint
    from rfpmss.evaluation.baselines import LABELS, train_labels, train_other
    from rfpmss.evaluation.transfer import random_start

    config, epochs, device = opened.config, arguments.baseline_epochs, arguments.device
    found = {}
    for name in arguments.train_baseline:
        # The length is part of the name: another one is another baseline.
        folder = arguments.run_dir / "baselines" / f"{name}-{epochs or config.train.epochs}"
        if name != LABELS:
            told = yaml.safe_load((arguments.run_dir / "config.yaml").read_text())
            manifest = arguments.data or told["manifest"]
            train_other(name, config, Path(manifest), folder, device, epochs)
            found[name], _, _ = checkpoint.load_model(folder, device)
            continue
        path = folder / "image.safetensors"
        model = random_start(config, opened.tokenizer.get_vocab_size()).to(device)
        if not path.is_file():
            made = train_labels(config, opened.cohort, opened.tokenizer, device, epochs)
            folder.mkdir(parents=True, exist_ok=True)
            state = made.image.state_dict()
            save_file({key: value.cpu().contiguous() for key, value in state.items()}, path)
        model.image.load_state_dict(load_file(path))
        found[name] = model
    return found


def _published(arguments: Arguments, opened: Opened) -> dict[str, RFPMSS]:
    """The same encoder with published weights, if a copy is named."""
    from rfpmss.evaluation.transfer import random_start
    from rfpmss.model.weights import load

    if arguments.image_weights is None:
        return {}
    config = opened.config.model.model_copy(update={"image_weights": str(arguments.image_weights)})
    model = random_start(opened.config, opened.tokenizer.get_vocab_size())
    for match in load(model, config):
        print(match, file=sys.stderr)
    return {"published weights": model.to(arguments.device)}


def _readable(row: dict[str, object]) -> dict[str, object]:
    def number(name: str, digits: int = 3) -> str:
        value = row[name]
        return "-" if value is None else f"{float(str(value)):.{digits}g}"

    return {
        "Start": row["start"],
        "Mode": row["mode"],
        "Labels": f"{100 * float(str(row['fraction'])):g} %",
        "AUC (95 %)": f"{number('auc')} ({number('auc_low')}, {number('auc_high')})",
        "SD over seeds": number("auc_sd", 2),
        "p (DeLong)": number("p_delong", 2),
        "p (bootstrap)": number("p_bootstrap", 2),
        "p (Holm)": number("p_holm", 2),
    }


if __name__ == "__main__":
    sys.exit(main())
