"""Images with two known defects of different types, composed of labeled images with one defect each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import binary_dilation, distance_transform_edt, find_objects, gaussian_filter, label

from blemish.evaluation.datasets import LabeledSet, read_mask
from blemish.types import BoolArray

GAP = 0.1
"""Distance between the two defects, as a share of the shorter side; parts of one defect are closer to each other."""

EDGE = 0.01
"""Width of the soft edge of what is pasted, as a share of the shorter side."""

PLACES = 300
"""Random places that are tried for a defect; the one whose surroundings it fits best is taken."""

UNLIKE = 40.0
"""Gray levels by which the surroundings of a defect may differ from those that it had, as a root mean square."""

PARTNERS = 10
"""Images that are tried beside a first one before it is given up."""

Pixels = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Composed:
    """An image with two defects.

    Attributes:
        path: the file.
        sources: indices of the two images in the set that it was composed of, in the order of the types.
        types: labels of the defect that was there and of the pasted one.
        masks: bool H x W of each of them.
    """

    path: Path
    sources: tuple[int, int]
    types: tuple[str, str]
    masks: tuple[BoolArray, BoolArray]


@dataclass(frozen=True)
class _Part:
    """One image with the part of its mask that takes part in a composition."""

    pixels: Pixels
    mask: BoolArray
    type: str

    @property
    def margin(self) -> int:
        """Width in pixels of the rim that is pasted with a defect."""
        return 3 * _pixels(self.mask, EDGE)


def compose(data: LabeledSet, folder: Path, count: int, seed: int) -> tuple[LabeledSet, list[Composed]]:
    """Compose images, and take the images that they are made of out of the set.

    The largest part of a defect is pasted into an image with a larger defect of another type, with a soft edge, where it
    is at least `GAP` away from that defect and its surroundings have a similar color. Sources must not stay in the set:
    a defect would find itself there, and would no longer be unusual.

    Args:
        data: a set with masks whose images have one type of defect each.
        folder: where the images are written, as PNG.
        count: images to compose; there are fewer if the set has too few defects that leave place for another one.
        seed: of the pairs and the places.
    """
    rng = np.random.default_rng([seed, 44])
    waiting = [int(i) for i in rng.permutation(len(data)) if data.masks[i] is not None]
    composed, used = list[Composed](), set[int]()
    while waiting and len(composed) < count:
        first = waiting.pop(0)
        for second in [i for i in waiting if data.labels[i] != data.labels[first]][:PARTNERS]:
            found = _composed(_read(data, first), _read(data, second), rng)
            if found is not None:
                path = folder / f"composed-{len(composed):03d}.png"
                pixels, masks, types = found
                Image.fromarray(np.rint(pixels).astype(np.uint8)).save(path)
                sources = (first, second) if types[0] == data.labels[first] else (second, first)
                composed.append(Composed(path, sources, types, masks))
                used |= {first, second}
                waiting.remove(second)
                break
    rest = data.take(i for i in range(len(data)) if i not in used)
    return rest, composed


def _read(data: LabeledSet, index: int) -> _Part:
    mask = data.masks[index]
    assert mask is not None
    with Image.open(data.paths[index]) as file:
        pixels = np.asarray(file.convert("RGB"), np.float64)
    return _Part(pixels, read_mask(mask).defect, data.labels[index])


def _composed(
    one: _Part, other: _Part, rng: np.random.Generator
) -> tuple[Pixels, tuple[BoolArray, BoolArray], tuple[str, str]] | None:
    """Pixels, masks and types; None if there is no place for the smaller defect in the image of the larger one."""
    receiver, giver = sorted((one, other), key=lambda part: -part.mask.sum())
    if receiver.pixels.shape != giver.pixels.shape or not giver.mask.any():
        return None
    giver = replace(giver, mask=_largest_part(giver.mask))
    place = _place(receiver, giver, rng)
    if place is None:
        return None
    window, target = place
    solid = binary_dilation(giver.mask, iterations=giver.margin // 3)
    soft = np.minimum(1, 2 * gaussian_filter(solid.astype(np.float64), giver.margin / 3))[window][..., None]
    pixels, mask = receiver.pixels.copy(), np.zeros_like(receiver.mask)
    pixels[target] += soft * (giver.pixels[window] - pixels[target])
    mask[target] = giver.mask[window]
    return pixels, (receiver.mask, mask), (receiver.type, giver.type)


def _largest_part(mask: BoolArray) -> BoolArray:
    """The largest group of the parts of a defect; parts closer to each other than two defects would be are one group."""
    groups, _ = label(distance_transform_edt(~mask) <= _pixels(mask, GAP) / 2)
    return np.asarray(mask & (groups == Counter(groups[mask].tolist()).most_common(1)[0][0]))


def _place(
    receiver: _Part, giver: _Part, rng: np.random.Generator
) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """The window of the giver that is pasted, and the window of the receiver that it covers; None if there is no place."""
    margin = giver.margin
    box = find_objects(giver.mask.astype(np.int8))[0]
    window = tuple(slice(max(0, side.start - margin), side.stop + margin) for side in box)
    rim = (binary_dilation(giver.mask, iterations=margin) & ~giver.mask)[window]
    colors, inside = giver.pixels[window][rim], giver.mask[window]
    away = distance_transform_edt(~receiver.mask)
    best, least = None, UNLIKE**2
    height, width = inside.shape
    for _ in range(PLACES):
        top, left = (
            int(rng.integers(0, size - side + 1))
            for size, side in zip(receiver.mask.shape, (height, width), strict=True)
        )
        target = slice(top, top + height), slice(left, left + width)
        if away[target][inside].min() < _pixels(receiver.mask, GAP):
            continue
        difference = float(np.square(receiver.pixels[target][rim] - colors).mean())
        if difference < least:
            best, least = target, difference
    return None if best is None else ((window[0], window[1]), best)


def _pixels(mask: BoolArray, share: float) -> int:
    """A share of the shorter side in pixels, at least 1."""
    return max(1, round(share * min(mask.shape)))
