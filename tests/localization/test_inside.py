from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.config.localization import Localization
from blemish.config.sections import Descriptor
from blemish.descriptors.model import DescriptorModel
from blemish.localization.border import fit_border_correction
from blemish.localization.inside import inside_cells, inside_values, maps_inside, zero_outside
from blemish.localization.median_fill import median_filled_maps
from blemish.localization.model import fit_map_model, inlier_cells
from blemish.runtime.spill import ArrayStore

INSIDE = np.zeros((10, 12), bool)
INSIDE[2:9, 3:11] = True


def features(seed: int, outside: float) -> torch.Tensor:
    """Four channels that the seed decides inside; outside everything is one large number."""
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=(4, 10, 12)).astype(np.float32))
    return torch.where(torch.from_numpy(INSIDE), values, outside)


@pytest.mark.parametrize("method", ["knn", "pca_fca"])
def test_the_outside_does_not_enter_the_fit(method: str) -> None:
    settings = Localization(method=method, smoothing_sigma=0)  # type: ignore[arg-type]
    kept = []
    for outside in (50.0, -400.0):
        sample = [(i, features(i, outside)) for i in range(4)]
        model, maps = fit_map_model(sample, settings, pool_size=1, inside=[INSIDE] * 4)
        assert all(not one[~INSIDE].any() for one in maps)
        kept.append((model, maps))
    (first, _), (second, _) = kept
    if method == "knn":
        assert first.memory_bank is not None
        assert second.memory_bank is not None
        torch.testing.assert_close(first.memory_bank.patches, second.memory_bank.patches)
    else:
        assert first.subspace is not None
        assert second.subspace is not None
        torch.testing.assert_close(first.subspace.mean, second.subspace.mean)


def test_inliers_and_borders_count_only_the_inside() -> None:
    rng = np.random.default_rng(0)
    maps = [np.where(INSIDE, rng.uniform(1, 2, INSIDE.shape), 99).astype(np.float32) for _ in range(3)]
    kept = torch.stack(inlier_cells(maps, 0.25, [INSIDE] * 3)).numpy()
    assert not kept[:, ~INSIDE].any()
    assert kept.sum() == pytest.approx(0.75 * 3 * INSIDE.sum(), abs=1)
    assert max(fit_border_correction(maps, [INSIDE] * 3).median) < 2


@pytest.mark.parametrize("weighting", ["thresholded", "softmax", "max", "average"])
def test_descriptor_weights_are_zero_outside_and_keep_their_sum(weighting: str) -> None:
    model = DescriptorModel(Descriptor(weighting=weighting), tau=0.3, level=0.5)  # type: ignore[arg-type]
    values = np.random.default_rng(0).uniform(0, 1, INSIDE.shape).astype(np.float32)
    weights = model.pixel_weights(values, INSIDE)
    assert not weights[torch.from_numpy(~INSIDE)].any()
    assert float(weights.sum()) == pytest.approx(1.0 if weighting == "average" else 0.0, abs=1e-9)
    everywhere = np.ones_like(INSIDE)
    torch.testing.assert_close(model.pixel_weights(values, everywhere), model.pixel_weights(values), atol=0.02, rtol=0)


def test_without_a_region_everything_is_the_very_same_object() -> None:
    values, cells = np.ones((3, 4), np.float32), torch.ones(2, 3, 4)
    assert inside_cells(cells, None) is cells
    assert inside_values(values, None) is values
    assert zero_outside(values, None) is values
    maps = [values, values]
    assert maps_inside(maps, [None, None]) is maps


def test_values_inside_and_filled_maps() -> None:
    values = np.arange(120, dtype=np.float32).reshape(10, 12)
    maps = maps_inside([values, values], [INSIDE, ~INSIDE])
    assert [one.shape for one in maps] == [(1, INSIDE.sum()), (1, (~INSIDE).sum())]
    assert len(maps[:1]) == 1
    store = ArrayStore()
    filled = median_filled_maps(store.view(store.add([zero_outside(values + 1, INSIDE)])), (3,), [INSIDE])
    assert not filled[0][~INSIDE].any()
    assert filled[0][INSIDE].all()
