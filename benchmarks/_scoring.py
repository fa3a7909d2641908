"""Runs on a labeled set over seeds, scored against the labels: the cells of a table's row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks._results import Cell, Column
from blemish.backbones import Backbone
from blemish.config.schema import Config
from blemish.evaluation.datasets import LabeledSet
from blemish.evaluation.evaluate import run_and_score

SCORES = {
    "nmi": "NMI",
    "ari": "ARI",
    "f1": "F1",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "image_auroc": "image AUROC",
}
"""The scores that tables show, with their headings."""

SCORE_COLUMNS = tuple(Column(heading, "spread") for heading in SCORES.values())
ESTIMATE_COLUMNS = (Column("estimated groups", "integers"), Column("NMI, estimated", "spread"))


def configuration(cache: Path, settings: Sequence[str] = (), preset: str = "default") -> Config:
    """Settings given as ``section.key=value``, with a cache folder of the benchmark's own."""
    values = dict(one.split("=", 1) for one in settings)
    return Config.from_values({"cache.folder": str(cache), "preset": preset} | values, "--set")


def score_cells(data: LabeledSet, config: Config, seeds: Sequence[int], backbone: Backbone | None = None) -> list[Cell]:
    """One value per seed for each of SCORE_COLUMNS; there are as many groups as classes."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for seed in seeds:
        _, scored = run_and_score(data, config.updated(seed=seed, n_clusters=len(data.classes)), backbone=backbone)
        for name in SCORES:
            found[name].append(scored.scores[name])
    return [known(found[name]) for name in SCORES]


def estimate_cells(
    data: LabeledSet, config: Config, seeds: Sequence[int], backbone: Backbone | None = None
) -> list[Cell]:
    """The estimated number of groups and the NMI with it for each seed: ESTIMATE_COLUMNS.

    After :func:`score_cells` with the same settings, maps and descriptors come from the cache.
    """
    runs = [run_and_score(data, config.updated(seed=seed, n_clusters="auto"), backbone=backbone) for seed in seeds]
    return [[result.n_clusters for result, _ in runs], known([scored.scores["nmi"] for _, scored in runs])]


def known(values: Sequence[float]) -> Cell:
    """The values as a cell, None where the score is not defined for the set."""
    return None if any(value != value for value in values) else [round(float(value), 5) for value in values]
