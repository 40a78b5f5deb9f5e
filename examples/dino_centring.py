"""DINO and iBOT targets: centring by transport, with images that mask different numbers of patches.

Shows that padded patches take no part, that the loads of the prototypes are even over the patches
that count, and that the stored potentials are the running centre: they assign a single patch
without its batch.
"""

import torch

import multisk


def main() -> None:
    torch.manual_seed(1)
    images, patches, prototypes, temperature = 4, 50, 24, 0.1
    logits = torch.randn(images, patches, prototypes) + 2 * torch.randn(prototypes)
    counts = torch.tensor([50, 37, 12, 29])
    live = torch.arange(patches) < counts[:, None]
    table, rows = logits.flatten(0, 1) * 0.1, live.flatten().float()

    problem = multisk.Transport(eps=temperature, rows=rows)
    assigner = multisk.BalancedAssigner(prototypes, problem, momentum=0.9)
    targets = assigner(table).raise_if_failed().plan
    share = float(rows.sum()) / prototypes
    assert not bool(targets[rows == 0].any())
    assert (targets.sum(0) / share - 1).abs().max() < 1e-5

    poisoned = table.clone()
    poisoned[rows == 0] = 77.0  # whatever stands in the padding
    again = multisk.solve(poisoned, problem).plan
    assert (again - targets).abs().max() < 1e-5

    centre = -temperature * assigner.column_potential
    alone = multisk.Transport(eps=temperature)
    patch = assigner.assign(table[:1], alone)
    softmax = torch.softmax((table[:1].double() - centre) / temperature, -1)
    assert (patch - softmax).abs().max() < 1e-5
    print(f"{int(rows.sum())} patches, {share:.2f} a prototype, padding ignored")
    print(f"running centre between {centre.min():.3f} and {centre.max():.3f}")


if __name__ == "__main__":
    main()
