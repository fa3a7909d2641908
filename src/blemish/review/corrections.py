"""A result as it is after a review."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from blemish.clustering import UNLIKE, center_distances
from blemish.regions import Region
from blemish.results import Result
from blemish.review.operations import Operation, Start
from blemish.review.replay import Reviewed, replay
from blemish.types import BoolArray, FloatArray, IntArray


def start_of(result: Result) -> Start:
    """The groups of a result, as the first line of a log has them."""
    return Start(
        id="00000000-0000-0000-0000-000000000000",
        time="1970-01-01T00:00:00Z",  # equal results have equal lines
        op="start",
        paths=list(result.paths),
        labels=[int(label) for label in result.labels],
        normal=result.normal_label,
        names={str(label): name for label, name in sorted(result.type_names.items()) if label >= 0},
    )


def corrected(result: Result, operations: Sequence[Operation]) -> Result:
    """The result with what a person said about it.

    Args:
        result: the result of a run.
        operations: on the groups of this result, in the order of the log.

    Returns:
        A result with other ``labels``, ``normal_label``, ``is_anomalous``, ``type_names``, ``distances`` and
        ``regions``; the same object if there are no operations. Labels are contiguous again: the normal group first,
        then the types by their number in the review, without those that have become empty.
        ``info["review"]`` says how: ``labels`` maps each number of the review to the label, ``wrong_outlines`` lists
        images, ``notes`` lists what had no effect.

    An image that was put into a type is anomalous, and one that was put into the normal group is not. An image's regions
    follow it, except where they have another type than the image; an image follows its region if it has only one.
    Regions of images that are normal, or whose outlines are wrong, are left out. A type keeps the name that it had on the
    page, also where its label has changed.
    """
    if not operations:
        return result
    state = replay(start_of(result), operations)
    _move_with_only_region(result, state)
    mapping = _contiguous(state)
    labels = np.array([mapping[state.labels[path]] for path in result.paths], np.int64)
    normal = None if state.normal is None else mapping.get(state.normal)
    anomalous = _anomalous(result, state)
    known = np.array([path in state.decided for path in result.paths])
    return dataclasses.replace(
        result,
        labels=labels,
        normal_label=normal,
        is_anomalous=anomalous,
        type_names=_names(result, state, mapping, normal),
        distances=_distances(result, labels),
        regions=_regions(result, state, mapping, anomalous),
        type_probability=_certain(result.type_probability, known, np.ones(len(labels), np.float32)),
        anomaly_probability=_certain(result.anomaly_probability, known, anomalous.astype(np.float32)),
        info=result.info
        | {
            "review": {
                "operations": len({one.id for one in operations}),
                "labels": {str(label): place for label, place in mapping.items() if label != UNLIKE},
                "wrong_outlines": sorted(state.wrong_outlines),
                "notes": state.notes,
            }
        },
    )


def _move_with_only_region(result: Result, state: Reviewed) -> None:
    """Move the images whose only region was moved."""
    counts = Counter(region.image for region in result.regions)
    for image, count in counts.items():
        path = result.paths[image]
        if count == 1 and 0 in state.regions.get(path, {}):
            state.labels[path] = state.regions[path][0]
            state.marked.add(path)
            state.decided.add(path)


def _contiguous(state: Reviewed) -> dict[int, int]:
    """Label of the result for each number of the review: normal, then types with images, then types of regions alone."""
    used = sorted({*state.labels.values()} - {UNLIKE}, key=lambda label: (label != state.normal, label))
    of_regions = {label for moved in state.regions.values() for label in moved.values()}
    return {label: place for place, label in enumerate([*used, *sorted(of_regions - set(used))])} | {UNLIKE: UNLIKE}


def _distances(result: Result, labels: IntArray) -> FloatArray:
    """Distance of each image to the center of its group, new where the group has other images than before."""
    found = center_distances(result.descriptors, labels)
    for label in np.unique(labels):
        members = labels == label
        before = result.labels[members][0]
        if label == UNLIKE or np.array_equal(members, result.labels == before):
            found[members] = result.distances[members]
    return found


def _anomalous(result: Result, state: Reviewed) -> BoolArray:
    """Whether each image is anomalous: as the run found it, except where a person moved it across the border."""
    found = result.is_anomalous.copy()
    for i, path in enumerate(result.paths):
        before, after = int(result.labels[i]), state.labels[path]
        crossed = (before == result.normal_label) != (after == state.normal)
        if path in state.decided or crossed:
            found[i] = after != state.normal
    return found


def _names(result: Result, state: Reviewed, mapping: dict[int, int], normal: int | None) -> dict[int, str]:
    """Names by the new labels: those that a person gave, and those of the page where the label alone gives another."""
    bare = dataclasses.replace(result, type_names={}, normal_label=normal)
    names = {}
    for number, label in mapping.items():
        name = state.names.get(number, result.cluster_name(number))
        if number == UNLIKE:
            continue
        if number == state.normal and number not in state.names and number != result.normal_label:
            continue  # a type that was merged with the normal images, or new: its name is "normal"
        if name != bare.cluster_name(label) or number in state.names:
            names[label] = name
    return names


def _regions(result: Result, state: Reviewed, mapping: dict[int, int], anomalous: BoolArray) -> list[Region]:
    """The regions with their types after the review."""
    by_image: dict[int, list[Region]] = defaultdict(list)
    for region in result.regions:
        by_image[region.image].append(region)
    found = []
    for image, regions in by_image.items():
        path = result.paths[image]
        if path in state.wrong_outlines or (not anomalous[image] and bool(result.is_anomalous[image])):
            continue
        moved = state.regions.get(path, {})
        for number, region in enumerate(regions):
            label = moved.get(number, _follows(result, state, region, alone=len(regions) == 1))
            known = number in moved or path in state.decided
            found.append(
                dataclasses.replace(
                    region,
                    label=mapping.get(label, UNLIKE),
                    confidence=1.0 if known and region.confidence is not None else region.confidence,
                )
            )
    return found


def _follows(result: Result, state: Reviewed, region: Region, *, alone: bool) -> int:
    """Number of a region that nobody moved on its own: its image's, or what has become of its own type."""
    before, after = int(result.labels[region.image]), state.labels[result.paths[region.image]]
    if region.label == before or (alone and after != before):
        return after
    return state.merged.get(region.label, region.label)


def _certain(values: FloatArray | None, known: BoolArray, truth: FloatArray) -> FloatArray | None:
    """Probabilities, with what a person said in place of what the run estimated."""
    return None if values is None else np.where(known, truth, values).astype(np.float32)
