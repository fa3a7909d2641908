"""What a person said about images, respected by the groups of a run: known members, known differences, known normal images.

Images that a person put into one group must link, images in different groups cannot link. A run first makes its groups
without them. Then each group of the person is found again by its members, the images that the person placed go where they
belong, and images whose neighbors were moved follow them. Without anything known, nothing changes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.clustering.grouping import Grouping
from blemish.clustering.methods import order_by_size
from blemish.types import BoolArray, FloatArray, IntArray

NEIGHBORS = 10
"""Nearest images that votes pass between. Half or twice as many change the gain of 20 corrections by up to 0.02 NMI."""

DAMPING = 0.7
"""Share of a vote that is passed on at each step. At 0.9, single corrections reach far into groups that are right. The
figures for these three numbers are in decision record 017."""

FOLLOW_SHARE = 0.3
"""An image follows if the votes for another group exceed those for its own by this share of the most that is possible
(one whole vote gained and one lost). At 0.1, right images are pulled along on most sets; at 1, none follows."""

_STEPS = 40  # 0.7 ** 40 is less than a millionth


@dataclass(frozen=True)
class Known:
    """What is known of the images of a run, row by row.

    Attributes:
        groups: N int64, number of the group that a person last saw the image in; -1 for an image that is new.
        placed: N bool, whether the person put the image there, or confirmed it.
        normal: number of the group of normal images; None if there is none.
        merged: groups that the person made by merging, so that the groups of a run in them are one.
    """

    groups: IntArray
    placed: BoolArray
    normal: int | None = None
    merged: frozenset[int] = frozenset()


def respect(grouping: Grouping, known: Known) -> tuple[Grouping, dict[int, int]]:
    """The groups of a run, changed so that they agree with what is known.

    Args:
        grouping: the groups of N images.
        known: of the same images.

    Returns:
        The groups, in the order of every grouping, and the label of each known group that was found again. The same
        grouping if nobody placed an image or merged groups.

    Cost: the distances of all pairs of images, if an image was placed into another group than the run's.
    """
    labels, label_of = _matched(grouping, known)
    rows = np.flatnonzero(known.placed)
    fresh = int(labels.max(initial=-1)) + 1
    for number in np.unique(known.groups[rows]):
        if int(number) not in label_of:
            label_of[int(number)], fresh = fresh, fresh + 1
    targets = np.array([label_of[int(number)] for number in known.groups[rows]], np.int64)
    labels = follow_corrections(grouping.descriptors, labels, rows, targets)
    normal = grouping.normal_label
    if known.normal is not None and (known.groups[rows] == known.normal).any():
        normal = label_of[known.normal]
    if np.array_equal(labels, grouping.labels) and normal == grouping.normal_label:
        return grouping, label_of
    order = _ordered(labels, normal)
    found = np.array([order[int(label)] for label in labels], np.int64)
    kept = {number: order[label] for number, label in label_of.items() if label in order}
    normal = None if normal is None else order.get(normal)
    return dataclasses.replace(grouping, labels=found, normal_label=normal), kept


def follow_corrections(rows: FloatArray, labels: IntArray, corrected: IntArray, targets: IntArray) -> IntArray:
    """Labels after corrections: corrected images have their targets, and images around moved ones follow them.

    Each correction is a vote for its target and against the label that the image had; a confirmed image votes for no
    change. Votes pass from image to image over the graph of nearest neighbors, damped at each step, while corrected
    images keep their own. An image changes its group where the votes against it exceed ``FOLLOW_SHARE``.

    Args:
        rows: N x D, the input of the clustering.
        labels: N int64, the groups without the corrections.
        corrected: M rows that a person looked at.
        targets: M labels that they belong to; a label without members so far makes a new group.

    Returns:
        N int64; ``labels``, unchanged, if every target is the label that the image has.

    Source: label spreading on a graph of neighbors (Zhou et al. 2004), here of the changes in place of the labels, so
    that groups which nobody corrected stay as they are. Ours; not in Ardelean & Weyrich.

    >>> rows = np.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]], np.float32)
    >>> follow_corrections(rows, np.array([0, 0, 0, 0, 0, 0]), np.array([0, 4]), np.array([0, 1])).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    changed = labels.copy()
    changed[corrected] = targets
    if np.array_equal(changed, labels):
        return labels
    n_labels = int(max(labels.max(), targets.max())) + 1
    own = np.eye(n_labels)[targets] - np.eye(n_labels)[labels[corrected]]
    passed_on = _neighbor_weights(rows)
    votes = np.zeros((len(rows), n_labels))
    for _ in range(_STEPS):
        votes[corrected] = own
        votes = DAMPING * (passed_on @ votes)
    support = votes
    support[np.arange(len(rows)), labels] += 2 * FOLLOW_SHARE
    found = support.argmax(1).astype(np.int64)
    found[corrected] = targets
    return found


