"""Ward linkage without a table of all distances: the tree of merges, and partitions cut from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from blemish.errors import ConfigError, InputError
from blemish.types import FloatArray, IntArray

if TYPE_CHECKING:
    from blemish.clustering._ward_kernel import State

DENSE_ROWS = 3000
"""Up to this many rows SciPy computes the tree from two tables of 36 MB, which needs no compiled code of ours."""

BLOCK_CELLS = 4_000_000
"""Number of inner products in memory at a time (16 MB)."""

CANDIDATES = 16
"""Number of nearest clusters remembered per cluster. With more, all clusters are searched less often, but more slowly."""


@dataclass(frozen=True)
class Tree:
    """Ward's tree of N rows; equal rows share a leaf, L leaves.

    Attributes:
        merges: (L - 1) x 4 float64, by rising height, in the layout of SciPy's linkage: two nodes (leaves are 0 to L - 1,
            and merge number m makes node L + m), the height in the unit of the rows, which is sqrt(2 a b / (a + b)) times
            the distance of the two centers for groups of a and b rows, and the number of rows in the union.
        leaf_of: N int64, the leaf of each row.
        weights: L int64, number of rows per leaf.
    """

    merges: npt.NDArray[np.float64]
    leaf_of: IntArray
    weights: IntArray


def ward_tree(rows: FloatArray) -> Tree:
    """The tree of merges in which each merge raises the sum of squared distances to the group centers least.

    The result depends on the rows but not on their order, even where costs are equal. It is exactly Ward's tree, up to
    rounding, for any N: nothing is sampled or summarized. Up to `DENSE_ROWS` rows SciPy computes it. Beyond that, all pairs
    of groups that are each other's nearest are merged at once, which gives the same tree because Ward's cost is reducible,
    and each group remembers a few candidates for its nearest group (see ``_ward_kernel``).

    Args:
        rows: N x D, finite, N and D at least 1; used as float32.

    Raises:
        InputError: the shape is another one, or a value is not finite.

    Cost beyond `DENSE_ROWS`: the inner products of all pairs of rows, once, and about as many again for later merges, which
    is O(N^2 D). Sets in which one group absorbs single rows one after the other can cost more. Memory: some N x D tables
    and `BLOCK_CELLS`, never N x N. On several cores the products use the threads of NumPy's BLAS.

    Source: Murtagh & Legendre, "Ward's hierarchical agglomerative clustering method" (Journal of Classification 31,
    2014), their Ward2 heights. Deviation: reciprocal nearest neighbors in rounds instead of one chain.

    >>> ward_tree(np.array([[0.0], [1.0], [5.0], [1.0]], np.float32)).merges.round(3).tolist()
    [[0.0, 1.0, 1.155, 3.0], [2.0, 3.0, 5.307, 4.0]]
    """
    rows = np.asarray(rows, np.float32)
    if rows.ndim != 2 or 0 in rows.shape or not np.isfinite(rows).all():
        raise InputError(f"ward_tree needs finite rows of shape (N, D), none 0; got shape {rows.shape}.")
    distinct, leaf_of, weights = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    leaf_of = leaf_of.ravel()
    if len(distinct) == 1:
        merges = np.empty((0, 4))
    elif len(rows) <= DENSE_ROWS:
        merges = _dense(distinct, weights)
    else:
        merges = _ordered(*_merge_all(distinct, weights), weights)
    return Tree(merges, leaf_of, weights)


def cut(tree: Tree, k: int) -> IntArray:
    """Labels of N rows after all merges except the last k - 1: always min(k, number of distinct rows) groups.

    Groups are numbered 0, 1, ... by their first leaf. O(N log N).

    Raises:
        ConfigError: k is below 1.

    >>> cut(ward_tree(np.array([[0.0], [1.0], [5.0], [1.0]], np.float32)), 2).tolist()
    [0, 0, 1, 0]
    """
    if k < 1:
        raise ConfigError(f"A tree is cut into at least 1 group, got {k}.")
    leaves = len(tree.weights)
    made = max(0, leaves - k)
    up = np.arange(leaves + made)
    up[tree.merges[:made, :2].astype(np.int64)] = np.arange(leaves, leaves + made)[:, None]
    while not np.array_equal(further := up[up], up):
        up = further
    _, first, group = np.unique(up[:leaves], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[group.ravel()][tree.leaf_of]


def _dense(distinct: FloatArray, weights: IntArray) -> npt.NDArray[np.float64]:
    """Merges by SciPy, (L - 1) x 4: its tree of all rows without the merges of equal rows, which come first."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import pdist

    leaves, rows = len(weights), int(weights.sum())
    leaf_of = np.repeat(np.arange(leaves), weights)
    merges = linkage(pdist(distinct[leaf_of].astype(np.float64)), "ward")
    equal = rows - leaves
    node = np.concatenate([leaf_of, np.empty(equal, np.int64), np.arange(leaves, 2 * leaves - 1)])
    for m in range(equal):
        node[rows + m] = node[int(merges[m, 0])]
    merges = merges[equal:]
    merges[:, :2] = np.sort(node[merges[:, :2].astype(np.int64)], axis=1)
    return merges


