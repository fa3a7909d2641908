"""The data of the report: every number, path and picture, computed from a :class:`~blemish.results.Result`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from blemish.errors import shown
from blemish.output.colors import cluster_color, hex_color
from blemish.output.report.shapes import Shape, measure_group
from blemish.output.report.thumbnails import Picture, make_picture
from blemish.output.report.words import compare_shapes, describe_shape
from blemish.output.run_file import run_document
from blemish.results import UNSORTED, Result
from blemish.types import FloatArray

LoadImage = Callable[[int], FloatArray]

MAX_ROWS = 2000
"""Rows of the table in the page; images.csv has all images."""

MAX_PICTURES = 24
"""Pictures per group: three quarters are the most typical images, the others have the highest scores."""

MAX_TOTAL_PICTURES = 300
"""Pictures of all groups together, so that the page stays below about ten megabytes."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True)


class Group(_Data):
    """One group of images, with its pictures.

    Attributes:
        count: images in the group; ``pictures`` shows some or all of them.
        share: the same as a share of all images, 0..1.
        description: shape of the anomalous regions, in words.
        comparison: what sets the type apart from the other types; may be empty.
    """

    label: int
    name: str
    normal: bool
    unsorted: bool
    color: str
    count: int
    share: float
    median_score: float
    shape: Shape
    description: str
    comparison: str
    pictures: list[Picture]


class Row(_Data):
    """One image in the table; ``index`` is its row in the result."""

    index: int
    path: str
    label: int
    group: str
    color: str
    score: float
    anomalous: bool
    needs_check: bool
    distance: float
    height: int
    width: int


class Histogram(_Data):
    """Number of images per bin of the scores; ``edges`` has one entry more than the counts."""

    edges: list[float]
    normal: list[int]
    anomalous: list[int]


class Section(_Data):
    """A titled list of settings."""

    title: str
    items: list[tuple[str, str]]


class SkippedFile(_Data):
    """A file that could not be read."""

    path: str
    reason: str


class ReportData(_Data):
    """Everything that the page shows.

    ``ReportData.model_validate_json(data.model_dump_json())`` gives equal data back. ``groups`` has the types first, then
    the unsorted images, and the normal group last; ``rows`` are sorted by falling score.
    """

    title: str
    source: str | None
    images: int
    anomalous: int
    types: int
    unsorted: int
    needs_check: int
    threshold: float
    scale_low: float
    scale_high: float
    groups: list[Group]
    rows: list[Row]
    histogram: Histogram
    skipped: list[SkippedFile]
    threshold_warning: str | None
    n_clusters_warning: str | None
    group_by_reason: str | None
    not_drawn: int
    settings: list[Section]


def build_report(result: Result, load_image: LoadImage | None = None, *, title: str | None = None) -> ReportData:
    """Compute the data of the report.

    Args:
        result: the result of a run.
        load_image: gives image ``i`` as float32 H x W x 3 in [0, 1]; called only for the pictures that are shown. A
            picture has only its heat map if ``load_image`` is None or raises :class:`~blemish.errors.InputError`.
        title: heading of the page; by default the name of the input folder.

    Cost: at most 300 images are decoded and 100 maps per group are measured, whatever the size of the set. Every map is
    read once for the color scale.
    """
    low, high = heat_scale(result)
    groups = _groups(result, load_image, low, high)
    name = _folder_name(result.source)
    pictures = [picture for group in groups for picture in group.pictures]
    return ReportData(
        title=shown(title or name or "Images"),
        source=shown(result.source) if result.source is not None else None,
        images=len(result.paths),
        anomalous=int(np.count_nonzero(result.is_anomalous)),
        types=sum(not (group.normal or group.unsorted) for group in groups),
        unsorted=sum(group.count for group in groups if group.unsorted),
        needs_check=int(np.count_nonzero(result.needs_check)),
        threshold=float(result.threshold),
        scale_low=low,
        scale_high=high,
        groups=groups,
        rows=_rows(result),
        histogram=_histogram(result),
        skipped=[SkippedFile(path=shown(s.path), reason=shown(s.reason)) for s in result.skipped],
        group_by_reason=result.group_by_reason,
        threshold_warning=shown(result.threshold_warning) if result.threshold_warning is not None else None,
        n_clusters_warning=result.n_clusters_warning,
        not_drawn=sum(picture.photo is None for picture in pictures) if load_image is not None else 0,
        settings=_settings(result),
    )


