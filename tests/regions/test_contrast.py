from __future__ import annotations

import numpy as np
import pytest

from blemish.config.sections import Regions
from blemish.regions import extract_regions, region_contrasts


def scene() -> tuple[list, np.ndarray]:
    """Two regions of 16 x 16 pixels, eight pixels apart, on gray: one darker by 0.2, one brighter by 0.3."""
    values = np.zeros((12, 16), np.float32)
    values[4:8, 2:6] = 1
    values[4:8, 8:12] = 0.9
    photo = np.full((48, 64, 3), 0.5, np.float32)
    photo[16:32, 8:24] -= 0.2
    photo[16:32, 32:48] += 0.3
    regions = extract_regions(values, 0.45, 48, 64)
    assert [(one.left, one.width) for one in regions] == [(8, 16), (32, 16)]
    return regions, photo


def test_contrast_is_the_difference_to_the_rim_without_other_regions() -> None:
    regions, photo = scene()
    assert region_contrasts(regions, photo, 12) == pytest.approx([-0.2, 0.3], abs=0.02)


@pytest.mark.parametrize("gray", [0.0, 0.5, 1.0])
def test_a_constant_image_has_no_contrast(gray: float) -> None:
    regions, photo = scene()
    assert region_contrasts(regions, np.full_like(photo, gray), 3) == [0.0, 0.0]


def test_a_region_that_fills_the_image_has_no_rim() -> None:
    regions = extract_regions(np.ones((3, 3), np.float32), 0.5, 24, 24, Regions())
    assert region_contrasts(regions, np.ones((24, 24, 3), np.float32), 8) == [None]
