"""The cached steps of a run. Each first looks for the result of an earlier run in the cache.

The computation is in the folders of the stages; this module decides what is stored under which key. A key covers
everything that its result depends on: the code and its environment, the images by content, the settings of that stage and
of the stages before it. Settings are excluded from a key by name, so a new setting counts until somebody excludes it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

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
from blemish.descriptors.heads import head_descriptors, head_threshold, train_heads
from blemish.descriptors.model import DescriptorModel
from blemish.descriptors.pixels import Pixels, PixelSample, PixelStore, pixels_per_image, sample_pixels
from blemish.descriptors.vectors import concat_descriptors
from blemish.entries import (
    CACHED_CLASSES,
    DESCRIPTORS,
    MAPS,
    PIXELS,
    SURFACES,
    FittedLocalization,
    are_groupings,
    is_batch_entry,
    is_finite_matrix,
    is_localization,
)
from blemish.features.batches import Batch, FeatureBatches
from blemish.features.extractor import Extractor
from blemish.features.normalization import fit_normalizer, within_image_covariance
from blemish.images import ImageSource
from blemish.localization.model import MapModel, fit_map_model
from blemish.runtime.cache import open_cache
from blemish.runtime.digests import array_digest, digest, environment_digest
from blemish.runtime.memory import release_freed_memory
from blemish.runtime.progress import Advance
from blemish.runtime.serialization import canonicalized
from blemish.runtime.spill import Arrays, ArrayStore, Stored
from blemish.runtime.threads import ensure_threads
from blemish.types import BoolArray, FloatArray

AFTER_MAPS = ("preset", "device", "n_clusters", "descriptor", "regions", "contrastive", "cluster", "output", "cache")
"""Settings that no anomaly map depends on. (The device counts by the name of the one in use.)"""

AFTER_MAPS_LOCALIZATION = ("localization.threshold", "localization.score_quantile", "localization.median_windows")
"""Settings within ``localization`` that no anomaly map depends on."""

RELEASE_EVERY = 16
"""Number of images after which freed memory is returned to the system."""


@dataclass(frozen=True)
class MapResults:
    """The result of the pass over all images, one row per readable image.

    Attributes:
        indices: index of each readable image in the source.
        maps: their anomaly maps.
        surfaces: N x C float32, mean normalized feature vector of each image.
        descriptors: N x C float32.
        pixels: the pixels that contrastive heads are trained on; None if no heads are trained.
    """

    indices: list[int]
    maps: Arrays
    surfaces: FloatArray
    descriptors: FloatArray
    pixels: PixelSample | None


@dataclass
class BatchResults:
    """What is known of one batch, with one value per readable image; None where nothing is known yet."""

    maps: Sequence[FloatArray] | None = None
    surfaces: Sequence[FloatArray] | None = None
    descriptors: Sequence[FloatArray] | None = None
    pixels: Sequence[Pixels] | None = None
    stored: list[Stored] | None = field(default=None, repr=False)  # where the maps are kept


class Stages:
    """The cached steps of one run over one set of images."""

    def __init__(self, source: ImageSource, extractor: Extractor, config: Config, device: str) -> None:
        ensure_threads(torch.get_num_threads())
        self.source, self.extractor, self.config = source, extractor, config
        self.cache = open_cache(config.cache, CACHED_CLASSES)
        backbone = extractor.backbone
        stem = ""
        if self.cache.active:
            environment = environment_digest(device, f"{backbone.name} {backbone.digest}")
            stem = digest(environment, config.stage_digest("backbone"))
        self.features = FeatureBatches(source, extractor, self.cache, stem, store_features=config.cache.features)
        n = len(source)
        self.n_sample = min(n, config.localization.sample_images)
        chosen = set(np.random.default_rng(config.seed).choice(n, self.n_sample, replace=False).tolist())
        self.sampled = self.features.plan(chosen)
        self.others = self.features.plan(set(range(n)) - chosen)
        self._since_release = 0
        self._sample_maps: dict[int, FloatArray] = {}  # by-product of the fit, for the pass over all images

    # Localization model

    def fit_localization(self, advance: Advance) -> FittedLocalization:
        """Fit normalization and localization model to the features of a sample; ``advance`` counts images."""
        fitted: FittedLocalization = self.cache.once(
            "localization", lambda: self._fit_key, lambda: self._fit(advance), is_localization
        )
        self._sample_maps = dict(zip(fitted.sample_indices, fitted.sample_maps, strict=True))
        return fitted

    def _fit(self, advance: Advance) -> FittedLocalization:
        sample = self._sample_features(advance)
        normalizer = fit_normalizer(
            [raw for _, raw in sample], self.extractor.channels(), self.config.features.normalization
        )
        features = [(self._image_ids[index], normalizer.apply(raw)) for index, raw in sample]
        map_model, maps = fit_map_model(
            features,
            self.config.localization,
            pool_size=self.config.features.pool_size,
            channels=self.extractor.map_channels(self.config.localization.strides),
            seed=self.config.seed,
        )
        covariance = within_image_covariance([one for _, one in features])
        fitted = FittedLocalization(normalizer, map_model, covariance, maps, [index for index, _ in sample])
        return canonicalized(fitted, CACHED_CLASSES)

    def _sample_features(self, advance: Advance) -> list[tuple[int, Tensor]]:
        """(index, features) of the sampled images, by index; of the next readable batch if none of them can be read."""
        sample: list[tuple[int, Tensor]] = []
        for _, members in self.features.stream(self.sampled, hold=True):
            sample += members
            advance(len(members))
            self._release_memory(len(members))
        if not sample:
            self.cache.active = False  # the keys assume that the sample can be read
        for batch in self.others:
            if sample:
                break
            sample = [member for _, members in self.features.stream([batch], hold=True) for member in members]
        if not sample:
            self.source.finish()
        return sorted(sample, key=lambda member: member[0])

    @functools.cached_property
    def _image_ids(self) -> list[int]:
        """For each image the first one with the same content: an image is not compared with itself or its copies."""
        return self.source.originals()

    # Anomaly maps, descriptors and pixels

    def map_images(self, fitted: FittedLocalization, descriptor_model: DescriptorModel, advance: Advance) -> MapResults:
        """Map, descriptor and, for the heads, pixels of every image, in one pass; each batch is stored once it is done."""
        store, pixels = ArrayStore(), PixelStore(self.config.contrastive.pixel_budget_mb)
        results, missing = dict[Batch, BatchResults](), list[Batch]()
        for batch in (*self.sampled, *self.others):
            results[batch] = self._recall(batch, descriptor_model)
            self._spill(batch, results[batch], store, pixels)
            if any(getattr(results[batch], kind) is None for kind in self._kinds):
                missing.append(batch)
        advance(len(self.source) - sum(map(len, missing)))
        for batch, members in self.features.stream(missing):
            self._compute(batch, members, fitted, descriptor_model, results[batch], advance)
            self._spill(batch, results[batch], store, pixels)
            self._release_memory(len(batch))
        self.source.finish()
        return self._in_order(results, store, pixels)

    @property
    def _kinds(self) -> tuple[str, ...]:
        """The kinds of results that this run needs of each batch."""
        heads = self.config.contrastive.enabled and len(self.source) > 1
        return (MAPS, SURFACES, DESCRIPTORS, PIXELS) if heads else (MAPS, SURFACES, DESCRIPTORS)

    def _recall(self, batch: Batch, descriptor_model: DescriptorModel) -> BatchResults:
        """What the cache has of one batch."""
        results = BatchResults()
        for kind in self._kinds if self.cache.active else ():
            key = self._key(kind, batch, descriptor_model)
            valid = functools.partial(is_batch_entry, kind=kind, length=len(batch))
            entry = self.cache.get(kind, key, valid)
            if entry is not None and self.source.confirm_unreadable(batch[place] for place in entry["unreadable"]):
                setattr(results, kind, entry["rows"])
        return results

    @torch.no_grad()
    def _compute(
        self,
        batch: Batch,
        members: Sequence[tuple[int, Tensor]],
        fitted: FittedLocalization,
        descriptor_model: DescriptorModel,
        results: BatchResults,
        advance: Advance,
    ) -> None:
        """Compute what is missing of one batch, and store it."""
        missing = [kind for kind in self._kinds if getattr(results, kind) is None]
        maps, surfaces, descriptors = list[FloatArray](), list[FloatArray](), list[FloatArray]()
        pixels = list[Pixels]()
        for place, (index, raw) in enumerate(members):
            features = fitted.normalizer.apply(raw)
            values = self._map(index, features, fitted.map_model) if results.maps is None else results.maps[place]
            weights = descriptor_model.pixel_weights(values)
            if MAPS in missing:
                maps.append(values)
            if SURFACES in missing:
                surfaces.append(features.flatten(1).mean(1).numpy())
            if DESCRIPTORS in missing:
                descriptors.append(descriptor_model.descriptor(features, weights))
            if PIXELS in missing:
                pixels.append(sample_pixels(features, values, weights, index, self.config.seed, self._pixels_per_image))
            advance(1)
        advance(len(batch) - len(members))
        unreadable = [place for place, index in enumerate(batch) if index in self.source.unreadable]
        computed = {MAPS: maps, SURFACES: surfaces, DESCRIPTORS: descriptors, PIXELS: pixels}
        for kind in missing:
            setattr(results, kind, computed[kind])
            if self.cache.active:
                self.cache.put(
                    kind, self._key(kind, batch, descriptor_model), {"unreadable": unreadable, "rows": computed[kind]}
                )

    def _map(self, index: int, features: Tensor, model: MapModel) -> FloatArray:
        known = self._sample_maps.pop(index, None)
        return model.anomaly_map(features, self._image_ids[index]) if known is None else known

    def _spill(self, batch: Batch, results: BatchResults, store: ArrayStore, pixels: PixelStore) -> None:
        """Move maps and pixels of one batch to their stores, which keep them in memory or in a temporary file."""
        if results.maps is not None and results.stored is None:
            results.stored = store.add(results.maps)
            results.maps = store.view(results.stored)
        if results.pixels:
            pixels.add(self.source.readable(batch), results.pixels)
            results.pixels = ()

    def _in_order(self, results: dict[Batch, BatchResults], store: ArrayStore, pixels: PixelStore) -> MapResults:
        """All batches as one set, by index."""
        rows: dict[int, tuple[Stored, FloatArray, FloatArray]] = {}
        for batch, one in results.items():
            assert one.stored is not None
            assert one.surfaces is not None
            assert one.descriptors is not None
            readable = self.source.readable(batch)
            rows |= dict(zip(readable, zip(one.stored, one.surfaces, one.descriptors, strict=True), strict=True))
        indices = sorted(rows)
        return MapResults(
            indices,
            store.view([rows[index][0] for index in indices]),
            np.stack([rows[index][1] for index in indices]),
            np.stack([rows[index][2] for index in indices]),
            pixels.view(indices) if PIXELS in self._kinds else None,
        )

    @functools.cached_property
    def _pixels_per_image(self) -> int:
        channels, budget = sum(self.extractor.channels()), self.config.contrastive.pixel_budget_mb
        return pixels_per_image(len(self.source), channels, budget)

    # Contrastive heads

    def refine_descriptors(
        self, results: MapResults, descriptor_model: DescriptorModel, anomalous: BoolArray, advance: Advance
    ) -> FloatArray:
        """Train the heads, and put the descriptors that they give beside the plain ones, or in their place.

        Args:
            results: maps, descriptors and pixels of N images.
            descriptor_model: part of the cache key.
            anomalous: N bool; the fraction of anomalous images decides which pixels count as anomalous in training.
            advance: counts steps, then images.

        Returns:
            N x (C + heads * dim) float32; without the C plain columns if ``contrastive.head_weight`` is none.
        """
        pixels, config = results.pixels, self.config
        assert pixels is not None
        threshold = head_threshold(
            results.maps,
            results.descriptors,
            anomalous,
            method=config.contrastive.threshold,
            n_clusters=config.n_clusters,
            seed=config.seed,
        )

        def key() -> str:
            inputs = [self._key(PIXELS, batch, descriptor_model) for batch in (*self.sampled, *self.others)]
            return digest("heads", inputs, threshold, config.stage_digest("contrastive", "seed"))

        def compute() -> FloatArray:
            heads = train_heads(
                pixels, results.descriptors, threshold, config.contrastive, seed=config.seed, progress=advance
            )
            return head_descriptors(pixels, heads, advance)

        n = len(results.descriptors)
        refined: FloatArray = self.cache.once("heads", key, compute, lambda rows: is_finite_matrix(rows, n))
        weight = config.contrastive.head_weight
        if weight is None:
            return refined
        return concat_descriptors(results.descriptors, refined, config.contrastive.n_heads, weight)

    # Clustering

    def group(
        self, results: MapResults, descriptors: FloatArray, shapes: FloatArray, scores: FloatArray, threshold: float
    ) -> GroupedViews:
        """The groups of the images, by local defect and by whole surface.

        Arguments are those of :func:`blemish.clustering.group_images`; ``results`` has the descriptors without heads.
        """
        config = self.config

        def compute() -> tuple[Grouping, Grouping]:
            by_defect = group_images(
                descriptors,
                shapes,
                scores,
                threshold,
                config.cluster,
                n_clusters=config.n_clusters,
                shape_weight=config.descriptor.shape_weight,
                normalize=config.descriptor.normalize,
                seed=config.seed,
                counted=results.descriptors,
            )
            by_image = group_surfaces(
                results.surfaces, scores, threshold, config.cluster, n_clusters=config.n_clusters, seed=config.seed
            )
            return by_defect, by_image

        arrays = (descriptors, results.descriptors, results.surfaces, shapes, scores)
        by_defect, by_image = self.cache.once(
            "groups",
            lambda: groups_key(arrays, threshold, config),
            compute,
            lambda two: are_groupings(two, len(scores)),
        )
        comparable = config.localization.method == "knn" and config.features.normalization == "dataset"
        evidence = choose_view(results.surfaces, results.maps) if comparable else unknown_choice()
        choice = resolve_view(evidence, scores, threshold, config.cluster, config.n_clusters)
        return GroupedViews(by_defect, by_image, choice)

    # Keys and memory

    @functools.cached_property
    def _fit_key(self) -> str:
        names = (name for name in Config.model_fields if name not in AFTER_MAPS)
        settings = self.config.stage_digest(*names, without=AFTER_MAPS_LOCALIZATION)
        return digest("localization", settings, self.features.key(*self.sampled))

    def _key(self, kind: str, batch: Batch, descriptor_model: DescriptorModel) -> str:
        """The key of one kind of results of one batch."""
        stem: list[object] = [self._fit_key, self.features.key(batch)]
        if kind in (DESCRIPTORS, PIXELS):
            settings = self.config.stage_digest("descriptor", without=("descriptor.normalize",))
            stem += [settings, repr((descriptor_model.tau, descriptor_model.level))]
        if kind == PIXELS:
            stem.append(self._pixels_per_image)
        return digest(kind, stem)

    def _release_memory(self, images: int) -> None:
        """Return freed memory to the system every ``RELEASE_EVERY`` images; getting it back costs time as well."""
        self._since_release += images
        if self._since_release >= RELEASE_EVERY:
            release_freed_memory()
            self._since_release = 0


def groups_key(arrays: Sequence[FloatArray], threshold: float, config: Config) -> str:
    """The key of the clustering: its input by bytes, and all settings except those on presets, devices, regions and outputs."""
    names = (name for name in Config.model_fields if name not in ("preset", "device", "regions", "output", "cache"))
    digests = [array_digest(values) for values in arrays]
    return digest("groups", environment_digest("cpu", ""), digests, repr(threshold), config.stage_digest(*names))
