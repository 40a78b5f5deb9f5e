"""k-means with bounds on the sizes of its clusters, every assignment exact.

Lloyd's algorithm whose assignment step is `multisk.hard`: rows to centres by squared distance,
every cluster between its least and largest size. The prices that come with it say what a place in
each cluster costs, and assign new rows. scikit-learn's contract where that is installed.

Source: Bradley, Bennett and Demiriz 2000, Constrained K-Means Clustering (MSR-TR-2000-65), for the
formulation; k-means++ of Arthur and Vassilvitskii 2007 for the first centres.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from multisk._hard import hard
from multisk._problem.problem import MultiAssignment

BASES: Any = ()
validate_data: Any = None
check_is_fitted: Any = None
with contextlib.suppress(ImportError):  # the class works without scikit-learn, as a plain one
    from sklearn import base
    from sklearn.utils import validation

    BASES = (base.TransformerMixin, base.ClusterMixin, base.BaseEstimator)
    validate_data, check_is_fitted = validation.validate_data, validation.check_is_fitted

__all__ = ["BalancedKMeans"]

Given = Any  # options are looked at by `fit`, as scikit-learn asks


class BalancedKMeans(*BASES):
    """k-means whose clusters keep their sizes.

    Args:
        n_clusters: Clusters.
        size_min: Least rows of a cluster: "even" is floor(n / n_clusters), None no bound, an int,
            or an array with one number a cluster.
        size_max: Most rows of a cluster: "even" is ceil(n / n_clusters), else as `size_min`.
        init: "k-means++", "random", or an array (n_clusters, n_features).
        n_init: Starts, of which the best is kept.
        max_iter: Most steps of a start.
        tol: Squared movement of the centres, over the variance of the data, that ends a start.
        metric: "euclidean", or "cosine": rows and centres on the unit sphere.
        batch_size: Rows of a step; None takes all. Memory is batch_size x n_clusters then.
        refine: With `batch_size`, end with one assignment of all rows.
        random_state: Seed, or a numpy RandomState.
        verbose: Print the inertia of every step.

    Attributes:
        labels_: (n,) int32.
        cluster_centers_: (n_clusters, n_features).
        inertia_: Sum of squared distances to the rows' own centres, weighted.
        prices_: (n_clusters,) what a place in each cluster costs, in squared distance, mean 0.
        counts_: (n_clusters,) rows of every cluster.
        n_iter_: Steps made.

    Raises:
        ValueError: From `fit`, for options outside their range and bounds that no clustering meets.

    Example:
        >>> import numpy as np
        >>> points = np.array([[0.0], [0.1], [0.2], [0.3], [5.0], [5.1]])
        >>> BalancedKMeans(2, random_state=0).fit(points).counts_
        array([3, 3])
    """

    def __init__(  # noqa: PLR0913, PLR0917 - scikit-learn's way
        self,
        n_clusters: Given = 8,
        size_min: Given = "even",
        size_max: Given = "even",
        init: Given = "k-means++",
        n_init: Given = 1,
        max_iter: Given = 300,
        tol: Given = 1e-4,
        metric: Given = "euclidean",
        batch_size: Given = None,
        refine: Given = True,  # noqa: FBT002
        random_state: Given = None,
        verbose: Given = 0,
    ) -> None:
        self.n_clusters, self.size_min, self.size_max = n_clusters, size_min, size_max
        self.init, self.n_init, self.max_iter, self.tol = init, n_init, max_iter, tol
        self.metric, self.batch_size, self.refine = metric, batch_size, refine
        self.random_state, self.verbose = random_state, verbose

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "BalancedKMeans":  # noqa: N803
        """Cluster the rows of X (n, n_features); `sample_weight` weighs centres and inertia."""
        del y
        x, kind = self._rows(X, reset=True)
        self._check(len(x))
        weight = self._weights(sample_weight, len(x))
        draw = generator(self.random_state)
        best: tuple[Any, ...] | None = None
        for _ in range(self.n_init if isinstance(self.init, str) else 1):
            centres = self._first(x, weight, draw)
            found = self._lloyd(x, weight, centres, draw)
            if best is None or found[0] < best[0]:
                best = found

        assert best is not None
        self.inertia_, labels, centres, self.prices_, self.n_iter_ = best
        self.labels_ = labels.astype(np.int32)
        self.counts_ = np.bincount(labels, minlength=self.n_clusters)
        self.cluster_centers_ = centres.astype(kind)
        self._seen = self.counts_.astype(float)

        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "BalancedKMeans":  # noqa: N803
        """Move the centres by one batch, whose clusters keep the bounds within the batch."""
        del y
        fresh = not hasattr(self, "cluster_centers_")
        x, kind = self._rows(X, reset=fresh)
        weight = self._weights(sample_weight, len(x))
        if fresh:
            self._check(len(x))
            self.cluster_centers_ = self._first(x, weight, generator(self.random_state)).astype(
                kind
            )
            self.prices_, self._seen = np.zeros(self.n_clusters), np.zeros(self.n_clusters)
            self.n_iter_ = 0

        centres = self.cluster_centers_.astype(float)
        labels, self.prices_ = self._assign(x, centres, self.prices_, len(x))
        centres = self._moved(x, weight, labels, centres, self._seen)
        self.cluster_centers_, self.n_iter_ = centres.astype(kind), self.n_iter_ + 1
        self.labels_ = labels.astype(np.int32)
        self.counts_ = np.bincount(labels, minlength=self.n_clusters)
        self.inertia_ = float(weight @ ((x - centres[labels]) ** 2).sum(1))

        return self

    def predict(self, X: Any, *, bounded: bool = False) -> np.ndarray:  # noqa: N803
        """Clusters (n,) of rows: least squared distance plus price, each row by itself.

        With `bounded` the sizes are kept within these rows, in proportion.
        """
        x, _ = self._fitted(X)
        centres = self.cluster_centers_.astype(float)
        if bounded:
            return self._assign(x, centres, self.prices_, len(x))[0].astype(np.int32)

        parts = [(distances(x[part], centres) + self.prices_).argmin(1) for part in blocks(len(x))]
        return np.concatenate(parts).astype(np.int32)

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:  # noqa: N803
        """`fit`, and the labels of the rows."""
        return self.fit(X, y, sample_weight).labels_

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Distances (n, n_clusters) to the centres."""
        x, kind = self._fitted(X)
        return np.sqrt(distances(x, self.cluster_centers_.astype(float))).astype(kind)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:  # noqa: N803
        """Minus the inertia of the rows at their predicted clusters."""
        del y
        x, _ = self._fitted(X)
        far = ((x - self.cluster_centers_.astype(float)[self.predict(X)]) ** 2).sum(1)
        return -float(self._weights(sample_weight, len(x)) @ far)

    # The steps

    def _lloyd(self, x: Any, weight: Any, centres: Any, draw: Any) -> tuple[Any, ...]:
        """Inertia, labels, centres, prices and steps of one start."""
        prices, labels = np.zeros(self.n_clusters), None
        close = self.tol * x.var(0).mean()
        rows = len(x) if self.batch_size is None else min(self.batch_size, len(x))
        seen, step = np.zeros(self.n_clusters), 0
        for step in range(1, self.max_iter + 1):
            part = slice(None) if rows == len(x) else draw.choice(len(x), rows, replace=False)
            here, mine = x[part], weight[part]
            new, prices = self._assign(here, centres, prices, rows)
            if rows == len(x) and labels is not None and (new == labels).all():
                break
            labels = new
            moved = self._moved(here, mine, new, centres, seen if rows < len(x) else None)
            shift, centres = ((moved - centres) ** 2).sum(), moved
            if self.verbose:
                print(step, float(mine @ ((here - centres[new]) ** 2).sum(1)))  # noqa: T201
            if shift <= close:
                break

        if rows == len(x) or self.refine:
            labels, prices = self._assign(x, centres, prices, len(x))
        else:
            labels = np.concatenate(
                [(distances(x[at], centres) + prices).argmin(1) for at in blocks(len(x))]
            )

        inertia = float(weight @ ((x - centres[labels]) ** 2).sum(1))
        return inertia, labels, centres, prices, step

    def _assign(self, x: Any, centres: Any, prices: Any, rows: int) -> tuple[Any, Any]:
        """Labels of rows within the bounds at the least sum of squared distances; the prices."""
        low, high = self._bounds(rows)
        far = distances(x, centres)
        if (low == 0).all() and (high >= rows).all():
            return far.argmin(1), np.zeros(self.n_clusters)

        even = (high - low <= 1).all() and (low == rows // self.n_clusters).all()
        load = None if even else (torch.from_numpy(low), torch.from_numpy(high))
        start = torch.from_numpy(prices)
        found = hard(torch.from_numpy(-far), MultiAssignment(k=1, capacity=load), prices=start)

        return found.plan.numpy().argmax(1), found.prices.numpy()

    def _moved(self, x: Any, weight: Any, labels: Any, centres: Any, seen: Any) -> Any:
        """Means of the rows of each cluster; of all rows so far where `seen` counts them."""
        mass = np.bincount(labels, weights=weight, minlength=self.n_clusters)
        parts = torch.from_numpy(weight[:, None] * x)
        sums = torch.zeros(centres.shape, dtype=parts.dtype)
        sums = sums.index_add_(0, torch.from_numpy(labels), parts).numpy()
        if seen is not None:
            seen += mass
            whole = np.where(seen > 0, seen, 1.0)[:, None]
            moved = centres + (sums - mass[:, None] * centres) / whole
        else:
            moved = np.where(
                mass[:, None] > 0, sums / np.where(mass > 0, mass, 1.0)[:, None], centres
            )

        return unit(moved) if self.metric == "cosine" else moved

    def _first(self, x: Any, weight: Any, draw: Any) -> Any:
        """The first centres."""
        if not isinstance(self.init, str):
            centres = np.asarray(self.init, float)
            if centres.shape != (self.n_clusters, x.shape[1]):
                shape = (self.n_clusters, x.shape[1])
                raise ValueError(f"init must have the shape {shape}, got {centres.shape}")
            return unit(centres) if self.metric == "cosine" else centres.copy()

        if self.init == "random":
            return x[draw.choice(len(x), self.n_clusters, replace=False)].copy()

        chosen = [draw.choice(len(x), p=weight / weight.sum())]
        near = ((x - x[chosen[0]]) ** 2).sum(1)
        for _ in range(1, self.n_clusters):
            mass = weight * near
            total = mass.sum()
            chosen.append(draw.choice(len(x), p=mass / total if total > 0 else None))
            near = np.minimum(near, ((x - x[chosen[-1]]) ** 2).sum(1))

        return x[chosen].copy()

    # What is given

    def _bounds(self, rows: int) -> tuple[Any, Any]:
        """Least and largest sizes (n_clusters,) for that many rows."""
        k, whole = self.n_clusters, getattr(self, "_whole", rows)
        low = sizes(self.size_min, rows // k, 0, k)
        high = sizes(self.size_max, -(-rows // k), rows, k)
        if rows != whole:  # a part of the data: its share of sizes that are numbers
            low = low if isinstance(self.size_min, str) else np.floor(low * rows / whole)
            high = high if isinstance(self.size_max, str) else np.ceil(high * rows / whole)

        return np.minimum(low, rows), np.minimum(high, rows)

    def _check(self, rows: int) -> None:
        """Refuse options outside their range."""
        if isinstance(self.n_clusters, bool) or int(self.n_clusters) != self.n_clusters:
            raise ValueError(f"n_clusters must be a whole number, got {self.n_clusters!r}")
        if self.n_clusters < 1:
            raise ValueError(f"n_clusters must be at least 1, got {self.n_clusters!r}")
        if rows < self.n_clusters:
            raise ValueError(f"n_samples={rows} should be >= n_clusters={self.n_clusters}")
        if self.metric not in {"euclidean", "cosine"}:
            raise ValueError(f"metric must be 'euclidean' or 'cosine', got {self.metric!r}")
        if isinstance(self.init, str) and self.init not in {"k-means++", "random"}:
            raise ValueError(f"init must be 'k-means++', 'random' or an array, got {self.init!r}")

        for name, least in (("n_init", 1), ("max_iter", 1), ("batch_size", self.n_clusters)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value!r}")

        self._check_sizes(rows)

    def _check_sizes(self, rows: int) -> None:
        """Refuse bounds that no clustering meets."""
        self._whole = rows
        low, high = self._bounds(rows)
        if (low > high).any():
            raise ValueError("size_min must be at most size_max, got a crossed pair")
        if low.sum() > rows:
            raise ValueError(f"size_min must allow {rows} rows, got a sum of {low.sum():g}")
        if high.sum() < rows:
            raise ValueError(f"size_max must allow {rows} rows, got a sum of {high.sum():g}")

    def _rows(self, X: Any, *, reset: bool) -> tuple[Any, Any]:  # noqa: N803
        """Rows in float64, on the sphere for cosines, and the dtype that results shall have."""
        given: Any = X.detach().cpu().numpy() if isinstance(X, torch.Tensor) else X
        if validate_data is not None:
            kinds = [np.float64, np.float32]
            given = validate_data(self, given, reset=reset, dtype=kinds, accept_sparse=False)
        else:
            given = np.asarray(given)
            given = given if given.dtype.kind == "f" else given.astype(float)
            if given.ndim != 2 or not np.isfinite(given).all():
                raise ValueError(f"X must be a finite table, got the shape {given.shape}")
            if reset:
                self.n_features_in_ = given.shape[1]
            elif given.shape[1] != self.n_features_in_:
                wanted = self.n_features_in_
                raise ValueError(f"X must have {wanted} features, got {given.shape[1]}")

        x = given.astype(np.float64)
        return (unit(x) if self.metric == "cosine" else x), given.dtype

    def _fitted(self, X: Any) -> tuple[Any, Any]:  # noqa: N803
        """Rows for a model that has been fitted."""
        if check_is_fitted is not None:
            check_is_fitted(self, "cluster_centers_")
        elif not hasattr(self, "cluster_centers_"):
            raise ValueError("fit must be called before, got a model without centres")
        return self._rows(X, reset=False)

    def _weights(self, weight: Any, rows: int) -> Any:
        """One weight a row."""
        if weight is None:
            return np.ones(rows)

        found = np.asarray(weight, float)
        found = np.full(rows, float(found)) if found.ndim == 0 else found
        if found.shape != (rows,) or not (found >= 0).all():
            raise ValueError(
                f"sample_weight must hold {rows} numbers of at least 0, got the shape {found.shape}"
            )
        if not found.sum() > 0:
            raise ValueError("sample_weight must not be zero everywhere, got a sum of zero weights")

        return found


def distances(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances (n, k); those of near points from the rows' differences to one centre."""
    middle = centres.mean(0)
    a, b = x - middle, centres - middle
    far = np.einsum("nd,nd->n", a, a)[:, None] - a @ (2 * b.T) + (b**2).sum(1)
    return np.maximum(far, 0.0)


def sizes(given: Given, even: int, none: int, clusters: int) -> np.ndarray:
    """Bounds on sizes as an array (k,)."""
    value = even if isinstance(given, str) and given == "even" else none if given is None else given
    try:
        found = np.broadcast_to(np.asarray(value, float), (clusters,)).copy()
    except ValueError:
        rule = f"sizes must be 'even', None, a number or {clusters} numbers"
        raise ValueError(f"{rule}, got {given!r}") from None

    if not (found >= 0).all() or (found != np.floor(found)).any():
        raise ValueError(f"sizes must be whole numbers of at least 0, got {given!r}")

    return found


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length 1; rows of zeros stay."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1.0)


def blocks(rows: int, height: int = 1 << 14) -> Iterator[slice]:
    """Parts of the rows that are worked on at once."""
    for start in range(0, max(rows, 1), height):
        yield slice(start, start + height)


def generator(state: Any) -> Any:
    """Where random numbers come from."""
    return state if hasattr(state, "choice") else np.random.RandomState(state)  # noqa: NPY002
