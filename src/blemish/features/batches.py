"""The set cut into batches, always the same ones, and the feature maps of each: from memory, from the cache, or computed.

A network's result can differ in the last bit with the company that an image has in its batch. So the batches follow
from the set and the settings alone: whatever part of them a run finds in the cache, the rest comes out as it would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import groupby, islice

import numpy as np
import torch
from torch import Tensor

from blemish.errors import InputError
from blemish.features.bands import FeatureBands, Features
from blemish.features.extractor import Extractor
from blemish.images import ImageSource
from blemish.runtime.cache import Cache
from blemish.runtime.digests import digest
from blemish.runtime.serialization import are_places
from blemish.runtime.spill import ArrayStore, Stored
from blemish.types import FloatArray

Batch = tuple[int, ...]
"""Indices of images of one planned size, in ascending order."""

HELD_BYTES = 512 * 2**20
"""Features of the sampled images are kept in memory for the main pass up to this size; beyond it, computed again."""

BATCH_PIXELS = 2**23
"""Most pixels per forward pass: about 2 GB of activations. Only images above a million pixels are fewer for it."""


SAMPLE_CELLS = 2**23
"""Cells of the sampled images together, above which fewer images are sampled: their features take 5 GB on the disk."""

FEWEST_SAMPLED = 4
"""Images that are sampled however large they are."""


def sample_count(sizes: Sequence[tuple[int, int]], most: int) -> int:
    """How many of the first images are sampled: ``most``, if they have `SAMPLE_CELLS` cells or fewer together.

    Args:
        sizes: rows and columns of the map of each image.
        most: number of images that are enough.
    """
    cells = np.cumsum([rows * columns for rows, columns in sizes[:most]])
    return min(len(cells), max(FEWEST_SAMPLED, int((cells <= SAMPLE_CELLS).sum())))


def plan_batches(sizes: Sequence[tuple[int, int]], chosen: Iterable[int], batch_size: int) -> list[Batch]:
    """Batches of ``chosen`` images of one size each, at most ``batch_size`` long and of at most `BATCH_PIXELS` pixels.

    >>> plan_batches([(32, 32), (48, 32), (32, 32), (32, 32)], range(4), 2)
    [(0, 2), (3,), (1,)]
    """
    ordered = sorted(chosen, key=lambda index: (sizes[index], index))
    batches = list[Batch]()
    for (height, width), found in groupby(ordered, key=lambda index: sizes[index]):
        group, length = list(found), max(1, min(batch_size, BATCH_PIXELS // (height * width)))
        batches += [tuple(group[at : at + length]) for at in range(0, len(group), length)]
    return batches


class FeatureBatches:
    """Features of a set, not yet normalized, batch by batch. Images that cannot be decoded are recorded in the source.

    Args:
        source: the images.
        extractor: computes their features.
        cache: where feature maps are stored, if ``store_features``.
        stem: digest of everything besides the images that decides the features; part of every key.
        store_features: store feature maps in the cache.
    """

    def __init__(
        self, source: ImageSource, extractor: Extractor, cache: Cache, stem: str, *, store_features: bool = False
    ) -> None:
        self.source, self.extractor, self.cache = source, extractor, cache
        self._stem = stem
        self._store = store_features
        self._held: dict[Batch, Sequence[Features]] = {}
        self._held_store = ArrayStore(HELD_BYTES, what="features")

    def plan(self, chosen: Iterable[int]) -> list[Batch]:
        """Batches of some images of the set."""
        return plan_batches(self.source.target_sizes, chosen, self.extractor.settings.batch_size)

    def key(self, *batches: Batch) -> str:
        """Digest of what decides the features of some batches: place, content and size of every image, and the network."""
        return digest(self._stem, [[(index, self.source.fingerprint(index)) for index in batch] for batch in batches])

    def stream(
        self, batches: Sequence[Batch], *, hold: bool = False
    ) -> Iterator[tuple[Batch, list[tuple[int, Features]]]]:
        """Yield each batch with (index, C x h x w) of its readable images; a batch in tiles has one image, in bands.

        Args:
            batches: in the order wanted. Decoding runs ahead of the network, across batches.
            hold: keep the features for the next time their batch is asked for, as far as ``HELD_BYTES`` reach. Bands are
                kept in any case, in a temporary file beyond ``HELD_BYTES``.
        """
        tiled = {batch for batch in batches if self.source.resolution.tiled(batch[0])}
        fresh = {batch for batch in batches if batch not in self._held and not self._stored(batch)} - tiled
        with closing(self.source.stream([index for batch in batches if batch in fresh for index in batch])) as pixels:
            for batch in batches:
                if batch in tiled:
                    maps: Sequence[Features] = self._held.pop(batch, []) or self._in_bands(batch, hold)
                elif batch in fresh:
                    maps = self._computed(batch, islice(pixels, len(batch)))
                else:
                    maps = self._recalled(batch)
                if hold and self._room(maps):
                    self._held[batch] = maps
                yield batch, list(zip(self.source.readable(batch), maps, strict=True))

    def spilled(self, features: Features) -> Features:
        """The features as they are, or one band of them in a temporary file if ``HELD_BYTES`` are in memory already."""
        if not isinstance(features, Tensor):
            return features
        (stored,) = self._held_store.add([features.numpy()])
        return FeatureBands(self._held_store.view([stored]), [tuple(features.shape)])

    def _in_bands(self, batch: Batch, hold: bool) -> Sequence[Features]:
        """The features of images in tiles, each in a temporary file that lasts as long as they do."""
        found, side = list[Features](), self.source.resolution.tile_side
        assert side is not None
        for index in batch:
            try:
                pixels = self.source.tiles(index)
            except InputError as error:
                self.source.mark_unreadable(index, str(error))
                continue
            store = self._held_store if hold else ArrayStore(what="features")
            bands, shapes = list[Stored](), list[tuple[int, ...]]()
            for band in self.extractor.bands(pixels, side):
                bands += store.add([band.numpy()])
                shapes.append(tuple(band.shape))
            found.append(FeatureBands(store.view(bands), shapes))
        if self.source.changed:
            self.cache.active = False  # the keys speak of files that are no longer there
        return found

    def _stored(self, batch: Batch) -> bool:
        return self._store and self.cache.has("features", self.key(batch))

    def _recalled(self, batch: Batch) -> Sequence[Features]:
        """From memory or from the cache; should the entry be gone or damaged by now, computed after all."""
        held = self._held.pop(batch, None)
        if held is not None:
            return held
        entry = self.cache.get("features", self.key(batch), lambda entry: _is_entry(entry, len(batch)))
        if entry is None or not self.source.confirm_unreadable(batch[place] for place in entry["unreadable"]):
            return self._computed(batch, self.source.stream(batch))
        maps: Tensor = entry["maps"]
        return list(maps)

    def _computed(self, batch: Batch, pixels: Iterable[tuple[int, FloatArray | InputError]]) -> Sequence[Features]:
        images = []
        for index, image in pixels:
            if isinstance(image, InputError):
                self.source.mark_unreadable(index, str(image))
            else:
                images.append(torch.from_numpy(image))
        if self.source.changed:
            self.cache.active = False  # the keys speak of files that are no longer there
        maps = self.extractor.raw(_stacked(images, self.extractor.device)) if images else torch.empty(0, 1, 1, 1)
        if self._store and self.cache.active:
            places = [place for place, index in enumerate(batch) if index in self.source.unreadable]
            self.cache.put("features", self.key(batch), {"maps": maps, "unreadable": places})
        return list(maps)

    def _room(self, maps: Sequence[Features]) -> bool:
        return sum(map(_held_bytes, self._held.values())) + _held_bytes(maps) <= HELD_BYTES


def _held_bytes(maps: Sequence[Features]) -> int:
    return sum(one.nbytes for one in maps if isinstance(one, Tensor))


def _stacked(images: Sequence[Tensor], device: torch.device) -> Tensor:
    """One batch on the device of the network. A GPU copies it from pinned memory while the decoders go on."""
    if device.type != "cuda":
        return torch.stack(list(images))
    buffer = torch.empty((len(images), *images[0].shape), pin_memory=True)
    return torch.stack(list(images), out=buffer).to(device, non_blocking=True)


def _is_entry(value: object, length: int) -> bool:
    """Whether a cache entry holds finite features of a batch of ``length`` images."""
    if not isinstance(value, dict) or set(value) != {"maps", "unreadable"}:
        return False
    maps, places = value["maps"], value["unreadable"]
    return (
        are_places(places, length)
        and isinstance(maps, Tensor)
        and maps.ndim == 4
        and len(maps) == length - len(places)
        and bool(maps.isfinite().all())
    )
