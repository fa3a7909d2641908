from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from blemish.backbones import load_backbone
from blemish.config.sections import Backbone as BackboneSettings
from blemish.features import Extractor, FeatureBands, fit_normalizer, pooled, within_image_covariance
from blemish.features.bands import cell_count, map_size, mean_cell, normalized, parts, pooled_parts, take_cells
from blemish.images import StoredImage
from blemish.images.scaling.tiling import TilePixels


def whole(seed: int = 0, size: tuple[int, int] = (23, 9)) -> Tensor:
    return torch.rand(5, *size, generator=torch.Generator().manual_seed(seed))


def bands_of(features: Tensor, height: int = 8) -> FeatureBands:
    bands = [one.numpy().copy() for one in features.split(height, dim=1)]
    return FeatureBands(bands, [one.shape for one in bands])


@pytest.mark.parametrize("size", [1, 3, 7])
def test_pooling_in_bands_is_pooling_of_the_whole(size: int) -> None:
    features = whole()
    torch.testing.assert_close(torch.cat(list(bands_of(features).pooled(size)), 1), pooled(features, size))
    torch.testing.assert_close(next(pooled_parts(features, size)), pooled(features, size))


@pytest.mark.parametrize("region", [False, True])
def test_bands_give_the_numbers_of_the_whole(region: bool) -> None:
    features = whole()
    bands = bands_of(features)
    cells, some = features, torch.tensor([40, 3, 3, 17])
    if region:
        mask = np.random.default_rng(0).random((23, 9)) < 0.4
        cells, bands = features[:, torch.from_numpy(mask)][:, None], bands.inside(mask)
    assert map_size(bands) == (23, 9)
    assert cell_count(bands) == cell_count(cells)
    torch.testing.assert_close(torch.cat([one.flatten(1) for one in parts(bands)], 1), cells.flatten(1))
    torch.testing.assert_close(take_cells(bands, some), cells.flatten(1)[:, some])
    torch.testing.assert_close(mean_cell(bands), mean_cell(cells))
    torch.testing.assert_close(within_image_covariance([bands]), within_image_covariance([cells]))
    found, expected = (fit_normalizer([one], [5], "dataset") for one in (bands, cells))
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(found.scale, expected.scale)


def test_channels_windows_and_normalization_of_bands() -> None:
    features = whole()
    for method in ("dataset", "image"):
        normalizer = fit_normalizer([features], [2, 3], method)
        found = normalized(bands_of(features), normalizer)
        found = found if isinstance(found, Tensor) else found.whole()
        torch.testing.assert_close(found, normalizer.apply(features))
    bands = bands_of(features)
    torch.testing.assert_close(bands.selected((1, 4)).whole(), features[[1, 4]])
    torch.testing.assert_close(bands.selected(None).whole(), features)
    torch.testing.assert_close(bands.window(slice(5, 20), slice(2, 6)), features[:, 5:20, 2:6])


@pytest.mark.parametrize("settings", [{}, {"strides": (4, 8, 16)}, {"tta_flips": True}])
@pytest.mark.parametrize("size", [(40, 500), (331, 150)])
def test_tiles_leave_no_seams(settings: dict, size: tuple[int, int]) -> None:
    extractor = Extractor(load_backbone("random:0"), BackboneSettings(**settings))
    image = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    expected = extractor.raw(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])[0]
    tiles = TilePixels(StoredImage(image, 1.0), size)
    found = torch.cat(list(extractor.bands(tiles, 256)), 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_a_tile_shows_all_that_its_cells_see() -> None:
    for stride in (4, 8, 16):
        extractor = Extractor(load_backbone("random:0"), BackboneSettings(strides=(stride,)))
        image = torch.rand(1, 3, 64, 512, generator=torch.Generator().manual_seed(0))
        other = image.clone()
        other[..., : 256 - extractor.backbone.reach[stride]] = 0.5  # type: ignore[attr-defined]
        assert torch.equal(
            extractor.raw(image)[..., 256 // extractor.grid :], extractor.raw(other)[..., 256 // extractor.grid :]
        )
        assert extractor.overlap >= extractor.backbone.reach[stride]  # type: ignore[attr-defined]
