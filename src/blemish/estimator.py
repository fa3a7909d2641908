"""The pipeline as a scikit-learn estimator."""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin

from blemish.config.schema import Config
from blemish.config.sources import Source, merge
from blemish.errors import ConfigError
from blemish.images import Images
from blemish.results import Result
from blemish.types import FloatArray, IntArray

if TYPE_CHECKING:
    from blemish.model import FittedModel


class BlindAnomalyClustering(ClusterMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Find defects in images of one texture and sort them into types, without labels.

    An argument that is None, and ``n_clusters="auto"``, keeps the value of ``config`` or, without one, the default. Any
    other value takes precedence.

    Args:
        n_clusters: number of groups, including the normal group; ``auto`` keeps the number in ``config``, or estimates it.
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
            or a TOML or YAML file.

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
        model_: the fitted :class:`blemish.model.FittedModel`.
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
            ConfigError: an argument does not fit; the message names it.
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
        assert result.model is not None
        self.model_: FittedModel = result.model  # type: ignore[assignment]
        return self

    def predict(self, X: Images) -> IntArray:
        """The group of each readable image among further ones, N int64; -1 for a defect unlike every type.

        Args:
            X: as for :func:`blemish.run`, images of the material that the estimator was fitted to. :meth:`inspect` gives
                names, maps and regions as well.
        """
        return self.inspect(X).labels

    def score_samples(self, X: Images) -> FloatArray:
        """The anomaly score of each readable image among further ones, N float32; larger means more anomalous."""
        return self.inspect(X).scores

    def transform(self, X: Images) -> FloatArray:
        """The vector of each readable image among further ones in the space that was clustered, N x D float32."""
        return self.inspect(X).descriptors

    def inspect(self, X: Images) -> Result:
        """The complete result of further images; ``skipped`` names the ones that could not be read."""
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self, "model_")
        with _threads(self.n_jobs):
            return self.model_.predict(X, device=self.device or "auto")

    def save(self, folder: str | Path) -> Path:
        """Write the fitted model into a folder; :meth:`load` and ``blemish predict`` read it."""
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self, "model_")
        return self.model_.save(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """An estimator with the fitted model of a folder: it predicts, and has no results of the fitted images."""
        from blemish.model import FittedModel

        model = FittedModel.load(folder)
        estimator = cls(n_clusters=model.config.n_clusters, config=model.config)
        estimator.model_ = model
        return estimator

    def fit_predict(self, X: Images, y: object = None) -> IntArray:
        """Call :meth:`fit` and return ``labels_``."""
        return self.fit(X).labels_

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that the input is images and not a table of features."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags

    def _settings(self) -> Config:
        """The settings of a run: those of ``config``, with the arguments that are not None in their place."""
        sources = [Source("config", _loaded(self.config).model_dump())]
        for argument, value in self.get_params(deep=False).items():
            if value is not None and (keys := _KEYS.get(argument)):
                sources.append(Source(f"argument {argument}", keys(value)))
        return merge(Config, sources)


def _heads(n_heads: Any) -> dict[str, Any]:
    if isinstance(n_heads, numbers.Integral) and n_heads == 0:
        return {"contrastive.enabled": False}
    return {"contrastive.enabled": True, "contrastive.n_heads": n_heads}


def _cache(cache: Any) -> dict[str, Any]:
    if isinstance(cache, bool | np.bool_):
        return {"cache.enabled": bool(cache)}
    return {"cache.enabled": True, "cache.folder": str(cache) if isinstance(cache, Path) else cache}


_KEYS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "n_clusters": lambda value: {} if value == "auto" else {"n_clusters": value},
    "backbone": lambda value: {"backbone.name": value},
    "image_size": lambda value: {"image.size": value},
    "localization": lambda value: {"localization.method": value},
    "threshold": lambda value: {"localization.threshold": value},
    "n_heads": _heads,
    "clusterer": lambda value: {"cluster.method": value},
    "cache": _cache,
    "device": lambda value: {"device": value},
    "random_state": lambda value: {"seed": value},
}
"""Argument -> the settings that it stands for, from its value."""


def _loaded(config: object) -> Config:
    """The settings of the argument ``config``."""
    if config is None:
        return Config()
    if isinstance(config, Config):
        return config
    if isinstance(config, str | Path):
        return Config.load(config)
    if isinstance(config, Mapping):
        return Config.from_values(config, "config")
    raise ConfigError(
        f"argument config: must be a Config, a mapping or a settings file, got {type(config).__name__}; give for example "
        '{"image.resize": "image"}'
    )


@contextlib.contextmanager
def _threads(n_jobs: object) -> Iterator[None]:
    """Compute with so many threads, and restore the number afterwards; None changes nothing."""
    if n_jobs is None:
        yield
        return
    from blemish.runtime.processors import available_processors
    from blemish.runtime.threads import limited_threads

    if isinstance(n_jobs, bool) or not isinstance(n_jobs, numbers.Integral) or n_jobs == 0 or n_jobs < -1:
        raise ConfigError(f"argument n_jobs: is {n_jobs!r}; give a number of threads, or -1 for all processors")
    with limited_threads(available_processors() if n_jobs == -1 else int(n_jobs)):
        yield
