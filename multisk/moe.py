"""Mixture-of-experts routing as balanced assignment: prices that keep experts' loads even.

Every token takes the `k` experts of its largest `scores - prices`; the prices are the dual
variables of "every token k experts, every expert its share". `BalancedRouter` routes by the prices
of the last update, so that no token's route depends on the others of its batch; `balance` gives
exact counts.

Sources: Quantile Balancing (Su 2025, kexue.fm/archives/11619) makes one dual coordinate step a
batch; here two, overrelaxed, and a moving average whose gain follows the drift of the scores.
Loss-free balancing (Wang et al. 2024, arXiv:2408.15664) moves a bias by a fixed rate.
"""

import types
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from multisk._hard import hard
from multisk._problem.problem import MultiAssignment
from multisk._problem.sharding import largest, total
from multisk._problem.types import Capacity, Group
from multisk._solve import solve
from multisk._solvers.sinkhorn import Sinkhorn

__all__ = [
    "BalancedRouter",
    "Routes",
    "attach",
    "balance",
    "prices",
    "swap",
    "unswap",
    "violation",
]

TOLERANCE = 1e-3  # of the soft loads: far below the noise of a batch of some thousand tokens
FITS = 50.0  # span of the exponents up to which float32 is the faster format
SLOWEST = 0.05  # least gain of the moving average
STEPS, FOLLOW = 10, 2  # dual steps that even a batch; that follow prices which drift
BEYOND = 1.5  # overrelaxation of the dual steps after the first
PATIENCE = 1 << 20  # tokens after which a router that nobody updates warns
HALVINGS = 16  # of the range of a column's margins: its price to 2e-5 of that range


@dataclass(frozen=True, eq=False)
class Routes:
    """Exact routes of one batch.

    Attributes:
        indices: (T, k) int64, each token's experts, the largest `scores - prices` first.
        loads: (E,) int64, tokens of every expert; tokens that are not `live` count nowhere.
        prices: (E,) float64, what an expert costs.
        gap: 0-d float64, how far the sum of scores can be below its optimum: rounding.
    """

    indices: Int[Tensor, "t k"]
    loads: Int[Tensor, " e"]
    prices: Float[Tensor, " e"]
    gap: Float[Tensor, ""]


def prices(  # noqa: PLR0913 - keywords, each with a default
    scores: Float[Tensor, "*batch t e"],
    k: int,
    *,
    start: Float[Tensor, "*batch e"] | None = None,
    keep: float = 0.0,
    capacity: Float[Tensor, " e"] | None = None,
    live: Bool[Tensor, "*batch t"] | None = None,
    temperature: float | None = None,
    steps: int = STEPS,
    group: Group | None = None,
) -> Float[Tensor, "*batch e"]:
    """What to subtract from the scores so that the experts' loads are even.

    Dual coordinate steps: each token's threshold at the prices, then each expert's price at which
    it would get just its share (Quantile Balancing), overrelaxed from the second step on. They
    need one collective of E numbers a halving and read nothing from the device.

    Args:
        scores: (*batch, T, E), higher is better; one problem a layer.
        k: Experts of a token.
        start: Prices to start from, those of the last batch.
        keep: Part of `start` that stays, in [0, 1).
        capacity: (E,) shares of the load, even by default; only their ratios count.
        live: True where a token counts; scores elsewhere are never read and may be NaN.
        temperature: In the units of the scores: the column potentials of the entropic assignment
            to 1e-3 instead, smooth in the scores, but even for soft loads alone.
        steps: How many steps without a temperature; 2 follow a `start` that is near.
        group: torch.distributed group over whose ranks the tokens are spread.

    Returns:
        (*batch, E) float32 with mean 0, detached. `start` where there is no live token.

    Raises:
        ValueError: For scores that are not finite, `k` outside [1, E], shares that give an expert
            more tokens than there are, and options outside their range.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.9, 0.1], [0.8, 0.3], [0.7, 0.4], [0.6, 0.5]])
        >>> (scores - prices(scores, 1)).argmax(-1).bincount()
        tensor([2, 2])
    """
    if not 0 <= keep < 1:
        raise ValueError(f"keep must lie in [0, 1), got {keep!r}")
    if not 0 < k <= scores.shape[-1]:
        raise ValueError(f"k must lie between 1 and the {scores.shape[-1]} experts, got {k!r}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps!r}")

    with torch.no_grad(), torch.autocast(device_type=scores.device.type, enabled=False):
        x = scores.detach().float()
        if live is not None:
            x = x.masked_fill(~live[..., None], 0.0)
        old = x.new_zeros(x.shape[:-2] + x.shape[-1:]) if start is None else start.detach().to(x)
        count = tokens_of(x, live, group)
        if not bool(count.any()):
            return old
        share = x.new_ones(x.shape[-1]) if capacity is None else capacity.to(x.device)
        loads = count[..., None] * k * (share.double() / share.double().sum())
        if bool((loads > count[..., None] * (1 + 1e-9)).any()):
            most = float((k * share / share.sum()).max())
            raise ValueError(
                "capacity must give no expert more than every token once, got a share of "
                f"{most:.3g} times the tokens"
            )

        if temperature is None:
            new = stepped(x, k, old, loads, live, steps, group)
        else:
            budget = k if live is None else k * live.float()
            limit = None if capacity is None else loads
            problem = MultiAssignment(k=budget, eps=temperature, damping=0.0, capacity=limit)
            init = None if start is None else -old / temperature
            wide = x.double() if span(x, group) > FITS * temperature else x
            found = solve(wide, problem, Sinkhorn(tolerance=TOLERANCE), init=init, group=group)
            new = -temperature * found.column_potential.float()

        new = new - new.mean(-1, keepdim=True)
        new = torch.where(new.isfinite().all(-1, keepdim=True), new, old)
        return keep * old + (1 - keep) * new


