"""The generated cohort as a command: a whole cohort, or one patient of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rfpmss.config import PRESETS, PhantomConfig, Preset, tiny


@dataclass(frozen=True)
class Phantom:
    """What to generate."""

    out: Path
    config: PhantomConfig
    patient: int | None
    workers: int


def command(argv: Sequence[str]) -> Callable[..., Phantom]:
    """The subcommand for a parser, with the defaults of the preset that ``argv`` names."""
    pairs = [word.partition("=")[::2] for word in argv]
    following = [*argv, ""][1:]
    named = [
        value or after
        for (word, value), after in zip(pairs, following, strict=True)
        if word == "--preset"
    ]
    starting = PRESETS[named[-1]]().phantom if named and named[-1] in PRESETS else tiny().phantom

    def phantom(
        out: Path,
        preset: Preset = "tiny",  # noqa: ARG001 - read above
        patient: int | None = None,
        workers: int = 2,
        phantom: PhantomConfig = starting,
    ) -> Phantom:
        """The generated cohort of a preset, as real files and prepared.

        Args:
            out: Folder that will hold phantom-<hash>/manifest.csv.
            preset: Whose sizes and number of patients.
            patient: Make this one patient's files alone, from 0, under OUT.
            workers: Processes that generate.
            phantom: The cohort; what is not given is the preset's.
        """
        if workers < 1:
            raise ValueError(f"--workers must be at least 1, got {workers}")
        if patient is not None and patient < 0:
            raise ValueError(f"--patient must be at least 0, got {patient}")
        return Phantom(out, phantom, patient, workers)

    return phantom
