"""Small configurations and batches for the tests of model, losses, bank and step."""

from types import SimpleNamespace

import torch

from rfpmss.config import CHANNELS, END, START, VIEWS, Config, DataConfig, ModelConfig, smoke

WORDS = 30


def small_config(**model):
    base = smoke()
    sizes = {
        "patch": 4,
        "dim": 8,
        "depth": 2,
        "heads": 2,
        "mlp": 12,
        "dropout": 0.0,
        "text_dim": 12,
        "text_depth": 1,
        "text_heads": 3,
        "text_mlp": 16,
        "decoder_dim": 16,
        "decoder_heads": 4,
        "decoder_mlp": 20,
        "token_dim": 10,
        "joint_heads": 5,
        "joint_mlp": 10,
        "joint_dim": 14,
        "anchors": 6,
    }
    return Config(
        data=DataConfig(resize=12, size=8, tokens=9, vocabulary=WORDS + 2),
        model=ModelConfig(**(sizes | model)),
        assignment=base.assignment.model_copy(update={"k": 3, "bank": 8, "solver": "newton"}),
        train=base.train,
    )


def random_batch(config, size=4, slices=1, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    side, length = config.data.size, config.data.tokens
    images = tuple(
        torch.randn(size, slices, CHANNELS[view], side, side, generator=draw, dtype=dtype)
        for view in VIEWS
    )
    tokens = torch.randint(4, WORDS, (size, length), generator=draw)
    ends = torch.randint(2, length, (size,), generator=draw)
    place = torch.arange(length)
    tokens = torch.where(place == ends[:, None], END, tokens)
    tokens = tokens.masked_fill(place > ends[:, None], 0)
    tokens[:, 0] = START
    present = torch.ones(size, 4, dtype=torch.bool)
    made = {"images": images, "present": present, "tokens": tokens, "index": torch.arange(size)}
    return SimpleNamespace(**made, shown=None)
