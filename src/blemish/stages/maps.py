"""The cached steps that need pixels: the localization model, and the pass over all images with what comes of it."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from blemish.config.schema import Config
from blemish.descriptors.model import DescriptorModel
from blemish.descriptors.pixels import Pixels, PixelSample, PixelStore, pixels_per_image, sample_pixels
from blemish.entries import (
    CACHED_CLASSES,
    DESCRIPTORS,
    MAPS,
    PIXELS,
    SURFACES,
    FittedLocalization,
    is_batch_entry,
    is_localization,
)
from blemish.features.bands import Features, map_size, mean_cell, normalized
from blemish.features.batches import HELD_BYTES, Batch, FeatureBatches
from blemish.features.extractor import Extractor
from blemish.features.statistics import fit_normalizer, within_image_covariance
from blemish.images import ImageSource
from blemish.localization.inside import (
    InsideMaps,
    inside_cells,
    inside_values,
    known_masks,
    maps_inside,
    zero_outside,
)
from blemish.localization.model import MapModel, fit_map_model
from blemish.localization.scores import score_quantiles
from blemish.runtime.cache import open_cache
from blemish.runtime.digests import digest, environment_digest
from blemish.runtime.memory import release_freed_memory
from blemish.runtime.progress import Advance
from blemish.runtime.serialization import canonicalized
from blemish.runtime.spill import Arrays, ArrayStore, Stored
from blemish.runtime.threads import ensure_threads
from blemish.stages.areas import recall_areas, store_areas
from blemish.stages.known_normal import NO_SAMPLE, among, choose_sample
from blemish.types import BoolArray, FloatArray

AFTER_MAPS = ("preset", "device", "n_clusters", "descriptor", "regions", "contrastive", "cluster", "output", "cache")
"""Settings that no anomaly map depends on. (The device counts by the name of the one in use.)"""

AFTER_MAPS_LOCALIZATION = (
    *("localization.threshold", "localization.false_alarms", "localization.rejects"),
    *("localization.score_quantile", "localization.smallest_defect", "localization.median_windows"),
)
"""Settings within ``localization`` that no anomaly map depends on."""

RELEASE_EVERY = 16
"""Number of images after which freed memory is returned to the system."""


@dataclass(frozen=True)
class MapResults:
    """The result of the pass over all images, one row per readable image, ordered by content.

    Attributes:
        indices: index of each readable image in the source.
        maps: their anomaly maps.
        surfaces: N x C float32, mean normalized feature vector of each image.
        descriptors: N x C float32.
        pixels: the pixels that contrastive heads are trained on; None if no heads are trained.
        masks: the cells of each map inside the region of interest, h x w; None if there is no region. The maps are 0
            outside.
    """

    indices: list[int]
    maps: Arrays
    surfaces: FloatArray
    descriptors: FloatArray
    pixels: PixelSample | None
    masks: list[BoolArray] | None = None

    @property
    def inside(self) -> Sequence[FloatArray]:
        """What scores and thresholds are computed from: the maps, or with a region of interest the values inside."""
        return self.maps if self.masks is None else InsideMaps(self.maps, self.masks)


@dataclass(frozen=True)
class FittedBefore:
    """What the pass over new images must know of the set that the model was fitted to.

    Attributes:
        digest: of the fitted model, part of every key.
        sample_ids: digest of the content of each image in the memory bank -> its id there.
        pixels_per_image: number of pixels of each image for the heads.
    """

    digest: str
    sample_ids: dict[str, int]
    pixels_per_image: int


@dataclass
class BatchResults:
    """What is known of one batch, with one value per readable image; None where nothing is known yet."""

    maps: Sequence[FloatArray] | None = None
    surfaces: Sequence[FloatArray] | None = None
    descriptors: Sequence[FloatArray] | None = None
    pixels: Sequence[Pixels] | None = None
    stored: list[Stored] | None = field(default=None, repr=False)  # where the maps are kept


class MapStages:
    """The cached steps of one run over one set of images.

    Args:
        source: the images.
        extractor: the network.
        config: the settings.
        device: name of the device in use, part of every key.
        normal: indices of images that are known to be normal; enough of them are what the localization model is fitted to.
        fitted_before: if the localization model was fitted to an earlier set: what :meth:`map_images` must know of it.
    """

    def __init__(
        self,
        source: ImageSource,
        extractor: Extractor,
        config: Config,
        device: str,
        fitted_before: FittedBefore | None = None,
        *,
        normal: Collection[int] = (),
    ) -> None:
        ensure_threads(torch.get_num_threads())
        self._device = device
        self.source, self.extractor, self.config = source, extractor, config
        self.cache = open_cache(config.cache, CACHED_CLASSES)
        recall_areas(source, self.cache)
        backbone = extractor.backbone
        stem = ""
        if self.cache.active:
            environment = environment_digest(device, f"{backbone.name} {backbone.digest}")
            stem = digest(environment, config.stage_digest("backbone"))
        self.features = FeatureBatches(source, extractor, self.cache, stem, store_features=config.cache.features)
        self._fitted_before = fitted_before
        # draws and sums run in the order of contents, so that names and their order decide nothing
        self._order = source.content_order(config.seed)
        self._sample = NO_SAMPLE
        if fitted_before is None:
            sizes = [extractor.map_size(size) for size in source.target_sizes]
            self._sample = choose_sample(self._order, sizes, normal, config.localization.sample_images)
        self.n_sample = len(self._sample.all)
        self.sampled = self.features.plan(self._sample.all)
        self.others = self.features.plan(set(range(len(source))) - self._sample.all)
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
        masks = {index: self.source.inside(index, *map_size(raw)) for index, raw in sample}
        scaling, normal = (among(sample, chosen) for chosen in (self._sample.scaling, self._sample.normal))
        normalizer = fit_normalizer(
            [inside_cells(raw, masks[index]) for index, raw in scaling],
            self.extractor.channels(),
            self.config.features.normalization,
        )
        features = {index: normalized(raw, normalizer) for index, raw in sample}
        map_model, maps = fit_map_model(
            [(self.image_ids[index], features[index]) for index, _ in normal],
            self.config.localization,
            pool_size=self.config.features.pool_size,
            channels=self.extractor.map_channels(self.config.localization.strides),
            seed=self.config.seed,
            inside=known_masks([masks[index] for index, _ in normal], (map_size(raw) for _, raw in normal)),
        )
        covariance = within_image_covariance([inside_cells(features[index], masks[index]) for index, _ in scaling])
        fitted = FittedLocalization(normalizer, map_model, covariance, maps, [index for index, _ in normal])
        return canonicalized(fitted, CACHED_CLASSES)

    def _sample_features(self, advance: Advance) -> list[tuple[int, Features]]:
        """(index, features) of the sampled images, by content; of the next readable batch if none of them can be read."""
        sample: list[tuple[int, Features]] = []
        for _, members in self.features.stream(self.sampled, hold=True):
            crowded = sum(one.nbytes for _, one in sample if isinstance(one, torch.Tensor)) > HELD_BYTES
            sample += [(index, self.features.spilled(one) if crowded else one) for index, one in members]
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
        rank = {index: place for place, index in enumerate(self._order)}
        return sorted(sample, key=lambda member: rank[member[0]])

    @functools.cached_property
    def image_ids(self) -> list[int]:
        """An id for each image that copies share: an image is not compared with itself or its copies.

        With a model that was fitted before, it is the id of the sampled image with this content; -1 if there is none.
        """
        if self._fitted_before is None:
            return self.source.originals()
        known = self._fitted_before.sample_ids
        return [known.get(self.source.content(index), -1) for index in range(len(self.source))]

    def sample_ids(self, fitted: FittedLocalization) -> dict[str, int]:
        """Digest of the content of each sampled image -> its id in the memory bank."""
        return {self.source.content(index): self.image_ids[index] for index in fitted.sample_indices}

    # Anomaly maps, descriptors and pixels

    def map_images(self, fitted: FittedLocalization, descriptor_model: DescriptorModel, advance: Advance) -> MapResults:
        """Map, descriptor and, for the heads, pixels of every image, in one pass; each batch is stored once it is done."""
        store, pixels = ArrayStore(), PixelStore(self.config.contrastive.pixel_budget_mb)
        results, missing, map_model = dict[Batch, BatchResults](), list[Batch](), fitted.map_model.on(self._device)
        for batch in (*self.sampled, *self.others):
            results[batch] = self._recall(batch, descriptor_model)
            self._spill(batch, results[batch], store, pixels)
            if any(getattr(results[batch], kind) is None for kind in self._kinds):
                missing.append(batch)
        advance(len(self.source) - sum(map(len, missing)))
        alone = len(self.source) == 1  # its features are kept for its regions; of many images, most have one region
        for batch, members in self.features.stream(missing, hold=alone):
            self._compute(batch, members, fitted, map_model, descriptor_model, results[batch], advance)
            self._spill(batch, results[batch], store, pixels)
            self._release_memory(len(batch))
        self.source.finish()
        found = self._in_order(results, store, pixels)
        store_areas(self.source, self.cache)
        return found

    @property
    def _kinds(self) -> tuple[str, ...]:
        """The kinds of results that this run needs of each batch."""
        heads = self.config.contrastive.enabled and (self._fitted_before is not None or len(self.source) > 1)
        return (MAPS, SURFACES, DESCRIPTORS, PIXELS) if heads else (MAPS, SURFACES, DESCRIPTORS)

    def _recall(self, batch: Batch, descriptor_model: DescriptorModel) -> BatchResults:
        """What the cache has of one batch."""
        results = BatchResults()
        for kind in self._kinds if self.cache.active else ():
            key = self.key(kind, batch, descriptor_model)
            valid = functools.partial(is_batch_entry, kind=kind, length=len(batch))
            entry = self.cache.get(kind, key, valid)
            if entry is not None and self.source.confirm_unreadable(batch[place] for place in entry["unreadable"]):
                setattr(results, kind, entry["rows"])
        return results

    @torch.no_grad()
    def _compute(
        self,
        batch: Batch,
        members: Sequence[tuple[int, Features]],
        fitted: FittedLocalization,
        map_model: MapModel,
        descriptor_model: DescriptorModel,
        results: BatchResults,
        advance: Advance,
    ) -> None:
        """Compute what is missing of one batch, and store it."""
        missing = [kind for kind in self._kinds if getattr(results, kind) is None]
        maps, surfaces, descriptors = list[FloatArray](), list[FloatArray](), list[FloatArray]()
        pixels = list[Pixels]()
        for place, (index, raw) in enumerate(members):
            features, inside = normalized(raw, fitted.normalizer), self.source.inside(index, *map_size(raw))
            values = self._map(index, features, map_model) if results.maps is None else results.maps[place]
            values = zero_outside(values, inside)
            weights = descriptor_model.pixel_weights(values, inside)
            cells = inside_cells(features, inside)
            if MAPS in missing:
                maps.append(values)
            if SURFACES in missing:
                surfaces.append(mean_cell(cells).numpy())
            if DESCRIPTORS in missing:
                descriptors.append(descriptor_model.descriptor(features, weights))
            if PIXELS in missing:
                image_seed = self.source.content_seed(index)
                counted = weights if inside is None else weights[torch.from_numpy(inside)]
                pixels.append(
                    sample_pixels(
                        cells,
                        inside_values(values, inside),
                        counted,
                        image_seed,
                        self.config.seed,
                        self.pixels_per_image,
                    )
                )
            advance(1)
        advance(len(batch) - len(members))
        unreadable = [place for place, index in enumerate(batch) if index in self.source.unreadable]
        computed = {MAPS: maps, SURFACES: surfaces, DESCRIPTORS: descriptors, PIXELS: pixels}
        for kind in missing:
            setattr(results, kind, computed[kind])
            if self.cache.active:
                self.cache.put(
                    kind, self.key(kind, batch, descriptor_model), {"unreadable": unreadable, "rows": computed[kind]}
                )

    def _map(self, index: int, features: Features, model: MapModel) -> FloatArray:
        known = self._sample_maps.pop(index, None)
        return model.anomaly_map(features, self.image_ids[index]) if known is None else known

    def _spill(self, batch: Batch, results: BatchResults, store: ArrayStore, pixels: PixelStore) -> None:
        """Move maps and pixels of one batch to their stores, which keep them in memory or in a temporary file."""
        if results.maps is not None and results.stored is None:
            results.stored = store.add(results.maps)
            results.maps = store.view(results.stored)
        if results.pixels:
            pixels.add(self.source.readable(batch), results.pixels)
            results.pixels = ()

    def _in_order(self, results: dict[Batch, BatchResults], store: ArrayStore, pixels: PixelStore) -> MapResults:
        """All batches as one set, by content."""
        rows: dict[int, tuple[Stored, FloatArray, FloatArray]] = {}
        for batch, one in results.items():
            assert one.stored is not None
            assert one.surfaces is not None
            assert one.descriptors is not None
            readable = self.source.readable(batch)
            rows |= dict(zip(readable, zip(one.stored, one.surfaces, one.descriptors, strict=True), strict=True))
        indices = [index for index in self._order if index in rows]
        maps = store.view([rows[index][0] for index in indices])
        shapes = [rows[index][0].shape for index in indices]
        masks = [self.source.inside(index, *shape) for index, shape in zip(indices, shapes, strict=True)]
        return MapResults(
            indices,
            maps,
            np.stack([rows[index][1] for index in indices]),
            np.stack([rows[index][2] for index in indices]),
            pixels.view(indices) if PIXELS in self._kinds else None,
            known_masks(masks, shapes),
        )

    def score_quantiles(self, results: MapResults) -> npt.NDArray[np.float64]:
        """The quantile of each map that is its image's score, N."""
        sides = self.source.resolution.cell_sides(results.indices, self.extractor.grid)
        return score_quantiles(results.inside, sides, self.config.localization)

    def inside_sample(self, fitted: FittedLocalization) -> Sequence[FloatArray]:
        """The sample's maps, or with a region of interest their values inside."""
        pairs = zip(fitted.sample_indices, fitted.sample_maps, strict=True)
        masks = [self.source.inside(index, *one.shape) for index, one in pairs]
        return maps_inside(fitted.sample_maps, masks)

    @functools.cached_property
    def pixels_per_image(self) -> int:
        """Number of pixels of each image for the heads."""
        if self._fitted_before is not None:
            return self._fitted_before.pixels_per_image
        channels, budget = sum(self.extractor.channels()), self.config.contrastive.pixel_budget_mb
        return pixels_per_image(len(self.source), channels, budget)

    # Keys and memory

    @functools.cached_property
    def _fit_key(self) -> str:
        if self._fitted_before is not None:
            return digest("fitted before", self._fitted_before.digest)
        names = (name for name in Config.model_fields if name not in AFTER_MAPS)
        settings = self.config.stage_digest(*names, without=AFTER_MAPS_LOCALIZATION)
        sample = sorted(self._sample.normal), self.features.key(*self.sampled)
        return digest("localization", settings, *sample)

    def key(self, kind: str, batch: Batch, descriptor_model: DescriptorModel) -> str:
        """The key of one kind of results of one batch."""
        stem: list[object] = [self._fit_key, self.features.key(batch)]
        if kind in (DESCRIPTORS, PIXELS):
            settings = self.config.stage_digest("descriptor", without=("descriptor.normalize",))
            stem += [settings, repr((descriptor_model.tau, descriptor_model.level))]
        if kind == PIXELS:
            stem.append(self.pixels_per_image)
        return digest(kind, stem)

    def _release_memory(self, images: int) -> None:
        """Return freed memory to the system every ``RELEASE_EVERY`` images; getting it back costs time as well."""
        self._since_release += images
        if self._since_release >= RELEASE_EVERY:
            release_freed_memory()
            self._since_release = 0
