"""Studies on a labeled set: what each part of the method is worth, and how results follow settings and data.

Every study runs the pipeline as it is, which sees paths and settings only, and scores the results afterwards. Nothing
here changes a default: a study describes. Settings that a study does not vary are those it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from blemish.errors import InputError
from blemish.evaluation.datasets import LabeledSet
from blemish.evaluation.evaluate import RunScores, checked
from blemish.evaluation.metrics import clustering_scores
from blemish.evaluation.studies.bench import Bench, Findings, Row, localizations
from blemish.evaluation.studies.pictures import contours, maps, tsne

if TYPE_CHECKING:
    from blemish.backbones import Backbone
    from blemish.config.schema import Config
    from blemish.pipeline import Progress

__all__ = ["STUDIES", "Findings", "Study", "find_study", "run_study"]

TAU_FRACTIONS = (0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.25, 0.4, 0.7, 1.2)
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
NORMAL_SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
SMALLEST_SET = 20
CLUSTERINGS = ("consensus", "ward", "kmeans", "spectral", "gmm")


@dataclass(frozen=True)
class Study:
    """How a study is done, what figure it gives (None: tables only), and what it shows in one line."""

    conduct: Callable[[Bench], Findings]
    figure: Literal["lines", "scatter", "grid"] | None
    about: str


def find_study(name: str) -> Study:
    """One of :data:`STUDIES`; InputError with their names if it is none."""
    if name not in STUDIES:
        raise InputError(f"study {name!r} is not known; choose one of {', '.join(STUDIES)}")
    return STUDIES[name]


def run_study(
    name: str,
    data: LabeledSet,
    config: Config | None = None,
    *,
    clusters: int | Literal["auto"] | None = None,
    seeds: Sequence[int] | None = None,
    backbone: Backbone | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Conduct one of :data:`STUDIES`; arguments as of :func:`blemish.evaluation.evaluate.evaluate`.

    Raises:
        InputError: unknown name, or a set that the study cannot be done on. ConfigError: no seed.

    Cost: many runs; ``limited`` sets give a first look.
    """
    study = find_study(name)
    settings, wanted = checked(data, config, seeds)
    bench = Bench(data, settings, clusters, wanted, backbone, progress)
    found = study.conduct(bench)
    return replace(found, skipped=bench.skipped())


def ablation(bench: Bench) -> Findings:
    """Localization x contrast x clustering. The clusterings of one localization share its run, and an estimated number of groups."""
    from blemish.pipeline import group

    rows = []
    for seed in bench.seeds:
        for place, changes in localizations(bench.config).items():
            for contrast in (False, True):
                varied = {**changes, "contrast.enabled": contrast}
                result, found = bench.run(f"{place}{', contrast' * contrast}", seed, varied)
                truth = bench.data.matching(result.paths).labels
                # the run's descriptors hold length, shape and fading already
                regrouped: dict[str, Any] = {"descriptor.normalize": False, "descriptor.geometry": 0.0}
                if bench.config.cluster.normal == "gate":
                    regrouped["cluster.normal"] = "together"
                no_shapes = np.zeros((len(truth), 3), np.float32)
                for method in CLUSTERINGS:
                    config = bench.settings(seed, varied | regrouped | {"cluster.method": method})
                    if config.clusters == "auto":
                        config = config.updated(clusters=result.n_clusters)
                    labels, _, _ = group(result.descriptors, no_shapes, result.scores, result.threshold, config)
                    keys: Row = {"localization": place, "contrast": contrast, "clustering": method, "seed": seed}
                    rows.append(keys | found.scores | clustering_scores(truth, labels))
    return Findings("ablation", bench.data.name, ("localization", "contrast", "clustering"), rows)


def weighting(bench: Bench) -> Findings:
    """How the pixels are weighted in an image's descriptor."""
    return _sweep(
        bench, "weighting", "weighting", {name: name for name in ("excess", "softmax", "average", "max")}, "descriptor"
    )


def tau(bench: Bench) -> Findings:
    """Temperature of the softmax, with and without the contrastive head."""
    rows = []
    for seed in bench.seeds:
        for contrast in (False, True):
            for fraction in TAU_FRACTIONS:
                changes = {
                    "descriptor.weighting": "softmax",
                    "descriptor.tau": None,
                    "descriptor.tau_fraction": fraction,
                    "contrast.enabled": contrast,
                }
                _, found = bench.run(f"tau {fraction:g}{', contrast' * contrast}", seed, changes)
                rows.append({"contrast": contrast, "tau_fraction": fraction, "seed": seed} | found.scores)
    return Findings("tau", bench.data.name, ("contrast", "tau_fraction"), rows)


def _sweep(bench: Bench, study: str, column: str, values: Mapping[str, Any], section: str) -> Findings:
    rows = []
    for seed in bench.seeds:
        for label, value in values.items():
            _, found = bench.run(f"{column} {label}", seed, {f"{section}.{column}": value})
            rows.append({column: label, "seed": seed} | found.scores)
    return Findings(study, bench.data.name, (column,), rows)


