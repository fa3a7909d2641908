"""The image files behind a result: found again, checked, and placed into an export."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

import numpy as np

from blemish.errors import InputError
from blemish.export.folder import ExportFolder
from blemish.images import Place, Url, decode, folder_of, locate, probe
from blemish.images.decoding.decoders import read_raw
from blemish.images.finding.places import name_of, open_place
from blemish.output import to_bytes
from blemish.output.claims import short
from blemish.results import Result
from blemish.types import Skipped


class Photos:
    """The files of the images of a result.

    Args:
        result: the result.
        folder: what the paths of the images are relative to; None takes what the run named.
        link: whether exports get hard links in place of copies.

    Attributes:
        missing: image -> reason, of those that were asked for and cannot be exported.
    """

    def __init__(self, result: Result, folder: Path | Url | None = None, link: bool = False) -> None:
        self._result, self._link = result, link
        self._folder = folder if folder is not None else folder_of(result.source or ".")
        self.missing: dict[int, str] = {}

    def usable(self, i: int) -> Place | None:
        """The place of image ``i``; None, and an entry in :attr:`missing`, if it is not what the run saw."""
        try:
            path = locate(self._result.paths[i], self._folder)
            if isinstance(path, Path) and not path.is_file():
                raise InputError(f"{short(str(path))}: is not a file; give the folder of the images with --images")
            info = probe(path)
            if (info.height, info.width) != tuple(self._result.sizes[i]):
                raise InputError(f"{short(str(path))}: has changed since the run read it; run again")
        except (InputError, ValueError) as error:
            self.missing[i] = str(error)
            return None
        return path

    def copy(self, folder: ExportFolder, stem: str, path: Place) -> str:
        """Put a file into an export as it is; returns its path there, the stem with the suffix of the file."""
        _, dot, suffix = PurePosixPath(name_of(path)).name.rpartition(".")  # also of a file that is named .png
        name = f"{stem}{dot}{suffix}" if dot else stem
        if isinstance(path, Path):
            folder.place(name, path, self._link)
        else:
            with open_place(path) as content:
                folder.write(name, lambda stream: shutil.copyfileobj(content, stream, 2**20))
        return name

    def place(self, folder: ExportFolder, stem: str, path: Place) -> str:
        """Put an image into an export, as it is or upright.

        A file that its orientation tag turns is written upright, as PNG without loss: programs that ignore the tag then
        see the same picture, and the same outlines on it, as programs that apply it.

        Args:
            folder: the export.
            stem: path in the export, without suffix.
            path: the place that :meth:`usable` found.

        Returns:
            The path in the export.
        """
        if _orientation(path) == 1:
            return self.copy(folder, stem, path)
        values = read_raw(path).values
        if values.dtype not in (np.uint8, np.uint16):
            values = to_bytes(decode(path))
        import imagecodecs

        name = f"{stem}.png"
        folder.write_bytes(name, imagecodecs.png_encode(np.ascontiguousarray(values)))
        return name

    def skipped(self) -> list[Skipped]:
        """The images that could not be exported, in the order of the result."""
        return [Skipped(self._result.paths[i], reason) for i, reason in sorted(self.missing.items())]


def _orientation(path: Place) -> int:
    """The EXIF or TIFF orientation, 1..8; 1 where there is none."""
    from PIL import Image

    try:
        with open_place(path) as content, Image.open(content) as image:
            return int(image.getexif().get(0x0112, 1))
    except Exception:  # what the decoders of this package read and Pillow does not has no such tag
        return 1
