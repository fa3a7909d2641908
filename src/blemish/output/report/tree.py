"""The number of types: the top of Ward's tree, what each further type gains, and how clearly types are separate."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from blemish.output.report.data import MeanMap, Merge, Tree
from blemish.regions import upsample_map
from blemish.types import FloatArray, IntArray

if TYPE_CHECKING:
    from blemish.clustering.ward import Tree as WardTree

MAX_TYPES = 20
"""Largest number of types that the tree can be cut into."""

MAX_TREE = 3000
"""Images that the tree is made from; further ones join the leaf of the image that is most like them."""

MEAN_SIDE = 32
"""Rows and columns of a mean map."""

MAX_AVERAGED = 200
"""Maps that a mean is taken over, spread evenly over the group."""


def build_tree(
    descriptors: FloatArray, rows: IntArray, maps: Sequence[FloatArray], scale: tuple[float, float]
) -> tuple[Tree | None, IntArray]:
    """Top of the tree of some images.

    Args:
        descriptors: N x D of all images.
        rows: the M images that are of a type.
        maps: N anomaly maps.
        scale: map values at the ends of the heat colors.

    Returns:
        The tree, None if fewer than two images differ; and the leaf of each of the M images.
    """
    from blemish.clustering import ward_tree
    from blemish.clustering.n_clusters import ward_gaps

    sample = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MAX_TREE)).astype(int))] if len(rows) else rows
    if len(sample) < 2:
        return None, np.zeros(len(rows), np.int64)
    whole = ward_tree(descriptors[sample])
    if len(whole.weights) < 2:
        return None, np.zeros(len(rows), np.int64)
    merges, leaf_of_sample = _top(whole)
    leaf_of = leaf_of_sample[nearest(descriptors[rows], descriptors[sample])]
    leaf_of[np.searchsorted(rows, sample)] = leaf_of_sample
    leaves = len(merges) + 1
    gaps = ward_gaps(descriptors[rows], leaves)
    tree = Tree(
        leaves=np.bincount(leaf_of, minlength=leaves).tolist(),
        merges=merges,
        gains=[_rounded(value) for value in gaps.step[: leaves - 1]],
        deviations=[_rounded(value) for value in gaps.deviation[: leaves - 1]],
        estimate=gaps.number(),
        mean_maps=[mean_map(maps, rows[leaf_of == leaf], scale) for leaf in range(leaves)],
        sampled=len(sample),
    )
    return tree, leaf_of


def _top(tree: WardTree) -> tuple[list[Merge], IntArray]:
    """The last merges with leaves numbered so that no branches cross, and the leaf of each row."""
    total = len(tree.weights)
    kept = min(MAX_TYPES, total) - 1
    first = total - 1 - kept  # merges before this one stay within a leaf
    pairs = tree.merges[:, :2].astype(np.int64)
    owner = np.arange(2 * total - 1)
    for m in range(first - 1, -1, -1):  # from the top down, each node passes its owner on
        owner[pairs[m]] = owner[total + m]
    order: list[int] = []
    stack = [2 * total - 2]
    while stack:
        node = stack.pop()
        if node >= total + first:
            stack += [int(pairs[node - total, 1]), int(pairs[node - total, 0])]
        else:
            order.append(node)
    number = {node: place for place, node in enumerate(order)}
    number |= {total + first + m: len(order) + m for m in range(kept)}
    merges = [
        Merge(a=number[int(a)], b=number[int(b)], height=_rounded(tree.merges[first + m, 2]))
        for m, (a, b) in enumerate(pairs[first:])
    ]
    return merges, np.array([number[int(node)] for node in owner[:total]])[tree.leaf_of]


def separation(descriptors: FloatArray, labels: IntArray) -> tuple[FloatArray, IntArray]:
    """Simplified silhouette of each row: distances to group centers take the place of distances to all rows.

    Args:
        descriptors: M x D.
        labels: M labels 0..k-1, each used, k >= 2.

    Returns:
        M values -1..1, (b - a) / max(a, b) with a the distance to the row's own center and b to the nearest other one;
        and M labels of that other center. Equal rows give 0.

    Source: Vendramin et al., "Relative clustering validity criteria" (Statistical Analysis and Data Mining 3, 2010).
    """
    from sklearn.metrics import pairwise_distances

    rows = np.asarray(descriptors, np.float64)
    centers = np.stack([rows[labels == label].mean(axis=0) for label in range(int(labels.max()) + 1)])
    distances = pairwise_distances(rows, centers)
    own = np.take_along_axis(distances, labels[:, None], axis=1)[:, 0]
    np.put_along_axis(distances, labels[:, None], np.inf, axis=1)
    other = distances.min(axis=1)
    return (other - own) / np.maximum(np.maximum(own, other), 1e-30), distances.argmin(axis=1)


def nearest(rows: FloatArray, among: FloatArray) -> IntArray:
    """For each row the index of the nearest row among others; the first one where several are equally near."""
    from sklearn.metrics import pairwise_distances_argmin

    return np.asarray(pairwise_distances_argmin(rows, among), np.int64) if len(rows) else np.zeros(0, np.int64)


def mean_map(maps: Sequence[FloatArray], members: IntArray, scale: tuple[float, float]) -> MeanMap:
    """Mean map of some images, each stretched to a square; all dark for no image."""
    low, high = scale
    picked = members[np.unique(np.linspace(0, len(members) - 1, min(len(members), MAX_AVERAGED)).astype(int))]
    total = np.full((MEAN_SIDE, MEAN_SIDE), 0.0 if len(picked) else low)
    for i in picked.tolist():
        total += upsample_map(np.asarray(maps[i]), MEAN_SIDE, MEAN_SIDE)
    mean = total / max(1, len(picked))
    steps = np.rint(255 * np.clip((mean - low) / (high - low), 0, 1)).astype(np.uint8)
    return MeanMap(side=MEAN_SIDE, values=base64.b64encode(steps.tobytes()).decode("ascii"))


def _rounded(value: float) -> float:
    return round(float(value), 4)
