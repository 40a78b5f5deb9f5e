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


def run(arguments: Phantom) -> int:
    """Generate what is asked for; return the exit status."""
    from rfpmss.data.cohort.page.overview import write_page
    from rfpmss.data.phantom import ensure_cohort
    from rfpmss.data.phantom.files import study_id, write_patient

    if arguments.patient is None:
        manifest = ensure_cohort(arguments.config, arguments.out, arguments.workers)
        print(f"manifest: {manifest}\npage: {write_page(manifest.parent)}")  # noqa: T201
        return 0
    folder = arguments.out / study_id(arguments.patient)
    if not folder.exists():
        write_patient(folder, arguments.patient, arguments.config)
    print(f"patient: {folder}")  # noqa: T201
    return 0
