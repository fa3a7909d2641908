"""Writes the result of a run into a folder that is its own, and reads it back.

The folder holds tables, maps, masks, overlays, descriptors, ``run.json`` and the report.
"""

from blemish.output.claims import explain_os_errors, refuse_inside
from blemish.output.colors import NORMAL_COLOR, cluster_color, heat_indices, heat_table, hex_color
from blemish.output.folder import OutputFolder, prepare_output
from blemish.output.overlays import draw_heat, draw_overlay, fit_within, to_bytes
from blemish.output.read import load_result
from blemish.output.report import ReportData, build_report, render, write_report
from blemish.output.run_file import run_document, to_json_types
from blemish.output.write import MapSize, OutputPaths, write_outputs

__all__ = [
    "NORMAL_COLOR",
    "MapSize",
    "OutputFolder",
    "OutputPaths",
    "ReportData",
    "build_report",
    "cluster_color",
    "draw_heat",
    "draw_overlay",
    "explain_os_errors",
    "fit_within",
    "heat_indices",
    "heat_table",
    "hex_color",
    "load_result",
    "prepare_output",
    "refuse_inside",
    "render",
    "run_document",
    "to_bytes",
    "to_json_types",
    "write_outputs",
    "write_report",
]
