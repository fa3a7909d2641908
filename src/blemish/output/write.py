"""Writes the result of a run into a folder.

``run.json`` is written last: a folder without it is not a complete run. Everything that differs between equal runs
(date, timings) is in ``run.json`` alone. Tables, maps, masks, overlays and descriptors are therefore equal byte by byte
for equal seeds, images and library versions.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from blemish.errors import ConfigError, InputError
from blemish.output.colors import cluster_color
from blemish.output.folder import RUN_FILE, OutputFolder, prepare_output
from blemish.output.names import evaluation_prefix, file_stems
from blemish.output.overlays import binary_mask, draw_overlay, upsample_map
from blemish.output.run_file import run_document
from blemish.output.tables import write_csv, write_parquet
from blemish.results import Result, Skipped
from blemish.types import FloatArray

WRITERS = 2
"""Threads that draw and compress images; each holds one image in memory."""

MapSize = Literal["feature", "image", "none"]
LoadImage = Callable[[int], FloatArray]
Progress = Callable[[int, int], None]

OVERLAY_SIDE = 1024
"""Longest side of an overlay in pixels."""


@dataclass(frozen=True)
class OutputPaths:
    """Paths of the files and folders that were written; None for a folder that was not asked for.

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
    binary = Image.fromarray(binary_mask(values, result.threshold, height, width))
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
