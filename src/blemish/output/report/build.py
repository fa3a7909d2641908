"""Computes the data of the report from a result and its pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from blemish.errors import shown
from blemish.output.region_tables import regions_by_image
from blemish.output.report.data import (
    Group,
    Histogram,
    ImageRow,
    OtherView,
    RegionRow,
    ReportData,
    Section,
    SkippedFile,
)
from blemish.output.report.looks import median_look
from blemish.output.report.pictures import Pictures, picture_name
from blemish.output.report.projections import project
from blemish.output.report.tree import build_tree, mean_map, nearest, separation
from blemish.output.run_file import run_document
from blemish.output.tables import is_unicode, unicode_text
from blemish.regions import Region
from blemish.results import UNSORTED, Result
from blemish.types import IntArray

FILES = "report_files"
"""Folder beside the page for pictures and the chart library."""

FindFile = Callable[[int, str], str | None]
"""Relative path of the ``overlay`` or ``mask`` of an image, None if it was not written."""


def build_report(
    result: Result,
    pictures: Sequence[Pictures],
    find_file: FindFile | None = None,
    *,
    title: str | None = None,
) -> ReportData:
    """Compute the data of the report.

    Args:
        result: the result of a run.
        pictures: those of each image, by :func:`blemish.output.report.pictures.draw_pictures`.
        find_file: gives the other files of the run that the page shows, relative to it; None if there are none.
        title: heading of the page; by default the name of the input folder.

    Cost: a few seconds for the scatter plot and the tree, whatever the size of the set.
    """
    scale = heat_scale(result)
    labels = result.groups
    typed = np.flatnonzero((labels >= 0) & (labels != (-1 if result.normal_label is None else result.normal_label)))
    tree, leaf_of = build_tree(result.descriptors, typed, result.maps, scale)
    images, projected = _images(result, pictures, find_file, typed, leaf_of)
    setting = result.info.get("settings", {}).get("n_clusters")
    return ReportData(
        run_id=_run_id(result),
        title=shown(title or _folder_name(result.source) or "Images"),
        source=None if result.source is None else shown(result.source),
        view=result.group_by,
        view_reason=result.group_by_reason,
        n_clusters_setting=None if setting is None else str(setting),
        threshold=float(result.threshold) if np.isfinite(result.threshold) else None,
        warnings=[
            shown(one)
            for one in (result.threshold_warning, result.n_clusters_warning, result.drift_warning)
            if one is not None
        ]
        + [shown(one) for one in result.input_notes],
        scale=scale,
        anomalous=int(np.count_nonzero(result.is_anomalous)),
        types=len(set(labels[typed].tolist())),
        unsorted=int((labels == UNSORTED).sum()),
        needs_check=int(result.needs_check.sum()),
        normal_label=result.normal_label,
        groups=_groups(result, images, scale),
        other=_other_view(result, scale),
        tree=tree,
        images=images,
        projected=projected,
        histogram=_histogram(result),
        skipped=[SkippedFile(path=shown(s.path), reason=shown(s.reason)) for s in result.skipped],
        not_drawn=_not_drawn(pictures),
        settings=_settings(result),
    )


def _not_drawn(pictures: Sequence[Pictures]) -> int:
    """Photographs that are missing among others; none of them is if the report was made without any."""
    missing = sum(one.photo is None for one in pictures)
    return missing if missing < len(pictures) else 0


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


def _run_id(result: Result) -> str:
    digest = hashlib.sha256()
    for path in result.paths:
        digest.update(unicode_text(path).encode() + b"\0")
    for values in (result.scores.astype(np.float32), result.labels.astype(np.int64)):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]


def _folder_name(source: str | None) -> str:
    """Last part of a path, after its parent if the last part alone says little (``leather / test``)."""
    parts = [part for part in (source or "").replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return " / ".join(parts[-2:] if parts[-1:] in (["test"], ["images"]) else parts[-1:])


def _images(
    result: Result, pictures: Sequence[Pictures], find_file: FindFile | None, typed: IntArray, leaf_of: IntArray
) -> tuple[list[ImageRow], int]:
    """The rows of the images, and the number of them that t-SNE placed."""
    pca, tsne, projected = project(result.descriptors, int(result.info.get("seed", 0)))
    normal = np.setdiff1d(np.arange(len(result.paths)), typed)
    neighbors = nearest(result.descriptors[normal], result.descriptors[typed]) if len(typed) else np.zeros(0, np.int64)
    closest = dict(zip(normal.tolist(), typed[neighbors].tolist(), strict=False))
    leaves = dict(zip(typed.tolist(), leaf_of.tolist(), strict=True))
    regions, groups, needs_check = regions_by_image(result), result.groups, result.needs_check
    rows = []
    for i, path in enumerate(result.paths):
        key, text, drawn = unicode_text(path), shown(path), pictures[i]
        rows.append(
            ImageRow(
                path=key,
                shown=text if text != key else None,
                label=int(groups[i]),
                odd=not is_unicode(path),
                other_label=None if result.other_labels is None else int(result.other_labels[i]),
                leaf=leaves.get(i),
                nearest=closest.get(i),
                score=short(result.scores[i]),
                anomalous=bool(result.is_anomalous[i]),
                needs_check=bool(needs_check[i]),
                probability=None if result.anomaly_probability is None else short(result.anomaly_probability[i]),
                type_probability=None if result.type_probability is None else short(result.type_probability[i]),
                distance=short(result.distances[i]),
                height=int(result.sizes[i][0]),
                width=int(result.sizes[i][1]),
                thumb_width=drawn.width,
                thumb_height=drawn.height,
                photo=None if drawn.photo is None else f"{FILES}/{picture_name(i, 'photo')}",
                heat=f"{FILES}/{picture_name(i, 'heat')}",
                overlay=find_file(i, "overlay") if find_file else None,
                mask=find_file(i, "mask") if find_file else None,
                outline=drawn.outline,
                look=drawn.look,
                regions=_regions(result, i, drawn, regions[i]),
                pca=(float(pca[i, 0]), float(pca[i, 1])),
                tsne=(float(tsne[i, 0]), float(tsne[i, 1])),
            )
        )
    return rows, projected


def _regions(result: Result, i: int, drawn: Pictures, regions: Sequence[Region]) -> list[RegionRow]:
    """The regions of an image; one of the size of its crop where regions are not known."""
    crops = [(f"{FILES}/{picture_name(i, 'crop', k)}", box) for k, (_, box) in enumerate(drawn.crops)]
    pixels = int(result.sizes[i][0]) * int(result.sizes[i][1])
    if not regions:
        return [
            RegionRow(
                box=box,
                label=int(result.groups[i]),
                score=short(result.scores[i]),
                area=drawn.look.area if drawn.look else 0.0,
                elongation=drawn.look.elongation if drawn.look else 1.0,
                crop=crop,
                crop_box=box,
            )
            for crop, box in crops
        ]
    rows = []
    for k, one in enumerate(regions):
        crop, box = crops[k] if k < len(crops) else (None, None)
        rows.append(
            RegionRow(
                box=(one.left, one.top, one.width, one.height),
                label=one.label,
                score=short(one.score),
                area=round(one.area / pixels, 6),
                elongation=round(one.elongation, 3),
                confidence=None if one.confidence is None else short(one.confidence),
                crop=crop,
                crop_box=box,
            )
        )
    return rows


def short(value: float | np.floating) -> float:
    """A number with the fewest digits that restore it in single precision.

    >>> short(np.float32(0.1))
    0.1
    """
    return float(str(np.float32(value)))


def _groups(result: Result, images: Sequence[ImageRow], scale: tuple[float, float]) -> list[Group]:
    apart, closest = _separations(result)
    groups = []
    for label in result.group_numbers:
        members = np.flatnonzero(result.groups == label)
        known = result.type_probability
        groups.append(
            Group(
                label=label,
                name=shown(result.cluster_name(label)),
                normal=label == result.normal_label,
                count=len(members),
                share=len(members) / len(result.paths),
                median_score=short(np.median(result.scores[members])) if len(members) else 0.0,
                look=median_look([look for i in members.tolist() if (look := images[i].look) is not None]),
                separation=apart.get(label),
                closest=closest.get(label),
                confidence=None if known is None or not len(members) else short(np.median(known[members])),
                typical=int(members[np.argmin(result.distances[members])]) if len(members) else None,
                mean_map=mean_map(result.maps, members, scale),
            )
        )
    return groups


def _separations(result: Result) -> tuple[dict[int, float], dict[int, int]]:
    """For each type how well it separates from the other types, and the type that it is closest to."""
    types = [k for k in range(result.n_clusters) if k != result.normal_label and (result.groups == k).any()]
    if len(types) < 2:
        return {}, {}
    typed = np.isin(result.groups, types)
    labels = np.searchsorted(types, result.groups[typed])
    values, others = separation(result.descriptors[typed], labels)
    apart = {label: round(float(values[labels == k].mean()), 4) for k, label in enumerate(types)}
    closest = {label: types[int(np.bincount(others[labels == k]).argmax())] for k, label in enumerate(types)}
    return apart, closest


def _other_view(result: Result, scale: tuple[float, float]) -> OtherView | None:
    """The other view; its first group is the normal one if most of its images are not anomalous."""
    labels = result.other_labels
    if labels is None:
        return None
    first = labels == 0
    normal = 0 if first.any() and np.mean(result.is_anomalous[first]) < 0.5 else None
    return OtherView(
        view="image" if result.group_by == "defect" else "defect",
        normal_label=normal,
        mean_maps=[mean_map(result.maps, np.flatnonzero(labels == k), scale) for k in range(int(labels.max()) + 1)],
    )


def _histogram(result: Result, bins: int = 40) -> Histogram:
    scores = result.scores.astype(np.float64)
    top = float(scores.max()) if len(scores) else 0.0
    edges = np.linspace(0.0, top if top > 0 else 1.0, bins + 1)
    normal, _ = np.histogram(scores[~result.is_anomalous], edges)
    anomalous, _ = np.histogram(scores[result.is_anomalous], edges)
    return Histogram(edges=edges.tolist(), normal=normal.tolist(), anomalous=anomalous.tolist())


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
    "drift_warning",
    "type_names",
    "group_by",
    "group_by_reason",
    "cache",
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
