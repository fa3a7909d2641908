"""Whole runs on images in tiles: they equal runs without tiles, and later images are read alike."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from blemish.config.schema import Config
from blemish.errors import ConfigError
from blemish.images import ImageSource
from blemish.output import write_outputs
from blemish.pipeline import run
from blemish.results import Result

FAST = {
    "image.size": "native",
    "localization.memory_bank.patches_per_image": 32,
    "contrastive.enabled": False,
    "cache.enabled": False,
}
SHAPES = ((281, 400), (60, 520), (330, 40), (1, 420))


def draw(folder: Path, roi: Path | None = None) -> Path:
    """Two images of each shape, with a defect in the second one."""
    folder.mkdir()
    for number in range(2 * len(SHAPES)):
        height, width = SHAPES[number // 2]
        rng = np.random.default_rng(number)
        pixels = gaussian_filter(rng.normal(size=(height, width)), 1.2)
        pixels = 120 + 25 * pixels / pixels.std()
        if number % 2:
            pixels[height // 3 : height // 3 + 24, width // 2 : width // 2 + 24] = 10
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        if roi is not None:
            mask = np.zeros((height, width), np.uint8)
            mask[:, width // 4 :] = 255
            roi.mkdir(exist_ok=True)
            Image.fromarray(mask).save(roi / f"{number}.png")
    return folder


def config(**values: object) -> Config:
    return Config.from_values(FAST | {key.replace("__", "."): value for key, value in values.items()})


def assert_alike(one: Result, other: Result) -> None:
    assert one.paths == other.paths
    for first, second in zip(one.maps, other.maps, strict=True):
        np.testing.assert_allclose(first, second, rtol=0, atol=1e-4)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
    np.testing.assert_allclose(one.descriptors, other.descriptors, atol=1e-4)
    assert [(r.image, r.left, r.top, r.width, r.height) for r in one.regions] == [
        (r.image, r.left, r.top, r.width, r.height) for r in other.regions
    ]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("large") / "images")


@pytest.fixture(scope="module")
def tiled(drawn: Path) -> Result:
    return run(drawn, config(image__max_side=256))


def test_maps_descriptors_and_regions_equal_those_without_tiles(drawn: Path, tiled: Result) -> None:
    assert tiled.info["resolution"]["tiled"] == 8
    assert [tuple(one.shape) for one in tiled.maps[:2]] == [(36, 50), (36, 50)]
    whole = run(drawn, config())
    assert whole.info["resolution"]["tiled"] == 0
    assert_alike(tiled, whole)


def test_a_fitted_model_reads_large_images_as_its_run_did(drawn: Path, tiled: Result) -> None:
    assert tiled.model is not None
    found = tiled.model.predict(drawn)
    for first, second in zip(tiled.maps, found.maps, strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(tiled.is_anomalous, found.is_anomalous)


def test_regions_of_interest_and_tiles_go_together(tmp_path: Path) -> None:
    images = draw(tmp_path / "images", tmp_path / "masks")
    settings = {"image__roi": str(tmp_path / "masks"), "localization__border_correction": False}
    assert_alike(run(images, config(image__max_side=256, **settings)), run(images, config(**settings)))


def test_without_tiles_large_images_are_reduced_and_the_run_says_what_that_hides(drawn: Path, tmp_path: Path) -> None:
    result = run(drawn, config(image__tiling="off", image__max_side=256))
    resolution = result.info["resolution"]
    assert resolution["tiled"] == 0
    assert resolution["reduction"]["most"] == pytest.approx(520 / 256, rel=0.1)
    assert resolution["hidden_pixels"] == round(8 * resolution["reduction"]["most"])
    (note,) = result.input_notes
    assert "were reduced" in note
    assert f"below about {resolution['hidden_pixels']} pixels" in note
    write_outputs(result, tmp_path / "out", overlays=False, report=True)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["resolution"] == resolution
    assert note in (tmp_path / "out" / "report.html").read_text()


def test_the_budget_of_pixels_limits_native_images(drawn: Path) -> None:
    resolution = ImageSource(drawn, config(image__max_megapixels=0.05).image).report()["resolution"]
    assert resolution["reduction"]["most"] == pytest.approx((281 * 400 / 50_000) ** 0.5, rel=0.1)
    assert "image.max_megapixels" in resolution["note"]


def test_native_squares_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"image.size must be a number of pixels.*image.resize=dataset"):
        config(image__resize="stretch")


def test_huge_images_stay_as_they_are_stored(
    drawn: Path, tiled: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, small, pictures = config(image__size=128).image, {}, {}
    for name, limit in (("floats", 500), ("stored", 0)):
        monkeypatch.setattr("blemish.images.source.HUGE_MEGABYTES", limit)
        source = ImageSource(drawn, settings)
        small[name] = [source.small(index) for index in range(len(source))]
        paths = write_outputs(tiled, tmp_path / name, report=True, load_image=source.full)
        assert not paths.not_drawn
        pictures[name] = {one.relative_to(tmp_path / name) for one in (tmp_path / name).rglob("*.jpg")}
    for first, second in zip(small["floats"], small["stored"], strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)
    assert pictures["floats"] == pictures["stored"]
    for name in pictures["floats"]:
        first, second = (np.asarray(Image.open(tmp_path / kind / name)).astype(int) for kind in small)
        assert np.abs(first - second).max() < 12


def test_a_run_on_large_images_says_how_large_a_defect_has_to_be(tiled: Result) -> None:
    large = tiled.info["resolution"] | {"cells": 10_000, "hidden_pixels": 16}
    found = replace(tiled, info=tiled.info | {"resolution": large}).input_notes
    assert any("1 % of the area on, a square of 160 pixels" in note for note in found)
    assert not any("of the area" in note for note in tiled.input_notes)