def tokens_of(x: Tensor, live: Tensor | None, group: Any) -> Tensor:
    """Tokens of every layer that count, over all ranks, float64.

    Scores that are not finite are refused, on every rank: none waits for the others.
    """
    count = x.new_full(x.shape[:-2], x.shape[-2], dtype=torch.float64)
    count = count if live is None else live.sum(-1, dtype=torch.float64)
    broken = (~x.isfinite()).sum(dtype=torch.float64)
    sums = total(torch.cat([broken[None], count.flatten()]), group)
    if bool(sums[0]):
        raise ValueError(f"scores must be finite, got {int(sums[0])} that are not")

    return sums[1:].view(count.shape)


def stepped(  # noqa: PLR0913, PLR0917 - one problem, prepared
    x: Tensor, k: int, old: Tensor, loads: Tensor, live: Tensor | None, steps: int, group: Any
) -> Tensor:
    """Prices after some dual coordinate steps at temperature 0."""
    if k == x.shape[-1]:
        return old  # every token takes all experts

    bound = old
    for step in range(steps):
        # A token takes an expert while it is worth more than the best one it does not take.
        worth = (x - bound[..., None, :]).topk(k + 1, -1).values
        margins = x - worth[..., k:]
        new = quantile(margins, loads, live, group)
        bound = new if step == 0 else bound + BEYOND * (new - bound)

    return bound


def quantile(margins: Tensor, loads: Tensor, live: Tensor | None, group: Any) -> Tensor:
    """Of every column the value that as many live margins exceed as `loads` says, by bisection.

    Counts are whole numbers: two ranks find what one finds, to the bit.
    """
    dead = None if live is None else ~live[..., None]
    ends = []
    for y in (margins, -margins):
        none = y.new_full((*y.shape[:-2], 1, y.shape[-1]), -torch.inf)
        y = y if dead is None else y.masked_fill(dead, -torch.inf)
        ends.append((y if y.shape[-2] else none).amax(-2))

    high, low = largest(torch.stack(ends), group).unbind()
    low = -low
    y = margins if dead is None else margins.masked_fill(dead, -torch.inf)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        above = total((y > middle[..., None, :]).sum(-2, dtype=torch.int32), group)
        up = above > loads
        low, high = torch.where(up, middle, low), torch.where(up, high, middle)

    return 0.5 * (low + high)


def span(x: Tensor, group: Any) -> float:
    """Range of the scores of all ranks."""
    none = x.new_full((), -torch.inf)
    ends = [part.max() if part.numel() else none for part in (x, -x)]
    return float(largest(torch.stack(ends), group).sum())


