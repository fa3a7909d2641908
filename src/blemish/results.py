"""The result of a run: plain arrays with one row per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np

from blemish.regions import Region
from blemish.runtime.spill import Arrays
from blemish.types import BoolArray, FloatArray, IntArray, Skipped

__all__ = ["UNCERTAIN", "UNSORTED", "Result", "Skipped", "Verdict"]

Verdict = Literal["normal", "please check", "anomalous"]

UNSORTED = -2
"""Number of the images that are anomalous, but of no type, in :attr:`Result.groups`."""

UNCERTAIN = 0.1, 0.9
"""An image whose probability of being anomalous lies between these needs a check: neither answer is 90 % probable."""

LARGE_MAP = 4096
"""Number of cells above which a map is that of a large image: those of a square of 512 pixels."""

_ROWS = (
    *("sizes", "scores", "is_anomalous", "labels", "distances", "descriptors"),
    *("other_labels", "anomaly_probability", "type_probability"),
)
"""Arrays with one row per image."""


class Inspector(Protocol):
    """What a result needs of the model that belongs to it: :class:`blemish.model.FittedModel`."""

    def files(self) -> dict[str, bytes]:
        """Names and contents of the files of a model folder."""

    def predict(self, images: Any) -> Result:
        """Inspect further images."""


@dataclass(frozen=True)
class Result:
    """Everything that one run found, with one row per readable image, in the order of ``paths``.

    Attributes:
        paths: N paths, relative to the input folder, with ``/`` as separator (or ``array-00001`` for arrays).
        sizes: N x 2 int, height and width of each image as stored, after EXIF orientation.
        scores: N float32, >= 0; the anomaly score of each image: a high quantile of its map before median filling.
        maps: N anomaly maps, float32 h_i x w_i, >= 0, at feature resolution, after median filling. One scale holds for the
            whole set. Large sets are kept in a temporary file; indexing and iteration read one map at a time.
        threshold: images with a score above it are anomalous, and so are pixels with a map value above it.
        is_anomalous: N bool.
        labels: N int64 in 0..n_clusters-1: the normal group first, if there is one, then the types by decreasing size. The
            clustering decides them, apart from ``is_anomalous``; :attr:`groups` reconciles the two.
        normal_label: label of the normal group; None if there is none.
        distances: N float32, distance of each descriptor to the center of its group.
        descriptors: N x D float32, the input of the clustering.
        group_by: what the groups are made of: ``defect``, local defects, or ``image``, whole surfaces.
        group_by_reason: one sentence with the evidence; None if it is not known.
        other_labels: N int64, the groups in the other view; None if they were not computed.
        source: the folder that paths are relative to, or the manifest whose folder they are relative to, as the user gave
            it; None for lists of paths and for arrays.
        regions: the anomalous regions of the anomalous images, image by image, the highest score of an image first.
        anomaly_probability: N float32 in [0, 1], probability that the image is anomalous; None if it is not known.
        type_probability: N float32 in [0, 1], probability that the image belongs to its group; None if it is not known.
        type_names: names that a person gave to groups, by label; a group without one has a number.
        skipped: files that could not be read.
        threshold_warning: shown when the anomaly decision is unreliable; None otherwise.
        drift_warning: shown when images look unlike those that the model was fitted to; None otherwise.
        n_clusters_warning: shown when there are fewer groups than the settings ask for; None otherwise.
        timings: stage -> seconds.
        info: settings, seed, versions and weight digest, as ``run.json`` repeats them.
        model: what was fitted, or used; it inspects further images.
    """

    paths: list[str]
    sizes: IntArray
    scores: FloatArray
    maps: Sequence[FloatArray]
    threshold: float
    is_anomalous: BoolArray
    labels: IntArray
    normal_label: int | None
    distances: FloatArray
    descriptors: FloatArray
    source: str | None = None
    group_by: Literal["defect", "image"] = "defect"
    group_by_reason: str | None = None
    other_labels: IntArray | None = None
    regions: list[Region] = field(default_factory=list)
    anomaly_probability: FloatArray | None = None
    type_probability: FloatArray | None = None
    type_names: dict[int, str] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    threshold_warning: str | None = None
    drift_warning: str | None = None
    n_clusters_warning: str | None = None
    timings: dict[str, float] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    model: Inspector | None = field(default=None, repr=False)

    def take(self, order: IntArray) -> Result:
        """A result of some of the rows, in another order.

        Args:
            order: M, the present row of each new one; a row at most once.
        """
        place = {int(row): new for new, row in enumerate(order)}
        rows: dict[str, Any] = {}
        for name in _ROWS:
            values = getattr(self, name)
            rows[name] = None if values is None else values[order]
        return replace(
            self,
            paths=[self.paths[i] for i in order],
            maps=self.maps.take(order) if isinstance(self.maps, Arrays) else [self.maps[i] for i in order],
            regions=sorted(
                (replace(one, image=place[one.image]) for one in self.regions if one.image in place),
                key=lambda one: one.image,
            ),
            **rows,
        )

    @property
    def has_regions(self) -> bool:
        """Whether the regions of the anomalous images are known."""
        return bool(self.regions) or not self.is_anomalous.any()

    @property
    def verdicts(self) -> list[Verdict]:
        """``please check`` for the images that :attr:`needs_check` names; ``normal`` or ``anomalous`` for the others."""
        return [
            "please check" if check else "anomalous" if anomalous else "normal"
            for check, anomalous in zip(self.needs_check, self.is_anomalous, strict=True)
        ]

    @property
    def n_clusters(self) -> int:
        """Number of groups, including the normal group."""
        return int(self.labels.max()) + 1 if len(self.labels) else 0

    @property
    def groups(self) -> IntArray:
        """The group of each image as all outputs state it, N int64.

        It is the label, with one exception: an anomalous image in the normal group is in neither that group nor a type, but
        in `UNSORTED`. No output therefore shows an anomalous image among the normal ones.
        """
        if self.normal_label is None:
            return self.labels
        return np.where(self.is_anomalous & (self.labels == self.normal_label), UNSORTED, self.labels)

    @property
    def group_numbers(self) -> list[int]:
        """The numbers of all groups in the order of outputs: the labels, then -1 and `UNSORTED` if they have images."""
        return [*range(self.n_clusters), *(number for number in (-1, UNSORTED) if (self.groups == number).any())]

    @property
    def needs_check(self) -> BoolArray:
        """Whether a person should look at each image, because the evidence on it is divided, N bool.

        That is so if score and group disagree: an unsorted image, or one with a score below the threshold in a type. If
        groups are made of whole surfaces, the score says nothing about a type. It is also so if the probability of being
        anomalous is known and `UNCERTAIN`.
        """
        check = self.groups == UNSORTED
        if self.group_by == "defect":
            check |= ~self.is_anomalous & (self.labels != self.normal_label)
        if self.anomaly_probability is not None:
            low, high = UNCERTAIN
            check |= (self.anomaly_probability > low) & (self.anomaly_probability < high)
        return check

    @property
    def input_notes(self) -> list[str]:
        """Sentences on how the images were used: by how much they were reduced, and how many have constant borders."""
        resolution, bordered = self.info.get("resolution"), self.info.get("with_borders")
        notes = []
        if isinstance(resolution, Mapping) and isinstance(resolution.get("note"), str):
            notes.append(resolution["note"])
        notes += self._small_defects_note(resolution) if isinstance(resolution, Mapping) else []
        if isinstance(bordered, int) and bordered > 0:
            count = "1 image has" if bordered == 1 else f"{bordered} images have"
            notes.append(
                f"{count} constant borders or transparent pixels, which were left out; image.borders=keep keeps them"
            )
        return notes

    def _small_defects_note(self, resolution: Mapping[str, Any]) -> list[str]:
        """A sentence on large images, where a defect of many cells can be too small to make its image anomalous."""
        try:
            settings = self.info["settings"]["localization"]
            counted = 1 - float(settings["score_quantile"])
            cells, hidden = float(resolution["cells"]), float(resolution["hidden_pixels"])
        except (KeyError, TypeError, ValueError):  # not a run of this version
            return []
        if cells <= LARGE_MAP or settings.get("smallest_defect") is not None:
            return []
        side = hidden * (counted * cells) ** 0.5
        return [
            f"images are large: a defect makes its image anomalous from about {100 * counted:.2g} % of the area on, a square "
            f"of {side:.0f} pixels; --smallest-defect PIXELS finds smaller ones"
        ]

    def cluster_name(self, label: int) -> str:
        """The name that users see: ``normal``, ``type 1``, ``type 2``, ... by decreasing size, or the name that they gave."""
        return group_name(label, self.normal_label, self.type_names)


def group_name(label: int, normal_label: int | None, names: Mapping[int, str]) -> str:
    """The name of a group that users see.

    >>> group_name(2, 0, {}), group_name(0, None, {}), group_name(1, 0, {1: "scratch"}), group_name(-1, 0, {})
    ('type 2', 'type 1', 'scratch', 'unlike anything seen')
    """
    if label in names:
        return names[label]
    if label == UNSORTED:
        return "unsorted"
    if label < 0:
        return "unlike anything seen"
    if label == normal_label:
        return "normal"
    return f"type {label + (normal_label is None)}"
