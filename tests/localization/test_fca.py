from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from blemish.errors import InputError
from blemish.localization import fca
from blemish.localization.fca import fca_map, reference_statistics
from helpers.reference_fca import fca_loop, gaussian, pytorch_fca, reference_loop

METHODS = ["kernel", "torch"]
SHAPES = [(3, 9, 13), (1, 7, 7), (2, 16, 8), (2, 3, 5), (2, 1, 1), (1, 1, 20), (2, 14, 2)]


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def agree(found: Tensor, expected: np.ndarray) -> None:
    """Equal within 1e-5 of the value, or of the map's scale where a value is nearly 0."""
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-7 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_map_agrees_with_the_loop(shape: tuple[int, ...], method: fca.Method) -> None:
    x = features(*shape)
    agree(fca_map(x, method=method)[0], fca_loop(x.numpy()))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1, 3, 5, 7, 9, 15])
def test_maps_of_every_patch_size_agree_with_the_loop(size: int, method: fca.Method) -> None:
    x = features(2, 11, 8, seed=size)
    agree(fca_map(x, patch_size=size, method=method)[0], fca_loop(x.numpy(), size))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("levels", [2, 5])
def test_ties_go_to_the_earlier_place(levels: int, method: fca.Method) -> None:
    x = torch.randint(0, levels, (3, 10, 9), generator=torch.Generator().manual_seed(3)).float()
    agree(fca_map(x, method=method)[0], fca_loop(x.numpy()))


@pytest.mark.parametrize("method", METHODS)
def test_zeros_of_either_sign_are_equal(method: fca.Method) -> None:
    x = torch.zeros(1, 8, 8)
    x[:, ::2] = -0.0
    x[0, 4, 4] = 1.0
    assert torch.equal(fca_map(x, method=method), fca_map(x.abs(), method=method))


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_reaches_the_equations(method: fca.Method) -> None:
    x = features(3, 10, 12, seed=4)
    weights = np.array([0.2, 0.0, 3.0])
    reference = reference_loop(features(3, 14, 14, seed=5).numpy(), 5)
    found = fca_map(
        x,
        patch_size=5,
        sigma_s=0.7,
        sigma_p=1.5,
        blur_size=3,
        sigma_post=2.0,
        reference=torch.from_numpy(reference),
        channel_weights=torch.from_numpy(weights),
        method=method,
    )
    agree(found[0], fca_loop(x.numpy(), 5, 0.7, 1.5, 3, 2.0, weights, reference))
    plain = fca_map(x, sigma_s=0.0, sigma_post=0.0, method=method)
    agree(plain[0], fca_loop(x.numpy(), sigma_s=0.0, sigma_post=0.0))


def test_map_agrees_with_the_plain_pytorch_form_on_a_larger_map() -> None:
    x = features(2, 40, 33, 28, seed=6)
    agree(fca_map(x), pytorch_fca(x).numpy())


@pytest.mark.parametrize("shape", [(2, 21, 15), (1, 14, 14), (3, 4, 9), (1, 1, 1), (2, 29, 8)])
@pytest.mark.parametrize("size", [3, 7])
def test_reference_statistics_are_the_lower_medians(shape: tuple[int, ...], size: int) -> None:
    x = features(*shape, seed=7)
    found = reference_statistics(x[None], size)
    assert found.shape == (1, shape[0], size * size)
    np.testing.assert_array_equal(found[0].numpy(), reference_loop(x.numpy(), size))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(2, 3, 12, 9), (1, 1, 1, 1), (1, 4, 3, 5)])
def test_constant_channels_give_exactly_zero(shape: tuple[int, ...], method: fca.Method) -> None:
    x = (0.1 + features(*shape[:2], 1, 1)).expand(shape)
    assert not fca_map(x, method=method).any()


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_equals_its_images_bit_by_bit(method: fca.Method) -> None:
    x = features(4, 5, 17, 11, seed=8)
    together = fca_map(x, method=method)
    assert together.shape == (4, 17, 11)
    for index in range(4):
        assert torch.equal(together[index], fca_map(x[index], method=method)[0])


def test_an_empty_batch_gives_no_maps() -> None:
    assert fca_map(torch.empty(0, 3, 8, 9)).shape == (0, 8, 9)
    assert reference_statistics(torch.empty(0, 3, 8, 9)).shape == (0, 3, 49)


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    x = features(2, 40, 30, 37, seed=9)
    one = fca_map(x, threads=1)
    for threads in (2, 3, 8):
        assert torch.equal(one, fca_map(x, threads=threads))


