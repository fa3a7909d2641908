"""One vector per image: features pooled where the map is anomalous, shape, and contrastive heads trained on the set."""

from blemish.descriptors.contrastive import Head, margin_loss, train_head
from blemish.descriptors.geometry import ShapeScaling, fit_shape_scaling, region_geometry, region_shape, region_shapes
from blemish.descriptors.heads import head_descriptors, head_threshold, train_heads, training_steps
from blemish.descriptors.model import DescriptorModel, fit_descriptor_model, whitening_matrix
from blemish.descriptors.pixels import PixelSample, PixelStore, pixels_per_image, sample_pixels
from blemish.descriptors.pooling import (
    average_weights,
    blur_weights,
    max_weights,
    relative_tau,
    softmax_weights,
    thresholded_weights,
    weighted_sum,
)
from blemish.descriptors.vectors import concat_descriptors, unit_rows

__all__ = [
    "DescriptorModel",
    "Head",
    "PixelSample",
    "PixelStore",
    "ShapeScaling",
    "average_weights",
    "blur_weights",
    "concat_descriptors",
    "fit_descriptor_model",
    "fit_shape_scaling",
    "head_descriptors",
    "head_threshold",
    "margin_loss",
    "max_weights",
    "pixels_per_image",
    "region_geometry",
    "region_shape",
    "region_shapes",
    "relative_tau",
    "sample_pixels",
    "softmax_weights",
    "thresholded_weights",
    "train_head",
    "train_heads",
    "training_steps",
    "unit_rows",
    "weighted_sum",
    "whitening_matrix",
]
