"""Features of images that are too large to be in memory as a whole: bands of rows, read one at a time.

Every function here takes the features of an image either way and gives the same numbers: a tensor C x h x w, or its bands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from blemish.features.normalization import FeatureNormalizer, pooled
from blemish.types import BoolArray, FloatArray


@dataclass(frozen=True, eq=False)
class FeatureBands:
    """Features of one image as bands of rows, from the top; each is read when it is used.

    Attributes:
        bands: C x rows x w float32 each, as they left the network.
        shapes: their shapes.
        normalizer: applied to each band when it is read; None: none.
        channels: indices of the channels that are used; None: all.
        mask: h x w bool, the cells that count; None: all.
        device: where bands are put when they are read.
    """

    bands: Sequence[FloatArray]
    shapes: Sequence[tuple[int, ...]]
    normalizer: FeatureNormalizer | None = None
    channels: Tensor | None = None
    mask: BoolArray | None = None
    device: str | torch.device = "cpu"

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the whole map."""
        return sum(rows for _, rows, _ in self.shapes), self.shapes[0][2]

    @property
    def single(self) -> bool:
        """Whether there is only one band."""
        return len(self.shapes) == 1

    def normalized(self, normalizer: FeatureNormalizer) -> FeatureBands:
        """These features after normalization, which must not depend on the image."""
        return replace(self, normalizer=normalizer)

    def selected(self, channels: tuple[int, ...] | None) -> FeatureBands:
        """Some of the channels; None: all."""
        chosen = None if channels is None or len(channels) == self.shapes[0][0] else torch.tensor(channels)
        return replace(self, channels=chosen)

    def inside(self, mask: BoolArray) -> FeatureBands:
        """The cells of a region; :func:`parts` and :func:`take_cells` then see nothing else."""
        return replace(self, mask=mask)

    def to(self, device: str | torch.device) -> FeatureBands:
        """These features on another device."""
        return replace(self, device=device)

    def whole(self) -> Tensor:
        """All bands as one tensor C x h x w, in memory."""
        return torch.cat([self._read(number) for number in range(len(self.bands))], dim=1)

    def window(self, rows: slice, columns: slice) -> Tensor:
        """A part of the map, C x rows x columns."""
        found, top = [], 0
        for number, (_, height, _) in enumerate(self.shapes):
            first, stop = max(rows.start, top), min(rows.stop, top + height)
            if first < stop:
                found.append(self._read(number)[:, first - top : stop - top, columns])
            top += height
        return torch.cat(found, dim=1)

    def pooled(self, size: int) -> Iterator[Tensor]:
        """The bands after :func:`blemish.features.normalization.pooled`, as if the whole map had been pooled."""
        reach, last = size // 2, len(self.bands) - 1
        above, here = None, self._read(0)
        for number in range(len(self.bands)):
            below = self._read(number + 1) if number < last else None
            rows = [here] if above is None else [above, here]
            together = torch.cat([*rows, below[:, :reach]] if below is not None else rows, dim=1)
            top = 0 if above is None else above.shape[1]
            yield pooled(together, size)[:, top : top + here.shape[1]]
            if below is not None:
                above, here = here[:, here.shape[1] - reach :] if reach else None, below

    def parts(self) -> Iterator[Tensor]:
        """The bands; with a region, its cells in each of them as a map of one row."""
        top = 0
        for number in range(len(self.bands)):
            band = self._read(number)
            if self.mask is None:
                yield band
            else:
                yield band[:, torch.from_numpy(self.mask[top : top + band.shape[1]])][:, None]
            top += band.shape[1]

    def positions(self) -> Tensor | None:
        """Flat position in the map of each cell of the region, ascending; None if there is no region."""
        return None if self.mask is None else torch.from_numpy(np.flatnonzero(self.mask))

    def _read(self, number: int) -> Tensor:
        band = torch.from_numpy(self.bands[number])
        band = band if self.normalizer is None else self.normalizer.apply(band)
        return (band if self.channels is None else band[self.channels]).to(self.device)


Features = Tensor | FeatureBands
"""Features of one image: C x h x w, or bands of it."""


def map_size(features: Features) -> tuple[int, int]:
    """Rows and columns of the map."""
    return features.size if isinstance(features, FeatureBands) else (features.shape[1], features.shape[2])


def cell_count(features: Features) -> int:
    """Number of cells; with a region, of those inside."""
    if isinstance(features, Tensor):
        return features[0].numel()
    own = features.positions()
    return features.size[0] * features.size[1] if own is None else len(own)


def normalized(features: Features, normalizer: FeatureNormalizer) -> Features:
    """Normalized features; bands are read for it at once only if each image is normalized by itself."""
    if isinstance(features, Tensor):
        return normalizer.apply(features)
    return normalizer.apply(features.whole()) if normalizer.method == "image" else features.normalized(normalizer)


def parts(features: Features) -> Iterator[Tensor]:
    """The features in parts, C x rows x columns each; a tensor is one part."""
    return iter([features]) if isinstance(features, Tensor) else features.parts()


def pooled_parts(features: Features, size: int) -> Iterator[Tensor]:
    """The features after :func:`blemish.features.normalization.pooled`, in parts C x rows x w."""
    return iter([pooled(features, size)]) if isinstance(features, Tensor) else features.pooled(size)


def take_cells(features: Features, places: Tensor, pool_size: int = 1) -> Tensor:
    """Feature vectors of some cells, C x n.

    Args:
        features: of one image.
        places: n flat positions among the cells of the map, or among those of its region.
        pool_size: see :func:`blemish.features.normalization.pooled`.
    """
    if isinstance(features, Tensor):
        return pooled(features, pool_size).flatten(1)[:, places]
    own = features.positions()
    places = places if own is None else own[places]
    found, first = None, 0
    for part in features.pooled(pool_size):
        flat = part.flatten(1)
        here = (places >= first) & (places < first + flat.shape[1])
        found = torch.empty(flat.shape[0], len(places)) if found is None else found
        found[:, here] = flat[:, places[here] - first]
        first += flat.shape[1]
    assert found is not None
    return found


def mean_cell(features: Features) -> Tensor:
    """The mean feature vector, C float32."""
    if isinstance(features, Tensor):
        return features.flatten(1).mean(1)
    if features.single:
        return next(features.parts()).flatten(1).mean(1)
    total, count = torch.zeros(1, dtype=torch.float64), 0
    for part in features.parts():
        total, count = total + part.flatten(1).double().sum(1), count + part[0].numel()
    return (total / count).float()
