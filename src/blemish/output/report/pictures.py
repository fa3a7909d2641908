"""The pictures of the report: for each image a thumbnail, its heat map, crops of its regions, and their outlines."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from blemish.images import Photo, resize
from blemish.output.overlays import contours, draw_heat, fit_within, to_bytes
from blemish.output.report.data import Look
from blemish.output.report.looks import measure_look
from blemish.regions import Region, upsample_map
from blemish.results import Result
from blemish.types import FloatArray

SIDE = 256
"""Longest side of a thumbnail in pixels."""

HEAT_SIDE = 96
"""Longest side of a heat map in pixels. Maps are smooth, and the browser enlarges them smoothly."""

CROP_SIDE = 192
"""Side of the picture of a region in pixels."""

MIN_CROP = 48
"""Smallest side of a crop in pixels of the image: a smaller one shows no surroundings."""

MARGIN = 1.6
"""Side of a crop, in units of the longer side of its region's box."""

MAX_CROPS = 3
"""Regions per image with a picture of their own, those with the highest scores."""

MAX_BYTES = 12_000
"""Size of one picture that is aimed at: JPEG quality falls until it is met, but not below 40."""

TOLERANCE = 0.7
"""Largest distance in pixels of the thumbnail by which an outline is simplified."""

Box = tuple[int, int, int, int]
"""Left, top, width and height in pixels of the image."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of one image, encoded, and what was measured on them.

    Attributes:
        width, height: of the thumbnail in pixels.
        photo: JPEG without outlines; None if the photograph could not be read.
        heat: PNG.
        crops: JPEG and box of each of the first regions; for an anomalous image without known regions one around the
            highest value of its map.
        outline: SVG path in pixels of the thumbnail; None where nothing is outlined.
        look: None where no pixel is anomalous.
    """

    width: int
    height: int
    photo: bytes | None
    heat: bytes
    crops: list[tuple[bytes, Box]] = field(default_factory=list)
    outline: str | None = None
    look: Look | None = None

    def files(self, i: int) -> dict[str, bytes]:
        """Content of each file of image ``i``, by its name."""
        named = {picture_name(i, "photo"): self.photo, picture_name(i, "heat"): self.heat}
        named |= {picture_name(i, "crop", k): data for k, (data, _) in enumerate(self.crops)}
        return {name: data for name, data in named.items() if data is not None}

    def without_content(self) -> Pictures:
        """The same with empty files, for when they are written: pictures of a large set do not fit into memory."""
        photo = None if self.photo is None else b""
        return replace(self, photo=photo, heat=b"", crops=[(b"", box) for _, box in self.crops])


def picture_name(i: int, kind: Literal["photo", "heat", "crop"], k: int = 0) -> str:
    """File of one picture. Names hold the row of the image and never its path, which can be any text.

    >>> picture_name(7, "crop", 1)
    '000007-1.jpg'
    """
    return f"{i:06d}" + {"photo": ".jpg", "heat": ".png", "crop": f"-{k}.jpg"}[kind]


def draw_pictures(
    result: Result, i: int, image: Photo | None, regions: Sequence[Region], scale: tuple[float, float]
) -> Pictures:
    """Pictures of image ``i``.

    Args:
        result: the result of a run.
        i: row of the image.
        image: float32 H x W x 3 in [0, 1], or by its stored values; None if it could not be read.
        regions: the regions of this image, the highest score first.
        scale: map values at the ends of the heat colors, the same for the whole set.

    Cost: some milliseconds, and resizing the image.
    """
    rows, columns = int(result.sizes[i][0]), int(result.sizes[i][1])
    height, width = fit_within(rows, columns, SIDE)
    values = np.asarray(result.maps[i])
    small = None if image is None else resize(image, height, width)
    large = upsample_map(values, height, width)
    outlined = int(result.groups[i]) != result.normal_label
    # the heat map needs the aspect of the picture, even where the map has to be stretched
    heat_height, heat_width = fit_within(rows * HEAT_SIDE, columns * HEAT_SIDE, HEAT_SIDE)
    boxes = _crop_boxes(large, result.threshold, regions, (rows, columns)) if outlined and image is not None else []
    return Pictures(
        width=width,
        height=height,
        photo=None if small is None else _jpeg(small),
        heat=_png(draw_heat(values, *scale, heat_height, heat_width)),
        crops=[(_crop(image, box), box) for box in boxes if image is not None],
        outline=_outline(large, regions, result.threshold, width / columns) if outlined else None,
        look=measure_look(large, result.threshold, small, regions, (rows, columns)) if outlined else None,
    )


def _crop_boxes(large: FloatArray, threshold: float, regions: Sequence[Region], size: tuple[int, int]) -> list[Box]:
    """Squares around the first regions, or around the part of the map with its highest value; within the image."""
    if regions:
        places = [(one.left, one.top, one.width, one.height) for one in regions[:MAX_CROPS]]
    else:
        across, down = size[1] / large.shape[1], size[0] / large.shape[0]
        left, top, width, height = _peak_box(large, threshold)
        places = [(round(left * across), round(top * down), round(width * across), round(height * down))]
    return [_square(x + w / 2, y + h / 2, MARGIN * max(w, h), size) for x, y, w, h in places]


def _peak_box(large: FloatArray, threshold: float) -> Box:
    """Box, in pixels of the map, of the connected part above the threshold that has the highest value."""
    from skimage.measure import label

    row, column = np.unravel_index(int(np.argmax(large)), large.shape)
    parts = label(large > threshold, connectivity=2)
    if not parts[row, column]:
        return int(column), int(row), 1, 1
    rows, columns = np.nonzero(parts == parts[row, column])
    left, top = int(columns.min()), int(rows.min())
    return left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top


def _square(x: float, y: float, side: float, size: tuple[int, int]) -> Box:
    height, width = size
    length = max(MIN_CROP, round(side))
    across, down = min(length, width), min(length, height)
    left = min(max(0, round(x - across / 2)), width - across)
    top = min(max(0, round(y - down / 2)), height - down)
    return left, top, across, down


def _crop(image: Photo, box: Box) -> bytes:
    left, top, width, height = box
    part = np.ascontiguousarray(image[top : top + height, left : left + width])
    factor = CROP_SIDE / max(width, height)
    return _jpeg(resize(part, max(1, round(height * factor)), max(1, round(width * factor))))


def _outline(large: FloatArray, regions: Sequence[Region], threshold: float, factor: float) -> str | None:
    """SVG path of all rings, in pixels of the thumbnail with one decimal."""
    if regions:
        rings = [ring * factor for one in regions for ring in (*one.outlines, *one.holes)]
    else:
        rings = [line[:, ::-1] + 0.5 for line in contours(large, threshold)]
    return "".join(_path(ring) for ring in rings if len(ring) > 2) or None


def _path(ring: npt.NDArray[np.float64]) -> str:
    from skimage.measure import approximate_polygon

    kept = approximate_polygon(np.concatenate([ring, ring[:1]]), TOLERANCE)[:-1]
    points = [f"{x:.1f} {y:.1f}".replace(".0", "") for x, y in (kept if len(kept) > 2 else ring)]
    return "M" + "L".join(points) + "Z"


def _jpeg(image: FloatArray) -> bytes:
    """JPEG at the best of four qualities that stays within ``MAX_BYTES``."""
    picture, data = Image.fromarray(to_bytes(image)), b""
    for quality in (82, 68, 54, 40):
        stream = io.BytesIO()
        picture.save(stream, format="JPEG", quality=quality, optimize=True)
        data = stream.getvalue()
        if len(data) <= MAX_BYTES:
            break
    return data


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
