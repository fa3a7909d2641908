"""Drawing of surfaces with defects: an albedo and a height, lit from the upper left.

Defects change one or both, as real defects do: a scratch is a groove, a stain changes the color and keeps the relief, a
thread lies on top and casts a shadow. Place, size, orientation and strength vary. All randomness comes from the caller's
generator, and nothing is read from disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.types import BoolArray

Array = npt.NDArray[np.float64]

_LIGHT = (-0.75, -0.55)
"""Direction towards the lamp: columns, rows."""


@dataclass
class Surface:
    """A surface before it is lit and photographed; defects draw into it.

    Attributes:
        albedo: H x W x 3 in [0, 1].
        height: H x W, in pixels.
        shadow: H x W factor on the light, 1 where nothing blocks it.
        mask: H x W bool, True where the defect is.
    """

    albedo: Array
    height: Array
    shadow: Array
    mask: BoolArray

    @property
    def size(self) -> int:
        """Side of the square image in pixels."""
        return len(self.height)

    def blend(self, weight: Array, color: Sequence[float]) -> None:
        """Paint a color over the albedo with H x W weights in [0, 1]."""
        self.albedo += weight[..., None] * (np.asarray(color) - self.albedo)


def photograph(surface: Surface, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """The image of a surface under side light that is a little uneven and varies, with sensor noise; H x W x 3 in [0, 1]."""
    rows, columns = np.gradient(surface.height)
    facing = (1 - columns * _LIGHT[0] * -1 - rows * _LIGHT[1] * -1) / np.sqrt(1 + columns**2 + rows**2)
    y, x = (np.indices(surface.height.shape) + 0.5) / surface.size - 0.5
    tilt = rng.normal(0, 0.03, 2)
    lamp = rng.normal(1, 0.02) * (1 + tilt[0] * x + tilt[1] * y - 0.08 * (x * x + y * y))
    light = np.clip(0.25 + 0.75 * facing, 0.05, 1.7) * lamp * surface.shadow
    image = surface.albedo * light[..., None]
    image += rng.normal(0, 0.008, image.shape) + rng.normal(0, 0.004, (*light.shape, 1))
    return np.asarray(np.clip(image, 0, 1), dtype=np.float32)


# ---- noise and shapes


def _field(rng: np.random.Generator, size: int, across: float, along: float | None = None, angle: float = 0.0) -> Array:
    """Noise with mean 0 and deviation 1: white noise blurred by ``across`` pixels and ``along`` pixels, size x size.

    ``along`` runs in the direction ``angle`` (0 = along the rows). The noise is periodic and made by FFT, so that large
    blurs cost nothing extra.
    """
    along = across if along is None else along
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    c, s = np.cos(angle), np.sin(angle)
    squares = (along * (c * fx + s * fy)) ** 2 + (across * (c * fy - s * fx)) ** 2
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * np.exp(-2 * np.pi**2 * squares)
    noise = np.fft.irfft2(spectrum, s=(size, size))
    noise -= noise.mean()
    return np.asarray(noise / max(float(noise.std()), 1e-12))


def _turned(rng: np.random.Generator, size: int, degrees: float) -> tuple[Array, Array, float]:
    """Pixel coordinates x and y of a product that lies a little askew and is shifted at random, and the angle in radians."""
    angle = float(np.deg2rad(rng.normal(0, degrees)))
    y, x = np.indices((size, size)).astype(np.float64)
    dx, dy = rng.uniform(0, 1000, 2)
    return x * np.cos(angle) + y * np.sin(angle) + dx, y * np.cos(angle) - x * np.sin(angle) + dy, angle


def _soft(edge: Array) -> Array:
    """A smooth step that rises from 0 to 1 as its argument goes from 0 to 1."""
    t = np.clip(edge, 0, 1)
    return t * t * (3 - 2 * t)


def _somewhere(rng: np.random.Generator, size: int, margin: float = 0.1) -> Array:
    """A random point (row, column), ``margin`` of the side away from the edges."""
    return rng.uniform(margin * size, (1 - margin) * size, 2)


def _inside(rng: np.random.Generator, size: int, radius: float, rough: float) -> Array:
    """Distance in pixels to the rim of an irregular blob, positive inside."""
    center = _somewhere(rng, size)
    stretch, turn = rng.uniform(1, 1.6), rng.uniform(0, np.pi)
    y, x = np.indices((size, size)) - center[:, None, None]
    u, v = x * np.cos(turn) + y * np.sin(turn), (y * np.cos(turn) - x * np.sin(turn)) * stretch
    theta = np.arctan2(v, u)
    rim = np.ones_like(theta)
    for k in range(2, 9):
        rim += rough * rng.normal() / k * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    return np.asarray(radius * np.clip(rim, 0.35, 2) - np.hypot(u, v))


def _curve(rng: np.random.Generator, size: int, length: float, bend: float) -> Array:
    """Points (row, column) one pixel apart along a smooth random curve through the image, clipped to it."""
    steps = max(int(length), 4)
    turns = rng.normal(0, bend / np.sqrt(steps)) + np.cumsum(rng.normal(0, bend / steps, steps))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(turns / np.sqrt(steps))
    moves = np.stack([np.sin(heading), np.cos(heading)], axis=1)
    points = np.cumsum(moves, axis=0)
    points += _somewhere(rng, size) - points[steps // 2]
    return points[np.all((points > -4) & (points < size + 4), axis=1)]


def _distance(points: Array, size: int, reach: float) -> tuple[Array, Array]:
    """Distance of every pixel to a curve, up to ``reach``, and the place of the nearest point on it, from 0 to 1."""
    distance, place = np.full((size, size), float(reach)), np.zeros((size, size))
    radius = int(np.ceil(reach))
    for i, (row, column) in enumerate(points):
        top, left = max(int(row) - radius, 0), max(int(column) - radius, 0)
        window = (slice(top, max(int(row) + radius + 2, 0)), slice(left, max(int(column) + radius + 2, 0)))
        near = distance[window]
        if not near.size:
            continue
        y = np.arange(top, top + near.shape[0]) - row
        x = np.arange(left, left + near.shape[1]) - column
        away = np.sqrt(y[:, None] ** 2 + x[None] ** 2)
        closer = away < near
        near[closer] = away[closer]
        place[window][closer] = i / len(points)
    return distance, place


# ---- materials: albedo H x W x 3 and height H x W


def _tinted(base: Sequence[float], *factors: Array) -> Array:
    """A color times the product of H x W brightness factors, H x W x 3 in [0, 1]."""
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return np.asarray(np.clip(product[..., None] * np.asarray(base), 0, 1))


def _weave(rng: np.random.Generator, size: int) -> tuple[Array, Array]:
    """Plain weave: two sets of round threads that pass over and under each other."""
    pitch = 8.0
    x, y, _ = _turned(rng, size, 1.0)
    u = (x + 0.7 * _field(rng, size, 20) + 0.25 * _field(rng, size, 1, 12, np.pi / 2)) / pitch
    v = (y + 0.7 * _field(rng, size, 20) + 0.25 * _field(rng, size, 1, 12)) / pitch
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    a, b = 2 * (u - i) - 1, 2 * (v - j) - 1
    warp = 1.6 * np.sqrt(1 - 0.9 * a * a) + 1.1 * np.cos(np.pi * (v - 0.5)) * (1 - 2 * (i % 2))
    weft = 1.6 * np.sqrt(1 - 0.9 * b * b) - 1.1 * np.cos(np.pi * (u - 0.5)) * (1 - 2 * (j % 2))
    over = warp > weft
    height = np.maximum(warp, weft)
    fibers = np.where(over, _field(rng, size, 0.5, 3, np.pi / 2), _field(rng, size, 0.5, 3))
    threads = np.where(over, rng.normal(0, 0.05, 4096)[i % 4096], rng.normal(0, 0.05, 4096)[j % 4096])
    depth = 0.72 + 0.28 * _soft((height - 0.6) / 2.0)
    albedo = _tinted((0.60, 0.60, 0.57), 1 + threads, 1 + 0.06 * fibers, depth)
    albedo *= np.where(over[..., None], (1.03, 1.0, 0.95), (0.93, 0.98, 1.03))
    return np.clip(albedo, 0, 1), 0.45 * height


def _metal(rng: np.random.Generator, size: int) -> tuple[Array, Array]:
    """Brushed steel: streaks of all lengths in one direction."""
    _, _, angle = _turned(rng, size, 1.0)
    streaks = (
        _field(rng, size, 0.45, 60, angle)
        + 0.7 * _field(rng, size, 0.8, 18, angle)
        + 0.6 * _field(rng, size, 3, 120, angle)
    )
    sheen = _field(rng, size, 35, 200, angle)
    albedo = _tinted((0.60, 0.62, 0.65), 1 + 0.055 * streaks + 0.03 * sheen)
    return albedo, 0.05 * streaks


def _leather(rng: np.random.Generator, size: int) -> tuple[Array, Array]:
    """Grained leather: pebbles separated by creases, a cellular pattern on a jittered grid."""
    pitch = 9.0
    x, y, _ = _turned(rng, size, 8.0)
    u = (x + 3.0 * _field(rng, size, 7) + 1.0 * _field(rng, size, 2.5)) / pitch
    v = (y + 3.0 * _field(rng, size, 7) + 1.0 * _field(rng, size, 2.5)) / pitch
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    jitter = rng.uniform(0.1, 0.9, (64, 64, 2))
    first, second = np.full(u.shape, 9.0), np.full(u.shape, 9.0)
    for di in (-1, 0, 1):
        for dj in (-1, 0, 1):
            spot = jitter[(i + di) % 64, (j + dj) % 64]
            away = np.hypot(i + di + spot[..., 0] - u, j + dj + spot[..., 1] - v)
            second = np.minimum(second, np.maximum(first, away))
            first = np.minimum(first, away)
    pebble = _soft((second - first) / 0.45)
    height = 1.5 * pebble * (1 - 0.25 * first) + 0.10 * _field(rng, size, 0.8)
    tone = 1 + 0.04 * _field(rng, size, 30) + 0.02 * _field(rng, size, 1.2)
    return _tinted((0.50, 0.31, 0.19), tone, 0.68 + 0.32 * pebble), height


def _wood(rng: np.random.Generator, size: int) -> tuple[Array, Array]:
    """Planed wood: bent growth rings, short dark pores along the grain."""
    _, y, angle = _turned(rng, size, 1.5)
    bent = y + 5 * _field(rng, size, 18, 160, angle) + 0.6 * _field(rng, size, 2, 30, angle)
    ring = (bent / 15.0 + 0.8 * np.sin(bent / 47.0)) % 1.0
    late = ring**3 * _soft((1 - ring) / 0.12)
    fiber = _field(rng, size, 0.6, 14, angle)
    pores = _soft((_field(rng, size, 0.7, 7, angle) - 1.7) / 0.8)
    albedo = np.array([0.74, 0.55, 0.36]) * (1 - late)[..., None] + np.array([0.52, 0.33, 0.18]) * late[..., None]
    albedo *= ((1 + 0.035 * fiber + 0.03 * _field(rng, size, 25, 90, angle)) * (1 - 0.35 * pores))[..., None]
    return np.clip(albedo, 0, 1), 0.06 * fiber - 0.4 * pores


def _stone(rng: np.random.Generator, size: int) -> tuple[Array, Array]:
    """Polished terrazzo-like stone: cloudy ground with light and dark grains."""
    ground = _field(rng, size, 18) + 0.7 * _field(rng, size, 6) + 0.5 * _field(rng, size, 2)
    dark = _soft((_field(rng, size, 1.3) - 1.3) / 0.5)
    light = _soft((_field(rng, size, 1.7) - 1.4) / 0.5)
    albedo = _tinted((0.55, 0.55, 0.53), 1 + 0.035 * ground)
    albedo *= (1 - 0.42 * dark)[..., None]
    albedo += light[..., None] * 0.5 * (np.array([0.82, 0.80, 0.76]) - albedo)
    return np.clip(albedo, 0, 1), 0.10 * _field(rng, size, 1.0)


# ---- defects: draw into a surface; lengths scale with the image


def _scratch(surface: Surface, rng: np.random.Generator, scale: float) -> None:
    """A cut: a thin groove, deep and dark in the middle, with a raised light lip."""
    points = _curve(rng, surface.size, rng.uniform(45, 130) * scale, rng.uniform(0.1, 0.6))
    width = rng.uniform(1.3, 2.4) * max(scale, 0.6)
    distance, place = _distance(points, surface.size, 4 * width)
    taper = np.clip(np.minimum(place, 1 - place) * 6, 0.35, 1)
    core, lip = _soft(1.4 - distance / (width * taper)), np.exp(-((distance / (width * taper) - 1.8) ** 2) / 0.4)
    surface.height += rng.uniform(1.2, 2.2) * (0.5 * lip - core)
    surface.albedo *= (1 - rng.uniform(0.45, 0.7) * core + 0.15 * lip * (distance < 3.5 * width))[..., None]
    surface.mask |= distance < 1.6 * width


def _stain(surface: Surface, rng: np.random.Generator, scale: float) -> None:
    """A dried drop: darker and browner, darkest along its rim; the relief stays."""
    inside = _inside(rng, surface.size, rng.uniform(14, 34) * scale, 0.35)
    soak = _soft(inside / 5 + 0.5) * (0.75 + 0.25 * np.exp(-(((inside - 3) / 3) ** 2)))
    tint = np.array([0.62, 0.52, 0.38]) ** rng.uniform(0.7, 1.3)
    surface.albedo *= 1 - soak[..., None] * (1 - tint)
    surface.mask |= inside > 0


def _hole(surface: Surface, rng: np.random.Generator, scale: float) -> None:
    """A puncture: black bottom, steep wall, frayed light rim."""
    inside = _inside(rng, surface.size, rng.uniform(5, 11) * max(scale, 0.5), 0.45)
    rim = np.exp(-(((inside + 1.5) / 1.8) ** 2))
    depth = _soft(inside / 2 + 0.5)
    surface.height += 1.2 * rim - 3.0 * depth
    surface.blend(0.35 * rim, (0.85, 0.83, 0.80))
    surface.blend(0.93 * depth, (0.05, 0.045, 0.04))
    surface.mask |= inside > -2


def _thread(surface: Surface, rng: np.random.Generator, scale: float) -> None:
    """A loose light fiber that lies on top in bends and casts a shadow."""
    points = _curve(rng, surface.size, rng.uniform(80, 170) * scale, rng.uniform(2.5, 5.0))
    width = rng.uniform(1.8, 2.8) * max(scale, 0.6)
    distance, place = _distance(points, surface.size, 3 * width)
    body = _soft((1.25 - distance / width) / 0.5)
    across = np.clip(distance / width, 0, 1)
    fallen = np.roll(body, (round(1.6 * width), round(2.0 * width)), axis=(0, 1))
    surface.shadow *= 1 - 0.45 * fallen * (1 - body)
    twist = 1 + 0.08 * np.sin(place * len(points) * 1.3 + distance)
    surface.height = surface.height * (1 - body) + body * 1.5 * width * 0.5 * np.sqrt(1 - 0.95 * across**2)
    surface.blend(body, (np.array([0.90, 0.88, 0.82]) * rng.uniform(0.9, 1.05)).tolist())
    surface.albedo *= (1 + (twist - 1) * body)[..., None]
    surface.mask |= body > 0.4


def _color(surface: Surface, rng: np.random.Generator, scale: float) -> None:
    """A wrong dye: a wide patch of another hue with a soft edge; brightness and relief stay."""
    inside = _inside(rng, surface.size, rng.uniform(30, 60) * scale, 0.25)
    weight = _soft(inside / (10 * scale) + 0.5) * rng.uniform(0.75, 1.0)
    shift = np.array([1.28, 0.86, 0.78]) if rng.random() < 0.5 else np.array([1.22, 0.90, 0.88])
    surface.albedo *= 1 + weight[..., None] * (shift - 1)
    surface.mask |= inside > 0


def _fold(surface: Surface, rng: np.random.Generator, scale: float) -> None:
    """A crease: a broad ridge, nearly straight, often from edge to edge; the color stays."""
    points = _curve(rng, surface.size, rng.uniform(120, 400) * scale, rng.uniform(0.05, 0.3))
    width = rng.uniform(5, 9) * scale
    distance, place = _distance(points, surface.size, 4 * width)
    ridge = np.exp(-0.5 * (distance / width) ** 2) * _soft(np.minimum(place, 1 - place) * 8 + 0.1)
    surface.height += rng.uniform(0.9, 1.4) * width * ridge
    surface.mask |= distance < 1.5 * width


MATERIALS: dict[str, Callable[[np.random.Generator, int], tuple[Array, Array]]] = {
    "weave": _weave,
    "metal": _metal,
    "leather": _leather,
    "wood": _wood,
    "stone": _stone,
}
DEFECTS: dict[str, Callable[[Surface, np.random.Generator, float], None]] = {
    "scratch": _scratch,
    "stain": _stain,
    "hole": _hole,
    "thread": _thread,
    "color": _color,
    "fold": _fold,
}
