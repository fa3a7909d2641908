"""The size that each image is worked on, and large images in tiles."""

from blemish.images.scaling.calibration import Calibration
from blemish.images.scaling.resolution import Resolution
from blemish.images.scaling.sizes import common_scale, plan_sizes, resize, target_size
from blemish.images.scaling.tiling import TilePixels, plan_tiles

__all__ = [
    "Calibration",
    "Resolution",
    "TilePixels",
    "common_scale",
    "plan_sizes",
    "plan_tiles",
    "resize",
    "target_size",
]
