"""Reads a results folder back into a :class:`~blemish.results.Result`, and checks what it reads.

The files may come from anywhere, so nothing in them is trusted: sizes are limited, there is no pickle, types and shapes
are checked, and the tables must have the checksums that ``run.json`` has for them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import stat
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blemish.errors import InputError
from blemish.output._read_regions import Damaged, column, read_regions
from blemish.output.claims import DATA_FILES, JOURNAL, RUN_FILE, hidden_files, read_run, short
from blemish.output.run_file import SCHEMA_VERSION
from blemish.output.stored_maps import stored_maps
from blemish.regions import Region
from blemish.results import UNSORTED, Result
from blemish.types import FloatArray, IntArray, Skipped

MAX_TABLE_BYTES = 2**32
"""Size up to which a table is read. A million images take some hundred megabytes."""


class _Counts(BaseModel):
    images: int = Field(ge=0)
    clusters: int = Field(ge=0)


class _Cluster(BaseModel):
    cluster: int = Field(ge=UNSORTED)
    normal: bool


class _Skipped(BaseModel):
    path: str
    reason: str


class _Run(BaseModel):
    """What ``run.json`` must have; anything else in it belongs to ``Result.info``."""

    model_config = ConfigDict(extra="allow", strict=True)

    written: str
    source: str | None
    counts: _Counts
    threshold: float | None
    threshold_warning: str | None
    n_clusters_warning: str | None = None
    drift_warning: str | None = None
    group_by: Literal["defect", "image"]
    group_by_reason: str | None
    type_names: dict[str, str] = {}
    clusters: list[_Cluster]
    timings: dict[str, float | None]
    skipped: list[_Skipped]
    not_drawn: list[_Skipped]
    files: list[str]
    sha256: dict[str, str] = {}


_OWN_KEYS = {*_Run.model_fields, "schema", "schema_version"}


def load_result(folder: Path | str) -> Result:
    """The result that :func:`blemish.output.write_outputs` wrote into a folder.

    Args:
        folder: the folder of ``--out``.

    Returns:
        The result. Its maps are read when they are used, from ``maps/``, else from ``anomaly_maps/`` at the size of the
        images; using them raises InputError if neither was written. ``info`` is as ``run.json`` has it. Regions are those
        of ``regions.parquet``, none if there is no such file.

    Raises:
        InputError: the folder has no results, those of an unfinished run or of another version; a file is missing, too
            large, damaged, or was changed since it was written. The message names the file and the remedy.

    Cost: one pass over the tables; no map and no image is read.
    """
    root = Path(folder)
    run = _read_run_file(root)
    table = _read_table(root, "images.parquet", run, run.counts.images)
    paths = _paths(root, table)
    rows = _read_rows(root, table)
    normal_label = next((one.cluster for one in run.clusters if one.normal), None)
    labels = np.where(rows["cluster"] == UNSORTED, 0 if normal_label is None else normal_label, rows["cluster"])
    return Result(
        paths=paths,
        sizes=rows["sizes"],
        scores=rows["score"],
        maps=stored_maps(root, paths, run.source),
        threshold=math.inf if run.threshold is None else run.threshold,
        is_anomalous=rows["is_anomalous"],
        labels=labels,
        normal_label=normal_label,
        distances=rows["distance"],
        descriptors=_read_descriptors(root, run),
        source=run.source,
        group_by=run.group_by,
        group_by_reason=run.group_by_reason,
        other_labels=_read_other_labels(root, run, labels),
        regions=_read_regions(root, run, rows["sizes"]),
        anomaly_probability=rows.get("anomaly_probability"),
        type_probability=rows.get("type_probability"),
        type_names={int(label): name for label, name in run.type_names.items() if label.lstrip("-").isdecimal()},
        skipped=[Skipped(one.path, one.reason) for one in run.skipped],
        threshold_warning=run.threshold_warning,
        n_clusters_warning=run.n_clusters_warning,
        drift_warning=run.drift_warning,
        timings={name: math.nan if value is None else value for name, value in run.timings.items()},
        info={key: value for key, value in (run.model_extra or {}).items() if key not in _OWN_KEYS},
    )


def _read_rows(root: Path, table: Any) -> dict[str, Any]:
    """The columns of ``images.parquet`` as arrays, by name, and ``sizes``, N x 2; probabilities only where they are."""
    kinds = {"cluster": np.int64, "is_anomalous": np.bool_, "score": np.float32, "distance": np.float32}
    kinds |= {name: np.float32 for name in ("anomaly_probability", "type_probability") if name in table.column_names}
    try:
        rows = {name: column(table, name, kind) for name, kind in kinds.items()}
        rows["sizes"] = np.stack([column(table, name, np.int64) for name in ("height", "width")], axis=1)
        if (rows["sizes"] < 1).any() or (rows["cluster"] < UNSORTED).any():
            raise Damaged("a size or a group is out of range")
    except Damaged as error:
        raise _damaged(root / "images.parquet", str(error)) from None
    return rows


def _read_regions(root: Path, run: _Run, sizes: IntArray) -> list[Region]:
    """``regions.parquet``; an empty list if the run wrote none."""
    if "regions.parquet" not in run.files:
        return []
    try:
        return read_regions(_read_table(root, "regions.parquet", run, None), sizes)
    except Damaged as error:
        raise _damaged(root / "regions.parquet", str(error)) from None


def _read_run_file(root: Path) -> _Run:
    """``run.json``, checked."""
    if not root.is_dir():
        raise InputError(f"{short(root)}: is not a folder; give the folder that --out named")
    document = read_run(root)
    if document is None:
        if os.path.lexists(root / RUN_FILE):
            raise InputError(f"{short(root / RUN_FILE)}: is damaged or not ours; give a folder that blemish run wrote")
        if (root / JOURNAL).exists() or hidden_files(root):
            raise InputError(
                f"{short(root)}: the run that wrote it has not ended, or was stopped; wait, or run it again"
            )
        raise InputError(f"{short(root)}: holds no results (no {RUN_FILE}); give the folder that --out named")
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{short(root)}: was written by another version of blemish (schema {short(str(version))}, this version reads "
            f"{SCHEMA_VERSION}); run again, or use the version that wrote it"
        )
    try:
        return _Run.model_validate(document)
    except (ValidationError, RecursionError) as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) if isinstance(error, ValidationError) else "nesting"
        raise _damaged(root / RUN_FILE, f"at {where}") from None


def _damaged(path: Path, detail: str) -> InputError:
    return InputError(f"{short(path)}: is damaged ({short(detail)}); run again to write all results")


def _content(root: Path, name: str, run: _Run) -> bytes:
    """Content of a table; InputError if it is missing, too large, or not what the run wrote."""
    path = root / name
    assert name in DATA_FILES
    try:
        status = os.lstat(path)
    except OSError:
        raise InputError(f"{short(path)}: is missing; run again to write all results") from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{short(path)}: is not a file; run again to write all results")
    if status.st_size > MAX_TABLE_BYTES:
        raise InputError(f"{short(path)}: is too large to be a table of ours ({status.st_size} bytes); run again")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{short(path)}: cannot be read ({error.strerror}); check its permissions") from None
    expected = run.sha256.get(name)
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise InputError(f"{short(path)}: was changed since the run wrote it; run again, or bring the old file back")
    return content


def _read_table(root: Path, name: str, run: _Run, count: int | None) -> Any:
    """A Parquet file as a table of Arrow, with ``count`` rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = _content(root, name, run)
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        if size > MAX_TABLE_BYTES:
            raise _damaged(root / name, f"{size} bytes once decompressed")
        table = file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise error if isinstance(error, InputError) else _damaged(root / name, "not a Parquet file") from None
    if count is not None and table.num_rows != count:
        raise _damaged(root / name, f"{table.num_rows} rows, but run.json has {count} images")
    return table


