"""Small pictures for the page as data URIs: a photograph with outlines, and its heat map."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict

from blemish.errors import InputError, shown
from blemish.output.colors import cluster_color
from blemish.output.overlays import draw_heat, draw_overlay, fit_within
from blemish.results import Result
from blemish.types import FloatArray

SIDE = 256
"""Longest side of a photograph in pixels."""

HEAT_SIDE = 96
"""Longest side of a heat map in pixels. Maps are smooth, and the browser enlarges them smoothly."""

MAX_BYTES = 10_000
"""Size of one photograph that is aimed at: JPEG quality falls until it is met, but not below 35."""


class Picture(BaseModel):
    """One image in a gallery.

    Attributes:
        index: row of the image in the result.
        reason: why the image is shown: ``typical`` or ``high score``.
        width: width of the picture in pixels.
        height: height of the picture in pixels.
        photo: data URI of the photograph; None if there is no photograph or it could not be read.
        heat: data URI of the heat map.
    """

    model_config = ConfigDict(frozen=True)

    index: int
    path: str
    score: float
    distance: float
    reason: str
    width: int
    height: int
    photo: str | None
    heat: str


def make_picture(
    result: Result, i: int, load_image: Callable[[int], FloatArray] | None, low: float, high: float, reason: str
) -> Picture:
    """Picture of image ``i``.

    Args:
        result: the result of a run.
        i: row of the image.
        load_image: gives the image as float32 H x W x 3 in [0, 1]; None leaves the photograph out.
        low: map value of the darkest heat color.
        high: map value of the brightest heat color, the same for the whole set.
        reason: why the image is shown.
    """
    rows, columns = int(result.sizes[i][0]), int(result.sizes[i][1])
    height, width = fit_within(rows, columns, SIDE)
    photo = None
    if load_image is not None:
        group = int(result.groups[i])
        color = None if group == result.normal_label else cluster_color(group, result.normal_label)
        try:
            drawn = draw_overlay(load_image(i), np.asarray(result.maps[i]), result.threshold, color, SIDE)
            width, height = drawn.size
            photo = jpeg_uri(drawn)
        except InputError:
            photo = None
    # the heat map needs the aspect of the picture, even where the map has to be stretched
    heat_height, heat_width = fit_within(rows * HEAT_SIDE, columns * HEAT_SIDE, HEAT_SIDE)
    return Picture(
        index=i,
        path=shown(result.paths[i]),
        score=float(result.scores[i]),
        distance=float(result.distances[i]),
        reason=reason,
        width=width,
        height=height,
        photo=photo,
        heat=png_uri(draw_heat(np.asarray(result.maps[i]), low, high, heat_height, heat_width)),
    )


def jpeg_uri(picture: Image.Image) -> str:
    """JPEG as data URI, at the best of five qualities that stays within ``MAX_BYTES``."""
    data = b""
    for quality in (82, 70, 58, 46, 35):
        stream = io.BytesIO()
        picture.save(stream, format="JPEG", quality=quality, optimize=True)
        data = stream.getvalue()
        if len(data) <= MAX_BYTES:
            break
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def png_uri(picture: Image.Image) -> str:
    """PNG as data URI."""
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
