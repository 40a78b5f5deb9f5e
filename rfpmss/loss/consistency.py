"""Eq. 5 and 6: anchor assignments kept alike in the input space and in the joint space.

The only file that solves assignment problems.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor

import multisk
from rfpmss.common.distributed import ALONE, Peers
from rfpmss.common.precision import precise
from rfpmss.config import MODALITIES, AssignmentConfig, LossConfig
from rfpmss.loss.masked import masked_mean

ROUNDING = 64
"""Differences within a plan below this many units of rounding are none."""

ALIKE = 0.1
"""Entries of a row that differ by less are not stretched to [0, 1] by ``guarded``: near one half
they come from scores that differ by less than 0.4 ``assignment.eps``."""

FULLEST = 0.9
"""Share of all rows that an anchor of a long tail takes at most."""


def consistency(
    own: Float[Tensor, "b m k"],
    cross: Float[Tensor, "b m m k"],
    own_target: Float[Tensor, "b m k"],
    cross_target: Float[Tensor, "b m m k"],
    present: Bool[Tensor, "b m"],
    config: LossConfig,
    peers: Peers = ALONE,
) -> Float[Tensor, ""]:
    """Eq. 6: over all ordered pairs (a, m) of modalities, both directions of Eq. 5.

    ``config.structure`` takes the ablations of Table 4a: ``no-cross-modal`` keeps the pairs a = m;
    ``no-sspc`` predicts each assignment within its space: own features the assignment of the input
    space, and every modality's joint features the assignment, in the joint space, of the modality
    whose anchors they are.

    Args:
        own: cosines of modality m's input-space features with its input-space anchors.
        cross: [study, a, m, anchor], cosines of modality a's joint-space features with modality
            m's joint-space anchors.
        own_target: assignment M of ``own``; no gradient flows into it.
        cross_target: assignment M of ``cross``; no gradient flows into it.
        present: a pair counts for the studies that have both modalities.
        config: similarity, clamp, weights and structure.
        peers: ranks that hold the other studies of the batch.
    """
    own_logit, cross_logit = (similarity(x, config) for x in (own, cross))
    # Eq. 5: term alpha, the input space predicts the joint space's assignment; beta, back.
    of_own, of_cross = _predicted(own_target, cross_target, config)
    alpha = _cross_entropy(own_logit[:, None], of_own)
    beta = _cross_entropy(cross_logit, of_cross)
    share, weights = _weights(config, alpha)

    # Eq. 6: the sum over pairs; Eq. 5's alpha and beta, as weights, are equal here.
    return (masked_mean(alpha * share + beta, _pairs(present), peers) * weights).sum()


@torch.no_grad()
def bounds(
    own_target: Float[Tensor, "b m k"],
    cross_target: Float[Tensor, "b m m k"],
    present: Bool[Tensor, "b m"],
    config: LossConfig,
    peers: Peers = ALONE,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """What Eq. 6 gives to who knows nothing of anybody, and to who knows every target.

    Both are the best that ``config.similarity`` can say with a cosine in [-1, 1]: the same value
    for all studies and anchors of a pair of modalities (``trivial``), or the best one for each
    entry (``floor``). exp(cos / tau) is never below zero, so of targets with a mean below one half
    the best constant is 0: ln 2 an entry, whatever is learned.

    Args:
        own_target: assignment of the input space.
        cross_target: assignment of the joint space.
        present: a pair counts for the studies that have both modalities.
        config: similarity, clamp, weights and structure.
        peers: ranks that hold the other studies of the batch.
    """
    pair = _pairs(present)
    exist = peers.total(pair.sum(dim=0)) > 0
    trivial = floor = torch.zeros((), dtype=own_target.dtype, device=own_target.device)
    of_own, of_cross = _predicted(own_target, cross_target, config)
    share, weights = _weights(config, own_target)
    for target, weight in ((of_own, share * weights), (of_cross, weights)):
        whole = target.expand(-1, *weights.shape, -1)
        known = masked_mean(_least(whole, config).mean(dim=-1), pair, peers)
        mean = peers.mean(masked_mean(whole.mean(dim=-1), pair, peers))
        floor = floor + (known * weight).sum()
        trivial = trivial + (_least(mean, config) * weight * exist).sum()

    return trivial, floor


@torch.no_grad()
def spread(
    inputs: Float[Tensor, "b m d"], present: Bool[Tensor, "b m"], peers: Peers = ALONE
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The same for `reconstruction`: the variance of what is rebuilt, and zero."""
    inputs = precise(inputs)
    mean = peers.mean(masked_mean(inputs, present[..., None], peers))
    error = masked_mean((inputs - mean).square().mean(dim=-1), present, peers).sum()
    return error, torch.zeros_like(error)


