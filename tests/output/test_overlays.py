from __future__ import annotations

import numpy as np
import pytest

from blemish.output.overlays import (
    contours,
    draw_overlay,
    fit_within,
)


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
