from __future__ import annotations

import numpy as np
import pytest

from blemish.localization.border import edge_distance, fit_border_correction


def test_edge_distance_on_a_non_square_map() -> None:
    assert edge_distance(5, 4, depth=9).tolist() == [[0] * 4, [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0] * 4]


def test_a_raised_border_is_lowered_and_a_defect_on_it_stays() -> None:
    rng = np.random.default_rng(0)
    maps = []
    for _ in range(30):
        one = rng.uniform(0.9, 1.1, (20, 24)).astype(np.float32)
        one[edge_distance(20, 24) == 0] += 2
        maps.append(one)
    maps[0][0, 5] += 10
    out = fit_border_correction(maps).apply(maps[0])
    rim = edge_distance(20, 24) == 0
    assert np.median(out[rim]) == pytest.approx(np.median(out[~rim]), abs=0.05)
    assert out.argmax() == 5
    assert out.min() >= 0


def test_a_border_that_is_not_higher_stays_as_it_is() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.uniform(0, 1, (20, 24)).astype(np.float32) * (edge_distance(20, 24) > 1) for _ in range(9)]
    # rings differ by chance alone: a few hundredths, and the cut rim stays zero
    np.testing.assert_allclose(fit_border_correction(maps).apply(maps[3]), maps[3], atol=0.06)


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (8, 8)])
def test_small_and_constant_maps_stay_as_they_are(shape: tuple[int, int]) -> None:
    constant = np.full(shape, 0.5, np.float32)
    np.testing.assert_allclose(fit_border_correction([constant, constant]).apply(constant), constant)
