"""The contrastive stage of a run: sample pixels, train the head, pool the head's output into the final descriptors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from blemish.config import Config
from blemish.contrast import label_free_threshold, train_head
from blemish.features import Extractor
from blemish.normality import FloatArray, Normality
from blemish.source import ImageSource

TOP, REST = 64, 64
"""Pixels kept per image for training: the most anomalous ones, and a random draw of the others."""

DEFAULT_GROUPS = 6
"""Groups of the k-means that finds the head's threshold where the number of groups is not given."""


def refine_descriptors(
    source: ImageSource,
    extractor: Extractor,
    normality: Normality,
    maps: Sequence[FloatArray],
    descriptors: FloatArray,
    config: Config,
    done: Callable[[int], None],
) -> FloatArray:
    """Descriptors from the head's output, N x (heads * dim).

    The head is trained on a bounded sample of pixels per image (a deviation: the paper draws from whole maps that it
    holds in memory), so that memory does not follow the size of the images. One more pass over the images.
    """
    rng = np.random.default_rng(config.seed)
    pixels: list[Tensor] = []
    values: list[FloatArray] = []
    everything = range(len(source))
    for index, raw in extractor.stream(source, everything):
        flat = maps[index].ravel()
        ranked = np.argsort(-flat, kind="stable")
        rest = ranked[TOP:]
        keep = np.concatenate([ranked[:TOP], rng.choice(rest, min(REST, len(rest)), replace=False)])
        pixels.append(normality.features(raw).flatten(1)[:, torch.from_numpy(keep)][:, None])
        values.append(flat[keep][None])
    maxima = np.array([one.max() for one in maps], np.float32)
    k = DEFAULT_GROUPS if config.clusters == "auto" else config.clusters
    threshold = label_free_threshold(descriptors, maxima, k, config.seed)
    c = config.contrast
    heads = [
        train_head(
            pixels,
            values,
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
        for index, raw in extractor.stream(source, everything):
            features = normality.features(raw)[None]
            rows.append(np.concatenate([normality.descriptor(head(features)[0], maps[index]) for head in heads]))
            done(1)
    return np.stack(rows)
