"""What the workers have answered, kept in the cache as it comes: a prediction that was killed goes on where it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from blemish.config.sections import Cache as CacheSettings
from blemish.images import Listing, Place
from blemish.images.finding.places import stamp
from blemish.model import FittedModel
from blemish.regions import Region
from blemish.results import Result
from blemish.runtime.cache import open_cache
from blemish.runtime.digests import digest, source_digest
from blemish.types import Skipped

KIND = "parts"
"""Kind of the entries in the cache."""


class Parts:
    """The results of batches of files, in the cache.

    A batch is known by the model, the code, and the names, sizes and times of its files. A batch with a file that cannot be
    read is not kept, because the file may be readable next time.

    Args:
        settings: of the cache; None keeps nothing.
        model: the model.
        how: what else decides the bits of a result, such as the device.
    """

    def __init__(self, settings: CacheSettings | None, model: FittedModel, *how: object) -> None:
        self._cache = open_cache(settings or CacheSettings(enabled=False), (Result, Region, Skipped))
        self._model = model
        self._stem = digest(KIND, source_digest(), model.digest, *how)

    def get(self, files: Listing) -> Result | None:
        """The result of a batch that is known, with all of its files readable; otherwise None."""
        key = self._key(files) if self._cache.active else None
        found = None if key is None else self._cache.get(KIND, key, lambda value: _is_part(value, files.names))
        return None if found is None else replace(found, type_names=self._model.type_names)

    def put(self, files: Listing, result: Result) -> None:
        """Keep the result of a batch, unless one of its files could not be read."""
        key = self._key(files) if self._cache.active and not result.skipped else None
        if key is not None:
            self._cache.put(KIND, key, replace(result, type_names={}, maps=list(result.maps), model=None))

    def report(self) -> dict[str, list[int]]:
        """As :meth:`blemish.runtime.cache.Cache.report`."""
        return self._cache.report()

    def _key(self, files: Listing) -> str | None:
        """The digest of what decides the result of a batch; None if a file tells nothing about its state."""
        stamps = [_stamp(place) for place in files.images]
        return None if None in stamps else digest(self._stem, files.names, stamps)


def _stamp(place: Place) -> Sequence[object] | None:
    try:
        return stamp(place)
    except OSError:
        return None


def _is_part(value: object, names: Sequence[str]) -> bool:
    """Whether an entry is a result of these files, with finite numbers."""
    if not isinstance(value, Result) or not {path.partition("#")[0] for path in value.paths} <= {
        name.partition("#")[0] for name in names
    }:
        return False
    n = len(value.paths)
    rows = (value.scores, value.descriptors, value.distances, value.labels, value.sizes)
    return all(len(one) == n and bool(np.isfinite(one).all()) for one in rows) and len(value.maps) == n
