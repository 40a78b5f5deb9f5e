"""One patient of a trained run: scans, slide, report, words' gaze, nearest patients."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rfpmss.config import MODALITIES, PAD, VIEWS
from rfpmss.data.batches.tokens import decode
from rfpmss.evaluation.attention.maps import enlarge, gaze
from rfpmss.evaluation.attention.slices import Stack, stack_of, threshold_of
from rfpmss.evaluation.page.examples import Compared, compare, shared, write_reports
from rfpmss.evaluation.page.pictures import Picture, heat_uri, pictures
from rfpmss.evaluation.retrieval.embed import SIDES, Embeddings, embed, match

if TYPE_CHECKING:
    from rfpmss.data.batches.batch import Batch
    from rfpmss.data.study import Study
    from rfpmss.runs.opened import Opened

MAIN = ("study", "report")
"""The direction that is shown first."""

SHOWN = 4
"""Nearest patients shown for each direction."""


@dataclass(frozen=True)
class Neighbour:
    """A study of another patient."""

    study_id: str
    similarity: float
    pictures: list[Picture]
    report: str
    compared: list[Compared]
    """Findings of its report against those of the patient's."""


@dataclass(frozen=True)
class Direction:
    """The nearest patients by one side of the query against one side of the gallery."""

    query: str
    gallery: str
    items: int
    """In the gallery."""
    own: int | None
    """Place of the patient's own item, from 1; None where there is none."""
    found: list[Neighbour]


@dataclass(frozen=True)
class Word:
    """A token of the report and where the decoder looked when it chose it."""

    text: str
    heats: dict[str, str]
    """``data:`` URI for each view."""


@dataclass(frozen=True)
class Listed:
    """A line of the list of studies."""

    study_id: str
    split: str
    has: tuple[bool, ...]
    """Which of MODALITIES."""


@dataclass(frozen=True)
class Around:
    """Where a study stands in the list."""

    visits: list[str]
    """All studies of its patient."""
    before: str = ""
    """First study of the patient before; empty: there is none."""
    after: str = ""
    """First study of the patient after."""


@dataclass(frozen=True)
class Patient:
    """What is shown of one study."""

    study_id: str
    split: str
    labels: tuple[tuple[str, str], ...]
    around: Around
    stacks: list[Stack]
    report: str
    generated: str | None
    """None where there are no images to write it from."""
    compared: list[Compared]
    """Findings of the generated report against the original's."""
    words: list[Word]
    first: list[Picture]
    """The first image of each view, under the gaze of the words."""
    nearest: list[Direction]


