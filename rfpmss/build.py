"""What a run trains, put together from its configuration."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch
from torch import nn

from rfpmss.bank import Bank
from rfpmss.checkpoint import State
from rfpmss.ema import averaged
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.model.weights import load
from rfpmss.run import RunError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rfpmss.config import Config, TrainConfig


def build(config: Config, tokenizer: Tokenizer, studies: int, device: str, *, fresh: bool) -> State:
    """Model, bank, averaged weights and optimiser of a run.

    Args:
        config: of the run.
        tokenizer: gives the vocabulary.
        studies: in the training split; the bank is never larger.
        device: where everything lives.
        fresh: load published weights; a resumed run has its own.

    Raises:
        RunError: if named weights cannot be read or do not fit.
    """
    model = RFPMSS(config.model, config.data, tokenizer.get_vocab_size())
    if fresh:
        try:
            matches = load(model, config.model)
        except ValueError as error:
            raise RunError(str(error)) from None
        for match in matches:
            print(match, file=sys.stderr)
    model = model.to(device)
    modules: dict[str, nn.Module] = {
        "model": model,
        "bank": Bank(min(config.assignment.bank, studies), config.model).to(device),
    }
    if config.train.ema:
        modules["average"] = averaged(model, config.train.ema)
    return State(modules, _optimiser(model, config.train), tokenizer)


def _optimiser(model: RFPMSS, config: TrainConfig) -> torch.optim.Optimizer:
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimiser]
    return kind(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
