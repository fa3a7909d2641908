"""Outlines, boxes and masks of every format lie on the pixels of the original image, also if it is stored on its side."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish.export import export_result
from helpers.exports import Scratch, polygon_pixels, scratch_on_disk

UPRIGHT = (4000, 300)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    return scratch_on_disk(tmp_path_factory.mktemp("scratch"))


def coco_pixels(root: Path) -> np.ndarray:
    (annotation,) = json.loads((root / "annotations.json").read_text())["annotations"]
    counts = annotation["segmentation"]["counts"]
    values = np.repeat(np.arange(len(counts)) % 2, counts)
    return values.reshape(UPRIGHT, order="F").astype(bool)


def label_studio_pixels(root: Path) -> np.ndarray:
    (task,) = json.loads((root / "tasks.json").read_text())
    polygons = [one for one in task["predictions"][0]["result"] if one["type"] == "polygonlabels"]
    assert all((one["original_height"], one["original_width"]) == UPRIGHT for one in polygons)
    rings = [np.array(one["value"]["points"]) / 100 * UPRIGHT[::-1] for one in polygons]
    return polygon_pixels(rings, *UPRIGHT)


def yolo_pixels(root: Path) -> np.ndarray:
    lines = (root / "labels/scratch.txt").read_text().splitlines()
    rings = [np.array(line.split()[1:], float).reshape(-1, 2) * UPRIGHT[::-1] for line in lines]
    return polygon_pixels(rings, *UPRIGHT)


def fiftyone_pixels(root: Path) -> np.ndarray:
    (sample,) = json.loads((root / "samples.json").read_text())["samples"]
    (outline,) = sample["outlines"]["polylines"]
    return polygon_pixels([np.array(ring) * UPRIGHT[::-1] for ring in outline["points"]], *UPRIGHT)


def mvtec_pixels(root: Path) -> np.ndarray:
    with Image.open(next(root.glob("ground_truth/*/*_mask.png"))) as mask:
        return np.asarray(mask) == 255


def map_pixels(root: Path) -> np.ndarray:
    with Image.open(root / "scratch.png") as picture:
        return np.asarray(picture) > 0.2 * 255


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    "coco": coco_pixels,
    "labelstudio": label_studio_pixels,
    "yolo": yolo_pixels,
    "fiftyone": fiftyone_pixels,
    "mvtec": mvtec_pixels,
    "maps": map_pixels,
}


@pytest.mark.parametrize("to", READERS)
def test_a_scratch_three_pixels_wide_is_where_it_was_drawn(to: str, scratch: Scratch) -> None:
    exported = export_result(scratch.results, to)
    found = READERS[to](exported.root)
    assert found.shape == UPRIGHT
    assert (found & scratch.pixels).sum() >= (0.99 if to == "labelstudio" else 1) * scratch.pixels.sum()
    assert not (found & ~scratch.near).any()


@pytest.mark.parametrize("to", ["yolo", "mvtec", "fiftyone"])
def test_images_beside_outlines_are_upright_for_programs_that_know_no_exif(to: str, scratch: Scratch) -> None:
    root = export_result(scratch.results, to).root
    (image,) = (path for path in root.rglob("*.png") if not path.name.endswith("_mask.png"))
    with Image.open(image) as picture:
        assert picture.getexif().get(0x0112, 1) == 1
        assert np.array_equal(np.asarray(picture) == 20, scratch.pixels)


def test_sorted_images_are_copied_as_they_are(scratch: Scratch) -> None:
    root = export_result(scratch.results, "sorted").root
    (image,) = root.rglob("*.png")
    assert image.read_bytes() == (scratch.results.parent / "photos/scratch.png").read_bytes()


def test_the_box_of_the_mask_is_the_box(scratch: Scratch) -> None:
    root = export_result(scratch.results, "coco").root
    (annotation,) = json.loads((root / "annotations.json").read_text())["annotations"]
    rows, columns = np.nonzero(coco_pixels(root))
    left, top, width, height = annotation["bbox"]
    assert (left, top) == (columns.min(), rows.min())
    assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
    assert annotation["area"] == len(rows)
