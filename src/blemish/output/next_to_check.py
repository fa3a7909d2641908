"""The images whose answer by a person would teach most."""

from __future__ import annotations

from typing import BinaryIO, Literal

import numpy as np

from blemish.output.tables import name_text, path_text, write_lines
from blemish.results import Result
from blemish.types import FloatArray

Reason = Literal["typical of its type", "unlike every type", "between two groups", "score and group disagree"]

COUNT = 20
"""Number of images in the list."""


def next_to_check(result: Result, count: int = COUNT) -> list[tuple[int, Reason]]:
    """Rows of the images that a person should look at first, each with the reason.

    First comes the most typical image of each type, whose name is that of the whole type; then images that are unlike
    every type, the farthest first. The rest are the images with the least clear answer: score and group disagree, or the
    image lies between two groups, the most evenly divided first. An image is listed once.

    Args:
        result: the result of a run or of a prediction.
        count: most images of the list, at least 0.

    Returns:
        At most ``count`` pairs. Equal images keep the order of the result.

    Source: ours; margins between the nearest two classes are a standard choice in active learning.
    """
    chosen: dict[int, Reason] = {}
    for label in range(result.n_clusters):
        members = np.flatnonzero(result.labels == label)
        if label != result.normal_label and len(members):
            chosen[int(members[np.argmin(result.distances[members])])] = "typical of its type"
    novel = np.flatnonzero(result.labels < 0)
    for row in novel[np.argsort(-result.distances[novel], kind="stable")]:
        chosen.setdefault(int(row), "unlike every type")
    check, ratios = result.needs_check, _ratios(result)
    for row in np.lexsort((-ratios, ~check)):
        if check[row] or ratios[row] > 0:
            chosen.setdefault(int(row), "score and group disagree" if check[row] else "between two groups")
    return list(chosen.items())[:count]


def _ratios(result: Result) -> FloatArray:
    """Distance to the center of its group divided by that to the nearest other center, N; 0 without another group."""
    labels = [label for label in range(result.n_clusters) if (result.labels == label).any()]
    if len(labels) < 2:
        return np.zeros(len(result.labels), np.float32)
    centers = np.stack([result.descriptors[result.labels == label].mean(0) for label in labels])
    distances = np.linalg.norm(result.descriptors[:, None] - centers, axis=2)
    own = np.searchsorted(labels, np.maximum(result.labels, labels[0]))
    rows = np.arange(len(own))
    mine = distances[rows, own].copy()
    distances[rows, own] = np.inf
    other = distances.min(1)
    return np.where(result.labels < 0, 0.0, mine / np.maximum(other, 1e-12)).astype(np.float32)


def write_next_to_check(result: Result, stream: BinaryIO) -> None:
    """Write ``next_to_check.csv``: path, reason, group and score of the images, the most instructive first."""
    groups = result.groups
    rows = (
        (path_text(result.paths[i]), reason, name_text(result.cluster_name(int(groups[i]))), str(result.scores[i]))
        for i, reason in next_to_check(result)
    )
    write_lines(stream, (("path", "reason", "cluster_name", "score"), *rows))
