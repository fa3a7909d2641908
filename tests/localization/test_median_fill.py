from __future__ import annotations

import warnings

import numpy as np
import pytest

from blemish.config.schema import Config
from blemish.errors import ConfigError
from blemish.localization.median_fill import median_filled, median_filled_maps
from blemish.pipeline import run
from blemish.runtime.spill import ArrayStore
from blemish.types import FloatArray

WINDOWS = [[3], [9], [25], [3, 5], [9, 25]]
SHAPES = [(1, 1), (1, 9), (7, 1), (5, 8), (12, 9)]


def few(shape: tuple[int, int], seed: int = 0) -> FloatArray:
    """A map of at most 40 different values, with ties."""
    return np.random.default_rng(seed).integers(0, 40, shape).astype(np.float32) / 7


def mirrored(place: int, length: int) -> int:
    """Reflect a place back into the map at the outer sides of its first and last cell."""
    while not 0 <= place < length:
        place = -1 - place if place < 0 else 2 * length - 1 - place
    return place


def slow_median_filled(values: FloatArray, windows: list[int]) -> FloatArray:
    """The definition, cell by cell: the maximum of the value and the median of its window."""
    out = values.copy()
    for side in windows:
        before, steps = out.copy(), range(-(side // 2), side // 2 + 1)
        height, width = out.shape
        for y, x in np.ndindex(height, width):
            around = [before[mirrored(y + dy, height), mirrored(x + dx, width)] for dy in steps for dx in steps]
            out[y, x] = max(before[y, x], sorted(around)[len(around) // 2])
    return out


@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize("shape", SHAPES)
def test_filling_agrees_with_the_loop(shape: tuple[int, int], windows: list[int]) -> None:
    values = few(shape)
    np.testing.assert_array_equal(median_filled(values, windows), slow_median_filled(values, windows))


@pytest.mark.parametrize("side", [3, 9, 31])
def test_the_median_of_many_values_is_rounded_down_by_one_of_256_levels(side: int) -> None:
    values = np.random.default_rng(1).normal(size=(40, 30)).astype(np.float32)
    found, exact = median_filled(values, [side]), slow_median_filled(values, [side])
    assert (found <= exact).all()
    ordered = np.sort(values, axis=None)
    apart = np.searchsorted(ordered, exact) - np.searchsorted(ordered, found)
    assert 0 < apart.max() <= -(-values.size // 256)


def test_the_median_of_256_values_is_exact() -> None:
    values = np.random.default_rng(2).permutation(256).reshape(16, 16).astype(np.float32)
    np.testing.assert_array_equal(median_filled(values, [5]), slow_median_filled(values, [5]))


@pytest.mark.parametrize("windows", WINDOWS)
def test_filling_keeps_bounds_symmetry_scale_and_constants(windows: list[int]) -> None:
    values = np.random.default_rng(3).gamma(2.0, size=(20, 33)).astype(np.float32)
    before = values.copy()
    found = median_filled(values, windows)
    assert found.dtype == np.float32
    assert found.shape == values.shape
    assert (found >= values).all()
    assert found.max() == values.max()
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(median_filled(values[::-1], windows), found[::-1])
    np.testing.assert_array_equal(median_filled(values.T, windows), found.T)
    np.testing.assert_array_equal(median_filled(4 * values, windows), 4 * found)
    constant = np.full((6, 4), 0.3, np.float32)
    np.testing.assert_array_equal(median_filled(constant, windows), constant)


def test_holes_close_and_small_defects_do_not_grow() -> None:
    rng = np.random.default_rng(4)
    region = np.zeros((40, 40), np.float32)
    region[:, :20] = 1 + rng.random((40, 20))
    region[rng.random((40, 40)) < 0.3] = 0
    found = median_filled(region, [9, 25])
    assert (region[:, :20] == 0).mean() > 0.2
    assert found[:, :15].min() >= 1
    assert (found[:, 22:] == 0).all()
    spot = np.zeros((40, 40), np.float32)
    spot[18:22, 18:22] = 5
    np.testing.assert_array_equal(median_filled(spot, [9, 25]), spot)


def test_without_windows_maps_stay_as_they_are() -> None:
    values = few((5, 6))
    np.testing.assert_array_equal(median_filled(values, []), values)
    store = ArrayStore()
    maps = store.view(store.add([values]))
    assert median_filled_maps(maps, None) is maps


def test_maps_of_a_set_are_filled_one_by_one_into_new_maps() -> None:
    store = ArrayStore()
    ones = [few(shape, seed) for seed, shape in enumerate(SHAPES)]
    maps = store.view(store.add([one.copy() for one in ones]))
    for found, one, kept in zip(median_filled_maps(maps, (3, 9)), ones, maps, strict=True):
        np.testing.assert_array_equal(found, median_filled(one, (3, 9)))
        np.testing.assert_array_equal(kept, one)


def test_filling_gives_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        median_filled(np.random.default_rng(5).random((30, 30), np.float32), (9, 25))


@pytest.mark.parametrize(
    ("given", "windows"), [("5", (5,)), ("9,31", (9, 31)), ("none", None), ([3, 3], (3, 3)), (7, (7,))]
)
def test_setting_accepts_odd_sizes(given: object, windows: tuple[int, ...] | None) -> None:
    assert Config.from_values({"localization.median_windows": given}).localization.median_windows == windows


@pytest.mark.parametrize("given", ["4", "9,30", "1", "257", "", "-3", True])
def test_setting_refuses_other_sizes_by_name(given: object) -> None:
    with pytest.raises(ConfigError, match=r"localization\.median_windows"):
        Config.from_values({"localization.median_windows": given})


def test_a_run_fills_its_maps_but_not_the_inputs_of_scores_and_descriptors() -> None:
    rng = np.random.default_rng(6)
    images = [rng.random((48, 64)).astype(np.float32) * 0.2 + 0.4 for _ in range(6)]
    images[0][10:30, 20:50] += 0.3
    settings = {"cache.enabled": False, "n_clusters": 2}
    plain = run(images, Config.from_values({**settings, "localization.median_windows": "none"}))
    found = run(images, Config.from_values(settings))
    for a, b in zip(plain.maps, found.maps, strict=True):
        np.testing.assert_array_equal(median_filled(a, (7, 13, 25)), b)
    assert any((b > a).any() for a, b in zip(plain.maps, found.maps, strict=True))
    for name in ("scores", "labels", "descriptors", "threshold"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))
