"""Targets of SwAV, DINO and iBOT: balanced over the prototypes, at any temperature.

Shows that the targets load every prototype alike where the nearest prototype would not, that three
sweeps of the usual loop are not yet there and move with a shift of the rows, that padded patches
take no part, and that the running centre assigns a single patch without its batch.
"""

import torch
from torch.nn.functional import cross_entropy, normalize

from multisk.ssl import SinkhornCentering, targets


def codes() -> None:
    """SwAV: predict the codes of one view from the other."""
    rows, prototypes, temperature = 512, 32, 0.05
    direction = normalize(torch.randn(64), dim=0)
    features = normalize(torch.randn(rows, 64) + 6 * direction, dim=1)  # nearly collapsed
    centres = normalize(torch.randn(prototypes, 64) + 2 * direction, dim=1)
    scores = features @ centres.T

    found = targets(scores, temperature)
    share = rows / prototypes
    nearest = scores.argmax(1).bincount(minlength=prototypes)
    assert (found.sum(0) / share - 1).abs().max() < 1e-3
    assert nearest.max() > 4 * share

    three = targets(scores, temperature, sweeps=3)
    moved = targets(scores - scores.amax(1, keepdim=True), temperature, sweeps=3)
    assert (three.sum(0) / share - 1).abs().max() > 1e-3
    assert (three - moved).abs().max() > 1e-3

    view = normalize(features + 0.005 * torch.randn_like(features), dim=1) @ centres.T
    loss = cross_entropy(view / 0.1, found)
    print(
        f"largest load: nearest {int(nearest.max())}, targets {found.sum(0).max():.2f} of {share}"
    )
    print(f"three sweeps miss a load by {(three.sum(0) / share - 1).abs().max():.1%}")
    print(f"swapped loss {loss:.3f}")


def centring() -> None:
    """DINO and iBOT: padding, cold half-precision logits, and the centre."""
    patches, prototypes, live = 200, 24, 128
    logits = (8 * torch.randn(patches, prototypes) + 8 * torch.randn(prototypes)).half()
    logits[live:] = torch.nan  # whatever stands in the padding
    centre = SinkhornCentering(prototypes)
    found = centre(logits, 0.04, n_masked_patches_tensor=torch.tensor([live]))
    assert bool(found.isfinite().all())
    assert not bool(found[live:].any())
    assert (found.sum(0) * prototypes / live - 1).abs().max() < 1e-3

    patch = centre.assign(logits[:1], 0.04)
    assert (patch - found[:1]).abs().max() < 1e-5
    print(f"{live} patches, {live / prototypes:.2f} a prototype, float16 at temperature 0.04")


def main() -> None:
    torch.manual_seed(0)
    codes()
    centring()


if __name__ == "__main__":
    main()
