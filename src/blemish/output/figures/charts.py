"""Charts of a result: descriptors in the plane, the tree of merges, and the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from blemish.clustering import ward_tree
from blemish.output.figures.style import HATCHES, MARKERS, caption, group_color, new_figure, turn
from blemish.results import Result
from blemish.types import FloatArray, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 3000
"""Images of a scatter plot; larger sets are thinned out evenly."""

LEAVES = 30
"""Branches of the dendrogram below which merges are not drawn."""

BINS = 40


def scatter(result: Result, seed: int = 0) -> Figure:
    """Descriptors in the plane (t-SNE), one marker per group; before and after the contrastive heads where both are known."""
    rows = np.linspace(0, len(result.labels) - 1, min(MAX_POINTS, len(result.labels))).astype(np.int64)
    plain = plain_columns(result)
    views = [("descriptors", result.descriptors)]
    if plain is not None:
        views = [("before the heads", result.descriptors[:, :plain]), ("after the heads", result.descriptors)]
    figure = new_figure(4.6 * len(views) + 2.2, 4.4)
    for place, (title, descriptors) in enumerate(views):
        axes = figure.add_subplot(1, len(views), place + 1)
        _scatter_groups(axes, result, rows, plane(descriptors[rows], seed))
        axes.set_title(title)
        axes.set_xticks([])
        axes.set_yticks([])
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center")
    return figure


def _scatter_groups(axes: Axes, result: Result, rows: IntArray, points: FloatArray) -> None:
    for label in range(result.n_clusters):
        members = result.labels[rows] == label
        axes.scatter(
            points[members, 0],
            points[members, 1],
            s=22,
            color=group_color(label, result.normal_label),
            edgecolors="black",
            linewidths=0.4,
            marker=turn(label, result.normal_label, MARKERS),
            label=caption(result.cluster_name(label), 24),
        )


def plain_columns(result: Result) -> int | None:
    """Number of leading columns of the descriptors that are known without the contrastive heads.

    None where the result does not tell: no heads, only heads, or groups of whole surfaces.
    """
    settings: Any = result.info.get("settings")
    try:
        contrastive, shapes = settings["contrastive"], settings["descriptor"]["shape_weight"]
        if result.group_by != "defect" or not contrastive["enabled"] or contrastive["head_weight"] is None:
            return None
        # the shape of the region comes last, if it counts
        count = result.descriptors.shape[1] - int(contrastive["n_heads"]) * int(contrastive["dim"]) - 3 * (shapes > 0)
    except (KeyError, TypeError, ValueError):
        return None
    return count if count > 0 else None


def plane(rows: FloatArray, seed: int) -> FloatArray:
    """Rows in the plane, N x 2: t-SNE, or the first two principal components of fewer than 5 different rows."""
    from sklearn.manifold import TSNE

    centered = rows.astype(np.float64) - rows.mean(0)
    if len(np.unique(rows, axis=0)) < 5:
        left, sizes, _ = np.linalg.svd(centered, full_matrices=False)
        first = left[:, :2] * sizes[:2]
        return np.pad(first, ((0, 0), (0, 2 - first.shape[1]))).astype(np.float32)
    perplexity = min(30.0, (len(rows) - 1) / 3)
    start = "pca" if rows.shape[1] > 1 else "random"
    model = TSNE(2, perplexity=perplexity, init=start, random_state=seed)
    found: FloatArray = model.fit_transform(centered.astype(np.float32))
    return found


def dendrogram(result: Result) -> Figure | None:
    """Ward's tree of the descriptors, its last merges; None if all descriptors are equal.

    A branch that is not drawn further has the number of its images and the groups that most of them are in.
    """
    from scipy.cluster import hierarchy

    tree = ward_tree(result.descriptors)
    if not len(tree.merges):
        return None
    drawn = hierarchy.dendrogram(tree.merges, p=LEAVES, truncate_mode="lastp", no_plot=True)
    members = _images_below(tree.merges, tree.leaf_of, drawn["leaves"])
    figure = new_figure(max(6.0, 0.32 * len(members) + 1.5), 4.6)
    axes = figure.add_subplot()
    for x, y in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        axes.plot(x, y, color="black", linewidth=1)
    places = 10 * np.arange(len(members)) + 5
    names = []
    for place, images in zip(places, members, strict=True):
        label = int(np.bincount(result.labels[images]).argmax())
        axes.plot(
            [place],
            [0],
            marker=turn(label, result.normal_label, MARKERS),
            color=group_color(label, result.normal_label),
            markeredgecolor="black",
            clip_on=False,
            zorder=3,
        )
        names.append(f"{caption(result.cluster_name(label), 20)} ({len(images)})")
    axes.set_xticks(places, names, rotation=90)
    axes.set_ylabel("height of the merge")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _images_below(merges: npt.NDArray[np.float64], leaf_of: IntArray, nodes: list[int]) -> list[IntArray]:
    """Rows of the images below each of these nodes of the tree."""
    leaves = len(merges) + 1
    found = []
    for node in nodes:
        below, stack = np.zeros(leaves, bool), [int(node)]
        while stack:
            one = stack.pop()
            if one < leaves:
                below[one] = True
            else:
                stack += merges[one - leaves, :2].astype(int).tolist()
        found.append(np.flatnonzero(below[leaf_of]))
    return found


def score_histogram(result: Result) -> Figure:
    """Number of images by score, stacked by group, with the threshold."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(7.2, 4.2)
    axes = figure.add_subplot()
    top = float(result.scores.max(initial=0.0))
    edges = np.linspace(0, top if top > 0 else 1.0, BINS + 1)
    below = np.zeros(BINS)
    for label in range(result.n_clusters):
        counts = np.histogram(result.scores[result.labels == label], edges)[0]
        axes.bar(
            edges[:-1],
            counts,
            width=np.diff(edges),
            bottom=below,
            align="edge",
            color=group_color(label, result.normal_label),
            hatch=turn(label, result.normal_label, HATCHES),
            edgecolor="black",
            linewidth=0.5,
            label=caption(result.cluster_name(label), 24),
        )
        below += counts
    if np.isfinite(result.threshold):
        axes.axvline(result.threshold, color="black", linestyle="--", label=f"threshold {result.threshold:.3g}")
    axes.set_xlabel("anomaly score")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper")
    return figure
