"""Where images are: folders, manifests, tar files and addresses; which files are images."""

from blemish.images.finding.listing import IMAGE_SUFFIXES, MASK_FOLDERS, Listing, NothingReadableError, find_images
from blemish.images.finding.places import Place, Url, as_place
from blemish.images.finding.sets import folder_of, is_set, list_set, locate

__all__ = [
    "IMAGE_SUFFIXES",
    "MASK_FOLDERS",
    "Listing",
    "NothingReadableError",
    "Place",
    "Url",
    "as_place",
    "find_images",
    "folder_of",
    "is_set",
    "list_set",
    "locate",
]
