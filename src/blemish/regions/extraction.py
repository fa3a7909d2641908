"""Anomalous regions of one map: the connected parts of its mask, without specks and slivers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from blemish.config.sections import Regions
from blemish.regions.masks import upsample_map
from blemish.regions.outlines import Ring, trace_outlines
from blemish.regions.shape import RegionShape, principal_axes
from blemish.regions.valleys import basins
from blemish.types import BoolArray, FloatArray, IntArray

MAX_MASK_PIXELS = 2**24
"""Pixels up to which masks are drawn in full. Larger images are measured at this size, and lengths are scaled back."""

_NEIGHBORS = np.ones((3, 3), bool)


def extract_regions(
    values: FloatArray,
    threshold: float,
    height: int,
    width: int,
    settings: Regions | None = None,
    *,
    max_pixels: int = MAX_MASK_PIXELS,
) -> list[RegionShape]:
    """The anomalous regions of an image, from its map.

    The pixels of a region are those of :func:`blemish.regions.binary_mask`, so an outline is the edge of the mask that
    users see. Cells above the threshold with at most ``settings.join_cells`` cells between them belong to one region, and
    so do the pixels that are interpolated from them.

    Args:
        values: anomaly map, float32 h x w, finite, as in ``Result.maps``.
        threshold: regions lie above it, in units of the map.
        height: rows of the image.
        width: columns of the image.
        settings: what is joined and what is dropped; default ``Regions()``.
        max_pixels: an image with more pixels is measured on a mask of about this many, which keeps memory below 30 bytes
            per pixel of the mask. Boxes and outlines are then exact to a pixel of that mask.

    Returns:
        The regions, the highest score first; equal scores from the top left. The list is empty where no cell exceeds the
        threshold. Otherwise it has the strongest region, even if its mask falls between the pixels of the image; it then
        is the pixels of its strongest cell.

    Cost: some passes over the mask, and time for each region in proportion to its box.
    """
    from scipy.ndimage import find_objects

    settings = settings or Regions()
    values = np.asarray(values, np.float32)
    above = values > threshold
    if not (above.any() and math.isfinite(threshold)):
        return []
    grid = _grid(values, height, width, max_pixels)
    groups, count = _grouped(above, max(settings.join_cells + 1, grid.reach))
    mask = upsample_map(values, *grid.size) > threshold
    peaks = _peaks(values, groups, count)
    kept = _without_specks(peaks, threshold, groups, settings.speck_fraction)
    territory = _spread(groups, grid.spread)
    boxes = find_objects(territory)
    shapes: list[RegionShape] = []
    for group in kept:
        places = np.flatnonzero(groups == group)
        found = _pixels(mask, territory, group, boxes[group - 1], grid, settings.min_cells, keep=not shapes)
        if found is None and not shapes:
            found = grid.pixels_of_cell(int(places[np.argmax(values.flat[places])]))
        if found is not None:
            shapes.append(_measured(*found, grid, float(peaks[group - 1]), places))
    return shapes


def region_parts(
    shapes: Sequence[RegionShape],
    values: FloatArray,
    detail: FloatArray,
    threshold: float,
    height: int,
    width: int,
    settings: Regions,
    *,
    max_pixels: int = MAX_MASK_PIXELS,
) -> list[list[RegionShape]]:
    """The parts of each region that may be defects of their own, because valleys of the map separate them.

    Args:
        shapes: the regions of one image, see :func:`extract_regions`.
        values, threshold, height, width, max_pixels: as given there.
        detail: h x w float32, the map before median filling, which also fills valleys.
        settings: ``split_depth``, how deep a valley must be; ``speck_fraction`` and ``min_cells``, which parts are too small
            or too weak to be defects.

    Returns:
        For each region at least two parts, the highest score first, which share its pixels; none if it has no parts.

    Cost: some microseconds per cell of the regions; where one has parts, some passes over the mask.
    """
    grid = _grid(values, height, width, max_pixels)
    mask: BoolArray | None = None
    found: list[list[RegionShape]] = []
    for shape in shapes:
        territory, kept = _territories(shape, detail, threshold, settings, grid.spread)
        if kept and mask is None:
            mask = upsample_map(values, *grid.size) > threshold
        parts = [
            _part(mask, territory, shape, part, values, grid, settings.min_cells) for part in kept if mask is not None
        ]
        known = sorted((one for one in parts if one is not None), key=lambda one: -one.score)
        found.append(known if len(known) > 1 else [])
    return found


def _territories(
    shape: RegionShape, detail: FloatArray, threshold: float, settings: Regions, spread: int
) -> tuple[IntArray, list[int]]:
    """The number of the part that each cell in and around a region belongs to, and the numbers of at least two parts."""
    whole = np.zeros(shape.map_size, np.int64)
    if settings.split_depth is None:
        return whole, []
    window = tuple(
        slice(max(0, int(places.min()) - spread), int(places.max()) + 1 + spread)
        for places in np.unravel_index(shape.places, shape.map_size)
    )
    cells, values = shape.cells[window], np.asarray(detail[window], np.float32)
    numbers = basins(values, cells, threshold, settings.split_depth)
    peaks = _peaks(values, numbers, int(numbers.max()))
    kept = list(_without_specks(peaks, threshold, numbers, settings.speck_fraction))
    if len(kept) > 1:
        whole[window] = np.where(_spread(cells, spread), _nearest(numbers, kept), 0)
    return whole, kept if len(kept) > 1 else []


def _part(
    mask: BoolArray,
    territory: IntArray,
    shape: RegionShape,
    part: int,
    values: FloatArray,
    grid: _Grid,
    min_cells: float,
) -> RegionShape | None:
    """One part of a region; None if nothing but slivers is left of it."""
    from scipy.ndimage import find_objects

    box = find_objects((territory == part).astype(np.int8))[0]
    found = _pixels(mask, territory, part, box, grid, min_cells, keep=False)
    places = shape.places[territory.flat[shape.places] == part]
    return None if found is None else _measured(*found, grid, float(values.flat[places].max()), places)


def _nearest(numbers: IntArray, kept: list[int]) -> IntArray:
    """For each cell the number of the nearest cell whose number is one of some."""
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(~np.isin(numbers, kept), return_distances=False, return_indices=True)
    return numbers[rows, columns]


def _grid(values: FloatArray, height: int, width: int, max_pixels: int) -> _Grid:
    """The grid of a map over an image, with a mask of at most about that many pixels."""
    shrink = math.sqrt(min(1.0, max_pixels / (height * width)))
    return _Grid(values.shape, (max(1, round(height * shrink)), max(1, round(width * shrink))), (height, width))


class _Grid:
    """How the cells of a map, the pixels of its mask and the pixels of the image lie over each other.

    Attributes:
        size: height and width of the mask.
        spread: a pixel of the mask is interpolated from cells at most this far from the cell below it.
        reach: groups of cells that are more than this far apart share no pixel and do not touch.
    """

    def __init__(self, cells: tuple[int, ...], size: tuple[int, int], image: tuple[int, int]) -> None:
        self.cells, self.size = cells, size
        self.scale = image[0] / size[0], image[1] / size[1]
        self.spread = max(1, *(math.ceil(count / side) for count, side in zip(cells, size, strict=True)))
        self.reach = 2 if self.spread == 1 else 3 * self.spread
        self._below = [
            np.minimum((np.arange(s) + 0.5) * n / s, n - 1).astype(int) for s, n in zip(size, cells, strict=True)
        ]

    @property
    def cell_area(self) -> float:
        """Pixels of the mask per cell."""
        return math.prod(self.size) / math.prod(self.cells)

    def window(self, first: int, stop: int, axis: int) -> slice:
        """The pixels of the mask over a range of cells."""
        return slice(*np.searchsorted(self._below[axis], (first, stop)).tolist())

    def enlarged(self, cells: IntArray, rows: slice, columns: slice) -> IntArray:
        """For each pixel in a window of the mask, the value of the cell below it."""
        return cells[np.ix_(self._below[0][rows], self._below[1][columns])]

    def pixels_of_cell(self, cell: int) -> tuple[BoolArray, int, int]:
        """The pixels of one cell, at least one, with the row and the column of the first one."""
        bounds = []
        for place, count, side in zip(np.unravel_index(cell, self.cells), self.cells, self.size, strict=True):
            first = min(int(place) * side // count, side - 1)
            bounds.append((first, max(first + 1, -(-(int(place) + 1) * side // count))))
        (top, bottom), (left, right) = bounds
        return np.ones((bottom - top, right - left), bool), top, left


def _grouped(above: BoolArray, distance: int) -> tuple[IntArray, int]:
    """Number of the group of each cell, 1 and up, and the number of groups; 0 where a cell is not above the threshold.

    Cells whose row and column differ by at most ``distance`` belong to one group: squares of that side, one per cell,
    overlap or touch exactly then.
    """
    from scipy.ndimage import label, maximum_filter

    groups, count = label(maximum_filter(above, size=distance), _NEIGHBORS)
    return np.where(above, groups, 0), int(count)


def _spread(groups: IntArray | BoolArray, spread: int) -> IntArray:
    """The number of the group within ``spread`` cells of each cell; groups are too far apart to meet."""
    from scipy.ndimage import maximum_filter

    return maximum_filter(groups, size=2 * spread + 1)


def _peaks(values: FloatArray, groups: IntArray, count: int) -> FloatArray:
    """The highest value of each group, from group 1 on."""
    from scipy.ndimage import maximum

    return np.asarray(maximum(values, groups, np.arange(1, count + 1)))


def _without_specks(peaks: FloatArray, threshold: float, groups: IntArray, fraction: float) -> Iterator[int]:
    """The groups, strongest first, that are not far smaller than the largest and far weaker than the strongest one."""
    sizes = np.bincount(groups.ravel(), minlength=len(peaks) + 1)
    largest = sizes[1:].max()
    strongest = float(peaks.max()) - threshold
    for group in (1 + np.argsort(-peaks, kind="stable")).tolist():
        excess = float(peaks[group - 1]) - threshold
        if sizes[group] >= fraction * largest or excess >= fraction * strongest:
            yield group


def _pixels(
    mask: BoolArray,
    territory: IntArray,
    group: int,
    box: tuple[slice, slice],
    grid: _Grid,
    min_cells: float,
    keep: bool,
) -> tuple[BoolArray, int, int] | None:
    """The pixels of a group in the smallest window, without slivers, and the window's first row and column.

    Pieces smaller than ``min_cells`` are dropped, but for the largest one if the group is to be kept. None if nothing is
    left.
    """
    from scipy.ndimage import find_objects, label

    rows, columns = (grid.window(side.start, side.stop, axis) for axis, side in enumerate(box))
    member = mask[rows, columns] & (grid.enlarged(territory, rows, columns) == group)
    pieces, _ = label(member, _NEIGHBORS)
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    large = areas >= min_cells * grid.cell_area
    large[0] = False
    if keep and areas.any():
        large[int(np.argmax(areas))] = True
    if not large.any():
        return None
    member = large[pieces]
    inner_rows, inner_columns = find_objects(member.astype(np.int8))[0]
    return member[inner_rows, inner_columns], rows.start + inner_rows.start, columns.start + inner_columns.start


def _measured(pixels: BoolArray, top: int, left: int, grid: _Grid, score: float, places: IntArray) -> RegionShape:
    """The region of these pixels of the mask, in pixels of the image."""
    tall, wide = grid.scale
    elongation, orientation = principal_axes(pixels, tall, wide)
    outlines, holes = trace_outlines(pixels, left, top)
    x0, y0 = math.floor(left * wide + 1e-6), math.floor(top * tall + 1e-6)
    x1, y1 = math.ceil((left + pixels.shape[1]) * wide - 1e-6), math.ceil((top + pixels.shape[0]) * tall - 1e-6)
    return RegionShape(
        left=x0,
        top=y0,
        width=x1 - x0,
        height=y1 - y0,
        outlines=_scaled(outlines, wide, tall),
        holes=_scaled(holes, wide, tall),
        area=max(1, round(int(np.count_nonzero(pixels)) * tall * wide)),
        elongation=elongation,
        orientation=orientation,
        score=score,
        places=places,
        map_size=(grid.cells[0], grid.cells[1]),
    )


def _scaled(rings: list[Ring], wide: float, tall: float) -> tuple[Ring, ...]:
    scale: npt.NDArray[np.float64] = np.array([wide, tall])
    return tuple(ring * scale for ring in rings)
