"""What the steps of a run store in the cache: the kinds, the classes, and what a value must look like to be used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from blemish.clustering.grouping import Grouping
from blemish.clustering.score_weights import ScoreWeights
from blemish.clustering.space import DefectSpace, SurfaceSpace
from blemish.config.localization import Localization
from blemish.descriptors.contrastive import Head
from blemish.descriptors.geometry import ShapeScaling
from blemish.features.normalization import FeatureNormalizer
from blemish.localization.border import BorderCorrection
from blemish.localization.model import MapModel
from blemish.localization.neighbors import MemoryBank
from blemish.localization.reconstruction import VAE, PrincipalSubspace
from blemish.localization.threshold import ScoreModel
from blemish.runtime.serialization import are_arrays, are_places
from blemish.types import FloatArray

MAPS, SURFACES, DESCRIPTORS, PIXELS = "maps", "surfaces", "descriptors", "pixels"
"""Kinds of cache entries of a batch; names of the fields of :class:`blemish.stages.BatchResults`."""

AREAS = "borders"
"""Kind of the cache entry with the constant borders of a set."""


@dataclass(frozen=True)
class FittedLocalization:
    """Everything that is fitted to the sample before the anomaly maps of the whole set are computed.

    Attributes:
        normalizer: normalization of feature channels.
        map_model: from normalized features to an anomaly map.
        covariance: C x C, of features within images; whitening is computed from it.
        sample_maps: anomaly maps of the sampled images.
        sample_indices: their indices in the set.
    """

    normalizer: FeatureNormalizer
    map_model: MapModel
    covariance: Tensor
    sample_maps: list[FloatArray]
    sample_indices: list[int]


CACHED_CLASSES = (
    *(
        FittedLocalization,
        FeatureNormalizer,
        MapModel,
        Localization,
        MemoryBank,
        VAE,
        PrincipalSubspace,
        BorderCorrection,
    ),
    *(Grouping, DefectSpace, SurfaceSpace, ShapeScaling, ScoreWeights, ScoreModel),
    Head,
)
"""The classes that a cache entry may contain."""


def is_localization(value: object) -> bool:
    """Whether a cache entry is a fitted localization model with finite numbers."""
    if not isinstance(value, FittedLocalization) or not isinstance(value.sample_maps, list):
        return False
    maps, covariance = value.sample_maps, value.covariance
    return (
        isinstance(value.normalizer, FeatureNormalizer)
        and isinstance(value.map_model, MapModel)
        and all(are_arrays([one], 1, ndim=2, lowest=0) for one in maps)
        and isinstance(value.sample_indices, list)
        and len(value.sample_indices) == len(maps)
        and isinstance(covariance, Tensor)
        and bool(covariance.isfinite().all())
    )


def is_area_state(value: object, shape: tuple[int, ...]) -> bool:
    """Whether a cache entry holds the constant borders of the images of a set, see ``PictureArea.state``."""
    return (
        isinstance(value, np.ndarray)
        and are_arrays([value], 1, ndim=2, dtype=np.int64, lowest=-1)
        and value.shape == shape
    )


def is_batch_entry(value: object, kind: str, length: int) -> bool:
    """Whether a cache entry holds maps, mean features, descriptors or pixels of a batch of ``length`` images, with finite numbers."""
    if not isinstance(value, dict) or set(value) != {"unreadable", "rows"}:
        return False
    places, rows = value["unreadable"], value["rows"]
    if not are_places(places, length) or not isinstance(rows, list):
        return False
    n = length - len(places)
    if kind == MAPS:
        return are_arrays(rows, n, ndim=2, lowest=0)
    if kind in (SURFACES, DESCRIPTORS):
        return are_arrays(rows, n, ndim=1)
    if not all(isinstance(row, tuple) and len(row) == 3 for row in rows):
        return False
    features, *others = map(list, zip(*rows, strict=True)) if rows else ([], [], [])
    return are_arrays(features, n, ndim=2, dtype=np.float16) and all(are_arrays(one, n, ndim=1) for one in others)


def is_finite_matrix(value: object, n: int) -> bool:
    """Whether a cache entry is a matrix of ``n`` rows with finite numbers."""
    return are_arrays([value], 1, ndim=2) and len(value) == n  # type: ignore[arg-type]


def is_refined(value: object, n: int) -> bool:
    """Whether a cache entry holds heads and the descriptors of ``n`` images that they give, with finite numbers."""
    if not isinstance(value, tuple) or len(value) != 2 or not isinstance(value[0], list) or not value[0]:
        return False
    heads, rows = value
    return all(
        isinstance(head, Head) and all(bool(one.isfinite().all()) for one in head.parameters()) for head in heads
    ) and is_finite_matrix(rows, n)


def is_grouping(value: object, n: int) -> bool:
    """Whether a cache entry sorts ``n`` images into groups."""
    return (
        isinstance(value, Grouping)
        and are_arrays([value.labels], 1, ndim=1, dtype=np.int64, lowest=0)
        and len(value.labels) == n
        and value.normal_label in (0, None)
        and isinstance(value.space, DefectSpace | SurfaceSpace)
        and is_finite_matrix(value.descriptors, n)
    )


def are_groupings(value: object, n: int) -> bool:
    """Whether a cache entry sorts ``n`` images into groups in both views."""
    return isinstance(value, tuple) and len(value) == 2 and all(is_grouping(one, n) for one in value)
