"""One training step as a module that can be spread over ranks: replicated, or sharded."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rfpmss.common.distributed import Peers
from rfpmss.config import Config
from rfpmss.loss.total import Losses
from rfpmss.model.project import Projection
from rfpmss.model.rfpmss import RFPMSS
from rfpmss.training.bank import Bank
from rfpmss.training.step import step

if TYPE_CHECKING:
    from rfpmss.data.batches.batch import Batch


class Spine(nn.Module):
    """`rfpmss.training.step.step` as a module: what a rank does with its part of a batch."""

    def __init__(self, model: RFPMSS, bank: Bank, config: Config, peers: Peers) -> None:
        super().__init__()
        self.model, self.bank = model, bank
        self.config, self.peers = config, peers

    def forward(self, batch: Batch) -> tuple[Float[Tensor, ""], Losses]:
        """The weighted sum of the losses, and the losses without a gradient."""
        losses = step(self.model, self.bank, batch, self.config, self.peers)
        total = losses.total(self.config.loss)
        return total, losses.detached()


def replicate(spine: Spine, peers: Peers) -> nn.Module:
    """Every rank holds all parameters; gradients are averaged while they are made (DDP).

    Unused parameters are looked for in every step, which keeps torch from rearranging its messages
    after the first one: a resumed run adds up in the same order as the uninterrupted run did.
    """
    device = next(spine.model.parameters()).device
    spine.spare = nn.Parameter(torch.zeros(1, device=device))  # or torch warns that none is unused
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(
            spine,
            process_group=peers.gradients or peers.group,
            broadcast_buffers=False,
            find_unused_parameters=True,
        )


def shard(root: nn.Module, model: RFPMSS, peers: Peers) -> None:
    """Every rank holds its part of each parameter, gradient and moment (FSDP2).

    A block, layer or projection is gathered whole just before it is needed; what is left of a part
    of the model with that part, the rest with ``root``. To be called before an optimiser is made.
    """
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import fully_shard

    # A hint to whoever changes features in place; nothing here does.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
    # The group of gradients gives up in time on a rank that hangs; torch's own waits half an hour.
    group = peers.gradients or peers.group
    mesh = DeviceMesh.from_group(group, next(model.parameters()).device.type)
    for unit in (*_units(model), root):
        fully_shard(unit, mesh=mesh)


def _units(model: RFPMSS) -> Iterator[nn.Module]:
    for trunk in model.image.trunks.values():
        yield from cast("Iterable[nn.Module]", getattr(trunk, "blocks", ()))

    yield from model.report.bert.encoder.layer
    yield from model.decoder.layers
    for projection in cast("Iterable[Projection]", model.project.of.values()):
        yield from () if projection.rebuild is None else (projection.rebuild,)
        yield projection

    yield from (model.image, model.fuse, model.report, model.decoder, model.anchors)
