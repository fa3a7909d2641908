"""The review of one folder of results: what the local server and ``--apply`` do with it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np

from blemish.clustering import cluster
from blemish.errors import InputError, OutputError
from blemish.output.claims import RUN_FILE, short
from blemish.results import Result
from blemish.review.corrections import corrected, start_of
from blemish.review.log import ReviewLog
from blemish.review.operations import MAX_PARTS, NewType, Operation, parse_operation
from blemish.review.replay import Conflict, Numbers, check, replay, with_labels


class Session:
    """One folder of results under review. Any number of threads may use it, and other processes the same folder.

    Args:
        folder: the folder.
        result: what is in it.
    """

    def __init__(self, folder: Path, result: Result) -> None:
        self.folder, self.result = folder, result
        self.log = ReviewLog(folder, start_of(result))
        self._images = set(result.paths)
        self._run = _identity(folder)
        self._clustering = threading.Lock()

    def check_current(self) -> None:
        """Raise OutputError if another run has replaced the results since they were loaded."""
        if _identity(self.folder) != self._run:
            raise OutputError(f"{short(self.folder)}: another run has replaced these results; start the review again")

    def operations(self) -> list[Operation]:
        """The operations so far, on the groups of these results."""
        return list(self.log.operations())

    def corrected(self) -> Result:
        """The result as it is after the review so far."""
        return corrected(self.result, self.operations())

    def submit(self, content: bytes, revision: int | None = None) -> int:
        """Save one operation; it is on the disk when this returns.

        Args:
            content: its JSON. An operation whose id is known is not saved a second time.
            revision: number of operations that its author knew of; None if that does not matter.

        Returns:
            Number of operations now.

        Raises:
            InputError: it is no operation, or names an image that does not exist.
            Conflict: it names a type or an operation that does not exist, makes one that exists, or its author did not
                know all operations.
            OutputError: it could not be saved.
        """
        one = parse_operation(content)
        with self.log.writing() as writer:
            if one.id not in writer.ids:
                self.check_current()
                if revision is not None and revision != len(writer.operations):
                    raise Conflict("the review has changed in another window; look at it and make the correction again")
                check(one, self._images, self._numbers(writer.operations))
                writer.append([one])
            return len(writer.operations)

    def apply(self, operations: list[Operation]) -> list[Operation]:
        """Save operations that were made elsewhere, all of them or none.

        Types that they make get the next free numbers, if others have been made here since.

        Args:
            operations: in their order; those that are known already are left out.

        Returns:
            The new ones, as they were saved.

        Raises:
            InputError, Conflict, OutputError: as for :meth:`submit`.
        """
        with self.log.writing() as writer:
            self.check_current()
            there, here = self._numbers([]), self._numbers(writer.operations)
            renumbered: dict[int, int] = {}
            new: list[Operation] = []
            for one in operations:
                there.reserve(one)
                if one.id not in here.made:
                    moved = with_labels(one, renumbered)
                    if isinstance(moved, NewType) and moved.label in here.known:
                        moved = moved.model_copy(update={"label": here.free()})
                    check(moved, self._images, here)
                    here.reserve(moved)
                    new.append(moved)
                renumbered.update(zip(there.made[one.id], here.made[one.id], strict=True))
            writer.append(new)
        return new

    def _numbers(self, operations: list[Operation]) -> Numbers:
        numbers = Numbers(self.log.start.labels, self.log.start.normal)
        for one in operations:
            numbers.reserve(one)
        return numbers

    def parts(self, label: int, count: int) -> list[list[str]]:
        """The images of one type, sorted into parts as a run sorts images into types.

        Args:
            label: number of the type in the review.
            count: number of parts, 2 to 20.

        Returns:
            Paths of each part, the largest part first; fewer parts if there are not as many different images.

        Raises:
            InputError: there is no such type, it has too few images, or the count is out of range.
        """
        if not 2 <= count <= MAX_PARTS:
            raise InputError(f"a type is split into 2 to {MAX_PARTS} parts, not {count}")
        state = replay(self.log.start, self.operations())
        members = [i for i, path in enumerate(self.result.paths) if state.labels[path] == label]
        if len(members) < count:
            raise InputError(f"type {label} has {len(members)} images, too few for {count} parts")
        with self._clustering:  # one at a time: each can need all processors
            found = cluster(self.result.descriptors[members], count, method="consensus")
        paths = np.array([self.result.paths[i] for i in members], object)
        return [paths[found == part].tolist() for part in range(int(found.max()) + 1)]


def _identity(folder: Path) -> tuple[int, ...]:
    """What changes when a run replaces the results."""
    try:
        status = os.stat(folder / RUN_FILE)
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns
