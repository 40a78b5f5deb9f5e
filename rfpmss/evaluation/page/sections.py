"""What the sections of the page show: each computes, writes its JSON, and returns plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfpmss.config import MODALITIES, VIEWS
from rfpmss.evaluation.attention.grounding import Grounded, by_study, cases, ceiling, ground, table
from rfpmss.evaluation.attention.slices import METHOD, Mark, Stack, channels, sides, stack_of
from rfpmss.evaluation.labels.transfer import random_start
from rfpmss.evaluation.page.examples import (
    compare,
    finding_accuracy,
    retrieved,
    write_reports,
    written,
)
from rfpmss.evaluation.page.pictures import heat_uri
from rfpmss.evaluation.page.tables import write_json, write_table
from rfpmss.evaluation.retrieval.embed import Embeddings
from rfpmss.evaluation.structure import anchors as anchoring
from rfpmss.evaluation.structure import spaces as structure
from rfpmss.evaluation.writing.wording import scores

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.config import Config
    from rfpmss.data.batches.batch import Cohort
    from rfpmss.evaluation.labels.probe import Classifier
    from rfpmss.model.rfpmss import RFPMSS

OVERLAYS = 8
"""Studies whose attention is shown."""

WRITTEN = 128
"""Studies whose report is written: a long one takes a step of the decoder a word."""

STACKS = 4
"""Studies of which all stored images are shown."""

QUICK = 32
"""Studies per split on which attention is measured when the page must be fast."""

LABELS_SHOWN = ("grade", "necrosis", "enhancement", "side")
"""Labels by which the map may be coloured; the first that the cohort has is taken."""


@dataclass(frozen=True)
class Opened:
    """What every section is made from."""

    model: RFPMSS
    cohort: Cohort
    tokenizer: Tokenizer
    config: Config
    embeddings: Embeddings
    folder: Path
    """``evaluation`` of the run."""


@dataclass(frozen=True)
class Overlay:
    """One image of a study with its attention and boxes."""

    study_id: str
    stack: Stack
    iou: float


def reports(run: Opened) -> dict[str, Any]:
    """Generated reports: findings, words, and some beside their originals."""
    indices, studies = run.embeddings.index[:WRITTEN], run.cohort.studies
    texts = write_reports(run.model, run.cohort, run.tokenizer, indices, run.config.train.batch)
    told = [i for i, index in enumerate(indices) if studies[index].report]
    originals = [studies[indices[i]].report or "" for i in told]
    patients = [str(run.embeddings.patient[i]) for i in told]
    findings = finding_accuracy([texts[i] for i in told], originals, patients)
    words = scores([texts[i] for i in told], originals) if told else {}
    write_json(run.folder / "findings.json", findings)
    write_json(run.folder / "wording.json", words)
    write_table(run.folder / "findings.json", findings)
    write_json(
        run.folder / "reports.json",
        [
            {
                **{"study": studies[index].study_id, "generated": text},
                "compared": [asdict(item) for item in compare(text, studies[index].report or "")],
            }
            for index, text in zip(indices, texts, strict=True)
        ],
        private=True,
    )

    return {
        "findings": findings,
        "wording": words,
        "written": written(run.cohort, run.tokenizer, indices, texts),
    }


def examples(run: Opened) -> dict[str, Any]:
    """Retrieved studies with pictures; the file holds all but these and the reports."""
    found = retrieved(run.cohort, run.tokenizer, run.embeddings)
    rows = [asdict(example) for example in found]
    for row in rows:
        for part in (row, *row["hits"]):
            part.pop("report")
            part.pop("pictures", None)

    write_json(run.folder / "examples.json", rows, private=True)
    return {"examples": found}


def anchors(run: Opened) -> dict[str, Any]:
    """Assignments side by side, overlap over all studies, and findings that anchors carry."""
    assignment = run.config.assignment
    names = [run.cohort.studies[index].study_id for index in run.embeddings.index]
    if assignment.solver == "none":
        return {"names": names, "comparisons": [], "overlap": [], "carried": []}

    assigned = anchoring.assignments(run.model, run.embeddings, assignment)
    overlap = anchoring.overlap(assigned, run.embeddings.present, assignment.k)
    values = structure.labels(run.cohort, run.embeddings.index)
    carried = []
    for place, name in enumerate(MODALITIES):
        rows = run.embeddings.present[:, place]
        if rows.sum() > 1 and values:
            some = {
                label: [value for value, row in zip(column, rows, strict=True) if row]
                for label, column in values.items()
            }
            carried.append(
                {"modality": name, "rows": structure.carried(assigned[rows, place, place], some)}
            )

    compared = anchoring.comparisons(run.embeddings, assigned)
    told = [
        {
            **{"title": pair.title, "anchors": pair.anchors},
            "samples": [[one.modality, names[one.study]] for one in pair.samples],
            **{"assigned": pair.assigned.tolist(), "shared": pair.shared},
            "differing": pair.differing,
        }
        for pair in compared
    ]
    write_json(
        run.folder / "anchors.json",
        {"comparisons": told, "overlap": overlap, "information": carried},
        private=True,
    )
    write_table(run.folder / "anchors.json", overlap)

    return {"names": names, "comparisons": compared, "overlap": overlap, "carried": carried}


def space(run: Opened) -> dict[str, Any]:
    """Maps of the joint space and how far it keeps neighbourhoods."""
    kept = structure.preservation(run.embeddings)
    maps = structure.maps(run.embeddings)
    values = structure.labels(run.cohort, run.embeddings.index)
    label = next((name for name in LABELS_SHOWN if name in values), next(iter(values), ""))
    kinds = sorted(set(values.get(label, [])))
    codes = [kinds.index(value) for value in values.get(label, [])]
    write_json(
        run.folder / "structure.json",
        {
            **{"preservation": kept, "label": label, "values": values.get(label, [])},
            "maps": [
                {
                    **{"name": found.name, "xy": found.xy.round(4).tolist()},
                    **{"study": found.study.tolist(), "modality": found.modality.tolist()},
                }
                for found in maps
            ],
        },
        private=True,
    )
    write_table(run.folder / "structure.json", kept)

    return {
        "kept": kept,
        "maps": [
            {
                "name": found.name,
                "points": [
                    (*(round(float(v), 4) for v in xy), int(modality), codes[study] if codes else 0)
                    for xy, modality, study in zip(
                        found.xy, found.modality, found.study, strict=True
                    )
                ],
            }
            for found in maps
        ],
        "map_label": label,
        "map_kinds": kinds,
    }


def attention(run: Opened, tuned: Classifier | None, *, quick: bool) -> dict[str, Any]:
    """Attention against reference boxes, controls beside, for every view that has boxes."""
    nothing: dict[str, Any] = {"grounding": [], "overlays": [], "overlay_method": "", "stacks": []}
    if run.config.model.backbone != "vit" or run.config.model.fusion == "none":
        return nothing

    fresh = random_start(run.config, run.tokenizer.get_vocab_size())
    fresh = fresh.to(next(run.model.parameters()).device)
    rows, studies, overlays, stacks, shown = [], [], [], [], ""
    for view in ("mri", "ct") if quick else ("mri", "ct", "pathology"):
        limit = QUICK if quick else None
        chosen = cases(run.cohort, view, limit)
        if chosen is None:
            continue
        found = ground(run.model, fresh, tuned, run.cohort, run.tokenizer, view, limit)
        most = ceiling(chosen, run.config.data.size, run.config.model.patch)
        rows += table(found, chosen.patients, view, most)
        references = [chosen.references[int(i)] for i in chosen.test]
        names = [run.cohort.studies[int(i)].study_id for i in chosen.test]
        studies += by_study(found, names, references, view)
        if not overlays:
            best = max((f for f in found if not f.control), key=lambda f: f.validation_iou)
            shown = f"{view}, {best.method} {best.variant}".strip()
            overlays = _overlays(run, best, view, chosen.test, references)
            rolled = next(f for f in found if f.method == METHOD)
            stacks = _stacks(run, view, chosen.test, rolled.threshold)

    write_json(run.folder / "attention.json", rows)
    write_table(run.folder / "attention.json", rows)
    write_json(run.folder / "attention_studies.json", studies, private=True)
    return {
        **{"grounding": rows, "overlays": overlays, "overlay_method": shown},
        "stacks": stacks,
    }


def _stacks(run: Opened, view: str, indices: np.ndarray, threshold: float) -> list[dict[str, Any]]:
    """All stored images of the first studies that have more than one."""
    found = []
    for index in map(int, indices[:STACKS]):
        stack = stack_of(run.model, run.cohort, run.tokenizer, index, view, threshold)
        if stack and len(stack.marks) > 1:
            found.append({"study": run.cohort.studies[index].study_id, "stack": stack})

    return found


def _overlays(
    run: Opened,
    found: Grounded,
    view: str,
    indices: np.ndarray,
    references: list[tuple[float, float, float, float]],
) -> list[Overlay]:
    """An image of each of the first studies, with what the best method says of it."""
    batch = run.cohort.batch(indices[:OVERLAYS], run.tokenizer, augment=None)
    images = batch.image(VIEWS.index(view)).cpu().numpy()
    return [
        Overlay(
            study_id=run.cohort.studies[indices[i]].study_id,
            stack=Stack(
                view,
                image.shape[-1],
                channels(view, image[None], few=True)[-1:],
                (Mark(heat_uri(found.heats[i]), sides(references[i]), sides(found.boxes[i])),),
            ),
            iou=float(found.ious[i]),
        )
        for i, image in enumerate(images)
    ]
