"""The labeled image set that an evaluation scores against: image files with their class and their defect mask."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError, shown

NORMAL_NAMES = frozenset({"good", "free", "normal", "ok", "healthy"})
"""Names of classes without a defect; case and surrounding spaces do not matter."""


@dataclass(frozen=True)
class LabeledSet:
    """Images with their class and mask, one entry per image, in the order of ``paths``.

    Attributes:
        name: short name for tables: the name of the category or of the folder.
        paths: the image files.
        labels: class of each image.
        masks: file of each image's defect mask; None for normal images and for images without a mask.
    """

    name: str
    paths: list[Path]
    labels: list[str]
    masks: list[Path | None]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def classes(self) -> list[str]:
        """Distinct labels: the normal ones first, then the others by name."""
        return sorted(set(self.labels), key=lambda label: (not is_normal(label), label))

    @property
    def is_anomalous(self) -> npt.NDArray[np.bool_]:
        """N bool: whether the image's class is a defect type, that is, none of :data:`NORMAL_NAMES`."""
        return np.array([not is_normal(label) for label in self.labels], dtype=np.bool_)

    @property
    def has_masks(self) -> bool:
        """Whether there is at least one mask, so that localization can be scored."""
        return any(mask is not None for mask in self.masks)

    @property
    def is_annotated(self) -> npt.NDArray[np.bool_]:
        """N bool: whether the truth is known for each pixel, because the image is normal or has a mask."""
        known = [mask is not None or is_normal(label) for mask, label in zip(self.masks, self.labels, strict=True)]
        return np.array(known, dtype=np.bool_)

    def take(self, indices: Iterable[int]) -> LabeledSet:
        """The images at the given indices, in the order of the indices."""
        chosen = list(indices)
        return replace(
            self,
            paths=[self.paths[i] for i in chosen],
            labels=[self.labels[i] for i in chosen],
            masks=[self.masks[i] for i in chosen],
        )

    def matching(self, names: Sequence[str]) -> LabeledSet:
        """The images with the given paths, in the order of the paths.

        Args:
            names: the paths of a run's result. Images that the run could not read may be missing.

        Raises:
            InputError: a path that is not in this set.
        """
        index_of = {path.as_posix(): index for index, path in enumerate(self.paths)}
        unknown = next((name for name in names if name not in index_of), None)
        if unknown is not None:
            raise InputError(
                f"{shown(unknown)}: is in the run but not in {self.name}; run on the paths of the set itself"
            )
        return self.take(index_of[name] for name in names)

    def limited(self, count: int, *, seed: int = 0) -> LabeledSet:
        """A random subset that keeps the share of each class, with at least one image per class.

        Args:
            count: the number of images; the whole set is returned if it has no more than that.
            seed: which images are drawn.

        Raises:
            InputError: ``count`` is below the number of classes.
        """
        if count >= len(self):
            return self
        classes = self.classes
        if count < len(classes):
            raise InputError(f"a limit of {count} images leaves no room for {len(classes)} classes; raise the limit")
        labels = np.array(self.labels, dtype=object)
        rng = np.random.default_rng(seed)
        queues = [rng.permutation(np.flatnonzero(labels == label)).tolist() for label in classes]
        shares = [len(queue) * count / len(self) for queue in queues]
        sizes = [1] * len(classes)
        while sum(sizes) < count:  # the class that is furthest below its share gets the next image
            open_ = [i for i in range(len(classes)) if sizes[i] < len(queues[i])]
            sizes[max(open_, key=lambda i: shares[i] - sizes[i])] += 1
        return self.take(sorted(i for queue, size in zip(queues, sizes, strict=True) for i in queue[:size]))


def is_normal(label: str) -> bool:
    """Whether a class name means "no defect".

    >>> is_normal("Good"), is_normal("crack")
    (True, False)
    """
    return label.strip().casefold() in NORMAL_NAMES
