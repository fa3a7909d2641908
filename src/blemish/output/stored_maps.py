"""The anomaly maps of a results folder, read one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blemish.errors import InputError
from blemish.output.claims import short
from blemish.output.names import evaluation_prefix, file_stems
from blemish.runtime.spill import Arrays
from blemish.types import FloatArray

MAX_MAP_CELLS = 2**29
"""Cells up to which a map is read: more than the largest image that can be decoded by default."""


def stored_maps(root: Path, paths: Sequence[str], source: str | None) -> Arrays:
    """The maps of a results folder, in the order of the images; each access reads a file.

    Access raises :class:`InputError` if the maps were not written, or if a file is missing, damaged or not a map.

    Args:
        root: the results folder.
        paths: names of the images.
        source: the input folder, as ``run.json`` has it.
    """
    if (root / "anomaly_maps").is_dir() and not (root / "maps").is_dir():
        prefix = evaluation_prefix(source, paths)
        return Arrays(_MapFolder(root, "anomaly_maps"), [prefix + stem for stem in file_stems(paths)])
    return Arrays(_MapFolder(root, "maps"), file_stems(paths))


@dataclass(frozen=True)
class _MapFolder:
    """Reads maps by the stems of their files."""

    root: Path
    folder: str

    def read(self, stem: str, /) -> FloatArray:
        path = self.root / self.folder / f"{stem}.tiff"
        if not path.parent.is_dir() and not (self.root / self.folder).is_dir():
            raise InputError(f"{short(self.root)}: has no anomaly maps; run again with --maps feature")
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
