"""Export: a trained run as a folder that loads in one line, without pickle and without this run.

    python -m rfpmss.export runs/tiny-0 --out tiny

    from rfpmss.model.rfpmss import RFPMSS
    model = RFPMSS.from_pretrained("tiny")

DIR gets model.safetensors, config.json, tokenizer.json, README.md (the model card) and, unless
--no-graphs, image.pt2 and text.pt2 for torch.export.load. None of them holds a path of this
machine. `rfpmss embed FOLDER --model DIR` applies it to new patients.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from rfpmss.arguments import program

if TYPE_CHECKING:
    from rfpmss.config import Config
    from rfpmss.model.rfpmss import RFPMSS


@dataclass(frozen=True)
class Arguments:
    """What ``python -m rfpmss.export`` takes."""

    run: tyro.conf.Positional[Path]
    """Run folder of rfpmss.train."""
    out: Path
    """New or empty folder."""
    weights: Literal["last", "averaged", "best"] = "last"
    """Of the newest checkpoint; averaged over the steps (train.ema); or best on the split val."""
    graphs: bool = True
    """Also write the two encoders as graphs of torch.export."""
    license: str | None = None
    """Licence of the weights for the model card, e.g. cc-by-4.0."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog=program("export"), description=__doc__)
    from rfpmss.checkpoint import CheckpointError

    if not (arguments.run / "config.yaml").is_file():
        return _refuse(f"RUN must be a run folder with a config.yaml, got {arguments.run}")
    if arguments.out.exists() and (not arguments.out.is_dir() or any(arguments.out.iterdir())):
        return _refuse(f"--out must be a new or empty folder, got {arguments.out}")
    try:
        export(arguments)
    except CheckpointError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{arguments.out} could not be written: {error.strerror}")
    for path in sorted(arguments.out.iterdir()):
        print(f"{path.stat().st_size:>14,}  {path.name}")
    print(f'load it: RFPMSS.from_pretrained("{arguments.out}")')
    return 0


def export(arguments: Arguments) -> None:
    """Write the folder, whole or not at all."""
    from rfpmss.checkpoint import load_model
    from rfpmss.model.graphs import write
    from rfpmss.model.hub import TOKENIZER

    model, tokenizer, config = load_model(arguments.run, weights=arguments.weights)
    model._hub_mixin_info.model_card_data.license = arguments.license  # noqa: SLF001
    out = arguments.out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        details = describe(model, config, arguments.run)
        model.save_pretrained(temporary, model_card_kwargs={"details": details})
        (temporary / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")
        if arguments.graphs:
            write(model, temporary)
        if out.is_dir():
            out.rmdir()
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def describe(model: RFPMSS, config: Config, run: Path) -> str:
    """What the card says of this run: sizes, training, zero-shot retrieval beside chance."""
    from rfpmss.model.rfpmss import count

    parts = count(model)
    lines = ["## Size", "", "| part | parameters |", "|---|---|"]
    lines += [f"| {name} | {number:,} |" for name, number in parts.items()]
    lines += ["", "## Training", "", *_training(config, run)]
    path = run / "evaluation" / "retrieval.json"
    if path.is_file():
        lines += ["", "## Zero-shot retrieval, held-out patients", ""]
        lines += ["| query | gallery | n | R@5, % | chance, % | ceiling, % |", "|" + "---|" * 6]
        lines += [_row(entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    return "\n".join(lines)


def _training(config: Config, run: Path) -> list[str]:
    """Preset, weights of the losses and the number of steps; no path and no name of a file."""
    metrics = run / "metrics.jsonl"
    rows = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
    loss, train = config.loss, config.train
    weights = ", ".join(
        f"{name} {getattr(loss, name):g}" for name in ("language", "contrast", "nce", "consistency")
    )
    return [
        f"- preset `{config.preset}`, seed {config.seed}, {len(rows)} steps of {train.batch} "
        f"studies, {train.optimiser} at {train.lr:g}, {train.precision}",
        f"- weights of the losses: {weights}",
        f"- images of {config.data.size} pixels, {config.data.slices} of each view; reports of at "
        f"most {config.data.tokens} tokens",
    ]


def _row(entry: dict[str, Any]) -> str:
    figures = (entry["r5"], entry["chance_r5"], entry.get("ceiling_r5"))
    shown = " | ".join("-" if figure is None else f"{100 * figure:.1f}" for figure in figures)
    return f"| {entry['query']} | {entry['gallery']} | {entry['n']} | {shown} |"


def _refuse(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
