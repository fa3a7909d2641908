from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from blemish.descriptors.geometry import LEVELS, fit_shape_scaling, region_geometry, region_shapes
from helpers.reference_method import quantile_loop


def concat_shape(descriptors: np.ndarray, shapes: np.ndarray, weight: float, anomalous: np.ndarray) -> np.ndarray:
    return fit_shape_scaling(descriptors, shapes, weight, anomalous).concat(descriptors, shapes)


def geometry_loop(values: np.ndarray, threshold: float) -> list[float]:
    level = min(threshold, quantile_loop(values.ravel().tolist(), 0.98))
    mass = {(y, x): v - level for (y, x), v in np.ndenumerate(values.astype(float)) if v > level}
    total = sum(mass.values())
    if not total:
        return [0.0, 0.5 * np.log(0.3), 0.0]
    my = sum(m * y for (y, _), m in mass.items()) / total
    mx = sum(m * x for (_, x), m in mass.items()) / total
    yy = sum(m * (y - my) ** 2 for (y, _), m in mass.items()) / total + 0.3
    xx = sum(m * (x - mx) ** 2 for (_, x), m in mass.items()) / total + 0.3
    yx = sum(m * (y - my) * (x - mx) for (y, x), m in mass.items()) / total
    # eigenvalues of a symmetric 2 x 2 matrix by the quadratic formula
    root = np.sqrt((yy - xx) ** 2 / 4 + yx**2)
    long, short = (yy + xx) / 2 + root, (yy + xx) / 2 - root
    effective = total**2 / sum(m * m for m in mass.values())
    return [np.log(1 + effective), 0.5 * np.log(long), 0.5 * np.log(long / short)]


@pytest.mark.parametrize("shape", [(6, 9), (1, 7), (12, 3), (1, 1)])
@pytest.mark.parametrize("threshold", [0.4, 0.9, 5.0])
def test_geometry_agrees_with_the_loop(shape: tuple[int, int], threshold: float) -> None:
    values = np.random.default_rng(3).random(shape, np.float32)
    np.testing.assert_allclose(region_geometry(values, threshold), geometry_loop(values, threshold), atol=1e-6)


def test_a_line_is_longer_than_a_spot_at_any_place_in_any_direction() -> None:
    line, spot = np.zeros((24, 30), np.float32), np.zeros((24, 30), np.float32)
    line[5, 3:23] = 1
    spot[8:12, 9:14] = 1
    size, extent, elongation = region_geometry(line, 0.5)
    for other in (np.roll(line, (9, 4), (0, 1)), line.T, line[::-1]):
        np.testing.assert_allclose(region_geometry(other, 0.5), (size, extent, elongation), atol=1e-6)
    assert region_geometry(spot, 0.5)[0] == pytest.approx(size, abs=1e-6)  # both have 20 cells
    assert region_geometry(spot, 0.5)[1] < extent - 0.5
    assert region_geometry(spot, 0.5)[2] < 0.3 < 1 < elongation
    np.testing.assert_allclose(region_geometry(3 * line, 1.5), (size, extent, elongation), atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_size_and_elongation_of_a_constant_map_are_zero(level: float) -> None:
    np.testing.assert_allclose(region_geometry(np.full((5, 8), level, np.float32), 0.9)[0::2], (0, 0), atol=1e-9)


def test_length_of_the_shapes_follows_the_weight_in_any_units() -> None:
    rng = np.random.default_rng(0)
    descriptors = rng.standard_normal((40, 6)).astype(np.float32)
    shapes = rng.standard_normal((40, 3)).astype(np.float32) * [1, 50, 0.1] + 7
    anomalous = np.arange(40) < 25
    out = concat_shape(descriptors, shapes, 0.3, anomalous)
    np.testing.assert_array_equal(out[:, :6], descriptors)
    lengths = np.sqrt(np.square(out[anomalous, 6:]).sum(1).mean())
    assert lengths == pytest.approx(0.3 * np.linalg.norm(descriptors, axis=1).mean(), rel=1e-4)
    np.testing.assert_allclose(out, concat_shape(descriptors, shapes * [3, 2, 9], 0.3, anomalous), atol=1e-4)
    assert concat_shape(descriptors, shapes, 0, anomalous) is descriptors


@pytest.mark.parametrize("count", [0, 1])
def test_shapes_are_finite_with_no_or_one_anomalous_image(count: int) -> None:
    shapes = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.5]])
    out = concat_shape(np.eye(2, dtype=np.float32), shapes, 0.3, np.arange(2) < count)
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(out[:, 2:4], 0)  # a number that never varies has no weight


