"""The anomaly maps of a set, in memory while they are few, beyond that in a temporary file without a name."""

from __future__ import annotations

import logging
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, overload

import numpy as np

from blemish.results import FloatArray

HELD_BYTES = 64 * 2**20
"""Maps up to this much together stay in memory: some 7 000 of 48 x 48."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Filed:
    """Where a map stands in the file."""

    offset: int
    shape: tuple[int, ...]


Kept = FloatArray | Filed
"""A map, or where it is."""


@dataclass(eq=False)
class MapStore:
    """Takes maps and gives back what stands for them; :meth:`view` makes a sequence of maps of such. Thread-safe.

    The file lies in the system's folder for temporary files (``TMPDIR`` names another one) and vanishes with the last
    view of it, or with the process. Where it cannot be written, maps stay in memory and the log says so once.
    """

    held_bytes: int = field(default_factory=lambda: HELD_BYTES)
    _held: int = 0
    _file: IO[bytes] | None = None
    _end: int = 0
    _full: bool = False
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def keep(self, maps: Iterable[FloatArray]) -> list[Kept]:
        """What stands for each of these maps."""
        with self._lock:
            return [self._keep(np.ascontiguousarray(one, np.float32)) for one in maps]

    def view(self, kept: Sequence[Kept]) -> Maps:
        """These maps as a sequence, in this order."""
        return Maps(self, list(kept))

    def read(self, kept: Kept) -> FloatArray:
        """One map."""
        if not isinstance(kept, Filed):
            return kept
        assert self._file is not None
        values = np.empty(kept.shape, np.float32)
        with self._lock:
            self._file.seek(kept.offset)
            if self._file.readinto(values.reshape(-1).view(np.uint8).data) != values.nbytes:  # type: ignore[attr-defined]
                raise OSError("the temporary file of the anomaly maps was cut short by something else")
        return values

    def _keep(self, values: FloatArray) -> Kept:
        if self._full or self._held + values.nbytes <= self.held_bytes:
            self._held += values.nbytes
            return values
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="blemish-maps-", buffering=0)  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            self._file.seek(self._end)
            if self._file.write(values.reshape(-1).view(np.uint8).data) != values.nbytes:
                raise OSError("written only in part")
        except OSError as error:
            self._full = True
            _log.warning(
                "anomaly maps stay in memory, no temporary file could be written: %s (the environment variable TMPDIR names a folder)",
                error,
            )
            return values
        place = Filed(self._end, values.shape)
        self._end += values.nbytes
        return place


class Maps(Sequence[FloatArray]):
    """Anomaly maps of a set; those that lie in a file are read when they are asked for. A copy or pickle is a list."""

    def __init__(self, store: MapStore, kept: list[Kept]) -> None:
        self._store, self._kept = store, kept

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, place: int) -> FloatArray: ...

    @overload
    def __getitem__(self, place: slice) -> Maps: ...

    def __getitem__(self, place: int | slice) -> FloatArray | Maps:
        if isinstance(place, slice):
            return Maps(self._store, self._kept[place])
        return self._store.read(self._kept[place])

    def __iter__(self) -> Iterator[FloatArray]:
        return map(self._store.read, self._kept)

    def __reduce__(self) -> tuple[type[list[FloatArray]], tuple[list[FloatArray]]]:
        return list, (list(self),)
