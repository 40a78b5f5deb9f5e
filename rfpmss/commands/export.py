"""What ``rfpmss export`` does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from rfpmss.common.errors import RfpmssError
from rfpmss.common.files import fill, told, whole_folder
from rfpmss.config.sections import TERMS
from rfpmss.evaluation.page.tables import read_rows
from rfpmss.model.rfpmss import count
from rfpmss.model.stored.graphs import example, write
from rfpmss.model.stored.hub import TOKENIZER, write_sums
from rfpmss.options.export import Arguments
from rfpmss.runs import origin, record
from rfpmss.runs.checkpoint import load, step_of
from rfpmss.runs.content import undefined
from rfpmss.runs.opened import require_run, stored

if TYPE_CHECKING:
    from rfpmss.runs.checkpoint import Loaded
    from rfpmss.runs.origin import Origin


class ExportError(RfpmssError, ValueError):
    """The folder to write into is not one."""


def run(arguments: Arguments) -> int:
    """Export a run, say what is in the folder; return the exit status."""
    require_run(arguments.run, "RUN")
    if arguments.out.exists() and (not arguments.out.is_dir() or any(arguments.out.iterdir())):
        raise ExportError(f"--out must be a new or empty folder, got {arguments.out}")
    if arguments.out.resolve().is_relative_to((arguments.run / "checkpoints").resolve()):
        raise ExportError(f"--out must lie outside the checkpoints of RUN, got {arguments.out}")

    export(arguments)
    for path in sorted(arguments.out.iterdir()):
        print(f"{path.stat().st_size:>14,}  {path.name}")

    print(f'load it: RFPMSS.from_pretrained("{arguments.out}")')
    return 0


def export(arguments: Arguments) -> None:
    """Write the folder, whole or not at all.

    Raises:
        CheckpointError: if the run has no usable checkpoint, or one of another run.
        OSError: if the folder cannot be written.
    """
    loaded = load(arguments.run, weights=arguments.weights)
    stored(arguments.run, loaded, allow_change=arguments.allow_config_change)
    model = loaded.model
    model._hub_mixin_info.model_card_data.license = arguments.license  # noqa: SLF001
    _require_vectors(loaded)
    details = describe(loaded, arguments.run)
    try:
        with whole_folder(arguments.out.resolve()) as folder:
            model.save_pretrained(folder, model_card_kwargs={"details": details})
            fill(folder / TOKENIZER, loaded.tokenizer.to_str())
            if arguments.graphs:
                write(model, folder)
            write_sums(folder)
            mode = (folder / TOKENIZER).stat().st_mode  # what the umask leaves; weights had 0600
            for path in folder.iterdir():
                path.chmod(mode)
    except SafetensorError as error:
        raise told(error, arguments.out) from None


def _require_vectors(loaded: Loaded) -> None:
    """Refuse finite weights that give no finite vectors, by two studies that have everything.

    Raises:
        ExportError: names the checkpoint.
    """
    with torch.no_grad():
        features = loaded.model.encode(*example(loaded.model))
    named = {name: getattr(features, name) for name in ("inputs", "joint", "study", "report")}
    if bad := undefined(named):
        raise ExportError(
            f"weights must give finite vectors, got infinite or undefined ones ({', '.join(bad)}) "
            f"with those of {loaded.folder}; use an earlier checkpoint, or train again with a "
            f"lower train.lr"
        )


def describe(loaded: Loaded, run: Path) -> str:
    """What the card says of this run: sizes, training, zero-shot retrieval beside chance."""
    parts = count(loaded.model)
    lines = ["## Size", "", "| part | parameters |", "|---|---|"]
    lines += [f"| {name} | {number:,} |" for name, number in parts.items()]
    lines += ["", "## Training", "", *_training(loaded), *_scores(loaded, run)]

    return "\n".join(lines)


def _training(loaded: Loaded) -> list[str]:
    """Preset, weights of the losses and the number of steps; no path and no name of a file."""
    config, step = loaded.config, step_of(loaded.folder)
    loss, train = config.loss, config.train
    weights = ", ".join(f"{name} {getattr(loss, name):g}" for name in TERMS)
    cohort = record.checked(loaded.folder / record.FILE).get("cohort") or "not known"

    return [
        f"- preset `{config.preset}`, seed {config.seed}, {step} steps of {train.batch} "
        f"studies, {train.optimiser} at {train.lr:g}, {train.precision}",
        f"- weights of the losses: {weights}",
        f"- images of {config.data.size} pixels, {config.data.slices} of each view; reports of at "
        f"most {config.data.tokens} tokens",
        f"- digest of the cohort: {cohort}",
    ]


def _scores(loaded: Loaded, run: Path) -> list[str]:
    """The scores of these weights; others are left out, and that is said."""
    folder, cohort = run / "evaluation", record.checked(loaded.folder / record.FILE).get("cohort")
    mine = origin.Origin(step_of(loaded.folder), loaded.weights, str(cohort))
    left = []
    for name in ("retrieval", "retrieval_averaged"):
        path = folder / f"{name}.json"
        if not (rows := read_rows(path)):
            continue
        try:
            shown = [_row(entry) for entry in rows]
        except (KeyError, TypeError, AttributeError):
            raise ExportError(
                f"scores must be those of rfpmss evaluate, got others in {path}; remove it, or "
                f"evaluate the run again"
            ) from None

        said = origin.of(folder, name, path.name)
        if other := mine.other(said):
            left.append(f"{path.name} is {other}")
            continue
        return ["", "## Zero-shot retrieval", "", _measured(said or {}, mine), "", *HEAD, *shown]

    if not left:
        return []

    print(
        f"note: the card has no scores: {'; '.join(left)}; `rfpmss evaluate --run-dir {run}`, then "
        f"export again",
        file=sys.stderr,
    )
    return ["", "## Zero-shot retrieval", "", "Not measured with these weights."]


HEAD = ("| query | gallery | n | R@5, % | chance, % | ceiling, % |", "|" + "---|" * 6)


def _measured(said: dict[str, Any], mine: Origin) -> str:
    """Which weights were scored on which studies."""
    own = said.get("cohort") == mine.cohort
    whose = "the cohort above" if own else f"another cohort (digest {said.get('cohort')})"
    return (
        f"Measured after step {said.get('step')} on the studies that {whose} holds out: split "
        f"{said.get('split')}. SHA-256 of that checkpoint: {said.get('weights')}."
    )


def _row(entry: dict[str, Any]) -> str:
    figures = (entry["r5"], entry["chance_r5"], entry.get("ceiling_r5"))
    shown = " | ".join("-" if figure is None else f"{100 * figure:.1f}" for figure in figures)
    return f"| {entry['query']} | {entry['gallery']} | {entry['n']} | {shown} |"
