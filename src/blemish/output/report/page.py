"""The page of the report, made from its data alone: one HTML text that needs no network."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from blemish.output.colors import heat_table, hex_color
from blemish.output.report.data import Histogram, ReportData
from blemish.output.report.words import number, percent, plural


def render(data: ReportData) -> str:
    """HTML of a report.

    Styles, script and pictures are inline. Every text is escaped, and a content security policy admits no script but
    the page's own, by its hash.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    script = _resource("report.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, number=number, plural=plural)
    template = environment.from_string(_resource("report.html"))
    table = heat_table(16)
    return template.render(
        data=data,
        style=Markup(_resource("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        heat_stops=[hex_color(tuple(row)) for row in table.tolist()],
        threshold_at=_position(data.threshold, data.scale_low, data.scale_high),
        bars=bars(data.histogram),
        tallest=max(a + b for a, b in zip(data.histogram.normal, data.histogram.anomalous, strict=True)),
        line_at=_position(data.threshold, data.histogram.edges[0], data.histogram.edges[-1]),
        pictured={picture.index for group in data.groups for picture in group.pictures},
    )


def _resource(name: str) -> str:
    return (files("blemish.output.report") / name).read_text(encoding="utf-8")


def _position(value: float, low: float, high: float) -> float:
    """Place of a value between two others, as a percentage within 0..100."""
    return min(100.0, max(0.0, 100 * (value - low) / (high - low)))


def bars(histogram: Histogram, height: float = 100.0) -> list[tuple[float, float, float, float, str]]:
    """Stacked bars of the histogram; bins without images are left out.

    Returns:
        For each bar: left edge and width as percentages of the chart, height of the normal part and of the anomalous
        part (the tallest bar has ``height``), and its description.
    """
    totals = [a + b for a, b in zip(histogram.normal, histogram.anomalous, strict=True)]
    tallest = max(*totals, 1)
    width = 100 / len(totals)
    return [
        (
            k * width,
            width,
            height * histogram.normal[k] / tallest,
            height * histogram.anomalous[k] / tallest,
            f"score {number(histogram.edges[k])} to {number(histogram.edges[k + 1])}: "
            f"{histogram.normal[k]} normal, {histogram.anomalous[k]} anomalous",
        )
        for k in range(len(totals))
        if totals[k]
    ]
