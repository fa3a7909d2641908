from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from blemish.regions import fill_rings, signed_area, trace_outlines


def drawn(text: str) -> np.ndarray:
    return np.array([[c == "#" for c in line] for line in text.split()])


def slow_fill(rings: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Even-odd rule by its definition: sides crossed by a ray from each pixel's center to the left."""
    out = np.zeros((height, width), bool)
    for r in range(height):
        for c in range(width):
            x, y, crossings = c + 0.5, r + 0.5, 0
            for ring in rings:
                for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                    if (y0 <= y) != (y1 <= y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x:
                        crossings += 1
            out[r, c] = crossings % 2
    return out


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_outlines_enclose_exactly_the_mask(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.55
    outlines, holes = trace_outlines(mask)
    assert np.array_equal(slow_fill(outlines + holes, height, width), mask)
    assert np.array_equal(fill_rings(outlines + holes, 0, 0, width, height), mask)
    assert sum(signed_area(ring) for ring in outlines + holes) == mask.sum()
    assert len(outlines) == label(mask, np.ones((3, 3)))[1]
    assert len(holes) == label(np.pad(~mask, 1, constant_values=True))[1] - 1
    for ring in outlines + holes:  # corners only: horizontal and vertical sides take turns
        sides = np.roll(ring, -1, axis=0) - ring
        assert np.array_equal(sides[:, 0] == 0, np.roll(sides[:, 0] != 0, 1))


def test_a_ring_has_a_hole_and_both_lie_on_the_edges_of_pixels() -> None:
    outlines, holes = trace_outlines(drawn("###. #.#. ###."), left=10, top=20)
    assert sorted(map(tuple, outlines[0])) == [(10, 20), (10, 23), (13, 20), (13, 23)]
    assert sorted(map(tuple, holes[0])) == [(11, 21), (11, 22), (12, 21), (12, 22)]


def test_pixels_that_touch_at_a_corner_share_an_outline_and_holes_do_not() -> None:
    assert [len(rings) for rings in trace_outlines(drawn("#. .#"))] == [1, 0]
    assert [len(rings) for rings in trace_outlines(drawn("#### #.## ##.# ####"))] == [1, 2]


def test_scaled_outlines_fill_the_pixels_whose_center_they_enclose() -> None:
    outlines, _ = trace_outlines(drawn("##. .##"))
    scaled = [ring * np.array([2.5, 1.6]) for ring in outlines]
    assert np.array_equal(fill_rings(scaled, 0, 0, 9, 5), slow_fill(scaled, 5, 9))


def test_a_window_cuts_what_lies_outside() -> None:
    mask = np.random.default_rng(1).random((9, 11)) < 0.5
    outlines, holes = trace_outlines(mask)
    assert np.array_equal(fill_rings(outlines + holes, 3, 2, 5, 4), mask[2:6, 3:8])


@pytest.mark.parametrize("shape", [(1, 1), (3, 5)])
def test_empty_and_full_masks(shape: tuple[int, int]) -> None:
    assert trace_outlines(np.zeros(shape, bool)) == ([], [])
    (outline,), holes = trace_outlines(np.ones(shape, bool))
    assert (len(outline), signed_area(outline), holes) == (4, shape[0] * shape[1], [])
