from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.config.sections import Regions
from blemish.regions import RegionShape, binary_mask, extract_regions, principal_axes, region_mask

KEEP_ALL = Regions(min_cells=0, speck_fraction=0)


def painted(shapes: list[RegionShape], height: int, width: int) -> np.ndarray:
    """Number of the region of each pixel, from 1; a pixel of two regions fails."""
    out = np.zeros((height, width), int)
    for number, shape in enumerate(shapes, 1):
        window = out[shape.top : shape.top + shape.height, shape.left : shape.left + shape.width]
        inside = region_mask(shape)
        assert inside.any(0)[[0, -1]].all()
        assert inside.any(1)[[0, -1]].all()
        assert inside.sum() == shape.area
        assert not window[inside].any()
        window[inside] = number
    return out


def slow_groups(above: np.ndarray, distance: int) -> set[frozenset[tuple[int, int]]]:
    """Cells joined one by one as long as two of them are at most ``distance`` apart in rows and in columns."""
    left = {(int(r), int(c)) for r, c in np.argwhere(above)}
    found = set()
    while left:
        group, front = set(), [left.pop()]
        while front:
            cell = front.pop()
            group.add(cell)
            near = {other for other in left if max(abs(other[0] - cell[0]), abs(other[1] - cell[1])) <= distance}
            left -= near
            front += near
        found.add(frozenset(group))
    return found


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    join=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_regions_part_the_mask_by_groups_of_cells(
    shape: tuple[int, int], size: tuple[int, int], join: int, seed: int
) -> None:
    values = np.random.default_rng(seed).random(shape).astype(np.float32) ** 2
    shapes = extract_regions(values, 0.6, *size, KEEP_ALL.model_copy(update={"join_cells": join}))
    above = values > 0.6
    found = {frozenset((int(r), int(c)) for r, c in np.argwhere(one.cells)) for one in shapes}
    mask = binary_mask(values, 0.6, *size) > 0
    if size[0] >= shape[0] and size[1] >= shape[1]:
        assert found <= slow_groups(above, join + 1)
    covered = painted(shapes, *size) > 0
    assert bool(shapes) == above.any()
    assert not (mask & ~covered).any()
    if mask.any() and len(shapes) > 1:
        assert np.array_equal(mask, covered)
    assert sum(int(one.cells.sum()) for one in shapes) <= above.sum()
    assert [one.score for one in shapes] == sorted((one.score for one in shapes), reverse=True)
    for one in shapes:
        assert one.cells.any()
        assert not (one.cells & ~above).any()
        assert one.score == values[one.cells].max()


@pytest.mark.parametrize("threshold", [math.inf, -math.inf, math.nan, 1.0, 2.0])
def test_nothing_above_the_threshold_is_no_region(threshold: float) -> None:
    assert extract_regions(np.ones((4, 5), np.float32), threshold, 20, 30) == []


@pytest.mark.parametrize(("cells", "size"), [((1, 1), (1, 1)), ((4, 6), (50, 30)), ((40, 60), (5, 3))])
def test_a_constant_map_above_the_threshold_is_one_region(cells: tuple[int, int], size: tuple[int, int]) -> None:
    (one,) = extract_regions(np.ones(cells, np.float32), 0.0, *size)
    assert (one.left, one.top, one.width, one.height) == (0, 0, size[1], size[0])
    assert one.area == size[0] * size[1]
    assert one.cells.all()
    assert len(one.outlines[0]) == 4


def test_a_hole_is_a_ring_of_its_own_and_not_part_of_the_area() -> None:
    values = np.zeros((12, 14), np.float32)
    values[1:11, 2:12] = 1
    values[4:8, 5:9] = 0
    (one,) = extract_regions(values, 0.5, 96, 112)
    assert (len(one.outlines), len(one.holes)) == (1, 1)
    assert one.area == (binary_mask(values, 0.5, 96, 112) > 0).sum() < one.width * one.height - 500
    assert not region_mask(one)[48 - one.top, 56 - one.left]


def test_fragments_with_one_cell_between_them_are_one_region_with_two_outlines() -> None:
    values = np.zeros((9, 20), np.float32)
    values[3:5, [2, 3, 4, 6, 7, 8]] = 1
    values[3:5, 12:15] = 1
    assert [len(one.outlines) for one in extract_regions(values, 0.5, 72, 160)] == [2, 1]
    joined = extract_regions(values, 0.5, 72, 160, Regions(join_cells=3))
    assert [len(one.outlines) for one in joined] == [3]


def test_specks_are_small_and_weak_and_nothing_else_is_dropped() -> None:
    values = np.zeros((24, 24), np.float32)
    values[2:8, 2:8] = 1  # main
    values[2:4, 14] = 0.6  # small and weak
    values[14:16, 2] = 0.95  # small and strong
    values[14:20, 12:18] = 0.6  # large and weak
    scores = [one.score for one in extract_regions(values, 0.5, 192, 192, Regions(min_cells=0))]
    assert scores == pytest.approx([1, 0.95, 0.6])
    assert len(extract_regions(values, 0.5, 192, 192, KEEP_ALL)) == 4


