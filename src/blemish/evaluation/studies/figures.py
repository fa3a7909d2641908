"""Figures of studies through matplotlib (extra ``figures``), without its global state; PNG and SVG of equal content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from blemish.errors import MissingDependencyError
from blemish.evaluation.datasets import is_normal
from blemish.evaluation.studies.run import STUDIES, Findings
from blemish.output import cluster_color

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osD^vPX"
SUFFIXES = (".png", ".svg")

AXES = {
    "tau": ("tau_fraction", "temperature / 99th percentile", "log"),
    "contamination": ("share", "share of anomalous images", "linear"),
    "normals": ("share", "share of normal images", "linear"),
    "size": ("images", "images", "log"),
}
"""What a study of lines varies: its key, its name on the axis, and the axis's scale."""


def require_matplotlib() -> None:
    """Say before any work that matplotlib is missing.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "this study draws a figure and needs matplotlib: pip install 'blemish[figures]'"
        ) from error


def draw(findings: Findings) -> Figure | None:
    """The figure of a study, or None where it has only tables."""
    kind = STUDIES[findings.study].figure
    if kind is None:
        return None
    require_matplotlib()
    return {"lines": _lines, "scatter": _scatter, "grid": _grid}[kind](findings)


def save(figure: Figure, suffix: str, stream: BinaryIO) -> None:
    """Write a figure as ``.png`` or ``.svg``; equal figures give equal bytes."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "blemish", "svg.fonttype": "path"}):
        metadata: dict[str, Any] = {"Date": None} if suffix == ".svg" else {"Software": None}
        figure.savefig(stream, format=suffix[1:], dpi=150, metadata=metadata)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _color(index: int) -> tuple[float, ...]:
    return tuple(part / 255 for part in cluster_color(index, None))


def _lines(findings: Findings) -> Figure:
    """Scores against what is varied, a band of one standard deviation where there are several seeds."""
    figure = _figure(6.4, 4.2)
    axes = figure.add_subplot()
    x_name, x_label, x_scale = AXES[findings.study]
    curves = (
        [("nmi", {"contrast": False}, "NMI, without contrast"), ("nmi", {"contrast": True}, "NMI, with contrast")]
        if findings.study == "tau"
        else [("nmi", {}, "NMI"), ("f1", {}, "F1"), ("image_auroc", {}, "image AUROC"), ("aupro", {}, "AUPRO")]
    )
    for number, (name, wanted, label) in enumerate(curves):
        points = [
            (setting[x_name], scores[name])
            for setting, scores in findings.summary()
            if all(setting[key] == value for key, value in wanted.items()) and scores[name].count
        ]
        if not points:
            continue
        x, mean = [p[0] for p in points], [p[1].mean for p in points]
        around = [0.0 if one.count < 2 else one.deviation for _, one in points]
        axes.plot(x, mean, marker=MARKERS[number], color=_color(number), label=label)
        low, high = ([m + sign * d for m, d in zip(mean, around, strict=True)] for sign in (-1, 1))
        axes.fill_between(x, low, high, color=_color(number), alpha=0.2, linewidth=0)
    axes.set_xscale(x_scale)
    axes.set_xlabel(x_label)
    axes.set_ylabel("score")
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.02)
    axes.set_title(findings.data)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _scatter(findings: Findings) -> Figure:
    figure = _figure(9.6, 4.6)
    classes = list(dict.fromkeys(sorted(row["class"] for row in findings.rows)))
    for place, name in enumerate(("before", "after")):
        axes = figure.add_subplot(1, 2, place + 1)
        for number, label in enumerate(classes):
            mine = [row for row in findings.rows if row["class"] == label]
            axes.scatter(
                [row[f"x_{name}"] for row in mine],
                [row[f"y_{name}"] for row in mine],
                s=18,
                color=_color(number) if not is_normal(label) else (0.6, 0.6, 0.6),
                marker=MARKERS[number // 7 % len(MARKERS)],
                label=label,
            )
        axes.set_title(f"{findings.data}, {name} the head")
        axes.set_xticks([])
        axes.set_yticks([])
        if place:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _grid(findings: Findings) -> Figure:
    columns = max(1, max(len(cells) for _, cells in findings.pictures))
    figure = _figure(1.7 * columns, 1.9 * len(findings.pictures))
    for i, (title, cells) in enumerate(findings.pictures):
        for j, (name, picture) in enumerate(cells):
            axes = figure.add_subplot(len(findings.pictures), columns, i * columns + j + 1)
            axes.imshow(picture)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(name, fontsize=7)
            if j == 0:
                axes.set_ylabel(title, fontsize=8)
    return figure
