"""The report of a run: its data first (:class:`ReportData`), then a page made from the data alone."""

from __future__ import annotations

from blemish.output.report.data import ReportData, build_report
from blemish.output.report.page import render
from blemish.output.report.write import write_report

__all__ = ["ReportData", "build_report", "render", "write_report"]
