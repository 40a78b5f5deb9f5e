"""Names of published weight files, translated to the names used here."""

from __future__ import annotations

import re

import torch
from torch import Tensor

State = dict[str, Tensor]

# Transformers' ViT, as saved; ``query``, ``key`` and ``value`` are stacked afterwards.
VIT = (
    (r"^(?:vit\.)?embeddings\.cls_token$", "aggregation"),
    (r"^(?:vit\.)?embeddings\.position_embeddings$", "positions"),
    (r"^(?:vit\.)?embeddings\.patch_embeddings\.projection\.", "stem."),
    (r"^(?:vit\.)?encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"^vit\.layernorm\.|^layernorm\.", "norm."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attention.\1."),
    (r"\.attention\.output\.dense\.", ".attention.out."),
    (r"\.intermediate\.dense\.", ".perceptron.widen."),
    (r"^(blocks\.\d+)\.output\.dense\.", r"\1.perceptron.narrow."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
)

# The npz files of the original release.
VIT_NPZ = (
    (r"^cls$", "aggregation"),
    (r"^Transformer/posembed_input/pos_embedding$", "positions"),
    (r"^embedding/", "stem."),
    (r"^Transformer/encoderblock_(\d+)/", r"blocks.\1."),
    (r"^Transformer/encoder_norm/", "norm."),
    (r"MultiHeadDotProductAttention_1/(query|key|value|out)/", r"attention.\1."),
    (r"MlpBlock_3/Dense_0/", "perceptron.widen."),
    (r"MlpBlock_3/Dense_1/", "perceptron.narrow."),
    (r"LayerNorm_0/", "norm1."),
    (r"LayerNorm_2/", "norm2."),
    (r"\.(scale|kernel)$", ".weight"),
)

# Transformers' ResNet to the names of torchvision's, which are those used here.
RESNET = (
    (r"^(?:resnet\.)?embedder\.embedder\.convolution\.", "conv1."),
    (r"^(?:resnet\.)?embedder\.embedder\.normalization\.", "bn1."),
    (
        r"^(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.convolution\.",
        r"stage\1.\2.downsample.0.",
    ),
    (
        r"^(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.normalization\.",
        r"stage\1.\2.downsample.1.",
    ),
    (r"^(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.", r"stage\1.\2."),
)


def vit_names(state: State) -> State:
    """Tensors of a vision transformer under the names used here, its patch kernel as ``stem``.

    Accepts the names of transformers and of the original npz files.
    """
    if any(name.startswith("Transformer/") for name in state):
        renamed = {_rename(name, VIT_NPZ): _transpose(name, x) for name, x in state.items()}
        return _stack(renamed)
    return _stack({_rename(name, VIT): tensor for name, tensor in state.items()})


def resnet_names(state: State) -> State:
    """Tensors of a residual network under torchvision's names."""
    renamed = {}
    for name, tensor in state.items():
        new = _rename(name, RESNET)
        new = re.sub(r"^stage(\d+)", lambda m: f"layer{int(m[1]) + 1}", new)
        new = re.sub(
            r"^(layer\d+\.\d+)\.(\d)\.(convolution|normalization)",
            lambda m: f"{m[1]}.{'conv' if m[3] == 'convolution' else 'bn'}{int(m[2]) + 1}",
            new,
        )
        renamed[new] = tensor

    return renamed


def bert_names(state: State) -> State:
    """Tensors of a BERT without its prefix and with weight and bias for gamma and beta."""
    renamed = {}
    for name, tensor in state.items():
        new = name.removeprefix("bert.")
        new = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", new)
        renamed[re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", new)] = tensor

    return renamed


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _transpose(name: str, tensor: Tensor) -> Tensor:
    """A kernel of the npz layout (inputs first, heads apart) in the layout of ``nn.Linear``."""
    if re.search(r"/(query|key|value)/kernel$", name):
        return tensor.flatten(1).T
    if name.endswith("/out/kernel"):
        return tensor.flatten(0, 1).T
    if name == "embedding/kernel":
        return tensor.permute(3, 2, 0, 1)
    if name.endswith("/kernel"):
        return tensor.T

    return tensor.flatten() if re.search(r"/(query|key|value)/bias$", name) else tensor


def _stack(state: State) -> State:
    """Stack query, key and value to the one matrix that projects all three."""
    stacked = dict(state)
    for name in state:
        found = re.match(r"^(blocks\.\d+\.attention\.)query\.(weight|bias)$", name)
        if not found:
            continue
        parts = [f"{found[1]}{part}.{found[2]}" for part in ("query", "key", "value")]
        if all(part in stacked for part in parts):
            stacked[f"{found[1]}project.{found[2]}"] = torch.cat([stacked.pop(p) for p in parts])

    return stacked
