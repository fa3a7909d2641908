"""Use of a few images that are known to be normal: what the localization model is fitted to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from blemish.config.schema import Config
from blemish.features.bands import Features
from blemish.features.batches import sample_count
from blemish.localization.threshold import FEWEST_KNOWN


@dataclass(frozen=True)
class Sample:
    """The images that a run is fitted to, as indices.

    Attributes:
        scaling: those that features are normalized and whitened by: a random sample of all images, known normal images or not,
            so that the descriptors of defects do not depend on what is known.
        normal: those that the localization model is fitted to: known normal images if there are enough, else the same.
    """

    scaling: frozenset[int]
    normal: frozenset[int]

    @property
    def all(self) -> frozenset[int]:
        """Both."""
        return self.scaling | self.normal


NO_SAMPLE = Sample(frozenset(), frozenset())
"""That of a model which was fitted before."""


def choose_sample(order: Sequence[int], sizes: Sequence[tuple[int, int]], normal: Collection[int], most: int) -> Sample:
    """The first images of an order, and the first normal ones.

    Args:
        order: indices of the images.
        sizes: rows and columns of the map of each image, by index.
        normal: indices of the images that are known to be normal.
        most: number of images of each kind that are enough.
    """

    def first(indices: Sequence[int]) -> frozenset[int]:
        return frozenset(indices[: sample_count([sizes[index] for index in indices], most)])

    scaling, known = first(order), [index for index in order if index in normal]
    return Sample(scaling, first(known) if len(known) >= FEWEST_KNOWN else scaling)


def among(sample: Sequence[tuple[int, Features]], chosen: Collection[int]) -> Sequence[tuple[int, Features]]:
    """The chosen images of a sample, (index, features) each; all of it if none of them can be read."""
    return [member for member in sample if member[0] in chosen] or sample


def settings_for_normal(config: Config, count: int) -> Config:
    """The settings of a run whose localization model is fitted to known normal images alone.

    Nothing in them needs to be removed from the memory bank, and what one of them shows is normal, so the nearest image
    counts. The bank keeps its size: fewer images give more patches each.

    Args:
        config: the settings.
        count: number of known normal images; with fewer than `FEWEST_KNOWN`, the settings are returned unchanged.
    """
    if count < FEWEST_KNOWN:
        return config
    s = config.localization
    patches = s.memory_bank.patches_per_image * s.sample_images // min(count, s.sample_images)
    bank = s.memory_bank.model_copy(
        update={"outlier_fraction": 0.0, "image_quantile": 0.0, "patches_per_image": min(patches, 4096)}
    )
    return config.model_copy(update={"localization": s.model_copy(update={"memory_bank": bank})})