def reconstruction(
    inputs: Float[Tensor, "b m d"],
    rebuilt: Float[Tensor, "b m d"] | None,
    present: Bool[Tensor, "b m"],
    peers: Peers = ALONE,
) -> Float[Tensor, ""]:
    """Table 4a, first row: mean squared error of the rebuilt input features, summed over m.

    The features to be rebuilt get no gradient, or they would shrink to meet the loss.
    """
    if rebuilt is None:
        raise ValueError("model.rebuild must be true for the reconstruction loss, got false")
    error = (precise(rebuilt) - precise(inputs).detach()).square().mean(dim=-1)
    return masked_mean(error, present, peers).sum()


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
    """Weights alpha = beta of Eq. 5, [a, m]: one if the pair touches the report, one if not.

    ``config.pair_weights`` replaces the whole table.
    """
    if config.pair_weights is not None:
        return torch.tensor(config.pair_weights, dtype=torch.float64)

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
    peers: Peers = ALONE,
) -> tuple[Float[Tensor, "n m k"], Float[Tensor, "n m m k"]]:
    """The assignments M(.) of all rows, read out as targets in [0, 1]; one batched solve.

    The m own-space and m * m cross terms are 20 problems for four modalities. A row of an absent
    modality takes no part in a problem. With peers the rows of all ranks are assigned together.
    """
    modalities = own.shape[1]
    scores = torch.cat([rearrange(own, "n m k -> m n k"), rearrange(cross, "n a m k -> (a m) n k")])
    rows = rearrange(present, "n m -> m n")
    rows = torch.cat([rows, repeat(rows, "a n -> (a m) n", m=modalities)])
    plan = read_out(assign(precise(scores), rows, assignment, peers), loss.readout)

    return (
        rearrange(plan[:modalities], "m n k -> n m k"),
        rearrange(plan[modalities:], "(a m) n k -> n a m k", a=modalities),
    )


def assign(
    scores: Float[Tensor, "p n k"],
    rows: Bool[Tensor, "p n"],
    config: AssignmentConfig,
    peers: Peers = ALONE,
) -> Float[Tensor, "p n k"]:
    """Assign the rows that exist to ``config.k`` anchors each, the anchors loaded as configured.

    Undefined where a score of any rank is infinite or undefined.
    """
    if config.solver == "none" or scores.is_meta:  # on the meta device there are only shapes
        return scores

    undefined = peers.total((~torch.isfinite(scores)).any().to(scores.dtype))
    if undefined > 0:  # no assignment is defined; the loss becomes undefined, and stops the run
        return torch.full_like(scores, torch.nan)

    empty = peers.total(rows.sum(dim=1, keepdim=True)) == 0
    rows = rows | empty  # in a problem without rows any answer will do
    budget = config.k * rows.to(scores.dtype)
    count = peers.total(rows.sum(dim=1))
    loads = anchor_loads(count, scores.shape[-1], config)
    # Table 4a: plain Sinkhorn-Knopp whose rows sum to K', with no cap on an entry.
    if config.solver == "modified":
        problem = multisk.Transport(eps=config.eps, rows=budget, columns=loads)
    else:
        limit = (loads * (1 + config.slack)).clamp(max=count[:, None])
        capacity = (loads * (1 - config.slack), limit) if config.slack else loads
        problem = multisk.MultiAssignment(
            budget, eps=config.eps, damping=config.damping, capacity=capacity
        )

    if config.solver == "newton":
        # The limit of Algorithm 1; below, exactly so many of its sweeps.
        solver = multisk.Newton(tolerance=1e-12 if scores.dtype == torch.float64 else 1e-6)
    else:
        solver = multisk.Sinkhorn(steps=config.steps, order=config.order)

    return multisk.solve(scores, problem, solver, group=peers.group).plan


