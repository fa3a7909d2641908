"""Small runs with a cache, and a progress display that ends a run at a chosen image."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blemish import Config, Result, run
from blemish.runtime.progress import Stage

N, BATCH = 14, 4
SMALL = {
    "image.size": 64,
    "backbone.batch_size": BATCH,
    "backbone.border_padding": 0,
    "localization.sample_images": 6,
    "localization.memory_bank.patches_per_image": 16,
    "localization.vae.patches_per_image": 16,
    "localization.vae.steps": 3,
    "contrastive.epochs": 1,
    "n_clusters": 3,
}
ALL_BATCHES = 2 + 2
"""6 sampled images and 8 others, in batches of 4."""


def write_images(folder: Path) -> Path:
    """Write N images of noise, every third with a bright block."""
    for i in range(N):
        pixels = np.random.default_rng(i).integers(60, 120, (64, 80), dtype=np.uint8)
        if i % 3 == 1:
            pixels[20:40, 20 : 44 + i] = 250
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    return folder


def settings(**values: object) -> Config:
    """Settings of a small run; ``__`` stands for a dot."""
    return Config.from_values(SMALL | {key.replace("__", "."): value for key, value in values.items()})


def uncached(folder: Path, **values: object) -> Result:
    """A small run without a cache."""
    return run(folder, settings(cache__enabled=False, **values))


def assert_same(a: Result, b: Result) -> None:
    """Two results agree bit by bit."""
    assert a.paths == b.paths
    assert a.scores.tobytes() == b.scores.tobytes()
    assert [one.tobytes() for one in a.maps] == [one.tobytes() for one in b.maps]
    assert a.descriptors.tobytes() == b.descriptors.tobytes()
    assert a.labels.tolist() == b.labels.tolist()
    assert (a.threshold, a.normal_label) == (b.threshold, b.normal_label)
    assert a.skipped == b.skipped


def entries(cache: Path, kind: str = "*") -> list[Path]:
    """The files of a cache folder that are entries."""
    return sorted(cache.glob(f"{kind}-*.safetensors"))


class EndedBy:
    """A progress display that calls ``end`` once more than ``images`` items of a stage are done."""

    def __init__(self, stage: Stage | None, images: int, end: Callable[[], None]) -> None:
        self.wanted, self.left, self.end, self.now = stage, images, end, Stage.READ

    def advance(self, n: int = 1) -> None:
        if self.now == self.wanted:
            self.left -= n
            if self.left < 0:
                self.end()

    def stage(self, stage: Stage, total: int, note: str = "") -> AbstractContextManager[EndedBy]:
        @contextmanager
        def entered() -> Any:
            self.now = stage
            yield self

        return entered()
