"""Partitions of the descriptors: Ward linkage and its alternatives, labels ordered by size."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import numpy.typing as npt

from blemish.clustering.consensus import CONSENSUS_ROWS, consensus
from blemish.clustering.ward import cut, ward_tree
from blemish.errors import ConfigError
from blemish.types import FloatArray, IntArray

Method = Literal["consensus", "ward", "kmeans", "spectral", "gmm"]

SPECTRAL_ROWS = 10_000
"""Most rows of spectral clustering. Without clear groups the factors of its neighbor graph fill up to N x N (0.3 GB and a
minute for 6 000 rows of 192 random numbers)."""


def cluster(descriptors: FloatArray, n_clusters: int, *, method: Method = "ward", seed: int = 0) -> IntArray:
    """Partition of the rows into at most ``n_clusters`` groups, labels 0, 1, ... by falling size (ties: by first member).

    Args:
        descriptors: N x D, finite.
        n_clusters: number of groups, from 1 to N; there are fewer groups if there are fewer distinct rows.
        method: ``consensus`` (:func:`blemish.clustering.consensus.consensus`, or Ward beyond `CONSENSUS_ROWS` rows),
            ``ward`` (the paper's choice), ``kmeans``, ``spectral`` or ``gmm``.
        seed: seed of all methods except Ward, which has no randomness. Draws follow the values of the rows: their order
            decides nothing but the labels of groups of equal size.

    Returns:
        N int64.

    Raises:
        ConfigError: ``n_clusters`` is below 1 or above N, or the method is ``spectral`` and N is above `SPECTRAL_ROWS`.

    Cost of Ward: O(N^2 D) time, O(N D) memory, see :func:`blemish.clustering.ward.ward_tree`.

    >>> cluster(np.array([[0.0], [0.1], [5.0]], np.float32), 2).tolist()
    [0, 0, 1]
    """
    n = len(descriptors)
    if not 1 <= n_clusters <= n:
        raise ConfigError(f"n_clusters is {n_clusters} but there are {n} images: choose 1 to {n}, or auto")
    if method == "ward" or (method == "consensus" and n > CONSENSUS_ROWS):
        return order_by_size(cut(ward_tree(descriptors), n_clusters))
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
        return order_by_size(member_of.ravel())
    order, labels = content_order(descriptors), np.empty(n, np.int64)
    if method == "consensus":
        labels[order] = consensus(descriptors[order], k, seed=seed)
    else:
        labels[order] = _sklearn_labels(descriptors[order].astype(np.float64), k, method, seed)
    return order_by_size(labels)


def content_order(rows: npt.NDArray[np.floating]) -> IntArray:
    """An order of the rows that their values decide, so that draws from them do not depend on how they were given.

    >>> content_order(np.array([[2.0, 0.0], [1.0, 5.0], [1.0, 3.0]])).tolist()
    [2, 1, 0]
    """
    return np.lexsort(rows.T[:8][::-1]).astype(
        np.int64
    )  # rows that agree in the first eight values hardly differ at all


def _sklearn_labels(rows: npt.NDArray[np.float64], k: int, method: Method, seed: int) -> IntArray:
    """Labels by k-means, spectral clustering or a Gaussian mixture, in no particular order."""
    if method == "kmeans":
        from sklearn.cluster import KMeans

        return np.asarray(KMeans(k, n_init=10, random_state=seed).fit_predict(rows), np.int64)
    if method == "spectral":
        from sklearn.cluster import SpectralClustering

        n_neighbors = min(10, len(rows) - 1)
        model = SpectralClustering(k, affinity="nearest_neighbors", n_neighbors=n_neighbors, random_state=seed)
        with warnings.catch_warnings():
            # Here a disconnected neighbor graph is a fact about the data, not a mistake of the user.
            warnings.simplefilter("ignore", UserWarning)
            return np.asarray(model.fit_predict(rows), np.int64)
    from sklearn.mixture import GaussianMixture

    # Spherical, because with fewer images than dimensions any richer covariance is singular.
    mixture = GaussianMixture(k, covariance_type="spherical", n_init=3, random_state=seed, reg_covar=1e-5)
    return np.asarray(mixture.fit_predict(rows), np.int64)


def order_by_size(labels: npt.NDArray[np.int64]) -> IntArray:
    """The same partition with labels 0, 1, ... by falling size; groups of equal size by first member.

    >>> order_by_size(np.array([7, 3, 3])).tolist()
    [1, 0, 0]
    """
    _, first, inverse, count = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -count))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[inverse.ravel()]


def center_distances(descriptors: FloatArray, labels: IntArray) -> FloatArray:
    """Euclidean distance of each row to the mean of its own group, N float32.

    Args:
        descriptors: N x D.
        labels: N.
    """
    out = np.zeros(len(labels), np.float32)
    for label in np.unique(labels):
        members = labels == label
        out[members] = np.linalg.norm(descriptors[members] - descriptors[members].mean(0), axis=1)
    return out
