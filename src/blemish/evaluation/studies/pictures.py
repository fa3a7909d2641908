"""Studies that are looked at: descriptors in the plane, maps side by side, contours by group."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError
from blemish.evaluation.datasets import read_mask
from blemish.evaluation.metrics import pixel_auroc
from blemish.evaluation.studies.bench import Bench, Findings, Picture, localizations
from blemish.images import resize
from blemish.output import (
    cluster_color,
    draw_overlay,
    fit_within,
    heat_indices,
    heat_table,
    to_bytes,
    upsample_map,
)
from blemish.results import Result

PICTURE_SIDE = 256
PER_GROUP = 6


def tsne(bench: Bench) -> Findings:
    """Descriptors before and after the contrastive head, brought to the plane by t-SNE; the first seed only."""
    from sklearn.manifold import TSNE

    seed = bench.seeds[0]
    before, _ = bench.run("without head", seed, {"contrast.enabled": False})
    after, _ = bench.run("with head", seed, {"contrast.enabled": True})
    n = len(before.paths)
    if n < 4:
        raise InputError(f"{bench.data.name}: {n} images are too few for t-SNE; give at least 4")
    plane = {}
    for name, result in (("before", before), ("after", after)):
        model = TSNE(perplexity=min(30.0, (n - 1) / 3), init="random", random_state=seed)
        plane[name] = model.fit_transform(result.descriptors.astype(np.float64))
    rows = [
        {
            "path": bench.short(path),
            "class": label,
            **{f"{axis}_{name}": float(xy[i][j]) for name, xy in plane.items() for j, axis in enumerate("xy")},
            "group_before": before.cluster_name(int(before.labels[i])),
            "group_after": after.cluster_name(int(after.labels[i])),
        }
        for i, (path, label) in enumerate(zip(before.paths, bench.data.matching(before.paths).labels, strict=True))
    ]
    return Findings("tsne", bench.data.name, ("path",), rows, scores=())


def maps(bench: Bench) -> Findings:
    """Image, mask and the maps of every localization side by side: one image per class, drawn by the first seed."""
    seed = bench.seeds[0]
    rng = np.random.default_rng([seed, 2])
    results = {
        place: bench.run(place, seed, changes | {"contrast.enabled": False})[0]
        for place, changes in localizations(bench.config).items()
    }
    first = next(iter(results.values()))
    seen, load = bench.data.matching(first.paths), _loader(bench, first)
    tops = {
        place: float(np.quantile(np.concatenate([m.ravel() for m in r.maps]), 0.999)) for place, r in results.items()
    }
    rows, grid = [], []
    for label in bench.data.classes:
        members = [i for i, one in enumerate(seen.labels) if one == label]
        if not members:
            continue
        i = int(rng.choice(members))
        image, file = load(i), seen.masks[i]
        height, width = fit_within(image.shape[0], image.shape[1], PICTURE_SIDE)
        mask = None if file is None else read_mask(file)
        drawn = np.zeros((height, width)) if mask is None else upsample_map(mask.astype(np.float32), height, width)
        cells = [("image", _small(image)), ("mask", to_bytes(np.repeat(drawn[..., None], 3, axis=2)))]
        for place, result in results.items():
            values = np.asarray(result.maps[i])
            heat = heat_table()[heat_indices(upsample_map(values, height, width), 0.0, tops[place])]
            cells.append((place, heat))
            quality = pixel_auroc([values], [mask])
            rows.append({"path": bench.short(first.paths[i]), "class": label, "map": place, "pixel_auroc": quality})
        grid.append((label, cells))
    note = "Each method's maps share one scale, from 0 to the 99.9th percentile of its values over the set."
    return Findings("maps", bench.data.name, ("path", "map"), rows, scores=(), notes=(note,), pictures=grid)


def contours(bench: Bench) -> Findings:
    """Images by group with the contours of their anomalous regions in the group's color; the first seed only."""
    result, _ = bench.run("contours", bench.seeds[0], {})
    truth, load = bench.data.matching(result.paths).labels, _loader(bench, result)
    rows = [
        {"path": bench.short(path), "class": truth[i], "group": result.cluster_name(int(result.labels[i]))}
        | {"score": float(result.scores[i]), "distance": float(result.distances[i])}
        for i, path in enumerate(result.paths)
    ]
    grid = []
    for label in range(result.n_clusters):
        members = np.flatnonzero(result.labels == label)
        nearest = members[np.argsort(result.distances[members], kind="stable")][:PER_GROUP]
        color = None if label == result.normal_label else cluster_color(label, result.normal_label)
        cells = [
            (truth[i], np.asarray(draw_overlay(load(i), result.maps[i], result.threshold, color, PICTURE_SIDE)))
            for i in nearest.tolist()
        ]
        grid.append((f"{result.cluster_name(label)} ({len(members)})", cells))
    note = f"The figure shows the {PER_GROUP} images nearest to the center of each group; titles are true classes."
    return Findings("contours", bench.data.name, ("path",), rows, scores=(), notes=(note,), pictures=grid)


def _loader(bench: Bench, result: Result) -> Callable[[int], npt.NDArray[np.float32]]:
    from blemish.images.source import ImageSource

    source = ImageSource(list(bench.data.paths), bench.config.image)
    place = {name: index for index, name in enumerate(source.names)}
    return lambda index: source.full(place[result.paths[index]])


def _small(image: npt.NDArray[np.float32]) -> Picture:
    return to_bytes(resize(image, *fit_within(image.shape[0], image.shape[1], PICTURE_SIDE)))
