"""The cached steps after the pass over all images: contrastive heads and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blemish.clustering import (
    GroupedViews,
    Grouping,
    choose_view,
    group_images,
    group_surfaces,
    resolve_view,
    unknown_choice,
)
from blemish.config.schema import Config
from blemish.descriptors.contrastive import Head
from blemish.descriptors.heads import head_descriptors, head_threshold, train_heads
from blemish.descriptors.model import DescriptorModel
from blemish.descriptors.vectors import join_heads
from blemish.entries import PIXELS, are_groupings, is_refined
from blemish.localization.threshold import ScoreModel
from blemish.runtime.digests import array_digest, digest, environment_digest
from blemish.runtime.progress import Advance
from blemish.stages.maps import MapResults, MapStages
from blemish.types import FloatArray


@dataclass(frozen=True)
class Refined:
    """The heads, and the descriptors with what they give.

    Attributes:
        heads: the trained heads; none if they are turned off.
        descriptors: N x D float32.
    """

    heads: list[Head]
    descriptors: FloatArray


class GroupStages:
    """The cached steps of one run that need no pixels any more, beyond the sampled ones.

    Args:
        stages: the steps before, whose cache and settings these share.
    """

    def __init__(self, stages: MapStages) -> None:
        self.stages, self.cache, self.config = stages, stages.cache, stages.config

    def refine_descriptors(
        self, results: MapResults, descriptor_model: DescriptorModel, share: float, advance: Advance
    ) -> Refined:
        """Train the heads, and put the descriptors that they give beside the plain ones, or in their place.

        Args:
            results: maps, descriptors and pixels of N images.
            descriptor_model: part of the cache key.
            share: expected share of anomalous images, which decides what pixels count as anomalous in training.
            advance: counts steps, then images.

        Returns:
            The heads, and N x (C + heads * dim) float32; without the C plain columns if ``contrastive.head_weight`` is
            none.
        """
        pixels, config = results.pixels, self.config
        assert pixels is not None
        threshold = head_threshold(
            results.maps,
            results.descriptors,
            share,
            method=config.contrastive.threshold,
            n_clusters=config.n_clusters,
            seed=config.seed,
        )

        def key() -> str:
            stages = self.stages
            batches = (*stages.sampled, *stages.others)
            inputs = [stages.key(PIXELS, batch, descriptor_model) for batch in batches]
            return digest("heads", inputs, threshold, config.stage_digest("contrastive", "seed"))

        def compute() -> tuple[list[Head], FloatArray]:
            heads = train_heads(
                pixels, results.descriptors, threshold, config.contrastive, seed=config.seed, progress=advance
            )
            return heads, head_descriptors(pixels, heads, advance)

        n = len(results.descriptors)
        heads, refined = self.cache.once("heads", key, compute, lambda value: is_refined(value, n))
        return Refined(heads, join_heads(results.descriptors, refined, config.contrastive))

    def group(
        self,
        results: MapResults,
        descriptors: FloatArray,
        shapes: FloatArray,
        scores: FloatArray,
        score_model: ScoreModel,
        normal: Sequence[int] = (),
    ) -> GroupedViews:
        """The groups of the images, by local defect and by whole surface.

        Arguments are those of :func:`blemish.clustering.group_images`; ``results`` has the descriptors without heads,
        and ``normal`` the rows of the images that are known to be normal.
        """
        config = self.config

        def compute() -> tuple[Grouping, Grouping]:
            by_defect = group_images(
                descriptors,
                shapes,
                scores,
                score_model,
                config.cluster,
                n_clusters=config.n_clusters,
                shape_weight=config.descriptor.shape_weight,
                normalize=config.descriptor.normalize,
                seed=config.seed,
                counted=results.descriptors,
            )
            by_image = group_surfaces(
                results.surfaces, scores, score_model, config.cluster, n_clusters=config.n_clusters, seed=config.seed
            )
            return by_defect, by_image

        arrays = (descriptors, results.descriptors, results.surfaces, shapes, scores)
        by_defect, by_image = self.cache.once(
            "groups",
            lambda: _groups_key(arrays, score_model, config),
            compute,
            lambda two: are_groupings(two, len(scores)),
        )
        comparable = config.localization.method == "knn" and config.features.normalization == "dataset"
        evidence = choose_view(results.surfaces, results.inside, normal) if comparable else unknown_choice()
        choice = resolve_view(evidence, scores, score_model, config.cluster, config.n_clusters)
        return GroupedViews(by_defect, by_image, choice)


def _groups_key(arrays: Sequence[FloatArray], score_model: ScoreModel, config: Config) -> str:
    """The key of the clustering: its input by bytes, and all settings but those on presets, devices, regions and outputs."""
    names = (name for name in Config.model_fields if name not in ("preset", "device", "regions", "output", "cache"))
    digests = [array_digest(values) for values in arrays]
    return digest("groups", environment_digest("cpu", ""), digests, repr(score_model), config.stage_digest(*names))
