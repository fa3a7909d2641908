"""The regions of anomalous images, and the vector of each of them in the space of the groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from blemish.clustering import DefectSpace, SurfaceSpace, TypeClassifier
from blemish.config.sections import Regions
from blemish.descriptors.contrastive import Head
from blemish.descriptors.geometry import region_shapes
from blemish.descriptors.heads import head_descriptors
from blemish.descriptors.model import DescriptorModel
from blemish.descriptors.pixels import Pixels, PixelSample, sample_pixels
from blemish.descriptors.vectors import join_heads
from blemish.entries import FittedLocalization, is_finite_matrix
from blemish.features.bands import FeatureBands, Features, normalized
from blemish.regions import Region, RegionShape, extract_regions
from blemish.runtime.digests import array_digest, digest
from blemish.runtime.progress import Advance
from blemish.stages.maps import MapResults, MapStages
from blemish.types import BoolArray, FloatArray, IntArray

WINDOW_CELLS = 64
"""Smallest side, in cells, of the part of a large image by which one of its regions is described."""


@dataclass(frozen=True)
class FoundRegions:
    """The regions of a set of images.

    Attributes:
        shapes: for each of N images its regions, the strongest first; none for an image that is not anomalous.
    """

    shapes: list[list[RegionShape]]

    @property
    def images(self) -> IntArray:
        """R, row of the image of each region, image by image."""
        return np.repeat(np.arange(len(self.shapes)), [len(one) for one in self.shapes])

    @property
    def several(self) -> list[int]:
        """Rows of the images with more than one region."""
        return [row for row, one in enumerate(self.shapes) if len(one) > 1]


def find_regions(
    maps: Sequence[FloatArray], sizes: IntArray, anomalous: BoolArray, threshold: float, settings: Regions
) -> FoundRegions:
    """The regions of the anomalous images.

    Args:
        maps: N anomaly maps, after median filling.
        sizes: N x 2, height and width of each image.
        anomalous: N bool.
        threshold: map value above which a cell belongs to a region.
        settings: what is joined and what is dropped.
    """
    return FoundRegions(
        [
            extract_regions(maps[row], threshold, int(height), int(width), settings) if anomalous[row] else []
            for row, (height, width) in enumerate(sizes)
        ]
    )


class Fitted(Protocol):
    """What is used of a fitted model."""

    @property
    def localization(self) -> FittedLocalization:
        """Normalization and localization model."""

    @property
    def descriptor_model(self) -> DescriptorModel:
        """From features and map to a descriptor."""

    @property
    def heads(self) -> list[Head]:
        """The trained heads."""

    @property
    def space(self) -> DefectSpace | SurfaceSpace:
        """From descriptors to the vectors that were clustered."""

    @property
    def classifier(self) -> TypeClassifier:
        """From these vectors to the groups."""


class RegionDescriber:
    """Describes each region as if it were the only one of its image: the map is lowered where the other regions are.

    An image with one region has the vector of the image itself, so only images with several regions need their features
    once more.

    Args:
        stages: the pass over the images.
        model: everything fitted.
        space: that of the model, made of local defects.
    """

    def __init__(self, stages: MapStages, model: Fitted, space: DefectSpace) -> None:
        self.stages, self.model, self.space = stages, model, space

    def rows(
        self, results: MapResults, image_rows: FloatArray, scores: FloatArray, found: FoundRegions, advance: Advance
    ) -> FloatArray:
        """The vector of each region, R x D float32.

        Args:
            results: of the pass over the images; maps before median filling.
            image_rows: N x D, the vectors of the images.
            scores: N image scores.
            found: the regions.
            advance: counts images with several regions.

        Cost: one pass of the network over the images with several regions, unless the cache has the vectors.
        """
        several = found.several
        rows = image_rows[found.images]
        if several:
            described = self.stages.cache.once(
                "regions",
                lambda: self._key(image_rows[several], found),
                lambda: self._describe(results, image_rows, scores, found, advance),
                lambda value: is_finite_matrix(value, sum(len(found.shapes[row]) for row in several)),
            )
            rows[np.isin(found.images, several)] = described
        return rows

    def _key(self, rows: FloatArray, found: FoundRegions) -> str:
        """The rows of the images cover everything fitted; the cells say what each region is."""
        cells = [array_digest(shape.places) for row in found.several for shape in found.shapes[row]]
        return digest("regions", array_digest(rows), cells)

    def _describe(
        self, results: MapResults, image_rows: FloatArray, scores: FloatArray, found: FoundRegions, advance: Advance
    ) -> FloatArray:
        stages, wanted = self.stages, {results.indices[row]: row for row in found.several}
        # should a file have vanished by now, its regions have the vector of their image
        rows = {row: np.repeat(image_rows[row][None], len(found.shapes[row]), 0) for row in found.several}
        batches = stages.features.plan(wanted)
        for _, members in stages.features.stream(batches):
            for index, raw in members:
                row = wanted[index]
                features = normalized(raw, self.model.localization.normalizer)
                rows[row] = self._image(
                    features,
                    results.maps[row],
                    float(scores[row]),
                    found.shapes[row],
                    stages.source.content_seed(index),
                )
                advance(1)
        return np.concatenate([rows[row] for row in found.several])

    @torch.no_grad()
    def _image(
        self, features: Features, values: FloatArray, score: float, shapes: Sequence[RegionShape], image_seed: int
    ) -> FloatArray:
        """The vectors of the regions of one image; in a large image, each with what is around it."""
        config = self.stages.config
        descriptors, pixels, maps = list[FloatArray](), list[Pixels](), list[FloatArray]()
        owners, typical = _owners(shapes, values.shape), float(np.median(values))
        for number, shape in enumerate(shapes, start=1):
            around = surroundings(shape) if isinstance(features, FeatureBands) else (slice(None), slice(None))
            seen = features.window(*around) if isinstance(features, FeatureBands) else features
            alone = without_others(values[around], owners[around], number, typical)
            maps.append(alone)
            weights = self.model.descriptor_model.pixel_weights(alone)
            descriptors.append(self.model.descriptor_model.descriptor(seen, weights))
            count = self.stages.pixels_per_image
            pixels.append(sample_pixels(seen, alone, weights, image_seed, config.seed, count))
        plain = np.stack(descriptors)
        if self.model.heads:
            sample = PixelSample(*(list(part) for part in zip(*pixels, strict=True)))
            plain = join_heads(plain, head_descriptors(sample, self.model.heads, lambda _: None), config.contrastive)
        geometries = region_shapes(maps, self.model.descriptor_model.level, config.descriptor.shape_weight)
        return self.space.rows(plain, geometries, np.full(len(shapes), score, np.float32))


def _owners(shapes: Sequence[RegionShape], size: tuple[int, ...]) -> IntArray:
    """For each cell of the map the number of its region, from 1; 0 where there is none."""
    owners = np.zeros(size, np.int64)
    for number, shape in enumerate(shapes, start=1):
        owners.flat[shape.places] = number
    return owners


def without_others(values: FloatArray, owners: IntArray, number: int, typical: float) -> FloatArray:
    """The map with one region only: the others, and the cells around them, are lowered to a typical value.

    Args:
        values: h x w.
        owners: h x w, number of the region of each cell; 0 where there is none.
        number: the region that stays; its own cells keep their values.
        typical: the median of the map.
    """
    from scipy.ndimage import binary_dilation

    others = (owners > 0) & (owners != number)
    lowered = binary_dilation(others, np.ones((3, 3), bool)) & (owners != number)
    return np.where(lowered, np.minimum(values, typical), values).astype(np.float32)


def surroundings(shape: RegionShape) -> tuple[slice, slice]:
    """Rows and columns of a window around a region that is not smaller than the map of a common image.

    The region of a large image is described by this part of it. Described by the whole image, a small defect would count
    as little as it covers.
    """
    found = []
    for places, length in zip(np.unravel_index(shape.places, shape.map_size), shape.map_size, strict=True):
        first, stop = int(places.min()), int(places.max()) + 1
        side = min(length, max(WINDOW_CELLS, 2 * (stop - first)))
        start = min(max(0, (first + stop - side) // 2), length - side)
        found.append(slice(start, start + side))
    return found[0], found[1]


def type_regions(
    stages: MapStages,
    model: Fitted,
    results: MapResults,
    image_rows: FloatArray,
    scores: FloatArray,
    labels: IntArray,
    found: FoundRegions,
    advance: Advance,
) -> list[Region]:
    """The regions with their types, image by image, the strongest of an image first.

    The only region of an image has the image's type. Where an image has several, or an anomalous image is in the normal
    group, the classifier decides for each region by itself.

    Args:
        stages: the pass over the images.
        model: everything fitted. If its groups are made of whole images, all regions of an image have the image's type.
        results: of the pass over N images.
        image_rows: N x D, the vectors of the images.
        scores: N image scores.
        labels: N labels of the images.
        found: the regions.
        advance: counts images with several regions.
    """
    images = found.images
    if not len(images):
        return []
    own = labels[images]
    local = isinstance(model.space, DefectSpace)
    if isinstance(model.space, DefectSpace):
        rows = RegionDescriber(stages, model, model.space).rows(results, image_rows, scores, found, advance)
        free = np.isin(images, found.several)
        if model.classifier.normal_label is not None:
            free |= own == model.classifier.normal_label
    else:
        rows, free = image_rows[images], np.zeros(len(images), bool)
    classified = model.classifier.classify(rows, np.ones(len(rows), bool), types_only=local)
    chosen = np.where(free, classified.labels, own)
    shapes = [shape for one in found.shapes for shape in one]
    return [
        shape.region(int(image), int(label), confidence=float(confidence))
        for shape, image, label, confidence in zip(shapes, images, chosen, classified.probabilities, strict=True)
    ]
