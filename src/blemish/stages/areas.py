"""The constant borders of a set in the cache, so that a run with cached results need not decode images for them."""

from __future__ import annotations

from blemish.entries import AREAS, is_area_state
from blemish.images import ImageSource
from blemish.runtime.cache import Cache
from blemish.runtime.digests import digest, source_digest


def recall_areas(source: ImageSource, cache: Cache) -> None:
    """Take over what an earlier run found in the same images."""
    if cache.active and source.area.seeks_borders:
        shape = source.area.state.shape
        found = cache.get(AREAS, _key(source), lambda value: is_area_state(value, shape))
        if found is not None:
            source.area.recall(found)


def store_areas(source: ImageSource, cache: Cache) -> None:
    """Store what this run has found, unless it is stored already."""
    if cache.active and source.area.seeks_borders and not cache.found[AREAS]:
        cache.put(AREAS, _key(source), source.area.state)


def _key(source: ImageSource) -> str:
    return digest("areas", source_digest(), [source.content(index) for index in range(len(source))])
