"""A small made-up result: textures with scratches, spots and stains where they are known to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blemish.errors import InputError
from blemish.regions import extract_regions
from blemish.results import Result, Skipped

HOSTILE_NAMES = [
    "<script>alert(1)</script>.png",
    "\"quoted\" 'names' & <b>tags</b>.png",
    "=HYPERLINK(1).png",
    "comma, semicolon;.png",
    "line\nbreak\r.png",
    "naïve/Übergröße 表面.png",
    "bad\udcff\udcfebytes.png",
    "javascript:alert(1)//.png",
]


def make_result(
    n_normal: int = 5,
    types: tuple[int, ...] = (4, 3),
    *,
    size: tuple[int, int] = (96, 128),
    grid: int = 8,
    paths: list[str] | None = None,
    source: str | None = None,
    seed: int = 0,
    **changes: Any,
) -> Result:
    """Normal images first, then the types: 1 has a thin bright line, 2 two round spots, later ones one large stain.

    Maps have the size divided by ``grid``; the background lies below 0.2, defects at 0.9, the threshold at 0.5.
    """
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(types) + 1), (n_normal, *types))
    if n_normal == 0:
        labels = labels - 1
    normal_label = 0 if n_normal else None
    count = len(labels)
    maps = [_map(label - (0 if n_normal else -1), size, grid, rng) for label in labels]
    scores = np.array([np.quantile(m, 0.999) for m in maps], dtype=np.float32)
    fields: dict[str, Any] = {
        "paths": paths or [f"kind-{label}/{i:03d}.png" for i, label in enumerate(labels)],
        "sizes": np.tile(np.array(size, dtype=np.int64), (count, 1)),
        "scores": scores,
        "maps": maps,
        "threshold": 0.5,
        "is_anomalous": labels != (0 if n_normal else -1),
        "labels": labels.astype(np.int64),
        "normal_label": normal_label,
        "distances": rng.uniform(0, 1, count).astype(np.float32),
        "descriptors": rng.normal(size=(count, 4)).astype(np.float32),
        "source": source,
        "skipped": [Skipped("broken/cut <off>.png", "image file is truncated; copy it again")],
        "timings": {"features": 1.25},
        "info": {
            "settings": {"fca": {"patch": 9, "sigma": np.float32(1.5)}, "size": (256, 256), "out": Path("x/y")},
            "seed": 0,
            "versions": {"blemish": "0.1.0", "torch": "2.0"},
            "weights": "sha256:0123abcd",
        },
    }
    return Result(**{**fields, **changes})


def divided_result(**changes: Any) -> Result:
    """Five normal images, of which the first is anomalous, and types of four and three; one of the first type is not."""
    is_anomalous = np.arange(12) >= 5
    is_anomalous[[0, 7]] = True, False
    return make_result(5, (4, 3), is_anomalous=is_anomalous, **changes)


def _map(kind: int, size: tuple[int, int], grid: int, rng: np.random.Generator) -> np.ndarray:
    height, width = size[0] // grid, size[1] // grid
    values = rng.uniform(0.05, 0.2, (height, width))
    rows, columns = np.mgrid[0:height, 0:width]
    if kind == 1:
        values[rng.integers(1, height - 1), 1 : width - 1] = 0.9
    elif kind == 2:
        for row, column in ((0.25, 0.2), (0.7, 0.75)):
            values[(rows - row * height) ** 2 + (columns - column * width) ** 2 < 3] = 0.9
    elif kind > 2:
        values[height // 6 : height // 2 + 1, width // 6 : width // 2 + 1] = 0.9
    return values.astype(np.float32)


def loader(result: Result, vanished: tuple[int, ...] = ()) -> Callable[[int], np.ndarray]:
    """Photographs of the made-up result: gray texture, darker where the map is high; listed ones raise."""

    def load(i: int) -> np.ndarray:
        if i in vanished:
            raise InputError(f"{result.paths[i]}: no such file; check the path or the link")
        height, width = (int(s) for s in result.sizes[i])
        rng = np.random.default_rng(i)
        grain = 0.6 + 0.08 * rng.standard_normal((height, width))
        values = np.asarray(result.maps[i])
        rows = np.arange(height) * values.shape[0] // height
        columns = np.arange(width) * values.shape[1] // width
        shade = np.where(values[rows][:, columns] > result.threshold, 0.55, 1.0)
        tint = np.array([1.0, 0.85, 0.7])
        return np.clip((grain * shade)[..., None] * tint, 0, 1).astype(np.float32)

    return load


def read_mask(path: Path) -> np.ndarray:
    """Pixels of a picture file."""
    with Image.open(path) as picture:
        return np.asarray(picture)


def with_regions(result: Result, **changes: Any) -> Result:
    """The same result with the regions of its anomalous images, typed by their images, and with probabilities."""
    rng = np.random.default_rng(1)
    regions = []
    for i in np.flatnonzero(result.is_anomalous):
        shapes = extract_regions(np.asarray(result.maps[i]), result.threshold, *(int(side) for side in result.sizes[i]))
        label = int(result.labels[i])
        regions += [
            shape.region(int(i), label if k < 2 else -1, None if k else -0.25, None if k else 0.8)
            for k, shape in enumerate(shapes)
        ]
    fields = {
        "regions": regions,
        "anomaly_probability": rng.uniform(0, 1, len(result.paths)).astype(np.float32),
        "type_probability": rng.uniform(0, 1, len(result.paths)).astype(np.float32),
    }
    return dataclasses.replace(result, **{**fields, **changes})
