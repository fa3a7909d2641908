"""Every setting of a run: one frozen, validated section per stage, with its one default.

A default lives here and nowhere else. The description of each setting is its entry in ``docs/usage.md``. Where values
come from, and which source wins, is decided in :mod:`blemish.config.sources`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from blemish.config.fields import Folder, Odd, Section, Strides, Windows
from blemish.config.renamed import refuse_former_names
from blemish.config.sources import Source, merge, nested, read_file, to_toml

PresetName = Literal["default", "paper"]

MAX_WIDTH = 16384
"""Largest width of a layer: a matrix between two such layers takes 1 GiB."""
MAX_COUNT = 10**6
"""Largest number of samples, training steps and groups. Samples are limited by the data as well."""
MAX_PIXELS = 4096
"""Largest number of pixels in a training step of a contrastive head: all pairs of them are computed."""
MAX_IMAGES = 1000
"""Largest number of images that a training step of a contrastive head draws from."""
MAX_SIGMA = 1000.0
"""Largest standard deviation of a blur, in cells. Kernels are much smaller, so that beyond it nothing changes."""

PAPER: dict[str, dict[str, Any]] = {
    "image": {"size": 512, "resize": "stretch", "upscale": True},
    "backbone": {"strides": (8,), "border_padding": 0},
    "features": {"normalization": "image", "pool_size": 1},
    "localization": {
        "method": "vae_fca",
        "zero_border": 5,
        "border_correction": False,
        "median_windows": None,
        "score_quantile": 1.0,
    },
    "descriptor": {
        "weighting": "softmax",
        "tau": 0.002,
        "whitening_shrinkage": None,
        "shape_weight": 0.0,
        "normalize": False,
    },
    "contrastive": {
        "n_heads": 1,
        "head_weight": None,
        "threshold": "kmeans",
        "max_steps": None,
        "pixel_budget_mb": 1024,
    },
    "cluster": {"method": "ward", "score_weighting": "none"},
}
"""Where the published method differs from our defaults. docs/method.md gives the reason for each difference."""

BASIC = (
    "preset",
    "n_clusters",
    "seed",
    "device",
    "image.size",
    "image.resize",
    "backbone.name",
    "localization.method",
    "localization.threshold",
    "contrastive.n_heads",
    "cluster.method",
    "cluster.score_weighting",
    "output.maps",
    "output.overlays",
    "output.report",
    "cache.enabled",
    "cache.folder",
)
"""The settings that most users need. The documentation lists them first; all others are advanced."""


class Image(Section):
    """How images are resized before feature extraction."""

    size: int = Field(
        default=384,
        ge=32,
        le=4096,
        description="Images are scaled to the area of a square with this side, in pixels. Larger values show smaller "
        "defects and cost time in proportion to the area.",
    )
    upscale: bool = Field(
        default=False,
        description="Also enlarge images that are smaller than `image.size` asks for. If off, small images keep their size.",
    )
    resize: Literal["dataset", "image", "stretch"] = Field(
        default="dataset",
        description="`dataset`: one scale factor for all images, so that a defect has the same size in each. `image`: one "
        "factor per image. `stretch`: every image becomes a square, whatever its aspect ratio.",
    )
    max_side: int = Field(default=2048, ge=32, le=16384, description="Longest side after scaling, in pixels.")


class Backbone(Section):
    """The network that computes feature maps."""

    name: str = Field(
        default="embedded",
        min_length=1,
        max_length=512,
        description="`embedded`: the network in this package. `timm:MODEL`: a model of the extra `timm`. `random:SEED`: "
        "the embedded architecture with random weights.",
    )
    strides: Strides = Field(
        default=None,
        description="Strides of the feature maps to use; `none` means 8. Small strides show small defects and add noise.",
    )
    batch_size: int = Field(
        default=8, ge=1, le=1024, description="Images per forward pass. Larger batches need more memory."
    )
    border_padding: int = Field(
        default=32,
        ge=0,
        le=256,
        description="Width in pixels of the mirrored border that is added before the network and cropped afterwards. It "
        "includes the border that the network adds itself.",
    )
    tta_flips: bool = Field(
        default=False,
        description="Test-time augmentation: compute features of the image and of its three mirror images and average "
        "them. Feature extraction takes four times as long.",
    )


class Features(Section):
    """How feature maps are prepared before a model is fitted to them."""

    normalization: Literal["dataset", "image", "none"] = Field(
        default="dataset",
        description="Normalize each channel by its mean and standard deviation over the dataset (`dataset`), scale it to "
        "[0, 1] in each image (`image`), or leave it as it is (`none`).",
    )
    pool_size: Odd = Field(
        default=3,
        ge=1,
        le=15,
        description="Average each feature cell with its neighbors in a square window of this side, in cells; odd. 1 means "
        "no averaging. Larger windows suppress noise and blur small defects.",
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
    score_quantile: float = Field(
        default=0.99,
        gt=0,
        le=1,
        description="An image's score is this quantile of its anomaly map; 1 = maximum. Lower values ignore small defects.",
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


class Descriptor(Section):
    """One vector per image: its features, averaged where its anomaly map is high."""

    weighting: Literal["thresholded", "softmax", "average", "max"] = Field(
        default="thresholded",
        description="Pixel weights of the average. `thresholded`: how far the map exceeds a level. `softmax`: softmax of "
        "the map (published). `average`: all pixels alike. `max`: the highest pixel only.",
    )
    threshold_fraction: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="Level of `thresholded` weights, from 0 = the median map value to 1 = the automatic threshold. Lower "
        "values let more of a faint defect contribute.",
    )
    tau: Annotated[float, Field(ge=1e-9, le=1e9)] | None = Field(
        default=None,
        description="Temperature of the softmax in units of the map; `none` = computed from `relative_tau` (`softmax`).",
    )
    relative_tau: float = Field(
        default=0.15,
        ge=1e-6,
        le=1e6,
        description="Temperature as a fraction of the 99th percentile of the sampled maps, where `tau` is `none`.",
    )
    blur_size: Odd = Field(
        default=7, ge=1, le=31, description="Side of the kernel that blurs features before pooling, in cells; odd."
    )
    blur_sigma: float = Field(
        default=2.0, ge=0, le=MAX_SIGMA, description="Standard deviation of the blur before pooling, in cells."
    )
    whitening_shrinkage: Annotated[float, Field(ge=1e-6, le=1e6)] | None = Field(
        default=0.3,
        description="Whiten descriptors by the covariance of features within images. This value is the shrinkage towards "
        "the identity; larger values whiten less, `none` = off.",
    )
    shape_weight: float = Field(
        default=0.3,
        ge=0,
        le=10,
        description="Weight of the size and shape of the anomalous region relative to its appearance; 0 = appearance only.",
    )
    normalize: bool = Field(default=True, description="Scale descriptors to length 1 before clustering.")


class Contrastive(Section):
    """The contrastive heads: small networks that separate types of defects."""

    enabled: bool = Field(
        default=True, description="Train contrastive heads. If off, descriptors are clustered directly."
    )
    n_heads: int = Field(
        default=4,
        ge=1,
        le=32,
        description="Number of heads, trained from different seeds and concatenated. More heads vary less with the seed "
        "and take proportionally longer.",
    )
    head_weight: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        default=0.7,
        description="Weight of the heads' descriptors relative to the descriptors without heads; `none` = heads only "
        "(published).",
    )
    hidden: int = Field(default=256, ge=1, le=MAX_WIDTH, description="Width of the hidden layer.")
    dim: int = Field(default=32, ge=1, le=MAX_WIDTH, description="Width of the output.")
    learning_rate: float = Field(default=5e-4, gt=0, le=1, description="Learning rate of AdamW.")
    weight_decay: float = Field(default=0.01, ge=0, le=1, description="Weight decay of AdamW.")
    epochs: int = Field(default=10, ge=1, le=MAX_COUNT, description="Passes over the images.")
    max_steps: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None = Field(
        default=1500, description="Largest number of training steps per head, one image each; `none` = all epochs."
    )
    pixel_budget_mb: int = Field(
        default=128,
        ge=1,
        le=65536,
        description="Memory, in MiB, for the pixels that heads are trained on. In large datasets, fewer pixels per image "
        "are kept; what exceeds the budget is kept in a temporary file.",
    )
    threshold: Literal["scores", "kmeans"] = Field(
        default="scores",
        description="How the pixel threshold for training is chosen. `scores`: as many images exceed it as are anomalous. "
        "`kmeans`: from k-means on the descriptors (published).",
    )
    margin: float = Field(
        default=0.5,
        ge=0,
        le=1000,
        description="Squared distance beyond which dissimilar pixels are no longer pushed apart.",
    )
    n_anchors: int = Field(
        default=20,
        ge=1,
        le=MAX_PIXELS,
        description="Anomalous, and as many normal, pixels drawn from the image itself.",
    )
    n_positives: int = Field(
        default=50,
        ge=1,
        le=MAX_PIXELS,
        description="Anomalous, and as many normal, pixels drawn from the image and its neighbors.",
    )
    n_negatives: int = Field(
        default=50, ge=1, le=MAX_PIXELS, description="Anomalous pixels drawn from dissimilar images."
    )
    n_neighbors: int = Field(
        default=3, ge=1, le=MAX_IMAGES, description="Number of nearest images that count as neighbors."
    )
    n_negative_images: int = Field(
        default=5, ge=1, le=MAX_IMAGES, description="Number of dissimilar images drawn per step."
    )


class Cluster(Section):
    """From descriptors to groups."""

    method: Literal["consensus", "ward", "kmeans", "spectral", "gmm"] = Field(
        default="consensus",
        description="`consensus`: Ward clustering of many random subsamples, combined. `ward`: Ward linkage (published). "
        "`kmeans`, `spectral` and `gmm`: as in scikit-learn.",
    )
    max_clusters: int = Field(
        default=12, ge=1, le=1000, description="Largest number of groups that `n_clusters = auto` considers."
    )
    score_weighting: Literal["soft", "hard", "none"] = Field(
        default="soft",
        description="How image scores affect clustering. `soft`: descriptors shrink as the score falls below the "
        "threshold. `hard`: images below the threshold form the normal group and only the others are clustered. `none`: "
        "scores are ignored (published).",
    )
    soft_width: float = Field(
        default=0.05, gt=0, le=10, description="Width of the transition around the threshold, relative to it (`soft`)."
    )
    soft_floor: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Weight of a clearly normal image's descriptor; smaller if most images are normal (`soft`).",
    )


class Output(Section):
    """Which files are written."""

    maps: Literal["feature", "image", "none"] = Field(
        default="feature", description="Write anomaly maps at feature resolution, at image resolution, or not at all."
    )
    overlays: bool = Field(default=True, description="Write images with outlined defects. Masks are always written.")
    report: bool = Field(default=True, description="Write report.html.")


class Cache(Section):
    """Intermediate results of earlier runs. The cache never changes a result."""

    enabled: bool = Field(
        default=True, description="Store finished stages and reuse them when nothing that they depend on has changed."
    )
    folder: Folder | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="Folder of the cache; `none` = the user's cache folder.",
    )
    limit_mb: int = Field(
        default=2000,
        ge=1,
        le=10**9,
        description="Size limit in megabytes. Entries that have not been used for the longest time are removed first.",
    )
    features: bool = Field(
        default=False, description="Also store feature maps. They are large: about 1.8 MB per image at size 384."
    )


class Config(Section):
    """All settings of a run.

    ``Config(preset="paper")`` starts from the published method's values; explicit values take precedence. In Python,
    invalid values raise pydantic's ValidationError. :meth:`from_values`, :meth:`load` and :meth:`updated` raise
    ``ConfigError`` with one line instead.

    >>> Config(preset="paper", image={"size": 320}).image
    Image(size=320, upscale=True, resize='stretch', max_side=2048)
    """

    preset: PresetName = Field(
        default="default",
        description="Set of defaults to start from: `default`, or `paper` for the published method.",
    )
    n_clusters: Literal["auto"] | Annotated[int, Field(ge=1, le=MAX_COUNT)] = Field(
        default="auto", description="Number of groups, including the normal group; `auto` estimates it."
    )
    seed: int = Field(
        default=0, ge=0, le=2**32 - 1, description="Seed of all random draws. The same seed gives the same result."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where the networks run; `auto` uses a GPU if there is one."
    )
    image: Image = Field(default=Image(), description="How images are resized before feature extraction.")
    backbone: Backbone = Field(default=Backbone(), description="The network that computes feature maps.")
    features: Features = Field(default=Features(), description="How feature maps are prepared.")
    localization: Localization = Field(default=Localization(), description="From feature maps to anomaly maps.")
    descriptor: Descriptor = Field(default=Descriptor(), description="One vector per image.")
    contrastive: Contrastive = Field(default=Contrastive(), description="The contrastive heads.")
    cluster: Cluster = Field(default=Cluster(), description="From descriptors to groups.")
    output: Output = Field(default=Output(), description="Which files are written.")
    cache: Cache = Field(default=Cache(), description="Intermediate results of earlier runs.")

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        refuse_former_names(data)
        return _over(PAPER, data) if data.get("preset") == "paper" else data

    @model_validator(mode="after")
    def _check_method(self) -> Config:
        if self.localization.method.startswith("vae") and self.features.normalization == "dataset":
            raise ValueError(
                f"localization.method {self.localization.method} needs non-negative features, because its decoder ends "
                "in a ReLU: add features.normalization=image (or none)"
            )
        return self

    @classmethod
    def from_preset(cls, name: PresetName = "default") -> Config:
        """The defaults, or the published method's values."""
        return cls.from_values({"preset": name})

    @classmethod
    def from_values(cls, values: Mapping[str, Any], origin: str = "settings") -> Config:
        """Settings from nested or dotted values, such as ``{"image.size": 320}``.

        Raises:
            ConfigError: unknown key, wrong type or out of range; one line that names ``origin`` and the key.
        """
        return merge(cls, [Source(origin, values)])

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Settings from a TOML or YAML file; settings that it does not name keep the default of its preset.

        Raises:
            ConfigError: the file cannot be read, is neither TOML nor YAML, or has a key or value that does not fit.
        """
        return merge(cls, [read_file(Path(path))])

    def updated(self, **values: Any) -> Config:
        """A copy with some settings replaced, validated again.

        >>> Config().updated(**{"image.size": 320, "seed": 7}).image.size
        320
        """
        return merge(type(self), [Source("settings", self.model_dump()), Source("settings", values)])

    def to_toml(self) -> str:
        """All settings as TOML; :meth:`load` gives an equal object."""
        return to_toml(self)

    def digest(self) -> str:
        """SHA-256 of all settings that change a result or a file. Equal settings have equal digests.

        The name of the preset is left out, because its values count. The cache is left out, because it changes no result.
        """
        return self.stage_digest(*(name for name in type(self).model_fields if name not in ("preset", "cache")))

    def stage_digest(self, *names: str, without: Collection[str] = ()) -> str:
        """SHA-256 of some sections or top-level settings, for cache keys; ``without`` leaves out dotted settings.

        >>> Config().stage_digest("image") == Config(seed=3).stage_digest("image")
        True
        """
        values = self.model_dump(mode="json")
        chosen = {name: values[name] for name in names}
        for dotted in without:
            *path, key = dotted.split(".")
            del nested(chosen, path)[key]
        text = json.dumps(chosen, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _over(base: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``data`` over it, table by table."""
    merged = {**base, **data}
    for name in base.keys() & data.keys():
        if isinstance(base[name], Mapping) and isinstance(data[name], Mapping):
            merged[name] = _over(base[name], data[name])
    return merged
