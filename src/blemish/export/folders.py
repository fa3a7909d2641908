"""Images in folders: by type, and in the tree of MVTec AD with their masks."""

from __future__ import annotations

import numpy as np

from blemish.export.content import Content, folder_names
from blemish.export.folder import ExportFolder
from blemish.types import BoolArray


def write_sorted(content: Content, folder: ExportFolder) -> None:
    """Write each image, as it is, into a folder with the name of its type, or into ``normal``."""
    names = {None: "normal"} | _folders(content, reserved=("normal",))
    for i in range(len(content.result.paths)):
        path = content.photos.usable(i)
        if path is not None:
            content.photos.copy(folder, f"{names[content.group(i)]}/{content.flat_stems[i]}", path)


def write_mvtec(content: Content, folder: ExportFolder) -> None:
    """Write the tree of one category of MVTec AD.

    ``test/<type>/`` has the images of a type and ``ground_truth/<type>/`` a mask for each, 0 or 255. Every other image of
    the normal group is in ``train/good/``, and the others are in ``test/good/``.
    """
    names = _folders(content, reserved=("good",))
    normal = 0
    for i in range(len(content.result.paths)):
        path, label, stem = content.photos.usable(i), content.group(i), content.flat_stems[i]
        if path is None:
            continue
        if label is None:
            content.photos.place(folder, f"{('train', 'test')[normal % 2]}/good/{stem}", path)
            normal += 1
        else:
            content.photos.place(folder, f"test/{names[label]}/{stem}", path)
            write_mask(folder, f"ground_truth/{names[label]}/{stem}_mask.png", content.mask(i))


def write_mask(folder: ExportFolder, relative: str, mask: BoolArray) -> None:
    """Write a mask as PNG, 0 and 255."""
    import imagecodecs

    encoded = imagecodecs.png_encode(np.where(mask, np.uint8(255), np.uint8(0)))
    folder.write_bytes(relative, encoded)


def _folders(content: Content, reserved: tuple[str, ...]) -> dict[int | None, str]:
    return dict(zip(content.types, folder_names(list(content.types.values()), reserved), strict=True))
