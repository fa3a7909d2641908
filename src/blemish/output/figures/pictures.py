"""Pictures of images: all of one type on a sheet, and anomaly maps beside the images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from blemish.errors import InputError
from blemish.output.claims import short
from blemish.output.colors import ByteArray
from blemish.output.figures.style import caption, group_color, new_figure
from blemish.output.overlays import draw_heat, fit_within
from blemish.output.report.build import heat_scale
from blemish.results import Result
from blemish.types import IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ON_SHEET = 24
"""Images of a type on its sheet."""

COLUMNS = 6

WITH_MAPS = 3
"""Images of each type in the figure of maps."""

SIDE = 320
"""Longest side of a picture in pixels."""


class Overlays:
    """The outlined photographs of a results folder, as a run has drawn them.

    Args:
        root: the folder.
        stems: name of each image's files.

    Raises:
        InputError: the run has drawn none.
    """

    def __init__(self, root: Path, stems: list[str]) -> None:
        self._root, self._stems = root / "overlays", stems
        if not self._root.is_dir():
            raise InputError(f"{short(self._root)}: is missing; run again with output.overlays = true")

    def __call__(self, i: int) -> ByteArray | None:
        """Picture of image ``i``, at most ``SIDE`` pixels wide and high; None if there is none."""
        try:
            with Image.open(self._root / f"{self._stems[i]}.jpg") as picture:
                picture.thumbnail((SIDE, SIDE))
                return np.asarray(picture.convert("RGB"))
        except OSError:
            return None


def contact_sheet(result: Result, label: int, overlays: Overlays) -> Figure:
    """The images of one group, the most typical first."""
    chosen = typical(result, label)[:ON_SHEET]
    columns = min(COLUMNS, len(chosen))
    figure = new_figure(1.8 * columns + 0.4, 2.1 * math.ceil(len(chosen) / columns) + 0.6)
    count = int((result.labels == label).sum())
    of = f"{len(chosen)} of {count} images" if len(chosen) < count else f"{count} images"
    figure.suptitle(f"{caption(result.cluster_name(label), 24)}\n{of}", fontsize=11)
    for place, i in enumerate(chosen):
        axes = figure.add_subplot(math.ceil(len(chosen) / columns), columns, place + 1)
        _show(axes, overlays(int(i)), caption(result.paths[i], 22))
        for spine in axes.spines.values():
            spine.set(color=group_color(label, result.normal_label), linewidth=2)
    return figure


def maps_beside_images(result: Result, overlays: Overlays) -> Figure | None:
    """The most typical images of each type and their maps in one heat scale, a row per type; None if there is no type."""
    labels = [label for label in range(result.n_clusters) if label != result.normal_label]
    if not labels:
        return None
    low, high = heat_scale(result)
    figure = new_figure(3.4 * WITH_MAPS + 0.6, 1.95 * len(labels) + 0.3)
    for row, label in enumerate(labels):
        for place, i in enumerate(typical(result, label)[:WITH_MAPS]):
            first = row * 2 * WITH_MAPS + 2 * place + 1
            left, right = (figure.add_subplot(len(labels), 2 * WITH_MAPS, first + k) for k in (0, 1))
            _show(left, overlays(int(i)), caption(result.paths[i], 22))
            height, width = fit_within(int(result.sizes[i][0]), int(result.sizes[i][1]), SIDE)
            heat = draw_heat(result.maps[int(i)], low, high, height, width)
            _show(right, np.asarray(heat.convert("RGB")), f"score {result.scores[i]:.3g}")
            if place == 0:
                left.set_ylabel(caption(result.cluster_name(label), 18), fontsize=8)
    return figure


def typical(result: Result, label: int) -> IntArray:
    """Rows of the images of a group, the nearest to its center first."""
    members = np.flatnonzero(result.labels == label)
    return members[np.argsort(result.distances[members], kind="stable")]


def _show(axes: Axes, pixels: ByteArray | None, title: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=6)
    if pixels is None:
        axes.text(0.5, 0.5, "no picture", ha="center", va="center", transform=axes.transAxes, fontsize=7)
    else:
        axes.imshow(pixels)
