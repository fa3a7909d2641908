"""Labeled folders for evaluation: images with their class, their defect mask and, where there is one, their
silhouette.

Nothing but evaluation reads this module. Layouts, in the order in which ``auto`` tries them:

========  ==========================================================================================================
csv       a CSV file with columns ``path``, ``label`` and optionally ``mask``, paths relative to the file; or a folder
          that holds it as ``labels.csv`` or ``truth/labels.csv`` (what ``blemish demo`` writes)
mvtec     ``<category>/test/<type>/*`` with masks in ``ground_truth/<type>/``; images of type ``combined`` are left out
mtd       ``MT_<Type>/Imgs/*.jpg``, masks beside them as PNG: the Magnetic Tile Defects set as published
leaves    ``dataset.csv`` with ``id`` and ``predominant_stress``, images in ``images/``: the leaf part of BRACOL
(lara2018)
folder    ``<type>/*``, with masks in ``ground_truth/<type>/`` or ``masks/<type>/`` if there are any
========  ==========================================================================================================

Masks are paired by name: the image's stem, or the stem followed by ``_mask``; never by position. Either no image of a
type has a mask or every one has.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError, shown
from blemish.images import IMAGE_SUFFIXES, decode, probe

Layout = Literal["auto", "csv", "mvtec", "mtd", "leaves", "folder"]

NORMAL_NAMES = frozenset({"good", "free", "normal", "ok", "healthy"})
"""Names of classes without a defect, in any case."""

# several defect types in one image: no single right group, left out by the paper too
_LEFT_OUT = frozenset({"combined"})
_MASK_FOLDERS = ("ground_truth", "masks")
_STRESSES = {"0": "healthy", "1": "miner", "2": "rust", "3": "phoma", "4": "cercospora"}  # 5 is "undetermined"


@dataclass(frozen=True)
class LabeledSet:
    """Images and what is known about them, one entry per image, in the order of ``paths``.

    Attributes:
        name: short name for tables, the category's or the folder's.
        paths: the image files.
        labels: class of each image.
        masks: file of each image's defect mask; None for normal images, and for all images of a type without masks.
        foregrounds: file of each image's silhouette (pixels that belong to the object), None where there is none.
    """

    name: str
    paths: list[Path]
    labels: list[str]
    masks: list[Path | None]
    foregrounds: list[Path | None]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def classes(self) -> list[str]:
        """Distinct labels, normal ones first, then by name."""
        return sorted(set(self.labels), key=lambda label: (not is_normal(label), label))

    @property
    def is_anomalous(self) -> npt.NDArray[np.bool_]:
        """N bool: the image's class is none of :data:`NORMAL_NAMES`."""
        return np.array([not is_normal(label) for label in self.labels], dtype=np.bool_)

    @property
    def has_masks(self) -> bool:
        """Whether localization can be scored: there is a mask."""
        return any(mask is not None for mask in self.masks)

    @property
    def is_drawn(self) -> npt.NDArray[np.bool_]:
        """N bool: every pixel's truth is known, because the image is normal or has a mask."""
        known = [mask is not None or is_normal(label) for mask, label in zip(self.masks, self.labels, strict=True)]
        return np.array(known, dtype=np.bool_)

    def take(self, indices: Iterable[int]) -> LabeledSet:
        """The images at these places, in this order."""
        chosen = list(indices)
        return replace(
            self,
            paths=[self.paths[i] for i in chosen],
            labels=[self.labels[i] for i in chosen],
            masks=[self.masks[i] for i in chosen],
            foregrounds=[self.foregrounds[i] for i in chosen],
        )

    def matching(self, names: Sequence[str]) -> LabeledSet:
        """The images of a run by their names in it, in the run's order, which may lack unreadable ones.

        Raises:
            InputError: a name that is no path of this set.
        """
        place = {path.as_posix(): index for index, path in enumerate(self.paths)}
        unknown = next((name for name in names if name not in place), None)
        if unknown is not None:
            raise InputError(f"{unknown}: is in the run but not in {self.name}; run on the paths of the set itself")
        return self.take(place[name] for name in names)

    def limited(self, count: int, *, seed: int = 0) -> LabeledSet:
        """A random part for a quick look: at most ``count`` images, shares of the classes kept, each class at least
        once.

        Raises:
            InputError: fewer images asked for than there are classes.
        """
        if count >= len(self):
            return self
        classes = self.classes
        if count < len(classes):
            raise InputError(f"a limit of {count} images leaves no room for {len(classes)} classes; raise the limit")
        labels = np.array(self.labels, dtype=object)
        rng = np.random.default_rng(seed)
        queues = [rng.permutation(np.flatnonzero(labels == label)).tolist() for label in classes]
        shares = [len(queue) * count / len(self) for queue in queues]
        sizes = [1] * len(classes)
        while sum(sizes) < count:  # the class that lags furthest behind its share comes next
            open_ = [i for i in range(len(classes)) if sizes[i] < len(queues[i])]
            sizes[max(open_, key=lambda i: shares[i] - sizes[i])] += 1
        return self.take(sorted(i for queue, size in zip(queues, sizes, strict=True) for i in queue[:size]))


