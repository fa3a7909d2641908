from __future__ import annotations

import numpy as np
import pytest

from blemish import Config
from blemish.errors import InputError
from blemish.images import ImageSource

SETTINGS = Config().image


def drawn(*shape: int, seed: int = 0, top: int = 255) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top + 1, shape)


@pytest.mark.parametrize(
    ("shape", "count", "size"),
    [
        ((40, 50, 3), 1, (40, 50)),
        ((40, 50, 4), 1, (40, 50)),
        ((40, 50, 1), 1, (40, 50)),
        ((40, 50), 1, (40, 50)),
        ((6, 40, 50), 6, (40, 50)),
        ((6, 40, 50, 3), 6, (40, 50)),
        ((6, 40, 50, 1), 6, (40, 50)),
    ],
)
def test_one_array_holds_one_image_or_many(shape, count, size):
    source = ImageSource(drawn(*shape).astype(np.uint8), SETTINGS)
    assert len(source) == count
    assert source.full(0).shape == (*size, 3)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint32, np.uint64, np.uint8])
def test_bytes_of_every_integer_type_are_divided_by_255(dtype):
    values = drawn(20, 30)
    values[3, 4] = 255
    source = ImageSource([values.astype(dtype)], SETTINGS)
    np.testing.assert_allclose(source.full(0)[..., 0], values / 255, atol=1e-6)


def test_a_hot_pixel_in_an_array_does_not_set_the_white_level():
    values = drawn(40, 50, top=1500).astype(np.uint16) + 1500
    values[20, 20] = 65535
    source = ImageSource([values, drawn(40, 50, seed=1, top=3000).astype(np.uint16)], SETTINGS)
    assert source.white_level.level == 4095
    assert source.full(0).max() < 0.8


def test_the_white_level_of_arrays_can_be_set():
    settings = Config.from_values({"image.white_level": 2000}).image
    source = ImageSource([np.array([[0, 1000], [2000, 4000]], np.uint16)], settings)
    np.testing.assert_allclose(source.full(0)[..., 0], [[0, 0.5], [1, 1]])


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.zeros((9, 9), complex), "values of type complex128"),
        (np.zeros((9, 9), "datetime64[s]"), "values of type datetime64"),
        (np.zeros((9, 9), [("a", "f4")]), "values of type"),
        (np.array([[None, 1]]), "values of type object"),
        (None, "values of type object"),
        ("text", "values of type"),
        ([[1, 2], [3]], "cannot be read"),
        (np.zeros(9), r"shape \(9,\)"),
        (np.zeros((9, 9, 2)), r"shape \(9, 9, 2\)"),
        (np.zeros((0, 9)), r"shape \(0, 9, 1\)"),
        (np.full((9, 9), np.nan), "NaN or infinite"),
        (np.full((9, 9), np.inf), "NaN or infinite"),
        (np.full((9, 9), 7.0), r"values outside 0 to 1 \(7 to 7\)"),
        (np.full((9, 9), -3), r"negative values \(down to -3\)"),
    ],
)
def test_an_array_that_is_no_image_is_named_by_its_number(values, problem):
    with pytest.raises(InputError, match=f"array 1 .*{problem}") as caught:
        ImageSource([np.zeros((9, 9)), values], SETTINGS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("images", "problem"),
    [
        (None, "type NoneType: give a folder, a list of paths, or a list of arrays"),
        ((one for one in []), "type generator"),
        ({"a.png"}, "type set"),
        ({"a": 1}, "type dict"),
        (5, "type int"),
        (b"a.png", "type bytes"),
        ([], "no images given"),
        (np.zeros((0, 9, 9)), "no images given"),
        (np.zeros(5), r"shape \(5,\) holds no images"),
    ],
)
def test_other_objects_are_refused_in_one_line(images, problem):
    with pytest.raises(InputError, match=problem) as caught:
        ImageSource(images, SETTINGS)
    assert "\n" not in str(caught.value)
