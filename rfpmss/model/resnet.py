"""Residual network with 101 layers (He et al. 2016; Table 5, row 1), named as in weight files."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rfpmss.config import ModelConfig

LAYERS = (3, 4, 23, 3)
"""Bottlenecks in each of the four stages of ResNet-101."""


class ConvStem(nn.Conv2d):
    """The 7 x 7 convolution at the entry, one per view as views differ in channels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, 7, stride=2, padding=3, bias=False)


class ResNetTrunk(nn.Module):
    """Everything after the stem: a grid of tokens and their mean.

    Args:
        config: channels after the stem, and width of the tokens that leave the trunk.
        layers: bottlenecks per stage.
    """

    def __init__(self, config: ModelConfig, layers: tuple[int, ...] = LAYERS) -> None:
        super().__init__()
        width = config.resnet_width
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = width
        for stage, depth in enumerate(layers):
            inner, stride = width * 2**stage, 1 if stage == 0 else 2
            blocks = [Bottleneck(channels, inner, stride)]
            blocks += [Bottleneck(4 * inner, inner, 1) for _ in range(depth - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            channels = 4 * inner

        self.stages = len(layers)
        self.project = nn.Linear(channels, config.dim)

    def forward(
        self, x: Float[Tensor, "r c h w"]
    ) -> tuple[Float[Tensor, "r d"], Float[Tensor, "r p d"]]:
        """Mean token and tokens of each image."""
        tokens = self.project(rearrange(self.grid(x), "r c h w -> r (h w) c"))
        return tokens.mean(dim=1), tokens

    def grid(self, x: Float[Tensor, "r c h w"]) -> Float[Tensor, "r _ _ _"]:
        """The last stage's feature map."""
        x = self.maxpool(self.relu(self.bn1(x)))
        for stage in range(self.stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return x


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (which may stride), 1 x 1 convolution around a shortcut."""

    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        outer = 4 * inner
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outer, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outer)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential()

        if stride != 1 or channels != outer:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, outer, 1, stride=stride, bias=False), nn.BatchNorm2d(outer)
            )

        for layer in (self.conv1, self.conv2, self.conv3, *self.downsample):
            if isinstance(layer, nn.Conv2d):
                # He et al. 2015: the variance of what leaves a layer is that of what enters it.
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "r c h w"]) -> Float[Tensor, "r _ _ _"]:
        """One bottleneck."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))
