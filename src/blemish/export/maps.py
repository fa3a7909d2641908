"""Anomaly maps as gray pictures, as AnomalyNCD and other programs read them."""

from __future__ import annotations

import numpy as np

from blemish.export.content import Content
from blemish.export.folder import ExportFolder
from blemish.output.names import evaluation_prefix, file_stems
from blemish.regions import upsample_map


def write_maps(content: Content, folder: ExportFolder) -> None:
    """Write each map as an 8-bit PNG at the size of its image: 0 is the lowest value of the set, 255 the highest.

    Paths are ``<category>/<type>/<name>.png`` where the images lie as in MVTec AD, without the folder ``test``, and as in
    the input folder otherwise. Where all values are equal, all pictures are black. Cost: two passes over the maps.
    """
    import imagecodecs

    result = content.result
    prefix = evaluation_prefix(result.source, result.paths)
    ranges = [(float(values.min()), float(values.max())) for values in result.maps]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    scale = 255 / (high - low) if high > low else 0.0
    for i, stem in enumerate(file_stems(result.paths)):
        height, width = (int(side) for side in result.sizes[i])
        values = (upsample_map(np.asarray(result.maps[i]), height, width) - low) * scale
        encoded = imagecodecs.png_encode(np.rint(values).clip(0, 255).astype(np.uint8))
        folder.write_bytes(_without_split(prefix + stem, prefix) + ".png", encoded)


def _without_split(stem: str, prefix: str) -> str:
    """The path without the folder ``test`` after the category.

    >>> _without_split("leather/test/cut/000", "leather/"), _without_split("test/cut", "")
    ('leather/cut/000', 'test/cut')
    """
    category, _, rest = stem.partition("/")
    return f"{category}/{rest.removeprefix('test/')}" if prefix else stem
