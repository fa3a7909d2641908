"""What ``fit`` learns about the set before any map: scaling, model of normality, border, temperature. And the maps it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blemish.config.schema import Config
from blemish.descriptors.pooling import (
    average_weights,
    blur_weights,
    descriptor_level,
    max_weights,
    relative_tau,
    softmax_weights,
    thresholded_weights,
    weighted_sum,
)
from blemish.errors import ConfigError, InputError
from blemish.features.extractor import ChannelScale, fit_scale, pooled, scaled
from blemish.features.filters import gaussian_blur
from blemish.localization.border import BorderCorrection, fit_border_correction
from blemish.localization.fca import fca_map
from blemish.localization.neighbors import MemoryBank
from blemish.localization.reconstruction import (
    VAE,
    fit_pca,
    pca_residual,
    residual_l1,
    residual_l2,
    train_vae,
    vae_residual,
)
from blemish.localization.threshold import find_threshold, image_scores
from blemish.results import FloatArray
from blemish.runtime.random import sample_vectors, seeded_generator

FEWEST_CELLS = 10
"""An image whose usual cells are fewer says nothing about what is normal."""


@dataclass(frozen=True)
class Normality:
    """The fitted state, apart from the images it was learned on: a pure function of (image features, this) gives a map."""

    config: Config
    scale: ChannelScale
    neighbors: MemoryBank | None = None
    vae: VAE | None = None
    pca: tuple[Tensor, Tensor] | None = None
    border: BorderCorrection | None = None
    tau: float = 1.0
    level: float = 0.0
    map_channels: tuple[int, ...] | None = None
    variation: Tensor | None = None
    whitener: Tensor | None = None

    def tempered(self, maps: Sequence[FloatArray]) -> Normality:
        """The same with what descriptors need beyond features and map, as the settings ask, for a sample of the set's maps:
        temperature, level and whitening. The level rests on the sample's scores, as those of the set are not known yet, and
        never on a given threshold: trying one costs no pass of the network.
        """
        d = self.config.descriptor
        matrix = whitener(self.variation, d.whiten) if self.variation is not None and d.whiten is not None else None
        localize = self.config.localize
        threshold = find_threshold(maps, image_scores(maps, localize.score_quantile), localize)
        return replace(
            self,
            tau=d.tau or relative_tau(maps, d.tau_fraction),
            level=descriptor_level(maps, threshold, d.level),
            whitener=matrix,
        )

    def features(self, raw: Tensor) -> Tensor:
        """Scaled features, C x h x w."""
        return scaled(raw, self.scale, self.config.features.scaling)

    def anomaly_map(self, features: Tensor, owner: int | None = None) -> FloatArray:
        """Anomaly map h x w >= 0 of scaled features; vectors of the sample that have the number ``owner`` are left out."""
        local = self.config.localize
        features = _chosen(features, self.map_channels)
        if local.method == "neighbors":
            assert self.neighbors is not None
            values = self.neighbors.distance(pooled(features, self.config.features.pool), owner)
            if local.post_sigma:
                values = gaussian_blur(values[None], local.fca_blur, local.post_sigma)[0]
        elif local.method in ("bal", "fca"):
            inputs = self._residual(features) if local.method == "bal" else features
            values = fca_map(
                inputs,
                patch_size=local.fca_patch,
                sigma_s=local.fca_sigma_s,
                sigma_p=local.fca_sigma_p,
                blur_size=local.fca_blur,
                sigma_post=local.post_sigma,
                normalize_edges=local.border == 0,
            )[0]
        else:
            norm = residual_l1 if local.method == "l1" else residual_l2
            values = norm(self._residual(features)[None])[0]
        out = values.numpy().astype(np.float32)
        if self.border is not None:
            out = self.border.apply(out)
        return _without_border(out, local.border)

    def _residual(self, features: Tensor) -> Tensor:
        pooled_features = pooled(features, self.config.features.pool)
        if self.vae is not None:
            return vae_residual(self.vae, pooled_features[None])[0]
        assert self.pca is not None  # fit_normality refuses the methods that need a model and have none
        return pca_residual(pooled_features, *self.pca)

    def descriptor(self, features: Tensor, weights: Tensor) -> FloatArray:
        """One vector, C: the sum of features times :meth:`pixel_weights` of the map, whitened.

        Raises:
            InputError: if features hold NaN or infinite values.
        """
        vector = weighted_sum(features[None], weights[None])[0]
        if not bool(torch.isfinite(vector).all()):
            raise InputError("The features hold NaN or infinite values.")
        return (vector if self.whitener is None else self.whitener @ vector).numpy()

    def pixel_weights(self, values: FloatArray) -> Tensor:
        """What each pixel of a map counts in a descriptor, h x w float64; the sum is 0, as the mean is subtracted.

        (That of plain averages is 1: their mean is not.)
        """
        d, maps = self.config.descriptor, torch.from_numpy(values)[None]
        if d.weighting == "excess":
            weights = thresholded_weights(maps, self.level)
        elif d.weighting == "softmax":
            weights = softmax_weights(maps, self.tau)
        elif d.weighting == "max":
            weights = max_weights(maps)
        else:
            weights = average_weights(maps)
        return blur_weights(weights, d.blur_size, d.blur_sigma, center=d.weighting != "average")[0]


def fit_normality(sample: Sequence[tuple[int, Tensor]], channels: Sequence[int], config: Config) -> Normality:
    """Learn everything set-level from the raw features of some of its images.

    Two steps, as the second is all that the descriptors' settings have a say in: :func:`fit_maps`, then
    :meth:`Normality.tempered`.
    """
    return Normality.tempered(*fit_maps(sample, channels, config))


def variation_within(features: Sequence[Tensor]) -> Tensor:
    """How feature vectors vary from place to place within an image: their covariance, averaged over images, C x C float64.

    Args:
        features: maps C x h x w of at least one image.
    """
    channels = features[0].shape[0]
    total = torch.zeros(channels, channels, dtype=torch.float64)
    for one in features:
        cells = one.flatten(1)
        cells = cells - cells.mean(1, keepdim=True)
        total += (cells @ cells.T).double() / cells.shape[1]
    return total / len(features)


def whitener(variation: Tensor, shrinkage: float) -> Tensor:
    """(S / m + shrinkage I)^(-1/2) for a covariance S with mean variance m, scaled to a mean eigenvalue of one.

    What differs from place to place on sound material (streaks, grain, light) says little about a defect's type; after
    this it weighs no more than anything else. Defects are too few of the cells to shape S much.

    Args:
        variation: C x C, see :func:`variation_within`.
        shrinkage: > 0; the larger, the closer to no change at all.

    Returns:
        C x C, symmetric, float32; the identity where nothing varies.

    Source: within-class covariance normalization (Hatch et al. 2006) with every image a class; not in Ardelean & Weyrich.

    >>> whitener(torch.diag(torch.tensor([4.0, 4.0, 0.0])), 0.01).diagonal().argmax().item()
    2
    """
    mean = float(variation.diagonal().mean())
    if not mean > 0:
        return torch.eye(len(variation))
    values, vectors = torch.linalg.eigh(variation.double() / mean)
    root = (values.clamp_min(0) + shrinkage).rsqrt()
    return ((vectors * (root / root.mean())) @ vectors.T).float()


def fit_maps(
    sample: Sequence[tuple[int, Tensor]],
    channels: Sequence[int],
    config: Config,
    map_channels: tuple[int, ...] | None = None,
) -> tuple[Normality, list[FloatArray]]:
    """All that maps depend on, and the maps of the sample.

    Args:
        sample: (number, C x h x w raw features) of at least one image; copies of an image have one number.
        channels: channels per stride, for the scaling.
        config: all settings; the seed decides which vectors are kept.
        map_channels: the channels that maps are made of, ascending; None: all. Descriptors have all in any case.
    """
    scaling = config.features.scaling
    scale = fit_scale([one for _, one in sample], channels, scaling)
    fitted = Normality(config, scale, map_channels=map_channels)
    features = [(index, fitted.features(raw)) for index, raw in sample]
    inputs = [(index, _chosen(one, map_channels)) for index, one in features]
    fitted = replace(fitted, **_model(inputs, config))
    border, maps = _maps(fitted, features)
    if fitted.neighbors is not None and config.normality.trim:
        allowed = usual_cells(maps, config.normality.trim)
        fitted = replace(fitted, neighbors=_neighbors(inputs, config, allowed))
        border, maps = _maps(fitted, features)
    return replace(fitted, border=border, variation=variation_within([one for _, one in features])), maps


def usual_cells(maps: Sequence[FloatArray], trim: float) -> list[Tensor]:
    """Which cells of each map are not among the ``trim`` most anomalous of all; h x w boolean, one per map.

    >>> usual_cells([np.array([[1, 2], [3, 9]], np.float32)], 0.25)[0].tolist()
    [[True, True], [True, False]]
    """
    limit = np.quantile(np.concatenate([one.ravel() for one in maps]), 1 - trim)
    return [torch.from_numpy(one <= limit) for one in maps]


def _maps(
    fitted: Normality, features: Sequence[tuple[int, Tensor]]
) -> tuple[BorderCorrection | None, list[FloatArray]]:
    """The border's calibration and the calibrated maps."""
    maps = [fitted.anomaly_map(one, index) for index, one in features]
    border = fit_border_correction(maps) if fitted.config.localize.calibrate_border else None
    return border, [border.apply(one) for one in maps] if border else maps


