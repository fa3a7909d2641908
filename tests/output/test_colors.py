from __future__ import annotations

import numpy as np

from blemish.output.colors import NORMAL_COLOR, cluster_color, heat_indices, heat_table
from blemish.output.overlays import draw_heat


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
