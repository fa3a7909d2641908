"""Settings, images and models for tests of the fitted model."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish import Config, FittedModel, run
from blemish.synthetic.demo import make_demo
from blemish.types import FloatArray

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed")

FAST = {
    "image.size": 96,
    "localization.sample_images": 12,
    "contrastive.epochs": 1,
    "contrastive.n_heads": 2,
    "cache.enabled": False,
    "n_clusters": 4,
}


def read(path: Path) -> FloatArray:
    return np.asarray(Image.open(path).convert("RGB"), np.float32) / 255


def changed(source: Path, target: Path, change: Callable[[FloatArray], FloatArray]) -> Path:
    """A folder with the images of another one, changed."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        pixels = np.clip(change(read(path)), 0, 1)
        Image.fromarray((255 * pixels).round().astype(np.uint8)).save(target / path.name)
    return target


def small_set_with_model(root: Path, n_images: int, *broken: str) -> FittedModel:
    """A model of images that are drawn into ``root/images``, where files that cannot be read are added afterwards."""
    make_demo(root, n_images=n_images, size=96, seed=5)
    settings = FAST | {"image.size": 64, "contrastive.enabled": False}
    model = run(sorted((root / "images").iterdir()), Config.from_values(settings)).model
    assert isinstance(model, FittedModel)
    for name in broken:
        (root / "images" / name).write_bytes(b"\x89PNG\r\n\x1a\n no image")
    return model
