"""CSV files with a header, as spreadsheets write them, and the labeled set that such a file describes."""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

from blemish.errors import InputError, shown
from blemish.evaluation.labeled_set import LabeledSet, is_normal

MAX_BYTES = 256 * 2**20
"""Larger CSV files are refused: they are no list of images."""

_MAX_LABEL = 200
_COLUMNS = ("path", "label", "mask")
_NEEDS = "needs a header with the columns path and label (mask is optional), and rows"


@dataclass(frozen=True)
class Table:
    """The rows of a CSV file.

    Attributes:
        columns: column names, in lower case.
        rows: number of the row, counted from 1 for the header as spreadsheets do, and its values by column. Columns
            that a short row lacks are missing.
    """

    columns: list[str]
    rows: list[tuple[int, dict[str, str]]]


def excerpt(text: object, limit: int = 100) -> str:
    """A value as one printable line for a message, shortened in the middle if it is long.

    >>> excerpt("x" * 1000, 20)
    'xxxxxxxxxx ... xxxxxxxxxx (1000 characters)'
    """
    line = str(text)
    if len(line) <= limit:
        return shown(line)
    return f"{shown(line[: limit // 2])} ... {shown(line[-(limit // 2) :])} ({len(line)} characters)"


def read_table(file: Path) -> Table:
    """Read a CSV file: UTF-8 with or without a byte order mark; comma, semicolon or tab as separator.

    Raises:
        InputError: the file is too large, is not UTF-8 or is not well-formed CSV. The message names file and row.
    """
    text = _text(file)
    head = re.split(r"[\r\n]", text, maxsplit=1)[0]
    stream = io.StringIO(text, newline="")  # quoted fields may hold line breaks
    reader = csv.reader(stream, delimiter=max(",;\t", key=head.count), strict=True)
    columns: list[str] = []
    rows: list[tuple[int, dict[str, str]]] = []
    number = 0
    try:
        for number, fields in enumerate(reader, start=1):
            if number == 1:
                columns = _header(file, fields)
            elif any(fields):
                if any(fields[len(columns) :]):
                    raise InputError(
                        f"{shown(file)}, row {number}: has {len(fields)} fields, the header has {len(columns)}; "
                        "put fields that contain the separator in double quotes"
                    )
                rows.append((number, dict(zip(columns, (value.strip() for value in fields), strict=False))))
    except csv.Error as error:
        raise InputError(
            f"{shown(file)}, row {number + 1}: is not well-formed CSV ({error}); "
            "check for a double quote that is not closed"
        ) from error
    return Table(columns, rows)


def read_csv_set(root: Path) -> LabeledSet | None:
    """The set that a CSV file lists: columns ``path``, ``label`` and optionally ``mask``, paths relative to the file.

    Args:
        root: the file, or a folder that holds it as ``labels.csv`` or ``truth/labels.csv``.

    Returns:
        The set in the order of the rows; None if there is no such file.

    Raises:
        InputError: no well-formed CSV, missing columns or values, a path that is not a file, an image listed twice.
    """
    places = [root] if root.is_file() else [root / "labels.csv", root / "truth" / "labels.csv"]
    file = next((p for p in places if p.is_file()), None)
    if file is None:
        return None
    table = read_table(file)
    _check_columns(file, table)
    folder = file.resolve().parent
    found = LabeledSet(shown((folder.parent if folder.name == "truth" else folder).name), [], [], [])
    first_row = dict[str, int]()
    for number, row in table.rows:
        path, label, mask = (row.get(column, "") for column in _COLUMNS)
        where = f"{shown(file)}, row {number}"
        _check_row(where, file.parent, path, label, mask)
        earlier = first_row.setdefault(os.path.normpath(path), number)
        if earlier != number:
            raise InputError(
                f"{where}: {excerpt(path)} is listed twice, first in row {earlier}; remove one of the rows"
            )
        found.paths.append(file.parent / path)
        found.labels.append(label)
        found.masks.append(file.parent / mask if mask and not is_normal(label) else None)
    return found


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InputError(
                f"{shown(file)}: is larger than {MAX_BYTES >> 20} MiB; give a CSV file with one row per image"
            )
        return file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{shown(file)}: cannot be read as UTF-8 text ({type(error).__name__}); save it as CSV in UTF-8"
        ) from error


def _header(file: Path, fields: list[str]) -> list[str]:
    columns = [name.strip().lower() for name in fields]
    seen = set[str]()
    for name in filter(None, columns):
        if name in seen:
            raise InputError(f"{shown(file)}, row 1: the column {excerpt(name)} is there twice; keep one of them")
        seen.add(name)
    return columns


def _check_columns(file: Path, table: Table) -> None:
    """Refuse a missing column, and one whose name suggests masks, which would be left out without a word."""
    if not {"path", "label"} <= set(table.columns) or not table.rows:
        seen = ", ".join(excerpt(name, 40) for name in table.columns[:8] if name)
        raise InputError(f"{shown(file)}: {_NEEDS}; it has {len(table.rows)} rows and the columns: {seen or 'none'}")
    if "mask" not in table.columns:
        similar = [name for name in table.columns if "mask" in name or name in ("gt", "ground_truth", "annotation")]
        if similar:
            raise InputError(f"{shown(file)}, row 1: the column {excerpt(similar[0])} is not known; rename it to mask")


def _check_row(where: str, folder: Path, path: str, label: str, mask: str) -> None:
    if not path or not label:
        raise InputError(f"{where}: path or label is empty; fill it in")
    if len(label) > _MAX_LABEL:
        raise InputError(
            f"{where}: the label {excerpt(label)} is longer than {_MAX_LABEL} characters; give the class a short name"
        )
    for entry in filter(None, (path, mask)):
        if not _is_file(folder / entry):
            hint = "paths are relative to the CSV"
            if "\\" in entry:
                hint = (
                    "write / in place of \\ in paths"
                    if _is_file(folder / entry.replace("\\", "/"))
                    else f"{hint}, with /"
                )
            raise InputError(f"{where}: {excerpt(entry)} is no file; {hint}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that the file system refuses: too long, or with a NUL character
        return False
