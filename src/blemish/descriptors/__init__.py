"""One vector per image: features pooled where the map is anomalous, shape, and contrastive heads trained on the set."""

from blemish.descriptors.contrastive import Head, margin_loss, train_head
from blemish.descriptors.geometry import concat_shape, region_geometry
from blemish.descriptors.heads import head_descriptors, head_threshold, train_heads, training_steps
from blemish.descriptors.pixels import PixelSample, PixelStore, pixels_per_image, sample_pixels
from blemish.descriptors.pooling import (
    average_weights,
    blur_weights,
    descriptor_level,
    max_weights,
    relative_tau,
    softmax_weights,
    thresholded_weights,
    weighted_sum,
)
from blemish.descriptors.vectors import concat_descriptors, unit_rows

__all__ = [
    "Head",
    "PixelSample",
    "PixelStore",
    "average_weights",
    "blur_weights",
    "concat_descriptors",
    "concat_shape",
    "descriptor_level",
    "head_descriptors",
    "head_threshold",
    "margin_loss",
    "max_weights",
    "pixels_per_image",
    "region_geometry",
    "relative_tau",
    "sample_pixels",
    "softmax_weights",
    "thresholded_weights",
    "train_head",
    "train_heads",
    "training_steps",
    "unit_rows",
    "weighted_sum",
]