@pytest.mark.parametrize("method", METHODS)
def test_the_map_does_not_depend_on_the_bands_it_is_computed_in(
    method: fca.Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = features(3, 33, 10, seed=10)
    whole = fca_map(x, method=method)
    monkeypatch.setattr(fca, "_BAND_FLOATS", 1)
    monkeypatch.setattr(fca, "_BLOCK_FLOATS", 1)
    torch.testing.assert_close(fca_map(x, method=method), whole, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_channels_does_not_matter(method: fca.Method) -> None:
    x = features(1, 70, 12, 15, seed=11)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fca_map(x[:, order], method=method), fca_map(x, method=method), rtol=1e-6, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_the_map_ignores_shifts_of_channels_and_follows_their_scale(method: fca.Method) -> None:
    x = features(1, 6, 13, 10, seed=12)
    found = fca_map(x, method=method)
    shift = torch.linspace(-2, 2, 6).reshape(1, 6, 1, 1)
    torch.testing.assert_close(fca_map(x + shift, method=method), found, rtol=1e-5, atol=1e-6)
    assert torch.equal(fca_map(4 * x, method=method), 4 * found)
    torch.testing.assert_close(fca_map(-0.3 * x, method=method).isfinite(), torch.ones(1, 13, 10, dtype=torch.bool))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted(dtype: torch.dtype) -> None:
    x = features(1, 4, 9, 9).to(dtype)
    found = fca_map(x)
    assert found.dtype == torch.float32
    assert torch.equal(found, fca_map(x.float()))


def test_the_map_does_not_depend_on_memory_layout_and_the_input_stays_as_it_is() -> None:
    x = features(2, 6, 9, 12, seed=13)
    kept = x.clone()
    plain = fca_map(x)
    assert torch.equal(x, kept)
    assert torch.equal(fca_map(x.contiguous(memory_format=torch.channels_last)), plain)
    assert torch.equal(fca_map(x.transpose(2, 3).contiguous().transpose(2, 3)), plain)
    leaf = x.clone().requires_grad_()
    assert not fca_map(leaf).requires_grad


def test_equal_weights_are_the_default_and_one_reference_serves_all_images() -> None:
    x = features(2, 5, 14, 14, seed=14)
    assert torch.equal(fca_map(x, reference=reference_statistics(x)), fca_map(x))
    torch.testing.assert_close(fca_map(x, channel_weights=torch.full((5,), 7.0)), fca_map(x), rtol=1e-6, atol=0)
    shared = reference_statistics(x)[0]
    assert torch.equal(fca_map(x, reference=shared)[1], fca_map(x[1], reference=shared)[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_planted_defect_is_the_maximum(method: fca.Method) -> None:
    x = 0.1 * features(1, 16, 40, 31, seed=15)
    x[0, :, 22:25, 10:13] += 2.0
    row, col = divmod(int(fca_map(x, method=method)[0].argmax()), 31)
    assert (22 <= row < 25, 10 <= col < 13) == (True, True)


@pytest.mark.parametrize(("shape", "left"), [((12, 10), 2), ((3, 3), 1), ((2, 8), 2), ((1, 1), 1)])
def test_the_border_never_empties_the_map(shape: tuple[int, int], left: int) -> None:
    x = features(1, 4, *shape, seed=16)
    plain, cleared = fca_map(x)[0], fca_map(x, border=5)[0]
    kept = cleared != 0
    assert kept.any() or not plain.any()
    assert torch.equal(cleared[kept], plain[kept])
    if shape == (12, 10):
        assert kept[5:7, 4:6].all()
        assert int(kept.sum()) == 4


def test_normalized_edges_make_up_for_missing_patches() -> None:
    x = features(1, 4, 12, 9, seed=17)
    plain = fca_map(x, sigma_post=0.0)[0]
    even = fca_map(x, sigma_post=0.0, normalize_edges=True)[0]
    place = gaussian(7, 3.0)
    share = np.zeros((12, 9))
    for y, x0, a, b in itertools.product(range(12), range(9), range(7), range(7)):
        if 0 <= y + a - 3 < 12 and 0 <= x0 + b - 3 < 9:
            share[y + a - 3, x0 + b - 3] += place[a] * place[b]
    assert share[6, 4] == pytest.approx(1.0)
    assert share[0, 0] < 0.4
    agree(even, plain.numpy() / share)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_must_be_finite(value: float) -> None:
    x = features(1, 2, 8, 8)
    x[0, 1, 3, 3] = value
    with pytest.raises(InputError, match="NaN"):
        fca_map(x)
    with pytest.raises(InputError, match="NaN"):
        reference_statistics(x)


@pytest.mark.parametrize(
    "arguments",
    [
        {"patch_size": 4},
        {"patch_size": 17},
        {"patch_size": -1},
        {"border": -1},
        {"method": "fast"},
        {"threads": 0},
        {"sigma_s": -1.0},
        {"sigma_p": float("nan")},
        {"blur_size": 2},
        {"reference": torch.zeros(2, 48)},
        {"reference": torch.full((2, 49), float("nan"))},
        {"channel_weights": torch.ones(3)},
        {"channel_weights": torch.zeros(2)},
        {"channel_weights": torch.tensor([1.0, -1.0])},
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(InputError):
        fca_map(features(2, 8, 8), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad", [torch.rand(8, 8), torch.rand(1, 0, 8, 8), torch.rand(2, 8, 0), torch.ones(1, 8, 8).long()]
)
def test_features_of_other_shapes_and_types_are_refused(bad: Tensor) -> None:
    with pytest.raises(InputError, match="features"):
        fca_map(bad)


def test_numba_is_imported_on_first_use_only() -> None:
    code = "import sys, blemish.localization.fca; print('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_first_compilation_is_announced(tmp_path: Path) -> None:
    code = (
        "import logging; logging.basicConfig(level=logging.INFO, format='%(message)s');"
        "import torch, blemish.localization.fca as f; f._kernel(); f._kernel()"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    logs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment).stderr
        for _ in range(2)
    ]
    assert logs[0].count("Compiling the FCA kernel") == 1
    assert "Compil" not in logs[1]
