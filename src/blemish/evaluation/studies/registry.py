"""Studies on a labeled set, by name. They measure each part of the method and how results depend on settings and data.

Every study runs the unchanged pipeline, which sees image paths and settings only, and scores the results afterwards.
Settings that a study does not vary are those it is given; no study changes a default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from blemish.errors import InputError
from blemish.evaluation.evaluate import resolve_settings
from blemish.evaluation.labeled_set import LabeledSet
from blemish.evaluation.studies.data_studies import contamination, normals, size
from blemish.evaluation.studies.method_studies import ablation, tau, weighting
from blemish.evaluation.studies.picture_studies import contours, maps, tsne
from blemish.evaluation.studies.runner import StudyResult, StudyRunner
from blemish.runtime.csv_table import excerpt

if TYPE_CHECKING:
    from blemish.backbones import Backbone
    from blemish.config.schema import Config
    from blemish.runtime.progress import Progress


@dataclass(frozen=True)
class Study:
    """One study.

    Attributes:
        run: makes the runs and collects the result.
        figure: kind of figure; None if the study has tables only.
        description: what the study compares, in one line.
    """

    run: Callable[[StudyRunner], StudyResult]
    figure: Literal["lines", "scatter", "grid"] | None
    description: str


STUDIES: dict[str, Study] = {
    "ablation": Study(ablation, None, "each localization, with and without contrastive heads, with each clustering"),
    "weighting": Study(weighting, None, "thresholded, softmax, average or maximum pooling of the descriptors"),
    "tau": Study(tau, "lines", "NMI against the temperature, with and without contrastive heads"),
    "contamination": Study(contamination, "lines", "scores against the share of anomalous images"),
    "normals": Study(normals, "lines", "scores against the share of normal images, with every anomalous image"),
    "size": Study(size, "lines", "scores against the number of images"),
    "tsne": Study(tsne, "scatter", "descriptors in the plane, before and after the contrastive heads"),
    "maps": Study(maps, "grid", "image, mask and the maps of each localization"),
    "contours": Study(contours, "grid", "contours of the anomalous regions, by group"),
}
"""Every study by name."""


def find_study(name: str) -> Study:
    """The study of that name.

    Raises:
        InputError: no study has that name; the message lists the names.
    """
    if name not in STUDIES:
        raise InputError(f"study {excerpt(name)!r} is not known; choose one of {', '.join(STUDIES)}")
    return STUDIES[name]


def run_study(
    name: str,
    data: LabeledSet,
    config: Config | None = None,
    *,
    n_clusters: int | Literal["auto"] | None = None,
    seeds: Sequence[int] | None = None,
    backbone: Backbone | None = None,
    progress: Progress | None = None,
) -> StudyResult:
    """Run one of :data:`STUDIES`.

    Args:
        name: name of the study.
        data: the labeled set, as for :func:`blemish.evaluation.evaluate`; so are the following arguments.
        config: the settings that the study does not vary; default ``Config()``.
        n_clusters: number of groups, ``auto``, or None for one per class.
        seeds: seeds of the runs; default: the one in ``config``.
        backbone: a network in place of the one that the settings name.
        progress: is told about every stage of every run.

    Raises:
        InputError: the name is unknown, or the set does not have the images that the study needs.
        ConfigError: no seed, or settings that do not fit the images.

    Cost: many runs. A set from :meth:`LabeledSet.limited` gives a quick first result.
    """
    study = find_study(name)
    settings, all_seeds = resolve_settings(data, config, seeds)
    runner = StudyRunner(data, settings, n_clusters, all_seeds, backbone, progress)
    found = study.run(runner)
    return replace(found, skipped=runner.skipped(), left_out=runner.left_out())
