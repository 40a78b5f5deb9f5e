"""Arguments of ``rfpmss finetune``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rfpmss.config.bounds import MOST_PASSES, distinct, require_name, within
from rfpmss.config.sections import SEED

RANDOM = "random weights"
PRETRAINED = "this run"
PUBLISHED = "published weights"


@dataclass(frozen=True)
class Arguments:
    """What ``python -m rfpmss.finetune`` takes."""

    run_dir: Path
    """Run folder of rfpmss.train."""
    data: Path | None = None
    """Manifest with labels; by default the one the run was trained on."""
    baseline: tuple[str, ...] = ()
    """Other starts, each NAME=RUN_DIR, with the same image size."""
    train_baseline: tuple[Literal["labels", "contrast", "reconstruction", "resnet"], ...] = ()
    """Other ways to pretrain, done now in RUN/baselines: on the findings in the training reports,
    by study-report contrast alone, by reconstruction, with a ResNet-101 trunk."""
    baseline_epochs: int | None = None
    """Passes of those; by default the run's own number."""
    image_weights: Path | None = None
    """A local copy of published ViT weights (ImageNet) to start from as well."""
    label: str | None = None
    """Label of the manifest; by default grade, or the only one there is."""
    positive: tuple[str, ...] = ()
    """Values of the label that count as positive, or bounds of numbers such as '>=365'. By default
    4 of grade, one of two values, and of several each in turn against the others."""
    fractions: tuple[float, ...] = (0.01, 0.1, 1.0)
    """Shares of the labelled training patients, each holding the smaller ones."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of subset, head and order."""
    views: tuple[Literal["ct", "mri", "pathology"], ...] = ("ct", "mri")
    """Imaging modalities that are looked at; the others are treated as absent."""
    modes: tuple[Literal["linear", "full"], ...] = ("linear", "full")
    """linear: fixed encoder; full: everything is tuned."""
    epochs: int = 15
    """Most passes of full tuning; it stops early on validation patients."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    allow_config_change: bool = False
    """Go on although the cohort, the configuration or the release are not those of the run."""

    def __post_init__(self) -> None:
        if not all(0 < fraction <= 1 for fraction in self.fractions):
            raise ValueError(f"--fractions must be in (0, 1], got {self.fractions}")
        if not self.seeds or not self.modes or not self.fractions or not self.views:
            raise ValueError("--seeds, --modes, --fractions and --views must not be empty")

        within(self, 1, MOST_PASSES, "epochs", "baseline_epochs")
        within(self, 0, SEED, "seeds")
        distinct(self, "seeds", "fractions", "views", "modes", "train_baseline", "positive")
        taken = {PRETRAINED, RANDOM, PUBLISHED, *self.train_baseline}
        for entry in self.baseline:
            name, found, folder = entry.partition("=")
            if not found or not folder or name in taken:
                raise ValueError(f"--baseline must be NAME=RUN_DIR with a new name, got {entry}")
            taken.add(require_name(name, "the NAME of --baseline"))