def contamination(bench: Bench) -> Findings:
    """Share of anomalous images from 1 % to 60 %, the number of images the same for every share.

    The draws of one seed are nested: the anomalous images of a small share are among those of a larger one.
    """
    note = "The number of images is the largest that all shares can be drawn with."
    return _by_share(bench, "contamination", contaminated, "anomalous", (note,))


def contaminated(data: LabeledSet, seed: int) -> list[tuple[LabeledSet, float]]:
    """Parts of a set with each of :data:`SHARES` of anomalous images, at least one, and the share that came out.

    Raises:
        InputError: no normal or no anomalous image.
    """
    anomalous = data.is_anomalous
    bad, good = np.flatnonzero(anomalous), np.flatnonzero(~anomalous)
    if not len(bad) or not len(good):
        raise InputError(f"{data.name}: a study of contamination needs normal and anomalous images")
    total = max(2, min(int(len(bad) / SHARES[-1]), int(len(good) / (1 - SHARES[0]))))
    rng = np.random.default_rng([seed, 1])
    bad, good = rng.permutation(bad), rng.permutation(good)
    counts = dict.fromkeys(min(max(1, round(share * total)), len(bad)) for share in SHARES)
    parts = [(count, sorted([*bad[:count].tolist(), *good[: total - count].tolist()])) for count in counts]
    return [(data.take(chosen), count / len(chosen)) for count, chosen in parts]


def normals(bench: Bench) -> Findings:
    """Share of normal images from none, a bin of rejects, to 80 % or all there are; every anomalous image is kept.

    The draws of one seed are nested, as in :func:`contamination`. The number of groups is that of the classes in the part.
    """
    return _by_share(bench, "normals", with_normals, "normal")


def with_normals(data: LabeledSet, seed: int) -> list[tuple[LabeledSet, float]]:
    """All anomalous images and each of :data:`NORMAL_SHARES` of normal ones, or as many as there are; the share that came out.

    Raises:
        InputError: fewer than two anomalous images.
    """
    bad, good = np.flatnonzero(data.is_anomalous), np.flatnonzero(~data.is_anomalous)
    if len(bad) < 2:
        raise InputError(f"{data.name}: a study of normal images among anomalous ones needs two anomalous images")
    good = np.random.default_rng([seed, 2]).permutation(good)
    counts = dict.fromkeys(min(round(len(bad) * share / (1 - share)), len(good)) for share in NORMAL_SHARES)
    parts = [sorted([*bad.tolist(), *good[:count].tolist()]) for count in counts]
    return [(data.take(chosen), 1 - len(bad) / len(chosen)) for chosen in parts]


def _by_share(
    bench: Bench,
    study: str,
    draw: Callable[[LabeledSet, int], list[tuple[LabeledSet, float]]],
    kind: str,
    notes: tuple[str, ...] = (),
) -> Findings:
    rows = []
    for seed in bench.seeds:
        for part, share in draw(bench.data, seed):
            _, found = bench.run(f"{100 * share:.0f} % {kind}", seed, {}, part)
            rows.append(_subset_row({"share": round(share, 4)}, part, seed, found))
    return Findings(study, bench.data.name, ("share", "images"), rows, notes=notes)


def size(bench: Bench) -> Findings:
    """From 20 images, doubling, to all; every part keeps the shares of the classes."""
    count, counts = max(SMALLEST_SET, len(bench.data.classes)), list[int]()
    while count < len(bench.data):
        counts.append(count)
        count *= 2
    rows = []
    for seed in bench.seeds:
        for number in [*counts, len(bench.data)]:
            part = bench.data.limited(number, seed=seed)
            _, found = bench.run(f"{number} images", seed, {}, part)
            rows.append(_subset_row({}, part, seed, found))
    return Findings("size", bench.data.name, ("images",), rows)


def _subset_row(first: Row, part: LabeledSet, seed: int, found: RunScores) -> Row:
    return {**first, "images": len(part), "classes": len(part.classes), "seed": seed, **found.scores}


STUDIES: dict[str, Study] = {
    "ablation": Study(ablation, None, "each way to a map, with and without contrast, by each clustering"),
    "weighting": Study(weighting, None, "excess, softmax, average or maximum pooling of the descriptors"),
    "tau": Study(tau, "lines", "NMI against the temperature, with and without contrast"),
    "contamination": Study(contamination, "lines", "scores against the share of anomalous images"),
    "normals": Study(normals, "lines", "scores against the share of normal images, every anomalous one kept"),
    "size": Study(size, "lines", "scores against the number of images"),
    "tsne": Study(tsne, "scatter", "descriptors in the plane, before and after the contrastive head"),
    "maps": Study(maps, "grid", "image, mask and the maps of each method"),
    "contours": Study(contours, "grid", "contours of the regions, by group"),
}
"""Every study by name."""
