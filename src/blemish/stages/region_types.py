"""The types of regions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np

from blemish.clustering import UNLIKE, DefectSpace, TypeClassifier, fit_region_reach, without_examples
from blemish.regions import Region, RegionShape
from blemish.stages.found_regions import FoundRegions
from blemish.stages.region_vectors import Fitted
from blemish.types import BoolArray, FloatArray, IntArray

_Typed = tuple[RegionShape, int, float]
"""A region with its label and the probability of it."""


def fit_to_regions(
    model: Fitted, rows: FloatArray, image_rows: FloatArray, labels: IntArray, found: FoundRegions, unlike: float
) -> TypeClassifier:
    """The model's classifier, with what the regions of its set add: their reach, and which images show one type alone.

    An image with defects of several types has one group, but is no example of what a region of it looks like, so the
    discriminants for regions leave it out.

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
    regions = type_regions(classifier, rows, labels, found, local=isinstance(model.space, DefectSpace))
    return without_examples(classifier, image_rows, labels, of_several_types(regions, len(labels)))


def of_several_types(regions: Sequence[Region], count: int) -> BoolArray:
    """Which of ``count`` images have regions of different known types, N bool."""
    types: dict[int, set[int]] = {}
    for region in regions:
        types.setdefault(region.image, set()).add(region.label)
    return np.array([len(types.get(row, set()) - {UNLIKE}) > 1 for row in range(count)], bool)


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


def _differ(types: Sequence[tuple[int, float]]) -> bool:
    """Whether two parts are of different known types, each more likely than not."""
    return len({label for label, probability in types if label != UNLIKE and probability > 0.5}) > 1
