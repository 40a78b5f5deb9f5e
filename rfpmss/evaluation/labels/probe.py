"""Few labels: a linear probe or full tuning of the image encoder, by patient (Table 2)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from rfpmss.config import MODALITIES, VIEWS
from rfpmss.data.batches.tokens import swap_sides
from rfpmss.evaluation.labels.values import FEW, is_positive

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.data.batches.batch import Batch, Cohort
    from rfpmss.model.rfpmss import RFPMSS

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse regularisations tried by the linear probe, chosen on validation patients."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Studies with a yes-or-no label, apart by patient."""

    name: str
    train: Int[np.ndarray, " n"]
    """Places in the cohort of the studies that may be learned from, in the order of nesting."""
    validation: Int[np.ndarray, " v"]
    test: Int[np.ndarray, " t"]
    positive: Bool[np.ndarray, " c"]
    """The label of every study of the cohort; False where it is not known."""
    mirrored: Bool[np.ndarray, " c"]
    """The label of every study turned left to right: another one where it names a side."""

    def subset(self, fraction: float) -> Int[np.ndarray, " k"]:
        """The first ``fraction`` of the training studies, at least two of each kind."""
        labels = self.positive[self.train]
        count = max(1, round(fraction * len(labels)))
        ranks = np.where(labels, labels.cumsum(), (~labels).cumsum())
        needed = np.flatnonzero(ranks <= 2)

        return self.train[: max(count, needed.max(initial=0) + 1)]

    def targets(
        self, studies: Int[np.ndarray, " b"], flip: Bool[np.ndarray, " b"]
    ) -> Bool[np.ndarray, " b"]:
        """Labels of studies of which some are shown mirrored."""
        return np.where(flip, self.mirrored[studies], self.positive[studies])


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How the whole encoder is tuned."""

    epochs: int = 15
    """Most passes over the subset."""
    patience: int = 4
    """Passes without a better validation area before stopping."""
    steps: int = 8
    """Fewest optimisation steps in a pass; small subsets are gone through several times."""
    batch: int = 32
    lr: float = 3e-4


def task(
    cohort: Cohort, name: str, values: Sequence[str], seed: int, validation: float = 0.15
) -> Task:
    """Studies labelled ``name``; those with one of ``values`` are positive.

    Validation patients are the split ``val``, or where that has too few of a kind a share of the
    patients of train and val, who are then never learned from. The order of nesting keeps the share
    of positives even.

    Args:
        cohort: with labels.
        name: of the label.
        values: that are positive, or bounds such as ``>=365``; see `labels.is_positive`.
        seed: of the order.
        validation: share of the patients that is held out of training if it must be.

    Raises:
        ValueError: if training, validation or test has not two patients of each kind.
    """
    labels = [study.label(name) for study in cohort.studies]
    known = np.array([label is not None for label in labels], bool)
    positive = np.array([is_positive(label, values) for label in labels], bool)
    mirrored = np.array(
        [label is not None and is_positive(swap_sides(label), values) for label in labels], bool
    )
    patients = np.array([study.patient_id for study in cohort.studies])
    split = {
        part: (found := np.asarray(cohort.indices(part), np.int64))[known[found]]
        for part in ("train", "val", "test")
    }
    train, held = split["train"], split["val"]
    few = min(_patients(held, positive, patients)) < FEW
    if few:
        train = np.concatenate([train, held])

    train = train[nested_order(positive[train], patients[train], seed)]
    if few:
        train, held = _hold_out(train, positive, patients, validation)

    for part, studies in (("train", train), ("val", held), ("test", split["test"])):
        counts = _patients(studies, positive, patients)
        if min(counts) < FEW:
            raise ValueError(
                f"too few patients to learn {name} {' or '.join(values)}: for {_USES[part]} there "
                f"are {counts[1]} with it and {counts[0]} without, {FEW} of each are the least; "
                "add labelled patients, or prepare them with larger shares of --splits"
            )

    title = f"{name} {' or '.join(values)}"
    return Task(
        name=title,
        train=train,
        validation=held,
        test=split["test"],
        positive=positive,
        mirrored=mirrored,
    )


_USES = {"train": "training", "val": "validation", "test": "the test"}


def _patients(
    studies: Int[np.ndarray, " n"], positive: Bool[np.ndarray, " c"], patients: np.ndarray
) -> tuple[int, int]:
    """Patients with a negative and with a positive study."""
    kinds = positive[studies]
    without, having = (len(np.unique(patients[studies[kinds == k]])) for k in (False, True))
    return without, having


def _hold_out(
    train: Int[np.ndarray, " n"],
    positive: Bool[np.ndarray, " c"],
    patients: np.ndarray,
    validation: float,
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " v"]]:
    """Training and validation out of studies in nested order, apart by patient."""
    # Every m-th of the order, so that validation has the same share of positives.
    names = list(dict.fromkeys(patients[train].tolist()))
    step = max(2, round(1 / validation))
    apart = np.isin(patients[train], names[::step])
    if min(_patients(train[apart], positive, patients)) < FEW:
        # So few that chance decides who is held out: the share of each kind, two at the least.
        chosen: list[str] = []
        for kind in (False, True):
            mine = list(dict.fromkeys(patients[train[positive[train] == kind]].tolist()))
            chosen += mine[-max(FEW, round(validation * len(mine))) :]
        apart = np.isin(patients[train], chosen)

    return train[~apart], train[apart]


def nested_order(
    positive: Bool[np.ndarray, " n"], patients: Shaped[np.ndarray, " n"], seed: int
) -> Int[np.ndarray, " n"]:
    """A random order, whole patients together, whose every beginning has an even share of kinds.

    Example:
        >>> nested_order(np.array([True, False, False, True]), np.arange(4), 0).shape
        (4,)
    """
    names, group = np.unique(patients, return_inverse=True)
    kinds = np.zeros(len(names), bool)
    np.logical_or.at(kinds, group, positive)
    draw = np.random.default_rng(seed)
    place = np.empty(len(names))
    for kind in (False, True):
        of_kind = np.flatnonzero(kinds == kind)
        place[draw.permutation(of_kind)] = (np.arange(len(of_kind)) + draw.random()) / max(
            1, len(of_kind)
        )

    return np.argsort(place[group], kind="stable")


def linear_probe(
    features: Float[np.ndarray, "c f"], problem: Task, fraction: float
) -> Float[np.ndarray, " t"]:
    """Scores of the test studies by a logistic regression on fixed features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    chosen = problem.subset(fraction)
    mean, deviation = features[chosen].mean(axis=0), features[chosen].std(axis=0)
    scaled = (features - mean) / np.where(deviation > 1e-8, deviation, 1.0)
    best, scores = -np.inf, np.empty(0)
    for strength in STRENGTHS:
        fitted = LogisticRegression(C=strength, max_iter=2000).fit(
            scaled[chosen], problem.positive[chosen]
        )
        held = fitted.decision_function(scaled[problem.validation])
        area = roc_auc_score(problem.positive[problem.validation], held)
        if area > best:
            best, scores = area, fitted.decision_function(scaled[problem.test])

    return scores


