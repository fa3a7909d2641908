"""The pixels of each image that the contrastive heads are trained on, and the store that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blemish.features.bands import Features, take_cells
from blemish.runtime.spill import ArrayStore, Stored
from blemish.types import FloatArray

FEWEST_PIXELS = 128
"""Number of pixels that every image contributes at least (all, if it has fewer), however many images there are."""


Pixels = tuple[npt.NDArray[np.float16], FloatArray, FloatArray]
"""Pixels of one image: P x C features, P map values and P weights.

The weighted sum of the features is the image's descriptor, or an estimate of it where P is not all of its pixels."""


def pixels_per_image(n_images: int, channels: int, budget_mb: int) -> int:
    """Number of pixels per image for which all images together take ``budget_mb`` MiB, but at least `FEWEST_PIXELS`.

    >>> pixels_per_image(100, 160, 128), pixels_per_image(1_344, 160, 128), pixels_per_image(10_000, 160, 128)
    (4194, 312, 128)
    """
    return max(FEWEST_PIXELS, (budget_mb << 20) // (max(n_images, 1) * channels * 2))


def sample_pixels(
    features: Features, values: FloatArray, weights: Tensor, image_seed: int, seed: int, count: int
) -> Pixels:
    """``count`` pixels of one image, or all of them if it has no more.

    Half of the pixels are the most anomalous ones. The other half is drawn at random from the remaining pixels, and the
    weights of the drawn pixels are divided by the share that was drawn (Horvitz & Thompson 1952): weighted sums are then
    right on average over draws. The draw depends on the seed and on the image alone, not on the other images.

    Args:
        features: C x h x w; values beyond the range of float16 are clamped to it.
        values: h x w anomaly map, float32.
        weights: h x w weights of the pixels in the descriptor.
        image_seed: a number that differs between images, see :meth:`blemish.images.ImageSource.content_seed`.
        seed: seed of the draw.
        count: number of pixels, at least 2.

    Source: ours. The paper holds whole maps in memory, and draws and sums over all pixels.
    """
    flat, pixel_weights = values.ravel(), weights.ravel().cpu().numpy()
    ranked, share = np.argsort(-flat, kind="stable"), 1.0
    if count < len(flat):
        top, rest = ranked[: count // 2], ranked[count // 2 :]
        drawn = np.random.default_rng((seed, image_seed)).choice(rest, count - len(top), replace=False)
        ranked, share = np.concatenate([top, drawn]), len(drawn) / len(rest)
    chosen = take_cells(features, torch.from_numpy(ranked)).T.cpu()
    limit = torch.finfo(torch.float16).max
    factors = np.where(np.arange(len(ranked)) < count // 2, 1.0, 1 / share)
    return (
        chosen.clamp(-limit, limit).half().contiguous().numpy(),
        flat[ranked],
        (pixel_weights[ranked] * factors).astype(np.float32),
    )


@dataclass(frozen=True)
class PixelSample:
    """Pixels of N images, image by image.

    Attributes:
        features: N arrays of P x C, float16; P may differ.
        values: N arrays of P anomaly map values.
        weights: N arrays of P descriptor weights, see :data:`Pixels`.
    """

    features: Sequence[npt.NDArray[np.float16]]
    values: list[FloatArray]
    weights: list[FloatArray]


class PixelStore:
    """Collects the pixels of images; the features lie in memory up to a limit, beyond it in a temporary file."""

    def __init__(self, budget_mb: int) -> None:
        self._store = ArrayStore(budget_mb << 20, np.float16, "pixels")
        self._rows: dict[int, tuple[Stored, FloatArray, FloatArray]] = {}

    def add(self, indices: Sequence[int], pixels: Sequence[Pixels]) -> None:
        """Store the pixels of the images with these indices."""
        stored = self._store.add(features for features, _, _ in pixels)
        for index, place, (_, values, weights) in zip(indices, stored, pixels, strict=True):
            self._rows[index] = place, values, weights

    def view(self, indices: Sequence[int]) -> PixelSample:
        """The pixels of the images with these indices, in this order."""
        rows = [self._rows[index] for index in indices]
        features, values, weights = zip(*rows, strict=True) if rows else ((), (), ())
        return PixelSample(self._store.view(features), list(values), list(weights))
