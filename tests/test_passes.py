"""How often a run takes its costly steps: a guard against doing something twice that needs no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blemish.backbones import embedded
from blemish.clustering import grouping
from blemish.config.schema import Config
from blemish.descriptors import geometry
from blemish.descriptors.model import DescriptorModel
from blemish.features import batches
from blemish.images import ImageSource
from blemish.localization.neighbors import MemoryBank
from blemish.pipeline import run

COUNT, SAMPLED = 23, 7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(COUNT):
        pixels = np.random.default_rng(index).integers(0, 255, (64, 64 if index % 2 else 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index:02d}.png")
    return tmp_path


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    seen: Counter[str] = Counter()

    def watch(owner: Any, name: str, key: str, amount: Callable[..., int] = lambda *_args: 1) -> None:
        real = getattr(owner, name)

        def counted(*args: Any, **named: Any) -> Any:
            seen[key] += amount(*args)
            return real(*args, **named)

        monkeypatch.setattr(owner, name, counted)

    watch(ImageSource, "small", "decoded")
    watch(embedded.EmbeddedBackbone, "__call__", "through the network", lambda _network, rgb: len(rgb))
    watch(MemoryBank, "distance", "compared with the set")
    watch(DescriptorModel, "descriptor", "described")
    watch(grouping, "estimate_clusters", "numbers estimated")
    watch(geometry, "region_shape", "shapes measured")
    return seen


def settings(**values: object) -> Config:
    chosen = {"image.size": 64, "localization.sample_images": SAMPLED, "n_clusters": "auto", "cache.enabled": False}
    return Config.from_values(
        chosen | {"descriptor.shape_weight": 0} | {k.replace("__", "."): v for k, v in values.items()}
    )


def test_every_image_is_decoded_passed_through_the_network_and_described_once(
    folder: Path, counts: Counter[str]
) -> None:
    run(folder, settings(localization__threshold=0.0))  # so that there are anomalous images, whose types are counted
    assert counts["decoded"] == counts["through the network"] == counts["described"] == COUNT
    assert counts["numbers estimated"] == 2  # once in each view
    run(folder, settings(n_clusters=3))
    assert counts["numbers estimated"] == 2
    counts.clear()
    run(folder, settings(backbone__tta_flips=True))
    assert counts["decoded"] == COUNT
    assert counts["through the network"] == 4 * COUNT  # each image and its three mirror images


def test_maps_are_computed_once_and_maps_of_the_sample_twice(folder: Path, counts: Counter[str]) -> None:
    run(folder, settings(localization__memory_bank__density_exponent=0))
    assert counts["compared with the set"] == COUNT + SAMPLED
    counts.clear()
    run(folder, settings(localization__memory_bank__density_exponent=0, localization__memory_bank__outlier_fraction=0))
    assert counts["compared with the set"] == COUNT


def test_density_normalization_compares_the_patches_of_each_sampled_image_once(
    folder: Path, counts: Counter[str]
) -> None:
    run(folder, settings(localization__memory_bank__density_exponent=0.25))
    assert counts["compared with the set"] == COUNT + 2 * SAMPLED


def test_features_too_large_to_keep_cost_a_second_pass_of_the_sample_and_nothing_else(
    folder: Path, counts: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "HELD_BYTES", 0)
    run(folder, settings(localization__memory_bank__density_exponent=0))
    assert counts["decoded"] == counts["through the network"] == COUNT + SAMPLED
    assert counts["compared with the set"] == COUNT + SAMPLED


@pytest.mark.parametrize("heads", [True, False])
def test_a_second_run_from_the_cache_needs_no_network(folder: Path, counts: Counter[str], heads: bool) -> None:
    cached = settings(cache__enabled=True, contrastive__enabled=heads, contrastive__epochs=1)
    first = run(folder, cached)
    counts.clear()
    second = run(folder, cached)
    assert counts["through the network"] == counts["compared with the set"] == counts["described"] == 0
    assert first.descriptors.tobytes() == second.descriptors.tobytes()


def test_an_image_that_is_inspected_alone_passes_once_however_many_regions_it_has(counts: Counter[str]) -> None:
    rng = np.random.default_rng(0)
    plain = rng.normal(128, 4, (9, 128, 128, 3))
    plain[0, 20:40, 20:40] = 255  # two defects, far from each other
    plain[0, 90:110, 90:110] = 0
    images = [one.clip(0, 255).astype(np.uint8) for one in plain]
    model = run(images[1:], settings(localization__threshold=5.0, image__size=128)).model
    assert model is not None
    counts.clear()
    result = model.predict([images[0]])
    assert len(result.regions) > 1
    assert counts["through the network"] == 1
    counts.clear()
    together = model.predict(images)
    assert counts["through the network"] == len(images) + 1
    assert [one.label for one in together.regions if one.image == 0] == [one.label for one in result.regions]


def test_shapes_without_weight_are_not_measured(folder: Path, counts: Counter[str]) -> None:
    run(folder, settings())
    assert counts["shapes measured"] == 0
    run(folder, settings(descriptor__shape_weight=0.3))
    assert counts["shapes measured"] == COUNT
