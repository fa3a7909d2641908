"""Inspection of further images with a fitted model: the steps of a run that fit nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blemish.clustering import SurfaceSpace
from blemish.config.schema import Config
from blemish.config.sections import Cache
from blemish.descriptors import region_shapes
from blemish.descriptors.heads import head_descriptors
from blemish.descriptors.vectors import join_heads
from blemish.errors import InputError
from blemish.images import Images, ImageSource
from blemish.localization import image_scores, median_filled_maps
from blemish.results import Result
from blemish.runtime.device import choose_device
from blemish.runtime.progress import Progress, Stage, StageTimer
from blemish.stages import FittedBefore, MapResults, MapStages, describe_regions, find_regions, type_regions
from blemish.types import FloatArray, Skipped

if TYPE_CHECKING:
    from blemish.backbones import Backbone
    from blemish.model.fitted import FittedModel


def predict(
    model: FittedModel,
    images: Images | ImageSource,
    *,
    device: str = "auto",
    cache: Cache | None = None,
    progress: Progress | None = None,
    backbone: Backbone | None = None,
    exclude: Sequence[Path] = (),
) -> Result:
    """Find the defects in further images of the material that a model was fitted to, and name their types.

    Nothing is fitted, so each image's result depends on that image and the model alone. An image that the model was fitted
    to keeps the group that the run gave it.

    Args:
        model: the fitted model; its settings count.
        images: as for :func:`blemish.run`, one or many; an opened source must come from :meth:`FittedModel.source`.
        device: ``auto``, ``cpu`` or ``cuda``.
        cache: where intermediate results are kept; None: nowhere.
        progress: a display that is told of every stage.
        backbone: a network to use in place of loading it, for repeated calls.
        exclude: folders inside the input folder that are not read.

    Returns:
        One row per readable image. The label of a defect that is unlike every type is -1. ``drift_warning`` says if the
        images as a whole look unlike the fitted ones.

    Raises:
        InputError: no image can be read, or the network's weights are not those that the model was fitted with.

    Cost: one pass of the network over the images, and one more over those with several regions.
    """
    timer = StageTimer(progress)
    config = model.config.model_copy(update={"cache": cache or Cache(enabled=False)})
    if isinstance(images, ImageSource):
        source = images
    else:
        with timer.stage(Stage.READ) as advance:
            source = model.source(images, exclude=exclude)
            advance(1)
    stages = _stages(model, source, config, choose_device(device), backbone)

    # Anomaly maps and image scores, as in a run.
    with timer.stage(Stage.ANOMALY_MAPS, len(source)) as advance:
        results = stages.map_images(model.localization, model.descriptor_model, advance)
    scores = image_scores(results.inside, stages.score_quantiles(results))
    anomalous = model.score_model.anomalous(scores)
    maps = median_filled_maps(results.maps, config.localization.median_windows, results.masks)

    # Groups: those of the model.
    rows = _rows(model, results, scores)
    classified = model.classifier.classify(rows, anomalous)

    # Regions: the connected anomalous parts, each with a type.
    sizes = np.array([(source.infos[i].height, source.infos[i].width) for i in results.indices], np.int64)
    found = find_regions(maps, results.maps, sizes, anomalous, model.threshold, config.regions)
    with timer.stage(Stage.REGIONS, len(found.several)) as advance:
        region_rows = describe_regions(stages, model, results, rows, scores, found, advance)
        regions = type_regions(model.classifier, region_rows, classified.labels, found, local=model.local)

    unfamiliar = model.familiarity.unfamiliar(results.inside, results.surfaces)
    names = [source.names[index] for index in results.indices]
    result = Result(
        paths=names,
        sizes=sizes,
        scores=scores,
        maps=maps,
        threshold=model.threshold,
        is_anomalous=anomalous,
        labels=classified.labels,
        normal_label=model.classifier.normal_label,
        distances=model.classifier.center_distances(rows, classified.labels),
        descriptors=rows,
        group_by=model.view,
        regions=regions,
        anomaly_probability=model.score_model.probability(scores),
        type_probability=classified.probabilities,
        type_names=model.type_names,
        source=str(source.root) if source.root else None,
        skipped=source.skipped,
        drift_warning=model.familiarity.warning(unfamiliar),
        timings=timer.timings,
        info={
            "model": model.digest,
            "settings": config.model_dump(mode="json"),
            "unfamiliar": sorted(name for name, one in zip(names, unfamiliar, strict=True) if one),
            "cache": stages.cache.report(),
            **source.report(),
        },
        model=model,
    )
    source.keep(sorted(results.indices))
    return result.take(np.argsort(results.indices))


def nothing_found(model: FittedModel, source: str, skipped: Sequence[Skipped]) -> Result:
    """The result of a set without a readable image: no rows, and the files that were skipped."""
    columns = model.classifier.centers.shape[1]
    return Result(
        paths=[],
        sizes=np.empty((0, 2), np.int64),
        scores=np.empty(0, np.float32),
        maps=[],
        threshold=model.threshold,
        is_anomalous=np.empty(0, np.bool_),
        labels=np.empty(0, np.int64),
        normal_label=model.classifier.normal_label,
        distances=np.empty(0, np.float32),
        descriptors=np.empty((0, columns), np.float32),
        group_by=model.view,
        type_names=model.type_names,
        source=source,
        skipped=list(skipped),
        info={"model": model.digest, "settings": model.config.model_dump(mode="json"), "unfamiliar": [], "cache": {}},
        model=model,
    )


def fitted_network(model: FittedModel, device: str, backbone: Backbone | None = None) -> Backbone:
    """The network that a model was fitted with; ``backbone``: one that is loaded already.

    Raises:
        InputError: the weights are others than those that the model was fitted with.
    """
    from blemish.backbones import load_backbone

    network = backbone or load_backbone(model.config.backbone.name, device)
    if network.digest != model.weights_sha256:
        raise InputError(
            f"the model was fitted with other weights of the network {model.config.backbone.name} "
            f"({model.weights_sha256[:12]}) than are installed ({network.digest[:12]}); install the version of blemish that "
            "fitted it, or fit the model again"
        )
    return network


def _stages(
    model: FittedModel, source: ImageSource, config: Config, device: str, backbone: Backbone | None
) -> MapStages:
    """The pass over the images, with the network that the model was fitted with."""
    from blemish.features import Extractor

    network = fitted_network(model, device, backbone)
    before = FittedBefore(model.digest, model.sample_ids, model.pixels_per_image)
    return MapStages(source, Extractor(network, config.backbone), config, device, before)


def _rows(model: FittedModel, results: MapResults, scores: FloatArray) -> FloatArray:
    """The vectors of the images in the space that was clustered."""
    if isinstance(model.space, SurfaceSpace):
        return model.space.rows(results.surfaces)
    descriptors = results.descriptors
    if model.heads:
        assert results.pixels is not None
        refined = head_descriptors(results.pixels, model.heads, lambda _: None)
        descriptors = join_heads(descriptors, refined, model.config.contrastive)
    shapes = region_shapes(results.maps, model.descriptor_model.level, model.config.descriptor.shape_weight)
    return model.space.rows(descriptors, shapes, scores)
