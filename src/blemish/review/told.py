"""What a person knows before a run: images that are normal, and types of some images, from a list or a table."""

from __future__ import annotations

from pathlib import Path

from blemish.clustering import Knowledge, with_normal
from blemish.clustering.knowledge import NORMAL
from blemish.errors import InputError, shown
from blemish.evaluation import is_normal
from blemish.runtime.csv_table import excerpt, read_table

MAX_TYPES = 1000
"""Most types in a table."""


def read_types(file: Path) -> Knowledge:
    """The types of some images, from a CSV file with the columns path and type.

    Args:
        file: paths are relative to the input folder, as in ``images.csv``. The types ``normal``, ``good`` and the like mean
            that the image is normal.

    Raises:
        InputError: the file cannot be read, a column or a value is missing, or an image has two types.
    """
    table = read_table(file)
    if not {"path", "type"} <= set(table.columns) or not table.rows:
        raise InputError(f"{shown(file)}: needs a header with the columns path and type, and rows; add them")
    groups, numbers = dict[str, int](), dict[str, int]()
    for number, row in table.rows:
        path, name = row.get("path", ""), row.get("type", "")
        if not path or not name:
            raise InputError(f"{shown(file)}, row {number}: has no path or no type; complete the row or remove it")
        group = NORMAL if is_normal(name) else numbers.setdefault(name, len(numbers) + 1)
        if groups.setdefault(path, group) != group:
            raise InputError(f"{shown(file)}, row {number}: {excerpt(path)} has two types; keep one of them")
    if len(numbers) > MAX_TYPES:
        raise InputError(f"{shown(file)}: names {len(numbers)} types, at most {MAX_TYPES}; give types, not remarks")
    return Knowledge(groups, frozenset(groups), names={number: name for name, number in numbers.items()})


def read_normal(file: Path, knowledge: Knowledge | None = None) -> Knowledge | None:
    """Images that are known to be normal, from a text file with one path per line, added to what is known.

    Args:
        file: paths are relative to the input folder; a CSV file with the column path serves as well.
        knowledge: what is known already.

    Raises:
        InputError: the file cannot be read or names no image.
    """
    if file.suffix.lower() == ".csv":
        table = read_table(file)
        if "path" not in table.columns:
            raise InputError(f"{shown(file)}: has no column path; add it, or give a text file with one path per line")
        paths = [row["path"] for _, row in table.rows if row.get("path")]
    else:
        try:
            paths = [line.strip() for line in file.read_bytes().decode("utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{shown(file)}: cannot be read as UTF-8 text; give a text file with one path per line, or a folder"
            ) from error
    paths = [path for path in paths if path]
    if not paths:
        raise InputError(f"{shown(file)}: names no image; write one path per line")
    return with_normal(knowledge, paths)
