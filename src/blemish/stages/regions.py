"""The regions of anomalous images, and the vector of each of them in the space of the groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol

import numpy as np
import torch

from blemish.clustering import (
    UNLIKE,
    DefectSpace,
    SurfaceSpace,
    TypeClassifier,
    fit_region_reach,
    without_examples,
)
from blemish.config.sections import Regions
from blemish.descriptors.contrastive import Head
from blemish.descriptors.geometry import region_shapes
from blemish.descriptors.heads import head_descriptors
from blemish.descriptors.model import DescriptorModel
from blemish.descriptors.pixels import Pixels, PixelSample, sample_pixels
from blemish.descriptors.vectors import join_heads
from blemish.entries import FittedLocalization, is_finite_matrix
from blemish.features.bands import FeatureBands, Features, normalized
from blemish.localization.inside import inside_cells, inside_values
from blemish.regions import Region, RegionShape, extract_regions, region_parts
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
        parts: for each of these regions the parts that may be defects of their own; none where there is only one.
    """

    shapes: list[list[RegionShape]]
    parts: list[list[list[RegionShape]]]

    def pieces(self, row: int) -> list[RegionShape]:
        """All that is described of one image: its regions, then their parts."""
        return [*self.shapes[row], *chain.from_iterable(self.parts[row])]

    @property
    def images(self) -> IntArray:
        """P, row of the image of each piece, image by image."""
        return np.repeat(np.arange(len(self.shapes)), [len(self.pieces(row)) for row in range(len(self.shapes))])

    @property
    def several(self) -> list[int]:
        """Rows of the images with more than one piece."""
        return [row for row in range(len(self.shapes)) if len(self.pieces(row)) > 1]

    @property
    def whole(self) -> BoolArray:
        """P bool, whether a piece is a region, in place of a part of one."""
        flags = [
            index < len(shapes) for row, shapes in enumerate(self.shapes) for index in range(len(self.pieces(row)))
        ]
        return np.array(flags, bool)


def find_regions(
    maps: Sequence[FloatArray],
    detail: Sequence[FloatArray],
    sizes: IntArray,
    anomalous: BoolArray,
    threshold: float,
    settings: Regions,
) -> FoundRegions:
    """The regions of the anomalous images.

    Args:
        maps: N anomaly maps, after median filling.
        detail: the same before median filling.
        sizes: N x 2, height and width of each image.
        anomalous: N bool.
        threshold: map value above which a cell belongs to a region.
        settings: what is joined, what is dropped, and which parts are looked at by themselves.
    """
    found = FoundRegions([[] for _ in sizes], [[] for _ in sizes])
    for row in np.flatnonzero(anomalous):
        values, (height, width) = maps[int(row)], (int(side) for side in sizes[row])
        found.shapes[row] = extract_regions(values, threshold, height, width, settings)
        found.parts[row] = region_parts(found.shapes[row], values, detail[int(row)], threshold, height, width, settings)
    return found


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
        """The rows of the images cover everything fitted; the cells say what each piece is."""
        cells = [array_digest(shape.places) for row in found.several for shape in found.pieces(row)]
        return digest("regions", array_digest(rows), cells)

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


def fit_to_regions(
    model: Fitted, rows: FloatArray, image_rows: FloatArray, labels: IntArray, found: FoundRegions, unlike: float
) -> TypeClassifier:
    """The model's classifier, with what the regions of its set add: their reach, and which images show one type alone.

    An image with defects of several types has one group, but is no example of it, so the discriminants leave it out.

    Args:
        model: everything fitted.
        rows: P x D, see :func:`describe_regions`.
        image_rows: N x D, the vectors of the images.
        labels: N labels of the images.
        found: the regions.
        unlike: share of the set's own regions that would count as unlike every type.
    """
    whole = found.whole
    classifier = fit_region_reach(model.classifier, rows[whole], image_rows[found.images[whole]], unlike)
    types: dict[int, set[int]] = {}
    for region in type_regions(classifier, rows, labels, found, local=isinstance(model.space, DefectSpace)):
        types.setdefault(region.image, set()).add(region.label)
    mixed = np.array([len(types.get(row, set()) - {UNLIKE}) > 1 for row in range(len(labels))], bool)
    return without_examples(classifier, image_rows, labels, mixed)


def type_regions(
    classifier: TypeClassifier, rows: FloatArray, labels: IntArray, found: FoundRegions, *, local: bool
) -> list[Region]:
    """The regions with their types, image by image, the strongest of an image first.

    The only region of an image has the image's type. Where an image has several, or an anomalous image is in the normal
    group, the classifier decides for each region by itself. A region whose parts are of different types is replaced by
    its parts.

    Args:
        classifier: from vectors to groups.
        rows: P x D, see :func:`describe_regions`.
        labels: N labels of the images.
        found: the regions.
        local: groups are made of local defects. If they are made of whole images, all regions have their image's type.
    """
    classified = classifier.classify(rows, np.ones(len(rows), bool), types_only=local)
    types = iter(zip(classified.labels.tolist(), classified.probabilities.tolist(), strict=True))
    regions: list[Region] = []
    for image, (shapes, parts) in enumerate(zip(found.shapes, found.parts, strict=True)):
        own = int(labels[image])
        fixed = not local or (len(shapes) == 1 and own != classifier.normal_label)
        of_shapes = [(own if fixed else label, confidence) for label, confidence in islice(types, len(shapes))]
        typed: list[_Typed] = []
        for shape, (label, confidence), members in zip(shapes, of_shapes, parts, strict=True):
            of_parts = list(islice(types, len(members)))
            if local and _differ(of_parts):
                typed += [(part, *one) for part, one in zip(members, of_parts, strict=True)]
            else:
                typed.append((shape, label, confidence))
        typed.sort(key=lambda one: -one[0].score)
        regions += [shape.region(image, label, confidence=confidence) for shape, label, confidence in typed]
    return regions


_Typed = tuple[RegionShape, int, float]
"""A region with its label and the probability of it."""


def _differ(types: Sequence[tuple[int, float]]) -> bool:
    """Whether two parts are of different known types, each more likely than not."""
    return len({label for label, probability in types if label != UNLIKE and probability > 0.5}) > 1