def _model(features: Sequence[tuple[int, Tensor]], config: Config) -> dict[str, Any]:
    n, method = config.normality, config.localize.method
    generator = seeded_generator(config.seed)
    pool = config.features.pool
    if method == "neighbors":
        return {"neighbors": _neighbors(features, config)}
    if method == "fca":
        return {}
    if n.model == "vae" and config.features.scaling == "set":
        raise ConfigError(
            "normality.model vae needs features of 0 and more, which its decoder ends in: "
            "add features.scaling image (or none)"
        )
    # a density estimate needs more vectors than a bank that every cell is compared with
    vectors = torch.cat([sample_vectors(pooled(one, pool), 8 * n.sample_vectors, generator) for _, one in features])
    if n.model == "vae":
        vae = train_vae(
            vectors,
            steps=n.vae_steps,
            batch_size=n.vae_batch,
            learning_rate=n.vae_lr,
            weight_decay=n.vae_weight_decay,
            hidden=n.vae_hidden,
            latent=n.vae_latent,
            kl_weight=n.kl_weight,
            seed=config.seed,
        )
        return {"vae": vae}
    if n.model == "pca":
        return {"pca": fit_pca(vectors, n.pca_dim)}
    raise ConfigError(f"localize.method {method} needs normality.model vae or pca, not {n.model}")


