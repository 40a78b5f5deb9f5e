"""The page of a run: one HTML file that needs no network and lets none be used."""

from __future__ import annotations

import base64
import hashlib
import math
import platform
import sys
from collections import Counter
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError
from markupsafe import Markup
from safetensors import SafetensorError, safe_open

from rfpmss.common.files import read_text, regular, write_text
from rfpmss.config import MODALITIES, Config
from rfpmss.config.sections import TERMS
from rfpmss.data.batches.tokens import cut
from rfpmss.evaluation.labels.probe import Classifier
from rfpmss.evaluation.page import sections
from rfpmss.evaluation.page.charts import HEIGHT, WIDTH, Curve, curve
from rfpmss.evaluation.page.sources import source
from rfpmss.evaluation.page.tables import (
    percent,
    read_object,
    read_rows,
    trusted,
    write_json,
    write_table,
)
from rfpmss.evaluation.page.targets import write_targets
from rfpmss.evaluation.retrieval.embed import embed
from rfpmss.evaluation.statistics import ENOUGH
from rfpmss.evaluation.structure.learned import learned
from rfpmss.runs.content import ORIGIN, TASK, load_weights
from rfpmss.runs.folder import METRICS, read_history
from rfpmss.runs.origin import Origin, of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.data.batches.batch import Cohort
    from rfpmss.model.rfpmss import RFPMSS

CURVES = ("loss", *TERMS)
"""Curves of the page, in order."""

BOUNDS = ("consistency_trivial", "consistency_floor")
"""What knowing nothing, and knowing every target, gives in Eq. 6; logged since runs know it."""

STORED = ("retrieval", "labels", "ablation", "searches", "prompted")
"""Parts of the page that other commands wrote."""

ELSEWHERE = "retrieval-*_full.json"

MEANING = {
    "loss": "weighted sum of the terms",
    "language": "next word of the report (Eq. 4)",
    "contrast": "study against report (Eq. 7)",
    "nce": "modality against modality (Eq. 8-9)",
    "consistency": "anchor assignments kept alike (Eq. 5-6)",
}

EMPTY: dict[str, Any] = {
    **{"examples": [], "written": [], "findings": [], "wording": {}, "names": []},
    **{"comparisons": [], "overlap": [], "carried": [], "kept": [], "maps": []},
    **{"map_label": "", "map_kinds": [], "grounding": [], "overlays": [], "overlay_method": ""},
    "stacks": [],
}
"""What the sections hold without held-out studies."""

PACKAGES = ("torch", "numpy", "transformers", "tokenizers", "multisk")


def page(
    run_dir: Path,
    model: RFPMSS,
    cohort: Cohort,
    tokenizer: Tokenizer,
    config: Config,
    *,
    history: Path | None = None,
    quick: bool = True,
    origin: Origin | None = None,
) -> Path:
    """Write ``run_dir/report.html`` from the run's files and the model's held-out studies.

    Every number on the page stands in ``run_dir/evaluation/*.json`` first; `sources` says where.

    Args:
        run_dir: holds ``evaluation/retrieval_full.json``.
        model: trained.
        cohort: its test split is shown.
        tokenizer: of the run.
        config: of the run.
        history: of the training; by default ``run_dir/metrics.jsonl``.
        quick: measure attention on a few studies only, as after training.
        origin: which weights and cohort these are; stored scores of others are marked.
    """
    history = history or run_dir / METRICS
    metrics = read_history(history) if history.is_file() else []
    write_json(run_dir / source("curves").file, _columns(metrics))

    content: dict[str, Any] = {
        "config": config,
        "curves": _curves(metrics, config, tokenizer.get_vocab_size()),
        "meaning": MEANING,
        "quick": quick,
        "unscored": cohort.unscored(),
        **_stored(run_dir, origin),
        **_about(run_dir, model, cohort, tokenizer, config, metrics),
        **EMPTY,
    }
    indices = np.asarray(cohort.indices("test"))
    if len(indices) > 1:
        training = model.training
        model.eval()
        embeddings = embed(model, cohort, tokenizer, indices, config.train.batch)
        run = sections.Opened(model, cohort, tokenizer, config, embeddings, run_dir / "evaluation")
        content |= _measured(run, tuned_of(run_dir, model, origin), quick=quick)
        model.train(training)

    content["targets"] = write_targets(run_dir)
    path = run_dir / "report.html"
    stored = [run_dir / source(part).file for part in STORED]
    with trusted(*stored, *(run_dir / "evaluation").glob(ELSEWHERE)):
        write_text(path, render(content), private=True)

    return path


