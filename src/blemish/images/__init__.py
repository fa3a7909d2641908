"""Images in: finding and decoding files, sizes, and one source for folders, lists and arrays."""

from blemish.images.source import Images, ImageSource

__all__ = ["ImageSource", "Images"]
