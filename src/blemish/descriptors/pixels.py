"""The contrastive stage, in parts: sample pixels, train heads on them, sum what the heads make of them into descriptors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blemish.clustering.methods import normalized
from blemish.config.schema import Config
from blemish.descriptors.contrastive import Head, label_free_threshold, train_head
from blemish.runtime.spill import ArrayStore, Kept
from blemish.types import FloatArray

KEPT_LEAST = 128
"""Pixels that every image keeps, or all it has, whatever the number of images."""

DEFAULT_GROUPS = 6
"""Groups of the k-means that finds the head's threshold where the number of groups is not given."""


Pixels = tuple[npt.NDArray[np.float16], FloatArray, FloatArray]
"""Of one image: P x C features, P map values, and P weights: the sum of weights times features is the image's descriptor, or
near it where P are not all of its pixels."""


def pixels_per_image(images: int, channels: int, memory: int) -> int:
    """How many pixels of each image are kept for the heads, so that all of them take ``memory`` MiB, or ``KEPT_LEAST``.

    >>> pixels_per_image(100, 160, 128), pixels_per_image(1_344, 160, 128), pixels_per_image(10_000, 160, 128)
    (4194, 312, 128)
    """
    return max(KEPT_LEAST, (memory << 20) // (max(images, 1) * channels * 2))


def sample_pixels(features: Tensor, values: FloatArray, weights: Tensor, index: int, seed: int, count: int) -> Pixels:
    """``count`` pixels of image ``index`` for the heads: all of them, where it has no more.

    Otherwise half are the most anomalous ones and half a random draw of the others, which then stand for those that were
    not drawn as well: their weights are larger by so much (Horvitz & Thompson 1952), so that weighted sums are right in the
    mean over draws. The draw depends on the image, its place in the set and the seed, not on the images before it. The paper
    holds whole maps in memory, and draws and sums over them.

    Args:
        features: C x h x w. values: h x w map. weights: h x w, see :meth:`blemish.localization.model.Normality.pixel_weights`.
    """
    flat, counted = values.ravel(), weights.ravel().cpu().numpy()
    ranked, share = np.argsort(-flat, kind="stable"), 1.0
    if count < len(flat):
        top, rest = ranked[: count // 2], ranked[count // 2 :]
        drawn = np.random.default_rng((seed, index)).choice(rest, count - len(top), replace=False)
        ranked, share = np.concatenate([top, drawn]), len(drawn) / len(rest)
    kept = features.flatten(1)[:, torch.from_numpy(ranked)].T.cpu()
    most = torch.finfo(torch.float16).max
    larger = np.where(np.arange(len(ranked)) < count // 2, 1.0, 1 / share)
    return (
        kept.clamp(-most, most).half().contiguous().numpy(),
        flat[ranked],
        (counted[ranked] * larger).astype(np.float32),
    )


class PixelStore:
    """Takes the pixels of images and gives them back: features in memory up to a limit, beyond that in a temporary file."""

    def __init__(self, memory: int) -> None:
        self._store = ArrayStore(memory << 20, np.float16, "pixels")
        self._rows: dict[int, tuple[Kept, FloatArray, FloatArray]] = {}

    def keep(self, indices: Sequence[int], pixels: Sequence[Pixels]) -> None:
        """Those of these images."""
        kept = self._store.keep(features for features, _, _ in pixels)
        for index, place, (_, values, weights) in zip(indices, kept, pixels, strict=True):
            self._rows[index] = place, values, weights

    def view(self, indices: Sequence[int]) -> Sample:
        """Those of these images, in this order."""
        rows = [self._rows[index] for index in indices]
        features, values, weights = zip(*rows, strict=True) if rows else ((), (), ())
        return Sample(self._store.view(features), list(values), list(weights))


@dataclass(frozen=True)
class Sample:
    """Pixels of a set, image by image, see :data:`Pixels`."""

    features: Sequence[npt.NDArray[np.float16]]
    values: list[FloatArray]
    weights: list[FloatArray]


def head_threshold(
    maps: Sequence[FloatArray], descriptors: FloatArray, anomalous: npt.NDArray[np.bool_], config: Config
) -> float:
    """Map value above which the heads take a pixel for anomalous: only so many images reach beyond it as are anomalous.

    Images' scores are no maxima: their threshold is exceeded somewhere in normal images as well. Which share is
    ``anomalous``, or (``contrast.threshold = kmeans``, the paper) is not in the most normal of the groups of k-means?
    """
    maxima = np.array([one.max() for one in maps], np.float32)
    if config.contrast.threshold == "scores":
        return float(np.quantile(maxima, 1 - anomalous.mean()))
    k = DEFAULT_GROUPS if config.clusters == "auto" else config.clusters
    return label_free_threshold(descriptors, maxima, k, config.seed)


def training_steps(images: int, config: Config) -> int:
    """Steps of one head, if pixels of so many images were kept."""
    every = config.contrast.epochs * images
    return every if config.contrast.steps is None else min(every, config.contrast.steps)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch uses one thread in here: a step's matrices are too small to share, and threads that wait for one another on a
    busy machine make it many times slower.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train_heads(
    sample: Sample, descriptors: FloatArray, threshold: float, config: Config, done: Callable[[int], None]
) -> list[Head]:
    """The heads, trained on one sample of pixels from different seeds; ``done`` counts steps."""
    c = config.contrast
    with one_thread():
        return [
            train_head(
                sample.features,
                sample.values,
                descriptors,
                threshold,
                hidden=c.hidden,
                dim=c.dim,
                epochs=c.epochs,
                steps=c.steps,
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
def refined_descriptors(sample: Sample, heads: Sequence[Head], done: Callable[[int], None]) -> FloatArray:
    """The images' descriptors from what the heads make of their pixels, N x (heads * dim) float32; ``done`` counts images."""
    rows = []
    for features, weights in zip(sample.features, sample.weights, strict=True):
        pixels, counted = torch.from_numpy(features).float(), torch.from_numpy(weights).double()
        rows.append(torch.cat([counted @ head(pixels).double() for head in heads]).float().numpy())
        done(1)
    return np.stack(rows)


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
    parts = [normalized(part) * (weight / heads**0.5) for part in np.split(sharpened, heads, axis=1)]
    return np.hstack([normalized(plain), *parts]).astype(np.float32)
