"""Where the figures of a run go besides ``metrics.jsonl``: TensorBoard always, others on request.

Nothing is sent anywhere: the others write into the run folder too, and their own reports to their
makers are switched off.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, runtime_checkable

from rfpmss.common.errors import RfpmssError

Name = Literal["trackio", "mlflow", "wandb"]

QUIET = {
    "trackio": {
        "TRACKIO_DIR": "{folder}/trackio",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
    },
    "mlflow": {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
    "wandb": {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"},
}
"""Environment, set before import, that keeps a tracker here; what is already set stays."""


@runtime_checkable
class Tracker(Protocol):
    """Takes the figures of a step."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Note ``figures`` under ``step``."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class TrackerError(RfpmssError, ValueError):
    """A tracker was asked for that is not installed."""


def open_trackers(
    names: Iterable[Name], folder: Path, config: Mapping[str, Any], step: int
) -> list[Tracker]:
    """TensorBoard and the named trackers, all writing into ``folder``.

    Args:
        names: each needs its package: ``pip install trackio`` (mlflow, wandb).
        folder: of the run; its name is the run's name.
        config: what the run was asked to do.
        step: steps done; what TensorBoard holds of later ones is hidden.

    Raises:
        TrackerError: if a package is missing.
    """
    modules = {}
    for name in names:
        for variable, value in QUIET[name].items():
            os.environ.setdefault(variable, value.format(folder=folder.resolve()))
        try:
            modules[name] = importlib.import_module(name)
        except ModuleNotFoundError as error:
            needs = "" if error.name == name else f", which needs {error.name}"
            raise TrackerError(
                f"--track must name installed packages, got {name}{needs}: pip install {name}"
            ) from None

    opened: list[Tracker] = [Board(folder, step)]
    return opened + [ADAPTERS[name](module, folder, config) for name, module in modules.items()]


class Board:
    """TensorBoard event files in ``tensorboard/``."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """One scalar a figure."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush."""
        self._writer.close()


class _Trackio:
    def __init__(self, module: ModuleType, folder: Path, config: Mapping[str, Any]) -> None:
        self._run = module.init(
            project="rfpmss", name=folder.name, config=dict(config), resume="allow"
        )
        self._module = module

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._module.log(dict(figures), step=step)

    def close(self) -> None:
        self._module.finish()


class _MLflow:
    def __init__(self, module: ModuleType, folder: Path, config: Mapping[str, Any]) -> None:
        module.set_tracking_uri(f"sqlite:///{(folder / 'mlflow.db').resolve()}")
        module.set_experiment("rfpmss")
        self._run = module.start_run(run_name=folder.name)
        module.log_params({name: str(value)[:500] for name, value in config.items()})
        self._module = module

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._module.log_metrics(dict(figures), step=step)

    def close(self) -> None:
        self._module.end_run()


class _WandB:
    def __init__(self, module: ModuleType, folder: Path, config: Mapping[str, Any]) -> None:
        self._run = module.init(
            project="rfpmss", name=folder.name, dir=str(folder), config=dict(config)
        )

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        self._run.finish()


ADAPTERS: dict[str, Callable[[ModuleType, Path, Mapping[str, Any]], Tracker]] = {
    "trackio": _Trackio,
    "mlflow": _MLflow,
    "wandb": _WandB,
}
"""How each named tracker is spoken to."""
