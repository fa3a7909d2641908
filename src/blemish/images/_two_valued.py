"""Whether a set of pictures looks like a set of masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from blemish.images.decoding.stored import Photo

_SHARE = 0.9
"""Share of images with two values only from which the set is taken for masks, in a warning."""

_LOOKED_AT = 16
"""Number of images that are decoded for this alone, if the results came from the cache."""


class TwoValued:
    """Which images hold two values only, as masks do. Thread-safe: each image has its own entry."""

    def __init__(self) -> None:
        self._judged: dict[int, bool] = {}

    def look(self, index: int, image: Photo) -> None:
        """Judge image ``index``, on a grid of about 10 000 pixels; H x W x 3."""
        step = max(1, int((image.shape[0] * image.shape[1] / 10_000) ** 0.5))
        values = image[::step, ::step]
        low, high = values.min(), values.max()
        self._judged[index] = bool(low < high and ((values == low) | (values == high)).all())

    def warning(self, indices: Iterable[int], decode: Callable[[int], object]) -> str | None:
        """What to tell users if nearly all images hold two values; None otherwise.

        Args:
            indices: the readable images. Those whose results came from the cache have not been judged; a few of them are,
                up to the first that is no mask.
            decode: decodes an image, which calls :meth:`look` if it can be read.
        """
        for index in list(indices)[:_LOOKED_AT]:
            if index not in self._judged:
                decode(index)
            if not self._judged.get(index, True):
                break
        count, looked_at = sum(self._judged.values()), len(self._judged)
        if count <= _SHARE * looked_at:
            return None
        return f"{count} of {looked_at} images hold two values only, as masks do"
