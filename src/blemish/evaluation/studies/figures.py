"""Figures of studies, drawn by matplotlib (extra ``figures``) without its global state, as PNG and SVG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blemish.evaluation.labeled_set import is_normal
from blemish.evaluation.scoring import ScoreSummary
from blemish.evaluation.studies.registry import STUDIES
from blemish.evaluation.studies.runner import Row, StudyResult
from blemish.output.figures import MARKERS, group_color, new_figure, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class XAxis:
    """The horizontal axis of a figure with lines: the column it shows, its label and its scale."""

    key: str
    label: str
    scale: str


@dataclass(frozen=True)
class Curve:
    """One line of a figure: a score, the settings that its points have, and its label."""

    score: str
    settings: Row
    label: str


X_AXES = {
    "tau": XAxis("tau_fraction", "temperature / 99th percentile", "log"),
    "contamination": XAxis("share", "share of anomalous images", "linear"),
    "normals": XAxis("share", "share of normal images", "linear"),
    "size": XAxis("images", "images", "log"),
}
_TAU_CURVES = (
    Curve("nmi", {"contrast": False}, "NMI, without contrast"),
    Curve("nmi", {"contrast": True}, "NMI, with contrast"),
)
_CURVES = (
    Curve("nmi", {}, "NMI"),
    Curve("f1", {}, "F1"),
    Curve("image_auroc", {}, "image AUROC"),
    Curve("aupro", {}, "AUPRO"),
)


def draw_figure(found: StudyResult) -> Figure | None:
    """The figure of a study, or None if the study has tables only.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    kind = STUDIES[found.study].figure
    if kind is None:
        return None
    require_matplotlib()
    return {"lines": _draw_lines, "scatter": _draw_scatter, "grid": _draw_grid}[kind](found)


def _draw_lines(found: StudyResult) -> Figure:
    """Scores against the varied quantity, with a band of one standard deviation if there are several seeds."""
    figure = new_figure(6.4, 4.2)
    axes = figure.add_subplot()
    x_axis = X_AXES[found.study]
    for number, curve in enumerate(_TAU_CURVES if found.study == "tau" else _CURVES):
        points = [
            (setting[x_axis.key], scores[curve.score])
            for setting, scores in found.summary()
            if all(setting[key] == value for key, value in curve.settings.items()) and scores[curve.score].count
        ]
        if points:
            _draw_curve(axes, number, [x for x, _ in points], [one for _, one in points], curve.label)
    axes.set_xscale(x_axis.scale)
    axes.set_xlabel(x_axis.label)
    axes.set_ylabel("score")
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.02)
    axes.set_title(found.data)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _draw_curve(axes: Axes, number: int, x: list[Any], scores: list[ScoreSummary], label: str) -> None:
    mean = [one.mean for one in scores]
    deviation = [0.0 if one.count < 2 else one.deviation for one in scores]
    axes.plot(x, mean, marker=MARKERS[number], color=group_color(number), label=label)
    low, high = ([m + sign * d for m, d in zip(mean, deviation, strict=True)] for sign in (-1, 1))
    axes.fill_between(x, low, high, color=group_color(number), alpha=0.2, linewidth=0)


def _draw_scatter(found: StudyResult) -> Figure:
    figure = new_figure(9.6, 4.6)
    classes = list(dict.fromkeys(sorted(str(row["class"]) for row in found.rows)))
    for place, name in enumerate(("before", "after")):
        axes = figure.add_subplot(1, 2, place + 1)
        for number, label in enumerate(classes):
            members = [row for row in found.rows if row["class"] == label]
            axes.scatter(
                [row[f"x_{name}"] for row in members],
                [row[f"y_{name}"] for row in members],
                s=18,
                color=group_color(number) if not is_normal(label) else (0.6, 0.6, 0.6),
                marker=MARKERS[number // 7 % len(MARKERS)],
                label=label,
            )
        axes.set_title(f"{found.data}, {name} the head")
        axes.set_xticks([])
        axes.set_yticks([])
        if place:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _draw_grid(found: StudyResult) -> Figure:
    columns = max(1, max(len(row.pictures) for row in found.pictures))
    figure = new_figure(1.7 * columns, 1.9 * len(found.pictures))
    for i, row in enumerate(found.pictures):
        for j, picture in enumerate(row.pictures):
            axes = figure.add_subplot(len(found.pictures), columns, i * columns + j + 1)
            axes.imshow(picture.pixels)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(picture.title, fontsize=7)
            if j == 0:
                axes.set_ylabel(row.title, fontsize=8)
    return figure
