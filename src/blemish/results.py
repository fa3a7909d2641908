"""The result of a run: plain arrays with one row per image, which the writers, the report and the exports read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from blemish.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class Skipped:
    """A file that looked like an image but could not be read.

    Attributes:
        path: its path, in the form of ``Result.paths``.
        reason: one line that says why.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class Result:
    """Everything that one run found: one row per readable image, in the order of ``paths``.

    Attributes:
        paths: path of each image, relative to the input folder, with ``/`` as separator (``array-00001`` for arrays).
        sizes: N x 2 int64, height and width of each image in pixels as stored (after EXIF orientation).
        scores: N float32 >= 0, anomaly score of each image: a high quantile of its map before median filling.
        maps: N anomaly maps, each float32 h_i x w_i >= 0 at feature resolution, after median filling; one scale for
            the whole set. The sequence may be lazy, with maps on disk: index it or iterate over it once, and do not
            turn it into a list.
        threshold: an image whose score exceeds it is anomalous, and so is a pixel whose map value exceeds it.
        is_anomalous: N bool.
        labels: N int64 in 0..n_clusters-1. The normal group comes first (when there is one), then the types by
            falling size.
        normal_label: label of the normal group; None if there is none.
        distances: N float32, distance of each descriptor to the center of its own cluster.
        descriptors: N x D float32, the rows that were clustered.
        source: the folder that the paths are relative to, as the user gave it; None for arrays.
        skipped: files that could not be read.
        threshold_warning: one or two sentences, shown when the anomaly decision is unreliable; None otherwise.
        timings: seconds per stage.
        info: settings, seed, versions and digest of the weights, which ``run.json`` repeats.
    """

    paths: list[str]
    sizes: IntArray
    scores: FloatArray
    maps: Sequence[FloatArray]
    threshold: float
    is_anomalous: BoolArray
    labels: IntArray
    normal_label: int | None
    distances: FloatArray
    descriptors: FloatArray
    source: str | None = None
    skipped: list[Skipped] = field(default_factory=list)
    threshold_warning: str | None = None
    timings: dict[str, float] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def n_clusters(self) -> int:
        """Number of groups, the normal one included."""
        return int(self.labels.max()) + 1 if len(self.labels) else 0

    def cluster_name(self, label: int) -> str:
        """Name of a group as users see it: ``normal``, or ``type 1``, ``type 2``, ... by falling size."""
        if label == self.normal_label:
            return "normal"
        return f"type {label + (self.normal_label is None)}"
