"""The contrastive stage, in parts: sample pixels, train the head, pool the head's output into the final descriptors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from blemish.clustering import normalised
from blemish.config import Config
from blemish.contrast import Head, label_free_threshold, train_head
from blemish.normality import Normality
from blemish.results import FloatArray

KEPT_BYTES = 2**30
"""Memory of the pixels kept for training, over the whole set: few images keep every pixel, many some of each."""

KEPT_LEAST = 128
"""Pixels that every image keeps, or all it has, whatever the number of images."""

DEFAULT_GROUPS = 6
"""Groups of the k-means that finds the head's threshold where the number of groups is not given."""


Pixels = tuple[Tensor, FloatArray]
"""Of one image: C x 1 x P features as float16 and 1 x P map values."""


def pixels_per_image(images: int, channels: int) -> int:
    """How many pixels of each image are kept for training, so that all of them take ``KEPT_BYTES`` at most.

    >>> pixels_per_image(100, 512), pixels_per_image(10_000, 512), pixels_per_image(10**6, 512)
    (10485, 128, 128)
    """
    return max(KEPT_LEAST, KEPT_BYTES // (max(images, 1) * channels * 2))


def sample_pixels(features: Tensor, values: FloatArray, index: int, seed: int, count: int) -> Pixels:
    """The ``count`` pixels of image ``index`` that the head may be trained on: all of them, where it has no more.

    Otherwise half are the most anomalous ones and half a random draw of the others. That is a deviation: the paper draws
    from whole maps that it holds in memory. The draw depends on the image, its place in the set and the seed, not on the
    images before it.
    """
    flat = values.ravel()
    ranked = np.argsort(-flat, kind="stable")
    if count < len(flat):
        top, rest = ranked[: count // 2], ranked[count // 2 :]
        drawn = np.random.default_rng((seed, index)).choice(rest, count - len(top), replace=False)
        ranked = np.concatenate([top, drawn])
    kept = features.flatten(1)[:, torch.from_numpy(ranked)][:, None]
    most = torch.finfo(torch.float16).max
    return kept.clamp(-most, most).half(), flat[ranked][None]


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


def joined(plain: FloatArray, sharpened: FloatArray, heads: int, weight: float) -> FloatArray:
    """Descriptors without a head and, beside them, those of the heads, which together have ``weight`` times their length.

    A head sharpens some differences and loses others, each head others of them: types that either side tells apart stay apart.

    Args:
        plain: N x C.
        sharpened: N x heads * dim, head by head; each head's part counts at length 1.

    Returns:
        N x (C + heads * dim) float32. Not part of Ardelean & Weyrich, whose head's descriptors take the place of the others.

    >>> joined(np.ones((1, 4), np.float32), np.array([[3.0, 4.0, 0.0, 2.0]], np.float32), 2, 1.0)[0].round(2)
    array([0.5 , 0.5 , 0.5 , 0.5 , 0.42, 0.57, 0.  , 0.71], dtype=float32)
    """
    parts = [normalised(part) * (weight / heads**0.5) for part in np.split(sharpened, heads, axis=1)]
    return np.hstack([normalised(plain), *parts]).astype(np.float32)
