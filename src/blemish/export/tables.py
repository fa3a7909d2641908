"""The tables of images and regions, alone."""

from __future__ import annotations

from blemish.export.content import Content
from blemish.export.folder import ExportFolder
from blemish.output.region_tables import write_regions_csv, write_regions_parquet
from blemish.output.tables import write_csv, write_parquet


def write_csv_tables(content: Content, folder: ExportFolder) -> None:
    """Write ``images.csv`` and ``regions.csv``."""
    folder.write("images.csv", lambda stream: write_csv(content.result, stream))
    folder.write("regions.csv", lambda stream: write_regions_csv(content.result, stream))


def write_parquet_tables(content: Content, folder: ExportFolder) -> None:
    """Write ``images.parquet`` and ``regions.parquet``."""
    folder.write("images.parquet", lambda stream: write_parquet(content.result, stream))
    folder.write("regions.parquet", lambda stream: write_regions_parquet(content.result, stream))
