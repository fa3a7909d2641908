"""Files of an evaluation or a study. Each one is written completely or not at all, and no foreign file is replaced."""

from __future__ import annotations

import csv
import io
import json
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blemish import __version__
from blemish.errors import OutputError, shown
from blemish.output import explain_os_errors, refuse_inside, to_json_types
from blemish.runtime.atomic import write_atomically

SCHEMA = "blemish.evaluation"
SUFFIXES = (".json", ".csv", ".md")


def claim_folder(out: Path, stem: str, sources: Iterable[Path], suffixes: Sequence[str] = SUFFIXES) -> Path:
    """Make the output folder and check that the files can be written there, before any run.

    Args:
        out: the folder; its parents are made too.
        stem: name of the files without suffix.
        sources: the labeled sets; the output folder must not lie inside one of them.
        suffixes: suffixes of the files.

    Raises:
        OutputError: a file of that name that blemish did not write, a folder inside a labeled set, or no permission.
    """
    for source in sources:
        if source.is_dir():
            refuse_inside(out, source)
    with explain_os_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    present = [out / (stem + suffix) for suffix in suffixes if (out / (stem + suffix)).exists()]
    if present and not _is_ours(out / f"{stem}.json"):
        raise OutputError(f"{shown(present[0])}: is in the way and not ours; move it or choose another folder")
    with explain_os_errors(out), tempfile.TemporaryFile(dir=out):  # a folder may exist and still refuse a file
        pass
    return out


def write_files(
    out: Path, stem: str, document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], markdown: str
) -> list[Path]:
    """Write ``stem.md``, ``stem.csv`` and, last, ``stem.json``.

    Args:
        out: a folder from :func:`claim_folder`.
        stem: name of the files without suffix.
        document: content of the JSON file; ``nan`` becomes null.
        rows: rows of the CSV file with equal keys, which become the header; ``nan`` and None become empty cells.
        markdown: content of the Markdown file.

    Raises:
        OutputError: the file system refuses a file.
    """
    head = {"schema": SCHEMA, "schema_version": 1, "version": __version__}
    text = json.dumps(to_json_types({**head, **document}), indent=2, allow_nan=False) + "\n"
    return [
        _write(out / f"{stem}.md", markdown),
        _write(out / f"{stem}.csv", _csv_text(rows)),
        _write(out / f"{stem}.json", text),
    ]


def _is_ours(file: Path) -> bool:
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("schema") == SCHEMA


def _write(path: Path, text: str) -> Path:
    content = text.encode("utf-8", errors="backslashreplace")
    with explain_os_errors(path):
        return write_atomically(path, lambda stream: stream.write(content))


def _csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
