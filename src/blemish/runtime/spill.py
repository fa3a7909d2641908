"""Arrays of a set, such as its anomaly maps: in memory up to a limit, beyond it in a temporary file without a name."""

from __future__ import annotations

import logging
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Protocol, overload

import numpy as np
import numpy.typing as npt

HELD_BYTES = 64 * 2**20
"""Bytes of arrays that stay in memory: some 7 000 maps of 48 x 48."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileSlot:
    """Place of an array in the file.

    Attributes:
        offset: first byte.
        shape: shape of the array.
    """

    offset: int
    shape: tuple[int, ...]


Stored = npt.NDArray[Any] | FileSlot
"""An array in memory, or its place in the file."""


@dataclass(eq=False)
class ArrayStore:
    """Store of arrays of one type: :meth:`add` returns a handle for each, and :meth:`view` makes a sequence of handles.

    The file lies in the system's folder for temporary files (``TMPDIR`` names another one) and vanishes with the last
    view of it, or with the process. If it cannot be written, arrays stay in memory and the log says so once. The store is
    thread-safe.

    Attributes:
        held_bytes: bytes of arrays that stay in memory.
        dtype: type that arrays are converted to.
        what: name of the arrays in messages.
    """

    held_bytes: int = field(default_factory=lambda: HELD_BYTES)
    dtype: npt.DTypeLike = np.float32
    what: str = "anomaly maps"
    _held: int = 0
    _file: IO[bytes] | None = None
    _end: int = 0
    _full: bool = False
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def add(self, arrays: Iterable[npt.NDArray[Any]]) -> list[Stored]:
        """Store these arrays; the result has one handle for each."""
        with self._lock:
            return [self._add(np.ascontiguousarray(one, self.dtype)) for one in arrays]

    def view(self, stored: Sequence[Stored]) -> Arrays:
        """The arrays behind these handles as a sequence, in this order."""
        return Arrays(self, stored)

    def read(self, stored: Stored) -> npt.NDArray[Any]:
        """The array behind a handle.

        Raises:
            OSError: another program has truncated the file.
        """
        if not isinstance(stored, FileSlot):
            return stored
        assert self._file is not None
        values = np.empty(stored.shape, self.dtype)
        with self._lock:
            self._file.seek(stored.offset)
            if self._file.readinto(values.reshape(-1).view(np.uint8).data) != values.nbytes:  # type: ignore[attr-defined]
                raise OSError(f"another program has truncated the temporary file of the {self.what}")
        return values

    def _add(self, values: npt.NDArray[Any]) -> Stored:
        """Store one array; the lock is held."""
        if self._full or self._held + values.nbytes <= self.held_bytes:
            self._held += values.nbytes
            return values
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="blemish-", buffering=0)  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            self._file.seek(self._end)
            if self._file.write(values.reshape(-1).view(np.uint8).data) != values.nbytes:
                raise OSError("it was written only in part")
        except OSError as error:
            self._full = True
            _log.warning(
                "%s stay in memory because no temporary file could be written: %s (set the environment variable TMPDIR to another folder)",
                self.what,
                error,
            )
            return values
        place = FileSlot(self._end, values.shape)
        self._end += values.nbytes
        return place


class Reader(Protocol):
    """Reads arrays by their places."""

    def read(self, place: Any, /) -> npt.NDArray[Any]:
        """The array at a place."""


class Arrays(Sequence[npt.NDArray[Any]]):
    """Arrays that are read when they are used, as a sequence of their places. Copies and pickles are lists.

    Args:
        reader: reads an array by its place, such as an :class:`ArrayStore` by its handles.
        places: of the arrays, in order.
    """

    def __init__(self, reader: Reader, places: Sequence[Any]) -> None:
        self._reader, self._places = reader, list(places)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> npt.NDArray[Any]: ...

    @overload
    def __getitem__(self, place: slice) -> Arrays: ...

    def __getitem__(self, place: int | slice) -> npt.NDArray[Any] | Arrays:
        if isinstance(place, slice):
            return Arrays(self._reader, self._places[place])
        return self._reader.read(self._places[place])

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return map(self._reader.read, self._places)

    def take(self, order: Iterable[int]) -> Arrays:
        """These arrays in another order, without reading them."""
        return Arrays(self._reader, [self._places[place] for place in order])

    def __reduce__(self) -> tuple[type[list[npt.NDArray[Any]]], tuple[list[npt.NDArray[Any]]]]:
        return list, (list(self),)
