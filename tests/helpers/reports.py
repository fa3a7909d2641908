"""Reports of made-up results, with their files in memory."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from blemish.errors import InputError
from blemish.output.report import ReportData, ReportMode, ReportWriter
from blemish.regions import Region
from blemish.results import Result
from helpers.results import make_result


def report_files(
    result: Result, load: Callable[[int], np.ndarray] | None = None, mode: ReportMode = "single"
) -> dict[str, bytes]:
    """Content of the files that a report consists of, by path."""
    files: dict[str, bytes] = {}

    def write(name: str, writer: Callable[[BinaryIO], object]) -> None:
        stream = io.BytesIO()
        writer(stream)
        files[name] = stream.getvalue()

    report = ReportWriter(result, write, mode)
    for i in range(len(result.paths)):
        try:
            report.add(i, load(i) if load is not None else None)
        except InputError:
            report.add(i, None)
    report.finish()
    return files


def report_data(result: Result, load: Callable[[int], np.ndarray] | None = None) -> ReportData:
    """Data of the report of a result."""
    return ReportData.model_validate(json.loads(report_files(result, load)["report.json"]))


def reviewed_result(normal: int = 10, types: tuple[int, ...] = (7, 6, 5), **changes: Any) -> Result:
    """A made-up result with everything that a run can know: probabilities, regions, a second view, a borderline image."""
    rng = np.random.default_rng(3)
    base = make_result(normal, types)
    labels = base.labels
    places = np.eye(len(types) + 1)[labels] * 6
    descriptors = (places + rng.normal(size=places.shape)).astype(np.float32)
    probability = np.where(base.is_anomalous, 0.98, 0.02).astype(np.float32)
    probability[[0, normal]] = 0.4, 0.7
    scores = base.scores + rng.uniform(0, 0.05, len(labels)).astype(np.float32)
    first, second = normal, normal + types[0]  # a region of type 1 lies on an image of type 2
    regions = [_region(first, 20, 10, 1, 0.9), _region(second, 30, 20, 2, 0.8), _region(second, 90, 50, 1, 0.7)]
    fields: dict[str, Any] = {
        "descriptors": descriptors,
        "scores": scores,
        "anomaly_probability": probability,
        "type_probability": np.full(len(labels), 0.9, np.float32),
        "other_labels": np.where(labels > 1, 1, labels),
        "group_by_reason": "Grouped by local defects.",
        "regions": regions,
        "source": "/photos/leather",
    }
    return make_result(normal, types, **{**fields, **changes})


def _region(image: int, left: int, top: int, label: int, score: float) -> Region:
    box = np.array([[left, top], [left + 16, top], [left + 16, top + 12], [left, top + 12]], np.float64)
    return Region(image, left, top, 16, 12, (box,), (), 192, 1.3, 0.0, -0.1, score, label, 0.8)
