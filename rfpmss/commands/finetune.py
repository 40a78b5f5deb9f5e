"""What ``rfpmss finetune`` does."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save

from rfpmss.common.files import whole
from rfpmss.common.progress import progress
from rfpmss.config import VIEWS
from rfpmss.evaluation.labels.baselines import LABELS, train_labels, train_other
from rfpmss.evaluation.labels.probe import Tuning, task
from rfpmss.evaluation.labels.transfer import Plan, adjust, random_start, table, transfer
from rfpmss.evaluation.labels.values import choose_label, choose_positive
from rfpmss.evaluation.page.tables import write_csv, write_json, write_latex
from rfpmss.model.stored.published import load
from rfpmss.options.finetune import PRETRAINED, PUBLISHED, RANDOM, Arguments
from rfpmss.runs import record
from rfpmss.runs.checkpoint import load_encoder
from rfpmss.runs.content import ORIGIN, TASK
from rfpmss.runs.opened import load_other, open_to_write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from rfpmss.evaluation.labels.probe import Task
    from rfpmss.evaluation.labels.transfer import Outcome
    from rfpmss.model.rfpmss import RFPMSS
    from rfpmss.runs.opened import Opened

RECORD = "rfpmss"
"""Entry in a file of weights: the record of what they were trained with."""


def run(arguments: Arguments) -> int:
    """Open the run, tune and compare; return the exit status."""
    opened = open_to_write(arguments)
    try:
        return finetune(arguments, opened)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def finetune(arguments: Arguments, opened: Opened) -> int:
    """Tune every start, compare, write; return 0.

    Raises:
        ValueError: if there is no such label, or too few patients have it.
    """
    plans = _plans(arguments, opened)
    starts = _starts(arguments, opened)
    began = time.monotonic()
    first = plans[0]
    cells = len(plans) * len(starts) * len(first.modes) * len(first.fractions) * len(first.seeds)
    rows: list[dict[str, object]] = []
    scores: list[dict[str, object]] = []
    with progress("tuning", cells, unit="cells") as advance:
        for number, plan in enumerate(plans, start=1):
            outcome = transfer(starts, opened.cohort, opened.tokenizer, plan, advance)
            about = {"value": " or ".join(plan.positive)} if len(plans) > 1 else {}
            rows += [about | row for row in table(outcome, PRETRAINED)]
            scores += [about | row for row in _scores(outcome)]
            _keep(outcome, opened, number, _task(plan))

    rows = adjust(rows)
    folder = opened.place / "evaluation"
    shown = asdict(first)
    if len(plans) > 1:
        shown["positive"] = ["(each value against the others)"]

    seconds = time.monotonic() - began
    said = {"plan": shown, TASK: _task(first), "seconds": seconds, "rows": rows}
    said |= {"origin": asdict(opened.origin)} if opened.origin else {}
    write_json(folder / "finetune.json", said)
    write_csv(folder / "finetune.csv", rows)
    write_latex(folder / "finetune.tex", [_readable(row) for row in rows])
    write_json(folder / "finetune_scores.json", scores, private=True)

    for row in rows:
        print("  ".join(str(cell) for cell in _readable(row).values()))

    print(f"tables: {folder.resolve()}")
    return 0


def _plans(arguments: Arguments, opened: Opened) -> list[Plan]:
    """What is learned: one task, or one for each of several values that enough patients have."""
    cohort = opened.cohort
    label = choose_label(cohort.studies, arguments.label)
    _check_views(arguments, opened, label)
    plans, failures = [], []
    for positive in choose_positive(cohort.studies, label, arguments.positive):
        plan = Plan(
            label=label,
            positive=positive,
            fractions=tuple(sorted(arguments.fractions)),
            seeds=arguments.seeds,
            views=arguments.views,
            modes=arguments.modes,
            tuning=Tuning(epochs=arguments.epochs),
        )
        try:
            made = [task(cohort, label, positive, seed) for seed in plan.seeds]
        except ValueError as error:
            failures.append(error)
        else:
            plans.append(plan)
            _say_few(plan, made)

    if not plans:
        raise failures[0]

    shown = ", ".join(" or ".join(plan.positive) for plan in plans)
    print(f"learning {label}: {shown} against all others")
    for error in failures:
        print(f"left out: {error}", file=sys.stderr)

    return plans


def _say_few(plan: Plan, made: Sequence[Task]) -> None:
    """Say where a fraction is too small to hold two studies of each kind: more are used."""
    for fraction in plan.fractions:
        asked = round(fraction * len(made[0].train))
        used = [len(problem.subset(fraction)) for problem in made]
        if max(used) > asked:
            span = str(min(used)) if min(used) == max(used) else f"{min(used)} to {max(used)}"
            print(
                f"note: --fractions {fraction:g} of {len(made[0].train)} training studies is "
                f"{asked}; {span} are used, so that two of each kind are among them",
                file=sys.stderr,
            )


def _check_views(arguments: Arguments, opened: Opened, label: str) -> None:
    """Refuse to learn from images that no labelled patient has: the area would be 0.5."""
    labelled = [study for study in opened.cohort.studies if study.label(label) is not None]
    there = {
        view
        for study in labelled
        for view, source in zip(VIEWS, study.views, strict=True)
        if source is not None
    }
    if not there & set(arguments.views):
        raise ValueError(
            f"no patient with the label {label} has an image of --views "
            f"{' '.join(arguments.views)}; they have {' '.join(sorted(there))}"
        )


def _scores(outcome: Outcome) -> list[dict[str, object]]:
    return [
        {"start": key[0], "mode": key[1], "fraction": key[2], "scores": scores.tolist()}
        for key, scores in outcome.scores.items()
    ]


def _keep(outcome: Outcome, opened: Opened, number: int, task: str) -> None:
    """The tuned encoder as safetensors; of several tasks the others have a number."""
    if outcome.classifier is None:
        return

    state = outcome.classifier.state_dict()
    name = f"finetuned{f'-{number}' if number > 1 else ''}.safetensors"
    told = {TASK: task} | ({ORIGIN: opened.origin.weights} if opened.origin else {})
    _write(opened.place / name, state, told)


def _task(plan: Plan) -> str:
    """What a plan learns: an encoder of one task is not shown beside the table of another."""
    return json.dumps({"label": plan.label, "positive": plan.positive, "views": plan.views})


def _starts(arguments: Arguments, opened: Opened) -> dict[str, RFPMSS]:
    vocabulary = opened.tokenizer.get_vocab_size()
    starts = {
        PRETRAINED: opened.model,
        RANDOM: random_start(opened.config, vocabulary).to(arguments.device),
    }
    for entry in arguments.baseline:
        name, _, folder = entry.partition("=")
        other = load_other(
            *(Path(folder), arguments.device, opened.cohort, f"--baseline {name}"),
            allow_change=arguments.allow_config_change,
        )
        if other.config.data.size != opened.config.data.size:
            raise ValueError(
                f"--baseline must have images of {opened.config.data.size} pixels, "
                f"got {other.config.data.size} in {name}"
            )

        starts[name] = other.model

    return starts | _trained(arguments, opened) | _published(arguments, opened)


def _trained(arguments: Arguments, opened: Opened) -> dict[str, RFPMSS]:
    """The baselines that are pretrained now, or stand in the run's folder from before."""
    config, epochs, device = opened.config, arguments.baseline_epochs, arguments.device
    found = {}
    for name in arguments.train_baseline:
        # The length is part of the name: another one is another baseline.
        folder = arguments.run_dir / "baselines" / f"{name}-{epochs or config.train.epochs}"
        if name == LABELS:
            found[name] = _labels(arguments, opened, folder / "image.safetensors")
            continue
        allow = arguments.allow_config_change
        train_other(name, config, opened.manifest, folder, device, epochs, allow_change=allow)
        what = f"--train-baseline {name}"
        found[name] = load_other(folder, device, opened.cohort, what, allow_change=allow).model

    return found


