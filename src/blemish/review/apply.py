"""A review that was saved elsewhere, taken into a folder of results."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from blemish.errors import InputError
from blemish.output.claims import short
from blemish.results import Result
from blemish.review.log import Log, read_log, same_groups
from blemish.review.operations import Operation
from blemish.review.session import Session


def apply_file(session: Session, path: Path) -> list[str]:
    """Take the operations of a file that the page has saved, or of another log on the same groups.

    The whole file is checked before anything is saved, and all of it is saved or nothing. A second time changes nothing.

    Args:
        session: the review of the folder.
        path: the file.

    Returns:
        What has changed, as lines for the terminal.

    Raises:
        InputError: the file is damaged, speaks of other groups, or names images or types that these results do not have.
        OutputError: the operations could not be saved.
    """
    log = read_log(path)
    operations = _operations(session, log, path)
    before = session.corrected()
    try:
        new = session.apply(operations)
    except InputError as error:
        raise InputError(f"{short(path)}: does not fit these results, nothing was changed: {error}") from error
    lines = [f"{len(new)} new operations, {len(operations) - len(new)} that were known"]
    if log.damaged_end:
        lines.append(f"the last line of {short(path)} is not complete and was left out")
    return lines + (_changes(before, session.corrected()) if new else [])


def _operations(session: Session, log: Log, path: Path) -> list[Operation]:
    """The operations of a log on the groups of these results."""
    segments = log.segments
    if not segments:
        return []
    start = segments[-1].start
    if start is not None and not same_groups(start, session.log.start):
        raise InputError(
            f"{short(path)}: speaks of the groups of another run, nothing was changed; "
            "to use it for a new run, give it to 'blemish run --review'"
        )
    return segments[-1].operations


def _changes(before: Result, after: Result) -> list[str]:
    """The differences between two results of the same images."""
    old, new = ([one.cluster_name(int(label)) for label in one.labels] for one in (before, after))
    moved = sum(a != b for a, b in zip(old, new, strict=True))
    normal = int(np.count_nonzero(before.is_anomalous & ~after.is_anomalous))
    anomalous = int(np.count_nonzero(~before.is_anomalous & after.is_anomalous))
    lines = [f"{moved} images have another type; {normal} became normal, {anomalous} anomalous"]
    counts = [f"{after.cluster_name(label)} {int((after.labels == label).sum())}" for label in range(after.n_clusters)]
    lines.append("images by type: " + ", ".join(counts))
    review = after.info.get("review", {})
    return lines + [f"without effect: {note}" for note in review.get("notes", [])]