def _folder_name(source: str | None) -> str:
    """Last part of a path, after its parent if the last part alone says little (``leather / test``)."""
    parts = [part for part in (source or "").replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return " / ".join(parts[-2:] if parts[-1:] in (["test"], ["images"]) else parts[-1:])


def heat_scale(result: Result) -> tuple[float, float]:
    """Map values at the dark and at the bright end of the heat colors: one scale for all images.

    The dark end is the median background (the median over the images of the median of each map), at most half the
    threshold. The bright end is the 95% quantile of the scores, at least twice the threshold, so normal images look
    dark. The bright end always exceeds the dark end, even where all maps are 0.
    """
    threshold = float(result.threshold) if np.isfinite(result.threshold) else 0.0
    background = float(np.median([float(np.median(m)) for m in result.maps])) if len(result.maps) else 0.0
    low = max(0.0, min(background, threshold / 2))
    top = float(np.quantile(result.scores, 0.95)) if len(result.scores) else 0.0
    high = max(top, 2 * threshold)
    return low, high if high > low else low + 1.0


def _groups(result: Result, load_image: LoadImage | None, low: float, high: float) -> list[Group]:
    budget = max(4, min(MAX_PICTURES, MAX_TOTAL_PICTURES // max(1, result.n_clusters)))
    members = {label: np.flatnonzero(result.groups == label).tolist() for label in result.group_numbers}
    shapes = {label: measure_group(result, rows) for label, rows in members.items()}
    types = [label for label in members if label not in (result.normal_label, UNSORTED)]
    comparisons = compare_shapes({result.cluster_name(label): shapes[label] for label in types})
    groups = []
    for label, rows in sorted(members.items(), key=lambda item: item[0] == result.normal_label):  # normal last
        name = result.cluster_name(label)
        pictures = [
            make_picture(result, i, load_image, low, high, reason) for i, reason in _chosen(result, rows, budget)
        ]
        groups.append(
            Group(
                label=label,
                name=name,
                normal=label == result.normal_label,
                unsorted=label == UNSORTED,
                color=_hex(result, label),
                count=len(rows),
                share=len(rows) / len(result.paths),
                median_score=float(np.median(result.scores[rows])) if rows else 0.0,
                shape=shapes[label],
                description=describe_shape(shapes[label]),
                comparison=comparisons.get(name, ""),
                pictures=pictures,
            )
        )
    return groups


def _chosen(result: Result, members: Sequence[int], budget: int) -> list[tuple[int, str]]:
    """Rows of the images shown for a group, each with the reason why it is shown.

    The most typical members (nearest to the center of the group) come first, then the most anomalous of the others.
    Ties keep the order of the images.
    """
    by_distance = sorted(members, key=lambda i: (float(result.distances[i]), i))
    if len(members) <= budget:
        return [(i, "typical") for i in by_distance]
    typical = by_distance[: budget - budget // 4]
    rest = sorted(set(members) - set(typical), key=lambda i: (-float(result.scores[i]), i))
    return [(i, "typical") for i in typical] + [(i, "high score") for i in rest[: budget // 4]]


def _rows(result: Result) -> list[Row]:
    groups, needs_check = result.groups, result.needs_check
    order = sorted(range(len(result.paths)), key=lambda i: (-float(result.scores[i]), i))
    return [
        Row(
            index=i,
            path=shown(result.paths[i]),
            label=int(groups[i]),
            group=result.cluster_name(int(groups[i])),
            color=_hex(result, int(groups[i])),
            score=float(result.scores[i]),
            anomalous=bool(result.is_anomalous[i]),
            needs_check=bool(needs_check[i]),
            distance=float(result.distances[i]),
            height=int(result.sizes[i][0]),
            width=int(result.sizes[i][1]),
        )
        for i in order[:MAX_ROWS]
    ]


def _histogram(result: Result, bins: int = 40) -> Histogram:
    scores = result.scores.astype(np.float64)
    top = float(scores.max()) if len(scores) else 0.0
    edges = np.linspace(0.0, top if top > 0 else 1.0, bins + 1)
    normal, _ = np.histogram(scores[~result.is_anomalous], edges)
    anomalous, _ = np.histogram(scores[result.is_anomalous], edges)
    return Histogram(edges=edges.tolist(), normal=normal.tolist(), anomalous=anomalous.tolist())


def _hex(result: Result, label: int) -> str:
    return hex_color(cluster_color(label, result.normal_label))


_NOT_SETTINGS = {
    "written",
    "counts",
    "clusters",
    "skipped",
    "not_drawn",
    "timings",
    "source",
    "schema",
    "threshold_warning",
    "n_clusters_warning",
    "group_by",
    "group_by_reason",
    "type_names",
}
"""Keys of ``run.json`` that the page shows elsewhere, or that differ between equal runs."""


def _settings(result: Result) -> list[Section]:
    """Settings and versions as in ``run.json``, as flat lists. Dates and timings are left out: equal runs, equal pages."""
    document = {key: value for key, value in run_document(result).items() if key not in _NOT_SETTINGS}
    single = [(shown(key), _text(value)) for key, value in document.items() if not isinstance(value, Mapping)]
    sections = [Section(title="Run", items=single)]
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            sections.append(Section(title=shown(key).replace("_", " ").capitalize(), items=_flat(value)))
    return sections


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    items: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{shown(key)}"
        items += _flat(value, name + ".") if isinstance(value, Mapping) and value else [(name, _text(value))]
    return items


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return shown(str(value))