def balance(
    scores: Float[Tensor, "t e"],
    k: int,
    *,
    capacity: Capacity | None = None,
    live: Bool[Tensor, " t"] | None = None,
    mask: Bool[Tensor, "t e"] | None = None,
    start: Float[Tensor, " e"] | None = None,
) -> Routes:
    """Exact counts in this batch: every token k experts, every expert its load, the best sum.

    For training only: a token's route depends on the others of its batch, as in expert choice.

    Args:
        scores: (T, E), higher is better.
        k: Experts of a token.
        capacity: As in `MultiAssignment`; None gives every expert floor or ceil of T k / E.
        live: True where a token counts. The others get their own best experts and no place.
        mask: False forbids the pair.
        start: Prices to start from: fewer exchanges, the same optimum.

    Raises:
        ValueError: As in `multisk.hard`.
    """
    x = scores.detach()
    budget: int | Tensor = k
    if live is not None:
        x = x.masked_fill(~live[:, None], 0.0)
        budget = k * live.to(torch.int64)

    found = hard(x, MultiAssignment(k=budget, capacity=capacity, mask=mask), prices=start)
    worth = x.double() - found.prices.to(x.device)
    # Those of the plan first, by worth; a token that is not live falls back on its own best.
    ranked = torch.where(found.plan, worth, worth - (worth.max() - worth.min() + 1.0))
    return Routes(ranked.topk(k, -1).indices, found.loads, found.prices, found.gap)


def violation(loads: Tensor) -> Tensor:
    """MaxVio: the largest load over the mean load, minus 1; (*batch, E) to (*batch,).

    Without a token it is undefined: NaN. `BalancedRouter.loads` counts training alone; elsewhere
    count the experts that came back: `experts.flatten().bincount(minlength=E)`.

    Example:
        >>> violation(torch.tensor([2, 2, 4]))
        tensor(0.5000)
    """
    loads = loads.to(torch.promote_types(loads.dtype, torch.float32))
    return loads.amax(-1) / loads.mean(-1) - 1


