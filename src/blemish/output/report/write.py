"""Writes the report into an output folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from blemish.output.folder import REPORT_FILE, is_ours, prepare_output, write_whole
from blemish.output.report.data import build_report
from blemish.output.report.page import render
from blemish.results import Result
from blemish.types import FloatArray


def write_report(
    result: Result,
    out_dir: Path | str,
    load_image: Callable[[int], FloatArray] | None = None,
    *,
    title: str | None = None,
) -> Path:
    """Write ``report.html`` into an output folder of ours; an earlier report is replaced.

    Args:
        result: the result of a run.
        out_dir: the folder that :func:`blemish.output.write_outputs` has written before.
        load_image: gives image ``i`` as float32 H x W x 3 in [0, 1]; see :func:`build_report`.
        title: heading of the page; by default the name of the input folder.

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
