"""The anomaly maps of a results folder, read one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from blemish.errors import InputError
from blemish.output.claims import short
from blemish.output.names import evaluation_prefix, file_stems
from blemish.types import FloatArray

MAX_MAP_CELLS = 2**29
"""Cells up to which a map is read: more than the largest image that can be decoded by default."""


class StoredMaps(Sequence[FloatArray]):
    """Maps as a sequence, in the order of the images; each access reads a file.

    Raises :class:`InputError` on access if the maps were not written, or if a file is missing, damaged or not a map.

    Args:
        root: the results folder.
        paths: names of the images.
        source: the input folder, as ``run.json`` has it.
    """

    def __init__(self, root: Path, paths: Sequence[str], source: str | None) -> None:
        self._root, self._stems, self._folder, self._prefix = root, file_stems(paths), "maps", ""
        if (root / "anomaly_maps").is_dir() and not (root / "maps").is_dir():
            self._folder, self._prefix = "anomaly_maps", evaluation_prefix(source, paths)

    def __len__(self) -> int:
        return len(self._stems)

    @overload
    def __getitem__(self, index: int) -> FloatArray: ...
    @overload
    def __getitem__(self, index: slice) -> list[FloatArray]: ...
    def __getitem__(self, index: int | slice) -> FloatArray | list[FloatArray]:
        if isinstance(index, slice):
            return [self._read(stem) for stem in self._stems[index]]
        return self._read(self._stems[index])

    def __iter__(self) -> Iterator[FloatArray]:
        return map(self._read, self._stems)

    def _read(self, stem: str) -> FloatArray:
        path = self._root / self._folder / f"{self._prefix}{stem}.tiff"
        if not path.parent.is_dir() and not (self._root / self._folder).is_dir():
            raise InputError(f"{short(self._root)}: has no anomaly maps; run again with --maps feature")
        if path.is_symlink() or not path.is_file():
            raise InputError(f"{short(path)}: is missing; run again to write all results")
        return _read_map(path)


def _read_map(path: Path) -> FloatArray:
    """One map; InputError if the file is not a finite float32 picture of reasonable size."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            if len(page.shape) != 2 or page.dtype != np.float32 or not 0 < page.size <= MAX_MAP_CELLS:
                raise ValueError("not a map")
            values: FloatArray = page.asarray()
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise InputError(f"{short(path)}: is not an anomaly map or damaged; run again to write all results") from error
    if not np.isfinite(values).all():
        raise InputError(f"{short(path)}: holds NaN or infinite values; run again to write all results")
    return values
