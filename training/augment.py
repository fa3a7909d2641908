"""Crops for distillation: rotated, scaled and mirrored windows of photographs and procedural images, with changes of color,
light and camera.

Batch k depends on (seed, k) alone, so that a resumed run sees the same batches as an uninterrupted one. One core makes a
batch of 32 crops of 128 px in about 50 ms; `stream` makes batches in processes of their own.
"""

from __future__ import annotations

import multiprocessing as mp
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from training import procedural

CROP = 128
"""Side of a crop in pixels."""
WINDOW = (48.0, 320.0)
"""Smallest and largest side of the window that a crop is made from, in pixels."""
Pixels = NDArray[np.uint8]
Batch = TypeVar("Batch", torch.Tensor, tuple[torch.Tensor, torch.Tensor])


def load_photographs(folder: Path, without: Collection[str] = ()) -> list[Pixels]:
    """All JPEG files of a folder in the order of their names, except the stems in ``without``; H x W x 3 each."""
    paths = (path for path in sorted(folder.glob("*.jpg")) if path.stem not in without)
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def halve(image: Pixels) -> Pixels:
    """The image at half the size, by means of 2 x 2 pixels."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    quad = image[:height, :width].reshape(height // 2, 2, width // 2, 2, 3)
    return ((quad.sum((1, 3), dtype=np.uint16) + 2) // 4).astype(np.uint8)


@numba.njit(nogil=True, fastmath=True, cache=True)
def sample(image: Pixels, cy: float, cx: float, dy: float, dx: float, mirror: float, out: NDArray[np.float32]) -> None:
    """Fill ``out`` with a bilinear crop around (cy, cx); (dy, dx) is one step to the right in the crop.

    Outside the image, the image is mirrored at its edge.
    """
    height, width = image.shape[0], image.shape[1]
    side = out.shape[0]
    for i in range(side):
        for j in range(side):
            u, v = (i - 0.5 * (side - 1)), mirror * (j - 0.5 * (side - 1))
            y, x = cy + u * dx + v * dy, cx - u * dy + v * dx
            y, x = abs(y), abs(x)
            y, x = (height - 1) - abs((height - 1) - y), (width - 1) - abs((width - 1) - x)
            y, x = min(max(y, 0.0), height - 1.001), min(max(x, 0.0), width - 1.001)
            y0, x0 = int(y), int(x)
            fy, fx = y - y0, x - x0
            for c in range(3):
                top = image[y0, x0, c] * (1 - fx) + image[y0, x0 + 1, c] * fx
                low = image[y0 + 1, x0, c] * (1 - fx) + image[y0 + 1, x0 + 1, c] * fx
                out[i, j, c] = top * (1 - fy) + low * fy


def somewhere(rng: np.random.Generator, image: Pixels, size: float) -> tuple[float, float]:
    """Random center of a window of ``size`` pixels that lies within the image unless it is rotated."""
    cy, cx = (rng.uniform(size / 2, side - size / 2 + 1e-6) for side in image.shape[:2])
    return cy, cx


def cut(
    pyramid: Sequence[Pixels],
    center: tuple[float, float],
    size: float,
    angle: float,
    mirror: float,
    out: NDArray[np.float32],
) -> None:
    """Fill one crop with the window of ``size`` pixels around ``center``, from the better one of two pyramid levels."""
    scale = size / out.shape[0]
    level = 1 if scale > 1.4 else 0
    cy, cx, scale = (value / 2**level for value in (*center, scale))
    sample(pyramid[level], cy, cx, scale * np.sin(angle), scale * np.cos(angle), mirror, out)


def window(rng: np.random.Generator, pyramid: Sequence[Pixels], out: NDArray[np.float32]) -> None:
    """Fill one crop from a pyramid of two levels; half the crops are rotated freely, half by quarter turns."""
    size = min(np.exp(rng.uniform(*np.log(WINDOW))), *pyramid[0].shape[:2])
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else rng.integers(4) * np.pi / 2
    center = somewhere(rng, pyramid[0], size)
    cut(pyramid, center, size, angle, 1.0 if rng.random() < 0.5 else -1.0, out)


def blurred(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """B x 3 x S x S blurred by a Gaussian of ``sigma`` pixels."""
    reach = max(1, round(2.5 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float32) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1).expand(3, 1, 1, -1)
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), mode="reflect"), kernel, groups=3)
    return F.conv2d(F.pad(x, (0, 0, reach, reach), mode="reflect"), kernel.transpose(2, 3), groups=3)


def photometry(rng: np.random.Generator, x: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """B x 3 x S x S in [0, 1] with pasted defects and changes of color, light and camera, rounded to 8 bits."""
    count = x.shape[0]

    def draw(low: float, high: float, share: float, rest: float) -> torch.Tensor:
        values = np.where(rng.random(count) < share, rng.uniform(low, high, count), rest)
        return torch.from_numpy(values.astype(np.float32)).view(-1, 1, 1, 1)

    paste = draw(0.2, 1.0, 0.3, 0.0) * masks[rng.integers(len(masks), size=count)].float()[:, None] / 255
    x = x + paste * (x[torch.from_numpy(rng.permutation(count))] - x)
    luma = x.mean(1, keepdim=True)
    x = luma + (x - luma) * draw(0.0, 1.6, 0.6, 1.0) * draw(0.0, 0.0, 0.25, 1.0)  # a quarter is gray
    x = x ** draw(0.5, 2.0, 0.4, 1.0)
    mean = x.mean((1, 2, 3), keepdim=True)
    contrast = torch.exp(torch.from_numpy(rng.uniform(np.log(0.12), np.log(1.6), count).astype(np.float32))).view(
        -1, 1, 1, 1
    )
    contrast = torch.where(draw(1.0, 1.0, 0.6, 0.0) > 0, contrast, 1.0)
    x = mean + (x - mean) * contrast + draw(-0.3, 0.3, 0.5, 0.0)
    cast = torch.from_numpy(rng.uniform(0.7, 1.3, (count, 3, 1, 1)).astype(np.float32))
    x = torch.where(draw(1.0, 1.0, 0.25, 0.0) > 0, x * cast, x)
    ramp = torch.linspace(-1, 1, CROP)
    x = x * (1 + draw(-0.5, 0.5, 0.3, 0.0) * ramp.view(1, 1, -1, 1) + draw(-0.5, 0.5, 0.3, 0.0) * ramp)
    order = torch.from_numpy(rng.permutation(count))
    fifth = count // 6
    for part, sigma in ((order[:fifth], rng.uniform(0.4, 0.9)), (order[fifth : 2 * fifth], rng.uniform(0.9, 2.0))):
        x[part] = blurred(x[part], sigma)
    noise = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
    noise = torch.where(draw(1.0, 1.0, 0.7, 0.0) > 0, noise[:, :1], noise)
    x = x + noise * draw(0.002, 0.05, 0.4, 0.0)
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


class Crops:
    """Batches of crops from photographs and procedural images; ``share`` is the share of the latter."""

    def __init__(self, photographs: Sequence[Pixels], drawn: Sequence[Pixels], seed: int, share: float = 0.25) -> None:
        self.photographs = [(image, halve(image)) for image in photographs]
        self.drawn = [(image, halve(image)) for image in drawn]
        self.seed, self.share = seed, share
        rng = np.random.default_rng((seed, 7))
        self.masks = torch.from_numpy(np.stack([procedural.defect_mask(rng, CROP) for _ in range(400)]) * 255).to(
            torch.uint8
        )

    def batch(self, step: int, count: int) -> torch.Tensor:
        """Batch `step`: count x 3 x 128 x 128 uint8."""
        rng = np.random.default_rng((self.seed, step))
        out = np.empty((count, CROP, CROP, 3), np.float32)
        for k in range(count):
            source = self.drawn if rng.random() < self.share else self.photographs
            window(rng, source[rng.integers(len(source))], out[k])
        return photometry(rng, torch.from_numpy(out).permute(0, 3, 1, 2) / 255, self.masks)


def _make_batches(make: Callable[[int], Batch], steps: range, queue: mp.Queue[Any]) -> None:
    torch.set_num_threads(1)
    for step in steps:
        made = make(step)
        queue.put(tuple(part.numpy() for part in made) if isinstance(made, tuple) else made.numpy())


def ahead(make: Callable[[int], Batch], first: int, last: int, workers: int = 1) -> Iterator[Batch]:
    """make(first) to make(last - 1) in order, made a few ahead by forked processes.

    The processes must be forked before this process uses PyTorch's threads.
    """
    context = mp.get_context("fork")
    queues: list[mp.Queue[Any]] = [context.Queue(4) for _ in range(workers)]
    processes = [
        context.Process(target=_make_batches, args=(make, range(first + k, last, workers), queue), daemon=True)
        for k, queue in enumerate(queues)
    ]
    for process in processes:
        process.start()
    try:
        for step in range(first, last):
            made = queues[(step - first) % workers].get()
            yield tuple(map(torch.from_numpy, made)) if isinstance(made, tuple) else torch.from_numpy(made)
    finally:
        for process in processes:
            process.terminate()


def stream(crops: Crops, first: int, last: int, count: int, workers: int = 1) -> Iterator[torch.Tensor]:
    """Batches first to last - 1, made in processes of their own."""
    return ahead(partial(crops.batch, count=count), first, last, workers)
