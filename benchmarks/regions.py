"""Regions against the masks of labeled sets, for several values of the settings that join and drop regions.

    python -m benchmarks.regions --data FOLDER [--limit 200] [--write]

Only images that have a mask and that the run calls anomalous count: what is measured is how a map becomes regions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Column
from benchmarks._sets import labeled_sets
from blemish.config.schema import Config
from blemish.config.sections import Regions
from blemish.evaluation.datasets import LabeledSet
from blemish.evaluation.masks import read_mask_of
from blemish.pipeline import run
from blemish.regions import extract_regions, region_mask
from blemish.results import Result
from blemish.types import BoolArray

BENCHMARK = Benchmark(
    name="regions",
    title="Regions",
    text=(
        "How maps become regions, against the masks of labeled sets. A region is on a defect if it shares a pixel with the "
        "mask; a defect is a connected part of the mask, found if a region shares a pixel with it."
    ),
    columns=(
        Column("set"),
        Column("settings"),
        Column("images", "integer"),
        Column("defects", "integer"),
        Column("regions", "integer"),
        Column("images with one region", "number", digits=3),
        Column("regions on a defect", "number", digits=3),
        Column("defects found", "number", digits=3),
    ),
)

SETTINGS: dict[str, Regions] = {
    "default": Regions(),
    "speck_fraction=0": Regions(speck_fraction=0),
    "speck_fraction=0.1": Regions(speck_fraction=0.1),
    "speck_fraction=0.5": Regions(speck_fraction=0.5),
    "speck_fraction=1": Regions(speck_fraction=1),
    "min_cells=0": Regions(min_cells=0),
    "min_cells=2": Regions(min_cells=2),
    "join_cells=2": Regions(join_cells=2),
    "join_cells=3": Regions(join_cells=3),
}

Defects = tuple[int, npt.NDArray[np.int32]]
"""Row of an image, and the number of the defect in each of its pixels, 0 for none."""


def defects(dataset: LabeledSet, result: Result) -> Iterator[Defects]:
    """The defects of the images with a mask that the run calls anomalous."""
    from skimage.measure import label

    rows = {str(path): i for i, path in enumerate(result.paths)}
    for path, mask in zip(dataset.paths, dataset.masks, strict=True):
        i = rows.get(path.as_posix())
        if i is not None and mask is not None and result.is_anomalous[i]:
            height, width = (int(side) for side in result.sizes[i])
            yield i, label(read_mask_of(mask, height, width).defect, connectivity=2)


def compare(result: Result, found: list[Defects], settings: Regions) -> tuple[int, int, float, float, float]:
    """Numbers of defects and of regions; shares of images with one region, regions on a defect, defects found."""
    regions, single, hits, seen, total = 0, 0, 0, 0, 0
    for i, numbers in found:
        height, width = numbers.shape
        covered: BoolArray = np.zeros(numbers.shape, bool)
        shapes = extract_regions(np.asarray(result.maps[i]), result.threshold, height, width, settings)
        for one in shapes:
            window = slice(one.top, one.top + one.height), slice(one.left, one.left + one.width)
            inside = region_mask(one)
            hits += bool((numbers[window] * inside).any())
            covered[window] |= inside
        regions, single = regions + len(shapes), single + (len(shapes) == 1)
        seen += len(np.unique(numbers[covered & (numbers > 0)]))
        total += int(numbers.max())
    return total, regions, single / len(found), hits / regions, seen / total


def main() -> None:
    """Measure every labeled set that has masks."""
    options = parser(__doc__, data=True)
    options.add_argument("--limit", type=int, help="images of each set at most")
    args = options.parse_args()
    report = Report(BENCHMARK, args.write, [0])
    for dataset in labeled_sets(args.data, limit=args.limit):
        if not dataset.has_masks:
            continue
        result = run(dataset.paths, Config.from_values({"contrastive.enabled": False, "cache.enabled": False}))
        found = list(defects(dataset, result))
        for name, settings in SETTINGS.items():
            total, regions, *shares = compare(result, found, settings)
            report.add(dataset.name, name, len(found), total, regions, *shares)
    report.end()


if __name__ == "__main__":
    main()
