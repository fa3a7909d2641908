"""The set cut into batches, always the same ones, and the feature maps of each: from memory, from the cache, or computed.

A network's result can differ in the last bit with the company that an image has in its batch. So the batches follow
from the set and the settings alone: whatever part of them a run finds in the cache, the rest comes out as it would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import groupby, islice

import torch
from torch import Tensor

from blemish.errors import InputError
from blemish.features.extractor import Extractor
from blemish.images import ImageSource
from blemish.runtime.cache import Cache
from blemish.runtime.digests import digest
from blemish.runtime.serialization import are_places
from blemish.types import FloatArray

Batch = tuple[int, ...]
"""Indices of images of one planned size, in ascending order."""

HELD_BYTES = 512 * 2**20
"""Features of the sampled images are kept in memory for the main pass up to this size; beyond it, computed again."""


def plan_batches(sizes: Sequence[tuple[int, int]], chosen: Iterable[int], batch_size: int) -> list[Batch]:
    """Batches of ``chosen`` images of one size each, at most ``batch_size`` long.

    >>> plan_batches([(32, 32), (48, 32), (32, 32), (32, 32)], range(4), 2)
    [(0, 2), (3,), (1,)]
    """
    ordered = sorted(chosen, key=lambda index: (sizes[index], index))
    groups = [list(group) for _, group in groupby(ordered, key=lambda index: sizes[index])]
    return [tuple(group[at : at + batch_size]) for group in groups for at in range(0, len(group), batch_size)]


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
        self._held: dict[Batch, Tensor] = {}

    def plan(self, chosen: Iterable[int]) -> list[Batch]:
        """Batches of some images of the set."""
        return plan_batches(self.source.target_sizes, chosen, self.extractor.settings.batch_size)

    def key(self, *batches: Batch) -> str:
        """Digest of what decides the features of some batches: place, content and size of every image, and the network."""
        return digest(self._stem, [[(index, self.source.fingerprint(index)) for index in batch] for batch in batches])

    def stream(
        self, batches: Sequence[Batch], *, hold: bool = False
    ) -> Iterator[tuple[Batch, list[tuple[int, Tensor]]]]:
        """Yield each batch with (index, C x h x w) of its readable images.

        Args:
            batches: in the order wanted. Decoding runs ahead of the network, across batches.
            hold: keep the features for the next time their batch is asked for, as far as ``HELD_BYTES`` reach.
        """
        fresh = {batch for batch in batches if batch not in self._held and not self._stored(batch)}
        with closing(self.source.stream([index for batch in batches if batch in fresh for index in batch])) as pixels:
            for batch in batches:
                maps = self._computed(batch, islice(pixels, len(batch))) if batch in fresh else self._recalled(batch)
                if hold and self._room(maps):
                    self._held[batch] = maps
                yield batch, list(zip(self.source.readable(batch), maps, strict=True))

    def _stored(self, batch: Batch) -> bool:
        return self._store and self.cache.has("features", self.key(batch))

    def _recalled(self, batch: Batch) -> Tensor:
        """From memory or from the cache; should the entry be gone or damaged by now, computed after all."""
        held = self._held.pop(batch, None)
        if held is not None:
            return held
        entry = self.cache.get("features", self.key(batch), lambda entry: _is_entry(entry, len(batch)))
        if entry is None or not self.source.confirm_unreadable(batch[place] for place in entry["unreadable"]):
            return self._computed(batch, self.source.stream(batch))
        return entry["maps"]

    def _computed(self, batch: Batch, pixels: Iterable[tuple[int, FloatArray | InputError]]) -> Tensor:
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
        return maps

    def _room(self, maps: Tensor) -> bool:
        return sum(one.nbytes for one in self._held.values()) + maps.nbytes <= HELD_BYTES


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
