"""From descriptors to groups: Ward linkage and its alternatives, the number of groups, labels ordered by size."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import numpy.typing as npt

from blemish.consensus import MOST_ROWS, consensus
from blemish.errors import ConfigError
from blemish.linkage import Tree, cut, ward_tree
from blemish.results import FloatArray, IntArray

Method = Literal["consensus", "ward", "kmeans", "spectral", "gmm"]

MIN_SILHOUETTE = 0.05
"""Below this mean silhouette no cut of the tree is better than one group."""

SILHOUETTE_ROWS = 4000
"""At most this many rows, drawn by seed, have their silhouette measured, against all rows. The standard error of the mean
is then below 0.016 whatever the rows (a silhouette lies between -1 and 1)."""

BLOCK_CELLS = 4_000_000
"""Distances held at a time (32 MB)."""

SPECTRAL_ROWS = 10_000
"""Most rows of spectral clustering: without clear groups the factors of its neighbour graph fill up to N x N (0.3 GB and a
minute at 6 000 rows of 192 random numbers)."""


def normalised(descriptors: FloatArray) -> FloatArray:
    """Rows scaled to length 1; zero rows stay zero."""
    length = np.linalg.norm(descriptors, axis=1, keepdims=True)
    return (descriptors / np.where(length > 0, length, 1)).astype(np.float32)


def cluster(
    descriptors: FloatArray, n_clusters: int, *, method: Method = "ward", seed: int = 0, tree: Tree | None = None
) -> IntArray:
    """Partition rows into at most ``n_clusters`` groups, labels 0, 1, ... by falling size (ties: by first member).

    Fewer groups come back where there are fewer distinct rows. Ward: O(N^2 D) time, O(N D) memory (`ward_tree`).

    Args:
        descriptors: N x D, finite.
        n_clusters: at least 1, at most N.
        method: ``consensus`` (`blemish.consensus`; Ward beyond ``MOST_ROWS`` rows), ``ward`` (the paper's choice),
            ``kmeans``, ``spectral`` or ``gmm``.
        seed: of everything but Ward, which has no randomness.
        tree: `ward_tree` of the descriptors, if at hand; only Ward uses it.

    Raises:
        ConfigError: ``n_clusters`` is below 1 or above N; ``spectral`` and more than `SPECTRAL_ROWS` rows.

    >>> cluster(np.array([[0.0], [0.1], [5.0]], np.float32), 2).tolist()
    [0, 0, 1]
    """
    n = len(descriptors)
    if not 1 <= n_clusters <= n:
        raise ConfigError(f"clusters is {n_clusters} but there are {n} images: choose 1 to {n}, or auto")
    if method == "ward" or (method == "consensus" and n > MOST_ROWS):
        return by_size(cut(ward_tree(descriptors) if tree is None else tree, n_clusters))
    if method == "spectral" and n > SPECTRAL_ROWS:
        raise ConfigError(
            f"cluster.method is spectral, which can need a table of all pairs of images: at most {SPECTRAL_ROWS} images, "
            f"got {n}; use ward, kmeans or gmm"
        )
    distinct, member_of = np.unique(descriptors, axis=0, return_inverse=True)
    k = min(n_clusters, len(distinct))
    if k == 1:
        return np.zeros(n, np.int64)
    if k == len(distinct):
        return by_size(member_of.ravel())
    if method == "consensus":
        return by_size(consensus(descriptors, k, seed=seed))
    return by_size(_labels(descriptors.astype(np.float64), k, method, seed))


def _labels(rows: npt.NDArray[np.float64], k: int, method: Method, seed: int) -> IntArray:
    if method == "kmeans":
        from sklearn.cluster import KMeans

        return np.asarray(KMeans(k, n_init=10, random_state=seed).fit_predict(rows), np.int64)
    if method == "spectral":
        from sklearn.cluster import SpectralClustering

        near = min(10, len(rows) - 1)
        model = SpectralClustering(k, affinity="nearest_neighbors", n_neighbors=near, random_state=seed)
        with warnings.catch_warnings():
            # a disconnected neighbour graph is a fact about the data here, not a mistake of the user
            warnings.simplefilter("ignore", UserWarning)
            return np.asarray(model.fit_predict(rows), np.int64)
    from sklearn.mixture import GaussianMixture

    # spherical: with fewer images than dimensions anything richer is singular
    mixture = GaussianMixture(k, covariance_type="spherical", n_init=3, random_state=seed, reg_covar=1e-5)
    return np.asarray(mixture.fit_predict(rows), np.int64)


def by_size(labels: npt.NDArray[np.int64]) -> IntArray:
    """The same partition with labels 0, 1, ... by falling size; equal sizes by first member.

    >>> by_size(np.array([7, 3, 3])).tolist()
    [1, 0, 0]
    """
    _, first, inverse, count = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -count))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[inverse.ravel()]


def estimate_clusters(
    descriptors: FloatArray, *, max_clusters: int = 12, tree: Tree | None = None, seed: int = 0
) -> int:
    """Number of groups by the mean silhouette over cuts of one Ward tree; 1 where no cut separates anything.

    Args:
        descriptors: N x D, finite.
        max_clusters: most groups considered; never more than N - 1, nor than there are distinct rows.
        tree: `ward_tree` of the descriptors, if at hand.
        seed: of the choice of `SILHOUETTE_ROWS` rows, where there are more.

    Returns:
        1 to ``max_clusters``. A simple estimate: it favours few, well separated groups.
    """
    tree = ward_tree(descriptors) if tree is None else tree
    distinct = len(tree.weights)
    if distinct < 3:
        return min(distinct, max_clusters)
    most = min(max_clusters, distinct, len(descriptors) - 1)
    if most < 2:
        return 1
    scores = mean_silhouettes(descriptors, [cut(tree, k) for k in range(2, most + 1)], seed=seed)
    best = int(np.argmax(scores))
    return best + 2 if scores[best] > MIN_SILHOUETTE else 1


def mean_silhouettes(rows: FloatArray, partitions: list[IntArray], *, seed: int = 0) -> npt.NDArray[np.float64]:
    """Mean silhouette of nested partitions from one pass over the distances, which are not kept.

    A row's silhouette is (b - a) / max(a, b): a its mean distance to the others of its group, b the least mean distance
    to another group; 0 where it is alone or both are 0 (Rousseeuw 1987). With more than `SILHOUETTE_ROWS` rows the mean
    is over that many drawn without replacement; their distances are to all rows all the same. O(S N D) time for S
    measured rows; O(N D + S K) memory and blocks of `BLOCK_CELLS` distances.

    Args:
        rows: N x D.
        partitions: each N labels 0 to K - 1, K at least 2; each splits groups of the one before, or equals it.
        seed: of the draw.

    Returns:
        One number from -1 to 1 for each partition.
    """
    n, finest = len(rows), partitions[-1]
    measured = np.arange(n)
    if n > SILHOUETTE_ROWS:
        measured = np.sort(np.random.default_rng(seed).choice(n, SILHOUETTE_ROWS, replace=False))
    points = rows - rows.mean(0, dtype=np.float64)
    squares = np.einsum("ij,ij->i", points, points)
    members = np.eye(finest.max() + 1)[finest]
    sums = np.empty((len(measured), members.shape[1]))  # distances to each group
    size = max(1, BLOCK_CELLS // n)
    for begin in range(0, len(measured), size):
        part = measured[begin : begin + size]
        distances = points[part] @ points.T
        distances *= -2
        distances += squares[part, None]
        distances += squares
        distances[np.arange(len(part)), part] = 0
        np.sqrt(np.maximum(distances, 0, out=distances), out=distances)
        sums[begin : begin + size] = distances @ members
    return np.array([_mean_silhouette(sums, finest, labels, measured) for labels in partitions])


def _mean_silhouette(
    sums: npt.NDArray[np.float64], finest: IntArray, labels: IntArray, measured: npt.NDArray[np.int64]
) -> float:
    """Of one partition, from the sums of distances to the groups of the finest one."""
    group_of = np.zeros(sums.shape[1], np.int64)
    group_of[finest] = labels
    count = np.bincount(labels)
    sums = sums @ np.eye(len(count))[group_of]
    each, own = np.arange(len(measured)), labels[measured]
    inside = sums[each, own] / np.maximum(count[own] - 1, 1)
    sums[each, own] = np.inf
    outside = (sums / count).min(1)
    larger = np.maximum(inside, outside)
    alone = (count[own] == 1) | (larger == 0)
    return float(np.where(alone, 0, (outside - inside) / np.where(larger > 0, larger, 1)).mean())


def centre_distances(descriptors: FloatArray, labels: IntArray) -> FloatArray:
    """Euclidean distance of each row to the mean of its own group, N float32."""
    out = np.zeros(len(labels), np.float32)
    for label in np.unique(labels):
        mine = labels == label
        out[mine] = np.linalg.norm(descriptors[mine] - descriptors[mine].mean(0), axis=1)
    return out
