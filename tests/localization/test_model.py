from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.config.schema import Config
from blemish.errors import ConfigError, InputError
from blemish.localization.model import fit_maps, usual_cells, variation_within, whitener


def slow_variation(maps: list[np.ndarray]) -> np.ndarray:
    per_image = []
    for one in maps:
        cells = [one[:, i, j] - one.mean((1, 2)) for i in range(one.shape[1]) for j in range(one.shape[2])]
        per_image.append(sum(np.outer(cell, cell) for cell in cells) / len(cells))
    return sum(per_image) / len(per_image)


def drawn(seed: int, *shapes: tuple[int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(5, 5, generator=generator)
    return [
        (mix @ torch.randn(5, h * w, generator=generator)).unflatten(1, (h, w)) + 3 * k
        for k, (h, w) in enumerate(shapes)
    ]


def test_variation_is_the_mean_covariance_within_images_whatever_their_sizes_and_levels() -> None:
    maps = drawn(0, (3, 4), (6, 2), (1, 9))
    expected = slow_variation([one.double().numpy() for one in maps])
    np.testing.assert_allclose(variation_within(maps).numpy(), expected, rtol=1e-5, atol=1e-6)
    shifted = [one + 10 * torch.randn(5, 1, 1) for one in maps]
    np.testing.assert_allclose(variation_within(shifted).numpy(), expected, rtol=1e-3, atol=1e-4)


def test_whitening_makes_variation_even_and_little_shrinkage_more_so() -> None:
    variation = variation_within(drawn(1, (20, 20)))
    spread = []
    for shrinkage in (100.0, 0.3, 1e-6):
        matrix = whitener(variation, shrinkage).double()
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
        assert float(torch.linalg.eigvalsh(matrix).mean()) == pytest.approx(1, rel=1e-5)
        values = torch.linalg.eigvalsh(matrix @ variation @ matrix)
        spread.append(float(values.max() / values.min()))
    assert spread[0] > spread[1] > spread[2]
    assert spread[2] == pytest.approx(1, rel=1e-2)


def test_whitening_follows_the_formula() -> None:
    variation = variation_within(drawn(2, (9, 7)))
    values, vectors = np.linalg.eig(variation.numpy() / np.trace(variation.numpy()) * 5)
    slow = sum(np.outer(v, v) / np.sqrt(value + 0.3) for value, v in zip(values, vectors.T, strict=True))
    slow = slow / (np.trace(slow) / 5)
    np.testing.assert_allclose(whitener(variation, 0.3).numpy(), slow, atol=1e-5)


def test_nothing_varies_nothing_changes() -> None:
    flat = [torch.full((4, 3, 3), 2.0)]
    np.testing.assert_array_equal(whitener(variation_within(flat), 0.3).numpy(), np.eye(4, dtype=np.float32))


def test_settings_of_descriptors_decide_after_maps_are_fitted() -> None:
    sample = list(enumerate(drawn(3, (8, 8), (8, 8), (8, 8))))
    fitted, maps = fit_maps(sample, [5], Config.from_values({"cluster.score_weighting": "gate"}))
    with_it = fitted.tempered(maps)
    assert with_it.whitener is not None
    off = Config.from_values({"descriptor.whitening_shrinkage": "none"})
    without, maps_off = fit_maps(sample, [5], off)
    assert without.tempered(maps_off).whitener is None
    for one, other in zip(maps, maps_off, strict=True):
        assert one.tobytes() == other.tobytes()
    features = with_it.features(sample[0][1])
    weights = with_it.pixel_weights(maps[0])
    plain = without.tempered(maps_off).descriptor(features, weights)
    np.testing.assert_allclose(
        with_it.descriptor(features, weights), with_it.whitener.numpy() @ plain, rtol=1e-5, atol=1e-6
    )
    for value in (np.nan, np.inf):
        features[0, 0, 0] = value
        with pytest.raises(InputError, match="NaN"):
            with_it.descriptor(features, weights)


def test_usual_cells_leave_out_the_highest_of_all_maps_together() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.random(shape).astype(np.float32) for shape in ((5, 8), (10, 6))]
    maps[1] += 0.5
    kept = usual_cells(maps, 0.3)
    values = sorted(float(value) for one in maps for value in one.ravel())
    limit = values[int(0.7 * (len(values) - 1))]
    for one, cells in zip(maps, kept, strict=True):
        for place in np.ndindex(one.shape):
            assert bool(cells[place]) == bool(one[place] <= limit + 1e-6)
    assert sum(int(cells.sum()) for cells in kept) == 70


def contaminated() -> tuple[list[tuple[int, torch.Tensor]], list[int]]:
    """Noise images, a third of which share a strange patch, so that each finds its double in two others."""
    generator = torch.Generator().manual_seed(4)
    patch = 6 + torch.randn(5, 4, 4, generator=generator)
    sample, strange = [], [1, 4, 7]
    for index in range(9):
        one = torch.randn(5, 12, 12, generator=generator)
        if index in strange:
            one[:, 4:8, 4:8] = patch + 0.05 * torch.randn(5, 4, 4, generator=generator)
        sample.append((index, one))
    return sample, strange


def test_a_defect_that_several_images_share_stays_anomalous_because_it_is_trimmed() -> None:
    sample, strange = contaminated()
    ratios = {}
    for trim in (0.0, 0.1):
        settings = {"localization.memory_bank.outlier_fraction": trim, "features.pool_size": 1, "localization.smoothing_sigma": 0}
        settings["localization.memory_bank.image_quantile"] = 0.5 if trim else 0.0
        _, maps = fit_maps(sample, [5], Config.from_values(settings))
        inside = np.median([maps[index][4:8, 4:8] for index in strange])
        ratios[trim] = inside / np.median([maps[index] for index in range(9) if index not in strange])
    assert ratios[0.1] > 1.5 * ratios[0.0]


def test_trimming_leaves_no_trace_of_the_trimmed_cells_and_keeps_the_shape_of_the_bank() -> None:
    sample, strange = contaminated()
    settings = {"localization.memory_bank.outlier_fraction": 0.1, "localization.memory_bank.image_quantile": 0.5, "features.pool_size": 1, "features.normalization": "none"}
    config = Config.from_values(settings)
    fitted, _ = fit_maps(sample, [5], config)
    assert fitted.neighbors is not None
    assert fitted.neighbors.image_ids == tuple(range(9))
    assert fitted.neighbors.patches.shape == (9, config.normality.sample_vectors, 5)
    rows = [row.numpy().tobytes() for index in strange for row in sample[index][1][:, 4:8, 4:8].flatten(1).T]
    held = {row.numpy().tobytes() for row in fitted.neighbors.patches.flatten(0, 1)}
    assert len(held & set(rows)) < 0.3 * len(rows)
    assert len(held) > 9 * 50  # and the rest are vectors of the images
    assert held <= {row.numpy().tobytes() for _, one in sample for row in one.flatten(1).T.contiguous()}


def test_an_image_that_is_anomalous_all_over_leaves_the_bank_but_the_last_two_stay() -> None:
    sample, _ = contaminated()
    sample[3] = (3, sample[3][1] * 4)
    config = Config.from_values({"localization.memory_bank.outlier_fraction": 0.25, "features.pool_size": 1, "features.normalization": "none"})
    fitted, _ = fit_maps(sample, [5], config)
    assert fitted.neighbors is not None
    assert 3 not in fitted.neighbors.image_ids
    pair, _ = fit_maps([sample[0], sample[3]], [5], config)
    assert pair.neighbors is not None
    assert pair.neighbors.image_ids == (0, 3)


def test_a_given_threshold_leaves_the_descriptors_level_as_it_is() -> None:
    rng = np.random.default_rng(0)
    sample = [(i, torch.from_numpy(rng.random((6, 8, 8), np.float32))) for i in range(4)]
    levels = set()
    for threshold in ("auto", 0.125):
        fitted, maps = fit_maps(sample, [6], Config.from_values({"localization.threshold": threshold}))
        levels.add(fitted.tempered(maps).level)
    assert len(levels) == 1
    assert levels.pop() > 0


def test_a_vae_refuses_features_it_cannot_reproduce() -> None:
    settings = {"localization.method": "bal", "localization.method": "vae"}
    sample = [(0, torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(0)))]
    with pytest.raises(ConfigError, match=r"features\.scaling image"):
        fit_maps(sample, [4], Config.from_values(settings))
    few = settings | {"features.normalization": "image", "localization.vae.steps": 2}
    assert fit_maps(sample, [4], Config.from_values(few))[1][0].shape == (8, 8)