@dataclass
class Looker:
    """An opened run that shows one patient after the other; a split is encoded once."""

    opened: Opened
    folder: Path
    """``evaluation`` of the run."""
    _embedded: dict[str, Embeddings] = field(default_factory=dict)

    def studies(self) -> list[str]:
        """Names of all studies, the held-out first."""
        rank = {"test": 0, "val": 1}
        ordered = sorted(self.opened.cohort.studies, key=lambda study: rank.get(study.split, 2))
        return [study.study_id for study in ordered]

    def listed(self) -> list[Listed]:
        """All studies with what they have, the held-out first."""
        by = {study.study_id: study for study in self.opened.cohort.studies}
        chosen = [by[name] for name in self.studies()]
        return [Listed(study.study_id, study.split, _has(study)) for study in chosen]

    def index(self, study: str) -> int:
        """The place of a study in the cohort.

        Raises:
            ValueError: if there is none of that name.
        """
        names = [entry.study_id for entry in self.opened.cohort.studies]
        if study not in names:
            near = difflib.get_close_matches(study, names, n=3, cutoff=0.0)
            raise ValueError(
                f"STUDY must be one of the cohort's {len(names)} studies, such as "
                f"{', '.join(near)}; got {study}"
            )

        return names.index(study)

    def look(self, study: str) -> Patient:
        """Everything about one study.

        Raises:
            ValueError: if there is none of that name.
        """
        index = self.index(study)
        opened = self.opened
        entry = opened.cohort.studies[index]
        model, cohort, tokenizer = opened.model.eval(), opened.cohort, opened.tokenizer
        generated = None
        batch = cohort.batch([index], tokenizer, augment=None)
        if bool(batch.present[0, : len(VIEWS)].any()):
            [generated] = write_reports(model, cohort, tokenizer, np.array([index]), 1)

        judged = generated is not None and entry.report
        return Patient(
            study_id=entry.study_id,
            split=entry.split,
            labels=entry.labels,
            around=self._around(index),
            stacks=[
                stack
                for view in VIEWS
                if (
                    stack := stack_of(
                        model, cohort, tokenizer, index, view, threshold_of(self.folder, view)
                    )
                )
            ],
            report=entry.report or "",
            generated=generated,
            compared=compare(generated or "", entry.report or "") if judged else [],
            words=self._words(batch),
            first=pictures(batch, 0),
            nearest=self._nearest(index),
        )

    def _around(self, index: int) -> Around:
        studies = self.opened.cohort.studies
        owner = {study.study_id: study.patient_id for study in studies}
        visits: dict[str, list[str]] = {}
        for name in self.studies():
            visits.setdefault(owner[name], []).append(name)

        people = list(visits)
        place = people.index(studies[index].patient_id)
        return Around(
            visits=visits[people[place]],
            before=visits[people[place - 1]][0] if place else "",
            after=visits[people[place + 1]][0] if place + 1 < len(people) else "",
        )

    def _words(self, batch: Batch) -> list[Word]:
        opened = self.opened
        told = bool(batch.present[0, MODALITIES.index("report")])
        decoding = opened.config.model.backbone == "vit" and opened.config.model.fusion != "none"
        if not told or not decoding or not bool(batch.present[0, : len(VIEWS)].any()):
            return []

        moved = batch.to(next(opened.model.parameters()).device)
        looks = gaze(opened.model, moved)[0].cpu()
        words = []
        for place, token in enumerate(batch.tokens[0, 1 : len(looks) + 1]):
            text = decode(opened.tokenizer, token[None])
            if int(token) == PAD or not text:
                continue
            heats = enlarge(looks[place], opened.config.data.size)
            drawn = {
                view: heat_uri(heats[i])
                for i, view in enumerate(VIEWS)
                if bool(batch.present[0, i])
            }
            words.append(Word(text, drawn))

        return words

    def _embeddings(self, split: str) -> Embeddings:
        if split not in self._embedded:
            opened = self.opened
            indices = opened.cohort.indices(split)
            self._embedded[split] = embed(
                opened.model, opened.cohort, opened.tokenizer, indices, opened.config.train.batch
            )
        return self._embedded[split]

    def _nearest(self, index: int) -> list[Direction]:
        cohort = self.opened.cohort
        embeddings = self._embeddings(cohort.studies[index].split)
        position = int(np.flatnonzero(embeddings.index == index)[0])
        found = [
            self._direction(embeddings, position, query, gallery)
            for query in SIDES
            for gallery in SIDES
            if query != gallery
        ]
        known = [direction for direction in found if direction is not None]

        return sorted(known, key=lambda one: (one.query, one.gallery) != MAIN)

    def _direction(
        self, embeddings: Embeddings, position: int, query: str, gallery: str
    ) -> Direction | None:
        matching = match(embeddings, query, gallery)
        rows = np.flatnonzero(matching.rows == position)
        if not len(rows) or not len(matching.columns):
            return None

        scores = matching.scores[rows[0]]
        order = np.argsort(-scores, kind="stable")
        columns = matching.columns[order]
        mine = embeddings.patient[columns] == embeddings.patient[position]
        others = np.flatnonzero(~mine)[:SHOWN]
        chosen = embeddings.index[columns[others]]
        cohort = self.opened.cohort
        batch = cohort.batch(chosen, self.opened.tokenizer, augment=None)
        asked = cohort.studies[int(embeddings.index[position])].report or ""

        return Direction(
            query=query,
            gallery=gallery,
            items=len(columns),
            own=int(np.flatnonzero(mine)[0]) + 1 if mine.any() else None,
            found=[
                Neighbour(
                    study_id=cohort.studies[int(other)].study_id,
                    similarity=float(scores[order[others[row]]]),
                    pictures=pictures(batch, row),
                    report=cohort.studies[int(other)].report or "",
                    compared=shared(cohort.studies[int(other)].report or "", asked),
                )
                for row, other in enumerate(chosen)
            ],
        )


def _has(study: Study) -> tuple[bool, ...]:
    return (*(view is not None for view in study.views), study.report is not None)
