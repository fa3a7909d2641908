"""Files that a run leaves: tables, maps, masks, overlays, the report."""

from blemish.output.report import write_report
from blemish.output.write import prepare_output, write_outputs

__all__ = ["prepare_output", "write_outputs", "write_report"]
