"""What a person knows about images, by path, and its use in a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from blemish.clustering.constraints import Known, respect
from blemish.clustering.grouping import GroupedViews
from blemish.types import BoolArray, FloatArray

Values = TypeVar("Values", BoolArray, FloatArray)
"""Yes or no, or probabilities."""

NORMAL = 0
"""Number of the normal images among known groups."""


@dataclass(frozen=True)
class Knowledge:
    """What a person said about the images of earlier runs.

    Images that were placed in one group must link, those in different groups cannot link.

    Attributes:
        groups: path -> number of the group that the image was last seen in; `NORMAL` for normal images.
        placed: the images that the person put into their group, or confirmed there.
        merged: numbers of groups that the person made by merging.
        names: number of a group -> its name.
    """

    groups: Mapping[str, int]
    placed: frozenset[str]
    merged: frozenset[int] = frozenset()
    names: Mapping[int, str] = dataclasses.field(default_factory=dict)

    @property
    def normal(self) -> frozenset[str]:
        """The images that the person said are normal."""
        return frozenset(path for path in self.placed if self.groups[path] == NORMAL)

    def missing(self, paths: Sequence[str]) -> list[str]:
        """The placed images that are not among the images of a run, sorted."""
        return sorted(self.placed - {*paths})

    def known(self, paths: Sequence[str]) -> Known:
        """What is known of the images of a run, in their order."""
        return Known(
            groups=np.array([self.groups.get(path, -1) for path in paths], np.int64),
            placed=np.array([path in self.placed for path in paths]),
            normal=NORMAL,
            merged=self.merged,
        )


def with_normal(knowledge: Knowledge | None, paths: Collection[str]) -> Knowledge | None:
    """What a person said, and that these images are normal as well; None if there is nothing at all."""
    if not paths:
        return knowledge
    before = knowledge or Knowledge({}, frozenset())
    groups = {**before.groups, **dict.fromkeys(paths, NORMAL)}
    return dataclasses.replace(before, groups=groups, placed=before.placed | frozenset(paths))


def known_anomalous(knowledge: Knowledge | None, paths: Sequence[str], anomalous: Values) -> Values:
    """Which images are anomalous, or how likely, where the person's word counts more than the scores.

    Args:
        knowledge: what the person said; None: nothing.
        paths: of N images.
        anomalous: N bool or N probabilities, by the scores.
    """
    if knowledge is None:
        return anomalous
    known = knowledge.known(paths)
    return np.where(known.placed, known.groups != NORMAL, anomalous).astype(anomalous.dtype)


def apply_knowledge(
    views: GroupedViews, knowledge: Knowledge, paths: Sequence[str]
) -> tuple[GroupedViews, dict[int, str]]:
    """Groups that agree with what a person said, and their names.

    Args:
        views: the groups of a run, in both views; the view that counts is changed.
        knowledge: what the person said.
        paths: of the images.

    Returns:
        The groups, and label -> name of those that the person had named and that were found again by their members.
    """
    grouping, label_of = respect(views.counting, knowledge.known(paths))
    if views.view == "image":
        views = dataclasses.replace(views, by_image=grouping)
    else:
        views = dataclasses.replace(views, by_defect=grouping)
    names: dict[int, str] = {}
    for number, name in knowledge.names.items():
        if number in label_of:
            names[label_of[number]] = _distinct(name, names)
    return views, names


def _distinct(name: str, taken: Mapping[int, str]) -> str:
    """The name, with a number if another group has it."""
    found, count = name, 1
    while found in taken.values():
        count += 1
        found = f"{name} ({count})"
    return found
