"""YOLO segmentation: a text file of polygons per image, as Ultralytics reads it."""

from __future__ import annotations

import yaml

from blemish.export.content import Content
from blemish.export.folder import ExportFolder


def write_yolo(content: Content, folder: ExportFolder) -> None:
    """Write ``images/``, ``labels/`` and ``data.yaml``.

    One line per outline: the number of the type, from 0, then x and y of each corner as fractions of width and height.
    The format has no holes: they are lost. An image without regions has an empty file, which makes it background.
    """
    number = {label: place for place, label in enumerate(content.types)}
    for i in range(len(content.result.paths)):
        path = content.photos.usable(i)
        if path is None:
            continue
        content.photos.place(folder, f"images/{content.flat_stems[i]}", path)
        height, width = content.result.sizes[i]
        lines = []
        for region in content.regions[i]:
            for ring in region.outlines:
                corners = " ".join(f"{value:.8g}" for value in (ring / (width, height)).clip(0, 1).ravel())
                lines.append(f"{number[content.type_of(region)]} {corners}\n")
        folder.write_text(f"labels/{content.flat_stems[i]}.txt", "".join(lines))
    # no "path": the folders are then looked for beside this file, whatever the working directory is
    data = {"train": "images", "val": "images", "names": dict(enumerate(content.types.values()))}
    folder.write_text("data.yaml", yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
