"""The whole method on one page: from a folder of images to groups of defects, without labels."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from blemish import __version__
from blemish.clustering import apply_knowledge, fewer_groups_warning, fit_classifier, known_anomalous, with_normal
from blemish.config.schema import Config
from blemish.descriptors import fit_descriptor_model, region_shapes, training_steps
from blemish.errors import ConfigError
from blemish.images import ALSO, Images, ImageSource
from blemish.localization import (
    ScoreModel,
    fit_familiarity,
    fit_score_model,
    image_scores,
    median_filled_maps,
    threshold_warning,
)
from blemish.results import Result
from blemish.runtime.device import choose_device
from blemish.runtime.progress import Progress, Stage, StageTimer

if TYPE_CHECKING:
    from blemish.backbones import Backbone
    from blemish.clustering import GroupedViews, Grouping, Knowledge
    from blemish.config.localization import Localization
    from blemish.descriptors import DescriptorModel
    from blemish.entries import FittedLocalization
    from blemish.model import FittedModel
    from blemish.stages import FoundRegions, MapResults, MapStages, Refined
    from blemish.types import BoolArray, FloatArray


def run(
    images: Images | ImageSource,
    config: Config | None = None,
    *,
    progress: Progress | None = None,
    exclude: Sequence[Path] = (),
    backbone: Backbone | None = None,
    knowledge: Knowledge | None = None,
) -> Result:
    """Find the defects of one texture and sort them into types, without labels.

    Args:
        images: a folder, paths, or arrays (H x W or H x W x 3; unsigned integers, or floats in [0, 1]). An opened
            :class:`blemish.images.ImageSource` is used as it is; afterwards it has only the readable images.
        config: settings; default ``Config()``.
        progress: a display that is told of every stage.
        exclude: folders inside the input folder that are not read, such as the output folder.
        backbone: a network to use in place of ``backbone.name``, on the device that it was made for.
        knowledge: what a person said about some of the images, for example in the review of an earlier run. Groups and
            verdicts agree with it, images around corrected ones follow, and groups that were named keep their names.

    Returns:
        One row per readable image. Files that cannot be read are in ``Result.skipped``.

    Raises:
        InputError: no image can be read.
        ConfigError: settings do not fit the images or each other.

    Cost: one pass of the backbone over all images (four with ``backbone.tta_flips``; the sampled images pass once more if
    their features do not fit into memory), and at most ``contrastive.max_steps`` training steps per head. What the cache
    has costs almost nothing. The same images, settings, seed and machine give the same bits, with or without the cache.
    """
    from blemish.backbones import load_backbone
    from blemish.features import Extractor
    from blemish.stages import GroupStages, MapStages, Refined, describe_regions, find_regions, type_regions
    from blemish.stages.known_normal import settings_for_normal

    config = config or Config()
    timer = StageTimer(progress)

    # Read: find the images and plan their sizes. Pixels are decoded when a later stage needs them.
    if isinstance(images, ImageSource):
        source = images
    else:
        with timer.stage(Stage.READ) as advance:
            source = ImageSource(images, config.image, exclude=exclude)
            advance(1)
    _check_n_clusters(config, len(source))
    knowledge = with_normal(knowledge, [name for name in source.names if name.startswith(ALSO)])
    normal = {i for i, name in enumerate(source.names) if knowledge is not None and name in knowledge.normal}
    config = settings_for_normal(config, len(normal))

    # Features: a frozen network, applied batch by batch by the stages below.
    device = choose_device(config.device)
    extractor = Extractor(backbone or load_backbone(config.backbone.name, device), config.backbone)
    stages = MapStages(source, extractor, config, device, normal=normal)
    group_stages = GroupStages(stages)

    # Localization model: fitted to the features of a sample of the images.
    with timer.stage(Stage.LOCALIZATION_MODEL, stages.n_sample) as advance:
        fitted = stages.fit_localization(advance)

    # Anomaly maps, and from the same features a descriptor of each image's most anomalous region.
    with timer.stage(Stage.ANOMALY_MAPS, len(source)) as advance:
        descriptor_model = fit_descriptor_model(stages.inside_sample(fitted), fitted.covariance, config.descriptor)
        results = stages.map_images(fitted, descriptor_model, advance)
    _check_n_clusters(config, len(results.indices))

    # Image scores and threshold: which images are anomalous.
    quantiles = stages.score_quantiles(results)
    scores = image_scores(results.inside, quantiles)
    told = [row for row, index in enumerate(results.indices) if index in normal]
    score_model = _score_model(results, scores, quantiles, told, config.localization)
    probability, possible = score_model.probability(scores), score_model.possible(scores)
    paths = [source.names[index] for index in results.indices]
    anomalous = known_anomalous(knowledge, paths, score_model.anomalous(scores))
    share = (anomalous if probability is None else known_anomalous(knowledge, paths, probability)).mean()

    # Descriptors: the appearance, and the shape of the anomalous region.
    shapes = region_shapes(results.maps, descriptor_model.level, config.descriptor.shape_weight)

    # Contrastive heads: trained on pixels of the images, they separate the types.
    refined = Refined([], results.descriptors)
    if config.contrastive.enabled and len(scores) > 1:
        steps = config.contrastive.n_heads * training_steps(
            len(scores), config.contrastive.epochs, config.contrastive.max_steps
        )
        with timer.stage(Stage.CONTRASTIVE_HEADS, steps + len(scores)) as advance:
            refined = group_stages.refine_descriptors(results, descriptor_model, float(share), advance)

    # Clustering: the groups by local defect and by whole surface, and which of them is the normal one.
    with timer.stage(Stage.CLUSTERING) as advance:
        views = group_stages.group(results, refined.descriptors, shapes, scores, score_model, told)
        views, names = apply_knowledge(views, knowledge, paths) if knowledge is not None else (views, {})
        advance(1)
    groups = views.counting

    # The fitted model: everything learned, without the images.
    model = _fitted_model(stages, fitted, descriptor_model, refined, results, views, anomalous, score_model, names)

    # Filled maps: what lies within a largely anomalous region belongs to it.
    with timer.stage(Stage.FILLED_MAPS):
        maps = median_filled_maps(results.maps, config.localization.median_windows, results.masks)

    # Regions: the connected anomalous parts, each with a type.
    sizes = np.array([(source.infos[i].height, source.infos[i].width) for i in results.indices], np.int64)
    found = find_regions(maps, results.maps, sizes, anomalous, score_model.threshold, config.regions)
    with timer.stage(Stage.REGIONS, len(found.several)) as advance:
        rows = describe_regions(stages, model, results, groups.descriptors, scores, found, advance)
        model = _fitted_to_regions(model, rows, groups, found)

    # The stages order images by content; users get them in the order of the input.
    result = Result(
        paths=paths,
        sizes=sizes,
        scores=scores,
        maps=maps,
        threshold=score_model.threshold,
        is_anomalous=anomalous,
        labels=groups.labels,
        normal_label=groups.normal_label,
        distances=model.classifier.center_distances(groups.descriptors, groups.labels),
        descriptors=groups.descriptors,
        group_by=views.view,
        group_by_reason=views.choice.reason,
        other_labels=views.other.labels,
        regions=type_regions(model.classifier, rows, groups.labels, found, local=model.local),
        anomaly_probability=probability,
        type_probability=model.classifier.probabilities(groups.descriptors, groups.labels),
        type_names=names,
        source=str(source.root) if source.root else None,
        skipped=source.skipped,
        threshold_warning=threshold_warning(anomalous, possible, config.localization, len(told)),
        n_clusters_warning=fewer_groups_warning(config.n_clusters, groups.n_groups, possible),
        timings=timer.timings,
        info=_info(config, extractor.backbone, device)
        | source.report()
        | {"view": {"between": views.choice.between, "local": views.choice.local}, "cache": stages.cache.report()},
        model=model,
    )
    order = [row for row in np.argsort(results.indices) if not paths[row].startswith(ALSO)]
    source.keep([results.indices[row] for row in order])
    return result.take(np.array(order))


def _fitted_model(
    stages: MapStages,
    fitted: FittedLocalization,
    descriptor_model: DescriptorModel,
    refined: Refined,
    results: MapResults,
    views: GroupedViews,
    anomalous: BoolArray,
    score_model: ScoreModel,
    names: Mapping[int, str],
) -> FittedModel:
    """Everything that the stages have learned."""
    from blemish.model import FittedModel, without_places

    source, config, groups = stages.source, stages.config, views.counting
    return FittedModel(
        config=without_places(config),
        weights_sha256=stages.extractor.backbone.digest,
        calibration=source.calibration,
        localization=replace(fitted, sample_maps=[], sample_indices=[]),
        sample_ids=stages.sample_ids(fitted),
        descriptor_model=descriptor_model,
        pixels_per_image=stages.pixels_per_image,
        heads=refined.heads,
        score_model=score_model,
        view=views.view,
        space=groups.space,
        classifier=fit_classifier(
            groups.descriptors, groups.labels, anomalous, groups.normal_label, unlike=config.cluster.unlike
        ),
        names=[names.get(label) for label in range(groups.n_groups)],
        counts=np.bincount(groups.labels).tolist(),
        familiarity=fit_familiarity(results.inside, results.surfaces),
        pending=groups.descriptors[:0],
    )


def _fitted_to_regions(model: FittedModel, rows: FloatArray, groups: Grouping, found: FoundRegions) -> FittedModel:
    """The model with what its classifier learns from the regions."""
    from blemish.stages import fit_to_regions

    unlike = model.config.cluster.unlike
    return replace(
        model, classifier=fit_to_regions(model, rows, groups.descriptors, groups.labels, found, unlike=unlike)
    )


def _score_model(
    results: MapResults,
    scores: FloatArray,
    quantiles: npt.NDArray[np.float64],
    normal: Sequence[int],
    config: Localization,
) -> ScoreModel:
    """The estimate; or only a threshold, without probabilities, where the settings give one."""
    if config.threshold != "auto":
        return ScoreModel(float(config.threshold))
    if config.rejects and normal:
        raise ConfigError("rejects says that every image has a defect, but some are known to be normal: leave one out")
    return fit_score_model(results.inside, scores, config, quantiles, normal)


def _check_n_clusters(config: Config, n: int) -> None:
    if config.n_clusters != "auto" and config.n_clusters > n:
        raise ConfigError(f"n_clusters is {config.n_clusters} but there are {n} images: choose 1 to {n}, or auto")


def _info(config: Config, backbone: Backbone, device: str) -> dict[str, Any]:
    """Settings, seed and versions, as run.json repeats them."""
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
