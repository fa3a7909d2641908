"""Scores of the groups and of the image scores against the true labels.

The scores of a grouping take two equally long sequences of labels of any hashable kind. They do not depend on how the
labels are named. A score that is not defined is ``nan``: an AUROC without positives or without negatives, an average
precision without positives, everything on empty input. Scores of anomaly maps are in
:mod:`blemish.evaluation.pixel_metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError

Labels = Sequence[Hashable] | npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ConfusionTable:
    """Number of images of each class in each cluster.

    Attributes:
        classes: distinct true labels, sorted; one per row.
        clusters: distinct predicted labels, sorted; one per column.
        counts: int64 len(classes) x len(clusters).
        matching: for each row the column that it is matched with, -1 if there is none. This is the one-to-one matching
            of classes and clusters with the most images in common (Hungarian method).
    """

    classes: list[Any]
    clusters: list[Any]
    counts: IntArray
    matching: list[int]


def confusion_table(truth: Labels, predicted: Labels) -> ConfusionTable:
    """Contingency table of classes and clusters with their best one-to-one matching.

    >>> table = confusion_table(["good", "cut", "cut", "good"], [1, 0, 0, 0])
    >>> table.classes, table.clusters, table.counts.tolist(), table.matching
    (['cut', 'good'], [0, 1], [[2, 0], [1, 1]], [0, 1])
    """
    from scipy.optimize import linear_sum_assignment

    classes, rows = _encode(truth)
    clusters, columns = _encode(predicted)
    if len(rows) != len(columns):
        raise InputError(f"{len(rows)} true labels against {len(columns)} predicted ones; give one of each per image")
    flat = np.bincount(rows * len(clusters) + columns, minlength=len(classes) * len(clusters))
    counts = flat.reshape(len(classes), len(clusters)).astype(np.int64)
    matching = [-1] * len(classes)
    for row, column in zip(*linear_sum_assignment(counts, maximize=True), strict=True):
        matching[int(row)] = int(column)
    return ConfusionTable(classes, clusters, counts, matching)


def nmi(truth: Labels, predicted: Labels) -> float:
    """Normalized mutual information (arithmetic mean of the entropies), in [0, 1]; 1 if both are a single group."""
    from sklearn.metrics import normalized_mutual_info_score

    rows, columns = _pair(truth, predicted)
    if not len(rows):
        return math.nan
    return float(normalized_mutual_info_score(rows, columns, average_method="arithmetic"))


def ari(truth: Labels, predicted: Labels) -> float:
    """Adjusted Rand index in [-0.5, 1]: 0 is expected by chance, 1 means equal partitions."""
    from sklearn.metrics import adjusted_rand_score

    rows, columns = _pair(truth, predicted)
    return float(adjusted_rand_score(rows, columns)) if len(rows) else math.nan


def matched_f1(truth: Labels, predicted: Labels) -> float:
    """Micro-averaged F1 after Hungarian matching of clusters with classes, in [0, 1].

    With one label per image, micro-averaged precision, recall and accuracy are the same number: the share of images
    whose cluster is matched with their class. Images in a cluster without a class, or of a class without a cluster,
    count as wrong.

    >>> matched_f1(["a", "a", "b", "b", "b"], [7, 7, 3, 3, 9])
    0.8
    """
    table = confusion_table(truth, predicted)
    total = int(table.counts.sum())
    hits = sum(int(table.counts[row, column]) for row, column in enumerate(table.matching) if column >= 0)
    return hits / total if total else math.nan


def purity(truth: Labels, predicted: Labels) -> float:
    """Share of images that belong to the most frequent class of their cluster, in (0, 1]; more clusters raise it."""
    counts = confusion_table(truth, predicted).counts
    return int(counts.max(axis=0).sum()) / int(counts.sum()) if counts.size else math.nan


def clustering_scores(truth: Labels, predicted: Labels) -> dict[str, float]:
    """NMI, ARI, matched F1 and purity by name."""
    scores = {"nmi": nmi, "ari": ari, "f1": matched_f1, "purity": purity}
    return {name: score(truth, predicted) for name, score in scores.items()}


def image_auroc(scores: npt.ArrayLike, is_anomalous: npt.ArrayLike) -> float:
    """Probability that an anomalous image scores above a normal one; ties count half, nan unless both occur."""
    from sklearn.metrics import roc_auc_score

    values, positive = _scored(scores, is_anomalous)
    return float(roc_auc_score(positive, values)) if 0 < positive.sum() < len(positive) else math.nan


def average_precision(scores: npt.ArrayLike, is_anomalous: npt.ArrayLike) -> float:
    """Area under the precision-recall curve as a sum of steps, not interpolated; nan without an anomalous entry."""
    from sklearn.metrics import average_precision_score

    values, positive = _scored(scores, is_anomalous)
    return float(average_precision_score(positive, values)) if positive.any() else math.nan


def _encode(labels: Labels) -> tuple[list[Any], IntArray]:
    """Distinct labels in a stable order, and for each entry the index of its label among them."""
    values = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    distinct: list[Any] = list(dict.fromkeys(values))
    try:
        distinct.sort()
    except TypeError:  # labels of mixed types have no common order
        distinct.sort(key=repr)
    place = {label: i for i, label in enumerate(distinct)}
    return distinct, np.array([place[v] for v in values], dtype=np.int64)


def _pair(truth: Labels, predicted: Labels) -> tuple[IntArray, IntArray]:
    rows, columns = _encode(truth)[1], _encode(predicted)[1]
    if len(rows) != len(columns):
        raise InputError(f"{len(rows)} true labels against {len(columns)} predicted ones; give one of each per image")
    return rows, columns


def _scored(
    scores: npt.ArrayLike, is_anomalous: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    values, positive = np.asarray(scores, dtype=np.float64).ravel(), np.asarray(is_anomalous).astype(bool).ravel()
    if len(values) != len(positive):
        raise InputError(f"{len(values)} scores against {len(positive)} labels; give one of each")
    if not np.isfinite(values).all():
        raise InputError("a score is NaN or infinite; scores must be finite")
    return values, positive
