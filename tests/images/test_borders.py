from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish.config.schema import Config
from blemish.images import ImageSource
from blemish.images.inside.borders import Borders, find_borders

SIDE = 160


def texture(seed: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal(120, 25, (height, width, 3)), 0, 255).astype(np.uint8)


def letterboxed(seed: int, top: int, left: int, value: int = 0) -> np.ndarray:
    pixels = texture(seed)
    pixels[:top], pixels[:, :left] = value, value
    return pixels


def rotated(seed: int, degrees: float, expand: bool) -> np.ndarray:
    picture = Image.fromarray(texture(seed, SIDE, 220))
    return np.asarray(picture.rotate(degrees, Image.Resampling.BILINEAR, expand=expand))


def as_jpeg(pixels: np.ndarray, quality: int = 85) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def inside(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    return find_borders(pixels, 255).picture((height, width), height, width) >= 0.5


@pytest.mark.parametrize("value", [0, 255, 128])
@pytest.mark.parametrize(("top", "left"), [(24, 0), (0, 40), (17, 9)])
def test_bars_of_one_value_are_no_picture(top: int, left: int, value: int) -> None:
    found = find_borders(letterboxed(1, top, left, value), 255)
    assert (found.top, found.bottom, found.left, found.right) == (top, 0, left, 0)


def test_compressed_bars_are_found_to_a_block() -> None:
    found = find_borders(as_jpeg(letterboxed(1, 40, 0)), 255)
    assert 32 <= found.top <= 40
    assert (found.bottom, found.left, found.right) == (0, 0, 0)


@pytest.mark.parametrize("expand", [False, True])
@pytest.mark.parametrize(("degrees", "compressed"), [(8, False), (20, False), (-33, False), (20, True), (-33, True)])
def test_corners_of_a_rotated_picture_are_no_picture(degrees: float, expand: bool, compressed: bool) -> None:
    pixels = rotated(2, degrees, expand)
    white = Image.new("L", (220, SIDE), 255).rotate(degrees, Image.Resampling.NEAREST, expand=expand)
    truth = np.asarray(white) > 0
    found = inside(as_jpeg(pixels, 92) if compressed else pixels)
    assert (found != truth).mean() < 0.02
    assert not (found & ~truth).sum() > 0.04 * (~truth).sum() + 100


def test_a_picture_that_is_dark_or_bright_at_its_border_is_kept() -> None:
    rng = np.random.default_rng(0)
    ramp = np.clip(np.arange(SIDE) - 40, 0, 120)[:, None]
    vignette = np.clip(ramp + rng.normal(0, 2, (SIDE, SIDE)) * (ramp > 0), 0, 255).astype(np.uint8)
    clipped = np.clip(rng.normal(120, 20, (SIDE, SIDE)) - 130 * (np.arange(SIDE) < 40)[:, None], 0, 255)
    torn = texture(3)
    torn[:50, :50][np.add.outer(np.arange(50), np.arange(50)) < 50] = 255  # one corner, as a broken piece leaves it
    hole = texture(4)
    hole[:30, 40:90] = 255
    thin = texture(5)
    thin[:5] = 0
    for pixels in (vignette, clipped.astype(np.uint8), torn, hole, thin, np.full((SIDE, SIDE), 7, np.uint8)):
        assert not find_borders(pixels.reshape(SIDE, SIDE, -1), 255)
    mostly_black = np.zeros((SIDE, SIDE, 1), np.uint8)
    mostly_black[70:90] = texture(6)[70:90, :, :1]
    assert not find_borders(mostly_black, 255)


def test_borders_survive_as_numbers() -> None:
    found = find_borders(rotated(2, 20, expand=True), 255)
    assert all(min(legs) > 8 for legs in found.corners)
    assert Borders.from_numbers(found.numbers()) == found
    assert not Borders.from_numbers(np.zeros(12, np.int64))


def save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def opened(folder: Path, **values: object) -> ImageSource:
    return ImageSource(folder, Config.from_values({f"image.{key}": value for key, value in values.items()}).image)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_transparent_pixels_are_no_picture(tmp_path: Path, suffix: str) -> None:
    pixels = np.dstack([texture(1), np.full((SIDE, SIDE), 255, np.uint8)])
    pixels[:, :64, 3] = 0
    pixels[80:, 64:, 3] = 9  # a little is visible
    save(tmp_path / f"a.{suffix}", pixels)
    source = opened(tmp_path)
    found = source.inside(0, 20, 20)
    assert found is not None
    np.testing.assert_array_equal(found, np.broadcast_to(np.arange(20) >= 8, (20, 20)))
    assert source.area.bordered == 1
    assert opened(tmp_path, borders="keep").inside(0, 20, 20) is None


def test_nothing_of_a_border_reaches_the_network_and_images_without_one_stay_as_they_are(tmp_path: Path) -> None:
    for name, value in (("a", 0), ("b", 255)):
        save(tmp_path / f"{name}.png", letterboxed(1, 32, 0, value))
    save(tmp_path / "plain.png", texture(2))
    source, plain = opened(tmp_path), opened(tmp_path, borders="keep")
    np.testing.assert_array_equal(source.small(0), source.small(1))
    np.testing.assert_array_equal(source.small(2), plain.small(2))
    assert source.inside(2, 20, 20) is None
    assert not np.array_equal(source.small(0), plain.small(0))


def test_a_border_and_a_region_of_interest_count_together(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    save(tmp_path / "images" / "a.png", letterboxed(1, 32, 0))
    roi = np.zeros((SIDE, SIDE), np.uint8)
    roi[:, 80:] = 255
    save(tmp_path / "roi.png", roi)
    found = opened(tmp_path / "images", roi=str(tmp_path / "roi.png")).inside(0, 20, 20)
    assert found is not None
    assert found.sum() == 16 * 10
    assert found[4:, 10:].all()
