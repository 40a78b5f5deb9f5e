"""The generated cohort as a command: a whole cohort, or one patient of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rfpmss.config import PRESETS, PhantomConfig, Preset, second_edition, tiny
from rfpmss.config.arguments import value_of


@dataclass(frozen=True)
class Phantom:
    """What to generate."""

    out: Path
    config: PhantomConfig
    patient: int | None
    workers: int


def command(argv: Sequence[str]) -> Callable[..., Phantom]:
    """The subcommand for a parser, with the defaults of the preset and edition in ``argv``."""
    name = value_of(argv, "--preset")
    preset = PRESETS.get(name or "tiny", tiny)()
    second = value_of(argv, "--phantom.edition") == "2"
    starting = (second_edition(preset) if second else preset).phantom

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