def _labels(arguments: Arguments, opened: Opened, path: Path) -> RFPMSS:
    """The encoder that learned the findings of the reports, now or for the same request before.

    Raises:
        ValueError: if the file is damaged, or of another cohort, configuration or code.
    """
    config, device = opened.config, arguments.device
    wanted = record.make(config, opened.manifest, cohort=opened.cohort.fingerprint)
    vocabulary = opened.tokenizer.get_vocab_size()

    if not path.is_file():
        epochs = arguments.baseline_epochs
        made = train_labels(config, opened.cohort, opened.tokenizer, device, epochs)
        _write(path, made.image.state_dict(), {RECORD: record.dumps(wanted)})

    model = random_start(config, vocabulary).to(device)
    told = load_encoder(path, model.image)
    if not arguments.allow_config_change:
        try:
            lines = record.differences(record.loads(told[RECORD]), wanted)
        except (KeyError, ValueError, AttributeError, RecursionError):
            lines = ["  a cohort that is not known"]
        if lines:
            raise ValueError(
                f"--train-baseline labels must be of this cohort, configuration and code, got "
                f"{path} with\n" + "\n".join(lines) + "\nremove it to train it again, or pass "
                "--allow-config-change to take it as it is"
            )

    return model


def _write(path: Path, state: Mapping[str, Tensor], told: dict[str, str] | None = None) -> None:
    """Write weights, and what is said of them, whole or not at all."""
    with whole(path) as file:
        tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
        file.write(save(tensors, told))


def _published(arguments: Arguments, opened: Opened) -> dict[str, RFPMSS]:
    """The same encoder with published weights, if a copy is named."""
    if arguments.image_weights is None:
        return {}

    only = {"image_weights": str(arguments.image_weights), "text_weights": None, "text": None}
    config = opened.config.model.model_copy(update=only)
    model = random_start(opened.config, opened.tokenizer.get_vocab_size())
    for match in load(model, config):
        print(match, file=sys.stderr)

    return {PUBLISHED: model.to(arguments.device)}


def _readable(row: dict[str, object]) -> dict[str, object]:
    def number(name: str, digits: int = 3) -> str:
        value = row[name]
        return "-" if value is None else f"{float(str(value)):.{digits}g}"

    return {
        **({"Value": row["value"]} if "value" in row else {}),
        "Start": row["start"],
        "Mode": row["mode"],
        "Labels": f"{100 * float(str(row['fraction'])):g} %",
        "AUC (95 %)": f"{number('auc')} ({number('auc_low')}, {number('auc_high')})",
        "SD over seeds": number("auc_sd", 2),
        "p (DeLong)": number("p_delong", 2),
        "p (bootstrap)": number("p_bootstrap", 2),
        "p (Holm)": number("p_holm", 2),
    }