class Classifier(nn.Module):
    """The image encoder with one linear output on the vectors of all views."""

    def __init__(self, model: RFPMSS, views: Sequence[str] = VIEWS) -> None:
        super().__init__()
        self.views = tuple(views)
        self.image = copy.deepcopy(model.image)
        self.head = nn.LazyLinear(1)

    def forward(self, batch: Batch) -> Float[Tensor, " b"]:
        """Logits; an absent view is zero."""
        vectors = self.image(batch.images, only(batch.present, self.views), batch.shown).vectors
        return self.head(vectors.flatten(1))[:, 0]


def tune(
    model: RFPMSS,
    cohort: Cohort,
    tokenizer: Tokenizer,
    problem: Task,
    fraction: float,
    seed: int,
    views: Sequence[str],
    tuning: Tuning,
) -> tuple[Classifier, Float[np.ndarray, " t"]]:
    """Tune encoder and head on a subset; return the best on validation and its test scores."""
    from sklearn.metrics import roc_auc_score

    torch.manual_seed(seed)
    device = next(model.parameters()).device
    classifier = Classifier(model, views).to(device)
    predict(classifier, cohort, tokenizer, problem.validation[:2])  # sizes the lazy layer
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=tuning.lr, weight_decay=0.01)
    chosen, draw = problem.subset(fraction), np.random.default_rng(seed)
    held = problem.positive[problem.validation]
    best, state, waited = -np.inf, copy.deepcopy(classifier.state_dict()), 0
    for epoch in range(tuning.epochs):
        classifier.train()
        for indices in _batches(chosen, tuning, draw):
            batch = cohort.batch(indices, tokenizer, augment=(seed, epoch)).to(device)
            flip = cohort.flips(indices, augment=(seed, epoch))
            target = torch.from_numpy(problem.targets(indices, flip)).float().to(device)
            loss = F.binary_cross_entropy_with_logits(classifier(batch), target)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
            optimiser.step()

        area = roc_auc_score(held, predict(classifier, cohort, tokenizer, problem.validation))
        waited += 1
        if area > best:
            best, state, waited = area, copy.deepcopy(classifier.state_dict()), 0
        if waited >= tuning.patience:
            break

    classifier.load_state_dict(state)
    return classifier, predict(classifier, cohort, tokenizer, problem.test)


