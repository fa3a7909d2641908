"""The long stages of a run, each of which first looks whether an earlier run has left its result in the cache.

The formulas are elsewhere (:mod:`blemish.localization.model`, :mod:`blemish.descriptors.pixels`); here is what goes under which key. A key
holds everything that its result depends on: the code and its surroundings, the images by content, the settings of that
stage and of those before it. Settings are left out by name, so that a new one counts until somebody decides otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blemish.config.schema import Config
from blemish.descriptors.pixels import (
    PixelStore,
    Sample,
    head_threshold,
    pixels_per_image,
    refined_descriptors,
    sample_pixels,
    train_heads,
)
from blemish.features.batches import Batch, FeatureBatches
from blemish.features.extractor import Extractor
from blemish.images import ImageSource
from blemish.localization.model import Normality, fit_maps
from blemish.results import FloatArray
from blemish.runtime.cache import Cache, array_digest, digest, environment_digest
from blemish.runtime.memory import hand_back
from blemish.runtime.serialization import settled
from blemish.runtime.spill import Arrays, ArrayStore, Kept

Done = Callable[[int], None]
"""Told how many more images are done."""

AFTER_MAPS = ("preset", "device", "clusters", "descriptor", "contrast", "cluster", "output", "cache")
"""Settings that no map depends on (the device counts by the name of what was found), and within ``localize``:"""
AFTER_MAPS_LOCALIZE = ("localize.threshold", "localize.score_quantile", "localize.fill")

HAND_BACK_EVERY = 16
"""Images after which freed memory goes back to the system."""


@dataclass(frozen=True)
class Found:
    """What the main pass found, one row per readable image, in the order of ``indices``."""

    indices: list[int]
    maps: Arrays
    descriptors: FloatArray
    pixels: Sample | None


class Stages:
    """The stages of one run over one set."""

    def __init__(self, source: ImageSource, extractor: Extractor, config: Config, cache: Cache, device: str) -> None:
        self.source, self.extractor, self.config, self.cache = source, extractor, config, cache
        backbone = extractor.backbone
        environment = environment_digest(device, f"{backbone.name} {backbone.digest}") if cache.active else ""
        self.features = FeatureBatches(source, extractor, cache, environment)
        n = len(source)
        self.n_sample = min(n, config.normality.sample_images)
        chosen = set(np.random.default_rng(config.seed).choice(n, self.n_sample, replace=False).tolist())
        self.sampled = self.features.plan(chosen)
        self.others = self.features.plan(set(range(n)) - chosen)
        self._since = 0
        self._sampled_maps: dict[int, FloatArray] = {}  # by-product of the learning, for the main pass

    def learn(self, done: Done) -> Normality:
        """The model of what is normal, from the features of some images."""
        model, maps, indices = self.cache.once("normality", lambda: self._normality_key, lambda: self._fit(done))
        self._sampled_maps = dict(zip(indices, maps, strict=True))
        normality: Normality = model.tempered(maps)
        return normality

    def look(self, normality: Normality, done: Done) -> Found:
        """Map, descriptor and, for the head, pixels of every image. Each batch is kept as soon as it is done."""
        store, kept = ArrayStore(), dict[Batch, list[Kept]]()
        pixels = PixelStore(self.config.contrast.memory)
        parts, missing = dict[Batch, dict[str, Any]](), list[Batch]()

        def put_away(batch: Batch) -> None:
            part = parts[batch]
            if part["maps"] is not None and batch not in kept:
                kept[batch] = store.keep(part["maps"])
                part["maps"] = store.view(kept[batch])
            if part.get("pixels"):
                pixels.keep(self.source.readable(batch), part["pixels"])
                part["pixels"] = ()

        for batch in (*self.sampled, *self.others):
            parts[batch] = self._recall(batch, normality)
            put_away(batch)
            if None in parts[batch].values():
                missing.append(batch)
        done(len(self.source) - sum(map(len, missing)))
        for batch, members in self.features.stream(missing):
            self._examine(batch, members, normality, parts[batch], done)
            put_away(batch)
            self._hand_back(len(batch))
        rows = {
            index: (kept[batch][place], part["descriptors"][place])
            for batch, part in parts.items()
            for place, index in enumerate(self.source.readable(batch))
        }
        indices = sorted(rows)
        self.source.finish()
        return Found(
            indices,
            store.view([rows[index][0] for index in indices]),
            np.stack([rows[index][1] for index in indices]),
            pixels.view(indices) if self._sharpening else None,
        )

    @property
    def _sharpening(self) -> bool:
        return self.config.contrast.enabled and len(self.source) > 1

    def sharpen(self, found: Found, normality: Normality, anomalous: npt.NDArray[np.bool_], done: Done) -> FloatArray:
        """Descriptors from what contrastive heads make of the kept pixels; the heads are trained here.

        Args:
            anomalous: N bool, whose share decides which pixels the heads take for anomalous.
        """
        sample, config = found.pixels, self.config
        assert sample is not None
        level = head_threshold(found.maps, found.descriptors, anomalous, config)

        def key() -> str:
            inputs = [self._key("pixels", batch, normality) for batch in (*self.sampled, *self.others)]
            return digest("heads", inputs, level, config.stage_digest("contrast", "seed"))

        def compute() -> FloatArray:
            heads = train_heads(sample, found.descriptors, level, config, done)
            return refined_descriptors(sample, heads, done)

        return self.cache.once("heads", key, compute)

    @functools.cached_property
    def _owners(self) -> list[int]:
        """Whose vectors an image is not compared with: its own and its copies', which would make anything look normal."""
        return self.source.originals()

    @functools.cached_property
    def _normality_key(self) -> str:
        names = (name for name in Config.model_fields if name not in AFTER_MAPS)
        settings = self.config.stage_digest(*names, without=AFTER_MAPS_LOCALIZE)
        return digest("normality", settings, self.features.key(*self.sampled))

    def _fit(self, done: Done) -> Any:
        sample: list[tuple[int, Tensor]] = []
        for _, members in self.features.stream(self.sampled, hold=True):
            sample += members
            done(len(members))
            self._hand_back(len(members))
        if not sample:
            self.cache.active = False  # the keys speak of a sample that cannot be read
        for batch in self.others:
            if sample:
                break
            sample = [member for _, members in self.features.stream([batch], hold=True) for member in members]
        if not sample:
            self.source.finish()
        sample.sort(key=lambda member: member[0])
        channels, mapped = self.extractor.channels(), self.extractor.map_channels()
        owned = [(self._owners[index], raw) for index, raw in sample]
        model, maps = fit_maps(owned, channels, self.config, mapped)
        return settled((model, maps, [index for index, _ in sample]), self.config)

    def _key(self, kind: str, batch: Batch, normality: Normality) -> str:
        stem: list[object] = [self._normality_key, self.features.key(batch)]
        if kind in ("descriptors", "pixels"):
            stem += [
                self.config.stage_digest("descriptor", without=("descriptor.normalize",)),
                repr((normality.tau, normality.level)),
            ]
        if kind == "pixels":
            stem.append(self._pixels_each)
        return digest(kind, stem)

    @property
    def _pixels_each(self) -> int:
        return pixels_per_image(len(self.source), sum(self.extractor.channels()), self.config.contrast.memory)

    def _recall(self, batch: Batch, normality: Normality) -> dict[str, Any]:
        """Kind -> one value per readable image, or None where there is no entry."""
        kinds = ["maps", "descriptors"]
        if self._sharpening:
            kinds.append("pixels")
        part: dict[str, Any] = dict.fromkeys(kinds)
        for kind in kinds if self.cache.active else ():
            entry = self.cache.get(kind, self._key(kind, batch, normality))
            if entry is not None and self.source.confirm_unreadable(batch[place] for place in entry["unreadable"]):
                part[kind] = entry["rows"]
        return part

    @torch.no_grad()
    def _examine(
        self,
        batch: Batch,
        members: Sequence[tuple[int, Tensor]],
        normality: Normality,
        part: dict[str, Any],
        done: Done,
    ) -> None:
        """Fill in what is missing of one batch and keep it."""
        fresh = [kind for kind in part if part[kind] is None]
        part.update({kind: [] for kind in fresh})
        for place, (index, raw) in enumerate(members):
            features = normality.features(raw)
            if "maps" in fresh:
                known = self._sampled_maps.pop(index, None)
                part["maps"].append(normality.anomaly_map(features, self._owners[index]) if known is None else known)
            values = part["maps"][place]
            weights = normality.pixel_weights(values)
            if "descriptors" in fresh:
                part["descriptors"].append(normality.descriptor(features, weights))
            if "pixels" in fresh:
                part["pixels"].append(
                    sample_pixels(features, values, weights, index, self.config.seed, self._pixels_each)
                )
            done(1)
        done(len(batch) - len(members))
        unreadable = [place for place, index in enumerate(batch) if index in self.source.unreadable]
        for kind in fresh if self.cache.active else ():
            self.cache.put(kind, self._key(kind, batch, normality), {"unreadable": unreadable, "rows": part[kind]})

    def _hand_back(self, images: int) -> None:
        """Let go of freed memory every ``HAND_BACK_EVERY`` images: to have it given anew costs time as well."""
        self._since += images
        if self._since >= HAND_BACK_EVERY:
            hand_back()
            self._since = 0


def groups_key(
    descriptors: FloatArray,
    counted: FloatArray,
    shapes: FloatArray,
    scores: FloatArray,
    threshold: float,
    config: Config,
) -> str:
    """Key of the clustering: its input by bytes, and all settings but those that only say where and what is written."""
    names = (name for name in Config.model_fields if name not in ("preset", "device", "output", "cache"))
    arrays = [array_digest(values) for values in (descriptors, counted, shapes, scores)]
    return digest("groups", environment_digest("cpu", ""), arrays, repr(threshold), config.stage_digest(*names))
