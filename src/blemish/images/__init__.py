"""Image files and arrays as float RGB in [0, 1].

A set is an :class:`ImageSource`. ``finding`` lists its files, ``decoding`` reads them, ``scaling`` chooses the sizes for the
whole set, and ``inside`` says which pixels count.
"""

from blemish.images.decoding import (
    MAX_MEGABYTES,
    ImageInfo,
    Photo,
    StoredImage,
    WhiteLevel,
    decode,
    estimate_white_level,
    probe,
)
from blemish.images.finding import (
    IMAGE_SUFFIXES,
    MASK_FOLDERS,
    Listing,
    NothingReadableError,
    Place,
    Url,
    as_place,
    find_images,
    folder_of,
    is_set,
    list_set,
    locate,
)
from blemish.images.scaling import Calibration, common_scale, plan_sizes, resize, target_size
from blemish.images.source import ALSO, Images, ImageSource

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
