"""Consensus clustering: groups that Ward linkage finds again in most random subsamples of the set."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blemish.clustering.ward import DENSE_ROWS, Tree, cut, ward_tree
from blemish.types import FloatArray, IntArray

ROUNDS = (50, 200)
"""Least and largest number of subsamples. The share of the subsamples in which two rows meet in one group has a standard
error of at most 0.1 with the former and 0.05 with the latter."""

ROUNDS_BUDGET_ROWS = 1000
"""Smaller sets have more subsamples, as many as take the time of the least number for this many rows."""

SHARE = 0.7
"""Share of the rows in each subsample."""

CONSENSUS_ROWS = DENSE_ROWS
"""Most rows for which a table of all pairs is made."""


def consensus(rows: FloatArray, k: int, *, seed: int = 0) -> IntArray:
    """Groups of rows that are together in Ward's groups of most random subsamples.

    A single cut of a single tree depends on single rows: without some of them, a group splits elsewhere. Therefore Ward
    makes k groups of each of many subsamples (:func:`rounds`) of `SHARE` of the rows. The similarity of two rows is the
    share of the subsamples with both rows in which they are in one group. Average linkage of these similarities gives the
    groups.

    Args:
        rows: N x D, finite, with at least k distinct rows; N is at most `CONSENSUS_ROWS`.
        k: number of groups, at least 1.
        seed: seed of the subsamples. The result depends on the rows and the seed, not on the order of the rows.

    Returns:
        Labels 0 to k - 1 of N rows. Equal rows have equal labels.

    Cost: 50 to 200 of Ward's trees, about 2 s for up to 1 000 rows of 195 numbers and 15 s for 3 000; five N x N tables.

    Source: evidence accumulation (Fred & Jain 2005) over subsamples, as in resampling-based consensus clustering (Monti et
    al. 2003); not in Ardelean & Weyrich, where one tree is cut.
    """
    n = len(rows)
    if k == 1:
        return np.zeros(n, np.int64)
    leaf_of = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
    order = np.argsort(leaf_of, kind="stable")
    ordered = rows[order]
    size = max(k, round(SHARE * n))
    rng = np.random.default_rng(seed)
    together, met = np.zeros((n, n), np.float32), np.zeros((n, n), np.float32)
    for _ in range(rounds(n)):
        subsample = np.sort(rng.choice(n, size, replace=False))
        groups = np.eye(k, dtype=np.float32)[cut(ward_tree(ordered[subsample]), k)]  # one-hot, size x k
        pairs = np.ix_(subsample, subsample)
        together[pairs] += groups @ groups.T
        met[pairs] += 1
    dissimilarity = 1 - together / np.maximum(met, 1)
    labels = np.empty(n, np.int64)
    labels[order] = _average_linkage(dissimilarity, leaf_of[order], k)
    return labels


def rounds(n_rows: int) -> int:
    """Number of random subsamples of a set of this many rows.

    >>> rounds(400), rounds(700), rounds(3_000)
    (200, 102, 50)
    """
    least, most = ROUNDS
    return min(most, max(least, round(least * (ROUNDS_BUDGET_ROWS / n_rows) ** 2)))


def _average_linkage(dissimilarity: npt.NDArray[np.floating], leaf_of: IntArray, k: int) -> IntArray:
    """Groups of N rows from their N x N dissimilarities (overwritten); rows of one leaf are together from the start."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    n = len(dissimilarity)
    # Equal rows are below all others and merge before them, whether they met in a subsample or not.
    dissimilarity[leaf_of[:, None] == leaf_of] = -1.0
    np.fill_diagonal(dissimilarity, 0.0)
    merges = linkage(squareform(dissimilarity, checks=False), "average")
    return cut(Tree(merges, np.arange(n), np.ones(n, np.int64)), k)
