"""Writes a result in the formats of other programs: one writer per format, and one folder for each export."""

from blemish.export.write import FORMATS, Exported, export_result

__all__ = ["FORMATS", "Exported", "export_result"]
