"""Drawn defects of known types on crops of one surface, and a loss that separates the types.

Groups are made from the mean of the features over a defect minus the mean over the image. In this descriptor two defects of
one type should agree at any place and in any direction, and two types on the same surface should differ. Types are drawn at
random from twelve kinds, each with its own color, strength, width, size and edge; two types on one surface are often of the
same kind. `blemish.synthetic.demo`, which benchmarks use, draws defects in another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor
from torch.nn import functional as F

from training import augment

SIDE = augment.CROP
"""Side of a crop in pixels."""
TURNS = {"scratch": 0.03, "crack": 0.5, "thread": 0.12}
"""Kinds that are lines -> deviation of the turn at each step of 4 px, in radians."""
AREAS = ("stain", "hole", "swap", "blur", "warp", "dent", "contrast", "noise")
KINDS = (*TURNS, "spots", *AREAS)
OPERATIONS = ("color", "gain", "relief")
WINDOW = (80.0, 224.0)
"""Smallest and largest side of the windows that are scaled to `SIDE`, in pixels."""
STRIDE, EDGE = 8, 1
"""Stride of the map in the loss, and number of its cells at the border of the crop that are left out."""
TEMPERATURE = 0.15
"""Temperature of the contrastive loss."""
SPARED = (
    *("braided_0069", "braided_0102", "crosshatched_0051", "crosshatched_0053", "cracked_0046"),
    *("blotchy_0017", "bumpy_0070", "banded_0024", "blotchy_0033"),
)
"""Texture photographs on which benchmarks draw defects; they are not used as surfaces here."""

Rng = np.random.Generator
Field = NDArray[np.float32]


@dataclass(frozen=True)
class Type:
    """Properties that the defects of one type share.

    Attributes:
        kind: one of `KINDS`.
        operation: how a line, spots or a stain change the image, one of `OPERATIONS`.
        color: RGB in [0, 1].
        strength: from 0.3 to 1.
        size: radius of an area in pixels.
        width: width of a line or radius of a spot in pixels.
        soft: blur of the edge in pixels.
        detail: from 0 to 1, raggedness or, for some kinds, a second choice.
        count: number that sets how many spots or branches there are.
    """

    kind: str
    operation: str
    color: Field
    strength: float
    size: float
    width: float
    soft: float
    detail: float
    count: int


def any_type(rng: Rng) -> Type:
    """A random type."""
    gray = rng.uniform(0, 1)
    color = np.clip(gray + (rng.normal(0, 0.25, 3) if rng.random() < 0.4 else np.zeros(3)), 0, 1).astype(np.float32)
    return Type(
        kind=KINDS[rng.integers(len(KINDS))],
        operation=OPERATIONS[rng.choice(3, p=(0.5, 0.3, 0.2))],
        color=color,
        strength=float(np.exp(rng.uniform(np.log(0.3), 0))),
        size=float(np.exp(rng.uniform(np.log(5), np.log(32)))),
        width=float(np.exp(rng.uniform(np.log(0.8), np.log(6)))),
        soft=float(rng.choice([0.4, rng.uniform(0.4, 4)])),
        detail=float(rng.uniform(0, 1)),
        count=int(rng.integers(2, 14)),
    )


def line(rng: Rng, length: float, turn: float, step: float = 4.0) -> NDArray[np.float64]:
    """Points (x, y) of a line in any direction that turns by a random angle at each step; its center is 0."""
    n = max(2, int(length / step))
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, turn, n))
    points = np.cumsum(np.stack([np.cos(angle), np.sin(angle)], 1) * step, 0)
    return points - points.mean(0)


def lines(kind: Type, rng: Rng, size: float) -> list[NDArray[np.float64]]:
    """The strokes of a scratch, a crack or a thread."""
    turn = TURNS[kind.kind]
    parts = [line(rng, 2.6 * size + 14, turn)]
    if kind.kind == "crack":
        for _ in range(kind.count // 4):
            start = parts[0][rng.integers(len(parts[0]))]
            branch = line(rng, size, turn)
            parts.append(branch - branch[0] + start)
    elif kind.kind == "scratch" and kind.count > 9:
        parts.append(parts[0] + rng.normal(0, 6, 2))
    return parts


def outline(kind: Type, rng: Rng, size: float) -> NDArray[np.float64]:
    """Corners (x, y) of an area; its center is 0."""
    around = np.arange(24) * 2 * np.pi / 24
    bumps = rng.normal(0, 1, 8)
    ragged = 1 + kind.detail * 0.4 * np.interp(around, np.linspace(0, 2 * np.pi, 9), np.r_[bumps, bumps[:1]])
    aspect, turn = np.exp(rng.normal(0, 0.25)), rng.uniform(0, np.pi)
    x, y = size * ragged * np.cos(around) * aspect, size * ragged * np.sin(around) / aspect
    return np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], 1)


def place(kind: Type, rng: Rng) -> Field:
    """Mask of one defect of the type at a random place in a random direction, SIDE x SIDE in [0, 1]."""
    fine = 2  # drawn at twice the size, so that edges can lie between pixels
    image = Image.new("L", (SIDE * fine, SIDE * fine), 0)
    draw = ImageDraw.Draw(image)
    center, size = rng.uniform(28, SIDE - 28, 2), kind.size * np.exp(rng.normal(0, 0.2))
    soft = min(kind.soft, 1.2)
    if kind.kind in TURNS:
        width = max(1, round(fine * kind.width * np.exp(rng.normal(0, 0.15))))
        for part in lines(kind, rng, size):
            draw.line([(x, y) for x, y in ((part + center) * fine).tolist()], fill=255, width=width, joint="curve")
    elif kind.kind == "spots":
        for _ in range(kind.count):
            x, y = (center + rng.normal(0, size * 0.6, 2)) * fine
            r = max(1.0, fine * kind.width * np.exp(rng.normal(0, 0.2)))
            draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
    else:
        soft = kind.soft
        draw.polygon([(x, y) for x, y in ((outline(kind, rng, size) + center) * fine).tolist()], fill=255)
    mask = np.asarray(image, np.float32).reshape(SIDE, fine, SIDE, fine).mean((1, 3)) / 255
    return gaussian_filter(mask, soft).astype(np.float32)


def shading(height: Field) -> Field:
    """Shading of a relief under light from one corner, SIDE x SIDE x 1."""
    down, right = np.gradient(height)
    return (down + right).astype(np.float32)[..., None]


def paint(kind: Type, rng: Rng, image: Field, other: Field) -> tuple[Field, Field]:
    """An image with one defect of the type (SIDE x SIDE x 3, not clipped), and its mask; a swap shows ``other``."""
    mask = place(kind, rng)
    strength = float(np.clip(kind.strength * np.exp(rng.normal(0, 0.15)), 0.12, 1))
    m = mask[..., None]
    if kind.kind == "swap":
        out = image + m * strength * (other - image)
    elif kind.kind == "blur":
        sigma = 0.8 + 3 * kind.strength
        out = image + m * (gaussian_filter(image, (sigma, sigma, 0)) - image)
    elif kind.kind == "warp":
        down, right = np.array(np.gradient(gaussian_filter(mask, 3))) * (kind.width * 40 * strength)
        y, x = np.mgrid[:SIDE, :SIDE]
        moved = [map_coordinates(image[..., c], [y + down, x + right], order=1, mode="reflect") for c in range(3)]
        out = np.stack(moved, -1)
    elif kind.kind == "dent":
        side = 1 if kind.detail > 0.5 else -1
        out = image + (1 + 3 * strength) * side * shading(gaussian_filter(mask, 1 + kind.soft))
    elif kind.kind == "contrast":
        mean, factor = image.mean((0, 1)), 1 - 0.8 * strength if kind.detail < 0.6 else 1 + 2 * strength
        out = image + m * (mean + (image - mean) * factor - image)
    elif kind.kind == "noise":
        noise = gaussian_filter(rng.standard_normal((SIDE, SIDE)), 0.3 + 2 * kind.detail)
        out = image + m * (noise / (noise.std() + 1e-6) * 0.2 * strength)[..., None]
    elif kind.kind == "hole":
        out = image + m * strength * (kind.color - image) + 0.6 * strength * shading(mask)
    elif kind.operation == "color":
        out = image + m * strength * (kind.color - image)
    elif kind.operation == "gain":
        out = image * (1 + m * strength * (0.9 if kind.color[0] > 0.5 else -0.7))
    else:
        out = image + 1.2 * strength * shading(mask)
    return out.astype(np.float32), mask


class Typed:
    """Batches of crops: each surface has several types, and each type has two or more crops, one after the other.

    Args:
        surfaces: images of even surfaces, H x W x 3 uint8.
        seed: batch k depends on the seed and k alone.
    """

    def __init__(self, surfaces: Sequence[augment.Pixels], seed: int) -> None:
        self.pyramids = [(image, augment.halve(image)) for image in surfaces]
        self.seed = seed

    def crop(self, rng: Rng, index: int, size: float, angle: float, mirror: float) -> Field:
        """A window at a random place of one image, SIDE x SIDE x 3 in [0, 1]."""
        pyramid = self.pyramids[index]
        size = min(size, *pyramid[0].shape[:2])
        out = np.empty((SIDE, SIDE, 3), np.float32)
        augment.cut(pyramid, augment.somewhere(rng, pyramid[0], size), size, angle, mirror, out)
        return out / 255

    def batch(self, step: int, surfaces: int = 4, types: int = 4, each: int = 2) -> tuple[Tensor, Tensor]:
        """Batch ``step``.

        Returns:
            Crops, B x 3 x SIDE x SIDE uint8; masks, B x SIDE x SIDE float32 in [0, 1]; B = surfaces * types * each.
        """
        rng = np.random.default_rng((self.seed, 5, step))
        drawn = [crop for _ in range(surfaces) for crop in self._surface(rng, types, each)]
        images, masks = zip(*drawn, strict=True)
        crops = torch.from_numpy((np.stack(images) * 255).round().astype(np.uint8)).permute(0, 3, 1, 2)
        return crops.contiguous(), torch.from_numpy(np.stack(masks))

    def _surface(self, rng: Rng, types: int, each: int) -> list[tuple[Field, Field]]:
        """All crops of one surface with their masks, under the same light and with the same camera."""
        crops: list[tuple[Field, Field]] = []
        index, size = int(rng.integers(len(self.pyramids))), float(np.exp(rng.uniform(*np.log(WINDOW))))
        angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.3 else rng.integers(4) * np.pi / 2
        mirror = 1.0 if rng.random() < 0.5 else -1.0
        kinds = [any_type(rng) for _ in range(types)]
        if types > 1 and rng.random() < 0.4:
            kinds[1] = replace(kinds[1], kind=kinds[0].kind)  # the same kind with another look
        shown = rng.integers(len(self.pyramids), size=types)
        gray = rng.random() < 0.4
        gamma, gain = np.exp(rng.normal(0, 0.25)), np.exp(rng.uniform(np.log(0.55), np.log(1.3)))
        lift, cast = rng.uniform(-0.1, 0.1), rng.uniform(0.85, 1.15, 3).astype(np.float32)
        blur = rng.uniform(0.4, 1.2) if rng.random() < 0.25 else 0.0
        noise = rng.uniform(0.003, 0.03) if rng.random() < 0.5 else 0.0
        for kind, number in zip(kinds, shown.tolist(), strict=True):
            turned = rng.uniform(0, 2 * np.pi)
            for _ in range(each):
                image = self.crop(rng, index, size, angle, mirror)
                other = self.crop(rng, number, size, turned, 1.0) if kind.kind == "swap" else image
                image, mask = paint(kind, rng, image, other)
                if gray:
                    image = np.repeat(image.mean(-1, keepdims=True), 3, -1)
                image = np.clip(image, 0, 1) ** gamma * cast
                image = 0.5 + (image - 0.5) * gain + lift + rng.normal(0, 0.015)
                image = gaussian_filter(image, (blur, blur, 0)) if blur else image
                image = image + rng.standard_normal((SIDE, SIDE, 1)) * noise
                crops.append((np.clip(image, 0, 1).astype(np.float32), mask))
        return crops


def shares(masks: Tensor) -> Tensor:
    """B x S/8 x S/8 from B x S x S: the mean over each cell (centered on pixel (8 i, 8 j)) and its neighbors."""
    half = STRIDE // 2
    cells = F.avg_pool2d(F.pad(masks.float()[:, None], (half,) * 4), STRIDE)[:, :, : SIDE // STRIDE, : SIDE // STRIDE]
    return F.avg_pool2d(F.pad(cells, (1, 1, 1, 1)), 3, 1)[:, 0]


def type_loss(maps: Tensor, masks: Tensor, scale: Tensor, *, types: int = 4, each: int = 2) -> tuple[Tensor, Tensor]:
    """Contrastive loss between the types of each surface, and the share of crops whose nearest neighbor has their type.

    Args:
        maps: B x C x S/8 x S/8 maps of the crops of `Typed.batch`.
        masks: B x S x S.
        scale: C, deviations of the channels.
        types: types per surface.
        each: crops per type.

    Source: supervised contrastive loss (Khosla et al. 2020) within each surface, on mask-weighted means of the features minus
    the mean over the crop, which is the descriptor with the true mask in place of the anomaly map.
    """
    inner = (slice(None), slice(None), slice(EDGE, -EDGE), slice(EDGE, -EDGE))
    x = (maps.float() / scale.view(1, -1, 1, 1))[inner]
    weights = shares(masks)[:, None][inner]
    weights = weights / weights.sum((2, 3), keepdim=True).clamp(min=1e-6) - 1 / weights[0, 0].numel()
    group = types * each
    seen = F.normalize((weights * x).sum((2, 3)), dim=1).view(-1, group, x.shape[1])
    own = torch.eye(group, dtype=torch.bool, device=maps.device)
    alike = (seen @ seen.transpose(1, 2) / TEMPERATURE).masked_fill(own, -1e4)
    kind = torch.arange(group, device=maps.device) // each
    same = (kind[:, None] == kind) & ~own
    loss = -(alike.log_softmax(-1) * same).sum(-1) / same.sum(-1)
    hits = same.expand_as(alike).gather(2, alike.argmax(-1, keepdim=True))
    return loss.mean(), hits.float().mean()
