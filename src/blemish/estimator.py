"""The pipeline as a scikit-learn estimator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from sklearn.base import BaseEstimator, ClusterMixin

from blemish.config.schema import Config
from blemish.errors import ConfigError
from blemish.images import Images
from blemish.results import Result
from blemish.types import IntArray


class BlindAnomalyClustering(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Find defects in images of one texture and sort them into types, without labels.

    Arguments that are None keep the value of ``config`` or, without one, the default.

    Args:
        n_clusters: number of groups, including the normal group; ``auto`` estimates it.
        backbone: ``embedded``, ``timm:MODEL`` or ``random:SEED``, see :func:`blemish.backbones.load_backbone`.
        image_size: side, in pixels, of the square with the area of a scaled image. Larger values show smaller defects and
            take more time.
        localization: ``knn``, ``vae_fca``, ``pca_fca``, ``fca``, ``vae_l1`` or ``vae_l2``.
        threshold: score above which an image is anomalous, or ``auto``. A higher value means fewer anomalous images.
        n_heads: number of contrastive heads; 0 clusters the descriptors without heads.
        clusterer: ``consensus``, ``ward``, ``kmeans``, ``spectral`` or ``gmm``.
        cache: True or False, or the folder for intermediate results.
        n_jobs: number of threads; -1 = all processors. Set for the process while ``fit`` runs.
        device: ``auto``, ``cpu`` or ``cuda``.
        random_state: seed of all random draws, an integer.
        verbose: show progress on stderr.
        config: all other settings: a :class:`Config`, a mapping with dotted names such as ``{"image.resize": "image"}``,
            or a TOML or YAML file. The arguments above take precedence.

    Attributes:
        labels_: N int64, group of each readable image.
        n_clusters_: number of groups.
        normal_label_: label of the normal group, or None.
        scores_: N float32, anomaly scores.
        threshold_: the threshold on scores.
        is_anomalous_: N bool.
        anomaly_maps_: N maps, float32 h x w. Large sets are read from a temporary file, one map at a time.
        descriptors_: N x D float32, the input of the clustering.
        paths_: N names of the readable images; the attributes above are in their order.
        skipped_: the files that could not be read, each with its path and the reason.
        result_: the complete :class:`blemish.results.Result`.

    The constructor only stores its arguments; :meth:`fit` checks them.

    >>> BlindAnomalyClustering(n_clusters=3).get_params()["n_clusters"]
    3
    """

    def __init__(
        self,
        n_clusters: int | Literal["auto"] = "auto",
        *,
        backbone: str | None = None,
        image_size: int | None = None,
        localization: str | None = None,
        threshold: float | Literal["auto"] | None = None,
        n_heads: int | None = None,
        clusterer: str | None = None,
        cache: bool | str | Path | None = None,
        n_jobs: int | None = None,
        device: str | None = None,
        random_state: int | None = None,
        verbose: bool = False,
        config: Config | Mapping[str, Any] | str | Path | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.backbone = backbone
        self.image_size = image_size
        self.localization = localization
        self.threshold = threshold
        self.n_heads = n_heads
        self.clusterer = clusterer
        self.cache = cache
        self.n_jobs = n_jobs
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.config = config

    def fit(self, X: Images, y: object = None) -> Self:
        """Run the method on a folder, paths or arrays.

        Args:
            X: as for :func:`blemish.pipeline.run`.
            y: ignored.

        Raises:
            InputError: no image can be read.
            ConfigError: an argument does not fit.
        """
        from blemish.pipeline import run
        from blemish.runtime.progress import SilentProgress
        from blemish.runtime.terminal import Bars

        with _threads(self.n_jobs):
            result = run(X, self._settings(), progress=Bars() if self.verbose else SilentProgress())
        self.result_: Result = result
        self.labels_ = result.labels
        self.n_clusters_ = result.n_clusters
        self.normal_label_ = result.normal_label
        self.scores_ = result.scores
        self.threshold_ = result.threshold
        self.is_anomalous_ = result.is_anomalous
        self.anomaly_maps_ = result.maps
        self.descriptors_ = result.descriptors
        self.paths_ = list(result.paths)
        self.skipped_ = list(result.skipped)
        return self

    def fit_predict(self, X: Images, y: object = None) -> IntArray:
        """Call :meth:`fit` and return ``labels_``."""
        return self.fit(X).labels_

    def _settings(self) -> Config:
        """The settings that the arguments amount to."""
        base = Config() if self.config is None else self.config
        if isinstance(base, str | Path):
            base = Config.load(base)
        elif not isinstance(base, Config):
            base = Config.from_values(base, "config")
        cache_folder = None if self.cache is None or isinstance(self.cache, bool) else str(self.cache)
        given = {
            "n_clusters": None if self.n_clusters == "auto" else self.n_clusters,
            "backbone.name": self.backbone,
            "image.size": self.image_size,
            "localization.method": self.localization,
            "localization.threshold": self.threshold,
            "contrastive.n_heads": self.n_heads or None,
            "contrastive.enabled": None if self.n_heads is None else self.n_heads > 0,
            "cluster.method": self.clusterer,
            "cache.enabled": self.cache if isinstance(self.cache, bool) else (True if cache_folder else None),
            "cache.folder": cache_folder,
            "device": self.device,
            "seed": self.random_state,
        }
        return base.updated(**{name: value for name, value in given.items() if value is not None})


@contextlib.contextmanager
def _threads(n_jobs: int | None) -> Iterator[None]:
    """Compute with so many threads, and restore the number afterwards; None changes nothing."""
    if n_jobs is None:
        yield
        return
    from blemish.runtime.processors import available_processors
    from blemish.runtime.threads import limited_threads

    if n_jobs == 0 or n_jobs < -1:
        raise ConfigError(f"n_jobs is {n_jobs}: give a number of threads, or -1 for all processors")
    with limited_threads(available_processors() if n_jobs == -1 else n_jobs):
        yield
