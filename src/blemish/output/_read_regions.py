"""Columns of a table of Arrow as arrays, and the table of regions as :class:`~blemish.regions.Region` objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.regions import Region, Ring
from blemish.types import IntArray


class Damaged(ValueError):
    """A table is not as we write it; the text says where."""


def column(table: Any, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A column without gaps, of exactly this type; Damaged if it is not there or not finite."""
    if name not in table.column_names:
        raise Damaged(f"no column {name}")
    values: npt.NDArray[Any] = table[name].to_numpy()
    if table[name].null_count or values.dtype != dtype or not np.isfinite(values).all():
        raise Damaged(f"column {name}")
    return values.copy()


def read_regions(table: Any, sizes: IntArray) -> list[Region]:
    """The rows of ``regions.parquet``.

    Args:
        table: as Arrow reads it.
        sizes: N x 2, height and width of each image.

    Raises:
        Damaged: a column is missing or of another type, or a region does not lie in its image.
    """
    whole = {
        name: column(table, name, np.int64) for name in ("image", "left", "top", "width", "height", "area", "type")
    }
    real = {name: column(table, name, np.float64) for name in ("elongation", "orientation", "score")}
    contrast, confidence = (_with_gaps(table, name) for name in ("contrast", "confidence"))
    _check_places(whole, sizes)
    outlines, holes = _rings(table, "outlines"), _rings(table, "holes")
    return [
        Region(
            image=int(whole["image"][i]),
            left=int(whole["left"][i]),
            top=int(whole["top"][i]),
            width=int(whole["width"][i]),
            height=int(whole["height"][i]),
            outlines=outlines[i],
            holes=holes[i],
            area=int(whole["area"][i]),
            elongation=float(real["elongation"][i]),
            orientation=float(real["orientation"][i]),
            contrast=contrast[i],
            score=float(real["score"][i]),
            label=int(whole["type"][i]),
            confidence=confidence[i],
        )
        for i in range(table.num_rows)
    ]


def _check_places(whole: dict[str, npt.NDArray[Any]], sizes: IntArray) -> None:
    """Raise Damaged if a region lies outside its image."""
    image = whole["image"]
    if not ((image >= 0) & (image < len(sizes))).all():
        raise Damaged("a region of an image that is not in images.parquet")
    inside = (whole["left"] >= 0) & (whole["top"] >= 0) & (whole["width"] >= 1) & (whole["height"] >= 1)
    inside &= whole["width"] <= sizes[image, 1] - whole["left"]
    inside &= whole["height"] <= sizes[image, 0] - whole["top"]
    if not (inside & (whole["area"] >= 1) & (whole["type"] >= -1)).all():
        raise Damaged("a region outside its image")


def _with_gaps(table: Any, name: str) -> list[float | None]:
    values: list[Any] = table[name].to_pylist() if name in table.column_names else [""]
    if not all(value is None or (isinstance(value, float) and np.isfinite(value)) for value in values):
        raise Damaged(f"column {name}")
    return values


def _rings(table: Any, name: str) -> list[tuple[Ring, ...]]:
    """A column of nested lists as tuples of K x 2 arrays."""
    import pyarrow as pa

    kind = pa.list_(pa.list_(pa.list_(pa.float64(), 2)))
    if name not in table.column_names or table[name].null_count or not table.schema.field(name).type.equals(kind):
        raise Damaged(f"column {name}")
    found: list[tuple[Ring, ...]] = []
    for chunk in table[name].chunks:
        rings = chunk.flatten()
        pairs = rings.flatten()
        points = pairs.flatten().to_numpy(zero_copy_only=False).reshape(-1, 2)
        if rings.null_count or pairs.null_count or not np.isfinite(points).all():
            raise Damaged(f"column {name}")
        ends = np.cumsum(pa.compute.list_value_length(rings).to_numpy(zero_copy_only=False))
        split: list[Ring] = np.split(points, ends[:-1].astype(np.int64)) if len(ends) else []
        counts = np.cumsum(pa.compute.list_value_length(chunk).to_numpy(zero_copy_only=False)).astype(int).tolist()
        found += [tuple(split[a:b]) for a, b in zip([0, *counts][:-1], counts, strict=True)]
    return found
