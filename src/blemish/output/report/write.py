"""Writes the report into an output folder: pictures as the images are read, then the data and the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from blemish.errors import ConfigError, InputError
from blemish.images import Photo
from blemish.output.claims import REPORT_DATA_FILE, REPORT_FILE
from blemish.output.folder import OutputFolder, Writer, claimed
from blemish.output.region_tables import regions_by_image
from blemish.output.report.build import FILES, FindFile, build_report, heat_scale
from blemish.output.report.page import render
from blemish.output.report.pictures import Pictures, draw_pictures
from blemish.results import Result

ReportMode = Literal["folder", "single"]

LIBRARY_FILE = f"{FILES}/plotly.min.js"
"""The chart library beside the page; its license stands at its beginning."""

MAX_EMBEDDED = 300
"""Images whose pictures are in the page if it is a single file, so that it can be sent by mail."""

WriteFile = Callable[[str, Writer], object]
"""Writes one file of the report, by its path below the output folder."""


class ReportWriter:
    """Draws the pictures of a report one by one, then writes the page. Thread-safe.

    Args:
        result: the result of a run.
        write: writes a file into the output folder.
        mode: ``folder`` puts all pictures beside the page, ``single`` puts those of the first images into it.
    """

    def __init__(self, result: Result, write: WriteFile, mode: ReportMode = "folder") -> None:
        if mode not in ("folder", "single"):
            raise ConfigError(f"report_mode={mode!r} is not known; choose folder or single")
        self._result, self._write, self._single = result, write, mode == "single"
        self._scale, self._regions = heat_scale(result), regions_by_image(result)
        self._pictures: dict[int, Pictures] = {}
        self._embedded = dict[str, bytes]()
        self._chosen = first_images(result, MAX_EMBEDDED) if self._single else frozenset[int]()

    def add(self, i: int, image: Photo | None) -> None:
        """Draw the pictures of image ``i``, float32 H x W x 3 in [0, 1]; None if it could not be read again."""
        drawn = draw_pictures(self._result, i, image, self._regions[i], self._scale)
        for name, content in drawn.files(i).items():
            if not self._single:
                self._write(f"{FILES}/{name}", _writes(content))
            elif i in self._chosen:
                self._embedded[f"{FILES}/{name}"] = content
        self._pictures[i] = drawn.without_content()

    def finish(self, find_file: FindFile | None = None, *, title: str | None = None) -> None:
        """Write ``report.json`` and the page once all images are drawn; see :func:`build_report` for the arguments."""
        from plotly.offline import get_plotlyjs

        pictures = [self._pictures[i] for i in range(len(self._result.paths))]
        data = build_report(self._result, pictures, find_file, title=title)
        library = get_plotlyjs()
        embedded = {name: self._embedded[name] for name in sorted(self._embedded)}
        page = render(data, pictures=embedded, library=library) if self._single else render(data)
        self._write(REPORT_FILE, _writes(page.encode("utf-8")))
        self._write(REPORT_DATA_FILE, _writes(f"{data.to_json()}\n".encode()))
        if not self._single:
            self._write(LIBRARY_FILE, _writes(library.encode("utf-8")))


def _writes(content: bytes) -> Writer:
    return lambda stream: stream.write(content)


def first_images(result: Result, count: int) -> frozenset[int]:
    """Rows of at most ``count`` images: of each group in turn the next nearest to its center."""
    ranks = np.zeros(len(result.paths), np.int64)
    for label in result.group_numbers:
        members = np.flatnonzero(result.groups == label)
        ranks[members[np.argsort(result.distances[members], kind="stable")]] = np.arange(len(members))
    return frozenset(np.lexsort((result.groups, ranks))[:count].tolist())


def write_report(
    result: Result,
    out_dir: Path | str | OutputFolder,
    load_image: Callable[[int], Photo] | None = None,
    *,
    title: str | None = None,
) -> Path:
    """Write the report alone, as a single file, into an output folder of ours; an earlier report is replaced.

    The page holds the pictures of the first 300 images. A run writes its report with :func:`blemish.output.write_outputs`.

    Args:
        result: the result of a run.
        out_dir: a folder that :func:`blemish.output.prepare_output` has claimed, or a path, which is claimed for this
            call.
        load_image: gives image ``i`` as float32 H x W x 3 in [0, 1]. An image has only its heat map if this is None or
            raises :class:`~blemish.errors.InputError`.
        title: heading of the page; by default the name of the input folder.

    Returns:
        Path of the page, ``report.html``; ``report.json`` beside it has the same numbers.

    Raises:
        OutputError: the folder is not ours or a file cannot be written.
    """
    with claimed(out_dir, result.source) as folder:
        report = ReportWriter(result, folder.replace, "single")
        for i in range(len(result.paths)):
            report.add(i, _loaded(load_image, i))
        report.finish(title=title)
        return folder.root / REPORT_FILE


def _loaded(load_image: Callable[[int], Photo] | None, i: int) -> Photo | None:
    if load_image is None:
        return None
    try:
        return load_image(i)
    except InputError:
        return None
