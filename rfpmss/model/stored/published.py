"""Start from published weights: ViT-B/16, ResNet-101 and BERT, with a report of what matched.

Nothing is downloaded: a source is a file, a folder, or a model that the local cache of the hub
already holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rfpmss.common.files import opened, regular
from rfpmss.config import VIEWS, ModelConfig
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.model.stored.names import bert_names, resnet_names, vit_names
from rfpmss.model.stored.tower import digest, read_state, read_tower
from rfpmss.model.vit import PatchStem, SequenceStem

State = dict[str, Tensor]

UNREADABLE = (
    AttributeError,
    EOFError,
    OSError,
    RuntimeError,
    SafetensorError,
    UnpicklingError,
    ValueError,
)
"""What damaged files, or files that hold something else, raise when read."""


@dataclass
class Match:
    """What a source gave to a part of the model, by the names of the part."""

    part: str
    source: str
    loaded: list[str] = field(default_factory=list)
    """Taken as they are."""
    adapted: list[str] = field(default_factory=list)
    """Taken after a change of shape: ``name: change``."""
    missing: list[str] = field(default_factory=list)
    """Not in the source, or there in another shape: ``name: reason``; left as initialised."""
    unused: list[str] = field(default_factory=list)
    """In the source and not in the model."""

    def __str__(self) -> str:
        lines = [f"{self.part} from {self.source}: {len(self.loaded)} tensors loaded"]
        for name in ("adapted", "missing", "unused"):
            entries = getattr(self, name)
            if entries:
                lines.append(f"  {len(entries)} {name}: {'; '.join(entries)}")

        return "\n".join(lines)


def load(model: RFPMSS, config: ModelConfig, words: Sequence[str] = ()) -> list[Match]:
    """Load what ``image_weights``, ``text_weights`` and ``text`` name; report on each part.

    Args:
        model: changed in place.
        config: names the weights.
        words: of the run's vocabulary, in order; needed for ``text``.

    Raises:
        ValueError: when a source cannot be read or has nothing for the model.
    """
    matches = []
    if config.image_weights:
        state = read(config.image_weights, "model.image_weights")
        fill = _fill_vit if config.backbone == "vit" else _fill_resnet
        matches += fill(model, state, config.image_weights)

    if config.text_weights:
        state = bert_names(read(config.text_weights, "model.text_weights"))
        matches.append(_fill_bert(model, state, config.text_weights))

    if config.text:
        matches.append(_fill_tower(model, config.text, words))

    for match in matches:
        if not match.loaded and not match.adapted:
            raise ValueError(
                f"weights for {match.part} must have names and shapes of the model, "
                f"got none that fit in {match.source}"
            )

    return matches


def digests(config: ModelConfig, recorded: dict[str, str] | None = None) -> dict[str, str] | None:
    """SHA-256 of the named weights and of the folder ``text``, as ``sha256sum`` says it.

    Of several files it is that of the lines of ``sha256sum``. What cannot be read is what was
    recorded: whoever loads it says so, and a run that has begun needs it no more.

    Args:
        config: names the weights.
        recorded: the digests of a run that has begun.

    Returns:
        By field; None where no weights are named.
    """
    named = {name: getattr(config, name) for name in ("image_weights", "text_weights")}
    found = {name: _digest(source) for name, source in named.items() if source}
    if config.text:
        found["text"] = digest(config.text)
    return {name: own or (recorded or {}).get(name, "") for name, own in found.items()} or None


def _digest(source: str) -> str:
    try:
        table = [(path.name, _sha256(path)) for path in _files(source, "weights")]
    except (OSError, ValueError):
        return ""

    if len(table) == 1:
        return table[0][1]

    lines = "".join(f"{digest}  {name}\n" for name, digest in table)
    return hashlib.sha256(lines.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(source: str, name: str = "source") -> State:
    """All tensors of a file (safetensors, npz, pt, pth, bin), a folder, or a cached hub model.

    Raises:
        ValueError: when there is no such file, or none in a format that is safe to read.
    """
    state: State = {}
    for file in _files(source, name):
        state |= _read_file(file, name)
    return state


def _files(source: str, name: str) -> list[Path]:
    path = Path(source)
    if not path.exists():
        path = _cached(source, name)
    return [path] if path.is_file() else _weight_files(path, name)


def _cached(source: str, name: str) -> Path:
    try:
        return Path(snapshot_download(source, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        raise ValueError(
            f"{name} must be a file, a folder or a model in the local cache, got {source!r}; "
            f"models of the hub are fetched beforehand with `hf download NAME`"
        ) from None


def _weight_files(folder: Path, name: str) -> list[Path]:
    for pattern in ("*.safetensors", "pytorch_model*.bin", "*.npz", "*.pt", "*.pth"):
        if found := sorted(folder.glob(pattern)):
            return found
    raise ValueError(f"{name} must hold safetensors, bin, npz, pt or pth files, got {folder}")


def _read_file(file: Path, name: str) -> State:
    try:
        if file.suffix == ".safetensors":
            return load_file(regular(file))
        if file.suffix == ".npz":
            with opened(file) as held, np.load(held, allow_pickle=False) as arrays:
                return {key: torch.from_numpy(arrays[key]) for key in arrays.files}
        found = torch.load(regular(file), map_location="cpu", weights_only=True)
        found = found.get("state_dict", found.get("model", found))
    except UNREADABLE as error:
        kind = type(error).__name__
        raise ValueError(f"{name} must be a readable weight file, got {file} ({kind})") from None

    return {key: value for key, value in found.items() if isinstance(value, Tensor)}


def _fill_vit(model: RFPMSS, state: State, source: str) -> list[Match]:
    names = vit_names(state)
    stem = {key.removeprefix("stem."): x for key, x in names.items() if key.startswith("stem.")}
    trunk = {key: value for key, value in names.items() if not key.startswith("stem.")}
    matches = []
    for view in VIEWS:
        target = cast("PatchStem | SequenceStem", model.image.stems[view])
        bank = isinstance(target, SequenceStem)
        fitted = _bank(stem, target) if bank else _channels(stem, target)
        matches.append(_fill(f"stem of {view}", source, target, *fitted))

    for name, part in model.image.trunks.items():
        matches.append(_fill(f"trunk ({name})", source, part, *_positions(trunk, part)))

    return matches


def _fill_resnet(model: RFPMSS, state: State, source: str) -> list[Match]:
    names = resnet_names(state)
    kernel = {"weight": names.pop("conv1.weight")} if "conv1.weight" in names else {}
    own = cast("nn.Conv2d", model.image.stems[VIEWS[0]]).out_channels
    if kernel and len(kernel["weight"]) != own:
        raise ValueError(
            f"model.resnet_width must be {len(kernel['weight'])}, the width of the weights in "
            f"{source}, got {own}"
        )

    matches = []
    for view in VIEWS:
        stem = cast("nn.Conv2d", model.image.stems[view])
        matches.append(_fill(f"stem of {view}", source, stem, *_inflate(kernel, stem.in_channels)))

    for name, part in model.image.trunks.items():
        matches.append(_fill(f"trunk ({name})", source, part, names, {}))

    return matches


def _fill_bert(model: RFPMSS, state: State, source: str) -> Match:
    bert, key, changes = model.report.bert, "embeddings.position_embeddings.weight", {}
    if key in state and len(state[key]) > len(bert.state_dict()[key]):
        rows = len(bert.state_dict()[key])
        changes[key] = f"first {rows} of {len(state[key])} positions"
        state[key] = state[key][:rows]

    return _fill("report", source, bert, state, changes)


def _fill_tower(model: RFPMSS, source: str, words: Sequence[str]) -> Match:
    """The text encoder whole: a tensor that is missing would be left as it was drawn."""
    match = _fill_bert(model, read_state(read_tower(source), words, model.data.tokens), source)
    if match.missing:
        raise ValueError(
            f"model.text must hold all tensors of the text encoder, got none of this shape for "
            f"{match.missing[0]} in {source}"
            + (
                "; a model without a pooler needs --model.text-pooling mean or cls"
                if match.missing[0].startswith("pooler")
                else ""
            )
        )
    return match


@torch.no_grad()
def _fill(part: str, source: str, target: nn.Module, state: State, changes: dict) -> Match:
    """Copy what agrees in name and shape; ``changes`` names the tensors that were adapted."""
    match, own = Match(part, source), target.state_dict()
    for name, tensor in own.items():
        if name not in state:
            match.missing.append(name)
        elif state[name].shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)}, source {tuple(state[name].shape)}"
            match.missing.append(f"{name}: {shapes}")
        else:
            tensor.copy_(state[name])
            changed = changes.get(name)
            match.adapted.append(f"{name}: {changed}") if changed else match.loaded.append(name)

    match.unused = [name for name in state if name not in own]
    return match


def _channels(stem: State, target: PatchStem) -> tuple[State, dict]:
    """Flatten the kernel of the patch convolution and fit it to the view's channels."""
    if "weight" not in stem:
        return stem, {}

    channels = target.linear.in_features // target.patch**2
    kernel, changes = _inflate({"weight": stem["weight"]}, channels)
    flat = {"linear.weight": rearrange(kernel["weight"], "d c i j -> d (c i j)")}
    if "bias" in stem:
        flat["linear.bias"] = stem["bias"]

    return flat, {f"linear.{name}": how for name, how in changes.items()}


