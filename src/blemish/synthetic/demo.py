"""The demo set: drawn images of one material with drawn defects, and their truth.

The drawing itself is in :mod:`blemish.synthetic.drawing`.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError, OutputError, shown
from blemish.synthetic.drawing import DEFECTS, MATERIALS, Surface, photograph
from blemish.types import BoolArray

NORMAL_SHARE = 0.35
"""Share of defect-free images in a demo set."""

DEMO_DEFECTS = ("scratch", "stain", "hole", "thread", "color")
"""Default defect types of a demo set."""

_VERSION = 1
"""Version of the drawing; it is raised when the same seed gives other pixels."""


@dataclass(frozen=True)
class Demo:
    """Folders of a demo set.

    Attributes:
        images: the input of a run.
        truth: labels and masks, which the method must not see.
    """

    images: Path
    truth: Path


def materials() -> tuple[str, ...]:
    """Names of the materials that :func:`render` and :func:`make_demo` accept."""
    return tuple(MATERIALS)


def defects() -> tuple[str, ...]:
    """Names of the defect types that :func:`render` and :func:`make_demo` accept."""
    return tuple(DEFECTS)


def render(
    material: str, defect: str | None, rng: np.random.Generator, size: int = 256
) -> tuple[npt.NDArray[np.float32], BoolArray]:
    """One drawn photograph of a surface, and the mask of its defect.

    Args:
        material: one of :func:`materials`. Images of one material look like one product: only place, light and noise
            differ.
        defect: one of :func:`defects`, or None for a normal image.
        rng: the only source of randomness.
        size: height and width in pixels, at least 32. Larger images show more of the material and larger defects.

    Returns:
        Image, size x size x 3 float32 in [0, 1]; mask, size x size bool, True where the defect is and never empty if
        there is one.

    Raises:
        InputError: the material or defect is unknown, or the size is below 32.

    Cost: some 30 ms at 256 pixels.

    >>> image, mask = render("leather", "hole", np.random.default_rng(0), size=64)
    >>> image.shape, bool(mask.any()), bool(mask.all())
    ((64, 64, 3), True, False)
    """
    if material not in MATERIALS:
        raise InputError(f"material {material!r} is not known; choose one of {', '.join(MATERIALS)}")
    if defect is not None and defect not in DEFECTS:
        raise InputError(f"defect {defect!r} is not known; choose one of {', '.join(DEFECTS)}")
    if size < 32:
        raise InputError(f"size {size} is too small for a texture; choose at least 32")
    albedo, height = MATERIALS[material](rng, size)
    surface = Surface(albedo, height, np.ones_like(height), np.zeros(height.shape, dtype=np.bool_))
    if defect is not None:
        DEFECTS[defect](surface, rng, size / 256)
    return photograph(surface, rng), surface.mask


def make_demo(
    folder: Path,
    *,
    seed: int = 0,
    n_images: int = 60,
    size: int = 256,
    material: str = "weave",
    types: Sequence[str] = DEMO_DEFECTS,
    progress: Callable[[int], None] | None = None,
) -> Demo:
    """Write a set of images of one material, about a third of them normal, in random order.

    ``folder/images/img_0001.png`` ... is the whole input of a run. The truth is kept apart in ``folder/truth``:
    ``labels.csv`` (path, label, mask) and the masks, in a form that :func:`blemish.evaluation.datasets.load_dataset` reads.

    Args:
        folder: created if missing. A folder that already holds this very set is left as it is.
        seed: the same seed gives the same set, to the bit.
        n_images: number of images, at least 1. The first images of a larger set differ, because the labels are drawn for
            the whole set.
        size: height and width in pixels, at least 32.
        material: one of :func:`materials`.
        types: defect types, at least one, which get equal shares.
        progress: called after each image with the number of images done.

    Raises:
        InputError: an argument is out of range.
        OutputError: the folder holds something else, or cannot be written.
    """
    if n_images < 1 or not types:
        raise InputError(f"{n_images} images of {len(types)} types: give at least one of each")
    recipe = {
        "version": _VERSION,
        "seed": seed,
        "n_images": n_images,
        "size": size,
        "material": material,
        "types": list(types),
    }
    folder = Path(folder)
    demo = Demo(folder / "images", folder / "truth")
    if _holds(folder, recipe):
        return demo
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{shown(folder)}: exists and is not this demo set; choose another folder or remove it")
    labels = _shuffled_labels(np.random.default_rng([seed, 0]), n_images, types)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}-", dir=folder.parent))
        try:
            _write(building, recipe, labels, progress)
            building.chmod(0o755)
            os.replace(building, folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{shown(folder)}: cannot be written ({error.strerror or error})") from error
    return demo


def _holds(folder: Path, recipe: dict[str, Any]) -> bool:
    """Whether the folder holds the whole set that this recipe makes."""
    try:
        known = json.loads((folder / "truth" / "recipe.json").read_text(encoding="utf-8"))
        return bool(known == recipe) and len(list((folder / "images").iterdir())) == recipe["n_images"]
    except (OSError, ValueError):
        return False


def _shuffled_labels(rng: np.random.Generator, count: int, types: Sequence[str]) -> list[str]:
    """Labels of the images in random order: the share of normal images, and all types as equally as possible."""
    normal = round(NORMAL_SHARE * count)
    labels = ["good"] * normal + [types[i % len(types)] for i in range(count - normal)]
    return [labels[i] for i in rng.permutation(count)]


def _write(folder: Path, recipe: dict[str, Any], labels: Sequence[str], progress: Callable[[int], None] | None) -> None:
    from PIL import Image

    (folder / "images").mkdir()
    (folder / "truth" / "masks").mkdir(parents=True)
    rows = [("path", "label", "mask")]
    for number, label in enumerate(labels, start=1):
        # Each image has its own generator, so that one image can be redrawn without the others.
        rng = np.random.default_rng([recipe["seed"], number])
        image, mask = render(recipe["material"], None if label == "good" else label, rng, recipe["size"])
        name = f"img_{number:04d}.png"
        Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(folder / "images" / name, compress_level=3)
        if label != "good":
            Image.fromarray(mask).convert("L").save(folder / "truth" / "masks" / name)
        rows.append((f"../images/{name}", label, "" if label == "good" else f"masks/{name}"))
        if progress is not None:
            progress(number)
    with (folder / "truth" / "labels.csv").open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows(rows)
    (folder / "truth" / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
