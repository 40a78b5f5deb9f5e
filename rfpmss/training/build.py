"""What a run trains, put together from its configuration."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from rfpmss.common.distributed import ALONE, Peers
from rfpmss.model.rfpmss import RFPMSS, count
from rfpmss.model.stages import train_only, weights_of
from rfpmss.model.stored.published import load
from rfpmss.model.vit import SequenceStem
from rfpmss.runs.content import State, load_weights
from rfpmss.runs.folder import RunError
from rfpmss.training import muon, parallel
from rfpmss.training.bank import Bank
from rfpmss.training.ema import averaged
from rfpmss.training.lookahead import Lookahead
from rfpmss.training.muon import Muon
from rfpmss.training.parallel import Spine

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.config import Config, TrainConfig

COMPILED = ("image", "report", "decoder", "project")
"""Parts of the model that are worth compiling."""


def build(
    config: Config,
    tokenizer: Tokenizer,
    studies: int,
    device: str,
    peers: Peers = ALONE,
    start: Path | None = None,
    *,
    fresh: bool,
) -> tuple[State, Spine]:
    """Model, bank, averaged weights and optimiser of a run, and the step over them.

    Args:
        config: of the run.
        tokenizer: gives the vocabulary.
        studies: in the training split; the bank is never larger.
        device: where everything lives.
        peers: ranks over which parameters are sharded, where ``train.parallel`` says so.
        start: a checkpoint of another run, whose weights a fresh run starts from.
        fresh: load published or another run's weights; a resumed run has its own.

    Raises:
        RunError: if named weights cannot be read or do not fit.
    """
    model = RFPMSS(config.model, config.data, tokenizer.get_vocab_size())
    if fresh:
        _load(model, config, tokenizer, start)

    kind = torch.float64 if config.train.precision == "float64" else torch.float32
    model = model.to(device, kind)
    train_only(model, config.train.stage)
    bank = Bank(min(config.assignment.bank, studies), config.model).to(device, kind)
    modules: dict[str, nn.Module] = {"model": model, "bank": bank}
    if config.train.ema:
        modules["average"] = averaged(model, config.train.ema)

    if config.train.compile:
        for name in COMPILED:
            getattr(model, name).compile()

    weights = weights_of(config.train.stage, config.loss)
    spine = Spine(model, bank, config.model_copy(update={"loss": weights}), peers)
    if config.train.parallel == "shard" and peers.size > 1:
        parallel.shard(spine, model, peers)
        if config.train.ema:
            copy = cast("RFPMSS", modules["average"].module)
            parallel.shard(copy, copy, peers)

    return State(modules, _optimiser(model, config.train), tokenizer), spine


def parts(model: RFPMSS) -> str:
    """How many parameters each part of a model has, and how many of them learn."""
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    counts = ", ".join(f"{name} {number:,}" for name, number in count(model).items())
    return f"parameters: {counts}; learning {learning:,}"


def _load(model: RFPMSS, config: Config, tokenizer: Tokenizer, start: Path | None) -> None:
    if start is None and config.train.stage == "heads" and not config.model.image_weights:
        raise RunError(
            "train.stage=heads learns on trained encoders: name a run of stage backbone with "
            "--start RUN, or published weights with --model.image-weights"
        )

    try:
        vocabulary = tokenizer.get_vocab()
        words = sorted(vocabulary, key=vocabulary.__getitem__)
        for match in load(model, config.model, words) if start is None else []:
            print(match, file=sys.stderr)
    except ValueError as error:
        raise RunError(str(error)) from None

    if start is not None:
        try:
            load_weights(start / "model.safetensors", model, finite=True)
        except ValueError as error:
            raise RunError(
                f"--start must name a run whose weights fit, got {start}: {error}"
            ) from None
        except RuntimeError as error:
            sizes = "; ".join(line.strip() for line in str(error).splitlines()[1:4])
            raise RunError(
                f"--start must name a run with the same model, got {start.parents[1]}: {sizes}"
            ) from None


def _optimiser(model: RFPMSS, config: TrainConfig) -> torch.optim.Optimizer:
    kinds = {
        "adam": partial(torch.optim.Adam, fused=True),  # one pass over all parameters
        "adamw": partial(torch.optim.AdamW, fused=True),
        "lookahead": Lookahead,
        "muon": Muon,
    }
    if config.optimiser == "muon":
        learning = list(muon.groups(model, config.matrix_rate))
    else:
        learning = [{"params": [p for p in model.parameters() if p.requires_grad]}]

    if config.text_rate != 1:
        learning = list(_apart(learning, model.report, config.text_rate))

    for rate, stems in _slow_stems(model, config.stem_fan_in):
        learning = list(_apart(learning, stems, rate))

    kept = [group for group in learning if group["params"]]
    return kinds[config.optimiser](kept, lr=config.lr, weight_decay=config.weight_decay)


def _slow_stems(model: RFPMSS, most: int | None) -> Iterator[tuple[float, nn.Module]]:
    """Stems of more than ``most`` inputs an output, by how much slower they learn.

    A step of Adam changes each weight by about the rate, so that it changes what leaves the stem by
    about the rate times the number of inputs. Where none is above it, groups stay as they are.
    """
    by_rate: dict[float, list[nn.Module]] = {}
    for stem in model.image.stems.values():
        fan_in = _fan_in(stem)
        if most is not None and fan_in > most:
            by_rate.setdefault(most / fan_in, []).append(stem)

    for rate, stems in sorted(by_rate.items()):
        yield rate, nn.ModuleList(stems)


def _fan_in(stem: nn.Module) -> int:
    """Inputs of each output; of a bank, whose mean over sequences is taken, those of one."""
    if isinstance(stem, SequenceStem):
        return stem.weight.shape[-1]
    return max(weight[0].numel() for weight in stem.parameters() if weight.ndim > 1)


def _apart(groups: list[dict[str, Any]], part: nn.Module, rate: float) -> Iterator[dict[str, Any]]:
    """The groups, what they hold of a part of the model taken out of each, at ``rate`` times."""
    names = {id(parameter) for parameter in part.parameters()}
    for group in groups:
        inside = [p for p in group["params"] if id(p) in names]
        outside = [p for p in group["params"] if id(p) not in names]
        yield group | {"params": outside}
        yield group | {"params": inside, "rate": rate * group.get("rate", 1.0)}
