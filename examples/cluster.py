"""An index of nearest neighbours whose lists are all of one length.

Shows that k-means of any size leaves one list several times as long as the others, that equal
sizes make every query cost the same, and that equal bytes scanned find as many true neighbours.
"""

import torch

from multisk.cluster import BalancedKMeans

LISTS, PROBES, NEAREST = 32, 6, 10


def found(index: BalancedKMeans, base: torch.Tensor, queries: torch.Tensor) -> tuple[float, float]:
    """Recall of the true neighbours among the nearest lists' rows, and the rows scanned (p99).

    Lists are scanned nearest first until as many rows are seen as `PROBES` lists of the mean
    length hold.
    """
    labels = torch.from_numpy(index.labels_)
    far = torch.cdist(queries, torch.from_numpy(index.cluster_centers_).to(queries))
    rank = far.argsort(1).argsort(1)[:, labels]  # of each row's list, for every query
    length = labels.bincount(minlength=LISTS)[far.argsort(1)[:, :PROBES]].sum(1)
    budget = PROBES * len(base) // LISTS
    seen = rank.argsort(stable=True)[:, :budget]
    true = torch.cdist(queries, base).topk(NEAREST, largest=False).indices
    hit = (seen[:, :, None] == true[:, None]).any(1)
    return float(hit.float().mean()), float(length.float().quantile(0.99))


def main() -> None:
    torch.manual_seed(0)
    centres = 2.5 * torch.randn(12, 8)
    weight = torch.arange(1, 13).float() ** -1.2  # a few groups hold most of the rows
    draw = centres[torch.multinomial(weight, 4200, replacement=True)] + torch.randn(4200, 8)
    base, queries = draw[:4000], draw[4000:]
    free = BalancedKMeans(LISTS, None, None, random_state=0).fit(base)
    even = BalancedKMeans(LISTS, random_state=0).fit(base)
    recall, scanned = zip(*(found(index, base, queries) for index in (free, even)), strict=True)
    assert set(even.counts_) == {len(base) // LISTS}
    assert free.counts_.max() > 1.5 * even.counts_.max()
    assert scanned[1] == PROBES * len(base) // LISTS < scanned[0]
    assert recall[1] > recall[0] - 0.05
    print(f"longest list: free {free.counts_.max()}, equal sizes {even.counts_.max()}")
    print(f"rows behind {PROBES} lists, p99: free {scanned[0]:.0f}, equal sizes {scanned[1]:.0f}")
    print(f"recall at {NEAREST}, equal bytes: free {recall[0]:.1%}, equal sizes {recall[1]:.1%}")


if __name__ == "__main__":
    main()
