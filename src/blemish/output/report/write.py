"""Writes the report into an output folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from blemish.output.claims import REPORT_FILE
from blemish.output.folder import OutputFolder, claimed
from blemish.output.report.data import build_report
from blemish.output.report.page import render
from blemish.results import Result
from blemish.types import FloatArray


def write_report(
    result: Result,
    out_dir: Path | str | OutputFolder,
    load_image: Callable[[int], FloatArray] | None = None,
    *,
    title: str | None = None,
) -> Path:
    """Write ``report.html`` alone into an output folder of ours; an earlier report is replaced.

    A run writes its report with :func:`blemish.output.write_outputs`.

    Args:
        result: the result of a run.
        out_dir: a folder that :func:`blemish.output.prepare_output` has claimed, or a path, which is claimed for this
            call.
        load_image: gives image ``i`` as float32 H x W x 3 in [0, 1]; see :func:`build_report`.
        title: heading of the page; by default the name of the input folder.

    Returns:
        Path of the page.

    Raises:
        OutputError: the folder is not ours or the file cannot be written.
    """
    with claimed(out_dir, result.source) as folder:
        page = render(build_report(result, load_image, title=title))
        return folder.replace(REPORT_FILE, lambda stream: stream.write(page.encode("utf-8")))
