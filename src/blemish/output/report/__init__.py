"""The report: data first (:class:`ReportData`, a JSON round trip), then a page made from the data alone."""

from __future__ import annotations

from blemish.output.report.data import ReportData, build_report
from blemish.output.report.write import render, write_report

__all__ = ["ReportData", "build_report", "render", "write_report"]