def _merge_all(distinct: FloatArray, weights: IntArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """All merges in the order in which they were found.

    Returns:
        Slots, (L - 1) x 2, of which the first one takes the union; heights, L - 1.
    """
    from blemish.clustering._ward_kernel import STALE, State, merge_pairs

    leaves = len(distinct)
    centers = distinct.astype(np.float64)
    centers -= centers.mean(0)
    # A power of two changes no digit, and keeps the squares within the range of float32.
    scale = 2.0 ** np.frexp(max(np.abs(centers).max(), np.finfo(np.float32).tiny))[1]
    centers /= scale
    state = State(
        centers=centers,
        weights=weights.astype(np.float64),
        into=np.arange(leaves),
        born=np.zeros(leaves, np.int64),
        candidates=np.full((leaves, CANDIDATES), -1),
        costs=np.zeros((leaves, CANDIDATES)),
        seen=np.zeros(leaves, np.int64),
        bound=np.zeros(leaves),
        nearest=np.full(leaves, STALE),
    )
    live, done = np.arange(leaves), 0
    pairs, costs = np.empty((leaves - 1, 2), np.int64), np.empty(leaves - 1)
    while done < leaves - 1:
        _find_nearest(state, live, done)
        before = -1
        while before < done < leaves - 1:
            before, done = done, merge_pairs(state, live, done, before < 0, pairs, costs)
            live = live[state.into[live] == live]
    return pairs, np.sqrt(2 * costs) * scale


def _find_nearest(state: State, live: npt.NDArray[np.int64], done: int) -> None:
    """Search all clusters for the nearest cluster of each cluster whose candidates do not settle it."""
    from blemish.clustering._ward_kernel import STALE, take_nearest

    weights = state.weights[live]
    for dtype in (
        np.float32,
        np.float64,
    ):  # float32 takes half the time; the few cases it leaves open are searched again
        queries = live[state.nearest[live] == STALE]
        if not len(queries):
            return
        centers = state.centers[live]
        squares = np.einsum("ij,ij->i", centers, centers)
        centers = centers.astype(dtype, copy=False)
        # Two roundings to float32, D products and D sums: each of them errs by at most 2^-24 of the term.
        rounding = (centers.shape[1] + 4) * 2.0**-24 if dtype is np.float32 else 0.0
        size = max(1, BLOCK_CELLS // len(live))
        for begin in range(0, len(queries), size):
            block = queries[begin : begin + size]
            products = state.centers[block].astype(dtype) @ centers.T
            take_nearest(state, block, live, squares, weights, products, rounding, done)


def _ordered(
    pairs: npt.NDArray[np.int64], heights: npt.NDArray[np.float64], weights: IntArray
) -> npt.NDArray[np.float64]:
    """The merges by rising height, numbered as in SciPy's linkage, (L - 1) x 4."""
    leaves = len(weights)
    node, height = np.arange(leaves), np.zeros(leaves)
    children = np.empty((leaves - 1, 2), np.int64)
    for m, (a, b) in enumerate(pairs):
        # A union is never below its parts; rounding could put it there.
        height[a] = heights[m] = max(heights[m], height[a], height[b])
        children[m] = node[a], node[b]
        node[a] = leaves + m
    order = np.argsort(heights, kind="stable")
    place = np.concatenate([np.arange(leaves), np.empty(leaves - 1, np.int64)])
    place[leaves + order] = np.arange(leaves, 2 * leaves - 1)
    merges = np.column_stack([np.sort(place[children[order]], axis=1), heights[order], np.zeros(leaves - 1)])
    rows = np.concatenate([weights, np.zeros(leaves - 1)])
    for m in range(leaves - 1):
        rows[leaves + m] = merges[m, 3] = rows[merges[m, :2].astype(np.int64)].sum()
    return merges
