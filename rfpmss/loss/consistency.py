"""Eq. 5 and 6: anchor assignments kept alike in the input space and in the joint space.

The only file that solves assignment problems.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor

import multisk
from rfpmss.config import MODALITIES, AssignmentConfig, LossConfig
from rfpmss.loss.masked import masked_mean
from rfpmss.precision import precise


def consistency(
    own: Float[Tensor, "b m k"],
    cross: Float[Tensor, "b m m k"],
    own_target: Float[Tensor, "b m k"],
    cross_target: Float[Tensor, "b m m k"],
    present: Bool[Tensor, "b m"],
    config: LossConfig,
) -> Float[Tensor, ""]:
    """Eq. 6: over all ordered pairs (a, m) of modalities, both directions of Eq. 5.

    Args:
        own: cosines of modality m's input-space features with its input-space anchors.
        cross: [study, a, m, anchor], cosines of modality a's joint-space features with modality
            m's joint-space anchors.
        own_target: assignment M of ``own``; no gradient flows into it.
        cross_target: assignment M of ``cross``; no gradient flows into it.
        present: a pair counts for the studies that have both modalities.
        config: similarity, clamp and weights.
    """
    own_logit, cross_logit = (similarity(x, config) for x in (own, cross))
    # Eq. 5, term alpha: the input space predicts the assignment of the joint space; beta: back.
    alpha = _cross_entropy(own_logit[:, None].expand_as(cross_logit), cross_target)
    beta = _cross_entropy(cross_logit, own_target[:, None].expand_as(cross_logit))
    pair = present[:, :, None] & present[:, None, :]
    terms = masked_mean(alpha + beta, pair)
    return (terms * pair_weights(config).to(terms)).sum()


def similarity(cosine: Float[Tensor, "*s"], config: LossConfig) -> Float[Tensor, "*s"]:
    """sim(a, b) from the cosine, in float32 or better.

    ``product`` exp(cos / tau), ``sum`` exp(cos / 2 tau) (the norms of unit vectors add up to 2),
    ``logit`` cos / tau; each clamped to at most ``config.max_logit`` when that is set. Taken as a
    logit, exp(cos / 0.1) lies between 4.5e-5 and 22,026, so that the binary cross-entropy of an
    anchor that is not assigned never falls below ln 2 and reaches 148 at a cosine of 0.5.
    """
    scale = 2 * config.temperature if config.similarity == "sum" else config.temperature
    value = precise(cosine) / scale
    if config.similarity != "logit":
        value = value.exp()
    return value if config.max_logit is None else value.clamp(max=config.max_logit)


def pair_weights(config: LossConfig) -> Float[Tensor, "m m"]:
    """Weights alpha = beta of Eq. 5: one for pairs that touch the report, one for the others."""
    shape = (len(MODALITIES), len(MODALITIES))
    weights = torch.full(shape, config.other_weight, dtype=torch.float64)
    report = MODALITIES.index("report")
    weights[report, :] = weights[:, report] = config.report_weight
    return weights


@torch.no_grad()
def targets(
    own: Float[Tensor, "n m k"],
    cross: Float[Tensor, "n m m k"],
    present: Bool[Tensor, "n m"],
    assignment: AssignmentConfig,
    loss: LossConfig,
) -> tuple[Float[Tensor, "n m k"], Float[Tensor, "n m m k"]]:
    """The assignments M(.) of all rows, read out as targets in [0, 1]; one batched solve.

    The m own-space and m * m cross terms are 20 problems for four modalities. A row of an absent
    modality takes no part in a problem.
    """
    modalities = own.shape[1]
    scores = torch.cat([rearrange(own, "n m k -> m n k"), rearrange(cross, "n a m k -> (a m) n k")])
    rows = rearrange(present, "n m -> m n")
    rows = torch.cat([rows, repeat(rows, "a n -> (a m) n", m=modalities)])
    plan = read_out(assign(precise(scores), rows, assignment), loss.readout)
    return (
        rearrange(plan[:modalities], "m n k -> n m k"),
        rearrange(plan[modalities:], "(a m) n k -> n a m k", a=modalities),
    )


def assign(
    scores: Float[Tensor, "p n k"], rows: Bool[Tensor, "p n"], config: AssignmentConfig
) -> Float[Tensor, "p n k"]:
    """Assign the rows that exist to ``config.k`` anchors each, every anchor loaded alike."""
    if config.solver == "none" or scores.is_meta:  # on the meta device there are only shapes
        return scores
    rows = rows | ~rows.any(dim=1, keepdim=True)  # a problem without rows: any answer will do
    budget = config.k * rows.to(scores.dtype)
    if config.solver == "modified":
        problem = multisk.Transport(eps=config.eps, rows=budget)
    else:
        problem = multisk.MultiAssignment(budget, eps=config.eps, damping=config.damping)
    if config.solver == "newton":
        solver = multisk.Newton()
    else:
        solver = multisk.Sinkhorn(steps=config.steps, order=config.order)
    return multisk.solve(scores, problem, solver).plan


def read_out(plan: Float[Tensor, "*p k"], how: str) -> Float[Tensor, "*p k"]:
    """Turn a plan into targets.

    ``minmax`` scales each row to exactly [0, 1] (a constant row to 0), ``clamp`` cuts to that
    interval, ``raw`` leaves the plan alone.
    """
    if how == "minmax":
        low, high = plan.aminmax(dim=-1, keepdim=True)
        return (plan - low) / (high - low).clamp(min=torch.finfo(plan.dtype).tiny)
    return plan.clamp(0, 1) if how == "clamp" else plan


def _cross_entropy(logit: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy with logits, averaged over the anchors."""
    return F.binary_cross_entropy_with_logits(logit, target, reduction="none").mean(dim=-1)