def anchor_loads(
    rows: Int[Tensor, " p"], anchors: int, config: AssignmentConfig
) -> Float[Tensor, "p k"]:
    """Rows that each anchor takes: N K' / K (Alg. 1), or ``config.loads`` or ``config.tail``."""
    if config.loads is None:
        share = torch.tensor(long_tail(anchors, config.k, config.tail), dtype=torch.float64)
    else:
        share = torch.tensor(config.loads, dtype=torch.float64)

    share = share.to(rows.device)
    return rows[:, None] * config.k * (share / share.sum())


@cache
def long_tail(anchors: int, k: int, exponent: float) -> tuple[float, ...]:
    """Shares that fall as j^-exponent and sum to 1, none above ``FULLEST / k``.

    A row takes an anchor once, so no anchor can have more than all rows: what the first ones do not
    get goes to the others in proportion.

    Example:
        >>> [round(share, 3) for share in long_tail(4, 2, 0.5)]
        [0.359, 0.254, 0.207, 0.18]
        >>> [round(share, 3) for share in long_tail(4, 2, 4.0)]
        [0.45, 0.436, 0.086, 0.027]
    """
    most = max(FULLEST / k, 1 / anchors)
    rest, full = [j**-exponent for j in range(1, anchors + 1)], 0
    while rest and (1 - full * most) * rest[0] > most * sum(rest):
        rest.pop(0)
        full += 1

    left = (1 - full * most) / sum(rest) if rest else 0.0
    return (*(most,) * full, *(left * share for share in rest))


def read_out(plan: Float[Tensor, "*p k"], how: str) -> Float[Tensor, "*p k"]:
    """Turn a plan into the targets M(.) of Eq. 5.

    ``minmax`` scales each row to exactly [0, 1] (a row constant but for rounding to about 0);
    ``guarded`` does that in the measure in which the row's entries differ: while scores are alike,
    a plan's few per cent are noise, and stretched to [0, 1] they are noise at full scale. ``clamp``
    cuts to that interval, ``raw`` leaves the plan alone.
    """
    if how in ("minmax", "guarded"):
        low, high = plan.aminmax(dim=-1, keepdim=True)
        width = (high - low).clamp(min=ROUNDING * torch.finfo(plan.dtype).eps)
        stretched = (plan - low) / width
        return stretched if how == "minmax" else plan.lerp(stretched, (width / ALIKE).clamp(max=1))

    return plan.clamp(0, 1) if how == "clamp" else plan


def _pairs(present: Bool[Tensor, "b m"]) -> Bool[Tensor, "b m m"]:
    return present[:, :, None] & present[:, None, :]


def _predicted(
    own_target: Float[Tensor, "b m k"], cross_target: Float[Tensor, "b m m k"], config: LossConfig
) -> tuple[Float[Tensor, "b _ m k"], Float[Tensor, "b _ m k"]]:
    """What the input space predicts (alpha) and what the joint space does (beta), [b, a, m, k]."""
    if config.structure == "no-sspc":
        diagonal = rearrange(cross_target.diagonal(dim1=1, dim2=2), "b k m -> b 1 m k")
        return own_target[:, None], diagonal
    return cross_target, own_target[:, None]


def _weights(config: LossConfig, like: Tensor) -> tuple[Float[Tensor, "m m"], Float[Tensor, "m m"]]:
    """Which pairs have a term alpha, and the weights of both terms."""
    weights = pair_weights(config).to(like)
    itself = torch.eye(len(weights), dtype=weights.dtype, device=weights.device)
    if config.structure == "no-cross-modal":
        weights = weights * itself

    return itself if config.structure == "no-sspc" else torch.ones_like(weights), weights


def _least(target: Float[Tensor, "*s"], config: LossConfig) -> Float[Tensor, "*s"]:
    """The least cross-entropy of a target that Eq. 5's sim of a cosine in [-1, 1] can reach."""
    ends = torch.tensor([-1.0, 1.0], dtype=torch.float64, device="cpu")  # numbers, on any device
    low, high = similarity(ends, config).tolist()
    # Convex in the logit, with its least at logit(target): the nearest that can be said.
    logit = torch.logit(target.clamp(0, 1)).clamp(low, high)
    return F.binary_cross_entropy_with_logits(logit, target, reduction="none")


def _cross_entropy(logit: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy with logits, broadcast, averaged over the anchors."""
    logit, target = torch.broadcast_tensors(logit, target)
    return F.binary_cross_entropy_with_logits(logit, target, reduction="none").mean(dim=-1)
