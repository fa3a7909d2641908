"""Every number, path and picture of the report, computed from a :class:`~blemish.results.Result`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from blemish.errors import shown
from blemish.output.overlays import cluster_color
from blemish.output.report.regions import Shape, contrast_words, in_words, measure_group
from blemish.output.report.thumbnails import Picture, make_picture
from blemish.output.write import run_document
from blemish.results import Result
from blemish.types import FloatArray

LoadImage = Callable[[int], FloatArray]

MAX_ROWS = 2000
"""Rows of the table in the page; images.csv has all."""

MAX_PICTURES = 24
"""Pictures per group, three quarters of them typical, the others those with the highest scores."""

MAX_PICTURES_IN_ALL = 300
"""Many groups share this number, so that the page stays below some ten megabytes."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True)


class Group(_Data):
    """One cluster, types first and the normal group last. ``pictures`` are the shown ones of ``count``."""

    label: int
    name: str
    normal: bool
    color: str
    count: int
    share: float
    median_score: float
    shape: Shape
    words: str
    apart: str
    pictures: list[Picture]


class Row(_Data):
    """One image in the table; ``index`` is its place in the run."""

    index: int
    path: str
    label: int
    group: str
    color: str
    score: float
    anomalous: bool
    distance: float
    height: int
    width: int


class Histogram(_Data):
    """Images per bin of score: ``edges`` has one entry more than the counts."""

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
    """What the page shows. ``model_dump_json`` and ``model_validate_json`` are a round trip."""

    title: str
    source: str | None
    images: int
    anomalous: int
    types: int
    threshold: float
    image_threshold: float
    scale_low: float
    scale_high: float
    groups: list[Group]
    rows: list[Row]
    histogram: Histogram
    skipped: list[SkippedFile]
    caution: str | None
    not_drawn: int
    settings: list[Section]


def build_report(result: Result, load_image: LoadImage | None = None, *, title: str | None = None) -> ReportData:
    """Compute the report.

    Args:
        result: what a run found.
        load_image: gives image ``i`` as float32 H x W x 3 in [0, 1]; called for the pictures shown only. Where it
            raises :class:`~blemish.errors.InputError`, or is None, a picture has its heat map alone.
        title: heading of the page; default: the name of the input folder.

    Cost: at most 300 images decoded and 100 maps per group measured, whatever the size of the set.
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
        types=sum(not group.normal for group in groups),
        threshold=float(result.threshold),
        image_threshold=float(result.threshold),
        scale_low=low,
        scale_high=high,
        groups=groups,
        rows=_rows(result),
        histogram=_histogram(result),
        skipped=[SkippedFile(path=shown(s.path), reason=shown(s.reason)) for s in result.skipped],
        caution=shown(result.threshold_warning) if result.threshold_warning is not None else None,
        not_drawn=sum(picture.photo is None for picture in pictures) if load_image is not None else 0,
        settings=_settings(result),
    )


def _folder_name(source: str | None) -> str:
    """Last part of a path, with its parent where it says little (``leather / test``)."""
    parts = [part for part in (source or "").replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return " / ".join(parts[-2:] if parts[-1:] in (["test"], ["images"]) else parts[-1:])


def heat_scale(result: Result) -> tuple[float, float]:
    """Values at the two ends of the colors, one scale for all images, so that normal images look normal.

    Low is the median background (median over images of the median of the map), at most half the threshold; high is
    the 95 % quantile of the scores, at least twice the threshold. High always exceeds low, also where all maps are 0.
    """
    threshold = float(result.threshold) if np.isfinite(result.threshold) else 0.0
    background = float(np.median([float(np.median(m)) for m in result.maps])) if len(result.maps) else 0.0
    low = max(0.0, min(background, threshold / 2))
    top = float(np.quantile(result.scores, 0.95)) if len(result.scores) else 0.0
    high = max(top, 2 * threshold)
    return low, high if high > low else low + 1.0


def _groups(result: Result, load_image: LoadImage | None, low: float, high: float) -> list[Group]:
    budget = max(4, min(MAX_PICTURES, MAX_PICTURES_IN_ALL // max(1, result.n_clusters)))
    members = {label: np.flatnonzero(result.labels == label).tolist() for label in range(result.n_clusters)}
    shapes = {label: measure_group(result, rows) for label, rows in members.items()}
    apart = contrast_words({result.cluster_name(k): s for k, s in shapes.items() if k != result.normal_label})
    groups = []
    for label, rows in sorted(members.items(), key=lambda item: item[0] == result.normal_label):  # normal comes last
        name = result.cluster_name(label)
        pictures = [
            make_picture(result, i, load_image, low, high, reason) for i, reason in _chosen(result, rows, budget)
        ]
        groups.append(
            Group(
                label=label,
                name=name,
                normal=label == result.normal_label,
                color=_hex(result, label),
                count=len(rows),
                share=len(rows) / len(result.paths),
                median_score=float(np.median(result.scores[rows])) if rows else 0.0,
                shape=shapes[label],
                words=in_words(shapes[label]),
                apart=apart.get(name, ""),
                pictures=pictures,
            )
        )
    return groups


def _chosen(result: Result, members: Sequence[int], budget: int) -> list[tuple[int, str]]:
    """The most typical members (nearest to the center), then the most anomalous of the rest; ties by order."""
    by_distance = sorted(members, key=lambda i: (float(result.distances[i]), i))
    if len(members) <= budget:
        return [(i, "typical") for i in by_distance]
    typical = by_distance[: budget - budget // 4]
    rest = sorted(set(members) - set(typical), key=lambda i: (-float(result.scores[i]), i))
    return [(i, "typical") for i in typical] + [(i, "high score") for i in rest[: budget // 4]]


def _rows(result: Result) -> list[Row]:
    order = sorted(range(len(result.paths)), key=lambda i: (-float(result.scores[i]), i))
    return [
        Row(
            index=i,
            path=shown(result.paths[i]),
            label=int(result.labels[i]),
            group=result.cluster_name(int(result.labels[i])),
            color=_hex(result, int(result.labels[i])),
            score=float(result.scores[i]),
            anomalous=bool(result.is_anomalous[i]),
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
    return "#{:02x}{:02x}{:02x}".format(*cluster_color(label, result.normal_label))


_SHOWN_ELSEWHERE = {"written", "counts", "clusters", "skipped", "not_drawn", "timings", "source", "schema", "caution"}


def _settings(result: Result) -> list[Section]:
    """What run.json says about settings and versions, flat; times differ between equal runs and stay there."""
    document = {key: value for key, value in run_document(result).items() if key not in _SHOWN_ELSEWHERE}
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
