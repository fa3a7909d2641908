"""Label Studio: tasks with predictions, and the labeling configuration that they fit."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from blemish import __version__
from blemish.export.content import Content, distinct
from blemish.export.folder import ExportFolder
from blemish.export.polygons import simplified
from blemish.output.colors import cluster_color, hex_color
from blemish.regions import Ring

MAX_CORNERS = 60
"""Corners per polygon; beyond it, dragging them in the browser becomes slow."""

LOCAL_FILES = "/data/local-files/?d="
"""Address of an image in the local storage of Label Studio, before its path below the storage."""


def write_labelstudio(content: Content, folder: ExportFolder) -> None:
    """Write ``tasks.json`` and ``labeling-config.xml``.

    Outlines are polygons in percent of the upright image, which is what browsers show. Polygons of Label Studio have no
    holes, so a hole is a polygon with the label of :func:`hole_name`.
    """
    tasks = [_task(content, i) for i in range(len(content.result.paths))]
    folder.write_text("tasks.json", json.dumps(tasks, separators=(",", ":")))
    folder.write_text("labeling-config.xml", labeling_config(content))


def hole_name(content: Content) -> str:
    """The label of holes: ``hole``, with a number if a type has that name."""
    return distinct("hole", content.types.values())


def normal_name(content: Content) -> str:
    """The choice for images of the normal group."""
    return distinct("normal", content.types.values())


def labeling_config(content: Content) -> str:
    """The configuration of a project: polygons with the names of the types, and the types of the whole image."""
    result = content.result
    labels = [
        f'    <Label value={quoteattr(name)} background="{hex_color(cluster_color(label, result.normal_label))}"/>'
        for label, name in content.types.items()
    ]
    choices = [f"    <Choice value={quoteattr(name)}/>" for name in (normal_name(content), *content.types.values())]
    lines = [
        "<View>",
        '  <Image name="image" value="$image" zoom="true"/>',
        '  <PolygonLabels name="label" toName="image">',
        *labels,
        f'    <Label value={quoteattr(hole_name(content))} background="#ffffff"/>',
        "  </PolygonLabels>",
        '  <Choices name="types" toName="image" choice="multiple">',
        *choices,
        "  </Choices>",
        "</View>",
    ]
    return "\n".join(lines) + "\n"


def _task(content: Content, i: int) -> dict[str, Any]:
    result = content.result
    path = quote(os.fsencode(result.paths[i]), safe="/")
    polygons: list[dict[str, Any]] = []
    for region in content.regions[i]:
        name = content.types[content.type_of(region)]
        polygons += [_polygon(content, i, name, ring, region.confidence) for ring in region.outlines]
        polygons += [_polygon(content, i, hole_name(content), ring, None) for ring in region.holes]
    for number, polygon in enumerate(polygons, 1):
        polygon["id"] = f"{i + 1}-{number}"
    prediction: dict[str, Any] = {
        "model_version": f"blemish {__version__}",
        "result": [*polygons, _choice(content, i)],
    }
    if result.anomaly_probability is not None:  # a score of Label Studio lies between 0 and 1, anomaly scores do not
        prediction["score"] = float(str(result.anomaly_probability[i]))
    return {"data": {"image": LOCAL_FILES + path}, "predictions": [prediction]}


def _frame(content: Content, i: int) -> dict[str, Any]:
    height, width = (int(side) for side in content.result.sizes[i])
    return {"to_name": "image", "original_width": width, "original_height": height, "image_rotation": 0}


def _polygon(content: Content, i: int, name: str, ring: Ring, confidence: float | None) -> dict[str, Any]:
    height, width = content.result.sizes[i]
    points = (simplified(ring, MAX_CORNERS) / (width, height) * 100).round(6).tolist()
    value = {"points": points, "closed": True, "polygonlabels": [name]}
    polygon = {"id": "", "from_name": "label", "type": "polygonlabels", **_frame(content, i), "value": value}
    return polygon if confidence is None else polygon | {"score": round(confidence, 6)}


def _choice(content: Content, i: int) -> dict[str, Any]:
    """The types of the regions of an image; without regions the type of the image."""
    labels = dict.fromkeys(map(content.type_of, content.regions[i]))
    group = content.group(i)
    names = [content.types[label] for label in labels] or [
        normal_name(content) if group is None else content.types[group]
    ]
    return {
        "id": f"{i + 1}-0",
        "from_name": "types",
        "type": "choices",
        **_frame(content, i),
        "value": {"choices": names},
    }
