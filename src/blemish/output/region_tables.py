"""The table of regions as CSV and as Parquet. Paths and names are written as in the table of images."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from blemish.images import Photo
from blemish.output.tables import name_text, path_text, quoted, unicode_text, write_lines
from blemish.regions import Region, Ring, region_contrasts
from blemish.results import Result

COLUMNS = (
    *("path", "region", "left", "top", "width", "height", "area", "elongation", "orientation", "contrast", "score"),
    *("type", "type_name", "confidence", "outlines", "holes", "image"),
)
"""``region`` counts from 1 within the image, the highest score first; ``image`` is the row of the image, from 0."""


def numbered(regions: Sequence[Region]) -> Iterator[tuple[int, Region]]:
    """Each region with its number within its image, from 1."""
    seen: Counter[int] = Counter()
    for region in regions:
        seen[region.image] += 1
        yield seen[region.image], region


def regions_by_image(result: Result) -> list[list[Region]]:
    """The regions of each image, in the order of the result."""
    regions: list[list[Region]] = [[] for _ in result.paths]
    for region in result.regions:
        regions[region.image].append(region)
    return regions


def with_contrast(regions: Sequence[Region], photo: Photo, map_rows: int) -> list[Region]:
    """The regions of one image with their contrast, over a rim of two cells of the map.

    Args:
        regions: all regions of the image.
        photo: H x W x 3 in [0, 1].
        map_rows: rows of the image's map.
    """
    rim = max(1, round(2 * photo.shape[0] / map_rows))
    contrasts = region_contrasts(regions, photo, rim)
    return [replace(one, contrast=contrast) for one, contrast in zip(regions, contrasts, strict=True)]


def write_regions_csv(result: Result, stream: BinaryIO) -> None:
    """Write ``regions.csv``: one line per region; outlines and holes are JSON lists of rings of [x, y]."""
    write_lines(stream, (COLUMNS, *_csv_rows(result)))


def _csv_rows(result: Result) -> Iterator[tuple[str, ...]]:
    for number, region in numbered(result.regions):
        yield (
            path_text(result.paths[region.image]),
            *map(str, (number, region.left, region.top, region.width, region.height, region.area)),
            f"{region.elongation:.6g}",
            f"{region.orientation:.6g}",
            "" if region.contrast is None else f"{region.contrast:.6g}",
            str(np.float32(region.score)),
            str(region.label),
            name_text(result.cluster_name(region.label)),
            "" if region.confidence is None else f"{region.confidence:.6g}",
            quoted(rings_json(region.outlines)),
            quoted(rings_json(region.holes)),
            str(region.image),
        )


def rings_json(rings: Sequence[Ring]) -> str:
    """Rings as JSON: whole numbers without a decimal point, others with at most three decimals.

    >>> rings_json([np.array([[0, 0], [2.5, 0], [2.5, 1]])])
    '[[[0,0],[2.5,0],[2.5,1]]]'
    """
    return json.dumps([rounded(ring) for ring in rings], separators=(",", ":"))


def rounded(ring: Ring, decimals: int = 3) -> list[list[int | float]]:
    """The corners of a ring as lists of numbers, whole ones as integers."""
    return [[int(v) if v.is_integer() else v for v in corner] for corner in ring.round(decimals).tolist()]


def write_regions_parquet(result: Result, stream: BinaryIO) -> None:
    """Write ``regions.parquet``: the columns of the CSV with their types; rings are nested lists of float64."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(numbered(result.regions))
    numbers = {"area": pa.int64(), "elongation": pa.float64(), "orientation": pa.float64(), "contrast": pa.float64()}
    numbers |= {"score": pa.float64(), "confidence": pa.float64(), "image": pa.int64()}
    numbers |= {name: pa.int64() for name in ("left", "top", "width", "height")}
    values: dict[str, Any] = {
        name: pa.array([getattr(region, name) for _, region in rows], kind) for name, kind in numbers.items()
    }
    names = [unicode_text(result.cluster_name(region.label)) for _, region in rows]
    values["path"] = pa.array([unicode_text(result.paths[region.image]) for _, region in rows], pa.string())
    values["region"] = pa.array([number for number, _ in rows], pa.int64())
    values["type"] = pa.array([region.label for _, region in rows], pa.int64())
    values["type_name"] = pa.array(names, pa.string())
    values["outlines"] = _nested([region.outlines for _, region in rows])
    values["holes"] = _nested([region.holes for _, region in rows])
    pq.write_table(pa.table({name: values[name] for name in COLUMNS}), stream, compression="zstd")


def _nested(rings: Sequence[Sequence[Ring]]) -> Any:
    """Lists of rings, each a list of pairs, as an array of Arrow."""
    import pyarrow as pa

    flat = [ring for some in rings for ring in some]
    points = np.concatenate(flat) if flat else np.zeros((0, 2))
    pairs = pa.FixedSizeListArray.from_arrays(pa.array(points.ravel(), pa.float64()), 2)
    lists = pa.ListArray.from_arrays(_offsets([len(ring) for ring in flat]), pairs)
    return pa.ListArray.from_arrays(_offsets([len(some) for some in rings]), lists)


def _offsets(lengths: Sequence[int]) -> Any:
    import pyarrow as pa

    return pa.array(np.concatenate([[0], np.cumsum(np.array(lengths, np.int64))]), pa.int32())
