"""Studies that vary the method on a fixed set: localization, contrastive heads, clustering, pooling, temperature."""

from __future__ import annotations

from typing import Any

import numpy as np

from blemish.evaluation.metrics import clustering_scores
from blemish.evaluation.studies.runner import Row, StudyResult, StudyRunner, localizations

TAU_FRACTIONS = (0.01, 0.02, 0.04, 0.06, 0.1, 0.15, 0.25, 0.4, 0.7, 1.2)
WEIGHTINGS = ("thresholded", "softmax", "average", "max")
CLUSTERINGS = ("consensus", "ward", "kmeans", "spectral", "gmm")


def ablation(runner: StudyRunner) -> StudyResult:
    """Each localization method, with and without contrastive heads, with each clustering method.

    The clustering methods share the run of their localization, and its number of groups if that is estimated.
    """
    rows = []
    for seed in runner.seeds:
        for place, changes in localizations(runner.config).items():
            for contrast in (False, True):
                rows += _ablation_rows(runner, seed, place, {**changes, "contrastive.enabled": contrast})
    return StudyResult("ablation", runner.data.name, ("localization", "contrast", "clustering"), rows)


def _ablation_rows(runner: StudyRunner, seed: int, place: str, varied: dict[str, Any]) -> list[Row]:
    from blemish.clustering import group_images
    from blemish.localization.threshold import ScoreModel

    contrast = bool(varied["contrastive.enabled"])
    result, found = runner.run(f"{place}{', contrast' * contrast}", seed, varied)
    truth = runner.data.matching(result.paths).labels
    # the descriptors of the run are already normalized and weighted, and already hold the shapes
    regrouped: dict[str, Any] = {"descriptor.normalize": False, "descriptor.shape_weight": 0.0}
    if runner.config.cluster.score_weighting == "soft":
        regrouped["cluster.score_weighting"] = "none"
    no_shapes, rows = np.zeros((len(truth), 3), np.float32), list[Row]()
    for method in CLUSTERINGS:
        config = runner.settings(seed, varied | regrouped | {"cluster.method": method})
        if config.n_clusters == "auto":
            config = config.updated(n_clusters=result.n_clusters)
        groups = group_images(
            result.descriptors,
            no_shapes,
            result.scores,
            ScoreModel(result.threshold),
            config.cluster,
            n_clusters=config.n_clusters,
            shape_weight=0.0,
            normalize=False,
            seed=config.seed,
        )
        keys: Row = {"localization": place, "contrast": contrast, "clustering": method, "seed": seed}
        rows.append({**keys, **found.scores, **clustering_scores(truth, groups.labels)})
    return rows


def weighting(runner: StudyRunner) -> StudyResult:
    """Each way to weight the pixels in the descriptor of an image."""
    rows = list[Row]()
    for seed in runner.seeds:
        for name in WEIGHTINGS:
            _, found = runner.run(f"weighting {name}", seed, {"descriptor.weighting": name})
            rows.append({"weighting": name, "seed": seed, **found.scores})
    return StudyResult("weighting", runner.data.name, ("weighting",), rows)


def tau(runner: StudyRunner) -> StudyResult:
    """Softmax pooling at each temperature, with and without contrastive heads."""
    rows = list[Row]()
    for seed in runner.seeds:
        for contrast in (False, True):
            for fraction in TAU_FRACTIONS:
                changes = {
                    "descriptor.weighting": "softmax",
                    "descriptor.tau": None,
                    "descriptor.relative_tau": fraction,
                    "contrastive.enabled": contrast,
                }
                _, found = runner.run(f"tau {fraction:g}{', contrast' * contrast}", seed, changes)
                rows.append({"contrast": contrast, "tau_fraction": fraction, "seed": seed, **found.scores})
    return StudyResult("tau", runner.data.name, ("contrast", "tau_fraction"), rows)
