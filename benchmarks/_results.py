"""A measured table: typed columns and rows with what is needed to measure them again; kept as JSON, shown as Markdown."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

RESULTS = Path(__file__).parent / "results"
"""Where the tables are kept: ``NAME.json`` for each."""

MISSING = "–"

Kind = Literal["text", "integer", "number", "scientific", "spread", "integers"]
Cell = str | int | float | list[float] | list[int] | None


class ResultsError(Exception):
    """A kept table is missing or is not one; the message names the file and the remedy."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: heading.
        kind: ``text``, ``integer``, ``number`` or ``scientific``; ``spread``: a list with one number per seed or draw,
            shown as mean ± standard deviation; ``integers``: such a list, shown as it is.
        unit: shown behind the heading; empty for text and for scores.
        digits: decimal places of a number or a spread.
    """

    name: str
    kind: Kind = "text"
    unit: str = ""
    digits: int = 3

    @property
    def heading(self) -> str:
        """The name with its unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True)
class Machine:
    """Where a table was measured, in general words.

    Attributes:
        processor: its model.
        cores: how many the process may use.
        memory_gb: main memory in GB, rounded.
    """

    processor: str
    cores: int
    memory_gb: int


@dataclass(frozen=True)
class Table:
    """What a benchmark command measured.

    Attributes:
        title: heading of the section.
        text: one or two sentences: what is measured and how to read the table.
        columns: see :class:`Column`.
        rows: one value per column; None where there is none.
        command: what measures the table again; ``DATA`` stands for the folder of the image sets.
        version: of blemish.
        date: day of the measurement, ISO.
        machine: see :class:`Machine`.
        seeds: seeds of the runs; empty where nothing is random.
    """

    title: str
    text: str
    columns: list[Column]
    rows: list[list[Cell]]
    command: str
    version: str
    date: str
    machine: Machine
    seeds: list[int]


def save(table: Table, name: str, folder: Path = RESULTS, *, complete: bool = True) -> Path:
    """Write ``NAME.json``, one line per row; a table that is not complete becomes ``NAME.json.partial``."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [f"  {json.dumps(key)}: {_json(key, value)}" for key, value in asdict(table).items()]
    path = folder / f"{name}.json.partial"
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
    return path.rename(folder / f"{name}.json") if complete else path


def _json(key: str, value: Any) -> str:
    if key not in ("rows", "columns"):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    lines = [f"    {json.dumps(one, ensure_ascii=False, allow_nan=False)}" for one in value]
    return "[\n" + ",\n".join(lines) + "\n  ]"


def load(name: str, folder: Path = RESULTS) -> Table:
    """Read ``NAME.json``.

    Raises:
        ResultsError: there is no such file, or it is not a table.
    """
    path = folder / f"{name}.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(f"{path.name} is missing: run the benchmark with --write") from None
    except ValueError as error:
        raise ResultsError(f"{path.name} is not JSON ({error}): run the benchmark with --write again") from None
    wrong = _wrong(document)
    if wrong:
        raise ResultsError(f"{path.name}: {wrong}; run the benchmark with --write again")
    columns = [Column(**one) for one in document["columns"]]
    return Table(**{**document, "columns": columns, "machine": Machine(**document["machine"])})


def _wrong(document: Any) -> str | None:
    """What keeps a document from being a table; None if it is one."""
    if not isinstance(document, dict):
        return "expected an object"
    for kind, value in ((Table, document), (Machine, document.get("machine"))):
        names = {field.name for field in fields(kind)}
        if not isinstance(value, dict) or set(value) != names:
            return f"expected {kind.__name__.lower()} with {', '.join(sorted(names))}"
    columns = document["columns"]
    names = {field.name for field in fields(Column)}
    if not isinstance(columns, list) or not columns or any(set(one) != names for one in columns):
        return f"expected columns with {', '.join(sorted(names))}"
    unknown = [one["kind"] for one in columns if one["kind"] not in get_args(Kind)]
    if unknown:
        return f"a column is of the unknown kind {unknown[0]!r}"
    if not isinstance(document["rows"], list) or not document["rows"]:
        return "expected at least one row"
    for number, row in enumerate(document["rows"], 1):
        if len(row) != len(columns):
            return f"row {number} has {len(row)} values for {len(columns)} columns"
        for column, value in zip(columns, row, strict=True):
            if not _fits(column["kind"], value):
                return f"row {number}, {column['name']}: {value!r} is no {column['kind']}"
    return None


def _fits(kind: Kind, value: Any) -> bool:
    if value is None:
        return True
    if kind in ("spread", "integers"):
        inner: Kind = "number" if kind == "spread" else "integer"
        return isinstance(value, list) and bool(value) and all(_fits(inner, one) for one in value)
    types = {"text": str, "integer": int}.get(kind, (int, float))
    return isinstance(value, types) and not isinstance(value, bool)


def markdown(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> str:
    """The table alone; text is flushed left, numbers right."""
    head = "| " + " | ".join(column.heading for column in columns) + " |"
    rule = "|" + "|".join("---" if column.kind == "text" else "---:" for column in columns) + "|"
    return "\n".join([head, rule, *(markdown_row(columns, row) for row in rows)])


def markdown_row(columns: Sequence[Column], row: Sequence[Cell]) -> str:
    """One line of the table."""
    return "| " + " | ".join(shown(column, value) for column, value in zip(columns, row, strict=True)) + " |"


def shown(column: Column, value: Cell) -> str:
    """A cell as people read it.

    >>> shown(Column("NMI", "spread"), [0.9, 0.92]), shown(Column("groups", "integers"), [6, 7])
    ('0.910 ± 0.014', '6, 7')
    """
    if value is None:
        return MISSING
    if column.kind == "integers" and isinstance(value, list):
        return ", ".join(str(one) for one in value)
    if column.kind == "spread" and isinstance(value, list):
        known = [one for one in value if one is not None and not math.isnan(one)]
        if not known:
            return MISSING
        mean = _rounded(statistics.fmean(known), column)
        return mean if len(known) < 2 else f"{mean} ± {statistics.stdev(known):.{column.digits}f}"
    if column.kind == "integer":
        return f"{value:,}".replace(",", " ")
    if column.kind == "scientific":
        return f"{value:.1e}"
    return str(value).replace("|", "\\|") if column.kind == "text" else _rounded(float(value), column)  # type: ignore[arg-type]


def _rounded(value: float, column: Column) -> str:
    """Rounded to the column's digits; a score below 1 is never rounded up to 1.

    >>> _rounded(0.99996, Column("NMI", "number")), _rounded(0.99996, Column("time", "number", "s"))
    ('0.999', '1.000')
    """
    text = f"{value:.{column.digits}f}"
    if not column.unit and value < 1 - 1e-9 and float(text) == 1:
        return f"{1 - 10**-column.digits:.{column.digits}f}"
    return text
