"""One result, in the format of another program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blemish.errors import ConfigError
from blemish.export.coco import write_coco, write_cvat
from blemish.export.content import Content, with_mask_regions
from blemish.export.fiftyone import write_fiftyone
from blemish.export.folder import ExportFolder
from blemish.export.folders import write_mvtec, write_sorted
from blemish.export.labelstudio import write_labelstudio
from blemish.export.maps import write_maps
from blemish.export.photos import Photos
from blemish.export.tables import write_csv_tables, write_parquet_tables
from blemish.export.yolo import write_yolo
from blemish.images import as_place
from blemish.output import load_result, refuse_inside
from blemish.review import with_review
from blemish.types import Skipped

FORMATS: dict[str, Callable[[Content, ExportFolder], None]] = {
    "csv": write_csv_tables,
    "parquet": write_parquet_tables,
    "coco": write_coco,
    "cvat": write_cvat,
    "labelstudio": write_labelstudio,
    "yolo": write_yolo,
    "mvtec": write_mvtec,
    "sorted": write_sorted,
    "fiftyone": write_fiftyone,
    "maps": write_maps,
}
"""Name of a format -> its writer."""


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        root: the folder.
        files: paths below it.
        regions: number of regions.
        skipped: images that are not part of it, because their file is missing or has changed.
    """

    root: Path
    files: list[str]
    regions: int
    skipped: list[Skipped]


def export_result(
    results: Path | str,
    to: str,
    out: Path | str | None = None,
    *,
    images: Path | str | None = None,
    link: bool = False,
) -> Exported:
    """Write a result in the format of another program.

    The export holds the regions of the result. A result without regions is exported with the connected parts of its
    masks. If the result was reviewed, types and regions are those after the review. Nothing in the results folder
    changes, and no image is moved.

    Args:
        results: a folder that a run has written.
        to: a name in ``FORMATS``.
        out: a new or empty folder, or one with an earlier export, whose files are replaced; ``RESULTS/export/<to>`` by
            default.
        images: the folder of the images, if it is not where the run found it.
        link: make hard links to the images in place of copies, where the disk allows it. A program that changes a linked
            image changes the original.

    Raises:
        ConfigError: the format is unknown.
        InputError: there are no complete results.
        OutputError: the folder holds other things, lies in the folder of the images, or cannot be written. It then is as
            it was before.
    """
    if to not in FORMATS:
        raise ConfigError(f"export format {to!r} is not known; choose {', '.join(FORMATS)}")
    root = Path(results)
    result = load_result(root)
    photos = Photos(result, None if images is None else as_place(images), link)
    target = root / "export" / to if out is None else Path(out)
    for source in (images, result.source):
        if source is not None:
            refuse_inside(target, Path(source))
    if not result.has_regions:
        result = with_mask_regions(result, root)
    result = with_review(result, root)
    with ExportFolder(target) as folder:
        FORMATS[to](Content(result, photos), folder)
        folder.finish()
    return Exported(target, sorted(folder.files), len(result.regions), photos.skipped())
