"""The contrastive stage of a run: sample pixels, train the head, pool the head's output into the final descriptors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from blemish.config import Config
from blemish.contrast import label_free_threshold, train_head
from blemish.features import Extractor
from blemish.normality import Normality
from blemish.results import FloatArray
from blemish.source import ImageSource

TOP, REST = 64, 64
"""Pixels kept per image for training: the most anomalous ones, and a random draw of the others."""

DEFAULT_GROUPS = 6
"""Groups of the k-means that finds the head's threshold where the number of groups is not given."""


class PixelSample:
    """A bounded sample of each image's pixels, taken while its features are at hand, for the training of the head.

    A deviation: the paper draws from whole maps that it holds in memory; here memory does not follow the size of the
    images.
    """

    def __init__(self, seed: int) -> None:
        self.features: list[Tensor] = []
        self.maps: list[FloatArray] = []
        self._rng = np.random.default_rng(seed)

    def add(self, features: Tensor, values: FloatArray) -> None:
        """Keep the most anomalous pixels of an image and some of the others: C x 1 x P features and 1 x P map values."""
        flat = values.ravel()
        ranked = np.argsort(-flat, kind="stable")
        rest = ranked[TOP:]
        keep = np.concatenate([ranked[:TOP], self._rng.choice(rest, min(REST, len(rest)), replace=False)])
        self.features.append(features.flatten(1)[:, torch.from_numpy(keep)][:, None])
        self.maps.append(flat[keep][None])


def refine_descriptors(
    source: ImageSource,
    extractor: Extractor,
    normality: Normality,
    sample: PixelSample,
    maps: Sequence[FloatArray],
    descriptors: FloatArray,
    config: Config,
    done: Callable[[int], None],
) -> FloatArray:
    """Descriptors from the head's output, N x (heads * dim).

    The heads are trained on the sample; one more pass over the images pools what they make of every pixel.
    """
    maxima = np.array([one.max() for one in maps], np.float32)
    k = DEFAULT_GROUPS if config.clusters == "auto" else config.clusters
    threshold = label_free_threshold(descriptors, maxima, k, config.seed)
    c = config.contrast
    heads = [
        train_head(
            sample.features,
            sample.maps,
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
        )
        for number in range(c.heads)
    ]
    rows = []
    with torch.inference_mode():
        for index, raw in extractor.stream(source, range(len(source))):
            features = normality.features(raw)[None]
            rows.append(np.concatenate([normality.descriptor(head(features)[0], maps[index]) for head in heads]))
            done(1)
    return np.stack(rows)