def is_normal(label: str) -> bool:
    """Whether a class name means "no defect".

    >>> is_normal("Good"), is_normal("crack")
    (True, False)
    """
    return label.strip().casefold() in NORMAL_NAMES


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """Defect mask: bool H x W, True above half of the file's brightest value, so that 0/1 and 0/255 read alike."""
    values = decode(path).max(axis=2)
    return np.asarray((values > 0) & (values * 2 > values.max()))


def load_dataset(root: Path, layout: Layout = "auto") -> LabeledSet:
    """Find images, labels and masks of a labeled set; only headers of files are read.

    Args:
        root: the set's folder, the category's folder, or a CSV file.
        layout: one of the table above; ``auto`` recognizes it.

    Returns:
        Images sorted by path (in the file's order for ``csv`` and ``leaves``).

    Raises:
        InputError: the folder is missing or matches no layout; several categories; a mask without image, an image
            without mask in a type that has masks, a mask of another size than its image. The message names the file.
    """
    root = Path(root)
    if layout not in get_args(Layout):
        raise InputError(f"layout {layout!r} is not known; choose one of {', '.join(get_args(Layout))}")
    if not root.exists():
        raise InputError(f"{shown(root)}: no such file or folder; check the path")
    readers = {"csv": _csv, "mvtec": _mvtec, "mtd": _mtd, "leaves": _leaves, "folder": _folder}
    names = list(readers) if layout == "auto" else [layout]
    found = next((result for result in (readers[name](root) for name in names) if result is not None), None)
    if found is None or not found.paths:
        what = "any known layout" if layout == "auto" else f"the layout {layout}"
        raise InputError(f"{shown(root)}: no labeled images in {what}; expected for example <type>/*.png, or a CSV")
    _check_masks(found)
    return found


def _mvtec(root: Path) -> LabeledSet | None:
    categories = [root] if (root / "test").is_dir() else [d for d in _folders(root) if (d / "test").is_dir()]
    if not categories:
        return None
    if len(categories) > 1:
        names = ", ".join(d.name for d in categories)
        raise InputError(f"{shown(root)}: holds {len(categories)} categories ({names}); give the folder of one of them")
    category = categories[0]
    paths, labels, masks, foregrounds = list[Path](), list[str](), list[Path | None](), list[Path | None]()
    masked = (category / "ground_truth").is_dir()
    for kind in _folders(category / "test"):
        if kind.name in _LEFT_OUT:
            continue
        images = _images(kind)
        drawn = _paired(images, _images(category / "ground_truth" / kind.name)) if masked else [None] * len(images)
        silhouettes = {p.stem: p for p in _images(category / "foreground" / kind.name)}
        paths += images
        labels += [kind.name] * len(images)
        masks += [None] * len(images) if is_normal(kind.name) else drawn
        foregrounds += [silhouettes.get(p.stem) for p in images]
    return LabeledSet(category.resolve().name, paths, labels, masks, foregrounds)


def _mtd(root: Path) -> LabeledSet | None:
    kinds = [d for d in _folders(root) if d.name.upper().startswith("MT_") and (d / "Imgs").is_dir()]
    if not kinds:
        return None
    paths, labels, masks = list[Path](), list[str](), list[Path | None]()
    for kind in kinds:
        files = _images(kind / "Imgs")
        images = [p for p in files if p.suffix.lower() != ".png"]
        drawn = _paired(images, [p for p in files if p.suffix.lower() == ".png"])
        label = kind.name[3:].lower()
        paths += images
        labels += [label] * len(images)
        masks += [None] * len(images) if is_normal(label) else drawn
    return LabeledSet(root.resolve().name, paths, labels, masks, [None] * len(paths))


def _leaves(root: Path) -> LabeledSet | None:
    folder = next((d for d in (root, root / "leaf") if (d / "dataset.csv").is_file()), None)
    if folder is None:
        return None
    table = _rows(folder / "dataset.csv")
    if table and not {"id", "predominant_stress"} <= table[0].keys():
        return None
    files = {p.stem: p for p in _images(folder / "images")}
    for number, row in enumerate(table, start=2):
        if not row.get("id") or "predominant_stress" not in row:
            where = shown(folder / "dataset.csv")
            raise InputError(
                f"{where}, row {number}: id or predominant_stress is missing; fill it in or remove the row"
            )
    known = [row for row in table if row["predominant_stress"] in _STRESSES]
    missing = [row["id"] for row in known if Path(row["id"]).stem not in files and row["id"] not in files]
    if missing:
        where = shown(folder / "images")
        raise InputError(
            f"{where}: {len(missing)} images of dataset.csv are missing, the first is {missing[0]}; add them"
        )
    paths = [files.get(row["id"]) or files[Path(row["id"]).stem] for row in known]
    labels = [_STRESSES[row["predominant_stress"]] for row in known]
    return LabeledSet(root.resolve().name, paths, labels, [None] * len(paths), [None] * len(paths))


