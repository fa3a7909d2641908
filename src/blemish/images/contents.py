"""Digests of the content of the images of a set, and which of them are copies."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor

from blemish.images.decoding.files import ImageFile
from blemish.runtime.digests import array_digest
from blemish.types import FloatArray

READERS = 2
"""Threads that read files of this machine."""


class Contents:
    """The contents of a set of images, each by its digest.

    Args:
        images: the files, or the arrays.
        readers: number of threads that read files.
    """

    def __init__(self, images: Sequence[ImageFile] | Sequence[FloatArray], readers: int = READERS) -> None:
        self._readers = readers
        self._images = list[ImageFile | FloatArray](images)
        self._digests: list[str] | None = None

    def digests(self) -> list[str]:
        """Digest of each image. The first call reads every file."""
        if self._digests is None:
            with ThreadPoolExecutor(self._readers) as pool:
                self._digests = list(pool.map(_content_digest, self._images))
        return self._digests

    def known(self, index: int) -> str | None:
        """Digest of image ``index``, if :meth:`digests` has been called."""
        return self._digests[index] if self._digests else None

    def keep(self, indices: Sequence[int]) -> None:
        """Drop every other image."""
        self._images = [self._images[index] for index in indices]
        if self._digests is not None:
            self._digests = [self._digests[index] for index in indices]

    def originals(self) -> list[int]:
        """For each image the index of the first one with the same content; see :meth:`ImageSource.originals`."""
        alike: dict[Hashable, list[int]] = {}
        first = list(range(len(self._images)))
        for index, image in enumerate(self._images):
            extent = image.extent if isinstance(image, ImageFile) else image.shape
            alike.setdefault(extent, []).append(index)
        for indices in alike.values():
            seen: dict[str, int] = {}
            for index in indices if len(indices) > 1 else ():
                content = self.known(index) or _content_digest(self._images[index])
                first[index] = seen.setdefault(content, index)
        return first


def _content_digest(image: ImageFile | FloatArray) -> str:
    return image.content_digest() if isinstance(image, ImageFile) else array_digest(image)
