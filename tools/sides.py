"""Where a run loses the side: is it in the images' features, and does the decoder say it?

Usage: python tools/sides.py RUN [--steps 480]

Prints, for training and held-out patients, how often a linear probe on the study vector and on the
mean of the decoder's memory tells left from right, how often the decoder gives the right word the
higher probability when all words before it are the report's own, and that probability. Then trains
a new decoder of the same shape on the run's frozen images, and prints the same of it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from rfpmss.loss.language import language
from rfpmss.model.decoder import ReportDecoder
from rfpmss.runs.opened import Opened, open_run

DRAWS = 4
"""Augmented copies of the training patients from which the new decoder learns."""


@dataclass(frozen=True)
class Seen:
    """What the decoder gets of some patients."""

    memory: Tensor
    seen: Tensor
    tokens: Tensor
    study: Tensor


def main() -> None:
    """Read a run and print."""
    parser = argparse.ArgumentParser(description="Where a run loses the side.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=480)
    arguments = parser.parse_args()
    run = open_run(arguments.run, None, "cpu")
    words = tuple(run.tokenizer.encode(word).ids[0] for word in ("left", "right"))
    parts = {split: _see(run, split, None) for split in ("train", "test")}
    for name in ("study", "memory"):
        train, test = (_features(parts[split], name) for split in parts)
        sides = [_sides(parts[split].tokens, words)[1] for split in parts]
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=3000))
        probe.fit(train, sides[0])
        scores = [probe.score(x, y) for x, y in zip((train, test), sides, strict=True)]
        print(f"linear probe on {name}: training {scores[0]:.3f}, held out {scores[1]:.3f}")
    _tell("decoder as trained", run.model.decoder, parts, words)
    _tell(f"new decoder, {arguments.steps} steps", _retrained(run, arguments.steps), parts, words)


def _see(run: Opened, split: str, augment: tuple[int, int] | None) -> Seen:
    found = []
    indices = run.cohort.indices(split)
    with torch.no_grad():
        for part in np.array_split(indices, max(1, len(indices) // 64)):
            batch = run.cohort.batch(part, run.tokenizer, augment=augment)
            views = run.model.eval().image(batch.images, batch.present)
            study = run.model.fuse(views, batch.present)
            tokens = F.pad(batch.tokens, (0, run.config.data.tokens - batch.tokens.shape[1]))
            found.append((study.memory[:, 0], study.seen[:, 0], tokens, study.readings[:, 0]))
    return Seen(*(torch.cat(column) for column in zip(*found, strict=True)))


def _features(seen: Seen, name: str) -> np.ndarray:
    return (seen.study if name == "study" else seen.memory.mean(dim=1)).numpy()


def _sides(tokens: Tensor, words: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Place of the first word of side in every report, and which of ``words`` it is."""
    hits = torch.stack([tokens == word for word in words])
    place = hits.any(dim=0).int().argmax(dim=1)
    return place, hits[1].gather(1, place[:, None])[:, 0].long()


def _tell(
    name: str, decoder: ReportDecoder, parts: dict[str, Seen], words: tuple[int, ...]
) -> None:
    for split, seen in parts.items():
        with torch.no_grad():
            chances = decoder(seen.tokens[:, :-1], seen.memory, seen.seen, seen.study).softmax(
                dim=-1
            )
        place, side = _sides(seen.tokens, words)
        rows = torch.arange(len(place))
        both = chances[rows, place - 1][:, list(words)]
        right = both[rows, side] / both.sum(dim=1)
        share = float((right > 0.5).float().mean())
        print(f"{name}, {split}: right {share:.3f}, probability {float(right.mean()):.3f}")


def _retrained(run: Opened, steps: int) -> ReportDecoder:
    copies = [_see(run, "train", (run.config.seed, 100 + draw)) for draw in range(DRAWS)]
    memory, seen, tokens, study = (
        torch.cat([getattr(copy, name) for copy in copies])
        for name in ("memory", "seen", "tokens", "study")
    )
    torch.manual_seed(1)
    decoder = ReportDecoder(
        run.config.model,
        run.tokenizer.get_vocab_size(),
        run.config.data.tokens,
        run.model.fuse.width,
    )
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=1e-3, weight_decay=0.0)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps, pct_start=0.1)
    draw = np.random.default_rng(0)
    for _ in range(steps):
        rows = torch.from_numpy(draw.integers(0, len(tokens), 32))
        logits = decoder(tokens[rows, :-1], memory[rows], seen[rows], study[rows])
        loss = language(logits[:, None], tokens[rows], torch.ones(32, 1, dtype=torch.bool))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimiser.step()
        rate.step()
    return decoder.eval()


if __name__ == "__main__":
    main()
