"""From the bytes of a file to the values of an image."""

from blemish.images.decoding.decoders import probe
from blemish.images.decoding.loading import decode
from blemish.images.decoding.raw import MAX_MEGABYTES, ImageInfo
from blemish.images.decoding.stored import Photo, StoredImage
from blemish.images.decoding.white_level import WhiteLevel, estimate_white_level

__all__ = [
    "MAX_MEGABYTES",
    "ImageInfo",
    "Photo",
    "StoredImage",
    "WhiteLevel",
    "decode",
    "estimate_white_level",
    "probe",
]
