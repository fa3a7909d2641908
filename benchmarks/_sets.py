"""The image sets of the benchmarks: photographs with labels, and defects drawn on materials or on photographs.

Labeled sets and photographs of textures are no part of the repository. They lie below the folder given as ``--data``:
see :data:`LABELED` and :data:`PHOTOGRAPHS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from blemish.evaluation.datasets import LabeledSet, load_dataset
from blemish.synthetic.demo import DEMO_DEFECTS, make_demo, materials
from blemish.synthetic.drawing import MATERIALS

LABELED = {
    "leather": "mvtec-leather/leather",
    "leaves": "bracol-leaf/leaf",
    "magnetic tiles": "mtd/magnetic",
}
"""Name -> folder below ``--data``, in a layout that ``blemish evaluate`` reads."""

PANEL = {
    "wood": "panel/wood",
    "weave in strips": "panel/fabric02",
    "steel strip": "panel/x-sdd",
}
"""As LABELED: materials to check a principle on. No setting was chosen with them."""

PHOTOGRAPHS = (
    "braided_0069",
    "braided_0102",
    "crosshatched_0051",
    "crosshatched_0053",
    "cracked_0046",
    "blotchy_0017",
    "bumpy_0070",
    "banded_0024",
    "blotchy_0033",
)
"""Photographs of textures in the folder ``textures`` below ``--data``, JPEG."""

NAMED_IMAGES = 120
"""Images of a drawn set that a command asks for by its name."""

CROP = 176
"""Side in pixels of the crops of a photograph that defects are drawn on."""

Pixels = npt.NDArray[np.float64]


def labeled_sets(data: Path, names: Sequence[str] | None = None, limit: int | None = None) -> Iterator[LabeledSet]:
    """The labeled sets under the names that tables show.

    Args:
        data: folder of the image sets.
        names: which of :data:`LABELED` and :data:`PANEL`; None: all of the first.
        limit: images of each set at most, every type with its share; None: all.
    """
    for name in LABELED if names is None else names:
        found = load_dataset(data / (LABELED | PANEL)[name])
        yield found if limit is None else found.limited(limit)


def named_set(data: Path, folder: Path, name: str, seed: int = 0, limit: int | None = None) -> LabeledSet:
    """A labeled set, or a drawn one with `NAMED_IMAGES` images of the demo's types, drawn into ``folder``."""
    if name in LABELED:
        return next(labeled_sets(data, [name], limit))
    return drawn_sets(folder, DEMO_DEFECTS, NAMED_IMAGES)[name](seed)


def drawn_sets(folder: Path, types: Sequence[str], images: int) -> dict[str, Callable[[int], LabeledSet]]:
    """For each drawn material a function from a seed to a set: images without a defect and with one of these types.

    The images are drawn into ``folder``.
    """
    return {f"drawn {name}": partial(_drawn, folder, name, types, images) for name in materials()}


def photograph_sets(
    data: Path, folder: Path, types: Sequence[str], images: int
) -> dict[str, Callable[[int], LabeledSet]]:
    """As :func:`drawn_sets`, the defects drawn on random crops of one photograph for each set.

    The surfaces are real; crops of one photograph overlap, so that parts of an image occur in others.
    """
    MATERIALS.update({name: _crops(data / "textures" / f"{name}.jpg") for name in PHOTOGRAPHS})
    return {f"photograph {name}": partial(_drawn, folder, name, types, images, size=CROP) for name in PHOTOGRAPHS}


def _drawn(folder: Path, material: str, types: Sequence[str], images: int, seed: int, *, size: int = 256) -> LabeledSet:
    place = folder / f"{material}-{seed}"
    demo = make_demo(place, seed=seed, n_images=images, material=material, types=types, size=size)
    return load_dataset(demo.truth)


def _crops(path: Path) -> Callable[[np.random.Generator, int], tuple[Pixels, Pixels]]:
    """A material: random crops of a photograph, rescaled by up to a tenth, half of them mirrored."""
    with Image.open(path) as file:
        photograph = file.convert("RGB")

    def material(rng: np.random.Generator, size: int) -> tuple[Pixels, Pixels]:
        side = min(size * rng.uniform(0.9, 1.1), *photograph.size)
        x, y = (rng.uniform(0, length - side) for length in photograph.size)
        part = photograph.resize((size, size), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side))
        pixels = np.asarray(part, np.float64) / 255
        return pixels[:, :: rng.choice([-1, 1])].copy(), np.zeros((size, size))

    return material