def predict(
    classifier: Classifier, cohort: Cohort, tokenizer: Tokenizer, indices: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Logits without augmentation."""
    device = next(classifier.image.parameters()).device
    classifier.eval()
    with torch.no_grad():
        parts = [
            classifier(cohort.batch(part, tokenizer, augment=None).to(device)).cpu().numpy()
            for part in np.array_split(indices, max(1, len(indices) // 64))
        ]

    return _finite(np.concatenate(parts).astype(float), "scores of the tuned encoder")


def _finite(found: Float[np.ndarray, ...], what: str) -> Float[np.ndarray, ...]:
    """Refuse infinite or undefined values before statistics take them.

    Raises:
        ValueError: says of what.
    """
    if not np.isfinite(found).all():
        raise ValueError(
            f"{what} must be finite, got infinite or undefined values; start from other weights, "
            f"or train them again with a lower train.lr"
        )
    return found


def image_features(
    model: RFPMSS, cohort: Cohort, tokenizer: Tokenizer, views: Sequence[str] = VIEWS
) -> Float[np.ndarray, "c f"]:
    """Vectors of ``views`` of every study of the cohort, side by side; absent views are zero."""
    device = next(model.parameters()).device
    everything = np.arange(len(cohort.studies))
    model.eval()
    found = []
    with torch.no_grad():
        for part in np.array_split(everything, max(1, len(everything) // 64)):
            batch = cohort.batch(part, tokenizer, augment=None).to(device)
            vectors = model.image(batch.images, only(batch.present, views), batch.shown).vectors
            found.append(vectors.flatten(1).cpu().numpy())

    return _finite(np.concatenate(found).astype(float), "features of the encoder")


def only(present: Bool[Tensor, "b m"], views: Sequence[str]) -> Bool[Tensor, "b m"]:
    """Presence with all but ``views`` taken away."""
    kept = torch.tensor([name in views for name in MODALITIES], device=present.device)
    return present & kept


def _batches(
    chosen: Int[np.ndarray, " k"], tuning: Tuning, draw: np.random.Generator
) -> list[Int[np.ndarray, " b"]]:
    """The subset in random order, repeated until there are ``tuning.steps`` batches."""
    size = min(tuning.batch, len(chosen))
    batches: list[np.ndarray] = []
    while len(batches) < max(tuning.steps, len(chosen) // size):
        order = draw.permutation(chosen)
        batches += [order[i : i + size] for i in range(0, len(order) - size + 1, size)]

    return batches
