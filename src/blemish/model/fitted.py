"""The fitted model: everything that a run has learned, without the images, to inspect later images of the same material."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blemish import __version__
from blemish.clustering import DefectSpace, Discriminants, SurfaceSpace, TypeClassifier, View
from blemish.config.schema import Config
from blemish.config.sections import Cache, Descriptor, Output
from blemish.descriptors import DescriptorModel, Head
from blemish.entries import CACHED_CLASSES, FittedLocalization
from blemish.errors import ConfigError, InputError, shown
from blemish.images import Calibration, Images, ImageSource, Listing, WhiteLevel
from blemish.localization import Familiarity, ScoreModel
from blemish.results import Result, group_name
from blemish.runtime.atomic import write_atomically
from blemish.runtime.files import read_regular
from blemish.runtime.serialization import UnreadableEntry, from_bytes, to_bytes
from blemish.types import FloatArray

if TYPE_CHECKING:
    from blemish.backbones import Backbone
    from blemish.runtime.progress import Progress

SCHEMA, SCHEMA_VERSION = "blemish.model", 1

MODEL_FILE, DESCRIPTION_FILE = "model.safetensors", "model.json"
"""The numbers, and what a person or a program wants to know before loading them."""

MAX_MODEL_BYTES = 2**30
"""Larger files are not read."""


@dataclass(frozen=True)
class FittedModel:
    """Everything learned from one set of images. It holds no image.

    Attributes:
        config: the settings of the run; device, cache and outputs are the defaults. The path of the region of interest is
            the only one; see :meth:`with_roi`.
        weights_sha256: digest of the backbone's weights.
        calibration: how the images were read.
        localization: normalization of the features and localization model.
        sample_ids: digest of the content of each image in the memory bank -> its id there, so that an image is never
            compared with itself.
        descriptor_model: from features and map to a descriptor.
        pixels_per_image: number of pixels of each image for the heads.
        heads: the trained contrastive heads.
        score_model: the threshold on scores, and the probability that a score means anomalous.
        view: what the groups are made of.
        space: from descriptors to the vectors that were clustered.
        classifier: from these vectors to the groups.
        names: name of each group, by label; None for one that has only a number.
        counts: number of images of each group when the model was fitted.
        familiarity: how the fitted images look as a whole.
        pending: P x D float32, rows of later images that are unlike every type, for types to come.
    """

    config: Config
    weights_sha256: str
    calibration: Calibration
    localization: FittedLocalization
    sample_ids: dict[str, int]
    descriptor_model: DescriptorModel
    pixels_per_image: int
    heads: list[Head]
    score_model: ScoreModel
    view: View
    space: DefectSpace | SurfaceSpace
    classifier: TypeClassifier
    names: list[str | None]
    counts: list[int]
    familiarity: Familiarity
    pending: FloatArray

    @functools.cached_property
    def content(self) -> bytes:
        """The model as the content of ``model.safetensors``. Equal models have equal content."""
        return to_bytes(self, SCHEMA)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of :attr:`content`."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def local(self) -> bool:
        """Whether the groups are made of local defects, in place of whole images."""
        return self.view == "defect"

    @property
    def threshold(self) -> float:
        """Images with a higher score are anomalous."""
        return self.score_model.threshold

    @property
    def type_names(self) -> dict[int, str]:
        """The names that a person gave to groups, by label."""
        return {label: name for label, name in enumerate(self.names) if name is not None}

    def group_name(self, label: int) -> str:
        """The name of a group that users see."""
        return group_name(label, self.classifier.normal_label, self.type_names)

    def renamed(self, names: dict[int, str]) -> FittedModel:
        """The model with other names of groups.

        Raises:
            InputError: there is no such group, or two groups would have one name.
        """
        out = list(self.names)
        for label, name in names.items():
            if not 0 <= label < len(out):
                raise InputError(f"there is no group {label}; the model has the groups 0 to {len(out) - 1}")
            out[label] = name
        given = [name for name in out if name is not None]
        if len(set(given)) < len(given):
            raise InputError(
                f"two groups would have the name {shown(max(given, key=given.count))!r}; choose another name"
            )
        return replace(self, names=out)

    def description(self) -> dict[str, Any]:
        """Content of ``model.json``."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "blemish": __version__,
            "sha256": self.digest,
            "backbone": self.config.backbone.name,
            "weights_sha256": self.weights_sha256,
            "threshold": self.threshold,
            "group_by": self.view,
            "groups": [
                {
                    "label": label,
                    "name": self.names[label],
                    "normal": label == self.classifier.normal_label,
                    "images": count,
                }
                for label, count in enumerate(self.counts)
            ],
            "settings": self.config.model_dump(mode="json"),
        }

    def files(self) -> dict[str, bytes]:
        """Names and contents of the files of a model folder."""
        text = json.dumps(self.description(), indent=2, ensure_ascii=False) + "\n"
        return {MODEL_FILE: self.content, DESCRIPTION_FILE: text.encode()}

    def save(self, folder: str | Path) -> Path:
        """Write the model into a folder, which is made if need be; a model that is there is replaced.

        Raises:
            OSError: the folder cannot be written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files().items():
            write_atomically(folder / name, lambda stream, content=content: stream.write(content))  # type: ignore[misc]
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> FittedModel:
        """Read a model that :meth:`save`, or a run, has written. Reading runs no code from the files.

        Args:
            folder: the model's folder, or the results folder that holds it as ``model``.

        Raises:
            InputError: no model, one of a later version, or a damaged or altered one; the message says which.
        """
        folder = model_folder(folder)
        description = _read_description(folder)
        try:
            content = read_regular(folder / MODEL_FILE, MAX_MODEL_BYTES)
        except OSError as error:
            reason = error.strerror or "it cannot be read"
            raise InputError(f"{shown(folder / MODEL_FILE)}: {reason}; copy the whole model folder again") from error
        if hashlib.sha256(content).hexdigest() != description.get("sha256"):
            raise InputError(
                f"{shown(folder / MODEL_FILE)}: is not the file that {DESCRIPTION_FILE} describes: it was altered, cut short, "
                "or belongs to another model; copy the whole folder again"
            )
        try:
            return cls.from_content(content)
        except InputError as error:
            raise InputError(f"{shown(folder / MODEL_FILE)}: {error}") from error

    @classmethod
    def from_content(cls, content: bytes) -> FittedModel:
        """The model of which this is the :attr:`content`. Reading runs no code from it.

        Raises:
            InputError: the content cannot be used.
        """
        try:
            model = from_bytes(content, MODEL_CLASSES, SCHEMA)
        except UnreadableEntry as error:
            raise InputError(f"cannot be used, {error}; fit the model again") from error
        if not isinstance(model, cls):
            raise InputError("holds no model; fit the model again")
        return model

    def predict(
        self,
        images: Images | ImageSource,
        *,
        device: str = "auto",
        cache: Cache | None = None,
        progress: Progress | None = None,
        backbone: Backbone | None = None,
        exclude: Sequence[Path] = (),
    ) -> Result:
        """Inspect further images with this model; see :func:`blemish.model.prediction.predict`."""
        from blemish.model.prediction import predict

        return predict(self, images, device=device, cache=cache, progress=progress, backbone=backbone, exclude=exclude)

    def with_roi(self, roi: str | None) -> FittedModel:
        """The model for images whose mask of the region of interest, or folder of masks, is there; None: without a region."""
        image = self.config.image.model_copy(update={"roi": roi})
        return replace(self, config=self.config.model_copy(update={"image": image}))

    def source(
        self, images: Images | Listing, *, exclude: Sequence[Path] = (), shard: tuple[int, int] | None = None
    ) -> ImageSource:
        """Further images, read as the fitted ones were; see :class:`blemish.images.ImageSource`.

        Raises:
            ConfigError: the model was fitted with a region of interest whose mask is not here.
        """
        roi = self.config.image.roi
        if roi is not None and not Path(roi).expanduser().exists():
            raise ConfigError(
                f"{shown(roi)}: the model was fitted with this region of interest, which is not here; give it with --roi"
            )
        return ImageSource(images, self.config.image, exclude=exclude, calibration=self.calibration, shard=shard)


MODEL_CLASSES = (
    *CACHED_CLASSES,
    *(
        FittedModel,
        Config,
        Descriptor,
        DescriptorModel,
        Calibration,
        WhiteLevel,
        TypeClassifier,
        Discriminants,
        Familiarity,
        ScoreModel,
    ),
)
"""The classes that a model file may contain."""


def model_folder(folder: str | Path) -> Path:
    """Where the model of a folder is: the folder itself, or ``model`` in it if it is a results folder."""
    folder = Path(folder)
    inner = folder / "model"
    return inner if not holds_model(folder) and holds_model(inner) else folder


def holds_model(folder: Path) -> bool:
    """Whether a folder is that of a model."""
    return (folder / DESCRIPTION_FILE).is_file()


def without_places(config: Config) -> Config:
    """The settings as a model keeps them: without device, cache and outputs, which belong to one machine and one run."""
    return config.model_copy(update={"device": "auto", "cache": Cache(), "output": Output()})


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION_FILE
    if not folder.is_dir():
        raise InputError(
            f"{shown(folder)}: is not a folder; give the folder that blemish fit or blemish run has written"
        )
    try:
        document = json.loads(read_regular(path, 2**24))
    except FileNotFoundError:
        raise InputError(
            f"{shown(folder)}: holds no model; give the folder that blemish fit has written, or the results of blemish run"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{shown(path)}: cannot be read as JSON; copy the whole model folder again") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise InputError(f"{shown(path)}: is not the description of a model; give the folder of a model")
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        written = shown(str(document.get("blemish")))[:40]
        raise InputError(
            f"{shown(path)}: has the schema version {shown(str(version))[:40]} (blemish {written}), and this is blemish "
            f"{__version__} with version {SCHEMA_VERSION}; fit the model again, or use the version that wrote it"
        )
    return document
