"""Every choice of a run in one frozen, checked object; presets are plain functions of it.

The defaults are the paper's values. Nothing here imports torch, so ``--help`` answers at once.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rfpmss.config.sections import (
    CHANNELS,
    END,
    HARD,
    MODALITIES,
    PAD,
    SEED,
    SEQUENCES,
    START,
    UNK,
    VIEWS,
    AssignmentConfig,
    DataConfig,
    Frozen,
    LossConfig,
    ModelConfig,
    PhantomConfig,
    TrainConfig,
    check_fit,
)

__all__ = [
    "CHANNELS",
    "END",
    "MODALITIES",
    "PAD",
    "PRESETS",
    "SEQUENCES",
    "START",
    "UNK",
    "VIEWS",
    "AssignmentConfig",
    "Config",
    "DataConfig",
    "LossConfig",
    "ModelConfig",
    "PhantomConfig",
    "Preset",
    "TrainConfig",
    "levels",
    "paper",
    "paper_standardised",
    "second_edition",
    "small",
    "smoke",
    "tiny",
    "tiny3d",
]


Preset = Literal["smoke", "tiny", "tiny3d", "small", "paper", "paper-standardised"]
"""Names of presets."""


class Config(Frozen):
    """One run; after each field its [unit, bounds; source].

    Sources: the paper; REFERS and Multi-SK, the published codes it builds on; ViT-B/16 and BERT,
    published sizes; ours.
    """

    preset: Preset = "paper"
    """Where all values below start from. [choice; ours]"""
    seed: int = Field(default=0, ge=0, le=SEED)
    """Seed of weights, order and augmentation. [number; ours]"""
    phantom: PhantomConfig = PhantomConfig()
    """The generated cohort."""
    data: DataConfig = DataConfig()
    """Images and text."""
    model: ModelConfig = ModelConfig()
    """The network."""
    assignment: AssignmentConfig = AssignmentConfig()
    """Samples to anchors."""
    loss: LossConfig = LossConfig()
    """Losses."""
    train: TrainConfig = TrainConfig()
    """Optimisation."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Config:
        check_fit(self.model, self.data)
        if self.assignment.k > self.model.anchors:
            raise ValueError(
                f"assignment.k must be at most model.anchors={self.model.anchors}, "
                f"got {self.assignment.k}"
            )
        if self.assignment.loads and len(self.assignment.loads) != self.model.anchors:
            raise ValueError(
                f"assignment.loads must have model.anchors={self.model.anchors} entries, "
                f"got {len(self.assignment.loads)}"
            )

        weights, size = self.loss.pair_weights, len(MODALITIES)
        if weights is not None and [len(row) for row in weights] != [size] * size:
            raise ValueError(f"loss.pair_weights must be {size} rows of {size} numbers")
        if (self.loss.structure == "reconstruction") and not self.model.rebuild:
            raise ValueError("loss.structure=reconstruction needs model.rebuild, got False")

        return self


LONG = 512
"""Tokens that presets for real reports read; those of REFERS, of chest films, are 100 at most."""


def paper() -> Config:
    """The sizes and settings of the paper; several ranks share its 952 million parameters."""
    data = DataConfig(tokens=LONG)
    return Config(
        phantom=PhantomConfig(train=1024, test=256), data=data, train=TrainConfig(parallel="shard")
    )


def paper_standardised() -> Config:
    """The paper's sizes and settings with what tiny and small gain most by; docs/training.md."""
    config = paper()
    changes = {"standardise": True, "study_words": True, "token_types": False}
    model = config.model.model_copy(update=changes)
    loss = config.loss.model_copy(update={"readout": "guarded"})

    return config.model_copy(update={"preset": "paper-standardised", "model": model, "loss": loss})


def _scaled(  # noqa: PLR0913 (one argument a size)
    dim: int,
    depth: int,
    heads: int,
    text_depth: int,
    token_dim: int,
    joint_dim: int,
    *,
    patch: int,
    anchors: int,
    resnet_width: int,
) -> ModelConfig:
    return ModelConfig(
        dim=dim,
        depth=depth,
        heads=heads,
        mlp=4 * dim,
        dropout=0.0,
        text_dim=dim,
        text_depth=text_depth,
        text_heads=heads,
        text_mlp=4 * dim,
        decoder_dim=dim,
        decoder_heads=heads,
        decoder_mlp=4 * dim,
        token_dim=token_dim,
        joint_heads=heads,
        joint_mlp=token_dim,
        joint_dim=joint_dim,
        patch=patch,
        anchors=anchors,
        resnet_width=resnet_width,
        # Trained from scratch, the softmax over views gives nearly all weight to the view that is
        # learnt first, and a pooled first token hears single words too late; see README.md.
        fusion="token",
        text_pooling="mean",
        # Without these all vectors of a kind lie in one cone for hundreds of steps, and the side
        # is found by luck; docs/training.md.
        standardise=True,
        study_words=True,
        token_types=False,
    )


def small() -> Config:
    """Minutes on a GPU: 128-pixel images, 4,096 phantom patients."""
    return Config(
        preset="small",
        phantom=PhantomConfig(train=4096, test=512),
        data=DataConfig(resize=144, size=128, tokens=LONG, vocabulary=2000),
        model=_scaled(192, 6, 6, 4, 384, 512, patch=16, anchors=32, resnet_width=32),
        assignment=AssignmentConfig(k=16, bank=2048),
        loss=LossConfig(readout="guarded"),
        train=TrainConfig(
            batch=128,
            epochs=30,
            optimiser="adamw",
            lr=1e-3,
            schedule="onecycle",
            clip=1.0,
            save_every=200,
        ),
    )


