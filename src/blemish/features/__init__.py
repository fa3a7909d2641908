"""Feature maps of images: extraction in batches, normalization, and the filters that several stages share."""

from blemish.features.batches import Batch, FeatureBatches
from blemish.features.extractor import Extractor
from blemish.features.normalization import FeatureNormalizer, fit_normalizer, pooled, within_image_covariance

__all__ = [
    "Batch",
    "Extractor",
    "FeatureBatches",
    "FeatureNormalizer",
    "fit_normalizer",
    "pooled",
    "within_image_covariance",
]
