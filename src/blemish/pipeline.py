"""The whole flow on one page: images -> features -> normality -> maps -> threshold -> descriptors -> groups."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from blemish import __version__
from blemish.clustering.methods import center_distances, cluster, estimate_clusters, normalized
from blemish.config.schema import Config
from blemish.descriptors.pooling import region_geometry, with_geometry
from blemish.errors import ConfigError
from blemish.images import Images, ImageSource
from blemish.localization.median_fill import filled_maps
from blemish.localization.threshold import anomaly_weights, doubt, find_threshold, image_scores
from blemish.results import FloatArray, IntArray, Result
from blemish.runtime.cache import open_cache

if TYPE_CHECKING:
    import numpy.typing as npt

    from blemish.backbones import Backbone


class Advancing(Protocol):
    """What a stage of a progress display offers."""

    def advance(self, n: int = 1) -> None:
        """Say that ``n`` more items are done."""


class Progress(Protocol):
    """Where the run says how far it is; the command line has one for terminals."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Advancing]:
        """A long stage of ``total`` items."""


class Silent:
    """A display that shows nothing."""

    def advance(self, n: int = 1) -> None:
        """Nothing."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Advancing]:
        """Itself."""
        return nullcontext(self)


def run(
    images: Images,
    config: Config | None = None,
    *,
    progress: Progress | None = None,
    exclude: Sequence[Path] = (),
    backbone: Backbone | None = None,
) -> Result:
    """Find the defects of one texture and sort them into types, without labels.

    Args:
        images: a folder, paths, or arrays (H x W or H x W x 3; unsigned integers, or floats in [0, 1]).
        config: settings; default ``Config()``.
        progress: told of every stage.
        exclude: folders inside the input folder that are not read, such as the output.
        backbone: a network of the caller's in place of ``backbone.name``, on the device it was made for.

    Returns:
        One row per readable image; files that cannot be read are in ``Result.skipped``.

    Raises:
        InputError: nothing readable. ConfigError: settings that do not fit the images or each other.

    Cost: one pass of the backbone over all images and, with ``backbone.flips``, over their three mirror images (the sampled
    ones once more where their features do not fit into memory), and at most ``contrast.steps`` training steps for each
    head. Stages that an earlier run has left in the cache cost next to nothing. Same images, settings, seed and machine:
    the same bits, with the cache or without.
    """
    return run_source(
        lambda cfg: ImageSource(images, cfg.image, exclude=exclude), config or Config(), progress, backbone
    )


def run_source(
    open_source: Callable[[Config], ImageSource],
    config: Config,
    progress: Progress | None = None,
    backbone: Backbone | None = None,
) -> Result:
    """As :func:`run`, with a way to open the images, so that a caller can keep the source."""
    from blemish.backbones import load_backbone
    from blemish.descriptors.pixels import joined, training_steps
    from blemish.features.extractor import Extractor
    from blemish.stages import Stages, groups_key

    show, timings = progress or Silent(), dict[str, float]()
    with _timed(timings, "read"), show.stage("Checking images", 1) as bar:
        source = open_source(config)
        bar.advance()
    n = len(source)
    _check_clusters(config, n)
    device = choose_device(config.device)
    extractor = Extractor(backbone or load_backbone(config.backbone.name, device), config)
    cache = open_cache(config.cache, config)
    stages = Stages(source, extractor, config, cache, device)

    with _timed(timings, "normality"), show.stage("Learning what is normal", stages.n_sample) as bar:
        normality = stages.learn(bar.advance)
    with _timed(timings, "maps"), show.stage("Looking for defects", n) as bar:
        found = stages.look(normality, bar.advance)
    _check_clusters(config, len(found.indices))
    scores = image_scores(found.maps, config.localize.score_quantile)
    given = config.localize.threshold
    threshold = find_threshold(found.maps, scores, config.localize) if given == "auto" else float(given)
    anomalous = scores > threshold

    plain = table = found.descriptors
    if config.contrast.enabled and len(table) > 1:
        steps = config.contrast.heads * training_steps(len(table), config) + len(table)
        with _timed(timings, "contrast"), show.stage("Sharpening the types", steps) as bar:
            table = stages.sharpen(found, normality, anomalous, bar.advance)
        if config.contrast.beside is not None:
            table = joined(plain, table, config.contrast.heads, config.contrast.beside)
    with _timed(timings, "clustering"), show.stage("Sorting into types", 1) as bar:
        shapes = _shapes(found.maps, threshold, config)
        labels, normal_label, seen = cache.once(
            "groups",
            lambda: groups_key(table, plain, shapes, scores, threshold, config),
            lambda: group(table, shapes, scores, threshold, config, counted=plain),
        )
        bar.advance()

    with _timed(timings, "filling"):
        maps = filled_maps(found.maps, config.localize.fill)
    source.keep(found.indices)
    return Result(
        paths=list(source.names),
        sizes=np.array([(info.height, info.width) for info in source.infos], np.int64),
        scores=scores,
        maps=maps,
        threshold=threshold,
        image_threshold=threshold,
        is_anomalous=anomalous,
        labels=labels,
        normal_label=normal_label,
        distances=center_distances(seen, labels),
        descriptors=seen,
        source=str(source.root) if source.root else None,
        skipped=source.skipped,
        caution=doubt(len(scores), config.localize) if anomalous.any() else None,
        timings=timings,
        info=_info(config, extractor.backbone, device) | source.report() | {"cache": cache.report()},
    )


def group(
    descriptors: FloatArray,
    shapes: FloatArray,
    scores: FloatArray,
    threshold: float,
    config: Config,
    *,
    counted: FloatArray | None = None,
) -> tuple[IntArray, int | None, FloatArray]:
    """Labels, the normal group's label, and the descriptors the clustering saw: appearance, and shape beside it.

    ``cluster.normal`` says how the scores help. ``gate``: descriptors are multiplied by :func:`anomaly_weights`, so that
    images without a defect, whose direction means little, move towards the origin; doubtful ones are kept in between. Where
    none is anomalous nothing fades: such scores know no two sides.
    ``split``: the images whose score is normal are one group and only the others are clustered, into K - 1 types.
    ``together``: descriptors as they are (the paper). Except with ``split``, the group with the lowest mean score is the
    normal one, unless most of its images are anomalous.

    If the number of groups is estimated it is that of ``counted``, descriptors without the heads, which draw like types
    together as well as like images: in what they make, fewer groups stand out than there are. None: of ``descriptors``.
    """
    anomalous = scores > threshold
    seen = _seen(descriptors, shapes, scores, threshold, config)
    labels = np.zeros(len(seen), np.int64)
    split = config.cluster.normal == "split" and not anomalous.all()
    part = anomalous if split else np.ones(len(seen), bool)
    if not part.any():
        return labels, 0, seen
    most = config.cluster.max_clusters if config.clusters == "auto" else config.clusters
    if split and most == 1:
        return labels, 0, seen
    rows = seen[part]
    k = min(most - split, len(rows))
    if config.clusters == "auto":
        plain = seen if counted is None else _seen(counted, shapes, scores, threshold, config)
        k = min(k, _number(plain[part], anomalous[part], k, config))
    found = cluster(rows, k, method=config.cluster.method, seed=config.seed)
    if split:
        labels[part] = found + 1
        return labels, 0, seen
    means = [scores[found == label].mean() for label in range(found.max() + 1)]
    lowest = int(np.argmin(means))
    if anomalous[found == lowest].mean() > 0.5:
        return found, None, seen
    order = [lowest, *(label for label in range(len(means)) if label != lowest)]
    return np.argsort(order)[found].astype(np.int64), 0, seen


def _seen(
    descriptors: FloatArray, shapes: FloatArray, scores: FloatArray, threshold: float, config: Config
) -> FloatArray:
    """Descriptors with shape beside them, faded out towards the normal ones if the settings say so."""
    anomalous, scaled = scores > threshold, normalized if config.descriptor.normalize else _as_they_are
    seen = scaled(with_geometry(scaled(descriptors), shapes, config.descriptor.geometry, anomalous))
    if config.cluster.normal == "gate" and anomalous.any():
        seen = seen * anomaly_weights(scores, threshold, config.cluster.gate_width, config.cluster.gate_floor)[:, None]
    return seen


def _number(rows: FloatArray, anomalous: npt.NDArray[np.bool_], most: int, config: Config) -> int:
    """Estimated number of groups: one for the normal images, if there are any, and the types of the others.

    Where the scores have no say in the groups (``cluster.normal = together``), nor have they in their number.
    """
    if config.cluster.normal == "together":
        return estimate_clusters(rows, max_clusters=most, seed=config.seed)
    if not anomalous.any():
        return 1  # whatever normal images differ by is no type of defect
    normal = int(not anomalous.all())
    return normal + estimate_clusters(rows[anomalous], max_clusters=max(most - normal, 1), seed=config.seed)


def _shapes(maps: Sequence[FloatArray], threshold: float, config: Config) -> FloatArray:
    """N x 3, see :func:`region_geometry`; zeros where they have no weight."""
    if not config.descriptor.geometry:
        return np.zeros((len(maps), 3), np.float32)
    return np.array([region_geometry(one, threshold) for one in maps], np.float32)


def _as_they_are(descriptors: FloatArray) -> FloatArray:
    return descriptors.astype(np.float32)


def _check_clusters(config: Config, n: int) -> None:
    if config.clusters != "auto" and config.clusters > n:
        raise ConfigError(f"clusters is {config.clusters} but there are {n} images: choose 1 to {n}, or auto")


def choose_device(wanted: str) -> str:
    """``cpu`` or ``cuda``; ConfigError where a GPU is asked for and none is there."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda but PyTorch sees no GPU: use --device cpu or auto")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def _info(config: Config, backbone: Backbone, device: str) -> dict[str, Any]:
    from importlib.metadata import version

    packages = {name: version(name) for name in ("torch", "numpy", "scipy", "scikit-learn")}
    return {
        "settings": config.model_dump(mode="json"),
        "settings_digest": config.digest(),
        "seed": config.seed,
        "device": device,
        "backbone": backbone.name,
        "weights_sha256": backbone.digest,
        "versions": {"blemish": __version__, "python": platform.python_version(), **packages},
    }


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timings[name] = round(time.perf_counter() - start, 3)
