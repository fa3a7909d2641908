"""What all figures share: colors with a second cue for gray print, text that any name can be, and equal bytes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, BinaryIO

from blemish.errors import MissingDependencyError
from blemish.output.colors import cluster_color

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_SUFFIXES = (".png", ".svg")

MARKERS = "osD^vPX"
"""Marker of each type, in turn: types differ in gray print too."""

HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "---")
"""Filling of each type, in turn."""

_FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Noto Sans", "Noto Emoji")
"""Fonts that are tried for the letters of a name, those that are installed."""


def require_matplotlib() -> None:
    """Check before any work that matplotlib is installed.

    Raises:
        MissingDependencyError: it is not installed; the message says how to install it.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("figures need matplotlib: pip install 'blemish[figures]'") from error


def new_figure(width: float, height: float) -> Figure:
    """An empty figure whose parts make room for each other's text; sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def group_color(label: int, normal_label: int | None = None) -> tuple[float, ...]:
    """Color of a group as matplotlib takes it, the same as in overlays and report."""
    return tuple(part / 255 for part in cluster_color(label, normal_label))


def turn(label: int, normal_label: int | None, cues: str | tuple[str, ...]) -> str:
    """The marker or the filling of a group: the first one for normal images, the others in turn for the types."""
    if label == normal_label:
        return cues[0]
    rank = label - (normal_label is not None and label > normal_label)
    return cues[1 + rank % (len(cues) - 1)]


def save_figure(figure: Figure, suffix: str, stream: BinaryIO) -> None:
    """Write a figure as ``.png`` or ``.svg``; equal figures give equal bytes."""
    import matplotlib

    with matplotlib.rc_context(
        {"svg.hashsalt": "blemish", "svg.fonttype": "path", "font.sans-serif": list(installed_fonts())}
    ):
        metadata: dict[str, Any] = {"Date": None} if suffix == ".svg" else {"Software": None}
        figure.savefig(stream, format=suffix[1:], dpi=150, metadata=metadata)


@functools.cache
def installed_fonts() -> dict[str, frozenset[int]]:
    """The fonts that are used, each with the characters that it has."""
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    files = {font.name: font.fname for font in reversed(fontManager.ttflist)}
    return {name: frozenset(FT2Font(files[name]).get_charmap()) for name in _FONTS if name in files}


def caption(text: str, most: int = 40) -> str:
    r"""A name as text of a figure: on one line, not too long, in letters that can be drawn, and never a formula.

    Args:
        text: any text.
        most: number of characters beyond which the middle is left out.

    >>> caption("a_very_long_name.png", 11), caption("$x$"), caption("a\n\x07")
    ('a_very….png', '\\$x\\$', 'a \\x07')
    """
    text = text.replace("\n", " ").replace("\r", " ")
    if len(text) > most:
        tail = (most - 1) * 2 // 5
        text = f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"
    fonts = installed_fonts().values()
    drawn = (c if any(ord(c) in font for font in fonts) else c.encode("unicode_escape").decode("ascii") for c in text)
    return "".join(drawn).replace("$", r"\$")
