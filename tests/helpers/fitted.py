"""Settings and images for tests of the fitted model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from blemish.types import FloatArray

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
