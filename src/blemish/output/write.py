"""Writes the result of a run into a folder.

``run.json`` arrives last: a folder without it is not a complete run. Everything that differs between equal runs (date,
timings) is in ``run.json`` alone. Tables, maps, masks, overlays, descriptors and the report are therefore equal byte by
byte for equal seeds, images and library versions.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import numpy as np

from blemish.errors import ConfigError, InputError, OutputError
from blemish.images import Photo
from blemish.output.claims import REPORT_FILE, RUN_FILE, short
from blemish.output.colors import cluster_color
from blemish.output.folder import OutputFolder, claimed
from blemish.output.names import evaluation_prefix, file_stems
from blemish.output.next_to_check import write_next_to_check
from blemish.output.overlays import draw_overlay
from blemish.output.region_tables import regions_by_image, with_contrast, write_regions_csv, write_regions_parquet
from blemish.output.report import FindFile, ReportMode, ReportWriter
from blemish.output.run_file import run_document
from blemish.output.tables import is_unicode, write_csv, write_groups_csv, write_parquet
from blemish.regions import binary_mask, upsample_map
from blemish.results import Result, Skipped
from blemish.types import FloatArray

WRITERS = 2
"""Threads that draw and compress images; each holds one image in memory."""

MapSize = Literal["feature", "image", "none"]
LoadImage = Callable[[int], Photo]
Progress = Callable[[int, int], None]

OVERLAY_SIDE = 1024
"""Longest side of an overlay in pixels."""


@dataclass(frozen=True)
class OutputPaths:
    """Paths of the files and folders that were written; None for one that was not asked for.

    Attributes:
        not_drawn: images without an overlay, or without a photograph in the report, because their file had vanished or
            changed since the run read it. Whoever shows a summary should name them.
    """

    root: Path
    run: Path
    csv: Path
    parquet: Path
    descriptors: Path
    maps: Path | None = None
    masks: Path | None = None
    overlays: Path | None = None
    report: Path | None = None
    not_drawn: list[Skipped] = field(default_factory=list)


def write_outputs(
    result: Result,
    out_dir: Path | str | OutputFolder,
    *,
    maps: MapSize = "feature",
    overlays: bool = True,
    report: bool = False,
    report_mode: ReportMode = "folder",
    model: bool = True,
    title: str | None = None,
    load_image: LoadImage | None = None,
    progress: Progress | None = None,
) -> OutputPaths:
    """Write tables, maps, masks, overlays, descriptors and ``run.json``, and the report if it is asked for.

    The files of a previous run are replaced once all new ones are complete; if anything fails before, they stay as they
    are. The disk must hold both for that time.

    Args:
        result: the result of a run.
        out_dir: a folder that :func:`blemish.output.prepare_output` has claimed, or a path, which is claimed for this call.
        maps: ``feature`` writes ``maps/PATH.tiff`` at feature resolution; ``image`` writes ``anomaly_maps/PATH.tiff`` at
            the size of the images, in the tree that MVTec's evaluation reads; ``none`` writes no maps. TIFF, float32,
            zlib.
        overlays: write ``overlays/PATH.jpg``: the photograph with the anomalous regions outlined in the color of the
            group, longest side 1024. Needs ``load_image``. Images of the normal group have no outlines; unsorted ones do.
        report: write ``report.html`` and ``report.json``.
        report_mode: ``folder`` puts the pictures of the report into ``report_files``; ``single`` puts those of the first
            300 images into the page, which can then be sent as one file.
        model: write the fitted model into ``model/``, if the result has one.
        title: heading of the report; by default the name of the input folder.
        load_image: gives image ``i`` as float32 H x W x 3 in [0, 1], or by its stored values. If it raises
            :class:`InputError`, or the size is another than ``result.sizes`` says, the picture is left out and noted in
            ``run.json`` and in the returned value.
        progress: called as ``progress(images done, number of images)``.

    Returns:
        The paths that were written. ``masks/PATH.png`` (0 or 255 at image size: map above the threshold) always are.

    Raises:
        OutputError: the folder is not ours, a file cannot be written, or the result holds a number that is not finite;
            the message names it.
        ConfigError: ``maps`` is none of the three, or ``report_mode`` none of the two.

    The files have the names of the images with another suffix; :func:`blemish.output.names.file_stems` says what happens
    where two names would be the same. ``WRITERS`` images are in memory at a time, and ``load_image`` is called from as
    many threads.
    """
    if maps not in get_args(MapSize):
        raise ConfigError(f"maps={maps!r} is not known; choose feature, image or none")
    _check_finite(result)
    photos = _Photos(result, load_image) if load_image is not None else None
    with claimed(out_dir, result.source) as folder:
        root = folder.root
        reporter = ReportWriter(result, folder.write, report_mode) if report else None
        result = _write_images(folder, result, maps, photos, overlays, reporter, progress)
        folder.write("images.csv", lambda stream: write_csv(result, stream))
        if result.other_labels is not None:
            folder.write("groups.csv", lambda stream: write_groups_csv(result, stream))
        folder.write("images.parquet", lambda stream: write_parquet(result, stream))
        folder.write("next_to_check.csv", lambda stream: write_next_to_check(result, stream))
        if result.has_regions:
            folder.write("regions.csv", lambda stream: write_regions_csv(result, stream))
            folder.write("regions.parquet", lambda stream: write_regions_parquet(result, stream))
        folder.write("descriptors.npy", lambda stream: np.save(stream, result.descriptors, allow_pickle=False))
        if model and result.model is not None:
            for name, content in result.model.files().items():
                folder.write(f"model/{name}", lambda stream, content=content: stream.write(content))  # type: ignore[misc]
        if reporter is not None:
            reporter.finish(_page_files(result, overlays, photos), title=title)
        not_drawn = photos.missing() if photos is not None else []
        folder.finish(run_document(result, not_drawn))
    map_folder = {"feature": root / "maps", "image": root / "anomaly_maps", "none": None}[maps]
    return OutputPaths(
        root=root,
        run=root / RUN_FILE,
        csv=root / "images.csv",
        parquet=root / "images.parquet",
        descriptors=root / "descriptors.npy",
        maps=map_folder,
        masks=root / "masks",
        overlays=root / "overlays" if overlays and photos is not None else None,
        report=root / REPORT_FILE if report else None,
        not_drawn=not_drawn,
    )


def _check_finite(result: Result) -> None:
    """Raise OutputError if a table would hold a number that is infinite or not a number."""
    for name, rows in (
        ("score", result.scores),
        ("distance to the center", result.distances),
        ("descriptor", result.descriptors),
        ("probability of being anomalous", result.anomaly_probability),
        ("probability of its type", result.type_probability),
    ):
        if rows is None or not len(rows):
            continue
        finite = np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
        if not finite.all():
            _refuse(result, int(np.argmin(finite)), name)
    for region in result.regions:
        numbers = (region.score, region.elongation, region.orientation, region.contrast or 0, region.confidence or 0)
        if not np.isfinite(numbers).all():
            _refuse(result, region.image, "region")


def _refuse(result: Result, i: int, name: str) -> None:
    raise OutputError(
        f"{short(result.paths[i])}: its {name} is not a finite number, so nothing was written; "
        "run again without this image, and report it"
    )


class _Photos:
    """Loads the photographs, and remembers which have vanished or changed since the run. Thread-safe."""

    def __init__(self, result: Result, load_image: LoadImage) -> None:
        self._result, self._load = result, load_image
        self._missing: dict[int, str] = {}

    def get(self, i: int) -> Photo | None:
        """Image ``i``; None if it has vanished or changed."""
        try:
            image = self._load(i)
            if image.shape[:2] != tuple(self._result.sizes[i]):
                raise InputError(f"{short(self._result.paths[i])}: has changed since the run read it")
        except InputError as error:
            self._missing[i] = str(error)
            return None
        return image

    def missing(self) -> list[Skipped]:
        """The images that could not be loaded, in the order of the result."""
        return [Skipped(self._result.paths[i], reason) for i, reason in sorted(self._missing.items())]


def _page_files(result: Result, overlays: bool, photos: _Photos | None) -> FindFile:
    """Says which files of this run the page can show beside a thumbnail."""
    stems = file_stems(result.paths)
    gone = set(result.paths) if photos is None or not overlays else {one.path for one in photos.missing()}

    def find(i: int, kind: str) -> str | None:
        name = f"masks/{stems[i]}.png" if kind == "mask" else f"overlays/{stems[i]}.jpg"
        if not is_unicode(name) or (kind == "overlay" and result.paths[i] in gone):
            return None
        return name

    return find


def _write_images(
    folder: OutputFolder,
    result: Result,
    maps: MapSize,
    photos: _Photos | None,
    overlays: bool,
    reporter: ReportWriter | None,
    progress: Progress | None,
) -> Result:
    """Write map, mask, overlay and pictures of every image; the result comes back with the contrast of its regions."""
    stems = file_stems(result.paths)
    prefix = evaluation_prefix(result.source, result.paths) if maps == "image" else ""
    regions = regions_by_image(result)

    def write_image(i: int) -> None:
        values = np.ascontiguousarray(result.maps[i], dtype=np.float32)
        if not np.isfinite(values).all():
            _refuse(result, i, "map")
        _write_mask(folder, result, i, stems[i], values)
        if maps != "none":
            _write_map(folder, result, i, prefix + stems[i], values, maps)
        needed = photos is not None and (overlays or regions[i] or reporter is not None)
        photo = photos.get(i) if photos is not None and needed else None
        if photo is not None:
            regions[i] = with_contrast(regions[i], photo, values.shape[0])
            if overlays:
                _write_overlay(folder, result, i, stems[i], values, photo)
        if reporter is not None:
            reporter.add(i, photo)

    with ThreadPoolExecutor(WRITERS, thread_name_prefix="write") as pool:
        for i, _ in enumerate(pool.map(write_image, range(len(stems)))):
            if progress is not None:
                progress(i + 1, len(stems))
    return replace(result, regions=[region for one in regions for region in one])


def _write_map(folder: OutputFolder, result: Result, i: int, stem: str, values: FloatArray, maps: MapSize) -> None:
    if maps == "feature":
        folder.write(f"maps/{stem}.tiff", lambda stream: _save_tiff(stream, values))
        return
    whole = upsample_map(values, int(result.sizes[i][0]), int(result.sizes[i][1]))
    folder.write(f"anomaly_maps/{stem}.tiff", lambda stream: _save_tiff(stream, whole))


def _write_mask(folder: OutputFolder, result: Result, i: int, stem: str, values: FloatArray) -> None:
    from PIL import Image

    height, width = (int(side) for side in result.sizes[i])
    mask = Image.fromarray(binary_mask(values, result.threshold, height, width))
    folder.write(f"masks/{stem}.png", lambda stream: mask.save(stream, format="PNG"))


def _write_overlay(folder: OutputFolder, result: Result, i: int, stem: str, values: FloatArray, image: Photo) -> None:
    group = int(result.groups[i])
    color = None if group == result.normal_label else cluster_color(group, result.normal_label)
    picture, encoded = draw_overlay(image, values, result.threshold, color, OVERLAY_SIDE), io.BytesIO()
    picture.save(encoded, format="JPEG", quality=90)  # in memory: Pillow hides the system's reason if a file is refused
    folder.write(f"overlays/{stem}.jpg", lambda stream: stream.write(encoded.getbuffer()))


def _save_tiff(stream: BinaryIO, values: FloatArray) -> None:
    import tifffile

    # no date and no description of the shape: only the numbers decide the bytes
    tifffile.imwrite(
        stream, values, photometric="minisblack", compression="zlib", software="blemish", metadata=None, datetime=None
    )
