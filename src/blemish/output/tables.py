r"""The table of images as CSV and as Parquet.

Neither file holds anything that differs between equal runs. Paths in the CSV are exact, byte for byte, with one
exception: a path that a spreadsheet would take for a formula (it starts with ``=``, ``+``, ``-``, ``@`` or white space)
gets ``./`` in front, which names the same file and is plain text. Parquet has every path unchanged. If a path is not
valid Unicode, the column ``path`` shows its odd bytes as ``\udcNN``, and a further column ``path_bytes`` holds the exact
names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from blemish.results import Result

COLUMNS = ("path", "score", "is_anomalous", "cluster", "cluster_name", "distance", "height", "width")


def write_csv(result: Result, stream: BinaryIO) -> None:
    """Write ``images.csv``: UTF-8, text in quotes, line feeds, and the fewest digits that restore each float32."""
    for row in (COLUMNS, *_csv_rows(result)):
        stream.write((",".join(row) + "\n").encode("utf-8", "surrogateescape"))


def write_groups_csv(result: Result, stream: BinaryIO) -> None:
    """Write ``groups.csv``: the group of each image by local defects and by whole surfaces, in both views."""
    other = result.labels if result.other_labels is None else result.other_labels
    by_defect, by_image = (result.labels, other) if result.group_by == "defect" else (other, result.labels)
    for row in (
        ("path", "by_defect", "by_image"),
        *(
            (_quoted(_no_formula(path)), str(int(defect)), str(int(image)))
            for path, defect, image in zip(result.paths, by_defect, by_image, strict=True)
        ),
    ):
        stream.write((",".join(row) + "\n").encode("utf-8", "surrogateescape"))


def _csv_rows(result: Result) -> Iterator[tuple[str, ...]]:
    for i, path in enumerate(result.paths):
        label = int(result.labels[i])
        yield (
            _quoted(_no_formula(path)),
            str(result.scores[i]),
            "true" if result.is_anomalous[i] else "false",
            str(label),
            _quoted(result.cluster_name(label)),
            str(result.distances[i]),
            str(int(result.sizes[i][0])),
            str(int(result.sizes[i][1])),
        )


def _quoted(text: str) -> str:
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

    labels = [int(label) for label in result.labels]
    columns = {
        "path": pa.array([p.encode("utf-8", "backslashreplace").decode("utf-8") for p in result.paths], pa.string()),
        "score": pa.array(result.scores, pa.float32()),
        "is_anomalous": pa.array(result.is_anomalous, pa.bool_()),
        "cluster": pa.array(labels, pa.int64()),
        "cluster_name": pa.array([result.cluster_name(label) for label in labels], pa.string()),
        "distance": pa.array(result.distances, pa.float32()),
        "height": pa.array(result.sizes[:, 0], pa.int64()),
        "width": pa.array(result.sizes[:, 1], pa.int64()),
    }
    if not all(is_unicode(path) for path in result.paths):
        columns["path_bytes"] = pa.array([os.fsencode(path) for path in result.paths], pa.binary())
    pq.write_table(pa.table(columns), stream, compression="zstd")


def is_unicode(text: str) -> bool:
    """Whether a path is valid Unicode, and not bytes of another encoding."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
