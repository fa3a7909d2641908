from __future__ import annotations

import numpy as np
import pytest

from blemish.descriptors.vectors import concat_descriptors, unit_rows


def test_rows_are_scaled_to_length_one_and_zero_rows_stay_zero() -> None:
    rows = np.array([[3.0, 4.0], [0.0, 0.0], [-1e-6, 0.0]], np.float32)
    np.testing.assert_allclose(unit_rows(rows), [[0.6, 0.8], [0, 0], [-1, 0]])
    assert unit_rows(rows.astype(np.float64)).dtype == np.float32


@pytest.mark.parametrize(("heads", "weight"), [(1, 1.0), (3, 0.5), (4, 2.0)])
def test_distances_are_those_of_the_features_plus_the_weighted_mean_over_the_heads(heads: int, weight: float) -> None:
    rng = np.random.default_rng(0)
    plain, parts = rng.normal(size=(5, 7)), [rng.normal(size=(5, 6)) * 10**k for k in range(heads)]
    refined = np.hstack(parts).astype(np.float32)
    found = concat_descriptors(plain.astype(np.float32), refined, heads, weight).astype(np.float64)
    assert found.shape == (5, 7 + 6 * heads)

    def apart(rows: np.ndarray, i: int, j: int) -> float:
        first, second = (rows[k] / np.sqrt(sum(v * v for v in rows[k])) for k in (i, j))
        return float(sum((a - b) ** 2 for a, b in zip(first, second, strict=True)))

    for i, j in np.ndindex(5, 5):
        expected = apart(plain, i, j) + weight**2 * sum(apart(part, i, j) for part in parts) / heads
        assert ((found[i] - found[j]) ** 2).sum() == pytest.approx(expected, rel=1e-5, abs=1e-10)


def test_a_zero_descriptor_and_a_zero_head_stay_zero() -> None:
    refined = np.zeros((2, 6), np.float32)
    refined[1, :3] = 2
    found = concat_descriptors(np.zeros((2, 4), np.float32), refined, 2, 1.0)
    np.testing.assert_array_equal(found[0], 0)
    np.testing.assert_allclose(found[1], [0] * 4 + [6**-0.5] * 3 + [0] * 3, rtol=1e-6)
