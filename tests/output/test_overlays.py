from __future__ import annotations

import numpy as np
import pytest

from blemish.output.overlays import (
    NORMAL_COLOR,
    cluster_color,
    contours,
    draw_heat,
    draw_overlay,
    fit_within,
    heat_indices,
    heat_table,
    mask,
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
    assert not mask(values, 0.5, 6, 9).any()
    assert (mask(values, 0.49, 6, 9) == 255).all()
    assert mask(values, 0.49, 6, 9).dtype == np.uint8


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


def test_colors_differ_between_the_first_types() -> None:
    colors = [cluster_color(label, 0) for label in range(8)]
    assert colors[0] == NORMAL_COLOR
    assert len(set(colors)) == 8
    assert cluster_color(22, 0) == cluster_color(1, 0)
    many = np.array([cluster_color(label, 0) for label in range(13)])  # normal, and the most types that are estimated
    apart = np.abs(many[:, None] - many[None]).max(2)
    assert apart[~np.eye(13, dtype=bool)].min() > 30
    assert [cluster_color(k, None) for k in range(7)] == colors[1:]


def oklab_lightness(rgb: np.ndarray) -> np.ndarray:
    """Forward transform with the published forward matrices; the code under test uses the inverse ones."""
    s = rgb / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    to_lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    return np.cbrt(linear @ np.array(to_lms).T) @ np.array([0.2104542553, 0.7936177850, -0.0040720468])


def test_heat_colors_rise_evenly_in_lightness() -> None:
    steps = np.diff(oklab_lightness(heat_table(33).astype(float)))
    assert steps.min() > 0
    assert steps.max() < 1.35 * steps.mean()
    assert steps.min() > 0.65 * steps.mean()


def test_heat_scale_is_shared_and_clipped() -> None:
    values = np.array([[-1.0, 0.0, 0.5, 1.0, 9.0]], dtype=np.float32)
    assert heat_indices(values, 0.0, 1.0).tolist() == [[0, 0, 128, 255, 255]]
    picture = np.asarray(draw_heat(np.full((2, 3), 0.25, np.float32), 0.0, 1.0, 4, 6).convert("RGB"))
    assert (picture == heat_table()[64]).all()