def _stored(run_dir: Path, origin: Origin | None) -> dict[str, Any]:
    """What other commands wrote into the run, and which of it is of other weights."""
    searches = read_object(run_dir / source("searches").file)
    transfer = read_object(run_dir / source("labels").file)
    prompted = read_object(run_dir / source("prompted").file)
    folder = run_dir / "evaluation"
    return {
        "rows": read_rows(run_dir / source("retrieval").file),
        "elsewhere": _elsewhere(folder),
        "grid": read_rows(run_dir / source("ablation").file),
        "transfer": transfer,
        "prompted": prompted,
        "searches": {"findings": []} if searches is None else searches,
        "stale": _stale(folder, origin, labels=transfer, searches=searches, prompted=prompted),
    }


def _measured(run: sections.Opened, tuned: Classifier | None, *, quick: bool) -> dict[str, Any]:
    """The sections that look at the held-out studies, in the order of the page."""
    return (
        sections.examples(run)
        | sections.reports(run)
        | sections.anchors(run)
        | sections.space(run)
        | sections.attention(run, tuned, quick=quick)
    )


def _stale(
    folder: Path, origin: Origin | None, **stored: dict[str, Any] | None
) -> list[tuple[str, str]]:
    """Scores of other commands that are not of these weights: where they stand, and how not."""
    if origin is None:
        return []

    said = {source(part).file: found.get("origin") for part, found in stored.items() if found}
    for path in sorted(folder.glob(ELSEWHERE)):
        said[f"{folder.name}/{path.name}"] = of(folder, path.stem.removesuffix("_full"), path.name)

    return [(file, other) for file, entry in said.items() if (other := origin.other(entry))]


def _about(
    run_dir: Path,
    model: RFPMSS,
    cohort: Cohort,
    tokenizer: Tokenizer,
    config: Config,
    metrics: list[dict[str, Any]],
) -> dict[str, Any]:
    """Sizes, settings and versions of the run; written as they are returned."""
    found = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": metrics[-1]["step"] if metrics else 0,
        "seconds": sum(row.get("seconds", 0.0) for row in metrics),
        "counts": _counts(cohort),
        "cut": cut(tokenizer, cohort.reports(), config.data.tokens).sentence,
        "generated": any(record is not None for record in cohort.records),
        "settings": _settings(config),
        "versions": _versions(),
        "structure": _structure(metrics),
    }
    path = run_dir / source("about").file
    write_json(path, found)
    write_table(path.with_name("cohort.json"), [_flat(row) for row in found["counts"]])

    return found


def _structure(metrics: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The structure loss at the end beside what knowing nothing and knowing all give."""
    found = learned(metrics)
    if found is None:
        return None
    return {**asdict(found), "share": found.share, "sentence": found.sentence}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    modalities = dict(zip(MODALITIES, row["modalities"], strict=True))
    return {name: value for name, value in row.items() if name != "modalities"} | modalities


def _columns(metrics: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Steps and terms of the curves as they were logged; None where a term was not finite."""
    logged = ("step", *CURVES, *BOUNDS)
    names = [name for name in logged if all(name in row for row in metrics)]
    return {
        name: [row[name] if math.isfinite(row[name]) else None for row in metrics] for name in names
    }


def _elsewhere(folder: Path) -> list[dict[str, Any]]:
    """Retrieval in the other cohorts that ``rfpmss.evaluate --data`` has scored."""
    start, end = "retrieval-", "_full"
    return [
        {"name": path.stem[len(start) : -len(end)], "file": path.name, "rows": read_rows(path)}
        for path in sorted(folder.glob(f"{start}*{end}.json"))
    ]


def render(content: dict[str, Any]) -> str:
    """The page of a run.

    Raises:
        LookupError: if a table lacks a field.
    """
    try:
        return fill("page.html", {"chart": (WIDTH, HEIGHT), **content})
    except UndefinedError as error:
        raise LookupError(str(error)) from error


def fill(template: str, content: dict[str, Any]) -> str:
    """Fill a template; everything is escaped, style and script are bound by their hashes."""
    folder = Path(__file__).with_name("templates")
    style = read_text(folder / "page.css")
    script = "".join(read_text(folder / name) for name in ("page.js", "viewer.js"))
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )

    return (
        _environment()
        .get_template(template)
        .render(
            policy=policy,
            style=Markup(style),  # noqa: S704 - our own file, not data
            script=Markup(script),  # noqa: S704
            **content,
        )
    )


