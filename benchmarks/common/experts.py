"""A mixture-of-experts character model of 243k parameters on Python's own help text.

Two layers, 16 experts of which a character takes two; the text is `pydoc_data.topics`, which comes
with CPython. Only the rule that chooses experts differs between runs.
"""

import math
import time
from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention, silu

from multisk import moe

EXPERTS, CHOSEN, WIDTH, HIDDEN, HEADS, CONTEXT, BATCH = 16, 2, 64, 48, 4, 64, 32
RATE, WARM, DECAY = 3e-3, 30, 0.01  # of AdamW: peak, steps up to it, weight decay


def text() -> tuple[Tensor, Tensor, int]:
    """Characters of the help text as numbers: training part, held-out tenth, alphabet."""
    whole = "\n".join(topics[name] for name in sorted(topics))
    code = {character: at for at, character in enumerate(sorted(set(whole)))}
    numbers = torch.tensor([code[character] for character in whole])
    cut = int(0.9 * len(numbers))
    return numbers[:cut], numbers[cut:], len(code)


class Biased(nn.Module):
    """A rule of `benchmarks.peers.routing` as a router: top-k of scores plus its bias."""

    def __init__(self, rule: Any) -> None:
        super().__init__()
        self.rule, self.seen = rule, torch.empty(0)

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights, experts and scores."""
        scores = torch.sigmoid(logits)
        indices = (scores.detach() + self.rule.bias).topk(CHOSEN, -1).indices
        if self.training:
            self.seen = scores.detach()
        weights = scores.gather(-1, indices)
        return weights / (weights.sum(-1, keepdim=True) + 1e-20), indices, scores


class Mixture(nn.Module):
    """Experts of two layers each, sorted by expert before they are applied."""

    def __init__(self, router: nn.Module) -> None:
        super().__init__()
        self.gate, self.router = nn.Linear(WIDTH, EXPERTS, bias=False), router
        self.inner = nn.Parameter(torch.randn(EXPERTS, WIDTH, HIDDEN) * WIDTH**-0.5)
        self.outer = nn.Parameter(torch.randn(EXPERTS, HIDDEN, WIDTH) * HIDDEN**-0.5 * 0.5)
        self.violations: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        """Forward pass."""
        tokens = x.reshape(-1, WIDTH)
        weights, indices, _ = self.router(self.gate(tokens))
        flat = indices.flatten()
        loads = flat.bincount(minlength=EXPERTS)
        if self.training:
            self.violations.append(float(moe.violation(loads)))
        order = flat.argsort()
        parts = zip(
            (order // CHOSEN).split(loads.tolist()),
            weights.flatten()[order].split(loads.tolist()),
            self.inner,
            self.outer,
            strict=True,
        )
        done = [silu(tokens[at] @ a) @ b * weight[:, None] for at, weight, a, b in parts]
        return torch.zeros_like(tokens).index_add(0, order // CHOSEN, torch.cat(done)).view_as(x)


class Layer(nn.Module):
    """Attention, then the mixture."""

    def __init__(self, router: nn.Module) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.inputs, self.output = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mixture = Mixture(router)

    def forward(self, x: Tensor) -> Tensor:
        """Forward pass."""
        b, t, _ = x.shape
        heads = self.inputs(self.first(x)).view(b, t, 3, HEADS, WIDTH // HEADS)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        x = x + self.output(seen.reshape(b, t, WIDTH))
        return x + self.mixture(self.second(x))


class Characters(nn.Module):
    """The language model."""

    def __init__(self, alphabet: int, routers: list[nn.Module]) -> None:
        super().__init__()
        self.letters, self.places = nn.Embedding(alphabet, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.ModuleList(Layer(router) for router in routers)
        self.norm = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.letters.weight, std=0.125)
        nn.init.normal_(self.places.weight, std=0.125)

    def forward(self, x: Tensor) -> Tensor:
        """Forward pass."""
        h = self.letters(x) + self.places.weight[: x.shape[1]]
        for layer in self.layers:
            h = layer(h)
        return self.norm(h) @ self.letters.weight.T


def batch(source: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some stretches of text, and each character's successor."""
    starts = torch.randint(len(source) - CONTEXT - 1, (BATCH,), generator=random).tolist()
    x = torch.stack([source[at : at + CONTEXT + 1] for at in starts])
    return x[:, :-1], x[:, 1:]


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        held_out: Nats a character on the held-out tenth.
        violations: (layers, steps), of every training batch.
        seconds: Processor time of training.
        balancing: Of it for the updates of the rule.
        parameters: Of the model.
    """

    held_out: float
    violations: Tensor
    seconds: float
    balancing: float
    parameters: int


def trained(rule: Any, seed: int, steps: int) -> Run:
    """Train with `rule()` (None: a `BalancedRouter`) in each of two layers."""
    training, held, alphabet = text()
    torch.manual_seed(seed)
    make = (
        (lambda: moe.BalancedRouter(EXPERTS, CHOSEN)) if rule is None else (lambda: Biased(rule()))
    )
    model = Characters(alphabet, [make(), make()]).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    random, began, balancing = torch.Generator().manual_seed(seed), time.process_time(), 0.0
    for step in range(steps):
        cooled = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = RATE * min(1, (step + 1) / WARM) * cooled
        x, y = batch(training, random)
        optimizer.zero_grad()
        cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
        at = time.process_time()
        routers: Any = [layer.mixture.router for layer in model.layers]  # pyright: ignore
        if rule is None:
            moe.update_all(routers)
        else:
            for router in routers:
                router.rule.update(router.seen)
        balancing += time.process_time() - at
        optimizer.step()
    seconds = time.process_time() - began
    model.eval()
    random = torch.Generator().manual_seed(99)
    with torch.no_grad():
        losses = [
            float(cross_entropy(model(x).flatten(0, 1), y.flatten()))
            for x, y in (batch(held, random) for _ in range(20))
        ]
    violations: Any = [layer.mixture.violations for layer in model.layers]  # pyright: ignore
    parameters = sum(part.numel() for part in model.parameters())
    held_out = sum(losses) / len(losses)
    return Run(held_out, torch.tensor(violations), seconds, balancing, parameters)
