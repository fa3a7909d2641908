"""FiftyOne: a folder that it imports as ``FiftyOneDataset``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from blemish.export.content import Content
from blemish.export.folder import ExportFolder
from blemish.regions import Region


def write_fiftyone(content: Content, folder: ExportFolder) -> None:
    """Write ``data/``, ``samples.json`` and ``metadata.json``.

    Each sample has its type (``group``), its anomaly score, and its regions as boxes (``boxes``) and as filled polylines
    with holes (``outlines``), all as fractions of the upright image.
    """
    samples = []
    for i in range(len(content.result.paths)):
        path = content.photos.usable(i)
        if path is not None:
            samples.append(_sample(content, i, content.photos.place(folder, f"data/{content.flat_stems[i]}", path)))
    folder.write_text("samples.json", json.dumps({"samples": samples}, separators=(",", ":")))
    names = ["normal", *content.types.values()]
    metadata = {"media_type": "image", "default_classes": names, "info": {"source": "blemish"}}
    folder.write_text("metadata.json", json.dumps(metadata, indent=1))


def _sample(content: Content, i: int, name: str) -> dict[str, Any]:
    result, label = content.result, content.group(i)
    group: dict[str, Any] = {"_cls": "Classification", "label": "normal" if label is None else content.types[label]}
    if result.type_probability is not None:
        group["confidence"] = float(str(result.type_probability[i]))
    regions = content.regions[i]
    return {
        "filepath": name,
        "tags": [],
        "_media_type": "image",
        "anomaly_score": float(str(result.scores[i])),
        "group": group,
        "boxes": {"_cls": "Detections", "detections": [_box(content, i, region) for region in regions]},
        "outlines": {"_cls": "Polylines", "polylines": [_outline(content, i, region) for region in regions]},
    }


def _shared(content: Content, region: Region) -> dict[str, Any]:
    score = float(str(np.float32(region.score)))
    return {
        "label": content.types[content.type_of(region)],
        "tags": [],
        "confidence": region.confidence,
        "anomaly_score": score,
    }


def _box(content: Content, i: int, region: Region) -> dict[str, Any]:
    height, width = (int(side) for side in content.result.sizes[i])
    box = [region.left / width, region.top / height, region.width / width, region.height / height]
    return {"_cls": "Detection", **_shared(content, region), "bounding_box": box}


def _outline(content: Content, i: int, region: Region) -> dict[str, Any]:
    height, width = content.result.sizes[i]
    points = [(ring / (width, height)).tolist() for ring in (*region.outlines, *region.holes)]
    return {"_cls": "Polyline", **_shared(content, region), "points": points, "closed": True, "filled": True}