@cache
def _environment() -> Environment:
    """The templates, compiled once in a process."""
    environment = Environment(
        loader=PackageLoader("rfpmss.evaluation.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.globals |= {"source": source, "enough": ENOUGH}
    return environment


def tuned_of(run_dir: Path, model: RFPMSS, origin: Origin | None) -> Classifier | None:
    """The encoder that ``rfpmss.finetune`` left, if it is of this model and of its table's task."""
    path = run_dir / "finetuned.safetensors"
    if not path.is_file():
        return None

    tuned = Classifier(model)
    try:
        with safe_open(regular(path), framework="pt") as file:
            said = file.metadata() or {}
        if origin is not None and said.get(ORIGIN) != origin.weights:
            raise ValueError("it was tuned from other weights, or from unknown ones")
        table = read_object(run_dir / source("labels").file)
        if table and said.get(TASK) != table.get(TASK):
            raise ValueError("it was tuned on another label than the table of fine-tuning")
        load_weights(path, tuned, finite=True)
    except (RuntimeError, ValueError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        sys.stderr.write(f"note: {path} is left out of the page: {reason}; finetune again\n")
        return None

    return tuned.to(next(model.parameters()).device).eval()


def _curves(metrics: list[dict], config: Config, vocabulary: int) -> list[Curve]:
    guesses = {  # of cross-entropies over words and over the batch: what Eq. 4 and Eq. 7 are now
        "language": {"guessing a word": math.log(vocabulary)},
        "contrast": {"guessing a report of the batch": math.log(config.train.batch)},
    }
    if end := learned(metrics):
        guesses["consistency"] = {"nothing known of anybody": end.trivial, "all known": end.floor}
    return [
        curve(
            name,
            [row["step"] for row in metrics],
            [row[name] for row in metrics],
            guesses.get(name),
        )
        for name in CURVES
        if metrics and all(name in row for row in metrics)
    ]


def _counts(cohort: Cohort) -> list[dict[str, Any]]:
    """Studies, patients and present modalities of every split."""
    table = []
    for split in sorted({study.split for study in cohort.studies}, reverse=True):
        studies = [study for study in cohort.studies if study.split == split]
        have = Counter(
            name
            for study in studies
            for name, source in zip(MODALITIES, (*study.views, study.report), strict=True)
            if source is not None
        )
        table.append(
            {
                "split": split or "none",
                "studies": len(studies),
                "patients": len({study.patient_id for study in studies}),
                "derived": sum(study.derived for study in studies),
                "modalities": [have[name] for name in MODALITIES],
            }
        )

    return table


def _settings(config: Config) -> list[tuple[str, list[tuple[str, str]]]]:
    """The configuration by section, values as text."""
    sections: list[tuple[str, list[tuple[str, str]]]] = []
    plain = []
    for name, value in config.model_dump(mode="json").items():
        if isinstance(value, dict):
            sections.append((name, [(key, str(inner)) for key, inner in value.items()]))
        else:
            plain.append((name, str(value)))

    return [("run", plain), *sections]


def _versions() -> list[tuple[str, str]]:
    found = [("Python", platform.python_version()), ("system", platform.system())]
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            found.append((name, "not installed, imported from its folder"))

    return found


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
