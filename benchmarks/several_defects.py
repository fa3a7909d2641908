"""Two defects of different types in one image: how often both are found and named.

    python -m benchmarks.several_defects --data FOLDER [--sets leather leaves] [--cache-dir DIR] [--write]

Images are composed of two labeled images each, see `benchmarks/_composing.py`; a run then has them in place of their
sources.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks._command import Benchmark, Report, parser
from benchmarks._composing import Composed, compose
from benchmarks._results import Column
from benchmarks._scoring import configuration
from benchmarks._sets import named_set
from blemish.clustering import UNLIKE
from blemish.config.schema import Config
from blemish.evaluation.datasets import LabeledSet, is_normal
from blemish.evaluation.metrics import ari
from blemish.model import FittedModel
from blemish.pipeline import run
from blemish.regions import Region, region_mask
from blemish.results import Result
from blemish.types import BoolArray

BENCHMARK = Benchmark(
    name="several_defects",
    title="Two defects in one image",
    text=(
        "Images composed of two labeled images: the defect of one is pasted, with a soft edge, into another one with a "
        "defect of another type. A label's types are the group that most of its images are in, and the groups in which most "
        "images have that label. Apart: different regions lie on the two defects. Both named: the image's regions have a "
        "type of each label; pairs of labels that the run has in one group are left out. Right: regions on a defect that "
        "have a type of its label. Unlike: regions on a defect that are called unlike anything seen. Both alone: composed "
        "images whose two sources, predicted by the fitted model one by one, are both in a group of their label; pairs left "
        "out as before. Right alone: images with one defect in a group of their label. One type: other anomalous images "
        "whose regions are all of one type. ARI: adjusted Rand index between the groups of those images and the types of "
        "their strongest regions."
    ),
    columns=(
        Column("set"),
        Column("images", "integer"),
        Column("composed", "integer"),
        Column("apart", "spread"),
        Column("both named", "spread"),
        Column("right", "spread"),
        Column("unlike", "spread"),
        Column("both alone", "spread"),
        Column("right alone", "spread"),
        Column("one type", "spread"),
        Column("ARI", "spread"),
    ),
)

COMPOSED = {"drawn weave": (10, 3), "leather": (10, 3), "leaves": (40, 1)}
"""Composed images of each run, for which twice as many sources leave the set, and number of runs."""


@dataclass(frozen=True)
class Found:
    """What a run says about one composed image.

    Attributes:
        apart: whether different regions lie on the two defects.
        both: whether the image's set of types has types of both labels; None where the run has both labels in one group.
        right: for each region that lies on one of the defects, whether it has a type of that defect.
        unlike: for each of these regions, whether it is called unlike anything seen.
    """

    apart: bool
    both: bool | None
    right: list[bool]
    unlike: list[bool]


def main() -> None:
    """Measure every set."""
    options = parser(__doc__, data=True, cache=True)
    options.add_argument("--sets", nargs="+", choices=list(COMPOSED), default=list(COMPOSED))
    args = options.parse_args()
    report = Report(BENCHMARK, args.write, range(max(runs for _, runs in COMPOSED.values())))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = configuration(args.cache_dir or folder / "cache")
        for name in args.sets:
            count, runs = COMPOSED[name]
            measured = [
                _measured(
                    named_set(args.data, folder, name, seed),
                    count,
                    config.updated(seed=seed),
                    folder / f"{name} {seed}",
                )
                for seed in range(runs)
            ]
            images, composed, *scores = zip(*measured, strict=True)
            report.add(name, images[0], sum(composed), *map(list, scores))
    report.end()


def _measured(data: LabeledSet, count: int, config: Config, place: Path) -> tuple[int, int, *tuple[float, ...]]:
    """Number of images and of composed ones, then the scores of one run; images are composed into ``place``."""
    place.mkdir()
    rest, composed = compose(data, place, count, config.seed)
    paths = [*rest.paths, *(one.path for one in composed)]
    result = run(paths, config.updated(n_clusters=len(data.classes)))
    types = types_of_labels(rest, result)
    found = [look(result, result.paths.index(one.path.as_posix()), one, types) for one in composed]
    return (
        len(paths),
        len(composed),
        _share([one.apart for one in found]),
        _share([one.both for one in found if one.both is not None]),
        _share([right for one in found for right in one.right]),
        _share([unlike for one in found for unlike in one.unlike]),
        _share(_sources_right(data, composed, result, types)),
        _alone(rest, result, types),
        *agreement(result, {path.as_posix() for path in rest.paths}),
    )


def _sources_right(
    data: LabeledSet, composed: Sequence[Composed], result: Result, types: dict[str, set[int]]
) -> list[bool]:
    """For each composed image whether both of its sources are in a group of their label if the model sees them alone."""
    assert isinstance(result.model, FittedModel)
    counted = [one for one in composed if not _in_one_group(one, types)]
    sources = [source for one in counted for source in one.sources]
    labels = iter(result.model.predict([data.paths[source] for source in sources]).labels) if sources else iter(())
    right = [int(next(labels)) in types[data.labels[source]] for source in sources]
    return [all(pair) for pair in zip(right[::2], right[1::2], strict=True)]


def _in_one_group(composed: Composed, types: dict[str, set[int]]) -> bool:
    first, second = (types[label] for label in composed.types)
    return first == second


def _alone(data: LabeledSet, result: Result, types: dict[str, set[int]]) -> float:
    """Share of the images with one defect that are in a group of their label."""
    rows = {path: row for row, path in enumerate(result.paths)}
    pairs = zip(data.paths, data.labels, strict=True)
    return _share(
        [result.labels[rows[path.as_posix()]] in types[label] for path, label in pairs if not is_normal(label)]
    )


def types_of_labels(data: LabeledSet, result: Result) -> dict[str, set[int]]:
    """For each label the group that most of its images are in, and the groups in which most images have it."""
    rows = {path: row for row, path in enumerate(result.paths)}
    names = data.classes
    shared = np.zeros((len(names), result.n_clusters), np.int64)
    for path, label in zip(data.paths, data.labels, strict=True):
        shared[names.index(label), result.labels[rows[path.as_posix()]]] += 1
    types = {name: {int(groups.argmax())} for name, groups in zip(names, shared, strict=True)}
    for group in np.flatnonzero(shared.any(0)):
        types[names[int(shared[:, group].argmax())]].add(int(group))
    return types


def look(result: Result, row: int, composed: Composed, types: dict[str, set[int]]) -> Found:
    """Compare the regions of one composed image with its two defects."""
    regions = [one for one in result.regions if one.image == row]
    covers = [[_shared(one, mask) for mask in composed.masks] for one in regions]
    on = [(region, int(np.argmax(cover))) for region, cover in zip(regions, covers, strict=True) if max(cover)]
    first, second = (types[label] for label in composed.types)
    named = {one.label for one in regions}
    return Found(
        apart={which for _, which in on} == {0, 1},
        both=None
        if _in_one_group(composed, types)
        else any(len({a, b}) == 2 for a in first & named for b in second & named),
        right=[region.label in types[composed.types[which]] for region, which in on],
        unlike=[region.label == UNLIKE for region, _ in on],
    )


def _shared(region: Region, mask: BoolArray) -> int:
    """Pixels that a region and a mask share."""
    window = slice(region.top, region.top + region.height), slice(region.left, region.left + region.width)
    return int((mask[window] & region_mask(region)).sum())


def agreement(result: Result, paths: set[str]) -> tuple[float, float]:
    """Of the anomalous images with these paths: share with one known type of region, and ARI of groups and leading regions."""
    types: dict[int, list[int]] = {}
    for region in result.regions:  # the strongest region of an image comes first
        types.setdefault(region.image, []).append(region.label)
    rows = [row for row in types if result.paths[row] in paths and result.labels[row] != result.normal_label]
    one = [len(set(types[row]) - {UNLIKE}) <= 1 for row in rows]
    return _share(one), ari([int(result.labels[row]) for row in rows], [types[row][0] for row in rows])


def _share(values: Sequence[bool]) -> float:
    return float(np.mean(values)) if values else float("nan")


if __name__ == "__main__":
    main()
