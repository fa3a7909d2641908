"""COCO JSON: one annotation per region, with its pixels as uncompressed run lengths."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from blemish import __version__
from blemish.export.content import Content
from blemish.export.folder import ExportFolder
from blemish.output.tables import unicode_text
from blemish.regions import Region, region_mask
from blemish.types import BoolArray


def write_coco(content: Content, folder: ExportFolder) -> None:
    """Write ``annotations.json``. File names are relative to the input folder; coordinates are those of upright images."""
    folder.write_text("annotations.json", json.dumps(coco_document(content), separators=(",", ":")))


def write_cvat(content: Content, folder: ExportFolder) -> None:
    """Write what CVAT imports as COCO 1.0, and the labels for its label constructor.

    ``annotations/instances_default.json`` is uploaded to a task with the same images; ``labels.json`` is pasted into the
    field *Raw* of the labels of a new task. CVAT turns images by EXIF, as this package does.
    """
    document = coco_document(content)
    for annotation in document["annotations"]:
        annotation["attributes"] = {"occluded": False}
    labels = [{"name": name, "attributes": []} for name in content.types.values()]
    folder.write_text("annotations/instances_default.json", json.dumps(document, separators=(",", ":")))
    folder.write_text("labels.json", json.dumps(labels, indent=1))


def coco_document(content: Content) -> dict[str, Any]:
    """The regions in the structure of COCO: images and annotations count from 1, and so do the types, as categories.

    ``area`` and ``bbox`` are those of the run lengths. ``score`` is the highest value of the map in the region.
    """
    result = content.result
    category = {label: number for number, label in enumerate(content.types, 1)}
    images = [
        {"id": i + 1, "file_name": unicode_text(path), "width": int(width), "height": int(height)}
        for i, (path, (height, width)) in enumerate(zip(result.paths, result.sizes, strict=True))
    ]
    annotations = [
        {"id": number, "image_id": region.image + 1, "category_id": category[content.type_of(region)]}
        | _annotation(region, *(int(side) for side in result.sizes[region.image]))
        for number, region in enumerate(result.regions, 1)
    ]
    return {
        "info": {"description": "Anomalous regions", "version": f"blemish {__version__}"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": number, "name": content.types[label], "supercategory": "defect"}
            for label, number in category.items()
        ],
    }


def _annotation(region: Region, height: int, width: int) -> dict[str, Any]:
    mask = region_mask(region)
    counts = run_lengths(mask, region.left, region.top, height, width)
    annotation: dict[str, Any] = {
        "segmentation": {"size": [height, width], "counts": counts},
        "area": sum(counts[1::2]),
        "bbox": [region.left, region.top, region.width, region.height],
        "iscrowd": 0,
        "score": float(str(np.float32(region.score))),
    }
    if region.confidence is not None:
        annotation["attributes"] = {"confidence": round(region.confidence, 6)}
    return annotation


def run_lengths(mask: BoolArray, left: int, top: int, height: int, width: int) -> list[int]:
    """Lengths of the runs of 0 and 1, in turn, down the columns of an image that holds a mask in a window.

    >>> run_lengths(np.array([[True, True]]), left=1, top=0, height=2, width=4)
    [2, 1, 1, 1, 3]
    """
    tall, wide = mask.shape
    columns = np.zeros((wide, tall + 2), np.int8)
    columns[:, 1:-1] = mask.T
    steps = np.diff(columns, axis=1)
    column, row = np.nonzero(steps)  # starts and ends take turns
    places = (column + left) * height + row + top
    changes, counts = np.unique(places, return_counts=True)
    changes = changes[counts == 1]  # a run that ends where the next begins goes on, down the next column
    ends = [0, *changes.tolist(), height * width]
    lengths = np.diff(ends).tolist()
    return lengths if lengths[-1] else lengths[:-1]
