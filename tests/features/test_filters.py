from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.errors import InputError
from blemish.features.filters import (
    correlate_axis,
    gaussian_blur,
    gaussian_kernel,
    pad_reflect,
    reflect_indices,
    unit_range,
)
from helpers.reference_fca import blur_loop, mirror


@pytest.mark.parametrize("size", [1, 3, 5, 7, 15])
@pytest.mark.parametrize("sigma", [0.0, 1e-30, 0.3, 1.0, 3.0, 1e6])
def test_gaussian_kernel_is_symmetric_and_sums_to_one(size: int, sigma: float) -> None:
    kernel = gaussian_kernel(size, sigma)
    assert kernel.shape == (size,)
    assert kernel.dtype == torch.float32
    assert float(kernel.sum()) == pytest.approx(1.0, abs=1e-6)
    assert torch.equal(kernel, kernel.flip(0))
    assert int(kernel.argmax()) == size // 2 or sigma == 1e6


def test_gaussian_kernel_follows_its_formula() -> None:
    raw = np.exp(-((np.arange(7) - 3.0) ** 2) / (2 * 2.0**2))
    np.testing.assert_allclose(gaussian_kernel(7, 2.0).numpy(), raw / raw.sum(), rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "sigma"), [(0, 1.0), (4, 1.0), (-3, 1.0), (3, -1.0), (3, float("nan")), (3, float("inf"))]
)
def test_gaussian_kernel_refuses_bad_sizes_and_deviations(size: int, sigma: float) -> None:
    with pytest.raises(InputError):
        gaussian_kernel(size, sigma)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 2), (7, 7), (20, 3)])
def test_reflect_indices_agree_with_numpy_and_with_the_loop(length: int, before: int, after: int) -> None:
    found = reflect_indices(length, before, after).numpy()
    np.testing.assert_array_equal(found, np.pad(np.arange(length), (before, after), mode="reflect"))
    assert found.tolist() == [mirror(i, length) for i in range(-before, length + after)]


def test_pad_reflect_agrees_with_torch_where_torch_accepts_the_size() -> None:
    x = torch.rand(2, 3, 6, 5)
    expected = torch.nn.functional.pad(x, (1, 4, 3, 2), mode="reflect")
    assert torch.equal(pad_reflect(x, top=3, bottom=2, left=1, right=4), expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (3, 2), (2, 9), (8, 5)])
@pytest.mark.parametrize(("size", "sigma"), [(1, 1.0), (3, 0.0), (5, 1.0), (7, 2.0)])
def test_blur_agrees_with_the_loop(shape: tuple[int, int], size: int, sigma: float) -> None:
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1))
    found = gaussian_blur(x, size, sigma)
    assert found.shape == x.shape
    for index in range(2):
        np.testing.assert_allclose(found[index].numpy(), blur_loop(x[index].numpy(), size, sigma), rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_blur_keeps_constants_dtype_and_any_leading_axes(dtype: torch.dtype) -> None:
    x = torch.full((2, 1, 3, 4, 6), 0.75, dtype=dtype)
    found = gaussian_blur(x, 5, 1.0)
    assert found.dtype == dtype
    torch.testing.assert_close(found, x, rtol=2e-3 if dtype == torch.float16 else 1e-6, atol=0)


def test_blur_leaves_its_input_alone_and_accepts_any_layout() -> None:
    x = torch.rand(2, 4, 5, 6)
    kept = x.clone()
    plain = gaussian_blur(x, 5, 1.0)
    assert torch.equal(x, kept)
    assert torch.equal(gaussian_blur(x.contiguous(memory_format=torch.channels_last), 5, 1.0), plain)
    kernel = gaussian_kernel(5, 1.0)
    other = correlate_axis(correlate_axis(x.transpose(-1, -2), kernel, 2), kernel, 3)
    torch.testing.assert_close(other.transpose(-1, -2), plain)


def test_each_channel_of_each_image_is_scaled_by_its_own_range() -> None:
    x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(2)) * 10
    found = unit_range(x)
    for image in range(3):
        for channel in range(4):
            plane = x[image, channel].numpy()
            expected = (plane - plane.min()) / (plane.max() - plane.min())
            np.testing.assert_allclose(found[image, channel].numpy(), expected, atol=1e-6)
    assert float(found.min()) == 0.0
    assert float(found.max()) == 1.0
    assert torch.equal(found[1:2], unit_range(x[1:2]))


@pytest.mark.parametrize("value", [0.0, 3.3, -1e30])
def test_constant_channels_become_zero(value: float) -> None:
    assert not unit_range(torch.full((1, 2, 3, 1), value)).any()


def test_a_channel_with_a_tiny_range_stays_finite() -> None:
    assert torch.isfinite(unit_range(torch.tensor([[0.0, 1e-42]]))).all()


@pytest.mark.parametrize("bad", [torch.rand(3), torch.rand(2, 0, 4), torch.ones(3, 3, dtype=torch.int64)])
def test_maps_of_other_shapes_and_types_are_refused(bad: torch.Tensor) -> None:
    with pytest.raises(InputError):
        gaussian_blur(bad, 3, 1.0)
    with pytest.raises(InputError):
        unit_range(bad)
