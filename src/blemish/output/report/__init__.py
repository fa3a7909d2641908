"""The report of a run: its data first (:class:`ReportData`), then a page made from the data alone."""

from __future__ import annotations

from blemish.output.report.build import FindFile, build_report
from blemish.output.report.data import ReportData
from blemish.output.report.page import render
from blemish.output.report.write import ReportMode, ReportWriter, write_report

__all__ = ["FindFile", "ReportData", "ReportMode", "ReportWriter", "build_report", "render", "write_report"]
