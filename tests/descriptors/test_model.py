from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.config.sections import Descriptor
from blemish.descriptors.model import DescriptorModel, fit_descriptor_model, whitening_matrix
from blemish.errors import InputError
from blemish.features.statistics import within_image_covariance
from blemish.types import FloatArray
from helpers.reference_method import blur_loop, descriptor_loop, quantile_loop


def drawn_features(seed: int, *shapes: tuple[int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(5, 5, generator=generator)
    return [(mix @ torch.randn(5, h * w, generator=generator)).unflatten(1, (h, w)) for h, w in shapes]


def drawn_maps(count: int, seed: int = 0) -> list[FloatArray]:
    rng = np.random.default_rng(seed)
    return [rng.random((6, 7 + k % 2), np.float32) + (k % 3 == 0) for k in range(count)]


def covariance_of(seed: int) -> torch.Tensor:
    return within_image_covariance(drawn_features(seed, (9, 7), (5, 8)))


def test_whitening_evens_out_the_variance_of_channels_and_less_shrinkage_does_so_more() -> None:
    covariance, ratios = covariance_of(1), []
    for shrinkage in (100.0, 0.3, 1e-6):
        matrix = whitening_matrix(covariance, shrinkage).double()
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
        assert float(torch.linalg.eigvalsh(matrix).mean()) == pytest.approx(1, rel=1e-5)
        values = torch.linalg.eigvalsh(matrix @ covariance @ matrix)
        ratios.append(float(values.max() / values.min()))
    assert ratios[0] > ratios[1] > ratios[2]
    assert ratios[2] == pytest.approx(1, rel=1e-2)


def whitening_loop(covariance: np.ndarray, shrinkage: float) -> np.ndarray:
    """(S / m + shrinkage I)^(-1/2), one eigenvector after the other, scaled to a mean eigenvalue of 1."""
    size = len(covariance)
    values, vectors = np.linalg.eig(covariance / (sum(covariance[i, i] for i in range(size)) / size))
    slow = sum(np.outer(v, v) / np.sqrt(value + shrinkage) for value, v in zip(values, vectors.T, strict=True))
    return slow / (np.trace(slow) / size)


@pytest.mark.parametrize("shrinkage", [0.05, 0.3, 4.0])
def test_whitening_agrees_with_the_loop_in_any_units(shrinkage: float) -> None:
    covariance = covariance_of(2)
    expected = whitening_loop(covariance.numpy(), shrinkage)
    np.testing.assert_allclose(whitening_matrix(covariance, shrinkage).numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(whitening_matrix(100 * covariance, shrinkage).numpy(), expected, atol=1e-5)


def test_whitening_of_constant_features_is_the_identity() -> None:
    covariance = within_image_covariance([torch.full((4, 3, 3), 2.0)])
    np.testing.assert_array_equal(whitening_matrix(covariance, 0.3).numpy(), np.eye(4, dtype=np.float32))


def fitted(maps: list[FloatArray], **settings: object) -> DescriptorModel:
    return fit_descriptor_model(maps, covariance_of(3), Descriptor(**settings))  # type: ignore[arg-type]


def test_temperature_is_the_given_one_or_a_fraction_of_the_highest_map_values() -> None:
    maps = drawn_maps(9)
    assert fitted(maps, tau=0.04).tau == 0.04
    values = np.concatenate([one.ravel() for one in maps]).tolist()
    assert fitted(maps, relative_tau=0.2).tau == pytest.approx(0.2 * quantile_loop(values, 0.99), rel=1e-6)


def test_normal_texture_hardly_exceeds_the_level_and_defects_do_not_move_it() -> None:
    rng = np.random.default_rng(0)
    normal = [rng.normal(5, 1, (20, 30)).astype(np.float32) for _ in range(9)]
    defective = [one.copy() for one in normal]
    for one in defective:
        one[:5, :6] += 9
    level = fitted(normal).level
    assert np.mean([one > level for one in normal]) == pytest.approx(0.01, abs=0.006)
    assert fitted(defective).level == pytest.approx(level, rel=0.06)


@pytest.mark.parametrize("weighting", ["thresholded", "softmax", "average", "max"])
def test_descriptor_is_the_whitened_sum_of_weighted_features(weighting: str) -> None:
    maps, features = drawn_maps(4), drawn_features(3, (6, 7))[0]
    plain = fitted(maps, weighting=weighting, whitening_shrinkage=None)
    white = fitted(maps, weighting=weighting)
    assert plain.whitening is None
    assert white.whitening is not None
    weights = plain.pixel_weights(maps[0])
    assert float(weights.sum()) == pytest.approx(1.0 if weighting == "average" else 0.0, abs=1e-6)
    expected = [float((features[c].double() * weights).sum()) for c in range(5)]
    np.testing.assert_allclose(plain.descriptor(features, weights), expected, rtol=1e-5, atol=1e-6)
    expected = white.whitening.double().numpy() @ np.array(expected)
    np.testing.assert_allclose(white.descriptor(features, weights), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weighting", ["softmax", "average"])
def test_descriptor_agrees_with_the_loop_over_blurred_features(weighting: str) -> None:
    values, features = drawn_maps(1)[0], drawn_features(4, (6, 7))[0]
    model = DescriptorModel(Descriptor(weighting=weighting, blur_size=3, blur_sigma=1.0), tau=0.3)  # type: ignore[arg-type]
    found = model.descriptor(features, model.pixel_weights(values))
    image = features.double().numpy()
    if weighting == "softmax":
        expected = descriptor_loop(image, values.astype(float), 0.3, 3, 1.0, True)
    else:
        expected = np.array([blur_loop(channel, 3, 1.0).mean() for channel in image])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    maps, features = drawn_maps(4), drawn_features(3, (6, 7))[0]
    features[0, 0, 0] = value
    model = fitted(maps)
    with pytest.raises(InputError, match="NaN"):
        model.descriptor(features, model.pixel_weights(maps[0]))
