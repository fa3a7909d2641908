"""All figures of a result, into one folder."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from blemish.errors import OutputError
from blemish.output.claims import explain_os_errors, refuse_inside, short
from blemish.output.figures.charts import dendrogram, scatter, score_histogram
from blemish.output.figures.pictures import Overlays, contact_sheet, maps_beside_images
from blemish.output.figures.style import FIGURE_SUFFIXES, require_matplotlib, save_figure
from blemish.output.names import file_stems
from blemish.results import Result
from blemish.runtime.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREFIX = "figure-"


def write_figures(result: Result, root: Path, out: Path) -> list[Path]:
    """Write the figures of a result as PNG and SVG.

    Args:
        result: the result, perhaps after a review.
        root: its folder, which has the pictures.
        out: folder for the figures; figures of an earlier call are replaced.

    Returns:
        The files: a sheet of each group, maps beside images, descriptors in the plane, the dendrogram, the scores.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        InputError: the folder has no overlays or maps.
        OutputError: the folder lies in the folder of the images, or cannot be written.

    Cost: t-SNE of at most 3 000 images takes about a minute.
    """
    require_matplotlib()
    if result.source is not None:
        refuse_inside(out, Path(result.source))
    with explain_os_errors(out):
        if out.exists() and not out.is_dir():
            raise OutputError(f"{short(out)}: is a file; give a folder for the figures")
        out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in _figures(result, root):
        for suffix in FIGURE_SUFFIXES:
            path = out / f"{PREFIX}{name}{suffix}"
            with explain_os_errors(path):
                written.append(write_atomically(path, functools.partial(save_figure, figure, suffix)))
    return written


def _figures(result: Result, root: Path) -> Iterator[tuple[str, Figure]]:
    """Name and figure, one at a time. Groups have their numbers in names of files, because their names can be anything."""
    overlays = Overlays(root, file_stems(result.paths))
    for label in range(result.n_clusters):
        yield f"group-{label}", contact_sheet(result, label, overlays)
    if (maps := maps_beside_images(result, overlays)) is not None:
        yield "maps", maps
    yield "tsne", scatter(result)
    if (tree := dendrogram(result)) is not None:
        yield "dendrogram", tree
    yield "scores", score_histogram(result)
