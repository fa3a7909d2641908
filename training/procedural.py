"""Procedural surfaces for training: 13 families of texture, four kinds of defect, light and camera.

`render(rng, side)` draws one image from filtered noise, cell distances and a few drawn shapes in about 20 ms on one core.
Each family returns a field in [0, 1]; color, light, defects and camera are added to all families alike.
"""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

Field = NDArray[np.float32]
Rng = np.random.Generator


def unit(field: NDArray[np.floating]) -> Field:
    """The field with its 1st and 99th percentiles stretched to 0 and 1, clipped to [0, 1]."""
    low, high = np.percentile(field[::2, ::2], (1, 99))
    return np.clip((field - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def spectral(
    rng: Rng, side: int, gain: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
) -> Field:
    """Noise with the amplitude spectrum gain(fx, fy); frequencies are in cycles per pixel along randomly rotated axes."""
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    angle = rng.uniform(0, np.pi)
    u, v = fx * np.cos(angle) + fy * np.sin(angle), fy * np.cos(angle) - fx * np.sin(angle)
    spectrum = np.fft.rfft2(rng.standard_normal((side, side)).astype(np.float32)) * gain(u, v)
    spectrum[0, 0] = 0
    return unit(np.fft.irfft2(spectrum, s=(side, side)))


def fractal(rng: Rng, side: int) -> Field:
    """Noise with a power-law spectrum, stretched in one direction."""
    slope, stretch = rng.uniform(0.4, 2.4), np.exp(rng.uniform(0, 1.2))
    return spectral(rng, side, lambda u, v: (u * u * stretch + v * v / stretch + 1e-5) ** (-slope / 2))


def gabor(rng: Rng, side: int) -> Field:
    """Noise within a narrow band of frequencies and directions."""
    center, width, turn = (
        np.exp(rng.uniform(np.log(0.02), np.log(0.35))),
        rng.uniform(0.1, 0.6),
        rng.uniform(0.05, 1.0),
    )
    return spectral(
        rng,
        side,
        lambda u, v: np.exp(-(((np.hypot(u, v) / center - 1) / width) ** 2) - (np.arctan2(v, u) / turn) ** 2),
    )


def labyrinth(rng: Rng, side: int) -> Field:
    """Spots and stripes like those of reaction and diffusion: ring-filtered noise through a soft step."""
    center = np.exp(rng.uniform(np.log(0.015), np.log(0.2)))
    stretch = np.exp(rng.uniform(0, 0.7))
    ring = spectral(rng, side, lambda u, v: np.exp(-(((np.hypot(u * stretch, v) / center - 1) / 0.25) ** 2)))
    sharp = rng.uniform(4, 30)
    return (1 / (1 + np.exp(-sharp * (ring - rng.uniform(0.3, 0.7))))).astype(np.float32)


def brushed(rng: Rng, side: int) -> Field:
    """Long streaks in one direction, as on brushed metal."""
    long, fine = rng.uniform(30, 400), rng.uniform(0.3, 1.0)
    return spectral(rng, side, lambda u, v: np.exp(-((u * long) ** 2)) * (np.abs(v) + 0.01) ** (-fine * 0.5))


def cells(rng: Rng, side: int) -> Field:
    """Worley noise, the distance to the nearest seeds: cells, pebbles, grain boundaries, leather, veins."""
    count = int(np.exp(rng.uniform(np.log(12), np.log(1800))))
    seeds = rng.uniform(-0.1, 1.1, (count, 2))
    if rng.random() < 0.3:
        seeds[:, 0] = np.round(seeds[:, 0] * np.sqrt(count)) / np.sqrt(count)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2) / side
    near, index = cKDTree(seeds).query(grid, k=2)
    kind = rng.integers(0, 4)
    if kind == 0:
        field = near[:, 0]
    elif kind == 1:
        field = near[:, 1] - near[:, 0]
    elif kind == 2:
        field = np.minimum(near[:, 1] - near[:, 0], rng.uniform(0.1, 0.5) / np.sqrt(count))
    else:
        field = rng.random(count)[index[:, 0]]
    return unit(field.reshape(side, side))


def weave(rng: Rng, side: int) -> Field:
    """Woven cloth: two sets of threads, a float pattern, uneven spacing."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    period = np.exp(rng.uniform(np.log(3.0), np.log(28)))
    angle = rng.uniform(0, np.pi) if rng.random() < 0.5 else rng.choice([0, np.pi / 4])
    wobble = (fractal(rng, side) - 0.5) * period * rng.uniform(0, 0.8)
    u = (x * np.cos(angle) + y * np.sin(angle) + wobble) / period
    v = (y * np.cos(angle) - x * np.sin(angle) + wobble) / (period * rng.uniform(0.7, 1.4))
    floats, step = rng.integers(2, 6), rng.integers(1, 3)
    over = (np.floor(u) * step + np.floor(v)) % floats < max(1, floats // 2)
    warp, weft = np.abs(np.sin(np.pi * u)) ** 0.6, np.abs(np.sin(np.pi * v)) ** 0.6
    tone = rng.uniform(0.5, 1.0)
    return unit(np.where(over, warp, weft * tone) + 0.15 * (fractal(rng, side) - 0.5))


def tiled(rng: Rng, side: int) -> Field:
    """Bricks, planks or grids: each tile has its own tone; joints are dark, with some grain."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    width, height = np.exp(rng.uniform(np.log(8), np.log(90), 2))
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    u, v = x * np.cos(angle) + y * np.sin(angle) + 400, y * np.cos(angle) - x * np.sin(angle) + 400
    row = np.floor(v / height).astype(int)
    u = u + (row % 2) * width * rng.choice([0, 0.5])
    column = np.floor(u / width).astype(int)
    tone = rng.random((64, 64))[row % 64, column % 64] * rng.uniform(0, 0.6)
    edge = np.minimum(np.minimum(u % width, width - u % width), np.minimum(v % height, height - v % height))
    joint = np.clip(edge / rng.uniform(0.7, 4), 0, 1)
    return unit((tone + 0.6) * joint + rng.uniform(0, 0.5) * fractal(rng, side))


def wood(rng: Rng, side: int) -> Field:
    """Bent growth rings with streaks along the grain."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    bend = gaussian_filter(rng.standard_normal((side, side)), side / 12) * side / 6
    radius = (
        np.hypot(x - rng.uniform(-2, 1), (y - rng.uniform(0, 1)) / rng.uniform(2, 8)) + rng.uniform(0.01, 0.08) * bend
    )
    rings = (radius * np.exp(rng.uniform(np.log(5), np.log(60)))) % 1
    return unit(rings ** rng.uniform(0.5, 3) + 0.4 * brushed(rng, side).T)


def leaves(rng: Rng, side: int) -> Field:
    """The dead leaves model: opaque shapes with power-law sizes, later ones on top."""
    image = Image.new("L", (side, side), int(rng.integers(256)))
    draw = ImageDraw.Draw(image)
    shape, small = rng.integers(0, 3), np.exp(rng.uniform(np.log(2), np.log(12)))
    count = int(np.clip(5 * (side / small) ** 2 / 6, 150, 3000))
    sizes = np.minimum(small * rng.random(count) ** (-1 / rng.uniform(1.2, 2.5)), side / 3)
    for r in sizes:
        x, y, tone = rng.uniform(0, side), rng.uniform(0, side), int(rng.integers(256))
        if shape == 0:
            draw.ellipse((x - r, y - r, x + r, y + r), tone)
        elif shape == 1:
            draw.rectangle((x - r, y - r * 0.6, x + r, y + r * 0.6), tone)
        else:
            around = rng.uniform(0, 2 * np.pi) + np.arange(5) * 2 * np.pi / 5
            reach = r * rng.uniform(0.5, 1.4, 5)
            draw.polygon(list(zip(x + reach * np.cos(around), y + reach * np.sin(around), strict=True)), tone)
    return np.asarray(image, np.float32) / 255


def printed(rng: Rng, side: int) -> Field:
    """Halftone dots, ruled lines or lines of characters."""
    kind = rng.integers(0, 3)
    if kind < 2:
        y, x = np.mgrid[:side, :side].astype(np.float32)
        period, angle = np.exp(rng.uniform(np.log(3), np.log(24))), rng.uniform(0, np.pi)
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        wave = np.cos(2 * np.pi * u / period) + (np.cos(2 * np.pi * v / period) if kind == 0 else 0)
        level = (fractal(rng, side) - 0.5) * rng.uniform(0, 3) + rng.uniform(-1, 1)
        return np.clip((wave - level) * 4 + 0.5, 0, 1).astype(np.float32)
    image = Image.new("L", (side, side), int(rng.integers(150, 256)))
    draw, size, y0 = ImageDraw.Draw(image), int(rng.integers(8, 30)), 0
    while y0 < side:
        draw.text(
            (int(rng.integers(-20, 5)), y0),
            "".join(map(chr, rng.integers(33, 127, 60))),
            int(rng.integers(0, 120)),
            font_size=size,
        )
        y0 += int(size * 1.3)
    return np.asarray(image, np.float32) / 255


def speckle(rng: Rng, side: int) -> Field:
    """Granite, sand or terrazzo: several thresholded noises on top of each other."""
    field = 0.3 * fractal(rng, side)
    for _ in range(rng.integers(1, 4)):
        grain = gaussian_filter(
            rng.standard_normal((side, side)), np.exp(rng.uniform(np.log(0.5), np.log(4))), mode="wrap"
        )
        field = np.where(grain > np.quantile(grain[::4, ::4], rng.uniform(0.6, 0.97)), rng.uniform(0, 1), field)
    return field.astype(np.float32)


def venous(rng: Rng, side: int) -> Field:
    """A leaf: branching networks of three scales on a smooth blade."""
    field = 0.5 * fractal(rng, side)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2) / side
    grid = grid + 0.02 * np.stack(
        [gaussian_filter(rng.standard_normal((side, side)), 6).ravel() * 6 for _ in range(2)], -1
    )
    for count, weight in ((10, 1.0), (80, 0.5), (600, 0.25)):
        near, _ = cKDTree(rng.random((int(count * rng.uniform(0.5, 2)), 2))).query(grid, k=2)
        field = field + weight * np.exp(-((near[:, 1] - near[:, 0]) * side / (1 + 2 * weight))).reshape(side, side)
    return unit(field)


def plain(rng: Rng, side: int) -> Field:
    """A nearly flat surface with weak slow shading and fine grain, as of ground metal or paper."""
    slow = gaussian_filter(rng.standard_normal((side, side)), rng.uniform(8, 40), mode="wrap")
    fine = gaussian_filter(rng.standard_normal((side, side)), rng.uniform(0.4, 1.5), mode="wrap")
    return (
        (0.5 + 0.15 * rng.uniform(0, 1) * slow / slow.std() + 0.06 * rng.uniform(0.2, 1) * fine / fine.std())
        .clip(0, 1)
        .astype(np.float32)
    )


FAMILIES = (fractal, gabor, labyrinth, brushed, cells, weave, tiled, wood, leaves, printed, speckle, venous, plain)


def warp(rng: Rng, field: Field, strength: float) -> Field:
    """The field distorted smoothly by ``strength`` pixels."""
    side = field.shape[0]
    grid = np.mgrid[:side, :side].astype(np.float32)
    for axis in range(2):
        push = gaussian_filter(
            rng.standard_normal((side, side)).astype(np.float32), side / rng.uniform(6, 20), mode="wrap"
        )
        grid[axis] += strength * push / push.std()
    return map_coordinates(field, grid, order=1, mode="reflect")


def color(rng: Rng, field: Field) -> NDArray[np.float32]:
    """The field as RGB on a ramp of two to four colors, which is gray in two cases out of five."""
    stops = rng.integers(2, 5)
    palette = rng.uniform(0, 1, (stops, 3))
    palette = palette.mean(1, keepdims=True) + (palette - palette.mean(1, keepdims=True)) * rng.choice(
        [0, 0, 0.3, 0.6, 1.0]
    )
    at = np.linspace(0, 1, stops)
    return np.stack([np.interp(field, at, palette[:, c]) for c in range(3)], -1).astype(np.float32)


def stroke_mask(rng: Rng, side: int, *, branches: int, wiggle: float, width: float) -> Field:
    """Mask of random-walk lines, drawn at twice the size and reduced for smooth edges."""
    image = Image.new("L", (2 * side, 2 * side))
    draw = ImageDraw.Draw(image)
    starts = [(rng.uniform(0, 2 * side, 2), rng.uniform(0, 2 * np.pi))]
    for _ in range(branches):
        point, heading = starts[rng.integers(len(starts))]
        step, line = rng.uniform(4, 20), [tuple(point)]
        for _ in range(rng.integers(4, 40)):
            heading = heading + wiggle * rng.standard_normal()
            point = point + step * np.array([np.cos(heading), np.sin(heading)])
            line.append(tuple(point))
            starts.append((point, heading + rng.choice([-1, 1]) * rng.uniform(0.4, 1.2)))
        draw.line(line, 255, max(1, round(width)))
    return np.asarray(image.resize((side, side), Image.Resampling.BOX), np.float32) / 255


def defect_mask(rng: Rng, side: int) -> Field:
    """Soft mask of a defect (scratch, crack, stain or hole), in [0, 1]."""
    kind = rng.integers(0, 4)
    if kind == 0:
        return stroke_mask(rng, side, branches=1, wiggle=rng.uniform(0, 0.1), width=rng.uniform(1, 6))
    if kind == 1:
        return stroke_mask(
            rng, side, branches=int(rng.integers(1, 5)), wiggle=rng.uniform(0.2, 0.7), width=rng.uniform(1, 5)
        )
    y, x = np.mgrid[:side, :side]
    cy, cx = rng.uniform(0.1, 0.9, 2) * side
    radius = np.exp(rng.uniform(np.log(0.02), np.log(0.3))) * side
    distance = np.hypot(y - cy, (x - cx) * rng.uniform(0.5, 1.5)) / radius
    ragged = (fractal(rng, side) - 0.5) * rng.uniform(0, 1.5) if kind == 2 else 0
    return np.clip((1 - distance + ragged) * rng.uniform(1, 8), 0, 1).astype(np.float32)


def render(rng: Rng, side: int) -> NDArray[np.uint8]:
    """One procedural image, side x side x 3 uint8."""
    field = FAMILIES[rng.integers(len(FAMILIES))](rng, side)
    if rng.random() < 0.35:
        other, share = FAMILIES[rng.integers(len(FAMILIES))](rng, side), rng.uniform(0.1, 0.6)
        field = field * (1 - share) + other * share if rng.random() < 0.7 else field * (1 - share + share * other)
    if rng.random() < 0.3:
        field = warp(rng, field, rng.uniform(1, 10))
    rgb = color(rng, field)
    rgb = rgb.mean() + (rgb - rgb.mean()) * rng.uniform(0.15, 1.0)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        mask, tint = (
            defect_mask(rng, side)[..., None] * rng.uniform(0.15, 1),
            color(rng, rng.random((1, 1)).astype(np.float32)),
        )
        if rng.random() < 0.3:
            tint = rgb[::-1, ::-1]
        rgb = rgb * (1 - mask) + tint * mask
    if rng.random() < 0.5:
        y, x = np.mgrid[:side, :side] / side - 0.5
        slope = rng.uniform(-0.8, 0.8, 2)
        rgb = rgb * (1 + slope[0] * y + slope[1] * x)[..., None]
    rgb = rgb + rng.standard_normal(rgb.shape[:2])[..., None] * rng.choice([0, 0, 0.01, 0.04])
    if rng.random() < 0.25:
        rgb = gaussian_filter(rgb, (s := rng.uniform(0.4, 1.5), s, 0))
    out = (rgb.clip(0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.25:
        buffer = io.BytesIO()
        Image.fromarray(out).save(buffer, "JPEG", quality=int(rng.integers(30, 95)))
        out = np.asarray(Image.open(buffer))
    return out


def one(number: int, side: int, seed: int) -> NDArray[np.uint8]:
    """Image `number` of the bank with this seed, side x side x 3."""
    return render(np.random.default_rng((seed, number)), side)


def bank(count: int, side: int, seed: int, workers: int = 1) -> NDArray[np.uint8]:
    """Images as one array, count x side x side x 3; image k depends on (seed, k) alone."""
    draw = partial(one, side=side, seed=seed)
    if workers == 1:
        return np.stack([draw(k) for k in range(count)])
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return np.stack(pool.map(draw, range(count), chunksize=16))