def _paths(root: Path, table: Any) -> list[str]:
    """Exact names of the images."""
    name = "path_bytes" if "path_bytes" in table.column_names else "path"
    values: list[Any] = table[name].to_pylist() if name in table.column_names else [None]
    if not all(isinstance(value, bytes | str) for value in values):
        raise _damaged(root / "images.parquet", "no column of paths")
    return [os.fsdecode(value) for value in values]


def _read_descriptors(root: Path, run: _Run) -> FloatArray:
    """``descriptors.npy``: N x D float32, finite."""
    count = run.counts.images
    content = io.BytesIO(_content(root, "descriptors.npy", run))
    try:
        values: FloatArray = np.load(content, allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError):
        raise _damaged(root / "descriptors.npy", "not an array of numbers") from None
    if not isinstance(values, np.ndarray) or values.ndim != 2 or len(values) != count or values.dtype != np.float32:
        raise _damaged(root / "descriptors.npy", f"not {count} rows of float32")
    if not np.isfinite(values).all():
        raise _damaged(root / "descriptors.npy", "NaN or infinite values")
    return values


def _read_other_labels(root: Path, run: _Run, labels: IntArray) -> IntArray | None:
    """The groups in the other view, from ``groups.csv``; None if the run made one view only."""
    if "groups.csv" not in run.files:
        return None
    text = _content(root, "groups.csv", run).decode("utf-8", "surrogateescape")
    name = {"defect": "by_image", "image": "by_defect"}[run.group_by]
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        other = np.array([int(row[name]) for row in rows], np.int64)
    except (KeyError, ValueError, TypeError, OverflowError, csv.Error):
        raise _damaged(root / "groups.csv", "not a table of groups") from None
    if len(other) != len(labels) or other.min() < -1:
        raise _damaged(root / "groups.csv", f"{len(other)} rows for {len(labels)} images")
    return other