def _neighbors(
    features: Sequence[tuple[int, Tensor]], config: Config, allowed: Sequence[Tensor] | None = None
) -> MemoryBank:
    """Vectors of each image, of its allowed cells only where these are given; images with too few of them stay out."""
    n, pool, generator = config.normality, config.features.pool, seeded_generator(config.seed)
    first_look = allowed is None and n.trim > 0
    chosen = [one.flatten() for one in allowed] if allowed else [None] * len(features)
    # if hardly any image keeps cells there is nothing to compare with: then all of them count
    enough = [cells is None or int(cells.sum()) >= min(FEWEST_CELLS, len(cells)) for cells in chosen]
    if sum(enough) < 2:
        allowed, chosen, enough = None, [None] * len(features), [True] * len(features)
    rows, owners = [], []
    for (index, one), cells, good in zip(features, chosen, enough, strict=True):
        if good:
            vectors = pooled(one, pool).flatten(1)
            vectors = vectors if cells is None else vectors[:, cells]
            rows.append(_exactly(vectors[:, None], n.sample_vectors, generator))
            owners.append(index)
    # what several images share no longer counts as usual once it is trimmed: then the nearest of all is the measure
    model = MemoryBank(torch.stack(rows), tuple(owners), 0.0 if allowed else n.quantile)
    # a vector of a defect has few like it too, and would hide the defect from the first look
    return model if first_look else model.with_density_normalization(n.evening)


def _chosen(features: Tensor, channels: tuple[int, ...] | None) -> Tensor:
    if channels is None or len(channels) == len(features):
        return features
    first, last = channels[0], channels[-1] + 1
    # neighboring channels, the usual case, need no copy
    return features[first:last] if last - first == len(channels) else features[list(channels)]


def _exactly(features: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` vectors of a map, count x C; a smaller map repeats some, so that all images have equally many."""
    vectors = sample_vectors(features, count, generator)
    return vectors[torch.arange(count) % len(vectors)]


def _without_border(values: FloatArray, border: int) -> FloatArray:
    border = min(border, (min(values.shape) - 1) // 2)
    if border < 1:
        return values
    out = np.zeros_like(values)
    out[border:-border, border:-border] = values[border:-border, border:-border]
    return out