def _bank(stem: State, target: SequenceStem) -> tuple[State, dict]:
    """The kernel, its colours summed, for each name, a part of it for each slice of a patch.

    Equal sequences of equal slices get the response of equal colours, as their mean is taken.
    """
    if "weight" not in stem:
        return stem, {}

    names, thick = len(target.weight), target.thick
    grey = stem["weight"].sum(dim=1, keepdim=True) / thick
    flat = {"weight": repeat(grey, "d 1 i j -> n d (z i j)", n=names, z=thick)}
    if "bias" in stem:
        flat["bias"] = repeat(stem["bias"], "d -> n d", n=names)

    how = f"colours summed, for {names} sequences and {thick} slices"
    return flat, dict.fromkeys(flat, how)


def _inflate(kernel: State, channels: int) -> tuple[State, dict]:
    """Spread the mean over colours so that equal channels get the response of equal colours."""
    if not kernel or kernel["weight"].shape[1] == channels:
        return kernel, {}

    old = kernel["weight"].shape[1]
    mean = kernel["weight"].mean(dim=1, keepdim=True) * old / channels
    spread = mean.repeat(1, channels, 1, 1)
    return {"weight": spread}, {"weight": f"mean of {old} channels spread over {channels}"}


def _positions(trunk: State, target: nn.Module) -> tuple[State, dict]:
    """Resize the grid of position embeddings, bicubic, when the image has another size."""
    wanted = target.state_dict()["positions"].shape[1] - 1
    if "positions" not in trunk or trunk["positions"].shape[1] - 1 == wanted:
        return trunk, {}

    first, grid = trunk["positions"].split([1, trunk["positions"].shape[1] - 1], dim=1)
    old, new = round(grid.shape[1] ** 0.5), round(wanted**0.5)
    square = rearrange(grid, "one (h w) d -> one d h w", h=old)
    resized = F.interpolate(square, size=(new, new), mode="bicubic", align_corners=False)
    grid = rearrange(resized, "one d h w -> one (h w) d")
    changed = {"positions": f"{old} x {old} grid resized to {new} x {new}"}

    return trunk | {"positions": torch.cat([first, grid], dim=1)}, changed
