"""How much nearer a study's images are to the sentences that say a finding than to the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float

from rfpmss.config import UNK, VIEWS
from rfpmss.data.batches.tokens import encode
from rfpmss.evaluation.labels.values import is_positive
from rfpmss.evaluation.prompted.prompts import PromptError
from rfpmss.evaluation.retrieval.embed import ScoreError, embed
from rfpmss.evaluation.retrieval.ranks import unit
from rfpmss.evaluation.writing.findings import read_findings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.data.batches.batch import Cohort
    from rfpmss.data.study import Study
    from rfpmss.evaluation.prompted.prompts import Prompt, Sentences
    from rfpmss.model.rfpmss import RFPMSS

UNKNOWN = 0.2
"""Share of unknown tokens from which a model does not read a language."""


@dataclass(frozen=True)
class Seen:
    """Studies of one cohort that have an image."""

    hospital: str
    studies: tuple[Study, ...]
    vectors: Float[np.ndarray, "n f"]
    """Study vectors, of unit length."""

    def truth(self, prompt: Prompt) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"], str]:
        """Which studies have the finding, of which it is known, and whence: labels or reports."""
        found = [study.label(prompt.label) for study in self.studies]
        source = "labels"
        if not any(value is not None for value in found):
            source = "reports"
            found = [read_findings(study.report or "").get(prompt.label) for study in self.studies]

        having = np.array([is_positive(value, prompt.values) for value in found], bool)
        return having, np.array([value is not None for value in found], bool), source


def look(
    model: RFPMSS, cohort: Cohort, tokenizer: Tokenizer, indices: np.ndarray, size: int, name: str
) -> Seen:
    """Encode the images of studies; those without an image are left out.

    Args:
        model: trained.
        cohort: of the studies.
        tokenizer: of the run.
        indices: the studies.
        size: studies read at a time.
        name: of the hospital.

    Raises:
        ScoreError: if no study has an image, or a vector is no number.
    """
    with_image = [
        index
        for index in map(int, indices)
        if any(source is not None for source in cohort.studies[index].views)
    ]
    if not with_image:
        raise ScoreError(f"a held-out study of {name} must have an image, got none that has")

    found = embed(model, cohort, tokenizer, np.array(with_image), size)
    there = found.present[:, : len(VIEWS)].any(axis=1)
    studies = tuple(cohort.studies[index] for index in found.index[there])
    return Seen(name, studies, unit(found.study[there]))


class Reader:
    """The sentences of prompts as vectors.

    Args:
        model: trained.
        tokenizer: of the run.
        heat: temperature of Eq. 7; it scales cosines as training did.
    """

    def __init__(self, model: RFPMSS, tokenizer: Tokenizer, heat: float) -> None:
        self.model, self.tokenizer, self.heat = model, tokenizer, heat

    def unread(self, said: Sentences) -> float:
        """Share of tokens that the model does not know."""
        coded = self.tokenizer.encode_batch(
            [*said.positive, *said.negative], add_special_tokens=False
        )
        ids = np.array([word for item in coded for word in item.ids])
        return float((ids == UNK).mean()) if len(ids) else 1.0

    def logits(self, vectors: Float[np.ndarray, "n f"], said: Sentences) -> Float[np.ndarray, " n"]:
        """Cosine with the mean positive sentence less that with the mean negative one, over tau.

        Of two captions this is the logit of the first (Radford et al., 2021).

        Args:
            vectors: of studies, of unit length.
            said: the sentences.

        Raises:
            PromptError: if a sentence is longer than the model reads.
        """
        return vectors @ (self._mean(said.positive) - self._mean(said.negative)) / self.heat

    @torch.no_grad()
    def _mean(self, sentences: Sequence[str]) -> Float[np.ndarray, " f"]:
        length = self.model.data.tokens
        coded = self.tokenizer.encode_batch(list(sentences), add_special_tokens=False)
        longest = max(len(item.ids) for item in coded) + 2
        if longest > length:
            raise PromptError(
                f"--prompts must give sentences of at most data.tokens={length} tokens, "
                f"got one of {longest}"
            )

        training = self.model.training
        self.model.eval()
        try:
            device = next(self.model.parameters()).device
            tokens = encode(self.tokenizer, sentences, length).to(device)
            present = torch.ones(len(tokens), dtype=torch.bool, device=device)
            text = self.model.report(tokens, present)
            vectors = self.model.report.compared(text.vectors, present)
        finally:
            self.model.train(training)

        return unit(unit(vectors.float().cpu().numpy()).mean(axis=0))
