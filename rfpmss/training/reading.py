"""The network over a batch, whole or part by part.

Part by part, only the features of all studies are held; activations are made again for one part at
a time in the backward pass. The losses still see the whole batch, so that contrast, assignment and
bank mean the same however it is cut: a second forward pass is the price. Averaging the losses of
parts instead would show each study fewer others to be told from.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rfpmss.common.precision import cast_to
from rfpmss.config import PAD, Config
from rfpmss.model.features import Features
from rfpmss.model.rfpmss import REPORT, RFPMSS

if TYPE_CHECKING:
    from rfpmss.data.batches.batch import Batch

Reading = tuple[Features, Tensor, Tensor]
"""Features; the summed negative log-likelihood of Eq. 4; and its words."""


def read(model: RFPMSS, batch: Batch, config: Config) -> Reading:
    """Features before they are compared, and language sums, in ``config.train.accumulate`` parts.

    Dropout draws other masks when the batch is cut, and batch normalisation (ResNet) sees parts;
    otherwise the result does not depend on the cut.
    """
    kind = next(model.parameters()).dtype
    whole = [*(image.to(kind) for image in batch.images), batch.present, batch.tokens]
    if batch.shown is not None:
        whole.append(batch.shown)
    if config.train.accumulate == 1:
        return _read(model, config, *whole)

    cut = zip(*(tensor.chunk(config.train.accumulate) for tensor in whole), strict=True)
    parts = [checkpoint(_read, model, config, *part, use_reentrant=False) for part in cut]
    features, totals, words = zip(*parts, strict=True)
    return _join(features), torch.stack(totals).sum(), torch.stack(words).sum()


def _read(
    model: RFPMSS,
    config: Config,
    ct: Tensor,
    mri: Tensor,
    pathology: Tensor,
    present: Tensor,
    tokens: Tensor,
    shown: Tensor | None = None,
) -> Reading:
    write = "likelihood" if config.loss.language > 0 else None  # it costs a decoder
    with cast_to(config.train.precision, ct):
        features = model.read((ct, mri, pathology), present, tokens, shown, write=write)

    if features.nll is None:
        return features, features.study.new_zeros(()), tokens.new_zeros(())

    readings = (features.readable & present[:, REPORT, None]).sum(dim=1, keepdim=True)
    words = ((tokens[:, 1:] != PAD) * readings).sum()
    return replace(features, nll=None), features.nll, words


def _join(parts: tuple[Features, ...]) -> Features:
    joined: dict[str, Any] = {}
    for field in fields(Features):
        values = [getattr(part, field.name) for part in parts]
        joined[field.name] = None if values[0] is None else torch.cat(values)
    return Features(**joined)
