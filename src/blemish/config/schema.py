"""Every setting of a run: one frozen, validated object per stage, with its one default.

A default lives here and nowhere else. The text of each setting feeds the settings table in ``docs/usage.md``. Where
values come from, and which source wins, is the business of :mod:`blemish.config.sources`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from blemish.config.fields import Odd, Section, Strides, Windows

PresetName = Literal["default", "paper"]

PAPER: dict[str, dict[str, Any]] = {
    "image": {"size": 512, "mode": "squash", "enlarge": True},
    "backbone": {"strides": (8,), "border_padding": 0},
    "features": {"scaling": "image", "pool": 1},
    "normality": {"model": "vae"},
    "localize": {"method": "bal", "border": 5, "calibrate_border": False, "fill": None, "score_quantile": 1.0},
    "descriptor": {"weighting": "softmax", "tau": 0.002, "whiten": None, "geometry": 0.0, "normalize": False},
    "contrast": {"heads": 1, "beside": None, "threshold": "kmeans", "steps": None, "memory": 1024},
    "cluster": {"method": "ward", "normal": "together"},
}
"""Where the published method differs from our defaults (docs/method.md says why we differ)."""


class Image(Section):
    """How images are brought to size."""

    size: int = Field(
        default=384,
        ge=32,
        le=4096,
        description="Side, in pixels, of the square with the area that images are scaled to.",
    )
    enlarge: bool = Field(default=False, description="Enlarge images that are smaller than that; otherwise they stay.")
    mode: Literal["common", "each", "squash"] = Field(
        default="common",
        description="One scale for the whole set, one per image, or a square without regard to the aspect ratio.",
    )
    max_side: int = Field(default=2048, ge=32, le=16384, description="Longest side after scaling, in pixels.")
    max_megabytes: int = Field(
        default=6000,
        ge=1,
        le=10**6,
        description="Memory that one image may take once decoded, in MB; larger images are skipped and named. One pixel "
        "takes 12 bytes and its stored bytes: a gray 8-bit image of 20 000 x 20 000 pixels takes 5200 MB.",
    )
    white_level: Literal["auto"] | Annotated[float, Field(gt=0, le=2.0**64)] = Field(
        default="auto",
        description="Stored value that counts as white, for images of more than 8 bits and of floating point; higher "
        "values are clipped. `auto` finds one level for the set.",
    )


class Backbone(Section):
    """The network that turns an image into feature maps."""

    name: str = Field(
        default="embedded",
        min_length=1,
        description="`embedded` (in the package), `timm:MODEL` with the extra `timm`, or `random:SEED`.",
    )
    strides: Strides = Field(default=None, description="Strides of the feature maps that are used; `none` = 8.")
    batch_size: int = Field(default=8, ge=1, le=1024, description="Images per pass of the network.")
    border_padding: int = Field(
        default=32,
        ge=0,
        le=256,
        description="Pixels of mirrored image on each side for the network, its own margin included, cropped afterwards.",
    )
    flips: bool = Field(
        default=False,
        description="Maps from the mean over the image and its mirror images, and descriptors from that mean as well; costs "
        "the network's time four times.",
    )


class Features(Section):
    """What happens to feature maps before anything is learned from them."""

    scaling: Literal["set", "image", "none"] = Field(
        default="set", description="Scale each channel over the whole set, over each image (min-max), or not at all."
    )
    pool: Odd = Field(
        default=3, ge=1, le=15, description="Average over this many by this many neighbors; odd, 1 = no averaging."
    )


class Normality(Section):
    """The model of what is normal, learned from the unlabeled set itself."""

    model: Literal["neighbors", "vae", "pca", "none"] = Field(
        default="neighbors",
        description="Distance to features of other images, variational autoencoder, principal components, or none.",
    )
    sample_images: int = Field(default=144, ge=1, description="Images that features are sampled from, at most.")
    sample_vectors: int = Field(
        default=64, ge=1, description="Feature vectors sampled per image; `vae` and `pca` take 8 times as many."
    )
    trim: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="Share of the sampled images' cells, the most anomalous by a first look, that are not sampled from "
        "(`neighbors`).",
    )
    quantile: float = Field(
        default=0.03,
        ge=0,
        le=1,
        description="Quantile, over the sampled images, of the distance to each image's nearest vector; with `trim` in the "
        "first look only (`neighbors`).",
    )
    evening: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="How far a distance counts in units of its neighbor's own distance to the set: 0 not, 1 fully "
        "(`neighbors`).",
    )
    pca_dim: int = Field(default=32, ge=1, description="Principal components kept (`pca`).")
    vae_hidden: int = Field(default=512, ge=1, description="Width of the hidden layers (`vae`).")
    vae_latent: int = Field(default=128, ge=1, description="Width of the code (`vae`).")
    vae_steps: int = Field(default=1200, ge=1, description="Training steps (`vae`).")
    vae_batch: int = Field(default=2048, ge=1, description="Feature vectors per training step (`vae`).")
    vae_lr: float = Field(default=1e-4, gt=0, le=1, description="Learning rate (`vae`).")
    vae_weight_decay: float = Field(default=0.1, ge=0, le=1, description="Weight decay (`vae`).")
    kl_weight: float = Field(default=1e-3, ge=0, description="Weight of the divergence term in the loss (`vae`).")


class Localize(Section):
    """From features or residuals to anomaly maps."""

    method: Literal["neighbors", "bal", "fca", "l1", "l2"] = Field(
        default="neighbors",
        description="Distances as they are, FCA on residuals (BAL), FCA on features, or the norm of the residuals.",
    )
    strides: Strides = Field(
        default=None,
        description="Those of `backbone.strides` that maps are made of; `none` = 8 if it is there, else all.",
    )
    fca_patch: Odd = Field(default=7, ge=1, le=15, description="Patch side of FCA, in feature cells; odd.")
    fca_sigma_s: float = Field(default=1.0, ge=0, description="Deviation of the blur inside FCA.")
    fca_sigma_p: float = Field(default=3.0, gt=0, description="Deviation of the patch weights of FCA.")
    fca_blur: Odd = Field(default=5, ge=1, le=31, description="Side of the blur kernel of FCA; odd.")
    post_sigma: float = Field(default=1.0, ge=0, description="Deviation of the blur of the finished map; 0 = none.")
    border: int = Field(default=0, ge=0, le=64, description="Cells along the border of the map that are set to zero.")
    calibrate_border: bool = Field(
        default=True, description="Correct for values that are higher near the border throughout the set."
    )
    fill: Windows = Field(
        default=(7, 13, 25),
        description="Sides, in cells, of windows around a cell of the finished map, whose median it has at least, one "
        "after the other; odd, `none` = no filling.",
    )
    score_quantile: float = Field(
        default=0.99, gt=0, le=1, description="Quantile of its map that is an image's score; 1 = maximum."
    )
    threshold: Literal["auto"] | Annotated[float, Field(ge=0)] = Field(
        default="auto", description="Map value above which a pixel is anomalous; `auto` finds it without labels."
    )


class Descriptor(Section):
    """One vector per image: its features averaged where it is anomalous."""

    weighting: Literal["excess", "softmax", "average", "max"] = Field(
        default="excess",
        description="Weights of the pixels: how far the map exceeds a level, softmax of the map, equal, or the highest "
        "pixel alone.",
    )
    level: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="That level: 0 = the typical map value, 1 = the threshold as `auto` finds it (`excess`).",
    )
    tau: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Temperature of the softmax in units of the map; `none` = from `tau_fraction` (`softmax`).",
    )
    tau_fraction: float = Field(
        default=0.15,
        gt=0,
        description="Temperature as a share of the 99th percentile of the sampled images' maps, where `tau` is `none`.",
    )
    blur_size: Odd = Field(
        default=7, ge=1, le=31, description="Side of the kernel that blurs features before pooling; odd."
    )
    blur_sigma: float = Field(default=2.0, ge=0, description="Deviation of that blur.")
    whiten: Annotated[float, Field(gt=0)] | None = Field(
        default=0.3,
        description="Divide out how features vary within images; the share of their mean variance that is added first "
        "(large = no effect), `none` = off.",
    )
    geometry: float = Field(
        default=0.3,
        ge=0,
        le=10,
        description="Weight of size and shape of the anomalous part beside its appearance; 0 = appearance alone.",
    )
    normalize: bool = Field(default=True, description="Scale descriptors to length 1 before clustering.")


class Contrast(Section):
    """The contrastive head."""

    enabled: bool = Field(default=True, description="Train heads on the features before the final descriptors.")
    hidden: int = Field(default=256, ge=1, description="Width of the hidden layer.")
    dim: int = Field(default=32, ge=1, description="Width of the output.")
    lr: float = Field(default=5e-4, gt=0, le=1, description="Learning rate.")
    weight_decay: float = Field(default=0.01, ge=0, le=1, description="Weight decay.")
    epochs: int = Field(default=10, ge=1, description="Passes over the images.")
    steps: Annotated[int, Field(ge=1)] | None = Field(
        default=1500, description="Most training steps of a head, one image each; `none` = all passes."
    )
    memory: int = Field(
        default=128,
        ge=1,
        le=65536,
        description="MiB for the pixels that heads see: all of few images, some of many; beyond that a temporary file.",
    )
    threshold: Literal["scores", "kmeans"] = Field(
        default="scores",
        description="As many images reach beyond a head's threshold as have a score beyond theirs, or as k-means on descriptors says.",
    )
    margin: float = Field(default=0.5, ge=0, description="Squared distance beyond which unlike pixels no longer repel.")
    n_same: int = Field(default=20, ge=1, description="Anomalous, and normal, pixels taken from the image itself.")
    n_close: int = Field(
        default=50, ge=1, description="Anomalous, and normal, pixels taken from the image and its nearest images."
    )
    n_counter: int = Field(default=50, ge=1, description="Anomalous pixels taken from far images.")
    n_near: int = Field(default=3, ge=1, description="How many nearest images count as close.")
    n_counter_images: int = Field(default=5, ge=1, description="How many far images are drawn.")
    heads: int = Field(
        default=4, ge=1, le=32, description="Heads trained from different seeds; their outputs stand side by side."
    )
    beside: Annotated[float, Field(gt=0)] | None = Field(
        default=0.7,
        description="Weight of the heads' descriptors beside those without a head; `none` = in their place.",
    )


class Cluster(Section):
    """From descriptors to groups."""

    method: Literal["consensus", "ward", "kmeans", "spectral", "gmm"] = Field(
        default="consensus",
        description="Ward linkage of many random parts of the set reconciled, Ward linkage, k-means, spectral clustering, or "
        "Gaussian mixture.",
    )
    max_clusters: int = Field(default=12, ge=1, description="Most groups that `clusters = auto` considers.")
    normal: Literal["gate", "split", "together"] = Field(
        default="gate",
        description="Descriptors fade out with the image's score below the threshold, or images below it are set aside, "
        "or the score has no say.",
    )
    gate_width: float = Field(
        default=0.05, gt=0, le=10, description="Width of that fading, as a share of the score (`gate`)."
    )
    gate_floor: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="What it leaves of a normal image's descriptor; less where normal images are in the majority (`gate`).",
    )


class Cache(Section):
    """Results of earlier runs, kept so that nothing is computed twice; never changes a result."""

    enabled: bool = Field(
        default=True, description="Keep finished stages and read them when nothing they need changed."
    )
    folder: str | None = Field(
        default=None, min_length=1, description="Where they are kept; `none` = the user's cache folder."
    )
    limit_mb: int = Field(
        default=2000, ge=1, description="Most megabytes kept; the entries unused for longest are removed."
    )
    features: bool = Field(
        default=False, description="Keep feature maps as well: large (about 1.8 MB per image at size 384)."
    )


class Output(Section):
    """What is written."""

    maps: Literal["feature", "image", "none"] = Field(
        default="feature", description="Anomaly maps at feature resolution, at image size, or not at all."
    )
    overlays: bool = Field(default=True, description="Write pictures with contours; masks are always written.")
    report: bool = Field(default=True, description="Write report.html.")


class Config(Section):
    """All settings of a run.

    ``Config(preset="paper")`` starts from the published method's values; explicit values win over the preset. In Python
    wrong values raise pydantic's ValidationError; :meth:`from_values`, :meth:`load` and :meth:`updated` raise
    ``ConfigError`` with one line.

    >>> Config(preset="paper", image={"size": 320}).image
    Image(size=320, enlarge=True, mode='squash', max_side=2048)
    """

    preset: PresetName = Field(
        default="default", description="Set of defaults to start from: ours, or the published method's."
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Seed of everything random.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where the networks run; `auto` takes a GPU if there is one."
    )
    clusters: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        default="auto", description="Number of groups, the normal one included; `auto` estimates it."
    )
    image: Image = Field(default=Image(), description="How images are brought to size.")
    backbone: Backbone = Field(default=Backbone(), description="The network that turns an image into feature maps.")
    features: Features = Field(default=Features(), description="What happens to feature maps first.")
    normality: Normality = Field(default=Normality(), description="The model of what is normal.")
    localize: Localize = Field(default=Localize(), description="From features or residuals to anomaly maps.")
    descriptor: Descriptor = Field(default=Descriptor(), description="One vector per image.")
    contrast: Contrast = Field(default=Contrast(), description="The contrastive head.")
    cluster: Cluster = Field(default=Cluster(), description="From descriptors to groups.")
    output: Output = Field(default=Output(), description="What is written.")
    cache: Cache = Field(default=Cache(), description="Results of earlier runs.")

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or data.get("preset") != "paper":
            return data
        merged = dict(data)
        for name, values in PAPER.items():
            given = data.get(name, {})
            if isinstance(given, Mapping):
                merged[name] = {**values, **given}
        return merged

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
        from blemish.config.sources import Source, merge

        return merge([Source(origin, values)])

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Settings from a TOML or YAML file; what it does not name has the default of its preset.

        Raises:
            ConfigError: not readable, not TOML or YAML, or a key or value that does not fit.
        """
        from blemish.config.sources import merge, read_file

        return merge([read_file(Path(path))])

    def updated(self, **values: Any) -> Config:
        """The same settings with some replaced and everything checked again.

        >>> Config().updated(**{"image.size": 320, "seed": 7}).image.size
        320
        """
        from blemish.config.sources import Source, merge

        return merge([Source("settings", self.model_dump()), Source("settings", values)])

    def to_toml(self) -> str:
        """All settings as TOML; :meth:`load` gives an equal object."""
        from blemish.config.sources import to_toml

        return to_toml(self)

    def digest(self) -> str:
        """sha256 of all settings that change a result or a file: equal settings have equal digests.

        The preset's name is left out: its values are what counts. So is the cache, which changes no result.
        """
        return self.stage_digest(*(name for name in type(self).model_fields if name not in ("preset", "cache")))

    def stage_digest(self, *names: str, without: Collection[str] = ()) -> str:
        """sha256 of some sections or top-level settings, for cache keys; ``without`` leaves out ``section.key`` settings.

        >>> Config().stage_digest("image") == Config(seed=3).stage_digest("image")
        True
        """
        values = self.model_dump(mode="json")
        chosen = {name: values[name] for name in names}
        for section, _, key in (name.partition(".") for name in without):
            del chosen[section][key]
        text = json.dumps(chosen, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()
