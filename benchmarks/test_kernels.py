"""Seconds of every kernel and of a small run, with pytest-benchmark: a guard against slow changes.

    pytest benchmarks/test_kernels.py --benchmark-save=before                       # before a change
    pytest benchmarks/test_kernels.py --benchmark-compare --benchmark-compare-fail=min:30%   # after it, same machine

Each case also checks its result's shape, so that a kernel that returns early does not look fast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from blemish.backbones import load_backbone
from blemish.clustering.n_clusters import ward_gaps
from blemish.clustering.ward import cut, ward_tree
from blemish.config.schema import Config
from blemish.descriptors.geometry import region_geometry
from blemish.descriptors.pooling import blur_weights, thresholded_weights, weighted_sum
from blemish.localization.border import fit_border_correction
from blemish.localization.fca import fca_map
from blemish.localization.median_fill import median_filled
from blemish.localization.model import variation_within
from blemish.localization.neighbors import MemoryBank
from blemish.localization.reconstruction import train_vae
from blemish.localization.threshold import split_scores
from blemish.pipeline import run

Bench = Any


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def tensor(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.random(shape, dtype=np.float32))


@pytest.mark.parametrize(("channels", "patch"), [(512, 7), (128, 7), (128, 15)])
def test_fca(benchmark: Bench, rng: np.random.Generator, channels: int, patch: int) -> None:
    features = tensor(rng, channels, 64, 64)
    fca_map(features, patch_size=patch)  # compiled, or read from the compiler's cache
    assert benchmark(fca_map, features, patch_size=patch).shape == (1, 64, 64)


def test_distance_to_the_set(benchmark: Bench, rng: np.random.Generator) -> None:
    model = MemoryBank(tensor(rng, 144, 64, 128), tuple(range(144)), 0.0).with_density_normalization(0.25)
    assert benchmark(model.distance, tensor(rng, 128, 48, 48), 3).shape == (48, 48)


@pytest.mark.parametrize("last", [8, 16])
def test_embedded_backbone(benchmark: Bench, rng: np.random.Generator, last: int) -> None:
    network = load_backbone("embedded").limited_to((4, last))
    assert benchmark(network, tensor(rng, 2, 3, 384, 384))[last].shape[2:] == (384 // last, 384 // last)


def test_density_normalization(benchmark: Bench, rng: np.random.Generator) -> None:
    model = MemoryBank(tensor(rng, 144, 64, 128), tuple(range(144)), 0.0)
    assert benchmark.pedantic(
        model.with_density_normalization, (0.25,), rounds=3, warmup_rounds=1
    ).density_weights.shape == (144, 64)


def test_descriptor(benchmark: Bench, rng: np.random.Generator) -> None:
    features, maps = tensor(rng, 1, 192, 48, 48), tensor(rng, 1, 48, 48)

    def descriptor() -> torch.Tensor:
        return weighted_sum(features, blur_weights(thresholded_weights(maps, 0.5), 7, 2.0, center=True))

    assert benchmark(descriptor).shape == (1, 192)


def test_region_geometry(benchmark: Bench, rng: np.random.Generator) -> None:
    assert len(benchmark(region_geometry, rng.random((48, 48), np.float32), 0.9)) == 3


def test_border(benchmark: Bench, rng: np.random.Generator) -> None:
    assert len(benchmark(fit_border_correction, [rng.random((48, 48), np.float32) for _ in range(144)]).median) == 5


def test_filling(benchmark: Bench, rng: np.random.Generator) -> None:
    assert benchmark(median_filled, rng.random((48, 48), np.float32), (7, 13, 25)).shape == (48, 48)


def test_variation_within(benchmark: Bench, rng: np.random.Generator) -> None:
    assert benchmark(variation_within, [tensor(rng, 192, 48, 48) for _ in range(8)]).shape == (192, 192)


def test_threshold(benchmark: Bench, rng: np.random.Generator) -> None:
    assert benchmark(split_scores, rng.lognormal(size=1344).astype(np.float32)) > 0


@pytest.mark.parametrize("count", [1500, 6000])
def test_ward(benchmark: Bench, rng: np.random.Generator, count: int) -> None:
    rows = rng.random((count, 64), np.float32)
    tree = benchmark.pedantic(ward_tree, (rows,), rounds=3, warmup_rounds=1)
    assert len(np.unique(cut(tree, 6))) == 6


def test_number_of_groups(benchmark: Bench, rng: np.random.Generator) -> None:
    rows = rng.random((1500, 192), np.float32)
    assert benchmark.pedantic(ward_gaps, (rows, 13), rounds=3, warmup_rounds=1).number() >= 1


def test_vae_steps(benchmark: Bench, rng: np.random.Generator) -> None:
    vectors = tensor(rng, 8192, 128)
    assert benchmark.pedantic(train_vae, (vectors,), {"steps": 20, "seed": 0}, rounds=3, warmup_rounds=1) is not None


def test_a_run_over_a_small_set(benchmark: Bench, rng: np.random.Generator) -> None:
    images = [rng.integers(0, 255, (192, 256), dtype=np.uint8) for _ in range(32)]
    config = Config.from_values({"cache.enabled": False, "clusters": 3})
    result = benchmark.pedantic(run, (images, config), rounds=3, warmup_rounds=1)
    assert len(result.labels) == 32
