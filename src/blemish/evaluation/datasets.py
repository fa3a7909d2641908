"""Labeled sets on disk: finds images, classes and masks in one of several layouts.

Only evaluation reads this module; the method never sees a label. The layouts, in the order in which ``auto`` tries
them:

========  ==========================================================================================================
csv       a CSV file with columns ``path``, ``label`` and optionally ``mask``, paths relative to the file; or a folder
          that holds it as ``labels.csv`` or ``truth/labels.csv`` (as ``blemish demo`` writes it)
mvtec     ``<category>/test/<type>/*`` with masks in ``ground_truth/<type>/``; images of type ``combined`` are left out
mtd       ``MT_<Type>/Imgs/*.jpg`` with masks beside them as PNG: the Magnetic Tile Defects set as published
leaves    ``dataset.csv`` with ``id`` and ``predominant_stress``, images in ``images/``: the leaf part of BRACOL
          (lara2018)
folder    ``<type>/*``, with masks in ``masks/<type>/``, in ``masks/`` or in ``<type>/masks/`` if there are any
========  ==========================================================================================================

A folder of masks is called ``mask``, ``gt``, ``ground_truth``, ``label`` or ``annotation``, in any case, in the
singular or the plural. Masks are paired by name: the stem of the image, or that stem followed by ``_mask``; never by
position.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from blemish.errors import InputError, shown
from blemish.evaluation._csv_table import read_csv_set
from blemish.evaluation._layouts import read_folder, read_leaves, read_mtd, read_mvtec
from blemish.evaluation.labeled_set import NORMAL_NAMES, LabeledSet, is_normal
from blemish.evaluation.masks import Mask, read_mask
from blemish.runtime.csv_table import excerpt

__all__ = ["NORMAL_NAMES", "LabeledSet", "Layout", "Mask", "is_normal", "load_dataset", "read_mask"]

Layout = Literal["auto", "csv", "mvtec", "mtd", "leaves", "folder"]


def load_dataset(root: Path, layout: Layout = "auto") -> LabeledSet:
    """Find the images, labels and masks of a labeled set; no image is opened.

    Args:
        root: the folder of the set or of the category, or a CSV file.
        layout: one of the table above; ``auto`` takes the first that fits.

    Returns:
        Images sorted by path; for ``csv`` and ``leaves`` in the order of the file.

    Raises:
        InputError: the folder is missing or fits no layout; several categories; a mask without an image. The message
            names the file. Masks that cannot be used are no error here: the evaluation leaves their images out of the
            pixel scores and names them.
    """
    root = Path(root)
    if layout not in get_args(Layout):
        raise InputError(f"layout {excerpt(layout)!r} is not known; choose one of {', '.join(get_args(Layout))}")
    readers = {
        "csv": read_csv_set,
        "mvtec": read_mvtec,
        "mtd": read_mtd,
        "leaves": read_leaves,
        "folder": read_folder,
    }
    names = list(readers) if layout == "auto" else [layout]
    try:
        if not root.exists():
            raise InputError(f"{excerpt(root, 300)}: no such file or folder; check the path")
        found = next((result for result in (readers[name](root) for name in names) if result is not None), None)
    except OSError as error:
        place = excerpt(error.filename or root, 300)
        raise InputError(f"{place}: cannot be read ({error.strerror}); check the path and its permissions") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{excerpt(root, 300)}: is not a usable path ({error}); check the path") from error
    if found is None or not found.paths:
        what = "any known layout" if layout == "auto" else f"the layout {layout}"
        raise InputError(f"{shown(root)}: no labeled images in {what}; expected for example <type>/*.png, or a CSV")
    return found
