"""Writes what a run found into a folder.

``run.json`` is written last: a folder without it is not a complete run. Everything that differs between equal runs
(date, timings) is in ``run.json`` alone, so tables, maps, masks, overlays and descriptors are equal byte by byte for
equal seeds, images and library versions.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from blemish.errors import ConfigError, InputError, shown
from blemish.output.folder import RUN_FILE, SCHEMA, SCHEMA_VERSION, OutputFolder, prepare_output
from blemish.output.overlays import cluster_color, draw_overlay, mask, upsample_map
from blemish.output.tables import evaluation_prefix, file_stems, write_csv, write_parquet
from blemish.results import Result, Skipped
from blemish.types import FloatArray

__all__ = ["MapSize", "OutputPaths", "prepare_output", "run_document", "write_outputs"]

WRITERS = 2
"""Images that are drawn and compressed at a time."""

MapSize = Literal["feature", "image", "none"]
LoadImage = Callable[[int], FloatArray]
Progress = Callable[[int, int], None]

OVERLAY_SIDE = 1024
"""Longest side of an overlay in pixels."""


@dataclass(frozen=True)
class OutputPaths:
    """Where things are; a folder is None if it was not asked for.

    Attributes:
        not_drawn: images without an overlay, because their file could not be read a second time.
    """

    root: Path
    run: Path
    csv: Path
    parquet: Path
    descriptors: Path
    maps: Path | None = None
    masks: Path | None = None
    overlays: Path | None = None
    not_drawn: list[Skipped] = field(default_factory=list)


def write_outputs(
    result: Result,
    out_dir: Path | str,
    *,
    maps: MapSize = "feature",
    overlays: bool = True,
    load_image: LoadImage | None = None,
    progress: Progress | None = None,
) -> OutputPaths:
    """Write tables, maps, masks, overlays, descriptors and ``run.json``; the files of a previous run are replaced.

    Args:
        result: what the run found.
        out_dir: folder, passed through :func:`prepare_output` (which see for what it refuses).
        maps: ``feature``: ``maps/PATH.tiff`` at feature resolution; ``image``: ``anomaly_maps/PATH.tiff`` at the size
            of the images, in the tree that MVTec's evaluation reads; ``none``. TIFF, float32, zlib.
        overlays: write ``overlays/PATH.jpg``, contours colored by cluster, longest side 1024; needs ``load_image``.
            Images of the normal group have no contours.
        load_image: gives image ``i`` as float32 H x W x 3 in [0, 1]. If it raises :class:`InputError` (the file has
            vanished) the overlay is left out and noted in ``run.json`` and in the value returned.
        progress: called as ``progress(images done, images in all)``.

    Returns:
        The paths written. ``masks/PATH.png`` (0 or 255 at image size: map above the threshold) always are.

    Raises:
        OutputError: the folder is not ours or a file cannot be written; the message names it.
        ConfigError: ``maps`` is none of the three.

    Names are those of the images with another suffix; :func:`blemish.output.tables.file_stems` says what happens where two
    would be the same. `WRITERS` images are in memory at a time; ``load_image`` is called from as many threads.
    """
    if maps not in get_args(MapSize):
        raise ConfigError(f"maps={maps!r} is not known; choose feature, image or none")
    root = prepare_output(out_dir, result.source)
    with OutputFolder(root) as folder:
        folder.write("images.csv", lambda p: write_csv(result, p))
        folder.write("images.parquet", lambda p: write_parquet(result, p))
        folder.write("descriptors.npy", lambda p: _save_array(p, result.descriptors))
        not_drawn: list[Skipped] = []

        def write_image(i: int, stem: str) -> Skipped | None:
            _write_map(folder, result, i, stem, maps)
            return _write_pictures(folder, result, i, stem, load_image if overlays else None)

        stems = file_stems(result.paths)
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="write") as pool:
            for i, failed in enumerate(pool.map(write_image, range(len(stems)), stems)):
                not_drawn += [failed] if failed else []
                if progress is not None:
                    progress(i + 1, len(result.paths))
        folder.finish(run_document(result, not_drawn))
    map_folder = {"feature": root / "maps", "image": root / "anomaly_maps", "none": None}[maps]
    return OutputPaths(
        root,
        root / RUN_FILE,
        root / "images.csv",
        root / "images.parquet",
        root / "descriptors.npy",
        map_folder,
        root / "masks",
        root / "overlays" if overlays and load_image is not None else None,
        not_drawn,
    )


def _save_array(path: Path, values: FloatArray) -> None:
    with open(path, "wb") as stream:  # np.save would add a suffix to a name
        np.save(stream, values, allow_pickle=False)


def _write_map(folder: OutputFolder, result: Result, i: int, stem: str, maps: MapSize) -> None:
    if maps == "none":
        return
    values = np.ascontiguousarray(result.maps[i], dtype=np.float32)
    name = f"maps/{stem}.tiff"
    if maps == "image":
        name = f"anomaly_maps/{evaluation_prefix(result.source, result.paths)}{stem}.tiff"
        values = upsample_map(values, int(result.sizes[i][0]), int(result.sizes[i][1]))
    folder.write(name, lambda p: _save_tiff(p, values))


def _save_tiff(path: Path, values: FloatArray) -> None:
    import tifffile

    # no date, no shape description: nothing but the numbers decides the bytes
    tifffile.imwrite(
        path, values, photometric="minisblack", compression="zlib", software="blemish", metadata=None, datetime=None
    )


def _write_pictures(
    folder: OutputFolder, result: Result, i: int, stem: str, load_image: LoadImage | None
) -> Skipped | None:
    from PIL import Image

    values, label = np.asarray(result.maps[i]), int(result.labels[i])
    height, width = (int(side) for side in result.sizes[i])
    binary = Image.fromarray(mask(values, result.threshold, height, width))
    folder.write(f"masks/{stem}.png", lambda p: binary.save(p, format="PNG"))
    if load_image is None:
        return None
    try:
        image = load_image(i)
    except InputError as error:
        return Skipped(result.paths[i], str(error))
    color = None if label == result.normal_label else cluster_color(label, result.normal_label)
    picture = draw_overlay(image, values, result.threshold, color, OVERLAY_SIDE)
    folder.write(f"overlays/{stem}.jpg", lambda p: picture.save(p, format="JPEG", quality=90))
    return None


def run_document(result: Result, not_drawn: list[Skipped] | None = None) -> dict[str, object]:
    """What ``run.json`` says, ready for JSON; where ``info`` has a key of ours, ours wins.

    Numbers that JSON has no word for (infinite, not a number) become null; paths that are not Unicode keep their odd
    bytes as lone surrogates, which JSON can hold escaped.
    """
    info = _plain(result.info)
    return {
        **(info if isinstance(info, dict) else {}),
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "source": result.source,
        "counts": {
            "images": len(result.paths),
            "anomalous": int(np.count_nonzero(result.is_anomalous)),
            "skipped": len(result.skipped),
            "clusters": result.n_clusters,
        },
        "threshold": _plain(float(result.threshold)),
        "image_threshold": _plain(float(result.threshold)),
        "caution": result.threshold_warning,
        "clusters": [_cluster(result, label) for label in range(result.n_clusters)],
        "timings": _plain(result.timings),
        "skipped": [_plain(item) for item in result.skipped],
        "not_drawn": [_plain(item) for item in not_drawn or []],
    }


def _cluster(result: Result, label: int) -> dict[str, object]:
    members = result.labels == label
    return {
        "cluster": label,
        "name": result.cluster_name(label),
        "normal": label == result.normal_label,
        "images": int(members.sum()),
        "median_score": _plain(float(np.median(result.scores[members]))) if members.any() else None,
        "color": "#{:02x}{:02x}{:02x}".format(*cluster_color(label, result.normal_label)),
    }


def _plain(value: Any) -> Any:
    """Settings of any origin as what JSON has: dictionaries, lists, text, numbers, null."""
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "model_dump"):
        return _plain(value.model_dump(mode="json"))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=str)
    return shown(str(value))