@pytest.mark.parametrize("apart", [1e-5, 1e-2, 0.1])
def test_normal_images_keep_moderate_shapes_if_anomalous_images_are_alike(apart: float) -> None:
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(20, 8)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    shapes = rng.normal([2, 0.5, 0.3], [0.3, 0.2, 0.2], (20, 3)).astype(np.float32)
    shapes[0] = [3, 0.8, 0.5]
    shapes[1] = shapes[0] + apart
    out = concat_shape(descriptors, shapes, 0.3, np.arange(20) < 2)
    assert np.median(np.linalg.norm(out[2:, 8:], axis=1)) < 2.0


def test_shapes_of_a_set_agree_with_the_loop_over_its_maps() -> None:
    rng = np.random.default_rng(6)
    maps = [rng.random(shape, np.float32) for shape in ((6, 9), (12, 3), (1, 1), (5, 5))]
    found = region_shapes(maps, 0.7, 0.3)
    assert found.dtype == np.float32
    slow = [np.mean([geometry_loop(one, 0.7 * factor) for factor in LEVELS], 0) for one in maps]
    np.testing.assert_allclose(found, slow, atol=1e-6)
    np.testing.assert_array_equal(found, region_shapes(maps, 0.7, 5.0))  # the weight counts later


def test_shapes_without_weight_are_zero_and_no_map_is_read() -> None:
    unreadable: list[np.ndarray] = [None, None, None]  # type: ignore[list-item]
    found = region_shapes(unreadable, 0.7, 0.0)
    np.testing.assert_array_equal(found, np.zeros((3, 3)))
    assert found.dtype == np.float32


def concat_shape_loop(descriptors: np.ndarray, shapes: np.ndarray, weight: float, anomalous: np.ndarray) -> np.ndarray:
    """Shapes standardized number by number over the anomalous images, then scaled by the mean descriptor length."""
    reference = [row for row, one in zip(shapes, anomalous, strict=True) if one]
    reference = reference if len(reference) > 1 else list(shapes)
    length = sum(math.sqrt(sum(float(v) ** 2 for v in row)) for row in descriptors) / len(descriptors)
    out = [list(map(float, row)) for row in descriptors]
    for number in range(3):
        own, every = [row[number] for row in reference], [row[number] for row in shapes]
        deviation = max(statistics.pstdev(own), statistics.pstdev(every) / 2)
        for row, shape in zip(out, shapes, strict=True):
            row.append(weight * length / math.sqrt(3) * (shape[number] - statistics.fmean(own)) / deviation)
    return np.array(out)


@pytest.mark.parametrize("count", [0, 1, 2, 9, 15])
def test_standardized_shapes_agree_with_the_loop(count: int) -> None:
    rng = np.random.default_rng(count)
    descriptors, shapes = rng.normal(size=(15, 4)).astype(np.float32), rng.normal(3, [1, 5, 0.2], (15, 3))
    anomalous = np.arange(15) < count
    found = concat_shape(descriptors, shapes.astype(np.float32), 0.4, anomalous)
    np.testing.assert_allclose(found, concat_shape_loop(descriptors, shapes, 0.4, anomalous), rtol=1e-3, atol=1e-5)