def _neighbor_weights(rows: FloatArray) -> npt.NDArray[np.float64]:
    """N x N sparse, the share of each neighbor in what an image hears; rows sum to 1.

    The weight of two neighbors falls with their squared distance, in units of the distances from both to their farthest
    neighbor, so that dense and sparse groups count alike.
    """
    from scipy.sparse import csr_matrix, diags
    from sklearn.neighbors import NearestNeighbors

    n = len(rows)
    k = min(NEIGHBORS, n - 1)
    if k == 0:
        return csr_matrix((n, n))
    distances, places = NearestNeighbors(n_neighbors=k).fit(rows.astype(np.float64)).kneighbors()  # without itself
    tiny = np.finfo(np.float64).tiny
    reach = np.maximum(distances[:, -1], tiny)
    here = np.repeat(np.arange(n), k)
    there = places.ravel()
    weights = np.exp(-2 * np.square(distances.ravel()) / np.maximum(reach[here] * reach[there], tiny))
    graph = csr_matrix((np.maximum(weights, tiny), (here, there)), (n, n))
    graph = graph.maximum(graph.T)
    return diags(1 / np.asarray(graph.sum(1)).ravel()) @ graph


def _matched(grouping: Grouping, known: Known) -> tuple[IntArray, dict[int, int]]:
    """Labels with merged groups merged again, and the label of each known group that shares members with a group.

    Groups are matched one to one, so that as many images as possible are in the group that they were seen in. The group
    of known normal images is matched to the normal group, if there is one.
    """
    from scipy.optimize import linear_sum_assignment

    seen = known.groups >= 0
    numbers = np.unique(known.groups[seen])
    if not len(numbers):
        return grouping.labels, {}
    n_labels = int(grouping.labels.max()) + 1
    shared = np.zeros((len(numbers), n_labels), np.int64)
    np.add.at(shared, (np.searchsorted(numbers, known.groups[seen]), grouping.labels[seen]), 1)
    worth = shared.astype(np.float64)
    if known.normal is not None and grouping.normal_label is not None and known.normal in numbers:
        worth[numbers == known.normal, grouping.normal_label] += len(grouping.labels)
    places, found = linear_sum_assignment(worth, maximize=True)
    label_of = {int(numbers[i]): int(j) for i, j in zip(places, found, strict=True) if worth[i, j] > 0}
    labels = grouping.labels.copy()
    for number in known.merged & set(label_of):
        most = numbers[shared.argmax(0)] == number  # groups whose members were mostly seen in the merged one
        most &= 2 * shared.max(0) > np.bincount(grouping.labels[seen], minlength=n_labels)
        free = [label for label in np.flatnonzero(most).tolist() if label not in label_of.values()]
        labels[np.isin(grouping.labels, free)] = label_of[number]
    return labels, label_of


def _ordered(labels: IntArray, normal: int | None) -> dict[int, int]:
    """New label of each label: the normal group first, then the others by falling size."""
    present = np.unique(labels)
    types = np.isin(labels, present[present != normal])
    ranks = order_by_size(labels[types]) + int(normal is not None and normal in present)
    order = {int(label): int(rank) for label, rank in zip(labels[types], ranks, strict=True)}
    return order | ({int(normal): 0} if normal is not None and normal in present else {})
