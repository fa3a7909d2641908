"""Which pixels of an image are picture and count: region of interest, constant borders, transparency."""

from blemish.images.inside.area import PictureArea
from blemish.images.inside.roi import RegionOfInterest

__all__ = ["PictureArea", "RegionOfInterest"]
