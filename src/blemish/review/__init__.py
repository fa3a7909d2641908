"""Review of a result by a person: the operations, the log that keeps them, a local server, and their effect."""

from blemish.review.corrections import corrected, start_of
from blemish.review.log import REVIEW_FILE, ReviewLog, read_log
from blemish.review.operations import Operation, parse_operation
from blemish.review.replay import Reviewed, replay

__all__ = [
    "REVIEW_FILE",
    "Operation",
    "ReviewLog",
    "Reviewed",
    "corrected",
    "parse_operation",
    "read_log",
    "replay",
    "start_of",
]
