"""Every finding asked of every hospital: what the tables hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rfpmss.evaluation.prompted.table import Cases, RowOf, Rule, by_group, figures, gap, rule

if TYPE_CHECKING:
    from rfpmss.evaluation.prompted.prompts import Prompt, Sentences
    from rfpmss.evaluation.prompted.scores import Reader, Seen


@dataclass
class Tables:
    """What is found."""

    findings: list[RowOf] = field(default_factory=list)
    """Of the cohort's own held-out patients, a row a finding and language."""
    groups: list[RowOf] = field(default_factory=list)
    """Of all hospitals, a row a value of a group."""
    gaps: list[RowOf] = field(default_factory=list)
    """Best and worst value of each group."""
    scores: list[RowOf] = field(default_factory=list)
    """Of single patients."""


@dataclass(frozen=True)
class Asked:
    """A model and the studies it is asked about."""

    reader: Reader
    validation: Seen | None
    """Choose threshold and temperature; None: nobody does."""
    looked: Sequence[Seen]
    """The cohort's own held-out studies, then those of other hospitals."""
    groups: Mapping[str, np.ndarray]
    """The value of each of these studies, by what the groups are of."""

    def score(self, found: Tables, prompt: Prompt, language: str) -> None:
        """Add the rows of one finding in one language."""
        said = prompt.languages[language]
        parts = [self._cases(seen, prompt, said) for seen in self.looked]
        chosen = self._rule(prompt, said)
        home, known, truth = parts[0]

        name: RowOf = {"finding": prompt.name, "language": language}
        own = home.take(known)
        found.findings.append(name | {"truth": truth} | figures(own, chosen))
        found.scores.append(
            name | {"logits": own.logits.tolist(), "positive": own.positive.tolist()}
        )

        there = np.concatenate([part[1] for part in parts])
        everybody = Cases.join([part[0] for part in parts]).take(there)
        for group, values in self.groups.items():
            rows = list(by_group(everybody, chosen, group, values[there]))
            found.groups += [name | row for row, _ in rows]
            difference = gap(rows)
            if difference is not None:
                found.gaps.append(name | difference)

    def _rule(self, prompt: Prompt, said: Sentences) -> Rule:
        if self.validation is None:
            return Rule(note="no threshold and temperature: nobody is left for validation")

        cases, known, _ = self._cases(self.validation, prompt, said)
        return rule(cases.take(known))

    def _cases(self, seen: Seen, prompt: Prompt, said: Sentences) -> tuple[Cases, np.ndarray, str]:
        """Scores of all studies, of which the truth is known, and whence."""
        positive, known, source = seen.truth(prompt)
        patients = np.array([study.patient_id for study in seen.studies])
        return Cases(self.reader.logits(seen.vectors, said), positive, patients), known, source
