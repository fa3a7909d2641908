"""The fitted model: what a run has learned, kept without the images, and the inspection of later images with it."""

from blemish.model.fitted import (
    MODEL_CLASSES,
    SCHEMA_VERSION,
    FittedModel,
    holds_model,
    model_folder,
    without_places,
)
from blemish.model.updating import Update, update

__all__ = [
    "MODEL_CLASSES",
    "SCHEMA_VERSION",
    "FittedModel",
    "Update",
    "holds_model",
    "model_folder",
    "update",
    "without_places",
]
