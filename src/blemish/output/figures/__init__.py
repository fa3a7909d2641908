"""Figures of a result for papers and slides, drawn by matplotlib (extra ``figures``) without its global state."""

from blemish.output.figures.style import (
    FIGURE_SUFFIXES,
    MARKERS,
    group_color,
    new_figure,
    require_matplotlib,
    save_figure,
)
from blemish.output.figures.write import write_figures

__all__ = [
    "FIGURE_SUFFIXES",
    "MARKERS",
    "group_color",
    "new_figure",
    "require_matplotlib",
    "save_figure",
    "write_figures",
]
