from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from blemish.config.sections import Regions
from blemish.regions import extract_regions, region_mask, region_parts
from blemish.regions.valleys import basins


def hills(*tops: tuple[int, int, float], shape: tuple[int, int] = (20, 30)) -> np.ndarray:
    """A map with round hills of some heights; between two of them it falls off."""
    rows, columns = np.indices(shape)
    heights = [top * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18) for row, column, top in tops]
    return np.max(heights, axis=0).astype(np.float32)


def test_each_hill_is_a_part_and_the_highest_comes_first() -> None:
    values = hills((10, 8, 2.0), (10, 20, 3.0))
    found = basins(values, values > 0.2, 0.2, 0.6)
    assert found[10, 20] == 1
    assert found[10, 8] == 2
    assert np.array_equal(found > 0, values > 0.2)


@pytest.mark.parametrize(("depth", "parts"), [(0.3, 2), (0.9, 1)])
def test_a_shallow_valley_separates_nothing_if_a_deep_one_is_asked_for(depth: float, parts: int) -> None:
    values = hills((10, 10, 2.0), (10, 19, 2.0))
    valley = (2.0 - values[10, 14]) / (2.0 - 0.2)
    assert 0.3 < valley < 0.9
    assert basins(values, values > 0.2, 0.2, depth).max() == parts


@given(seed=st.integers(0, 10**6), depth=st.floats(0.05, 1))
def test_parts_are_connected_and_none_has_two_deep_peaks(seed: int, depth: float) -> None:
    """The slow way: lower a level step by step and look at the components above it."""
    from scipy.ndimage import label

    values = gaussian_filter(np.random.default_rng(seed).random((12, 12)), 1.0).astype(np.float32)
    threshold = float(np.median(values))
    cells = values > threshold
    found = basins(values, cells, threshold, depth)
    for part in range(1, found.max() + 1):
        inside = found == part
        assert label(inside, np.ones((3, 3)))[1] == 1
        peak = values[inside].max()
        # the level down to which the peak would keep its basin
        level = peak - depth * (peak - threshold)
        above, _ = label(values > level, np.ones((3, 3)))
        component = above == above[inside & (values == peak)][0]
        assert peak == values[component].max()


def test_parts_share_the_pixels_of_their_region() -> None:
    detail = hills((10, 8, 2.0), (10, 20, 3.0))
    values = np.maximum(detail, np.where(detail > 0.2, np.float32(0.6), 0))  # a map whose valley is filled
    (shape,) = extract_regions(values, 0.5, 160, 240)
    (parts,) = region_parts([shape], values, detail, 0.5, 160, 240, Regions())
    assert [round(one.score, 3) for one in parts] == [3.0, 2.0]
    covered = np.zeros((160, 240), int)
    for one in parts:
        covered[one.top : one.top + one.height, one.left : one.left + one.width] += region_mask(one)
    assert covered.max() == 1
    assert covered.sum() == shape.area == sum(one.area for one in parts)
    assert np.array_equal(sum(one.cells.astype(int) for one in parts), shape.cells)


@pytest.mark.parametrize("settings", [Regions(split_depth=None), Regions(split_depth=1.0)])
def test_no_part_without_a_valley_that_is_deep_enough(settings: Regions) -> None:
    values = hills((10, 10, 2.0), (10, 19, 2.0))
    (shape,) = extract_regions(values, 0.2, 160, 240)
    assert region_parts([shape], values, values, 0.2, 160, 240, settings) == [[]]


def test_a_speck_beside_a_defect_is_no_part() -> None:
    values = hills((10, 8, 3.0), (10, 17, 0.5))
    (shape,) = extract_regions(values, 0.2, 160, 240, Regions(speck_fraction=0))
    assert len(region_parts([shape], values, values, 0.2, 160, 240, Regions(speck_fraction=0, split_depth=0.1))[0]) == 2
    assert region_parts([shape], values, values, 0.2, 160, 240, Regions(speck_fraction=0.5, split_depth=0.1)) == [[]]
