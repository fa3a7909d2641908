"""CSV files with a header, as spreadsheets write them."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from blemish.errors import InputError, shown

MAX_BYTES = 256 * 2**20
"""Larger CSV files are refused: they are no list of images."""


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
