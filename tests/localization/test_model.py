from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.config.localization import Localization
from blemish.localization.model import MapModel, fit_map_model, inlier_cells, select_channels
from blemish.localization.reconstruction import VAE, vae_residual
from blemish.types import FloatArray
from helpers.reference_method import quantile_loop, squared_distance, vae_residual_loop

Sample = list[tuple[int, torch.Tensor]]

METHODS = ("knn", "vae_fca", "pca_fca", "fca", "vae_l1", "vae_l2")


def knn(**memory_bank: object) -> Localization:
    return Localization.model_validate({"smoothing_sigma": 0, "border_correction": False, "memory_bank": memory_bank})


def noise(count: int, seed: int = 3, shape: tuple[int, int] = (8, 9), channels: int = 5) -> Sample:
    generator = torch.Generator().manual_seed(seed)
    return [(k, torch.rand(channels, *shape, generator=generator)) for k in range(count)]


def contaminated() -> tuple[Sample, list[int]]:
    """Noise images, a third of which share a defect, so that each finds its double in two others."""
    generator = torch.Generator().manual_seed(4)
    defect = 6 + torch.randn(5, 4, 4, generator=generator)
    sample, defective = [], [1, 4, 7]
    for index in range(9):
        one = torch.randn(5, 12, 12, generator=generator)
        if index in defective:
            one[:, 4:8, 4:8] = defect + 0.05 * torch.randn(5, 4, 4, generator=generator)
        sample.append((index, one))
    return sample, defective


def patches_of(model: MapModel) -> torch.Tensor:
    assert model.memory_bank is not None
    return model.memory_bank.patches


def rows(features: torch.Tensor) -> set[bytes]:
    """The feature vectors of all cells, by their bytes."""
    return {row.numpy().tobytes() for row in features.flatten(1).T.contiguous()}


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9])
def test_inlier_cells_leave_out_the_highest_cells_of_all_maps_together(fraction: float) -> None:
    rng = np.random.default_rng(0)
    maps = [rng.random(shape).astype(np.float32) for shape in ((5, 8), (10, 6))]
    maps[1] += 0.5
    limit = quantile_loop([float(value) for one in maps for value in one.ravel()], 1 - fraction)
    kept = inlier_cells(maps, fraction)
    for one, cells in zip(maps, kept, strict=True):
        for place in np.ndindex(one.shape):
            assert bool(cells[place]) == bool(one[place] <= limit + 1e-6)
    assert sum(int(cells.sum()) for cells in kept) == round(100 * (1 - fraction))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_one_finite_map_per_image(method: str) -> None:
    settings = Localization.model_validate({"method": method, "vae": {"steps": 2, "hidden": 8, "latent": 2}})
    sample = noise(4)
    model, maps = fit_map_model(sample, settings, pool_size=3)
    for (image_id, features), values in zip(sample, maps, strict=True):
        assert values.shape == (8, 9)
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert values.min() >= 0
        np.testing.assert_array_equal(model.anomaly_map(features, image_id), values)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_maps(method: str) -> None:
    settings = Localization.model_validate({"method": method, "vae": {"steps": 2, "hidden": 8, "latent": 2}})
    first, second = (fit_map_model(noise(3), settings, pool_size=3, seed=5)[1] for _ in range(2))
    assert [one.tobytes() for one in first] == [one.tobytes() for one in second]


def distance_loop(features: torch.Tensor, others: list[torch.Tensor], rank: float) -> np.ndarray:
    """Distance of each cell to the nearest cell of each other image, at a quantile over these images."""
    out = np.zeros(features.shape[1:])
    for place in np.ndindex(*features.shape[1:]):
        cell = features[:, place[0], place[1]].tolist()
        each = sorted(min(squared_distance(cell, row) for row in one.flatten(1).T.tolist()) ** 0.5 for one in others)
        out[place] = each[int(rank * (len(each) - 1))]
    return out


