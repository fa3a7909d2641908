"""Image files and arrays as float RGB in [0, 1].

The folder finds and decodes files and chooses one brightness scale and the target sizes for the whole set.
"""

from blemish.images.calibration import Calibration
from blemish.images.decoders import probe
from blemish.images.finding import IMAGE_SUFFIXES, MASK_FOLDERS, Listing, NothingReadableError, find_images
from blemish.images.loading import decode
from blemish.images.places import Place, Url, as_place
from blemish.images.raw import MAX_MEGABYTES, ImageInfo
from blemish.images.sets import folder_of, is_set, list_set, locate
from blemish.images.sizes import common_scale, plan_sizes, resize, target_size
from blemish.images.source import ALSO, Images, ImageSource
from blemish.images.stored import Photo, StoredImage
from blemish.images.white_level import WhiteLevel, estimate_white_level

__all__ = [
    "ALSO",
    "IMAGE_SUFFIXES",
    "MASK_FOLDERS",
    "MAX_MEGABYTES",
    "Calibration",
    "ImageInfo",
    "ImageSource",
    "Images",
    "Listing",
    "NothingReadableError",
    "Photo",
    "Place",
    "StoredImage",
    "Url",
    "WhiteLevel",
    "as_place",
    "common_scale",
    "decode",
    "estimate_white_level",
    "find_images",
    "folder_of",
    "is_set",
    "list_set",
    "locate",
    "plan_sizes",
    "probe",
    "resize",
    "target_size",
]