class BalancedRouter(nn.Module):
    """Scores to routes whose loads are even: top-k of `scores - prices`, weights from the scores.

    Routes use the prices of the last `update`, call that once an optimiser step (`attach` does).
    Only training with gradients observes tokens; evaluation changes nothing. Tokens are kept until
    the next update, every second one once `rows` are full; a token that is seen twice, as with
    recomputed activations, or that is not finite changes no price (but `loads` counts it twice).
    A router that sees a million tokens in training and is never updated warns.

    Args:
        num_experts: E.
        top_k: Experts of a token.
        score: What makes scores of logits: "sigmoid", "softmax", or "none".
        normalize: Divide a token's weights by their sum.
        scale: Factor of the weights.
        keep: Part of the old prices that an update keeps, in [0, 1); "auto" follows how fast the
            scores drift, from the sign of successive changes.
        rows: Tokens kept between updates, (rows, E) float32.
        temperature: As in `prices`; None follows by two dual steps an update.
        capacity: As in `prices`.
        exact: Exact counts in every training batch by `balance`: not causal.
        group: torch.distributed group over whose ranks the tokens are spread.

    Raises:
        ValueError: For an option outside its range.

    Example:
        >>> router = BalancedRouter(8, 2)
        >>> weights, indices, scores = router(torch.randn(64, 8))
        >>> router.update()
        >>> indices.shape, int(router.updates)
        (torch.Size([64, 2]), 1)
    """

    prices: Tensor
    updates: Tensor
    gain: Tensor
    change: Tensor
    seen: Tensor
    loads: Tensor
    capacity: Tensor | None

    def __init__(  # noqa: PLR0913, PLR0917 - keywords, each with a default
        self,
        num_experts: int,
        top_k: int,
        *,
        score: Literal["sigmoid", "softmax", "none"] = "sigmoid",
        normalize: bool = True,
        scale: float = 1.0,
        keep: float | Literal["auto"] = "auto",
        rows: int = 16384,
        temperature: float | None = None,
        capacity: Tensor | None = None,
        exact: bool = False,
        group: Group | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("num_experts", num_experts), ("top_k", top_k)):
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise ValueError(f"{name} must be an int, got {value!r}")

        if not 0 < top_k < num_experts:
            raise ValueError(
                f"top_k must be at least 1 and below num_experts ({num_experts}), got {top_k!r}; "
                "the order is BalancedRouter(num_experts, top_k)"
            )
        if score not in {"sigmoid", "softmax", "none"}:
            raise ValueError(f"score must be 'sigmoid', 'softmax' or 'none', got {score!r}")
        if keep != "auto" and not (isinstance(keep, int | float) and 0 <= keep < 1):
            raise ValueError(f"keep must be 'auto' or lie in [0, 1), got {keep!r}")
        if rows < 2:
            raise ValueError(f"rows must be at least 2, got {rows!r}")
        if temperature is not None and not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature!r}")

        self.num_experts, self.top_k, self.score = num_experts, top_k, score
        self.normalize, self.scale, self.keep = normalize, scale, keep
        self.temperature = temperature
        self.exact, self.group = exact, group
        self.held, self.stride = 0, 1  # rows in `seen`; of so many tokens one
        self.register_buffer("capacity", capacity, persistent=False)
        self.register_buffer("prices", torch.zeros(num_experts))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("gain", torch.tensor(0.5))
        self.register_buffer("change", torch.zeros(num_experts))
        self.register_buffer("seen", torch.zeros(rows, num_experts), persistent=False)
        loads = torch.zeros(num_experts, dtype=torch.int64)
        self.register_buffer("loads", loads, persistent=False)

    @property
    def bias(self) -> Float[Tensor, " e"]:
        """What code that adds a bias to the scores adds: minus the prices."""
        return -self.prices

    def forward(
        self, logits: Float[Tensor, "t e"], live: Bool[Tensor, " t"] | None = None
    ) -> tuple[Float[Tensor, "t k"], Int[Tensor, "t k"], Float[Tensor, "t e"]]:
        """Weights (T, k), experts (T, k, in no order) and scores (T, E) of tokens.

        Args:
            logits: (T, E).
            live: True where a token counts; logits elsewhere are never read and may be NaN.

        Raises:
            ValueError: When the logits do not have `num_experts` columns.
        """
        if logits.ndim != 2 or logits.shape[-1] != self.num_experts:
            shape = tuple(logits.shape)
            raise ValueError(
                f"logits must have the shape (T, {self.num_experts}), got {shape}; make batch and "
                "time one axis of tokens"
            )

        with torch.autocast(device_type=logits.device.type, enabled=False):
            x = logits.float()
            x = x if live is None else x.masked_fill(~live[:, None], 0.0)
            scores = self.scored(x)
            plain = scores.detach()
            if self.exact and self.training:
                start = self.prices if int(self.updates) else None
                indices = balance(
                    plain, self.top_k, capacity=self.shares(live, len(x)), live=live, start=start
                ).indices
            else:
                indices = (plain - self.prices).topk(self.top_k, -1, sorted=False).indices

            if self.training and torch.is_grad_enabled():
                self.observe(plain, indices, live)
            weights = scores.gather(-1, indices)
            if self.normalize:
                weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)

        return weights if self.scale == 1 else weights * self.scale, indices, scores

    def scored(self, x: Tensor) -> Tensor:
        """Scores of float32 logits."""
        if self.score == "sigmoid":
            return torch.sigmoid(x)
        return torch.softmax(x, -1) if self.score == "softmax" else x

    def shares(self, live: Tensor | None, rows: int) -> Tensor | None:
        """Loads of this batch where the experts' shares are not even."""
        if self.capacity is None:
            return None
        tokens = rows if live is None else int(live.sum())
        return self.capacity.double() / self.capacity.double().sum() * (tokens * self.top_k)

    @torch.no_grad()
    def observe(self, scores: Tensor, indices: Tensor, live: Tensor | None) -> None:
        """Keep the tokens' scores for the next update, and count the experts' loads."""
        if live is not None:
            scores, indices = scores[live], indices[live]

        self.loads += indices.flatten().bincount(minlength=self.num_experts)
        scores = scores[:: self.stride]
        while self.held + len(scores) > len(self.seen):
            kept = self.seen[: self.held : 2].clone()
            self.held, self.stride = len(kept), 2 * self.stride
            self.seen[: self.held] = kept
            scores = scores[::2]
            self.remind()

        self.seen[self.held : self.held + len(scores)] = scores
        self.held += len(scores)

    def remind(self) -> None:
        """Warn of a router that many tokens pass and nobody updates."""
        tokens = self.stride * len(self.seen)
        if tokens >= PATIENCE > tokens // 2 and int(self.updates) == 0:
            warnings.warn(
                f"some {tokens:,} tokens passed a BalancedRouter in training and its prices were "
                "never updated: multisk.moe.attach(optimizer, model), or update() once a step",
                stacklevel=5,
            )

    @property
    def batch_key(self) -> tuple[Any, ...]:
        """What is equal in routers whose prices are found by one call, and nothing else decides.

        An option that enters `prices` has to be part of it: `update_all` hands the first router's
        to all of them.
        """
        rows = self.held if self.group is None else None  # ranks must agree on the batches
        alone = self.capacity is not None or rows is None
        shape = self.num_experts, self.top_k, self.temperature, id(self.group), rows
        return *shape, id(self) if alone else None

    @torch.no_grad()
    def update(self) -> None:
        """New prices from the tokens seen since the last update; call it once a step."""
        update_all([self])

    @torch.no_grad()
    def move(self, new: Tensor) -> None:
        """Take over what this step's tokens ask for, as far as `keep` says; forget the tokens."""
        if int(self.updates) == 0:
            self.prices.copy_(new)
        else:
            change = new - self.prices
            if isinstance(self.keep, str):  # "auto"
                # Changes in one direction: the prices lag behind. In turns: they follow noise.
                norms = change.norm() * self.change.norm()
                turn = torch.where(norms > 0, (change * self.change).sum() / norms, 0.0)
                self.gain.copy_((self.gain * (0.5 * turn).exp()).clamp(SLOWEST, 1.0))
                self.change.copy_(change)
                self.prices.add_(self.gain * change)
            else:
                self.prices.add_((1 - self.keep) * change)

            self.prices.sub_(self.prices.mean())

        self.updates += 1

    def forget(self) -> None:
        """Drop the tokens seen since the last update."""
        self.loads.zero_()
        self.held, self.stride = 0, 1

    def extra_repr(self) -> str:
        """What `print(module)` shows."""
        return f"{self.num_experts}, {self.top_k}, score={self.score!r}, keep={self.keep!r}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "BalancedRouter":  # noqa: FBT001, FBT002
        """Follow the module to its device, but never into a narrower dtype."""
        names = ("prices", "gain", "change", "seen")
        kept = {name: getattr(self, name) for name in names}
        super()._apply(fn, recurse)

        for name, old in kept.items():
            if getattr(self, name).dtype != old.dtype:
                setattr(self, name, old.to(getattr(self, name).device))

        return self


