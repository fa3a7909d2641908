"""What the reviews of earlier runs say about images, for a further run on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from blemish.clustering import UNLIKE, Knowledge
from blemish.clustering.knowledge import NORMAL
from blemish.errors import InputError
from blemish.output.claims import short
from blemish.review.log import REVIEW_FILE, Log, Segment, read_log
from blemish.review.operations import Start
from blemish.review.replay import Reviewed, replay


def read_knowledge(path: Path) -> Knowledge:
    """What a log says about images.

    Args:
        path: ``review.jsonl`` of a results folder, or the folder.

    Raises:
        InputError: there is no log, it is damaged, or it does not say which images are in which group.
    """
    file = path / REVIEW_FILE if path.is_dir() else path
    return knowledge(read_log(file), file)


def knowledge(log: Log, path: Path) -> Knowledge:
    """What a log says about images. A later statement on an image replaces an earlier one.

    A log can hold reviews of several runs, each of which numbers its groups anew. The groups of one run are found again
    among those of the next by their members.

    Args:
        log: its content.
        path: for messages.

    Raises:
        InputError: the log holds operations alone, as the page saves them, and not the groups that they speak of.
    """
    groups: dict[str, int] = {}
    placed: set[str] = set()
    merged: set[int] = set()
    names: dict[int, str] = {}
    for segment in log.segments:
        start, state = _replayed(segment, path)
        number_of = _numbers(state, groups, names)
        kept = placed - state.marked
        seen = {one: label for one, label in state.labels.items() if label != UNLIKE and one not in kept}
        groups.update({one: number_of[label] for one, label in seen.items()})
        placed |= state.marked
        merged |= {number_of[label] for label in state.merged.values() if label in number_of}
        told = {int(label): name for label, name in start.names.items()} | state.names
        names.update({number_of[label]: name for label, name in told.items() if label in number_of})
    return Knowledge(groups, frozenset(placed), frozenset(merged), names)


def _replayed(segment: Segment, path: Path) -> tuple[Start, Reviewed]:
    if segment.start is None:
        raise InputError(
            f"{short(path)}: does not say which images are in which type; take it into its results first "
            "('blemish review RESULTS --apply FILE'), then give RESULTS to --review"
        )
    return segment.start, replay(segment.start, segment.operations)


def _numbers(state: Reviewed, groups: dict[str, int], names: dict[int, str]) -> dict[int, int]:
    """The number of each label of a reviewed run: that of an earlier group with the same members or name, or a new one."""
    from scipy.optimize import linear_sum_assignment

    labels = sorted({*state.labels.values()} - {state.normal, UNLIKE})
    known = sorted({*groups.values()} - {NORMAL})
    shared = np.zeros((len(labels), len(known)))
    for path, label in state.labels.items():
        if label in labels and groups.get(path, NORMAL) != NORMAL:
            shared[labels.index(label), known.index(groups[path])] += 1
    for i, label in enumerate(labels):
        for j, number in enumerate(known):
            if label in state.names and state.names[label] == names.get(number):
                shared[i, j] += len(state.labels)
    number_of = {} if state.normal is None else {state.normal: NORMAL}
    for i, j in zip(*linear_sum_assignment(shared, maximize=True), strict=True):
        if shared[i, j] > 0:
            number_of[labels[i]] = known[j]
    fresh = max(known, default=NORMAL) + 1
    for label in labels:
        if label not in number_of:
            number_of[label], fresh = fresh, fresh + 1
    return number_of
