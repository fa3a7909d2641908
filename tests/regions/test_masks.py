from __future__ import annotations

import numpy as np
import pytest

from blemish.regions import binary_mask, upsample_map


def slow_bilinear(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Enlargement by its definition: pixel centers, edges repeated."""
    out = np.empty((height, width))
    for r in range(height):
        for c in range(width):
            y = min(max((r + 0.5) * values.shape[0] / height - 0.5, 0), values.shape[0] - 1)
            x = min(max((c + 0.5) * values.shape[1] / width - 0.5, 0), values.shape[1] - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, values.shape[0] - 1), min(x0 + 1, values.shape[1] - 1)
            top = values[y0, x0] * (1 - (x - x0)) + values[y0, x1] * (x - x0)
            low = values[y1, x0] * (1 - (x - x0)) + values[y1, x1] * (x - x0)
            out[r, c] = top * (1 - (y - y0)) + low * (y - y0)
    return out


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (4, 1)])
def test_upsampling_agrees_with_its_definition(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    assert np.allclose(upsample_map(values, 13, 22), slow_bilinear(values, 13, 22), atol=1e-6)


def test_mask_is_strictly_above() -> None:
    values = np.full((3, 3), 0.5, dtype=np.float32)
    assert not binary_mask(values, 0.5, 6, 9).any()
    assert (binary_mask(values, 0.49, 6, 9) == 255).all()
    assert binary_mask(values, 0.49, 6, 9).dtype == np.uint8


def test_a_large_mask_is_made_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((19, 12)).astype(np.float32)
    expected = binary_mask(values, 0.6, 700, 90)
    monkeypatch.setattr("blemish.regions.masks.LARGE_MASK", 0)
    found = binary_mask(values, 0.6, 700, 90)
    assert (found != expected).mean() < 1e-3  # values at the threshold, by rounding
