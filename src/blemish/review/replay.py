"""The effect of operations on a grouping, told by paths and labels alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from blemish.errors import InputError, shown
from blemish.review.operations import (
    Edit,
    MarkNormal,
    Merge,
    Move,
    NewType,
    Operation,
    Redo,
    Rename,
    Split,
    Start,
    Undo,
    WrongOutline,
)


@dataclass
class Reviewed:
    """Groups after a review. Labels are those of the log, which can have gaps.

    Attributes:
        labels: path -> label, in the order of the result.
        normal: label of the normal group; None if there is none.
        names: label -> name, of the groups that a person has named.
        regions: path -> number of a region in the image -> label, of the regions that were moved on their own.
        merged: number of a type that is part of another one -> number of that one.
        marked: images that a person has put into their group, or confirmed there.
        decided: those of them that the person looked at one by one, so that their verdict is known too.
        wrong_outlines: images whose outlines do not show the defect.
        notes: what had no effect, one sentence each.
    """

    labels: dict[str, int]
    normal: int | None
    names: dict[int, str] = field(default_factory=dict)
    regions: dict[str, dict[int, int]] = field(default_factory=dict)
    merged: dict[int, int] = field(default_factory=dict)
    marked: set[str] = field(default_factory=set)
    decided: set[str] = field(default_factory=set)
    wrong_outlines: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


class Conflict(InputError):
    """An operation was made on an earlier state of the review: load that again and repeat it."""


class Numbers:
    """The numbers of types: which exist, and which a log has given away.

    Args:
        labels: the groups of the result.
        normal: the normal group; None if there is none.
    """

    def __init__(self, labels: Sequence[int], normal: int | None) -> None:
        self.known = {*labels} | ({normal} if normal is not None else set())
        self.normal = normal
        self._next = max(self.known, default=-1) + 1
        self.made: dict[str, list[int]] = {}  # id of an operation -> the types that it made

    def reserve(self, one: Operation) -> None:
        """Give away the numbers of the types that an operation makes; a second time for the same id has no effect."""
        if one.id in self.made:
            return
        made: list[int] = []
        if isinstance(one, NewType):
            made = [one.label]
        elif isinstance(one, Split):
            made = list(range(self._next, self._next + len(one.parts) - 1))
        elif isinstance(one, MarkNormal) and self.normal is None:
            self.normal = self._next
            made = [self._next]
        self.made[one.id] = made
        self.known.update(made)
        self._next = max([self._next, *(label + 1 for label in made)])

    def free(self) -> int:
        """The next number that nobody has."""
        return self._next


def labels_in(one: Operation) -> list[int]:
    """The types that an operation speaks of and does not make."""
    match one:
        case Rename() | Split():
            return [one.type]
        case Merge():
            return one.types
        case Move():
            return [one.to]
        case _:
            return []


def effective(operations: Sequence[Operation]) -> list[Edit]:
    """The operations that hold: without the undone ones, and each id once.

    Operations have effect in the order in which they were first stated, also after they were undone and redone.
    """
    first: dict[str, Operation] = {}
    undone: set[str] = set()
    for one in operations:
        if one.id in first:
            continue
        first[one.id] = one
        if isinstance(one, Undo):
            undone.add(one.target)
        elif isinstance(one, Redo):
            undone.discard(one.target)
    return [one for one in first.values() if not isinstance(one, Undo | Redo) and one.id not in undone]


def replay(start: Start, operations: Sequence[Operation]) -> Reviewed:
    """The groups after all operations.

    Args:
        start: the groups that the operations speak of.
        operations: in the order of the log, with undo and redo.

    Returns:
        The groups. What cannot be done (an image that has vanished, a type whose making was undone) is left out and
        stands in ``notes``.

    Cost: the number of images that the operations name; a merge passes over all images.
    """
    numbers = Numbers(start.labels, start.normal)
    alive = set(numbers.known)
    for one in operations:  # undone operations keep their numbers
        numbers.reserve(one)
    state = Reviewed(dict(zip(start.paths, start.labels, strict=True)), start.normal)
    for one in effective(operations):
        missing = [label for label in labels_in(one) if label not in alive]
        if missing:
            state.notes.append(f"{one.op}: there is no type {missing[0]} any more")
            continue
        alive.update(numbers.made[one.id])
        _apply(one, state, numbers)
        if state.normal is not None:
            alive.add(state.normal)
    return state


def _apply(one: Edit, state: Reviewed, numbers: Numbers) -> None:
    match one:
        case Rename():
            state.names[one.type] = one.name
        case NewType():
            state.names[one.label] = one.name
        case Merge():
            _merge(one, state)
        case Split():
            for label, part in zip([one.type, *numbers.made[one.id]], one.parts, strict=True):
                _put(part, label, state, one.op)
        case Move():
            state.decided.update(_put(one.images, one.to, state, one.op))
            _move_regions(one, state)
        case MarkNormal():
            state.normal = numbers.normal if state.normal is None else state.normal
            assert state.normal is not None
            state.decided.update(_put(one.images, state.normal, state, one.op))
        case WrongOutline():
            state.wrong_outlines.update(_present(one.images, state, one.op))


def _merge(one: Merge, state: Reviewed) -> None:
    gone = {*one.types} - {one.into}
    for path, label in state.labels.items():
        if label in gone:
            state.labels[path] = one.into
    for moved in state.regions.values():
        moved.update({number: one.into for number, label in moved.items() if label in gone})
    state.merged.update({label: one.into for label, into in state.merged.items() if into in gone})
    state.merged.update(dict.fromkeys(gone, one.into))
    if state.normal in gone:
        state.normal = one.into


def _move_regions(one: Move, state: Reviewed) -> None:
    present = {*_present([region.image for region in one.regions], state, one.op)}
    for region in one.regions:
        if region.image in present:
            state.regions.setdefault(region.image, {})[region.region] = one.to


def _put(paths: Sequence[str], label: int, state: Reviewed, op: str) -> list[str]:
    """Put images into a group; returns those that exist."""
    present = _present(paths, state, op)
    for path in present:
        state.labels[path] = label
        state.marked.add(path)
        state.regions.pop(path, None)  # the image as a whole was decided later
    return present


def _present(paths: Sequence[str], state: Reviewed, op: str) -> list[str]:
    """The paths that the result has; a note counts the others."""
    gone = [path for path in paths if path not in state.labels]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        state.notes.append(f"{op}: no such image in the results: {shown(gone[0])}{more}")
    return [path for path in paths if path in state.labels]


def check(one: Operation, paths: set[str] | dict[str, int], numbers: Numbers) -> None:
    """Raise InputError if an operation names an image that does not exist; Conflict if it is a type or an operation.

    Args:
        one: the operation.
        paths: the images of the result.
        numbers: the types and operations so far.
    """
    for label in labels_in(one):
        if label not in numbers.known:
            raise Conflict(f"{one.op}: there is no type {label}; load the page again")
    if isinstance(one, NewType) and one.label in numbers.known:
        raise Conflict(f"{one.op}: the number {one.label} is taken, {numbers.free()} is free; load the page again")
    if isinstance(one, Undo | Redo) and one.target not in numbers.made:
        raise Conflict(f"{one.op}: there is no operation {one.target}; load the page again")
    for path in images_in(one):
        if path not in paths:
            raise InputError(f"{one.op}: no such image in the results: {shown(path)}")


def images_in(one: Operation) -> list[str]:
    """The images that an operation names."""
    match one:
        case Split():
            return [path for part in one.parts for path in part]
        case Move():
            return [*one.images, *(region.image for region in one.regions)]
        case MarkNormal() | WrongOutline():
            return one.images
        case _:
            return []


def with_labels(one: Operation, renumbered: Mapping[int, int]) -> Operation:
    """The operation with other numbers of types; numbers that are not in the mapping stay."""

    def new(label: int) -> int:
        return renumbered.get(label, label)

    match one:
        case Rename() | Split():
            return one.model_copy(update={"type": new(one.type)})
        case Merge():
            return one.model_copy(update={"types": [new(label) for label in one.types], "into": new(one.into)})
        case Move():
            return one.model_copy(update={"to": new(one.to)})
        case _:
            return one
