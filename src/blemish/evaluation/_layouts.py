"""Folder layouts of labeled sets: each reader returns the set, or None where the folder has another layout."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from blemish.errors import InputError, shown
from blemish.evaluation.labeled_set import LabeledSet, is_normal
from blemish.evaluation.masks import is_mask_folder, orphan_error, pair_masks, stem_in
from blemish.images import IMAGE_SUFFIXES
from blemish.runtime.csv_table import excerpt, read_table

# images with several defect types belong to no single group; the paper leaves them out too
_LEFT_OUT = frozenset({"combined"})
_STRESSES = {"0": "healthy", "1": "miner", "2": "rust", "3": "phoma", "4": "cercospora"}  # 5 is "undetermined"


def read_mvtec(root: Path) -> LabeledSet | None:
    """``<category>/test/<type>/*`` with masks in ``ground_truth/<type>/``; the type ``combined`` is left out.

    Raises:
        InputError: several categories in the folder, or masks that do not belong to the images.
    """
    categories = [root] if (root / "test").is_dir() else [d for d in _folders(root) if (d / "test").is_dir()]
    if not categories:
        return None
    if len(categories) > 1:
        names = ", ".join(shown(d.name) for d in categories[:10])
        raise InputError(f"{shown(root)}: holds {len(categories)} categories ({names}); give the folder of one of them")
    category = categories[0]
    masks = _mask_folder(category) or _mask_folder(category / "test")
    return _read_types(category.resolve().name, category / "test", masks, left_out=_LEFT_OUT)


def read_mtd(root: Path) -> LabeledSet | None:
    """``MT_<Type>/Imgs/*.jpg`` with masks beside them as PNG: the Magnetic Tile Defects set as published.

    Raises:
        InputError: masks that do not belong to the images.
    """
    folders = [d for d in _folders(root) if d.name.upper().startswith("MT_") and (d / "Imgs").is_dir()]
    if not folders:
        return None
    paths, labels, masks = list[Path](), list[str](), list[Path | None]()
    for folder in folders:
        files = _image_files(folder / "Imgs")
        images = [p for p in files if p.suffix.lower() != ".png"]
        paired = pair_masks(images, [p for p in files if p.suffix.lower() == ".png"])
        label = folder.name[3:].lower()
        paths += images
        labels += [label] * len(images)
        masks += [None] * len(images) if is_normal(label) else paired
    return LabeledSet(shown(root.resolve().name), paths, labels, masks)


def read_leaves(root: Path) -> LabeledSet | None:
    """``dataset.csv`` with ``id`` and ``predominant_stress``, images in ``images/``: the leaf part of BRACOL.

    Raises:
        InputError: a row without one of the two values, or without its image.
    """
    folder = next((d for d in (root, root / "leaf") if (d / "dataset.csv").is_file()), None)
    if folder is None:
        return None
    table = read_table(folder / "dataset.csv")
    if table.rows and not {"id", "predominant_stress"} <= set(table.columns):
        return None
    where, files = shown(folder / "dataset.csv"), {p.stem: p for p in _image_files(folder / "images")}
    for number, row in table.rows:
        if not row.get("id") or "predominant_stress" not in row:
            raise InputError(
                f"{where}, row {number}: id or predominant_stress is missing; fill it in or remove the row"
            )
    known = [row for _, row in table.rows if row["predominant_stress"] in _STRESSES]
    missing = [row["id"] for row in known if Path(row["id"]).stem not in files and row["id"] not in files]
    if missing:
        raise InputError(
            f"{shown(folder / 'images')}: {len(missing)} images of dataset.csv are missing, "
            f"the first is {excerpt(missing[0])}; add them"
        )
    paths = [files.get(row["id"]) or files[Path(row["id"]).stem] for row in known]
    labels = [_STRESSES[row["predominant_stress"]] for row in known]
    return LabeledSet(shown(root.resolve().name), paths, labels, [None] * len(paths))


def read_folder(root: Path) -> LabeledSet | None:
    """``<type>/*`` with masks in a mask folder: ``masks/<type>/``, ``masks/``, or ``<type>/masks/``.

    Raises:
        InputError: several mask folders, or masks that do not belong to the images.
    """
    return _read_types(root.resolve().name, root, _mask_folder(root)) if root.is_dir() else None


def _read_types(
    name: str, root: Path, mask_root: Path | None, *, left_out: Collection[str] = frozenset()
) -> LabeledSet:
    """One class per folder in ``root`` that is no mask folder."""
    types = [d for d in _folders(root) if not is_mask_folder(d.name)]
    images, masks = dict[str, list[Path]](), dict[str, list[Path]]()
    for folder in types:
        files = _image_files(folder)
        beside = {p for p in files if any(is_mask_folder(part) for part in p.relative_to(folder).parts[:-1])}
        images[folder.name] = [p for p in files if p not in beside]
        masks[folder.name] = sorted(beside) + (_image_files(mask_root / folder.name) if mask_root else [])
    if mask_root:
        _check_mask_types(mask_root, [folder.name for folder in types])
        _assign_by_stem([p for p in _image_files(mask_root) if p.parent == mask_root], images, masks)
    found = LabeledSet(shown(name), [], [], [])
    for label, paths in images.items():
        if label in left_out:
            continue
        paired = pair_masks(paths, masks[label])
        found.paths.extend(paths)
        found.labels.extend([label] * len(paths))
        found.masks.extend([None] * len(paths) if is_normal(label) else paired)
    return found


def _mask_folder(root: Path) -> Path | None:
    """The folder of masks beside the images, if there is one with images in it."""
    found = [d for d in _folders(root) if is_mask_folder(d.name) and _image_files(d)]
    if len(found) > 1:
        names = ", ".join(shown(d.name) for d in found)
        raise InputError(f"{shown(root)}: holds {len(found)} folders of masks ({names}); keep one of them")
    return found[0] if found else None


def _check_mask_types(mask_root: Path, types: Collection[str]) -> None:
    for folder in _folders(mask_root):
        if folder.name not in types and _image_files(folder):
            raise InputError(
                f"{shown(folder)}: masks of a type without a folder of images; name it after one of the types"
            )


def _assign_by_stem(flat: list[Path], images: dict[str, list[Path]], masks: dict[str, list[Path]]) -> None:
    """Add masks that lie in no folder of a type to the type whose image has their stem."""
    stems = {label: {p.stem for p in paths} for label, paths in images.items()}
    for mask in flat:
        labels = [label for label, known in stems.items() if stem_in(mask, known)]
        if len(labels) > 1:
            raise InputError(
                f"{shown(mask)}: images of {len(labels)} types have that name; "
                f"move the mask to {shown(mask.parent.name)}/<type>/"
            )
        if not labels:
            raise orphan_error(mask)
        masks[labels[0]].append(mask)


def _folders(folder: Path) -> list[Path]:
    return sorted(d for d in folder.iterdir() if d.is_dir() and not d.name.startswith(".")) if folder.is_dir() else []


def _image_files(folder: Path) -> list[Path]:
    """Image files below a folder, sorted; none if it is missing."""
    files = sorted(folder.rglob("*")) if folder.is_dir() else []
    return [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") and p.is_file()]
