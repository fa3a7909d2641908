"""The vector of each region of an image, in the space of the groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from blemish.clustering import DefectSpace, SurfaceSpace, TypeClassifier
from blemish.descriptors.contrastive import Head
from blemish.descriptors.geometry import region_shapes
from blemish.descriptors.heads import head_descriptors
from blemish.descriptors.model import DescriptorModel
from blemish.descriptors.pixels import Pixels, PixelSample, sample_pixels
from blemish.descriptors.vectors import join_heads
from blemish.entries import FittedLocalization, is_finite_matrix
from blemish.features.bands import FeatureBands, Features, normalized
from blemish.localization.inside import inside_cells, inside_values
from blemish.regions import RegionShape
from blemish.runtime.digests import array_digest, digest
from blemish.runtime.progress import Advance
from blemish.stages.found_regions import FoundRegions
from blemish.stages.maps import MapResults, MapStages
from blemish.types import BoolArray, FloatArray

WINDOW_CELLS = 64
"""Smallest side, in cells, of the part of a large image by which one of its regions is described."""


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
    """Describes each region as if it were the only one of its image: the others lie outside the region of interest.

    The same holds for the parts of a region. An image with one region without parts has the vector of the image itself, so
    only the other images need their features once more.

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
        """The vector of each piece, P x D float32.

        Args:
            results: of the pass over the images; maps before median filling.
            image_rows: N x D, the vectors of the images.
            scores: N image scores.
            found: the regions.
            advance: counts images with several pieces.

        Cost: one pass of the network over the images with several pieces, unless the cache has the vectors.
        """
        several = found.several
        rows = image_rows[found.images]
        if several:
            described = self.stages.cache.once(
                "regions",
                lambda: self._key(image_rows[several], found),
                lambda: self._describe(results, image_rows, scores, found, advance),
                lambda value: is_finite_matrix(value, sum(len(found.pieces(row)) for row in several)),
            )
            rows[np.isin(found.images, several)] = described
        return rows

    def _key(self, rows: FloatArray, found: FoundRegions) -> str:
        """The rows of the images cover everything fitted, the key of no features the code and the network."""
        cells = [array_digest(shape.places) for row in found.several for shape in found.pieces(row)]
        return digest("regions", self.stages.features.key(), array_digest(rows), cells)

    def _describe(
        self, results: MapResults, image_rows: FloatArray, scores: FloatArray, found: FoundRegions, advance: Advance
    ) -> FloatArray:
        stages, wanted = self.stages, {results.indices[row]: row for row in found.several}
        # should a file have vanished by now, its regions have the vector of their image
        rows = {row: np.repeat(image_rows[row][None], len(found.pieces(row)), 0) for row in found.several}
        batches = stages.features.plan(wanted)
        for _, members in stages.features.stream(batches):
            for index, raw in members:
                row = wanted[index]
                features = normalized(raw, self.model.localization.normalizer)
                rows[row] = self._image(features, results.maps[row], float(scores[row]), found.pieces(row), index)
                advance(1)
        return np.concatenate([rows[row] for row in found.several])

    @torch.no_grad()
    def _image(
        self, features: Features, values: FloatArray, score: float, pieces: Sequence[RegionShape], index: int
    ) -> FloatArray:
        """The vectors of the pieces of one image; in a large image, each with what is around it."""
        config, source, typical = self.stages.config, self.stages.source, float(np.median(values))
        descriptors, pixels, maps = list[FloatArray](), list[Pixels](), list[FloatArray]()
        anomalous, region_of_interest = _cells_of(pieces), source.inside(index, *values.shape)
        for piece in pieces:
            around = surroundings(piece) if isinstance(features, FeatureBands) else (slice(None), slice(None))
            seen = features.window(*around) if isinstance(features, FeatureBands) else features
            others = _others(piece.cells[around], anomalous[around])
            inside = ~others if region_of_interest is None else region_of_interest[around] & ~others
            alone = np.where(others, np.minimum(values[around], typical), values[around]).astype(np.float32)
            maps.append(alone)
            weights = self.model.descriptor_model.pixel_weights(alone, inside)
            descriptors.append(self.model.descriptor_model.descriptor(seen, weights))
            cells, inner, counted = (
                inside_cells(seen, inside),
                inside_values(alone, inside),
                weights[torch.from_numpy(inside)],
            )
            image_seed, count = source.content_seed(index), self.stages.pixels_per_image
            pixels.append(sample_pixels(cells, inner, counted, image_seed, config.seed, count))
        plain = np.stack(descriptors)
        if self.model.heads:
            sample = PixelSample(*(list(part) for part in zip(*pixels, strict=True)))
            plain = join_heads(plain, head_descriptors(sample, self.model.heads, lambda _: None), config.contrastive)
        geometries = region_shapes(maps, self.model.descriptor_model.level, config.descriptor.shape_weight)
        return self.space.rows(plain, geometries, np.full(len(pieces), score, np.float32))


def _cells_of(shapes: Sequence[RegionShape]) -> BoolArray:
    """The cells of some regions of one image, h x w bool."""
    cells = np.zeros(shapes[0].map_size, bool)
    for shape in shapes:
        cells.flat[shape.places] = True
    return cells


def _others(cells: BoolArray, anomalous: BoolArray) -> BoolArray:
    """The cells of the other regions of an image and those around them, without the cells of one region."""
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(anomalous & ~cells, np.ones((3, 3), bool))) & ~cells


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


def describe_regions(
    stages: MapStages,
    model: Fitted,
    results: MapResults,
    image_rows: FloatArray,
    scores: FloatArray,
    found: FoundRegions,
    advance: Advance,
) -> FloatArray:
    """The vector of each piece, P x D float32.

    Args:
        stages: the pass over the images.
        model: everything fitted. If its groups are made of whole images, each piece has the vector of its image.
        results: of the pass over N images.
        image_rows: N x D, the vectors of the images.
        scores: N image scores.
        found: the regions.
        advance: counts images with several pieces.
    """
    if not isinstance(model.space, DefectSpace):
        return image_rows[found.images]
    return RegionDescriber(stages, model, model.space).rows(results, image_rows, scores, found, advance)
