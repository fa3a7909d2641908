"""What a prediction says about each image, as one JSON object per image."""

from __future__ import annotations

from typing import Any

from blemish.results import Result


def image_records(result: Result) -> list[dict[str, Any]]:
    """One object per image, in the order of the result, with plain JSON types.

    Each has the path, the size in pixels, score, threshold, verdict, the number, name and probability of its group, whether
    the image as a whole looks unfamiliar, and the regions: box [left, top, width, height], area, score, number, name and
    probability of the type.
    """
    unfamiliar = set(result.info.get("unfamiliar", ()))
    regions: list[list[dict[str, Any]]] = [[] for _ in result.paths]
    for one in result.regions:
        box = [one.left, one.top, one.width, one.height]
        kind = {"type": one.label, "type_name": result.cluster_name(one.label), "confidence": one.confidence}
        regions[one.image].append({"box": box, "area": one.area, "score": float(one.score), **kind})
    groups, verdicts = result.groups, result.verdicts
    return [
        {
            "path": path,
            "height": int(result.sizes[i][0]),
            "width": int(result.sizes[i][1]),
            "score": float(result.scores[i]),
            "threshold": float(result.threshold),
            "is_anomalous": bool(result.is_anomalous[i]),
            "verdict": verdicts[i],
            "group": int(groups[i]),
            "group_name": result.cluster_name(int(groups[i])),
            "probability": None if result.type_probability is None else float(result.type_probability[i]),
            "unfamiliar": path in unfamiliar,
            "regions": regions[i],
        }
        for i, path in enumerate(result.paths)
    ]
