"""The page from the data: one HTML file without any reference to the network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from blemish.output.folder import REPORT_FILE, is_ours, prepare_output, write_whole
from blemish.output.overlays import heat_table
from blemish.output.report.data import MAX_ROWS, Histogram, ReportData, build_report
from blemish.output.report.regions import percent
from blemish.results import Result
from blemish.types import FloatArray


def write_report(
    result: Result,
    out_dir: Path | str,
    load_image: Callable[[int], FloatArray] | None = None,
    *,
    title: str | None = None,
) -> Path:
    """Write ``report.html`` into an output folder of ours; an earlier one is replaced.

    Args:
        result: what a run found.
        out_dir: as for :func:`blemish.output.write.write_outputs`, which is to be called before.
        load_image: gives image ``i`` as float32 H x W x 3 in [0, 1]; see :func:`build_report`.
        title: heading; default: the name of the input folder.

    Returns:
        Path of the page.

    Raises:
        OutputError: the folder is not ours or the file cannot be written.
    """
    page = render(build_report(result, load_image, title=title))
    root = prepare_output(out_dir, result.source, claim=not is_ours(Path(out_dir)))
    return write_whole(root / REPORT_FILE, lambda p: _dump(p, page))


def _dump(path: Path, page: str) -> None:
    path.write_text(page, encoding="utf-8", newline="\n")


def render(data: ReportData) -> str:
    """HTML text of a report: everything inline, all texts escaped, scripts other than ours forbidden by hash."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    script = _resource("report.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, number=number, plural=plural)
    template = environment.from_string(_resource("report.html"))
    table = heat_table(16)
    return template.render(
        data=data,
        max_rows=MAX_ROWS,
        style=Markup(_resource("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        heat_stops=["#{:02x}{:02x}{:02x}".format(*row) for row in table.tolist()],
        threshold_at=_position(data.threshold, data.scale_low, data.scale_high),
        bars=bars(data.histogram),
        tallest=max(a + b for a, b in zip(data.histogram.normal, data.histogram.anomalous, strict=True)),
        line_at=_position(data.image_threshold, data.histogram.edges[0], data.histogram.edges[-1]),
        pictured={picture.index for group in data.groups for picture in group.pictures},
    )


def _resource(name: str) -> str:
    return (files("blemish.output.report") / name).read_text(encoding="utf-8")


def _position(value: float, low: float, high: float) -> float:
    """Place between two values in per cent, within 0..100."""
    return min(100.0, max(0.0, 100 * (value - low) / (high - low)))


def bars(histogram: Histogram, height: float = 100.0) -> list[tuple[float, float, float, float, str]]:
    """Stacked bars as (left in per cent, width in per cent, normal height, anomalous height, what it says)."""
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


def number(value: float) -> str:
    """Four significant digits, without an exponent where one can do without.

    >>> number(0.123456), number(1234.56), number(0.0), number(1e-7)
    ('0.1235', '1235', '0', '1e-07')
    """
    return f"{value:.4g}"


def plural(count: int, noun: str) -> str:
    """Count and noun, with a thin space between thousands.

    >>> plural(1, "image"), plural(2, "type")
    ('1 image', '2 types')
    """
    return f"{count:,}".replace(",", "\u202f") + f" {noun}" + ("" if count == 1 else "s")