def tiny() -> Config:
    """Minutes on a laptop's CPU: 64-pixel images, the demonstration."""
    return Config(
        preset="tiny",
        phantom=PhantomConfig(
            train=512, test=128, mri_shape=(96, 96, 24), ct_shape=(96, 96, 16), slide_size=512
        ),
        data=DataConfig(resize=72, size=64, tokens=72, vocabulary=512),
        model=_scaled(64, 3, 4, 2, 96, 128, patch=8, anchors=16, resnet_width=16),
        assignment=AssignmentConfig(k=8, bank=512),
        # Eq. 6 sums 32 terms of about 4 each: at weight 1 it drowns the others in a short run.
        loss=LossConfig(contrast=2.0, consistency=0.1, pairs="all", readout="guarded"),
        train=TrainConfig(
            batch=32,
            epochs=15,
            optimiser="muon",
            lr=2e-3,
            schedule="onecycle",
            clip=1.0,
            save_every=100,
        ),
    )


def smoke() -> Config:
    """Seconds: 64 patients and 20 steps, for continuous integration."""
    return Config(
        preset="smoke",
        phantom=PhantomConfig(
            train=48, test=16, mri_shape=(48, 48, 16), ct_shape=(48, 48, 8), slide_size=256
        ),
        data=DataConfig(resize=36, size=32, tokens=64, vocabulary=400),
        model=_scaled(32, 2, 2, 1, 32, 48, patch=8, anchors=8, resnet_width=8),
        assignment=AssignmentConfig(k=4, bank=48),
        loss=LossConfig(readout="guarded"),
        train=TrainConfig(
            batch=12,
            epochs=5,
            optimiser="adamw",
            lr=3e-3,
            schedule="onecycle",
            clip=1.0,
            save_every=5,
        ),
    )


READS = 320
"""Tokens that hold the reports of the second edition."""
CANDIDATES = 512
"""Held-out patients of the second edition: of 128, R@5 stands at its ceiling."""


def second_edition(config: Config) -> Config:
    """A preset on the second edition of the phantom cohort.

    More held-out patients (not in ``smoke``), missing modalities, iso-intense tumours, a draw of
    pose per view, and as many tokens and words as the longer reports need.

    Example:
        >>> second_edition(tiny()).phantom.missing
        0.25
    """
    phantom: dict[str, object] = {"edition": 2, **HARD}
    if config.preset != "smoke":
        phantom["test"] = max(config.phantom.test, CANDIDATES)

    data = {
        "tokens": max(config.data.tokens, READS),
        "vocabulary": max(config.data.vocabulary, 1024),
        "draw": "view",
    }
    return config.model_copy(
        update={
            "phantom": config.phantom.model_copy(update=phantom),
            "data": config.data.model_copy(update=data),
        }
    )


LEVELS = 4
"""Slices spread over the head: 22 mm apart in the phantom, whose masses are 14 mm or more."""
STEM_FAN_IN = 256
"""Of a slice of four sequences in patches of 8 pixels, at which the rates of tiny were chosen."""
TEXT_RATE = 0.1
"""As in REFERS. Most slices do not show what a report tells: at full rate the text encoder had
lost the side of a mass before the images found it (docs/training.md)."""


def levels(config: Config) -> Config:
    """A preset that sees all levels of the head instead of the slice that a mask or content chose.

    Four slices of each series spread over the head, pooled by their largest values; stems of many
    inputs and the text encoder take smaller steps; a generated cohort is prepared likewise, its
    masks give boxes alone.

    Example:
        >>> levels(tiny()).data.slices, levels(tiny()).model.slice_pooling
        (4, 'max')
    """
    changes: dict[str, dict[str, object]] = {
        "phantom": {"views": LEVELS, "masks": "boxes"},
        "data": {"order": "levels", "slices": LEVELS},
        "model": {"slice_pooling": "max"},
        "train": {"stem_fan_in": STEM_FAN_IN, "text_rate": TEXT_RATE},
    }
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=new) for name, new in changes.items()}
    )


def tiny3d() -> Config:
    """`tiny` on boxes about the head, of any sequences: slabs of eight slices of 3 mm.

    Example:
        >>> tiny3d().data.depth // tiny3d().model.thick
        4
    """
    config = tiny()
    changes: dict[str, dict[str, object]] = {
        "phantom": {"depth": 36, "side": 54, "views": LEVELS, "masks": "boxes"},
        # Patches of 18 mm: of 24 mm they find half as much (docs/training.md).
        "data": {"depth": 32, "resize": 54, "size": 48, "slices": LEVELS},
        "model": {"patch": 6, "thick": 8, "slice_pooling": "max"},
        "train": {"stem_fan_in": STEM_FAN_IN, "text_rate": TEXT_RATE},
    }
    parts = {name: getattr(config, name).model_copy(update=new) for name, new in changes.items()}
    return config.model_copy(update={"preset": "tiny3d", **parts})


PRESETS = {
    "smoke": smoke,
    "tiny": tiny,
    "tiny3d": tiny3d,
    "small": small,
    "paper": paper,
    "paper-standardised": paper_standardised,
}
"""Presets by name."""
