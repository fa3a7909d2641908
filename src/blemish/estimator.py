"""The scikit-learn face of the pipeline."""

from __future__ import annotations

from typing import Any, Literal, Self

from sklearn.base import BaseEstimator, ClusterMixin

from blemish.config.schema import Config
from blemish.images import Images
from blemish.results import IntArray, Result


class BlindAnomalyClustering(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Find defects in images of one texture and sort them into types, without labels.

    Args:
        n_clusters: number of groups, the normal one included, or ``auto``.
        backbone: name, see :func:`blemish.backbones.load_backbone`.
        size: side in pixels, see ``image.size``; None: the preset's.
        preset: ``default`` or ``paper``.
        device: ``auto``, ``cpu`` or ``cuda``.
        random_state: seed.
        settings: further settings by dotted name, such as ``{"cluster.method": "kmeans"}``.

    Attributes:
        paths_: N names, of the images that could be read: all that follows is in their order.
        skipped_: the others, each with its path and reason; arrays are never skipped.
        labels_: N int, group of each image. n_clusters_: how many groups.
        scores_: N float32, anomaly scores. is_anomalous_: N bool. threshold_: float.
        anomaly_maps_: N maps, float32 h x w. descriptors_: N x D float32.
        normal_label_: label of the normal group or None. result_: everything, see :class:`blemish.results.Result`.

    The constructor only stores its arguments; they are checked by ``fit``.

    >>> BlindAnomalyClustering(n_clusters=3).get_params()["n_clusters"]
    3
    """

    def __init__(
        self,
        n_clusters: int | Literal["auto"] = "auto",
        *,
        backbone: str = "embedded",
        size: int | None = None,
        preset: Literal["default", "paper"] = "default",
        device: Literal["auto", "cpu", "cuda"] = "auto",
        random_state: int = 0,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.backbone = backbone
        self.size = size
        self.preset = preset
        self.device = device
        self.random_state = random_state
        self.settings = settings

    def fit(self, X: Images, y: object = None) -> Self:
        """Run the whole method on a folder, paths or arrays; ``y`` is ignored.

        Raises:
            InputError: nothing readable. ConfigError: arguments that do not fit.
        """
        from blemish.pipeline import run

        result: Result = run(X, self._config())
        self.result_ = result
        self.paths_ = list(result.paths)
        self.skipped_ = list(result.skipped)
        self.labels_ = result.labels
        self.n_clusters_ = result.n_clusters
        self.scores_ = result.scores
        self.anomaly_maps_ = list(result.maps)
        self.threshold_ = result.threshold
        self.is_anomalous_ = result.is_anomalous
        self.normal_label_ = result.normal_label
        self.descriptors_ = result.descriptors
        return self

    def fit_predict(self, X: Images, y: object = None) -> IntArray:
        """``fit`` and return ``labels_``."""
        return self.fit(X).labels_

    def _config(self) -> Config:
        values: dict[str, Any] = {
            "preset": self.preset,
            "clusters": self.n_clusters,
            "backbone.name": self.backbone,
            "device": self.device,
            "seed": self.random_state,
        }
        if self.size is not None:
            values["image.size"] = self.size
        return Config.from_values(values | (self.settings or {}))