def test_slivers_are_dropped_and_the_strongest_region_never() -> None:
    values = np.zeros((16, 16), np.float32)
    values[2:8, 2:8] = 0.8
    values[12, 12] = 0.52  # a single cell barely above: a few pixels of its 64
    assert len(extract_regions(values, 0.5, 128, 128, Regions(speck_fraction=0))) == 1
    values[12, 12] = 0.9
    values[2:8, 2:8] = 0.8
    large = Regions(min_cells=30, speck_fraction=0)
    assert [one.score for one in extract_regions(values, 0.5, 128, 128, large)] == pytest.approx([0.9, 0.8])


def test_a_region_between_the_pixels_is_the_pixels_of_its_strongest_cell() -> None:
    values = np.zeros((6, 6), np.float32)
    values[2, 3] = 0.51
    assert not binary_mask(values, 0.5, 12, 12).any()
    (one,) = extract_regions(values, 0.5, 12, 12)
    assert (one.left, one.top, one.width, one.height, one.area) == (6, 4, 2, 2, 4)


def test_regions_touch_the_border_without_leaving_the_image() -> None:
    values = np.zeros((8, 10), np.float32)
    values[0, :] = values[:, 9] = 1
    (one,) = extract_regions(values, 0.5, 37, 90)
    assert (one.left, one.top, one.left + one.width, one.top + one.height) == (0, 0, 90, 37)


def test_a_thin_scratch_in_a_long_image_keeps_its_place_and_direction() -> None:
    """A line 3 pixels wide in an image of 4000 x 300 whose map has 250 x 20 cells."""
    rows, columns = np.mgrid[0:250, 0:20]
    line = 2.0 + (rows - 60) * 0.1  # column, in cells; the image runs down while the scratch moves right
    values = np.where((abs(columns - line) < 0.8) & (rows >= 60) & (rows < 180), 1, 0).astype(np.float32)
    (one,) = extract_regions(values, 0.5, 4000, 300)
    assert abs(one.top - 960) <= 16
    assert abs(one.top + one.height - 2880) <= 16
    assert one.elongation > 20
    degrees = math.degrees(math.atan2(4000 / 250, 0.1 * 300 / 20))
    assert one.orientation == pytest.approx(-degrees, abs=1)


def test_flipping_the_map_flips_the_regions() -> None:
    values = np.random.default_rng(3).random((9, 7)).astype(np.float32) ** 3
    plain, flipped = (extract_regions(one, 0.4, 90, 70) for one in (values, values[:, ::-1]))
    assert [one.area for one in plain] == [one.area for one in flipped]
    assert [one.left for one in plain] == [70 - one.left - one.width for one in flipped]
    assert [one.elongation for one in plain] == pytest.approx([one.elongation for one in flipped])
    assert [one.orientation for one in plain] == pytest.approx([-one.orientation for one in flipped])


def test_large_images_are_measured_on_a_smaller_mask_with_the_same_scale() -> None:
    values = np.zeros((20, 30), np.float32)
    values[4:9, 6:21] = 1
    values[6, 10:12] = 0
    (whole,) = extract_regions(values, 0.5, 2000, 3000, KEEP_ALL)
    (small,) = extract_regions(values, 0.5, 2000, 3000, KEEP_ALL, max_pixels=60_000)
    assert [small.left, small.top, small.width, small.height] == pytest.approx(
        [whole.left, whole.top, whole.width, whole.height], abs=20
    )
    assert small.area == pytest.approx(whole.area, rel=0.02)
    assert (small.elongation, small.orientation) == pytest.approx((whole.elongation, whole.orientation), rel=0.02)
    assert region_mask(small).sum() == pytest.approx(small.area, rel=1e-3)
    assert len(small.holes) == 1


def test_an_image_of_20_000_pixels_a_side_stays_within_memory() -> None:
    values = np.zeros((256, 256), np.float32)
    values[100:110, 30:90] = 1
    (one,) = extract_regions(values, 0.5, 20_000, 20_000, max_pixels=2**20)
    assert (one.left, one.top) == pytest.approx((30 * 78.125, 100 * 78.125), abs=40)


@pytest.mark.parametrize(
    ("mask", "elongation", "orientation"),
    [
        (np.ones((1, 1), bool), 1, 0),
        (np.ones((1, 9), bool), 9, 0),
        (np.ones((9, 1), bool), 9, 90),
        (np.eye(50, dtype=bool), 50 * math.sqrt(2), -45),
        (np.eye(50, dtype=bool)[::-1], 50 * math.sqrt(2), 45),
    ],
)
def test_axes_of_simple_masks(mask: np.ndarray, elongation: float, orientation: float) -> None:
    found = principal_axes(mask)
    assert found[0] == pytest.approx(elongation, rel=0.3 if orientation % 90 else 1e-9)
    assert found[1] == pytest.approx(orientation)


def test_axes_agree_with_the_covariance_of_a_fine_grid() -> None:
    mask = np.random.default_rng(5).random((6, 9)) < 0.5
    fine = np.kron(mask, np.ones((40, 30)))  # a pixel of 4 x 3 units, ten points per unit
    y, x = np.nonzero(fine)
    short, long = np.linalg.eigvalsh(np.cov(np.stack([x, y]), bias=True))
    assert principal_axes(mask, 4, 3)[0] == pytest.approx(math.sqrt(long / short), rel=1e-3)
