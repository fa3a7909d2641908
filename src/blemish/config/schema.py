"""All settings of a run as one frozen, validated object, and the published method's values.

A default lives here and nowhere else. The description of each setting is its entry in ``docs/settings.md``. Where values
come from, and which source wins, is decided in :mod:`blemish.config.sources`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from blemish.config.fields import MAX_COUNT, Section
from blemish.config.localization import Localization
from blemish.config.renamed import refuse_former_names
from blemish.config.sections import Backbone, Cache, Cluster, Contrastive, Descriptor, Features, Image, Output, Regions
from blemish.config.sources import Source, merge, nested, read_file, to_toml

PresetName = Literal["default", "paper"]

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
    "cluster": {"method": "ward", "group_by": "defect", "score_weighting": "none"},
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
    "localization.false_alarms",
    "localization.smallest_defect",
    "localization.rejects",
    "contrastive.n_heads",
    "cluster.group_by",
    "cluster.method",
    "output.maps",
    "output.report",
    "output.report_mode",
    "cache.enabled",
    "cache.folder",
)
"""The settings that most users need. The documentation lists them first; all others are advanced."""


class Config(Section):
    """All settings of a run.

    ``Config(preset="paper")`` starts from the published method's values; explicit values take precedence. In Python,
    invalid values raise pydantic's ValidationError. :meth:`from_values`, :meth:`load` and :meth:`updated` raise
    ``ConfigError`` with one line instead.

    >>> image = Config(preset="paper", image={"size": 320}).image
    >>> image.size, image.resize
    (320, 'stretch')
    """

    preset: PresetName = Field(
        default="default",
        description="Set of defaults to start from: `default`, or `paper` for the published method.",
    )
    n_clusters: Literal["auto"] | Annotated[int, Field(ge=1, le=MAX_COUNT)] = Field(
        default="auto",
        description=(
            "Number of groups, including the normal group; `auto` estimates it. There are never more types than anomalous "
            "images, unless `cluster.score_weighting` is none."
        ),
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
    regions: Regions = Field(default=Regions(), description="From maps to regions.")
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
    def _check_together(self) -> Config:
        if self.localization.method.startswith("vae") and self.features.normalization == "dataset":
            raise ValueError(
                f"localization.method {self.localization.method} needs non-negative features, because its decoder ends "
                "in a ReLU: add features.normalization=image (or none)"
            )
        given = self.localization
        if given.rejects and (given.threshold != "auto" or given.false_alarms is not None):
            raise ValueError(
                "localization.rejects says that every image is anomalous, so that localization.threshold and "
                "localization.false_alarms decide nothing: give one of them"
            )
        if self.image.size == "native" and self.image.resize == "stretch":
            raise ValueError(
                "image.resize stretch makes every image a square, so image.size must be a number of pixels: give one, or "
                "image.resize=dataset"
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
