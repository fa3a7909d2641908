"""Manifests: tables that list the images of a set, in place of a folder."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from blemish.errors import InputError, shown
from blemish.runtime.csv_table import excerpt, read_table

MANIFEST_SUFFIXES = (".csv", ".parquet")
"""Suffixes of manifests, matched in any case."""

COLUMN = "path"
"""The column of a manifest that is read."""


def is_manifest(place: Path) -> bool:
    """Whether a path names a manifest: it has one of :data:`MANIFEST_SUFFIXES` and is no folder."""
    return place.suffix.lower() in MANIFEST_SUFFIXES and not place.is_dir()


def read_manifest(file: Path) -> list[str]:
    """The images that a manifest lists.

    Args:
        file: CSV or Parquet with the column ``path``: absolute paths, paths relative to the folder of the manifest, paths of
            files in tar files such as ``shard.tar/name.png``, or addresses. Other columns are ignored.

    Returns:
        The paths as they are written, sorted. Whether the files exist is not looked at.

    Raises:
        InputError: the manifest cannot be read, has no such column, names no image, or names one twice.
    """
    rows = _parquet_rows(file) if file.suffix.lower() == ".parquet" else _csv_rows(file)
    first_row = dict[str, int]()
    for number, name in rows:
        if not name or "\0" in name:
            raise InputError(f"{shown(file)}, row {number}: has no path of a file; complete the row or remove it")
        earlier = first_row.setdefault(os.path.normpath(name), number)
        if earlier != number:
            raise InputError(
                f"{shown(file)}, row {number}: {excerpt(name)} is listed twice, first in row {earlier}; "
                "remove one of the rows"
            )
    if not rows:
        raise InputError(f"{shown(file)}: names no image; write one path per row, below the header {COLUMN}")
    return sorted(name for _, name in rows)


def _csv_rows(file: Path) -> list[tuple[int, str]]:
    """Number and path of each row; numbers are those of a spreadsheet, whose header is row 1."""
    table = read_table(file)
    _check_columns(file, table.columns)
    return [(number, row.get(COLUMN, "")) for number, row in table.rows]


def _parquet_rows(file: Path) -> list[tuple[int, str]]:
    """Number and path of each row; numbers begin at 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.read_schema(file).names
        _check_columns(file, columns)
        values = pq.read_table(file, columns=[COLUMN]).column(0).cast(pa.string()).to_pylist()
    except (OSError, ValueError, NotImplementedError) as error:  # the errors of pyarrow are among these
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{shown(file)}: cannot be read as a Parquet file with a column {COLUMN} of text; write it again, or give a "
            "CSV file"
        ) from error
    return [(number, value or "") for number, value in enumerate(values, start=1)]


def _check_columns(file: Path, columns: Collection[str]) -> None:
    if COLUMN not in columns:
        seen = ", ".join(excerpt(name, 40) for name in list(columns)[:8] if name)
        raise InputError(f"{shown(file)}: has no column {COLUMN} but {seen or 'none'}; give each image's path in one")
