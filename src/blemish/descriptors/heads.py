"""The contrastive stage: pixel threshold, several heads from different seeds, and the descriptors they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch

from blemish.config.sections import Contrastive
from blemish.descriptors.contrastive import Head, train_head
from blemish.descriptors.pixels import PixelSample
from blemish.runtime.threads import one_thread
from blemish.types import FloatArray

DEFAULT_CLUSTERS = 6
"""Clusters of the k-means that finds the pixel threshold where the number of groups is not given."""


def head_threshold(
    maps: Sequence[FloatArray],
    descriptors: FloatArray,
    share: float,
    *,
    method: Literal["scores", "kmeans"],
    n_clusters: int | Literal["auto"],
    seed: int,
) -> float:
    """Map value above which the heads take a pixel for anomalous: as many images exceed it as are expected to be anomalous.

    The threshold of the image scores does not serve: a score is a quantile of the map, so that single pixels of normal
    images exceed that threshold as well.

    Args:
        maps: N anomaly maps, h x w each.
        descriptors: N x D, used by ``kmeans`` only.
        share: 0 to 1, expected share of anomalous images; used by ``scores`` only.
        method: where the share of anomalous images comes from: ``scores`` = ``share``; ``kmeans`` = from
            :func:`label_free_threshold`, as in the paper.
        n_clusters: clusters of ``kmeans``; ``auto`` = `DEFAULT_CLUSTERS`.
        seed: seed of ``kmeans``.
    """
    maxima = np.array([one.max() for one in maps], np.float32)
    if method == "scores":
        return float(np.quantile(maxima, 1 - share))
    return label_free_threshold(descriptors, maxima, DEFAULT_CLUSTERS if n_clusters == "auto" else n_clusters, seed)


def label_free_threshold(descriptors: FloatArray, maxima: FloatArray, n_clusters: int, seed: int = 0) -> float:
    """Map value between normal and anomalous pixels, found by k-means on the descriptors.

    The cluster with the lowest mean of ``maxima`` is taken as the normal one. The threshold is the quantile of ``maxima``
    at that cluster's share of the images.

    Args:
        descriptors: N x D.
        maxima: N, highest map value of each image.
        n_clusters: number of clusters, at least 1; never more than there are distinct rows.
        seed: seed of k-means.

    Returns:
        The threshold; the highest of ``maxima`` if there is only one cluster.

    Source: Ardelean & Weyrich, arXiv 2404.12246.
    """
    from sklearn.cluster import KMeans

    k = min(n_clusters, len(np.unique(descriptors, axis=0)))
    if k <= 1:
        return float(maxima.max())
    labels = KMeans(k, n_init=10, random_state=seed).fit_predict(descriptors.astype(np.float64))
    means = [float(maxima[labels == label].mean()) if (labels == label).any() else np.inf for label in range(k)]
    return float(np.quantile(maxima, float((labels == int(np.argmin(means))).mean())))


def training_steps(n_images: int, epochs: int, max_steps: int | None) -> int:
    """Number of training steps of one head: one per image and epoch, at most ``max_steps`` (None: no limit)."""
    steps = epochs * n_images
    return steps if max_steps is None else min(steps, max_steps)


def train_heads(
    sample: PixelSample,
    descriptors: FloatArray,
    threshold: float,
    settings: Contrastive,
    *,
    seed: int,
    progress: Callable[[int], None],
) -> list[Head]:
    """Heads trained on one sample of pixels with the seeds ``seed``, ``seed + 1``, ...

    Args:
        sample: pixels of N images.
        descriptors: N x D, which decide which images are near and far.
        threshold: map value above which a pixel is anomalous, see :func:`head_threshold`.
        settings: number, widths and training of the heads.
        seed: seed of the first head.
        progress: called with 1 after each training step.
    """
    with one_thread():
        return [
            train_head(
                sample.features,
                sample.values,
                descriptors,
                threshold,
                hidden=settings.hidden,
                dim=settings.dim,
                epochs=settings.epochs,
                max_steps=settings.max_steps,
                learning_rate=settings.learning_rate,
                weight_decay=settings.weight_decay,
                margin=settings.margin,
                n_anchors=settings.n_anchors,
                n_positives=settings.n_positives,
                n_negatives=settings.n_negatives,
                n_neighbors=settings.n_neighbors,
                n_negative_images=settings.n_negative_images,
                seed=seed + number,
                progress=progress,
            )
            for number in range(settings.n_heads)
        ]


@torch.inference_mode()
def head_descriptors(sample: PixelSample, heads: Sequence[Head], progress: Callable[[int], None]) -> FloatArray:
    """Descriptor of each image from the heads' output at its pixels, N x (heads * dim) float32, head by head.

    Each is the sum over the image's pixels of weight times output. ``progress`` is called with 1 after each image.
    """
    rows = []
    for features, weights in zip(sample.features, sample.weights, strict=True):
        pixels, pixel_weights = torch.from_numpy(features).float(), torch.from_numpy(weights).double()
        rows.append(torch.cat([pixel_weights @ head(pixels).double() for head in heads]).float().numpy())
        progress(1)
    return np.stack(rows)
