"""How often the costly steps of a run are taken: a guard against doing things twice that no clock is needed for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from blemish import pipeline
from blemish.backbones import embedded
from blemish.config.schema import Config
from blemish.features import batches
from blemish.images import ImageSource
from blemish.localization import model as normality
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
    watch(torch.nn.functional, "conv2d", "convolutions")
    watch(MemoryBank, "distance", "compared with the set")
    watch(normality.Normality, "descriptor", "described")
    watch(normality, "fit_border_correction", "borders fitted")
    watch(pipeline, "estimate_clusters", "numbers estimated")
    watch(pipeline, "region_geometry", "shapes measured")
    return seen


def settings(**values: object) -> Config:
    chosen = {"image.size": 64, "localization.sample_images": SAMPLED, "n_clusters": "auto", "cache.enabled": False}
    return Config.from_values(
        chosen | {"descriptor.shape_weight": 0} | {k.replace("__", "."): v for k, v in values.items()}
    )


def test_every_image_is_decoded_seen_and_described_once(folder: Path, counts: Counter[str]) -> None:
    run(folder, settings(localization__threshold=0.0))  # so that there are anomalous images, whose types are counted
    assert counts["decoded"] == counts["through the network"] == counts["described"] == COUNT
    assert counts["numbers estimated"] == 1
    run(folder, settings(n_clusters=3))
    assert counts["numbers estimated"] == 1
    counts.clear()
    run(folder, settings(backbone__tta_flips=True))
    assert counts["decoded"] == COUNT
    assert counts["through the network"] == 4 * COUNT  # each image and its three mirror images


def test_maps_are_made_once_but_for_the_first_look_at_the_sample(folder: Path, counts: Counter[str]) -> None:
    run(folder, settings(localization__memory_bank__density_exponent=0))
    assert counts["compared with the set"] == COUNT + SAMPLED
    assert counts["borders fitted"] == 2
    counts.clear()
    run(folder, settings(localization__memory_bank__density_exponent=0, localization__memory_bank__outlier_fraction=0))
    assert counts["compared with the set"] == COUNT
    assert counts["borders fitted"] == 1


def test_evening_compares_the_vectors_of_each_sampled_image_once(folder: Path, counts: Counter[str]) -> None:
    run(folder, settings(localization__memory_bank__density_exponent=0.25))
    assert counts["compared with the set"] == COUNT + 2 * SAMPLED
    assert counts["borders fitted"] == 2


def test_features_too_large_to_hold_cost_the_sample_a_second_time_and_nothing_else(
    folder: Path, counts: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "HELD_BYTES", 0)
    run(folder, settings(localization__memory_bank__density_exponent=0))
    assert counts["decoded"] == counts["through the network"] == COUNT + SAMPLED
    assert counts["compared with the set"] == COUNT + SAMPLED


def test_the_network_stops_at_the_last_stride_in_use(folder: Path, counts: Counter[str]) -> None:
    per_call = {}
    for strides in ([4], [4, 8], [4, 8, 16]):
        counts.clear()
        run(folder, settings(backbone__strides=strides, backbone__batch_size=64, localization__sample_images=COUNT))
        per_call[len(strides)] = counts["convolutions"] / 2  # two sizes, a batch each
    assert per_call == {1: 6.0, 2: 11.0, 3: 16.0}


def test_what_has_no_weight_is_not_computed(folder: Path, counts: Counter[str]) -> None:
    run(folder, settings())
    assert counts["shapes measured"] == 0
    run(folder, settings(descriptor__shape_weight=0.3))
    assert counts["shapes measured"] == COUNT