@pytest.mark.parametrize("image_quantile", [0.0, 0.5])
def test_knn_map_is_the_distance_to_the_patches_of_the_other_images(image_quantile: float) -> None:
    sample = noise(4, shape=(3, 4))
    settings = knn(patches_per_image=12, outlier_fraction=0, density_exponent=0, image_quantile=image_quantile)
    _, maps = fit_map_model(sample, settings, pool_size=1)
    for (image_id, features), values in zip(sample, maps, strict=True):
        others = [one for other, one in sample if other != image_id]
        np.testing.assert_allclose(values, distance_loop(features, others, image_quantile), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_autoencoder_map_is_the_norm_of_the_residual(norm: str) -> None:
    network = VAE(5, 7, 3, generator=torch.Generator().manual_seed(1)).eval()
    features = noise(1, shape=(3, 4))[0][1]
    settings = Localization(method=f"vae_{norm}")  # type: ignore[arg-type]
    found = MapModel(settings, pool_size=1, vae=network).anomaly_map(features)
    weights = {name: value.double().numpy() for name, value in network.state_dict().items()}
    residual = vae_residual_loop(weights, features.double().numpy())
    expected = np.abs(residual).mean(0) if norm == "l1" else np.sqrt((residual**2).sum(0))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_what_principal_components_explain_leaves_no_trace_in_the_map() -> None:
    generator = torch.Generator().manual_seed(2)
    plane = torch.randn(5, 2, generator=generator)
    sample = [(k, (plane @ torch.randn(2, 441, generator=generator)).unflatten(1, (21, 21))) for k in range(4)]
    sample[0][1][:, 9, 12] += 3 * torch.randn(5, generator=generator)
    settings = Localization.model_validate(
        {"method": "pca_fca", "border_correction": False, "smoothing_sigma": 0, "pca": {"n_components": 2}}
    )
    _, maps = fit_map_model(sample, settings, pool_size=1)
    assert np.unravel_index(maps[0].argmax(), maps[0].shape) == (9, 12)
    assert max(one.max() for one in maps[1:]) < 0.2 * maps[0].max()


def test_smoothing_keeps_constant_maps_and_lowers_single_cells() -> None:
    sample = noise(4)
    sample[0][1][:, 4, 4] += 5
    sharp = fit_map_model(sample, knn(outlier_fraction=0), pool_size=1)[1]
    settings = knn(outlier_fraction=0).model_copy(update={"smoothing_sigma": 1.0})
    smooth = fit_map_model(sample, settings, pool_size=1)[1]
    assert smooth[0][4, 4] < 0.5 * sharp[0][4, 4]
    assert smooth[0][4, 5] > sharp[0][4, 5]


@pytest.mark.parametrize(("border", "shape", "width"), [(2, (8, 9), 2), (9, (8, 9), 3), (9, (2, 9), 0)])
def test_zero_border_covers_so_many_cells_but_never_the_whole_map(
    border: int, shape: tuple[int, int], width: int
) -> None:
    settings = knn(outlier_fraction=0).model_copy(update={"zero_border": border})
    values = fit_map_model(noise(3, shape=shape), settings, pool_size=1)[1][0]
    rows_, columns = np.mgrid[: shape[0], : shape[1]]
    edge = np.minimum(np.minimum(rows_, shape[0] - 1 - rows_), np.minimum(columns, shape[1] - 1 - columns))
    np.testing.assert_array_equal(values > 0, edge >= width)


def test_copies_of_an_image_are_not_compared_with_each_other() -> None:
    sample = noise(4)
    copies = [*sample, (0, sample[0][1].clone())]
    strangers = [*sample, (4, sample[0][1].clone())]
    settings = knn(outlier_fraction=0, patches_per_image=72, image_quantile=0)
    assert fit_map_model(copies, settings, pool_size=1)[1][4].min() > 0
    assert fit_map_model(strangers, settings, pool_size=1)[1][4].max() == 0


def test_only_the_chosen_channels_reach_the_maps() -> None:
    sample = noise(4, channels=6)
    generator = torch.Generator().manual_seed(1)
    other = [(k, torch.cat([torch.rand(2, 8, 9, generator=generator), one[2:]])) for k, one in sample]
    settings = Localization()
    maps, same, all_channels = (
        fit_map_model(each, settings, pool_size=3, channels=channels)[1]
        for each, channels in ((sample, (2, 3, 4, 5)), (other, (2, 3, 4, 5)), (other, None))
    )
    assert [one.tobytes() for one in maps] == [one.tobytes() for one in same]
    assert maps[0].tobytes() != all_channels[0].tobytes()


@pytest.mark.parametrize("channels", [(0, 1, 2), (1, 2), (0, 3), (0, 1, 2, 3, 4), None])
def test_channels_are_selected_in_order(channels: tuple[int, ...] | None) -> None:
    features = noise(1)[0][1]
    expected = [features[c].numpy() for c in (range(5) if channels is None else channels)]
    np.testing.assert_array_equal(select_channels(features, channels).numpy(), expected)


def median_ratio(maps: list[FloatArray], defective: list[int]) -> float:
    """Map value inside of the defects relative to the images without a defect."""
    inside = np.median([maps[index][4:8, 4:8] for index in defective])
    return float(inside / np.median([maps[index] for index in range(9) if index not in defective]))


def test_outlier_removal_keeps_a_defect_anomalous_that_several_images_share() -> None:
    sample, defective = contaminated()
    without = fit_map_model(sample, knn(outlier_fraction=0, image_quantile=0), pool_size=1)[1]
    removed = fit_map_model(sample, knn(outlier_fraction=0.1, image_quantile=0.5), pool_size=1)[1]
    assert median_ratio(removed, defective) > 1.5 * median_ratio(without, defective)


def test_outlier_removal_draws_as_many_patches_from_other_cells() -> None:
    sample, defective = contaminated()
    model, _ = fit_map_model(sample, knn(outlier_fraction=0.1, image_quantile=0.5, patches_per_image=64), pool_size=1)
    assert model.memory_bank is not None
    assert model.memory_bank.image_ids == tuple(range(9))
    assert patches_of(model).shape == (9, 64, 5)
    held = {row.numpy().tobytes() for row in patches_of(model).flatten(0, 1)}
    defects = set().union(*(rows(sample[index][1][:, 4:8, 4:8]) for index in defective))
    assert len(held & defects) < 0.3 * len(defects)
    assert len(held) > 9 * 50  # the others are vectors of the images
    assert held <= set().union(*(rows(one) for _, one in sample))


def test_an_image_that_is_anomalous_all_over_stays_out_of_the_memory_bank_unless_hardly_any_image_is_left() -> None:
    sample, _ = contaminated()
    sample[3] = (3, sample[3][1] * 4)
    settings = knn(outlier_fraction=0.25)
    model, _ = fit_map_model(sample, settings, pool_size=1)
    assert model.memory_bank is not None
    assert 3 not in model.memory_bank.image_ids
    pair, _ = fit_map_model([sample[0], sample[3]], settings, pool_size=1)
    assert pair.memory_bank is not None
    assert pair.memory_bank.image_ids == (0, 3)


def test_a_map_with_fewer_cells_than_patches_repeats_its_cells() -> None:
    sample = noise(3, shape=(2, 3))
    model, _ = fit_map_model(sample, knn(outlier_fraction=0, patches_per_image=20), pool_size=1)
    assert patches_of(model).shape == (3, 20, 5)
    for (_, features), patches in zip(sample, patches_of(model), strict=True):
        assert {row.numpy().tobytes() for row in patches} == rows(features)


def test_a_single_image_has_a_map_of_zeros() -> None:
    _, maps = fit_map_model(noise(1), Localization(), pool_size=3)
    np.testing.assert_array_equal(maps[0], np.zeros((8, 9)))


@pytest.mark.parametrize("method", ["knn", "vae_fca", "pca_fca", "fca"])
def test_all_tensors_of_a_model_move_to_a_device_and_the_model_stays_where_it_was(method: str) -> None:
    settings = Localization.model_validate({"method": method, "vae": {"steps": 2}, "pca": {"n_components": 2}})
    model, _ = fit_map_model(noise(4), settings, pool_size=3)
    assert model.on("cpu") is model
    moved = model.on("meta")  # a device without memory, which every machine has
    parts = [moved.memory_bank, moved.subspace]
    tensors = [one for part in parts if part is not None for one in vars(part).values() if torch.is_tensor(one)]
    tensors += list(moved.vae.parameters()) if moved.vae is not None else []
    assert all(one.device.type == "meta" for one in tensors)
    assert bool(tensors) == (method != "fca")
    assert moved.device.type == ("meta" if tensors else "cpu")
    assert model.device.type == "cpu"
    if moved.vae is not None:  # residuals stay where FCA goes on with them
        assert vae_residual(moved.vae, noise(1)[0][1][None].to(moved.device)).device == moved.device
    np.testing.assert_array_equal(model.anomaly_map(noise(1)[0][1]), model.on("cpu").anomaly_map(noise(1)[0][1]))