def _folder(root: Path) -> LabeledSet | None:
    if not root.is_dir():
        return None
    drawn = next((root / name for name in _MASK_FOLDERS if (root / name).is_dir()), None)
    paths, labels, masks = list[Path](), list[str](), list[Path | None]()
    for kind in _folders(root):
        if kind == drawn:
            continue
        images = _images(kind)
        found = _paired(images, _images(drawn / kind.name)) if drawn else [None] * len(images)
        paths += images
        labels += [kind.name] * len(images)
        masks += [None] * len(images) if is_normal(kind.name) else found
    return LabeledSet(root.resolve().name, paths, labels, masks, [None] * len(paths))


def _csv(root: Path) -> LabeledSet | None:
    places = [root] if root.is_file() else [root / "labels.csv", root / "truth" / "labels.csv"]
    file = next((p for p in places if p.is_file()), None)
    if file is None:
        return None
    table = _rows(file)
    if not table or not {"path", "label"} <= table[0].keys():
        raise InputError(f"{shown(file)}: needs a header with the columns path and label (mask is optional), and rows")
    paths, labels, masks, seen = list[Path](), list[str](), list[Path | None](), set[str]()
    for number, row in enumerate(table, start=2):
        path, label, mask = (row.get(column) or "" for column in ("path", "label", "mask"))
        if not path or not label:
            raise InputError(f"{shown(file)}, row {number}: path or label is empty; fill it in")
        for entry in filter(None, (path, mask)):
            if not (file.parent / entry).is_file():
                raise InputError(
                    f"{shown(file)}, row {number}: {shown(entry)} is no file; paths are relative to the CSV"
                )
        if path in seen:
            raise InputError(f"{shown(file)}, row {number}: {shown(path)} is listed twice; remove one")
        seen.add(path)
        paths.append(file.parent / path)
        labels.append(label)
        masks.append(file.parent / mask if mask and not is_normal(label) else None)
    folder = file.resolve().parent
    return LabeledSet(
        (folder.parent if folder.name == "truth" else folder).name, paths, labels, masks, [None] * len(paths)
    )


def _rows(file: Path) -> list[dict[str, str]]:
    """Rows of a CSV by lower-case column name; comma, semicolon or tab, with or without a byte order mark."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{shown(file)}: cannot be read as UTF-8 text ({type(error).__name__}); save it as CSV"
        ) from error
    head = text.split("\n", 1)[0]
    reader = csv.reader(text.splitlines(), delimiter=max(",;\t", key=head.count))
    columns = [name.strip().lower() for name in next(reader, [])]
    return [dict(zip(columns, (v.strip() for v in row), strict=False)) for row in reader if any(row)]


def _folders(folder: Path) -> list[Path]:
    return sorted(d for d in folder.iterdir() if d.is_dir() and not d.name.startswith(".")) if folder.is_dir() else []


def _images(folder: Path) -> list[Path]:
    """Image files below a folder, sorted; none where it is missing."""
    files = sorted(folder.rglob("*")) if folder.is_dir() else []
    return [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") and p.is_file()]


def _paired(images: Sequence[Path], masks: Sequence[Path]) -> list[Path | None]:
    """Mask of each image by name; a mask that belongs to no image is an error."""
    by_stem: dict[str, Path] = {}
    stems = {p.stem for p in images}
    for mask in masks:
        stem = mask.stem if mask.stem in stems else mask.stem.removesuffix("_mask")
        if stem not in stems:
            raise InputError(f"{shown(mask)}: mask without an image of that name; remove it or add the image")
        if stem in by_stem:
            raise InputError(f"{shown(mask)}: second mask for one image, next to {by_stem[stem].name}; remove one")
        by_stem[stem] = mask
    return [by_stem.get(p.stem) for p in images]


def _check_masks(found: LabeledSet) -> None:
    masked = {label for label, mask in zip(found.labels, found.masks, strict=True) if mask is not None}
    for path, label, mask in zip(found.paths, found.labels, found.masks, strict=True):
        if mask is None:
            if label in masked:
                raise InputError(f"{shown(path)}: shows a defect ({label}) and has no mask, others have; add its mask")
            continue
        image, drawn = probe(path), probe(mask)
        if (image.height, image.width) != (drawn.height, drawn.width):
            raise InputError(
                f"{shown(mask)}: is {drawn.height} x {drawn.width}, its image {image.height} x {image.width}; "
                "masks must have the size of their image"
            )
