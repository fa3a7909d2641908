"""Names that settings and their values had in version 0.1 drafts, so that a message can give the present one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED: dict[str, str] = {
    "clusters": "n_clusters",
    "image.enlarge": "image.upscale",
    "image.mode": "image.resize",
    "backbone.flips": "backbone.tta_flips",
    "features.scaling": "features.normalization",
    "features.pool": "features.pool_size",
    "normality.model": "localization.method",
    "normality.sample_images": "localization.sample_images",
    "normality.sample_vectors": "localization.memory_bank.patches_per_image",
    "normality.trim": "localization.memory_bank.outlier_fraction",
    "normality.quantile": "localization.memory_bank.image_quantile",
    "normality.evening": "localization.memory_bank.density_exponent",
    "normality.pca_dim": "localization.pca.n_components",
    "normality.vae_hidden": "localization.vae.hidden",
    "normality.vae_latent": "localization.vae.latent",
    "normality.vae_steps": "localization.vae.steps",
    "normality.vae_batch": "localization.vae.batch_size",
    "normality.vae_lr": "localization.vae.learning_rate",
    "normality.vae_weight_decay": "localization.vae.weight_decay",
    "normality.kl_weight": "localization.vae.kl_weight",
    "localize.method": "localization.method",
    "localize.strides": "localization.strides",
    "localize.score_quantile": "localization.score_quantile",
    "localize.threshold": "localization.threshold",
    "localize.fca_patch": "localization.fca.patch_size",
    "localize.fca_sigma_s": "localization.fca.sigma_s",
    "localize.fca_sigma_p": "localization.fca.sigma_p",
    "localize.fca_blur": "localization.fca.blur_size",
    "localize.post_sigma": "localization.smoothing_sigma",
    "localize.border": "localization.zero_border",
    "localize.calibrate_border": "localization.border_correction",
    "localize.fill": "localization.median_windows",
    "descriptor.tau_fraction": "descriptor.relative_tau",
    "descriptor.whiten": "descriptor.whitening_shrinkage",
    "descriptor.geometry": "descriptor.shape_weight",
    "descriptor.normalise": "descriptor.normalize",
    "contrast.enabled": "contrastive.enabled",
    "contrast.hidden": "contrastive.hidden",
    "contrast.dim": "contrastive.dim",
    "contrast.lr": "contrastive.learning_rate",
    "contrast.weight_decay": "contrastive.weight_decay",
    "contrast.epochs": "contrastive.epochs",
    "contrast.steps": "contrastive.max_steps",
    "contrast.memory": "contrastive.pixel_budget_mb",
    "contrast.threshold": "contrastive.threshold",
    "contrast.margin": "contrastive.margin",
    "contrast.n_same": "contrastive.n_anchors",
    "contrast.n_close": "contrastive.n_positives",
    "contrast.n_counter": "contrastive.n_negatives",
    "contrast.n_near": "contrastive.n_neighbors",
    "contrast.n_counter_images": "contrastive.n_negative_images",
    "contrast.heads": "contrastive.n_heads",
    "contrast.beside": "contrastive.head_weight",
    "cluster.normal": "cluster.score_weighting",
    "cluster.gate_width": "cluster.soft_width",
    "cluster.gate_floor": "cluster.soft_floor",
}
"""Former name -> present name. A former name is an error that gives the present one; it is never accepted."""

RENAMED_VALUES: dict[str, dict[str, str]] = {
    "image.resize": {"common": "dataset", "each": "image", "squash": "stretch"},
    "features.normalization": {"set": "dataset"},
    "localization.method": {
        "neighbours": "knn",
        "bal": "vae_fca",
        "l1": "vae_l1",
        "l2": "vae_l2",
        "vae": "vae_fca",
        "pca": "pca_fca",
    },
    "descriptor.weighting": {"excess": "thresholded"},
    "cluster.score_weighting": {"gate": "soft", "split": "hard", "together": "none"},
}
"""Setting -> former value -> present value."""


def refuse_former_names(values: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` if nested values contain a former name; the message gives the present one.

    >>> refuse_former_names({"image": {"enlarge": True}})
    Traceback (most recent call last):
    ValueError: 'image.enlarge' is now called 'image.upscale'
    """
    for name, value in values.items():
        for key in (f"{name}.{one}" for one in value) if isinstance(value, Mapping) else (name,):
            if key in RENAMED:
                raise ValueError(f"'{key}' is now called '{RENAMED[key]}'")
