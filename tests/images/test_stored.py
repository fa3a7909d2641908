from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.images import StoredImage, resize
from blemish.images.scaling.tiling import TilePixels, plan_tiles


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(61, 83), (30, 41), (7, 200), (1, 1), (122, 166)])
def test_a_resized_image_is_the_one_that_torch_resizes(
    channels: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blemish.images.decoding.stored.BAND_BYTES", 4000)
    values = np.random.default_rng(0).integers(0, 256, (61, 83, channels), dtype=np.uint8)
    image = StoredImage(values, 255.0)
    whole = image[:, :]
    np.testing.assert_array_equal(whole, np.broadcast_to(values.astype(np.float32) / np.float32(255), (61, 83, 3)))
    np.testing.assert_allclose(resize(image, *size), resize(whole, *size), atol=2e-6)
    window = slice(size[0] // 3, size[0]), slice(0, size[1] // 2 + 1)
    np.testing.assert_allclose(image.resized(*size, window), image.resized(*size)[window], atol=2e-6)


def test_values_above_white_are_clipped() -> None:
    image = StoredImage(np.array([[[100], [5000]]], np.uint16), 4095.0)
    assert image[:, :].max() == 1
    assert image.shape == (1, 2, 3)


@pytest.mark.parametrize("size", [(1, 5000), (300, 300), (1000, 40), (257, 2049)])
def test_the_cores_of_tiles_cover_an_image_once(size: tuple[int, int]) -> None:
    counted, previous = np.zeros(size, int), 0
    for row in plan_tiles(*size, side=256, overlap=64, step=16):
        for tile in row:
            counted[tile.core] += 1
            for core, read, length in zip(tile.core, tile.read, size, strict=True):
                assert read.start == max(0, core.start - 64)
                assert read.stop == min(length, max(core.stop, core.start + 128) + 64)
                assert core.start % 16 == 0
        assert row[0].core[0].start == previous
        previous = row[0].core[0].stop
    assert (counted == 1).all()


def test_a_window_is_filled_from_beyond_its_edge() -> None:
    values = np.random.default_rng(0).random((64, 300, 3), dtype=np.float32)

    def mirrored(pixels: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
        outside = np.arange(window[1].start, window[1].stop) < 100
        filled = pixels.copy()
        filled[:, :, outside] = pixels[
            :, :, [2 * 100 - int(c) - window[1].start for c in np.flatnonzero(outside) + window[1].start]
        ]
        return filled

    tiles = TilePixels(StoredImage(values, 1.0), (64, 300), mirrored)
    found = tiles.read((slice(0, 64), slice(60, 110)))
    assert found.shape == (3, 64, 50)
    np.testing.assert_array_equal(found[:, :, 40:], values[:, 100:110].transpose(2, 0, 1))
    np.testing.assert_array_equal(found[:, :, 39], values[:, 101].transpose())
    assert torch.from_numpy(found).is_contiguous()
