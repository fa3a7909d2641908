"""The labeled set that a CSV file describes."""

from __future__ import annotations

import os
from pathlib import Path

from blemish.errors import InputError, shown
from blemish.evaluation.labeled_set import LabeledSet, is_normal
from blemish.runtime.csv_table import Table, excerpt, read_table

_MAX_LABEL = 200
_COLUMNS = ("path", "label", "mask")
_NEEDS = "needs a header with the columns path and label (mask is optional), and rows"


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
