"""Groups that most parts of a set agree on: Ward on random parts, and what they have in common."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blemish.clustering.ward import DENSE_ROWS, Tree, cut, ward_tree
from blemish.types import FloatArray, IntArray

ROUNDS = (50, 200)
"""Least and most random parts: the share of them in which two rows meet in one group then has a standard error of at most
0.1 and, where more are cheap, 0.05."""

EASY_ROWS = 1000
"""Up to so many rows there are more parts than the least number, for the time that the least take here."""

SHARE = 0.7
"""Of the rows, in each part."""

MOST_ROWS = DENSE_ROWS
"""Beyond this many rows no table of all pairs is made."""


def consensus(rows: FloatArray, k: int, *, seed: int = 0) -> IntArray:
    """Ward's groups of many random parts of the rows, reconciled: two rows belong together if they do in most parts.

    One cut of one tree hangs on single rows: leave some out, and a group splits elsewhere. In many random parts (`rounds`) of
    `SHARE` of the rows, Ward makes k groups each. The share of the parts with both of two rows in which these are in one
    group is their similarity; average linkage of these similarities gives the groups.

    Args:
        rows: N x D, finite, at least k distinct ones, N at most `MOST_ROWS`.
        k: groups, at least 1.
        seed: of the parts. The result depends on the rows and the seed, not on the order of the rows.

    Returns:
        Labels 0 to k - 1 of N rows. Equal rows have equal labels.

    Cost: 50 to 200 trees of Ward, about 2 s for up to 1 000 rows of 195 numbers and 15 s for 3 000; five tables of N x N.

    Source: evidence accumulation (Fred & Jain 2005) over parts of the rows, as in resampling-based consensus clustering
    (Monti et al. 2003); not in Ardelean & Weyrich, who cut one tree.
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
        part = np.sort(rng.choice(n, size, replace=False))
        groups = np.eye(k, dtype=np.float32)[cut(ward_tree(ordered[part]), k)]
        place = np.ix_(part, part)
        together[place] += groups @ groups.T
        met[place] += 1
    apart = 1 - together / np.maximum(met, 1)
    labels = np.empty(n, np.int64)
    labels[order] = _average_linkage(apart, leaf_of[order], k)
    return labels


def rounds(rows: int) -> int:
    """How many random parts of so many rows.

    >>> rounds(400), rounds(700), rounds(3_000)
    (200, 102, 50)
    """
    least, most = ROUNDS
    return min(most, max(least, round(least * (EASY_ROWS / rows) ** 2)))


def _average_linkage(apart: npt.NDArray[np.floating], leaf_of: IntArray, k: int) -> IntArray:
    """Groups of N rows from their N x N dissimilarities; rows of one leaf are together from the start."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    n = len(apart)
    apart[leaf_of[:, None] == leaf_of] = -1.0  # below all others: merged before them, whether they met in a part or not
    np.fill_diagonal(apart, 0.0)
    merges = linkage(squareform(apart, checks=False), "average")
    return cut(Tree(merges, np.arange(n), np.ones(n, np.int64)), k)
