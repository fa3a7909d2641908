"""A results folder together with its review."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from blemish.errors import shown
from blemish.output import load_result
from blemish.output.claims import short
from blemish.results import Result
from blemish.review.corrections import corrected
from blemish.review.log import REVIEW_FILE
from blemish.review.session import Session

_log = logging.getLogger(__name__)


def open_session(folder: Path | str) -> Session:
    """The review of a results folder.

    Raises:
        InputError: the folder holds no complete results.
    """
    return Session(Path(folder), load_result(folder))


def load_corrected(folder: Path | str) -> Result:
    """The result in a folder as it is after its review; the result as it was written if there was none.

    Raises:
        InputError: the folder holds no complete results, or its review is damaged.
    """
    return with_review(load_result(folder), folder)


def with_review(result: Result, folder: Path | str) -> Result:
    """A result of a folder as it is after the folder's review. What has no effect is logged as a warning.

    Args:
        result: as :func:`blemish.output.load_result` gives it, perhaps with other regions.
        folder: the folder.

    Raises:
        DamagedLog: the review is damaged.
    """
    if not os.path.lexists(Path(folder) / REVIEW_FILE):
        return result
    session = Session(Path(folder), result)
    log, operations = session.log.read(), session.operations()
    path = short(session.log.path)
    if log.damaged_end:
        _log.warning(f"{path}: the last line is not complete, because saving was interrupted; it is left out")
    if earlier := len(log.ids) - len(operations):
        _log.warning(
            f"{path}: {earlier} operations speak of the groups of an earlier run and are left out; "
            "'blemish run --review' uses them"
        )
    found = corrected(result, operations)
    for note in found.info.get("review", {}).get("notes", []) if operations else []:
        _log.warning(f"{path}: without effect: {shown(note)}")
    return found


def kept_review(folder: Path, result: Result) -> str | None:
    """One sentence on the review that a folder still has after a run has written this result; None if it has none."""
    session = Session(folder, result)
    count, current = len(session.log.read().ids), len(session.operations())
    if not count:
        return None
    if current == count:
        return f"{REVIEW_FILE} holds {count} operations on these groups"
    return f"{REVIEW_FILE} is kept: {count - current} operations on the groups of earlier runs; --review uses them"
