from __future__ import annotations

import numpy as np
import pytest

from blemish.output.overlays import (
    binary_mask,
    contours,
    draw_overlay,
    fit_within,
    upsample_map,
)


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


def test_contours_close_at_the_border_and_stay_inside() -> None:
    values = np.zeros((10, 12), dtype=np.float32)
    values[:4, :5] = 1
    (line,) = contours(values, 0.5)
    assert np.array_equal(line[0], line[-1])
    assert line.min() >= 0
    assert line[:, 0].max() == pytest.approx(3.5)
    assert line[:, 1].max() == pytest.approx(4.5)


def test_contours_of_flat_and_degenerate_maps() -> None:
    assert contours(np.zeros((5, 5), np.float32), 0.0) == []
    assert contours(np.ones((5, 5), np.float32), float("inf")) == []
    assert len(contours(np.ones((1, 1), np.float32), 0.5)) == 1
    assert len(contours(np.ones((4, 6), np.float32), 0.0)) == 1


def test_overlay_draws_in_the_color_of_the_cluster_only_where_asked() -> None:
    image = np.full((60, 80, 3), 0.5, dtype=np.float32)
    values = np.zeros((15, 20), dtype=np.float32)
    values[4:9, 6:12] = 1
    plain = np.asarray(draw_overlay(image, values, 0.5, None))
    drawn = np.asarray(draw_overlay(image, values, 0.5, (230, 159, 0)))
    assert (plain == 128).all()
    assert (drawn == (230, 159, 0)).all(axis=-1).sum() > 20
    rows, columns = np.nonzero((drawn != plain).any(axis=-1))
    assert rows.min() >= 10
    assert rows.max() <= 45
    assert columns.min() >= 18
    assert columns.max() <= 56


def test_overlay_is_limited_and_never_enlarged() -> None:
    values = np.zeros((4, 4), dtype=np.float32)
    assert draw_overlay(np.zeros((300, 150, 3), np.float32), values, 0.5, None, 100).size == (50, 100)
    assert draw_overlay(np.zeros((30, 15, 3), np.float32), values, 0.5, None, 100).size == (15, 30)
    assert fit_within(5000, 1, 100) == (100, 1)
