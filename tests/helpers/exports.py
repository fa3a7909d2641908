"""Results with image files on disk, ready to be exported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter

from blemish.output import to_bytes, write_outputs
from blemish.regions import extract_regions
from blemish.results import Result
from helpers.results import loader, make_result, with_regions


def write_photos(result: Result, folder: Path) -> None:
    """Write the photographs of a made-up result below a folder; ``..`` and the like must not lead out of it."""
    for i, path in enumerate(result.paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with open(folder / path, "wb") as stream:
            Image.fromarray(to_bytes(loader(result)(i))).save(stream, format="PNG")


def results_on_disk(root: Path, *, regions: bool = True, **changes: object) -> tuple[Result, Path]:
    """A small result with its photographs in ``root/photos``, written to ``root/results``; returns it and the folder."""
    result = make_result(3, (2, 2), **{"size": (48, 64), "source": str(root / "photos"), **changes})
    result = with_regions(result) if regions else result
    write_photos(result, root / "photos")
    write_outputs(result, root / "results", overlays=False)
    return result, root / "results"


@dataclass(frozen=True)
class Scratch:
    """A scratch three pixels wide across an upright image of 4000 x 300 pixels, stored on its side.

    Attributes:
        pixels: bool 4000 x 300, the scratch.
        near: bool 4000 x 300, what lies within two cells of the map of it.
        results: the results folder; the image has its outline at one sixteenth of the size.
    """

    pixels: np.ndarray
    near: np.ndarray
    results: Path


def scratch_on_disk(root: Path) -> Scratch:
    """Draw the scratch, and a map that marks the cells of 16 x 15 pixels that it crosses."""
    rows, columns = np.mgrid[0:4000, 0:300]
    pixels = (abs(columns - (40 + (rows - 800) * 0.12)) <= 1) & (rows >= 800) & (rows < 2600)
    upright = Image.fromarray(np.where(pixels, np.uint8(20), np.uint8(180)))
    sideways = upright.transpose(Image.Transpose.ROTATE_90)  # EXIF 6: turn it clockwise to see it upright
    exif = Image.Exif()
    exif[0x0112] = 6
    (root / "photos").mkdir(parents=True)
    sideways.save(root / "photos" / "scratch.png", exif=exif)
    cells = pixels.reshape(250, 16, 20, 15).any((1, 3)).astype(np.float32)
    plain = make_result(0, (1,), size=(4000, 300), paths=["scratch.png"], source=str(root / "photos"))
    shapes = extract_regions(cells, 0.2, 4000, 300)
    assert len(shapes) == 1
    result = replace(
        plain, maps=[cells], threshold=0.2, scores=np.ones(1, np.float32), regions=[shapes[0].region(0, 0)]
    )
    write_outputs(result, root / "results", overlays=False)
    return Scratch(pixels, maximum_filter(pixels, size=65), root / "results")


def polygon_pixels(rings: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Pixels inside an odd number of polygons, drawn by another library than ours."""
    from skimage.draw import polygon2mask

    inside = np.zeros((height, width), bool)
    for ring in rings:
        inside ^= polygon2mask((height, width), ring[:, ::-1] - 0.5)  # (row, column) of pixel centers
    return inside
