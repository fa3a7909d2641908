"""Studies whose result is a figure: descriptors in the plane, maps side by side, contours by group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError
from blemish.evaluation.masks import Mask, read_mask_of
from blemish.evaluation.pixel_metrics import PixelScores
from blemish.evaluation.studies.runner import (
    Picture,
    PictureRow,
    Row,
    StudyResult,
    StudyRunner,
    TitledPicture,
    localizations,
)
from blemish.images import Photo, resize
from blemish.output import (
    cluster_color,
    draw_overlay,
    fit_within,
    heat_indices,
    heat_table,
    to_bytes,
)
from blemish.regions import upsample_map
from blemish.results import Result

PICTURE_SIDE = 256
PER_GROUP = 6

LoadImage = Callable[[int], Photo]


def tsne(runner: StudyRunner) -> StudyResult:
    """Descriptors before and after the contrastive heads, projected to the plane by t-SNE; first seed only.

    Raises:
        InputError: fewer than four readable images.
    """
    from sklearn.manifold import TSNE

    seed = runner.seeds[0]
    before, _ = runner.run("without head", seed, {"contrastive.enabled": False})
    after, _ = runner.run("with head", seed, {"contrastive.enabled": True})
    n = len(before.paths)
    if n < 4:
        raise InputError(f"{runner.data.name}: {n} images are too few for t-SNE; give at least 4")
    plane = {}
    for name, result in (("before", before), ("after", after)):
        model = TSNE(perplexity=min(30.0, (n - 1) / 3), init="random", random_state=seed)
        plane[name] = model.fit_transform(result.descriptors.astype(np.float64))
    rows: list[Row] = [
        {
            "path": runner.short_path(path),
            "class": label,
            **{f"{axis}_{name}": float(xy[i][j]) for name, xy in plane.items() for j, axis in enumerate("xy")},
            "group_before": before.cluster_name(int(before.groups[i])),
            "group_after": after.cluster_name(int(after.groups[i])),
        }
        for i, (path, label) in enumerate(zip(before.paths, runner.data.matching(before.paths).labels, strict=True))
    ]
    return StudyResult("tsne", runner.data.name, ("path",), rows, scores=())


def maps(runner: StudyRunner) -> StudyResult:
    """Image, mask and the map of each localization method for one random image per class; first seed only."""
    seed = runner.seeds[0]
    rng = np.random.default_rng([seed, 2])
    results = {
        place: runner.run(place, seed, changes | {"contrastive.enabled": False})[0]
        for place, changes in localizations(runner.config).items()
    }
    first = next(iter(results.values()))
    seen, load = runner.data.matching(first.paths), _image_loader(runner, first)
    tops = {
        place: float(np.quantile(np.concatenate([m.ravel() for m in r.maps]), 0.999)) for place, r in results.items()
    }
    rows, grid = list[Row](), list[PictureRow]()
    for label in runner.data.classes:
        members = [i for i, one in enumerate(seen.labels) if one == label]
        if not members:
            continue
        i = int(rng.choice(members))
        height, width = (int(side) for side in first.sizes[i])
        file = seen.masks[i]
        mask = None if file is None else _usable_mask(file, height, width)
        grid.append(PictureRow(label, _map_pictures(load(i), mask, results, tops, i)))
        for place, result in results.items():
            keys: Row = {"path": runner.short_path(first.paths[i]), "class": label, "map": place}
            rows.append(keys | {"pixel_auroc": _map_auroc(result.maps[i], mask)})
    note = "The maps of each method share one scale, from 0 to the 99.9th percentile of their values over the set."
    return StudyResult("maps", runner.data.name, ("path", "map"), rows, scores=(), notes=(note,), pictures=grid)


def _usable_mask(file: Path, height: int, width: int) -> Mask | None:
    try:
        return read_mask_of(file, height, width)
    except InputError:  # the scores of the run name it
        return None


def _map_auroc(values: npt.NDArray[np.float32], mask: Mask | None) -> float:
    scores = PixelScores()
    if mask is None:
        scores.update(np.asarray(values))
    else:
        scores.update(np.asarray(values), mask.defect, ignored=mask.ignored)
    return scores.auroc()


def _map_pictures(
    image: Photo, mask: Mask | None, results: Mapping[str, Result], tops: Mapping[str, float], i: int
) -> list[TitledPicture]:
    """The image, its mask (black if there is none) and the map of each method as a heat map."""
    height, width = fit_within(image.shape[0], image.shape[1], PICTURE_SIDE)
    defect = np.zeros((height, width), np.float32)
    if mask is not None:
        defect = upsample_map(mask.defect.astype(np.float32), height, width)
    pictures = [
        TitledPicture("image", _small(image)),
        TitledPicture("mask", to_bytes(np.repeat(defect[..., None], 3, axis=2))),
    ]
    for place, result in results.items():
        values = upsample_map(np.asarray(result.maps[i]), height, width)
        pictures.append(TitledPicture(place, heat_table()[heat_indices(values, 0.0, tops[place])]))
    return pictures


def contours(runner: StudyRunner) -> StudyResult:
    """Images by group, with the contours of their anomalous regions in the color of the group; first seed only."""
    result, _ = runner.run("contours", runner.seeds[0], {})
    truth, load = runner.data.matching(result.paths).labels, _image_loader(runner, result)
    rows: list[Row] = [
        {
            "path": runner.short_path(path),
            "class": truth[i],
            "group": result.cluster_name(int(result.groups[i])),
            "score": float(result.scores[i]),
            "distance": float(result.distances[i]),
        }
        for i, path in enumerate(result.paths)
    ]
    grid = [_group_pictures(result, label, truth, load) for label in result.group_numbers]
    note = f"The figure shows the {PER_GROUP} images nearest to the center of each group; titles are true classes."
    return StudyResult("contours", runner.data.name, ("path",), rows, scores=(), notes=(note,), pictures=grid)


def _group_pictures(result: Result, label: int, truth: list[str], load: LoadImage) -> PictureRow:
    members = np.flatnonzero(result.groups == label)
    nearest = members[np.argsort(result.distances[members], kind="stable")][:PER_GROUP]
    color = None if label == result.normal_label else cluster_color(label, result.normal_label)
    pictures = [
        TitledPicture(
            truth[i], np.asarray(draw_overlay(load(i), result.maps[i], result.threshold, color, PICTURE_SIDE))
        )
        for i in nearest.tolist()
    ]
    return PictureRow(f"{result.cluster_name(label)} ({len(members)})", pictures)


def _image_loader(runner: StudyRunner, result: Result) -> LoadImage:
    from blemish.images import ImageSource

    source = ImageSource(list(runner.data.paths), runner.config.image)
    index_of = {name: index for index, name in enumerate(source.names)}
    return lambda index: source.full(index_of[result.paths[index]])


def _small(image: Photo) -> Picture:
    return to_bytes(resize(image, *fit_within(image.shape[0], image.shape[1], PICTURE_SIDE)))
