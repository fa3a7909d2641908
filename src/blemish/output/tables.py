r"""The table of images as CSV and as Parquet.

Neither file holds anything that differs between equal runs. Paths in the CSV are exact, byte for byte, with one
exception: a path that a spreadsheet would take for a formula (it starts with ``=``, ``+``, ``-``, ``@`` or white space)
gets ``./`` in front, which names the same file and is plain text. The name of a type gets an apostrophe in this case.
Parquet has every path unchanged. If a path is not valid Unicode, the column ``path`` shows its odd bytes as ``\udcNN``,
and a further column ``path_bytes`` holds the exact names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from blemish.results import Result

COLUMNS = ("path", "score", "is_anomalous", "cluster", "cluster_name", "distance", "height", "width")


def write_csv(result: Result, stream: BinaryIO) -> None:
    """Write ``images.csv``: UTF-8, text in quotes, line feeds, and the fewest digits that restore each float32."""
    further = further_columns(result)
    write_lines(stream, ((*COLUMNS, *further), *_csv_rows(result, further)))


def write_lines(stream: BinaryIO, rows: Iterable[tuple[str, ...]]) -> None:
    """Write rows of texts, which are quoted where need be, as lines of a CSV file with the exact bytes of every path."""
    for row in rows:
        stream.write((",".join(row) + "\n").encode("utf-8", "surrogateescape"))


def further_columns(result: Result) -> dict[str, list[Any]]:
    """The verdict, and the columns that only some results have: probabilities, number and types of the regions.

    The types of an image's regions are names with semicolons between them, without repetition, the highest score first.
    """
    columns: dict[str, list[Any]] = {"verdict": result.verdicts}
    if result.anomaly_probability is not None:
        columns["anomaly_probability"] = list(result.anomaly_probability)
    if result.type_probability is not None:
        columns["type_probability"] = list(result.type_probability)
    if result.has_regions:
        labels: list[list[int]] = [[] for _ in result.paths]
        for region in result.regions:
            labels[region.image].append(region.label)
        columns["regions"] = [len(one) for one in labels]
        columns["region_types"] = [";".join(map(result.cluster_name, dict.fromkeys(one))) for one in labels]
    return columns


def write_groups_csv(result: Result, stream: BinaryIO) -> None:
    """Write ``groups.csv``: the group of each image by local defects and by whole surfaces, in both views."""
    other = result.labels if result.other_labels is None else result.other_labels
    by_defect, by_image = (result.labels, other) if result.group_by == "defect" else (other, result.labels)
    rows = (
        (path_text(path), str(int(defect)), str(int(image)))
        for path, defect, image in zip(result.paths, by_defect, by_image, strict=True)
    )
    write_lines(stream, (("path", "by_defect", "by_image"), *rows))


def _csv_rows(result: Result, further: dict[str, list[Any]]) -> Iterator[tuple[str, ...]]:
    groups = result.groups
    for i, path in enumerate(result.paths):
        group = int(groups[i])
        yield (
            path_text(path),
            str(result.scores[i]),
            "true" if result.is_anomalous[i] else "false",
            str(group),
            name_text(result.cluster_name(group)),
            str(result.distances[i]),
            str(int(result.sizes[i][0])),
            str(int(result.sizes[i][1])),
            *(name_text(column[i]) if isinstance(column[i], str) else str(column[i]) for column in further.values()),
        )


def path_text(path: str) -> str:
    """A path as a field of a CSV file."""
    return quoted(_no_formula(path))


def name_text(name: str) -> str:
    r"""The name of a type, which a person may have given, as a field of a CSV file.

    >>> name_text("deep cut"), name_text("=1+1")
    ('"deep cut"', '"\'=1+1"')
    """
    return quoted(name if _no_formula(name) == name else f"'{name}")


def quoted(text: str) -> str:
    """A text as a field of a CSV file."""
    return '"' + text.replace('"', '""') + '"'


def _no_formula(path: str) -> str:
    """A name of the same file that no spreadsheet runs as a formula.

    >>> _no_formula("=cmd.png"), _no_formula("a=b.png")
    ('./=cmd.png', 'a=b.png')
    """
    return f"./{path}" if path[:1] in ("=", "+", "-", "@", "\t", "\r", "\n", " ") else path


def write_parquet(result: Result, stream: BinaryIO) -> None:
    """Write ``images.parquet``: the columns of the CSV with their types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    groups = [int(group) for group in result.groups]
    columns = {
        "path": pa.array([unicode_text(path) for path in result.paths], pa.string()),
        "score": pa.array(result.scores, pa.float32()),
        "is_anomalous": pa.array(result.is_anomalous, pa.bool_()),
        "cluster": pa.array(groups, pa.int64()),
        "cluster_name": pa.array([unicode_text(result.cluster_name(group)) for group in groups], pa.string()),
        "distance": pa.array(result.distances, pa.float32()),
        "height": pa.array(result.sizes[:, 0], pa.int64()),
        "width": pa.array(result.sizes[:, 1], pa.int64()),
    }
    types = {"regions": pa.int64(), "anomaly_probability": pa.float32(), "type_probability": pa.float32()}
    for name, values in further_columns(result).items():
        text = name not in types
        columns[name] = pa.array([unicode_text(v) for v in values] if text else values, types.get(name, pa.string()))
    if not all(is_unicode(path) for path in result.paths):
        columns["path_bytes"] = pa.array([os.fsencode(path) for path in result.paths], pa.binary())
    pq.write_table(pa.table(columns), stream, compression="zstd")


def unicode_text(text: str) -> str:
    r"""A text with odd bytes, which no Unicode file can hold, spelled as ``\\udcNN``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_unicode(text: str) -> bool:
    """Whether a path is valid Unicode, and not bytes of another encoding."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
