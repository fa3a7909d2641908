"""The fitted model: what a run has learned, kept without the images, and the inspection of later images with it."""

from blemish.model.fitted import MODEL_CLASSES, SCHEMA_VERSION, FittedModel, without_places

__all__ = ["MODEL_CLASSES", "SCHEMA_VERSION", "FittedModel", "without_places"]
