"""Image files and arrays as float RGB in [0, 1].

The folder finds and decodes files and chooses one brightness scale and the target sizes for the whole set.
"""

from blemish.images.decoders import probe
from blemish.images.finding import IMAGE_SUFFIXES, find_images
from blemish.images.loading import decode
from blemish.images.raw import MAX_PIXELS, ImageInfo
from blemish.images.sizes import common_scale, plan_sizes, resize, target_size
from blemish.images.source import Images, ImageSource
from blemish.images.white_level import estimate_white_level, snap_to_bit_depth

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "ImageInfo",
    "ImageSource",
    "Images",
    "common_scale",
    "decode",
    "estimate_white_level",
    "find_images",
    "plan_sizes",
    "probe",
    "resize",
    "snap_to_bit_depth",
    "target_size",
]
