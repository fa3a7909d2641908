"""Which type each region gets, and when a region is replaced by its parts."""

from __future__ import annotations

import numpy as np
import pytest

from blemish.clustering import UNLIKE, TypeClassifier, fit_classifier
from blemish.regions import Region, RegionShape, extract_regions
from blemish.stages import FoundRegions, of_several_types, type_regions
from blemish.types import FloatArray

PLACES = np.array([[0, 0], [4, 0], [0, 4]], np.float32)
"""Centers of the groups: normal, type 1 and type 2."""


@pytest.fixture(scope="module")
def classifier() -> TypeClassifier:
    labels = np.repeat([0, 1, 2], 20)
    rows = (PLACES[labels] + np.random.default_rng(0).normal(0, 0.1, (60, 2))).astype(np.float32)
    return fit_classifier(rows, labels, labels > 0, 0, unlike=0.0)


def shape(score: float) -> RegionShape:
    (one,) = extract_regions(np.array([[0, score], [0, 0]], np.float32), 0.1, 16, 16)
    return one


def near(*types: int) -> FloatArray:
    """One vector for each of some types; -1 is far from all."""
    return np.array([PLACES[one] if one >= 0 else (30, 30) for one in types], np.float32) + np.float32(0.01)


def typed(
    classifier: TypeClassifier, label: int, shapes: int, parts: list[int], pieces: FloatArray, *, local: bool = True
) -> list[Region]:
    """The regions of one image with this label; ``parts``: number of parts of each region."""
    found = FoundRegions(
        [[shape(5 - i) for i in range(shapes)]],
        [[[shape(4.5 - i - k / 10) for k in range(n)] for i, n in enumerate(parts)]],
    )
    return type_regions(classifier, pieces, np.array([label]), found, local=local)


def test_the_only_region_has_the_type_of_its_image(classifier: TypeClassifier) -> None:
    assert [one.label for one in typed(classifier, 2, 1, [0], near(1))] == [2]


def test_each_of_several_regions_has_a_type_of_its_own(classifier: TypeClassifier) -> None:
    assert [one.label for one in typed(classifier, 2, 3, [0, 0, 0], near(1, 2, -1))] == [1, 2, UNLIKE]


def test_the_region_of_an_image_in_the_normal_group_has_the_likeliest_type(classifier: TypeClassifier) -> None:
    assert [one.label for one in typed(classifier, 0, 1, [0], near(1))] == [1]


@pytest.mark.parametrize(
    ("pieces", "labels"),
    [
        ((1, 1, 2), [1, 2]),  # two types: two regions
        ((1, 1, 1), [1]),
        ((1, 1, UNLIKE), [1]),  # what is unlike everything is no reason to divide a region
    ],
)
def test_a_region_is_divided_if_its_parts_are_of_different_types(
    classifier: TypeClassifier, pieces: tuple[int, ...], labels: list[int]
) -> None:
    regions = typed(classifier, 1, 1, [2], near(*pieces))
    assert [one.label for one in regions] == labels
    assert [one.score for one in regions] == sorted((one.score for one in regions), reverse=True)


def test_groups_of_whole_images_give_all_regions_the_type_of_the_image(classifier: TypeClassifier) -> None:
    assert [one.label for one in typed(classifier, 2, 2, [2, 0], near(1, 1, 2, 1), local=False)] == [2, 2]


def test_an_image_is_of_several_types_if_two_of_its_regions_are_known_and_differ() -> None:
    found = {0: [1], 1: [1, 2], 2: [2, 2], 3: [UNLIKE, 1], 5: [UNLIKE, 2, 1]}
    regions = [shape(1.0).region(image, label, confidence=1.0) for image, labels in found.items() for label in labels]
    assert of_several_types(regions, 7).tolist() == [False, True, False, False, False, True, False]
