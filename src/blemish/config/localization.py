"""The settings from feature maps to anomaly maps: the method, its options, scores and threshold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from blemish.config.fields import (
    MAX_COUNT,
    MAX_SIGMA,
    MAX_WIDTH,
    Odd,
    Section,
    Strides,
    Windows,
)


class MemoryBankOptions(Section):
    """The memory bank of ``localization.method = knn``: feature patches of the dataset itself."""

    patches_per_image: int = Field(
        default=64,
        ge=1,
        le=MAX_COUNT,
        description="Feature patches drawn from each sampled image. More patches describe the normal texture better and "
        "cost time and memory in proportion.",
    )
    outlier_fraction: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="Fraction of all cells, the most anomalous after a first pass, that are excluded when the memory bank "
        "is drawn again. 0 means a single pass. Raise it if a large part of most images is defective.",
    )
    image_quantile: float = Field(
        default=0.03,
        ge=0,
        le=1,
        description="A cell's distance is computed to each sampled image; this quantile of these distances counts. Above "
        "0, a defect that a few images share still stands out. With outlier removal it applies to the first pass only.",
    )
    density_exponent: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="Exponent of the local density normalization, as in the local outlier factor; 0 = off, 1 = full. "
        "Higher values are more tolerant of rare but normal structures.",
    )


class VAEOptions(Section):
    """The variational autoencoder of ``localization.method`` vae_fca, vae_l1 and vae_l2."""

    patches_per_image: int = Field(
        default=512, ge=1, le=MAX_COUNT, description="Feature vectors drawn from each sampled image for training."
    )
    hidden: int = Field(default=512, ge=1, le=MAX_WIDTH, description="Width of the hidden layers.")
    latent: int = Field(
        default=128,
        ge=1,
        le=MAX_WIDTH,
        description="Width of the latent code. A wider code also reproduces rare vectors.",
    )
    steps: int = Field(default=1200, ge=1, le=MAX_COUNT, description="Training steps.")
    batch_size: int = Field(default=2048, ge=1, le=65536, description="Feature vectors per training step.")
    learning_rate: float = Field(default=1e-4, gt=0, le=1, description="Learning rate of AdamW.")
    weight_decay: float = Field(default=0.1, ge=0, le=1, description="Weight decay of AdamW.")
    kl_weight: float = Field(
        default=1e-3, ge=0, le=1e6, description="Weight of the Kullback-Leibler divergence in the loss."
    )


class PCAOptions(Section):
    """The principal component analysis of ``localization.method = pca_fca``."""

    patches_per_image: int = Field(
        default=512, ge=1, le=MAX_COUNT, description="Feature vectors drawn from each sampled image."
    )
    n_components: int = Field(
        default=32,
        ge=1,
        le=MAX_WIDTH,
        description="Principal components kept. What they do not explain is the residual.",
    )


class FCAOptions(Section):
    """Feature correspondence analysis, used by ``localization.method`` fca, vae_fca and pca_fca."""

    patch_size: Odd = Field(default=7, ge=1, le=15, description="Side of a patch in feature cells; odd.")
    sigma_s: float = Field(
        default=1.0,
        ge=0,
        le=MAX_SIGMA,
        description="Standard deviation, in cells, of the blur of the correspondence errors.",
    )
    sigma_p: float = Field(
        default=3.0, gt=0, le=MAX_SIGMA, description="Standard deviation, in cells, of the weights within a patch."
    )
    blur_size: Odd = Field(default=5, ge=1, le=31, description="Side of the kernel of both blurs, in cells; odd.")


class Localization(Section):
    """From feature maps to anomaly maps, image scores and their threshold."""

    method: Literal["knn", "vae_fca", "pca_fca", "fca", "vae_l1", "vae_l2"] = Field(
        default="knn",
        description="`knn`: distance to the nearest patches of a memory bank. `vae_fca`: FCA on the residuals of a "
        "variational autoencoder (the published BAL). `pca_fca`: FCA on what principal components do not explain. `fca`: "
        "FCA on the features. `vae_l1`, `vae_l2`: norm of the autoencoder's residuals.",
    )
    threshold: Literal["auto"] | Annotated[float, Field(ge=0, le=1e9)] = Field(
        default="auto",
        description="Score above which an image, and map value above which a pixel, is anomalous; `auto` estimates it "
        "without labels. A higher value means fewer anomalous images.",
    )
    false_alarms: Annotated[float, Field(gt=0, lt=0.5)] | None = Field(
        default=None,
        description="Share of the normal images that may be called anomalous; the automatic threshold is set so. `none`: "
        "an image is anomalous if that is more likely than not. A higher share finds more faint defects.",
    )
    rejects: bool = Field(
        default=False,
        description="Every image has a defect, as in a reject bin: all are anomalous. Where normal texture varies a lot, a "
        "reject bin cannot be told from a defect-free batch otherwise. Not together with a `threshold`.",
    )
    score_quantile: float = Field(
        default=0.99,
        gt=0,
        le=1,
        description="An image's score is this quantile of its anomaly map; 1 = maximum. Lower values ignore small defects.",
    )
    smallest_defect: Annotated[float, Field(ge=1, le=MAX_COUNT)] | None = Field(
        default=None,
        description="Side, in pixels of the stored image, of the smallest defect that makes its image anomalous. An image's "
        "score is then the map value that as many cells exceed as such a defect covers, in images of any size, and "
        "`localization.score_quantile` does not count. `none`: the quantile counts, about 1 % of the area.",
    )
    strides: Strides = Field(
        default=None,
        description="Strides, out of `backbone.strides`, from which anomaly maps are computed; `none` = 8 if present, else all.",
    )
    sample_images: int = Field(
        default=144,
        ge=1,
        le=MAX_COUNT,
        description="Largest number of images that the model is fitted to. More images take more time and memory.",
    )
    smoothing_sigma: float = Field(
        default=1.0,
        ge=0,
        le=MAX_SIGMA,
        description="Standard deviation, in cells, of the blur of the finished map; 0 = none. Larger values suppress "
        "single noisy cells and small defects.",
    )
    smoothing_size: Odd = Field(
        default=5, ge=1, le=31, description="Side of the kernel of the blur of the finished map, in cells; odd (`knn`)."
    )
    zero_border: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Width in cells of the map border that is set to zero. Defects in it are not found.",
    )
    border_correction: bool = Field(
        default=True,
        description="Correct map values near the image border that are raised in the whole dataset.",
    )
    median_windows: Windows = Field(
        default=(7, 13, 25),
        description="Raise each cell of the map to the median of its window, for each window size in turn; odd sizes in "
        "cells, `none` = off. This fills gaps within large defects. Scores are computed before it.",
    )
    memory_bank: MemoryBankOptions = Field(default=MemoryBankOptions(), description="Options of `knn`.")
    vae: VAEOptions = Field(default=VAEOptions(), description="Options of `vae_fca`, `vae_l1` and `vae_l2`.")
    pca: PCAOptions = Field(default=PCAOptions(), description="Options of `pca_fca`.")
    fca: FCAOptions = Field(default=FCAOptions(), description="Options of `fca`, `vae_fca` and `pca_fca`.")
