"""What every format exports: the regions of each image, and the names of the types."""

from __future__ import annotations

import dataclasses
import functools
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blemish.errors import InputError
from blemish.export.photos import Photos
from blemish.output.claims import short
from blemish.output.names import file_stems
from blemish.output.tables import unicode_text
from blemish.regions import Region, fill_rings, principal_axes, trace_outlines
from blemish.results import UNSORTED, Result
from blemish.runtime.files import read_regular
from blemish.types import BoolArray

_MAX_MASK_BYTES = 2**31


@dataclass(frozen=True)
class Content:
    """A result as it is exported.

    Attributes:
        result: it has the regions of its anomalous images.
        photos: the image files.
    """

    result: Result
    photos: Photos

    @functools.cached_property
    def regions(self) -> list[list[Region]]:
        """The regions of each image."""
        found: list[list[Region]] = [[] for _ in self.result.paths]
        for region in self.result.regions:
            found[region.image].append(region)
        return found

    @functools.cached_property
    def types(self) -> dict[int, str]:
        """Label -> name of every type, in the order of outputs. The names differ, and are valid Unicode."""
        labels = {int(group) for group in self.result.groups} | {self.type_of(one) for one in self.result.regions}
        names: dict[int, str] = {}
        for label in sorted(labels - {self.result.normal_label}, key=lambda label: (label < 0, label)):
            names[label] = distinct(unicode_text(self.result.cluster_name(label)), names.values())
        return names

    def type_of(self, region: Region) -> int:
        """Label of the type of a region; a region that lies closest to the normal group is unsorted."""
        return UNSORTED if region.label == self.result.normal_label else region.label

    def group(self, i: int) -> int | None:
        """Label of the type of image ``i``; None for the normal group."""
        label = int(self.result.groups[i])
        return None if label == self.result.normal_label else label

    def mask(self, i: int) -> BoolArray:
        """The pixels of the regions of image ``i``, bool height x width."""
        height, width = (int(side) for side in self.result.sizes[i])
        mask = np.zeros((height, width), bool)
        for one in self.regions[i]:
            window = mask[one.top : one.top + one.height, one.left : one.left + one.width]
            window |= fill_rings((*one.outlines, *one.holes), one.left, one.top, one.width, one.height)
        return mask

    @functools.cached_property
    def flat_stems(self) -> list[str]:
        """A name without folders and suffix for each image, distinct, printable and valid Unicode."""
        return file_stems([portable(path) for path in self.result.paths])


def portable(path: str, default: str = "image") -> str:
    """A path as one name that every file system and every program reads: no folders, no odd characters, not hidden.

    A path of which nothing is left becomes ``default``.

    >>> portable("../cut/a:b 表面?.png")
    '__cut__a_b 表面_.png'
    """
    kept = ("_" if not c.isprintable() or c in '<>:"|?*' + chr(92) else c for c in path)
    return unicodedata.normalize("NFC", "".join(kept)).replace("/", "__").lstrip(". ").rstrip() or default


def distinct(name: str, taken: Collection[str]) -> str:
    """The name, or the name with the first number that makes it another one."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free


def folder_names(names: Sequence[str], reserved: Sequence[str] = ()) -> list[str]:
    """Names of types as names of folders: distinct, without separators, not among the reserved ones."""
    taken = {one.casefold() for one in reserved}
    found: list[str] = []
    for name in names:
        plain = portable(name[:80], "type").rstrip(" .")
        number, free = 1, plain
        while free.casefold() in taken:
            number += 1
            free = f"{plain}~{number}"
        taken.add(free.casefold())
        found.append(free)
    return found


def with_mask_regions(result: Result, root: Path) -> Result:
    """The same result with the connected parts of the masks as regions, for results that have none.

    The regions of an image get the image's type and score.

    Args:
        result: a result that :func:`blemish.output.load_result` has read.
        root: its folder.

    Raises:
        InputError: a mask is missing, damaged, or of another size than the image.
    """
    regions: list[Region] = []
    for i, stem in enumerate(file_stems(result.paths)):
        if result.is_anomalous[i]:
            mask = _read_mask(root / "masks" / f"{stem}.png", *(int(side) for side in result.sizes[i]))
            regions += mask_regions(mask, i, int(result.groups[i]), float(result.scores[i]))
    return dataclasses.replace(result, regions=regions)


def mask_regions(mask: BoolArray, image: int, label: int, score: float) -> list[Region]:
    """The connected parts (8-connected) of a mask, the largest first."""
    from scipy.ndimage import find_objects
    from scipy.ndimage import label as label_parts

    parts, _ = label_parts(mask, np.ones((3, 3), bool))
    found = []
    for number, (rows, columns) in enumerate(find_objects(parts), 1):
        inside = parts[rows, columns] == number
        outlines, holes = trace_outlines(inside, columns.start, rows.start)
        elongation, orientation = principal_axes(inside)
        box = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        area = int(np.count_nonzero(inside))
        found.append(
            Region(image, *box, tuple(outlines), tuple(holes), area, elongation, orientation, None, score, label)
        )
    return sorted(found, key=lambda one: -one.area)


def _read_mask(path: Path, height: int, width: int) -> BoolArray:
    import imagecodecs

    try:
        content = read_regular(path, _MAX_MASK_BYTES, follow=False)
    except OSError as error:
        raise InputError(f"{short(path)}: cannot be read ({error.strerror}); run again to write all results") from None
    # the header is checked before anything is decoded: width and height are bytes 16 to 24 of a PNG file
    size = (int.from_bytes(content[20:24], "big"), int.from_bytes(content[16:20], "big"))
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or size != (height, width):
        raise InputError(f"{short(path)}: is not the mask of an image of {width} x {height} pixels; run again")
    try:
        values = imagecodecs.png_decode(content)
    except Exception as error:  # the decoder has errors of its own
        raise InputError(f"{short(path)}: is damaged; run again to write all results") from error
    return np.asarray(values).reshape(height, width, -1)[..., 0] > 127
