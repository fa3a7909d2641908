from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish.config.schema import Config
from blemish.errors import ConfigError
from blemish.images import ImageSource
from blemish.images.inside.roi import RegionOfInterest
from blemish.model import FittedModel
from blemish.pipeline import run

SIDE = 64
FAST = {
    "image.size": SIDE,
    "image.borders": "keep",  # every second image has a constant outside
    "localization.sample_images": 6,
    "localization.memory_bank.patches_per_image": 16,
    "contrastive.enabled": False,
    "cache.enabled": False,
}


def disk(side: int = SIDE, radius: float = 24) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    return rows**2 + columns**2 < radius**2


def draw_set(folder: Path, outside_seed: int, defects: tuple[int, ...] = (1, 3, 4, 6)) -> Path:
    """Ten images whose texture does not depend on the seed, and whose surroundings do; defects lie in the center."""
    images = folder / f"images{outside_seed}"
    images.mkdir(parents=True)
    for i in range(10):
        texture = np.random.default_rng(i).normal(120, 10, (SIDE, SIDE))
        if i in defects:
            texture[26:38, 26:38] = 20
        outside = np.random.default_rng((outside_seed, i)).uniform(0, 255, (SIDE, SIDE))
        pixels = np.where(disk(), texture, outside if i % 2 else outside_seed)
        Image.fromarray(pixels.astype(np.uint8)).save(images / f"{i}.png")
    return images


def mask_file(path: Path, mask: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((mask * 255).astype(np.uint8)).save(path)
    return path


def source(images: Path, roi: Path, size: int = SIDE) -> ImageSource:
    return ImageSource(
        images, Config.from_values({"image.size": size, "image.roi": str(roi), "image.borders": "keep"}).image
    )


@pytest.mark.parametrize("size", [SIDE, 48])
def test_the_network_sees_nothing_of_the_outside(tmp_path: Path, size: int) -> None:
    roi = mask_file(tmp_path / "roi.png", disk())
    one, other = (source(draw_set(tmp_path, seed), roi, size) for seed in (0, 200))
    for index in range(3):
        np.testing.assert_allclose(one.small(index), other.small(index), rtol=0, atol=1e-4 if size < SIDE else 0)
        if size == SIDE:
            np.testing.assert_array_equal(one.small(index)[:, disk()], one.full(index).transpose(2, 0, 1)[:, disk()])


def test_the_outside_is_neither_learned_nor_scored(tmp_path: Path) -> None:
    images = draw_set(tmp_path, 0)
    roi = mask_file(tmp_path / "roi.png", disk())
    result = run(images, Config.from_values({**FAST, "image.roi": str(roi)}))
    assert np.flatnonzero(result.is_anomalous).tolist() == [1, 3, 4, 6]
    assert np.isfinite(result.descriptors).all()
    inside = RegionOfInterest(roi, ["0.png"], [source(images, roi).infos[0]]).inside(0, *result.maps[0].shape)
    for values in result.maps:
        assert not values[~inside].any()
        assert values[inside].any()


def test_a_model_asks_for_masks_that_are_elsewhere(tmp_path: Path) -> None:
    images, roi = draw_set(tmp_path, 0), mask_file(tmp_path / "roi.png", disk())
    result = run(images, Config.from_values({**FAST, "image.roi": str(roi)}))
    assert isinstance(result.model, FittedModel)
    moved = roi.rename(tmp_path / "moved.png")
    with pytest.raises(
        ConfigError, match=r"roi.png: the model was fitted with .* which is not here; give it with --roi"
    ):
        result.model.predict(images)
    again = result.model.with_roi(str(moved)).predict(images)
    np.testing.assert_array_equal(again.scores, result.scores)
    np.testing.assert_array_equal(again.labels, result.labels)


def test_a_folder_holds_a_mask_for_each_image(tmp_path: Path) -> None:
    images = draw_set(tmp_path, 0)
    left = np.arange(SIDE) < SIDE // 2
    for i in range(10):
        mask_file(tmp_path / "masks" / f"{i}.bmp", np.broadcast_to(left if i else ~left, (SIDE, SIDE)))
    opened = source(images, tmp_path / "masks")
    first, second = opened.inside(0, 8, 8), opened.inside(1, 8, 8)
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first, np.broadcast_to(np.arange(8) >= 4, (8, 8)))
    np.testing.assert_array_equal(second, ~first)
    digests = {opened.fingerprint(index) for index in range(10)}
    mask_file(tmp_path / "masks" / "3.bmp", disk())
    assert len({source(images, tmp_path / "masks").fingerprint(index) for index in range(10)} - digests) == 1


def test_every_mistake_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    images, roi = draw_set(tmp_path, 0), tmp_path / "roi.png"
    with pytest.raises(ConfigError, match="no such file or folder; give a mask"):
        source(images, roi)
    roi.write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"image.roi: .*roi.png"):
        source(images, roi)
    mask_file(roi, disk(32, 8))
    with pytest.raises(ConfigError, match=r"roi.png: the mask has 32 x 32 pixels, but the image 0.png has 64 x 64"):
        source(images, roi)
    mask_file(roi, np.zeros((SIDE, SIDE), bool))
    with pytest.raises(ConfigError, match="the mask is empty"):
        source(images, roi).small(0)
    mask_file(roi, disk(radius=1.5))
    with pytest.raises(ConfigError, match="the region is too small for the 8 x 8 cells"):
        source(images, roi).inside(0, 8, 8)
    mask_file(tmp_path / "masks" / "0.png", disk())
    with pytest.raises(ConfigError, match=r"holds no mask for 9 of 10 images, such as 1.png"):
        source(images, tmp_path / "masks")
    mask_file(roi, np.zeros((SIDE, SIDE), bool))
    with pytest.raises(ConfigError, match="the mask is empty"):  # the run ends; its images are not skipped
        run(images, Config.from_values({**FAST, "image.roi": str(roi)}))
