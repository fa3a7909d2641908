"""Groups by local defects and by whole images, and which of the two views a run takes.

    python -m benchmarks.views --data FOLDER [--images 60] [--write]

The sets whose types are whole surfaces are crops of photographs of textures, one type for each photograph. The sets
whose types are local defects are photographs with drawn defects, with and without normal images, and the labeled sets.
``DATA/panel`` is only looked at: no constant was chosen on it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Column
from benchmarks._sets import PANEL, labeled_sets, photograph_sets
from blemish.config.schema import Config
from blemish.evaluation.datasets import LabeledSet, is_normal
from blemish.evaluation.metrics import nmi
from blemish.pipeline import run

BENCHMARK = Benchmark(
    name="views",
    title="Groups by defect or by whole image",
    text=(
        "NMI of both groupings, with the number of groups given, and the two energies that decide between them. In the "
        "first rows a type is a whole surface (crops of one photograph of a texture), in the others a local defect."
    ),
    columns=(
        Column("set"),
        Column("images", "integer"),
        Column("groups", "integer"),
        Column("NMI by defect", "number", digits=3),
        Column("NMI by image", "number", digits=3),
        Column("between images", "number", digits=3),
        Column("local", "number", digits=3),
        Column("taken"),
    ),
)

CROP, CROPS = 160, 10
"""Side in pixels, and number, of the crops of a photograph."""

DRAWN = ("scratch", "stain", "hole", "thread", "color")
"""Types of drawn defects."""

Images = Sequence[Path] | Sequence[npt.NDArray[np.uint8]]


def surfaces(data: Path) -> Iterator[tuple[str, Images, list[str]]]:
    """Sets whose types are whole surfaces: photographs of any class, and of one class each."""
    paths = sorted((data / "textures").glob("*.jpg"))
    classes = sorted({path.name.split("_")[0] for path in paths})
    for seed in range(6):
        rng = np.random.default_rng(seed)
        same = [path for path in paths if seed < 3 or path.name.startswith(classes[seed])]
        chosen = [same[int(i)] for i in rng.choice(len(same), 8 if seed < 3 else 4, replace=False)]
        name = f"{len(chosen)} textures" if seed < 3 else f"{len(chosen)} {classes[seed]} textures"
        images = [crop for path in chosen for crop in _crops(path, rng)]
        yield f"{name} ({seed})", images, [path.stem for path in chosen for _ in range(CROPS)]


def _crops(path: Path, rng: np.random.Generator) -> list[npt.NDArray[np.uint8]]:
    with Image.open(path) as file:
        pixels = np.asarray(file.convert("RGB"))
    found = []
    for _ in range(CROPS):
        y, x = (int(rng.integers(0, side - CROP + 1)) for side in pixels.shape[:2])
        found.append(pixels[y : y + CROP, x : x + CROP])
    return found


def defects(data: Path, folder: Path, images: int) -> Iterator[tuple[str, Images, list[str]]]:
    """Sets whose types are local defects."""
    for name, draw in photograph_sets(data, folder, DRAWN, images).items():
        drawn = draw(0)
        yield name, *_content(drawn)
        bad = [i for i, label in enumerate(drawn.labels) if not is_normal(label)]
        yield f"{name}, no normal image", [drawn.paths[i] for i in bad], [drawn.labels[i] for i in bad]
    for name in ("leather", "leaves", *PANEL):
        yield f"{name} (panel)" if name in PANEL else name, *_content(next(labeled_sets(data, [name])))


def _content(data: LabeledSet) -> tuple[Images, list[str]]:
    return list(data.paths), list(data.labels)


def main() -> None:
    """Measure every set."""
    options = parser(__doc__, data=True)
    options.add_argument("--images", type=int, default=60, help="images of each drawn set")
    args = options.parse_args()
    report = Report(BENCHMARK, args.write, [0])
    with tempfile.TemporaryDirectory() as temporary:
        sets = [*surfaces(args.data), *defects(args.data, Path(temporary), args.images)]
        for name, images, labels in sets:
            config = Config.from_values({"n_clusters": len(set(labels)), "cache.enabled": False})
            result = run(images, config)
            if result.other_labels is None:
                raise SystemExit("the run has only one grouping")
            views = {result.group_by: result.labels, _other(result.group_by): result.other_labels}
            by_defect, by_image = (nmi(labels, views[view].tolist()) for view in ("defect", "image"))
            energies = result.info["view"]
            report.add(
                name,
                len(labels),
                len(set(labels)),
                by_defect,
                by_image,
                energies["between"],
                energies["local"],
                result.group_by,
            )
    report.end()


def _other(view: str) -> str:
    return "image" if view == "defect" else "defect"


if __name__ == "__main__":
    main()
