"""Feature maps of images: extraction in batches, normalization, and the filters that several stages share."""

from blemish.features.bands import FeatureBands, Features
from blemish.features.batches import Batch, FeatureBatches
from blemish.features.extractor import Extractor
from blemish.features.normalization import FeatureNormalizer, pooled
from blemish.features.statistics import fit_normalizer, within_image_covariance

__all__ = [
    "Batch",
    "Extractor",
    "FeatureBands",
    "FeatureBatches",
    "FeatureNormalizer",
    "Features",
    "fit_normalizer",
    "pooled",
    "within_image_covariance",
]
