"""The contrastive stage, in parts: sample pixels, train the head, pool the head's output into the final descriptors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from blemish.config import Config
from blemish.contrast import Head, label_free_threshold, train_head
from blemish.normality import Normality
from blemish.results import FloatArray

TOP, REST = 64, 64
"""Pixels of each image that are kept for training: the most anomalous ones, and a random draw of the others."""

DEFAULT_GROUPS = 6
"""Groups of the k-means that finds the head's threshold where the number of groups is not given."""


Pixels = tuple[Tensor, FloatArray]
"""Of one image: C x 1 x P features and 1 x P map values."""


def sample_pixels(features: Tensor, values: FloatArray, index: int, seed: int) -> Pixels:
    """The most anomalous pixels of image ``index`` and some of the others, for the training of the head.

    A deviation: the paper draws from whole maps that it holds in memory; here memory does not follow the size of the
    images. The draw depends on the image, its place in the set and the seed, not on the images before it.
    """
    flat = values.ravel()
    ranked = np.argsort(-flat, kind="stable")
    rest = ranked[TOP:]
    drawn = np.random.default_rng((seed, index)).choice(rest, min(REST, len(rest)), replace=False)
    keep = np.concatenate([ranked[:TOP], drawn])
    return features.flatten(1)[:, torch.from_numpy(keep)][:, None], flat[keep][None]


def head_threshold(maps: Sequence[FloatArray], descriptors: FloatArray, config: Config) -> float:
    """Map value above which the head takes a pixel for anomalous."""
    maxima = np.array([one.max() for one in maps], np.float32)
    k = DEFAULT_GROUPS if config.clusters == "auto" else config.clusters
    return label_free_threshold(descriptors, maxima, k, config.seed)


def train_heads(
    pixels: Sequence[Pixels], descriptors: FloatArray, threshold: float, config: Config, done: Callable[[int], None]
) -> list[Head]:
    """The heads, trained on one sample of pixels from different seeds; ``done`` counts images, once per epoch and head."""
    c = config.contrast
    return [
        train_head(
            [features for features, _ in pixels],
            [values for _, values in pixels],
            descriptors,
            threshold,
            hidden=c.hidden,
            dim=c.dim,
            epochs=c.epochs,
            lr=c.lr,
            weight_decay=c.weight_decay,
            margin=c.margin,
            n_same=c.n_same,
            n_close=c.n_close,
            n_counter=c.n_counter,
            n_near=c.n_near,
            n_counter_images=c.n_counter_images,
            seed=config.seed + number,
            progress=done,
        )
        for number in range(c.heads)
    ]


@torch.inference_mode()
def refined_descriptor(features: Tensor, values: FloatArray, normality: Normality, heads: Sequence[Head]) -> FloatArray:
    """One image's descriptor from what the heads make of its every pixel, heads * dim."""
    return np.concatenate([normality.pooled_vector(head(features[None])[0], values) for head in heads])