@torch.no_grad()
def update_all(routers: Iterable[BalancedRouter]) -> None:
    """Update routers; those of one shape are solved as one batch, with its few collectives."""
    alike: dict[Any, list[BalancedRouter]] = defaultdict(list)
    for router in routers:
        alike[router.batch_key].append(router)

    for same in alike.values():
        first = same[0]
        seen = [router.seen[: router.held] for router in same]
        lone = len(same) == 1
        # A batch whose step was skipped, as at an overflow in half precision, changes no price.
        finite = torch.stack([part.isfinite().all(-1) for part in seen])
        fresh = any(int(router.updates) == 0 for router in same)
        new = prices(
            seen[0] if lone else torch.stack(seen),
            first.top_k,
            start=first.prices if lone else torch.stack([router.prices for router in same]),
            capacity=first.capacity,
            live=None if bool(finite.all()) else finite[0] if lone else finite,
            temperature=first.temperature,
            steps=STEPS if fresh else FOLLOW,
            group=first.group,
        )
        counts = total(first.prices.new_full((), float(first.held)), first.group)
        for router, one in zip(same, [new] if lone else new.unbind(), strict=True):
            if bool(counts > 0):
                router.move(one)
            router.forget()


def attach(optimizer: torch.optim.Optimizer, model: nn.Module) -> Any:
    """Update all balanced routers of a model before every step of its optimiser.

    Routers are looked for at each step: `attach` may come before `swap`.

    Returns:
        A handle; `handle.remove()` ends it.

    Raises:
        ValueError: When the first argument is no optimiser; and from the optimiser's step, when the
            model has no router by then.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        kind = type(optimizer).__name__
        raise ValueError(
            f"optimizer must be a torch optimiser, got {kind}: attach(optimizer, model)"
        )

    def before_step(*_: Any) -> None:
        routers = [part for part in model.modules() if isinstance(part, BalancedRouter)]
        if not routers:
            raise ValueError(
                "model must have a BalancedRouter when its optimiser steps, got none: swap it, or "
                "call remove() of what attach returned"
            )

        update_all(routers)
        for gate in model.modules():
            export(gate)

    return optimizer.register_step_pre_hook(before_step)


def swap(
    model: nn.Module, keep: float | Literal["auto"] = "auto", **options: Any
) -> list[BalancedRouter]:
    """Let the routers of a Hugging Face model (Mixtral, OLMoE, Qwen3-MoE, DeepSeek-V3) balance.

    Every module called `...TopKRouter` keeps its class, weight and outputs (logits, weights,
    experts); its `forward` is replaced by one that routes through a `BalancedRouter`, its new
    child `balanced`. Where the model has an `e_score_correction_bias`, `attach` writes minus the
    prices into it, so that the saved model routes the same without multisk.

    Args:
        model: The model.
        keep: As in `BalancedRouter`.
        options: Other options of `BalancedRouter`, such as `group` or `rows`.

    Returns:
        The routers, in the order of the layers. `unswap` undoes it.

    Raises:
        ValueError: When the model has no such router, or is swapped already.
        NotImplementedError: For routers that choose among groups of experts.
    """
    gates = [gate for gate in model.modules() if type(gate).__name__.lower().endswith("topkrouter")]
    if not gates:
        raise ValueError(
            "model must have modules called ...TopKRouter, as Mixtral, OLMoE, Qwen3-MoE and "
            "DeepSeek-V3 of transformers 5 have, got none"
        )

    for gate in gates:
        if isinstance(getattr(gate, "balanced", None), BalancedRouter):
            raise ValueError("model must not be swapped already, got one that is (see unswap)")
        if getattr(gate, "num_group", 1) not in {None, 1}:
            raise NotImplementedError("routers that choose among groups of experts (n_group > 1)")

    return [swapped(gate, keep, options) for gate in gates]


def swapped(gate: Any, keep: Any, options: dict[str, Any]) -> BalancedRouter:
    """Give one gate its router."""
    sigmoid = hasattr(gate, "e_score_correction_bias")
    router = BalancedRouter(
        gate.num_experts,
        gate.top_k,
        score="sigmoid" if sigmoid else "softmax",
        normalize=getattr(gate, "norm_topk_prob", True),  # Mixtral always does
        scale=getattr(gate, "routed_scaling_factor", 1.0),
        keep=keep,
        **options,
    ).to(gate.weight.device)
    router.train(gate.training)

    if sigmoid and bool(gate.e_score_correction_bias.any()):
        router.prices.copy_(-gate.e_score_correction_bias.float())
        router.updates.fill_(1)

    gate.balanced = router

    def forward(self: Any, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = hidden_states.reshape(-1, self.hidden_dim)
        kind = torch.float32 if sigmoid else self.weight.dtype  # as the model's own router
        logits = nn.functional.linear(hidden.to(kind), self.weight.to(kind))
        weights, indices, _ = self.balanced(logits)
        return logits, weights.to(logits.dtype), indices

    gate.forward = types.MethodType(forward, gate)
    return router


def export(gate: Any) -> None:
    """Write a swapped gate's prices where its model keeps a bias of its own."""
    router = getattr(gate, "balanced", None)
    if isinstance(router, BalancedRouter) and hasattr(gate, "e_score_correction_bias"):
        gate.e_score_correction_bias.copy_(router.bias)


def unswap(model: nn.Module) -> None:
    """Give a swapped model its own routers back."""
    for gate in model.modules():
        if isinstance(getattr(gate, "balanced", None), BalancedRouter):
            export(gate)
            del gate.balanced, gate.forward  # the class's own is there again
