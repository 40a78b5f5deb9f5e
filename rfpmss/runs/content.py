"""What a checkpoint holds: tensors and text, put together from all ranks and dealt out again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rfpmss.common import strict
from rfpmss.common.distributed import Peers, like, whole
from rfpmss.common.files import read_text, regular
from rfpmss.config.bounds import MOST_STEPS
from rfpmss.model.stored.hub import require_kind

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BLOCK = 4096
"""Bytes by which files grow on disk."""

ORIGIN = "weights"
"""Entry in a file of tuned weights: SHA-256 of those that they were tuned from."""

TASK = "task"
"""Entry there, and in the table of fine-tuning: what was learned, as JSON."""

HEADER = 256
"""Bytes that describe a tensor in a file."""

SMALL = (BLOCK, 2 * BLOCK, BLOCK)
"""Progress, configuration and manifest, bytes."""


@dataclass(frozen=True)
class State:
    """Everything that a step changes or needs."""

    modules: dict[str, nn.Module]
    """What is trained or remembered; one ``<name>.safetensors`` each."""
    optimiser: torch.optim.Optimizer
    """Its tensors and numbers are stored without pickle."""
    tokenizer: Tokenizer
    """Stored as ``tokenizer.json``."""


@dataclass(frozen=True)
class Content:
    """What a checkpoint holds besides its progress, its configuration and its manifest."""

    tensors: dict[str, dict[str, Tensor]]
    """By file and name."""
    texts: dict[str, str]
    """By file."""

    @property
    def size(self) -> int:
        """Bytes on disk at most: each file in whole blocks, headers and small files included."""
        sizes = [
            sum(HEADER + tensor.numel() * tensor.element_size() for tensor in entries.values())
            for entries in self.tensors.values()
        ]
        sizes += [len(text.encode()) for text in self.texts.values()]
        return sum(size // BLOCK + 1 for size in (*sizes, *SMALL)) * BLOCK


def collect(state: State, peers: Peers) -> Content:
    """Everything a checkpoint holds, put together on rank 0."""
    tensors, scalars = _flatten(state.optimiser.state_dict())
    found = {name: module.state_dict() for name, module in state.modules.items()}
    found |= {"optimiser": tensors}
    for entries in found.values():
        for name, held in entries.items():
            own = held.detach()
            complete = whole(own)
            if not peers.rank:
                entries[name] = own if complete is own else complete.cpu()

    texts = {
        "optimiser.json": json.dumps(scalars),
        "tokenizer.json": state.tokenizer.to_str(),
    }
    return Content(found, texts)


def restore(folder: Path, state: State) -> None:
    """Load the files of a verified checkpoint into ``state``, in place.

    Of the optimiser only what it remembers of each parameter is loaded; its rates and weight decay
    are those it was made with.

    Raises:
        ValueError: if a file holds what another model or optimiser was saved with.
    """
    for name, module in state.modules.items():
        load_weights(folder / f"{name}.safetensors", module, finite=True)

    optimiser, scalars = state.optimiser, strict.loads(read_text(folder / "optimiser.json"))
    groups = optimiser.state_dict()["param_groups"]
    if [group["params"] for group in scalars["param_groups"]] != [g["params"] for g in groups]:
        raise ValueError("optimiser.json must have the parameter groups of the run")

    moments = _unflatten(load_file(regular(folder / "optimiser.safetensors")), scalars)
    owners = [(p, group) for group in optimiser.param_groups for p in group["params"]]
    for index, entries in moments.items():
        if not 0 <= index < len(owners):
            raise ValueError(f"the optimiser must have {len(owners)} parameters, got {index}")
        parameter, group = owners[index]
        names, every = _remembered(optimiser, group), getattr(optimiser, "every", 0)
        _require_moments(index, entries, parameter, names, every)
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entries[name] = like(value, parameter)

    optimiser.load_state_dict({"state": moments, "param_groups": groups})


def _remembered(optimiser: torch.optim.Optimizer, group: dict) -> set[str]:
    """What an optimiser keeps of each parameter of a group."""
    if isinstance(optimiser, torch.optim.SGD):  # rfpmss.training.lookahead
        return {"momentum_buffer", "slow", "since"}
    if group.get("matrices"):  # rfpmss.training.muon
        return {"momentum"}

    return {"step", "exp_avg", "exp_avg_sq"}


def _require_moments(
    index: int, entries: dict, parameter: Tensor, names: set[str], every: int
) -> None:
    """Refuse what another optimiser, or none, keeps of a parameter; ``every``: of Lookahead."""
    if set(entries) != names:
        raise ValueError(
            f"the optimiser must keep {', '.join(sorted(names))} of parameter {index}, got "
            f"{', '.join(sorted(entries))}"
        )

    for name, value in entries.items():
        if name in ("since", "step"):
            number = value.item() if isinstance(value, Tensor) and value.ndim == 0 else value
            fits = type(number) in (int, float) and 0 <= number < MOST_STEPS
            fits = fits and number == int(number) and (name == "step" or number < every)
        else:
            fits = isinstance(value, Tensor) and value.shape == parameter.shape
            fits = fits and value.dtype.is_floating_point and not undefined({name: value})
            fits = fits and (name != "exp_avg_sq" or not bool((value < 0).any()))  # its root

        if not fits:
            raise ValueError(f"the optimiser's {name} of parameter {index} must be that of a run")


def load_weights(path: Path, module: nn.Module, *, finite: bool = False) -> None:
    """Load a file of a verified checkpoint into a module, of which each rank may hold a part.

    Args:
        path: the file.
        module: what it is loaded into.
        finite: refuse infinite and undefined values.

    Raises:
        ValueError: if a tensor is of another kind of number, or not finite.
        RuntimeError: if names or shapes differ.
    """
    own = module.state_dict()
    found = load_file(regular(path))
    if finite and (bad := undefined(found)):
        raise ValueError(f"must hold finite values, got others in {', '.join(bad[:3])}")

    for name in found.keys() & own.keys():
        require_kind(name, found[name].dtype, own[name].dtype)

    module.load_state_dict({k: like(v, own[k]) if k in own else v for k, v in found.items()})


def undefined(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold an infinite or undefined value."""
    return [
        name
        for name, held in tensors.items()
        if held.is_floating_point() and not bool(torch.isfinite(held.detach()).all())
    ]


def _flatten(state: dict) -> tuple[dict[str, Tensor], dict]:
    tensors, scalars = {}, {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                scalars[f"{index}.{name}"] = value

    return tensors, {"state": scalars, "param_groups": state["param_groups"]}


def _unflatten(tensors: dict[str, Tensor], scalars: dict) -> dict[int, dict]:
    state: dict[int, dict] = {}
    for key, value in (*tensors.items(), *scalars["state"].items()):
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    return state
