"""The localization model: fitted to a sample of feature maps, it turns the features of any image into an anomaly map."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blemish.config.localization import Localization
from blemish.features.bands import FeatureBands, Features, map_size, pooled_parts, take_cells
from blemish.features.filters import gaussian_blur
from blemish.features.normalization import pooled
from blemish.localization.border import BorderCorrection, fit_border_correction
from blemish.localization.fca import fca_map
from blemish.localization.inside import inside_values, zero_outside
from blemish.localization.neighbors import MemoryBank
from blemish.localization.reconstruction import (
    VAE,
    PrincipalSubspace,
    fit_pca,
    residual_l1,
    residual_l2,
    train_vae,
    vae_residual,
)
from blemish.runtime.random import draw_places, seeded_generator
from blemish.types import BoolArray, FloatArray

FEWEST_INLIER_CELLS = 10
"""An image with fewer inlier cells contributes nothing to the memory bank."""

Sample = Sequence[tuple[int, Features]]
"""(image id, C x h x w normalized features) of some images. Copies of an image share its id."""


@dataclass(frozen=True)
class MapModel:
    """Everything fitted that an anomaly map depends on, besides the normalized features of its image. It holds no image.

    Attributes:
        settings: the localization section of the settings.
        pool_size: window of the average pooling of features, in cells.
        channels: the feature channels that maps are computed from, ascending; None = all.
        memory_bank: for ``knn``.
        vae: for ``vae_fca``, ``vae_l1`` and ``vae_l2``.
        subspace: for ``pca_fca``.
        border: the border correction, if the settings ask for one.
    """

    settings: Localization
    pool_size: int
    channels: tuple[int, ...] | None = None
    memory_bank: MemoryBank | None = None
    vae: VAE | None = None
    subspace: PrincipalSubspace | None = None
    border: BorderCorrection | None = None

    def on(self, device: str) -> MapModel:
        """The model with its tensors on a device, where maps are then computed; finished maps are back in main memory."""
        if device == "cpu":
            return self
        moved = {name: _moved(getattr(self, name), device) for name in ("memory_bank", "subspace")}
        vae = None if self.vae is None else deepcopy(self.vae).to(device)
        return replace(self, vae=vae, **moved)

    @property
    def device(self) -> torch.device:
        """Where maps are computed: where the fitted tensors are. Without any, as with ``fca``, that is the processor."""
        if self.memory_bank is not None:
            return self.memory_bank.patches.device
        if self.vae is not None:
            return self.vae.mu.weight.device
        return torch.device("cpu") if self.subspace is None else self.subspace.mean.device

    def anomaly_map(self, features: Features, image_id: int | None = None) -> FloatArray:
        """The anomaly map of one image.

        Args:
            features: C x h x w, normalized. Methods other than ``knn`` read all bands of a large image at once.
            image_id: id of the image if the model was fitted to it: its own patches in the memory bank are ignored.

        Returns:
            h x w float32, >= 0; larger means more anomalous.
        """
        if isinstance(features, FeatureBands) and self.settings.method != "knn":
            features = features.whole()
        chosen = select_channels(features, self.channels).to(self.device)
        values = self._values(chosen, image_id).cpu().numpy().astype(np.float32)
        if self.border is not None:
            values = self.border.apply(values)
        return _with_zero_border(values, self.settings.zero_border)

    def _values(self, features: Features, image_id: int | None) -> Tensor:
        """The map, h x w, before its border is treated."""
        s = self.settings
        if s.method == "knn":
            assert self.memory_bank is not None
            found = [self.memory_bank.distance(one, image_id) for one in pooled_parts(features, self.pool_size)]
            values = torch.cat(found) if len(found) > 1 else found[0]
            if s.smoothing_sigma:
                values = gaussian_blur(values[None], s.smoothing_size, s.smoothing_sigma)[0]
            return values
        assert isinstance(features, Tensor)
        if s.method == "vae_l1":
            return residual_l1(self._residual(features)[None])[0]
        if s.method == "vae_l2":
            return residual_l2(self._residual(features)[None])[0]
        return fca_map(
            features if s.method == "fca" else self._residual(features),
            patch_size=s.fca.patch_size,
            sigma_s=s.fca.sigma_s,
            sigma_p=s.fca.sigma_p,
            blur_size=s.fca.blur_size,
            sigma_post=s.smoothing_sigma,
            normalize_edges=s.zero_border == 0,
        )[0]

    def _residual(self, features: Tensor) -> Tensor:
        """What the autoencoder, or the principal subspace, does not reproduce; C x h x w."""
        pooled_features = pooled(features, self.pool_size)
        if self.vae is not None:
            return vae_residual(self.vae, pooled_features[None])[0]
        assert self.subspace is not None
        return self.subspace.residual(pooled_features)


def fit_map_model(
    sample: Sample,
    settings: Localization,
    *,
    pool_size: int,
    channels: tuple[int, ...] | None = None,
    seed: int = 0,
    inside: Sequence[BoolArray] | None = None,
) -> tuple[MapModel, list[FloatArray]]:
    """Fit the localization model.

    With ``knn`` and an outlier fraction above 0 there are two passes (memory-bank outlier removal, as in SoftPatch): maps
    from a first memory bank show which cells are the most anomalous, and the final memory bank is drawn without them.

    Args:
        sample: at least one image.
        settings: the localization section of the settings.
        pool_size: window of the average pooling of features, in cells, odd.
        channels: the feature channels that maps are computed from, ascending; None = all.
        seed: decides which patches are drawn and how a network starts.
        inside: the cells of each image that lie in the region of interest, h x w; None = all.

    Returns:
        The model and the anomaly maps of the sample, which are 0 outside the region of interest.

    Cost: for ``knn``, two distance computations for each image of the sample; for ``vae_*``, the training.
    """
    inputs = [(image_id, select_channels(one, channels)) for image_id, one in sample]
    model = _fit_method(MapModel(settings, pool_size, channels), inputs, seed, inside)
    model, maps = _with_border_correction(model, sample, inside)
    fraction = settings.memory_bank.outlier_fraction
    if model.memory_bank is not None and fraction:
        allowed = inlier_cells(maps, fraction, inside)
        bank = _memory_bank(inputs, settings, pool_size, seed, allowed, inside)
        model, maps = _with_border_correction(replace(model, memory_bank=bank, border=None), sample, inside)
    return model, maps


def _fit_method(model: MapModel, inputs: Sample, seed: int, inside: Sequence[BoolArray] | None = None) -> MapModel:
    """The model with the part that its method needs."""
    s = model.settings
    if s.method == "fca":
        return model
    if s.method == "knn":
        return replace(model, memory_bank=_memory_bank(inputs, s, model.pool_size, seed, None, inside))
    generator = seeded_generator(seed)
    count = s.pca.patches_per_image if s.method == "pca_fca" else s.vae.patches_per_image
    masks = _optional(inside, len(inputs))
    vectors = torch.cat(
        [
            _drawn(one, None if mask is None else torch.from_numpy(mask).flatten(), model.pool_size, count, generator)
            for (_, one), mask in zip(inputs, masks, strict=True)
        ]
    )
    if s.method == "pca_fca":
        return replace(model, subspace=fit_pca(vectors, s.pca.n_components))
    vae = train_vae(
        vectors,
        steps=s.vae.steps,
        batch_size=s.vae.batch_size,
        learning_rate=s.vae.learning_rate,
        weight_decay=s.vae.weight_decay,
        hidden=s.vae.hidden,
        latent=s.vae.latent,
        kl_weight=s.vae.kl_weight,
        seed=seed,
    )
    return replace(model, vae=vae)


def _with_border_correction(
    model: MapModel, sample: Sample, inside: Sequence[BoolArray] | None
) -> tuple[MapModel, list[FloatArray]]:
    """The model with a border correction, if the settings ask for one, and its maps of the sample, 0 outside."""
    maps = [model.anomaly_map(one, image_id) for image_id, one in sample]
    if model.settings.border_correction:
        border = fit_border_correction(maps, inside)
        model, maps = replace(model, border=border), [border.apply(one) for one in maps]
    return model, [zero_outside(one, mask) for one, mask in zip(maps, _optional(inside, len(maps)), strict=True)]


def inlier_cells(
    maps: Sequence[FloatArray], outlier_fraction: float, inside: Sequence[BoolArray] | None = None
) -> list[Tensor]:
    """The cells of each map that are not among the most anomalous fraction of all cells; h x w bool, one per map.

    With a region of interest, only cells inside count and are inliers.

    >>> inlier_cells([np.array([[1, 2], [3, 9]], np.float32)], 0.25)[0].tolist()
    [[True, True], [True, False]]
    """
    masks = _optional(inside, len(maps))
    values = [inside_values(one, mask).ravel() for one, mask in zip(maps, masks, strict=True)]
    limit = np.quantile(np.concatenate(values), 1 - outlier_fraction)
    return [
        torch.from_numpy((one <= limit) & (True if mask is None else mask))
        for one, mask in zip(maps, masks, strict=True)
    ]


def _memory_bank(
    inputs: Sample,
    settings: Localization,
    pool_size: int,
    seed: int,
    allowed: Sequence[Tensor] | None,
    inside: Sequence[BoolArray] | None,
) -> MemoryBank:
    """Patches of each image, from its allowed cells if these are given. Images with too few allowed cells stay out.

    Without allowed cells, or if hardly any image has enough, patches come from all cells inside the region of interest.
    """
    options, generator = settings.memory_bank, seeded_generator(seed)
    first_pass = allowed is None and options.outlier_fraction > 0
    everywhere = [torch.from_numpy(one).flatten() for one in inside] if inside else [None] * len(inputs)
    chosen = [one.flatten() for one in allowed] if allowed else everywhere
    # if hardly any image keeps enough cells, there is nothing to compare with, so all cells are allowed
    enough = [cells is None or int(cells.sum()) >= min(FEWEST_INLIER_CELLS, len(cells)) for cells in chosen]
    if sum(enough) < 2:
        allowed, chosen, enough = None, everywhere, [True] * len(inputs)
    rows, image_ids = [], []
    for (image_id, one), cells, good in zip(inputs, chosen, enough, strict=True):
        if good:
            vectors = _drawn(one, cells, pool_size, options.patches_per_image, generator)
            # a small map repeats some, so that all images have equally many
            rows.append(vectors[torch.arange(options.patches_per_image) % len(vectors)])
            image_ids.append(image_id)
    # after outlier removal, what several images share is normal, so the nearest image counts
    bank = MemoryBank(torch.stack(rows), tuple(image_ids), 0.0 if allowed else options.image_quantile)
    # in the first pass a patch of a defect is rare too, and density normalization would hide the defect
    return bank if first_pass else bank.with_density_normalization(options.density_exponent)


def _moved(value: Any, device: str) -> Any:
    """A dataclass with its tensors on a device; None stays None."""
    if value is None:
        return None
    tensors = {one.name: getattr(value, one.name) for one in fields(value)}
    return replace(value, **{name: one.to(device) for name, one in tensors.items() if isinstance(one, Tensor)})


def _optional(inside: Sequence[BoolArray] | None, count: int) -> Sequence[BoolArray | None]:
    """The mask of each of ``count`` images; None for each if there is no region of interest."""
    return [None] * count if inside is None else inside


def _drawn(features: Features, cells: Tensor | None, pool_size: int, count: int, generator: torch.Generator) -> Tensor:
    """``count`` vectors of random cells of a pooled map, count x C, or all if there are fewer.

    Args:
        features: of one image.
        cells: h w bool, the cells to draw from; None = all.
        pool_size: window of the pooling.
        count: number of vectors.
        generator: source of the draw.
    """
    height, width = map_size(features)
    picked = draw_places(height * width if cells is None else int(cells.sum()), count, generator)
    places = picked if cells is None else cells.nonzero().flatten()[picked]
    return take_cells(features, places, pool_size).T.contiguous()


def select_channels(features: Features, channels: tuple[int, ...] | None) -> Features:
    """Some channels of C x h x w features; None = all. Adjacent channels are not copied."""
    if isinstance(features, FeatureBands):
        return features.selected(channels)
    if channels is None or len(channels) == len(features):
        return features
    first, last = channels[0], channels[-1] + 1
    return features[first:last] if last - first == len(channels) else features[list(channels)]


def _with_zero_border(values: FloatArray, border: int) -> FloatArray:
    border = min(border, (min(values.shape) - 1) // 2)
    if border < 1:
        return values
    out = np.zeros_like(values)
    out[border:-border, border:-border] = values[border:-border, border:-border]
    return out
