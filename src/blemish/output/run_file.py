"""The content of ``run.json``: settings, versions, counts, groups, and the files that were left out."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blemish.errors import shown
from blemish.output.colors import cluster_color, hex_color
from blemish.results import UNSORTED, Result, Skipped

SCHEMA = "blemish.run"
SCHEMA_VERSION = 1


def run_document(result: Result, not_drawn: Sequence[Skipped] = ()) -> dict[str, object]:
    """Content of ``run.json``, ready for JSON.

    ``result.info`` is repeated; where it has a key of this document, the document's own value is used. Numbers that
    JSON cannot express (infinite, not a number) become null. Paths that are not Unicode keep their odd bytes as lone
    surrogates, which JSON can hold as escapes.

    Args:
        result: the result of a run.
        not_drawn: images that could not be read again when their overlays were drawn.
    """
    info = to_json_types(result.info)
    return {
        **(info if isinstance(info, dict) else {}),
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "source": result.source,
        "counts": {
            "images": len(result.paths),
            "anomalous": int(np.count_nonzero(result.is_anomalous)),
            "needs_check": int(np.count_nonzero(result.needs_check)),
            "unsorted": int(np.count_nonzero(result.groups == UNSORTED)),
            "skipped": len(result.skipped),
            "clusters": result.n_clusters,
            "regions": len(result.regions) if result.has_regions else None,
        },
        "threshold": to_json_types(float(result.threshold)),
        "threshold_warning": result.threshold_warning,
        "n_clusters_warning": result.n_clusters_warning,
        "drift_warning": result.drift_warning,
        "group_by": result.group_by,
        "group_by_reason": result.group_by_reason,
        "type_names": to_json_types(result.type_names),
        "clusters": [_cluster(result, label) for label in result.group_numbers],
        "timings": to_json_types(result.timings),
        "skipped": [to_json_types(item) for item in result.skipped],
        "not_drawn": [to_json_types(item) for item in not_drawn],
    }


def _cluster(result: Result, label: int) -> dict[str, object]:
    members = result.groups == label
    return {
        "cluster": label,
        "name": result.cluster_name(label),
        "normal": label == result.normal_label,
        "images": int(members.sum()),
        "median_score": to_json_types(float(np.median(result.scores[members]))) if members.any() else None,
        "color": hex_color(cluster_color(label, result.normal_label)),
    }


def to_json_types(value: Any) -> Any:
    """The same value in the types that JSON has: dictionaries, lists, text, numbers, truth values and null.

    Arrays become lists, dataclasses and pydantic models become dictionaries, sets become sorted lists. Numbers that are
    infinite or not a number become None. Any other object becomes its text, with control characters escaped.

    >>> to_json_types({"size": (3, np.float32(0.5)), "limit": math.inf})
    {'size': [3, 0.5], 'limit': None}
    """
    if isinstance(value, np.ndarray | np.generic):
        return to_json_types(value.tolist())
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "model_dump"):
        return to_json_types(value.model_dump(mode="json"))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json_types(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): to_json_types(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_types(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((to_json_types(item) for item in value), key=str)
    return shown(str(value))
