from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blemish.errors import InputError
from blemish.images import (
    ImageInfo,
    common_scale,
    plan_sizes,
    resize,
    target_size,
)
from helpers.files import gradient

RGB = gradient(21, 34)
GRAY = gradient(21, 34, 1)[..., 0]


def as_rgb(values: np.ndarray, top: float = 255.0) -> np.ndarray:
    values = values if values.ndim == 3 else values[..., None]
    return np.broadcast_to(values / top, (*values.shape[:2], 3)).astype(np.float32)


def slow_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Triangle filter, centers of pixels aligned, weights written out."""

    def weights(old: int, new: int) -> np.ndarray:
        ratio = old / new
        table = np.zeros((new, old))
        for i in range(new):
            center = (i + 0.5) * ratio
            for j in range(old):
                table[i, j] = max(0.0, 1 - abs(j + 0.5 - center) / max(ratio, 1))
        return table / table.sum(1, keepdims=True)

    rows, columns = weights(image.shape[0], height), weights(image.shape[1], width)
    return np.einsum("ih,hwc,jw->ijc", rows, image.astype(float), columns)


@pytest.mark.parametrize("shape", [(7, 9), (21, 34), (50, 12), (64, 96), (1, 1)])
def test_resize_agrees_with_weights_written_out(shape):
    image = as_rgb(RGB)
    np.testing.assert_allclose(resize(image, *shape), slow_resize(image, *shape), atol=2e-6)


@pytest.mark.parametrize("side", [2, 4, 9])
def test_a_column_of_pixels_is_resized_like_a_row(side: int) -> None:
    row = np.random.default_rng(0).random((1, 3, 3)).astype(np.float32)
    found = resize(np.ascontiguousarray(row.transpose(1, 0, 2)), side, 1)
    np.testing.assert_allclose(found, slow_resize(row, 1, side).transpose(1, 0, 2), atol=1e-5)


def test_resize_keeps_constants_range_and_equal_sizes():
    constant = np.full((30, 17, 3), 0.3, np.float32)
    assert np.array_equal(resize(constant, 64, 5), np.full((64, 5, 3), 0.3, np.float32))
    noise = np.random.default_rng(0).random((13, 11, 3), dtype=np.float32)
    assert noise.min() <= resize(noise, 50, 60).min()
    assert resize(noise, 50, 60).max() <= noise.max()
    assert resize(noise, 13, 11) is noise


def test_dataset_mode_uses_one_factor_and_image_mode_one_area():
    infos = [ImageInfo(h, w, 8, 1) for h, w in ((100, 100), (200, 200), (400, 400), (50, 200), (300, 150))]
    scale = common_scale(infos, 400)
    assert scale == pytest.approx(400 / np.median([math.sqrt(i.height * i.width) for i in infos]))
    common = plan_sizes(infos, 400, "dataset")
    for info, (height, width) in zip(infos, common, strict=True):
        assert abs(height - info.height * scale) <= 8
        assert abs(width - info.width * scale) <= 8
    for info, (height, width) in zip(infos, plan_sizes(infos, 400, "image"), strict=True):
        assert math.sqrt(height * width) == pytest.approx(400, rel=0.05)
        assert height / width == pytest.approx(info.height / info.width, rel=0.1)
    assert plan_sizes(infos, 512, "stretch") == [(512, 512)] * 5
    assert plan_sizes([], 512) == []


def test_plan_sizes_refuses_nonsense():
    with pytest.raises(InputError, match="dataset, image or stretch"):
        plan_sizes([], 512, "squash")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 1"):
        plan_sizes([ImageInfo(5, 5, 8, 1)], 0)
    with pytest.raises(InputError, match="no image"):
        common_scale([], 512)


@given(
    st.lists(st.tuples(st.integers(1, 30000), st.integers(1, 30000)), min_size=1, max_size=5),
    st.integers(1, 1500),
    st.sampled_from(["dataset", "image", "stretch"]),
    st.sampled_from([1, 8, 14, 16, 32]),
    st.integers(32, 2048),
)
def test_planned_sides_are_multiples_within_bounds(shapes, size, mode, multiple, max_side):
    infos = [ImageInfo(h, w, 8, 1) for h, w in shapes]
    for height, width in plan_sizes(infos, size, mode, multiple, max_side):
        for side in (height, width):
            assert side % multiple == 0
            assert side >= 32
            if mode != "stretch":
                assert side <= max(max_side, multiple * math.ceil(32 / multiple))


def test_target_size_of_a_thin_image_keeps_a_side():
    assert target_size(1, 5000, 1.0) == (32, 2048)
    assert target_size(1, 1, 1.0) == (32, 32)


@pytest.mark.parametrize("mode", ["dataset", "image"])
def test_images_are_not_enlarged_unless_asked(mode: str) -> None:
    infos = [ImageInfo(100, 200, 8, 3), ImageInfo(160, 160, 8, 3), ImageInfo(100, 100, 8, 3)]
    kept = plan_sizes(infos, 512, mode, upscale=False)  # type: ignore[arg-type]
    assert kept == [(96, 208), (160, 160), (96, 96)]  # the nearest multiples of 16
    assert all(h > 160 for h, _ in plan_sizes(infos, 512, mode))  # type: ignore[arg-type]
    assert plan_sizes(infos, 80, mode, upscale=False) == plan_sizes(infos, 80, mode)  # type: ignore[arg-type]


def test_large_images_are_resized_channel_by_channel_to_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(1).random((61, 47, 3), dtype=np.float32)
    expected = resize(image, 32, 48)
    monkeypatch.setattr("blemish.images.scaling.sizes._LARGE_BYTES", 0)
    np.testing.assert_allclose(resize(image, 32, 48), expected, atol=1e-6)
