"""What the stages hand to the writers, the report and the exports: plain arrays with one row per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from blemish.types import BoolArray, FloatArray, IntArray, Skipped

__all__ = ["BoolArray", "FloatArray", "IntArray", "Result", "Skipped"]


@dataclass(frozen=True)
class Result:
    """Everything one run found, one row per readable image, in the order of ``paths``.

    Attributes:
        paths: path of each image, relative to the input folder, ``/`` as separator (or ``array-00001`` for arrays).
        sizes: N x 2 int, height and width of each image as stored (after EXIF orientation).
        scores: N float32, >= 0; the image's anomaly score (a high quantile of its map before regions are filled).
        maps: N anomaly maps, float32 h_i x w_i >= 0 at feature resolution, regions filled; one scale for the whole set.
        threshold: pixels of a map above it are called anomalous.
        image_threshold: images with a score above it are called anomalous.
        is_anomalous: N bool.
        labels: N int64 in 0..n_clusters-1. Labels are ordered: the normal group first (when there is one), then the types by falling size.
        normal_label: label of the normal group, None where every image is anomalous.
        distances: N float32, distance of each descriptor to the center of its own cluster.
        descriptors: N x D float32, what the clustering saw.
        source: the folder the paths are relative to, as given by the user; None for arrays.
        skipped: files that could not be read.
        caution: a sentence or two for whoever reads which images are anomalous, where that stands on little; None: it does not.
        timings: seconds per stage.
        info: settings, seed, versions, weight digest: what run.json repeats.
    """

    paths: list[str]
    sizes: IntArray
    scores: FloatArray
    maps: Sequence[FloatArray]
    threshold: float
    image_threshold: float
    is_anomalous: BoolArray
    labels: IntArray
    normal_label: int | None
    distances: FloatArray
    descriptors: FloatArray
    source: str | None = None
    skipped: list[Skipped] = field(default_factory=list)
    caution: str | None = None
    timings: dict[str, float] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def n_clusters(self) -> int:
        """Number of groups, the normal one included."""
        return int(self.labels.max()) + 1 if len(self.labels) else 0

    def cluster_name(self, label: int) -> str:
        """Name shown to people: ``normal`` or ``type 1``, ``type 2``, ... by falling size."""
        if label == self.normal_label:
            return "normal"
        return f"type {label + (self.normal_label is None)}"
